//! Host calls that have no safe wrapper in nix. The only unsafe code of the crate.
//!
//! # Safety
//! Every block hands the kernel pointers to live, owned or borrowed memory with its true length, and takes ownership only
//! of descriptors that the kernel has just created.

#![expect(
    unsafe_code,
    reason = "raw system calls; each block states why it is sound"
)]

use crate::protocol::attr::{Attr, StatFs, Timestamp};
use abi::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Result of a call that says −1 and sets `errno` on failure.
fn check(result: impl TryInto<usize>) -> Result<usize, Errno> {
    result
        .try_into()
        .map_err(|_| Errno::from(std::io::Error::last_os_error()))
}

/// A descriptor that the kernel has just created, or −1.
fn check_fd(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let raw = RawFd::try_from(check(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this descriptor to us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Room for the control message of one descriptor, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct OneDescriptor([u8; 24]);

/// Sends `message` with up to one descriptor; blocks unless the socket is non-blocking.
pub(crate) fn send_message(
    socket: BorrowedFd<'_>,
    message: &[u8],
    donated: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    let Some(donated) = donated else {
        // SAFETY: pointer and length are those of `message`.
        check(unsafe {
            libc::send(
                socket.as_raw_fd(),
                message.as_ptr().cast(),
                message.len(),
                libc::MSG_NOSIGNAL,
            )
        })?;
        return Ok(());
    };
    let mut iov = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    let mut control = OneDescriptor([0; 24]);
    // SAFETY: msghdr is plain data for which zero is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // SAFETY: `header` describes `control`, which has room for one header and one int (CMSG_SPACE(4) = 24).
    unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        (*cmsg).cmsg_level = libc::SOL_SOCKET;
        (*cmsg).cmsg_type = libc::SCM_RIGHTS;
        (*cmsg).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(cmsg)
            .cast::<RawFd>()
            .write_unaligned(donated.as_raw_fd());
    }
    // SAFETY: `header`, `iov`, `message` and `control` live until the call returns; the kernel only reads them.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) })?;
    Ok(())
}

/// What to do when no message is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Wait for one, unless the socket is non-blocking.
    Block,
    /// Return `EAGAIN`.
    Never,
}

impl Wait {
    fn flags(self) -> i32 {
        match self {
            Self::Block => 0,
            Self::Never => libc::MSG_DONTWAIT,
        }
    }
}

/// Receives a message; descriptors in it are dropped by the kernel. Length 0: the other side closed.
pub(crate) fn receive_bytes(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> Result<usize, Errno> {
    let flags = libc::MSG_TRUNC | wait.flags();
    // SAFETY: pointer and length are those of `buffer`, borrowed mutably.
    let len = check(unsafe {
        libc::recv(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            flags,
        )
    })?;
    if len > buffer.len() {
        Err(Errno::EMSGSIZE)
    } else {
        Ok(len)
    }
}

/// Receives a message with up to one descriptor. Length 0: the other side closed.
pub(crate) fn receive_message(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = OneDescriptor([0; 24]);
    // SAFETY: msghdr is plain data for which zero is valid.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // CMSG_LEN and not CMSG_SPACE: 24 bytes would have room for a second descriptor.
    // SAFETY: only arithmetic.
    header.msg_controllen = unsafe { libc::CMSG_LEN(4) } as usize;
    let flags = libc::MSG_CMSG_CLOEXEC | wait.flags();
    // SAFETY: the buffers that `header` describes are live and borrowed mutably.
    let len = check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) })?;
    // SAFETY: the kernel has filled in `header` and as much of `control` as msg_controllen says.
    let donated = unsafe {
        let cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        let is_descriptor = !cmsg.is_null()
            && (*cmsg).cmsg_level == libc::SOL_SOCKET
            && (*cmsg).cmsg_type == libc::SCM_RIGHTS
            && (*cmsg).cmsg_len == libc::CMSG_LEN(4) as usize;
        is_descriptor
            .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(cmsg).cast::<RawFd>().read_unaligned()))
    };
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        return Err(Errno::EMSGSIZE);
    }
    Ok((len, donated))
}

/// Attributes of what `fd` (O_PATH is enough) refers to.
pub(crate) fn statx(fd: BorrowedFd<'_>) -> Result<Attr, Errno> {
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID;
    let mut buf = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is a literal, and the kernel writes one struct statx to `buf`.
    check(unsafe {
        libc::statx(
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            buf.as_mut_ptr(),
        )
    })?;
    // SAFETY: zero is valid for all fields, and the kernel has overwritten them.
    let st = unsafe { buf.assume_init() };
    let time = |t: libc::statx_timestamp| Timestamp {
        sec: t.tv_sec,
        nsec: t.tv_nsec,
    };
    Ok(Attr {
        mode: u32::from(st.stx_mode),
        nlink: st.stx_nlink,
        uid: st.stx_uid,
        gid: st.stx_gid,
        blksize: st.stx_blksize,
        ino: st.stx_ino,
        size: st.stx_size,
        blocks: st.stx_blocks,
        atime: time(st.stx_atime),
        mtime: time(st.stx_mtime),
        ctime: time(st.stx_ctime),
        btime: (st.stx_mask & libc::STATX_BTIME != 0).then(|| time(st.stx_btime)),
        dev: libc::makedev(st.stx_dev_major, st.stx_dev_minor),
        rdev: libc::makedev(st.stx_rdev_major, st.stx_rdev_minor),
        mount_id: st.stx_mnt_id,
    })
}

/// State of the file system that `fd` is on.
pub(crate) fn statfs(fd: BorrowedFd<'_>) -> Result<StatFs, Errno> {
    let mut buf = MaybeUninit::<libc::statfs64>::zeroed();
    // SAFETY: the kernel writes one struct statfs64 to `buf`.
    check(unsafe { libc::fstatfs64(fd.as_raw_fd(), buf.as_mut_ptr()) })?;
    // SAFETY: zero is valid for all fields, and the kernel has overwritten them.
    let st = unsafe { buf.assume_init() };
    Ok(StatFs {
        magic: st.f_type.cast_unsigned(),
        bsize: st.f_bsize.cast_unsigned(),
        blocks: st.f_blocks,
        bfree: st.f_bfree,
        bavail: st.f_bavail,
        files: st.f_files,
        ffree: st.f_ffree,
        namelen: st.f_namelen.cast_unsigned(),
        frsize: st.f_frsize.cast_unsigned(),
        flags: st.f_flags.cast_unsigned(),
    })
}

/// Reads raw `linux_dirent64` records; 0 at the end.
pub(crate) fn getdents(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: pointer and length are those of `buffer`, borrowed mutably.
    check(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            fd.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })
}

/// Moves a directory's position to a cursor that `getdents` gave.
pub(crate) fn seek(fd: BorrowedFd<'_>, cursor: u64) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::lseek(fd.as_raw_fd(), cursor.cast_signed(), libc::SEEK_SET) })?;
    Ok(())
}

/// Value of an extended attribute of what `path` leads to.
pub(crate) fn getxattr(path: &CStr, name: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: both strings end in NUL; pointer and length are those of `buffer`, borrowed mutably.
    check(unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    })
}

/// Sets an extended attribute of what `path` leads to.
pub(crate) fn setxattr(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL; pointer and length are those of `value`.
    check(unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    })?;
    Ok(())
}

/// NUL-separated names of the extended attributes of what `path` leads to.
pub(crate) fn listxattr(path: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the path ends in NUL; pointer and length are those of `buffer`, borrowed mutably.
    check(unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
}

/// Removes an extended attribute of what `path` leads to.
pub(crate) fn removexattr(path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings end in NUL.
    check(unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) })?;
    Ok(())
}

/// A copy of the mount at `path`, attached nowhere: `..` at its root stays there. See `open_tree(2)`.
pub(crate) fn clone_mount(path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    /// `OPEN_TREE_CLONE` of linux/mount.h.
    const OPEN_TREE_CLONE: u32 = 1;
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the path ends in NUL.
    check_fd(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// `AT_RECURSIVE` of linux/fcntl.h.
const AT_RECURSIVE: u32 = 0x8000;

/// Sets mount attributes (`MOUNT_ATTR_*`) on a mount and everything mounted below it, and makes them private.
pub(crate) fn restrict_mount(mount: BorrowedFd<'_>, attributes: u64) -> Result<(), Errno> {
    /// `struct mount_attr` of linux/mount.h.
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr {
        set: attributes,
        clear: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = AT_RECURSIVE | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: the path is a literal; `attr` is live and its true size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    Ok(())
}

/// Drops every capability from the bounding and ambient sets and gives up all but `keep` (bit n = capability n).
/// The inheritable set becomes empty. Capabilities of `keep` that the process lacks stay lacking.
pub(crate) fn keep_capabilities(keep: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`: two words per set.
    const VERSION_3: u32 = 0x2008_0522;

    for capability in 0..64_u64 {
        // SAFETY: no memory is involved.
        let held = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if held < 0 {
            break; // EINVAL: beyond the last capability that this kernel knows
        }
        if held == 1 {
            // SAFETY: no memory is involved.
            check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) })?;
        }
    }
    // SAFETY: no memory is involved.
    check(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    })?;

    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 writes two Data, which `data` has.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let words = [(keep & 0xffff_ffff) as u32, (keep >> 32) as u32];
    for (word, keep) in data.iter_mut().zip(words) {
        word.permitted &= keep;
        word.effective = word.permitted;
        word.inheritable = 0;
    }
    // SAFETY: version 3 reads two Data, which `data` has.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })?;
    Ok(())
}

/// Sets access and modification time of what `fd` (O_PATH is enough) refers to; `UTIME_NOW` and `UTIME_OMIT` as in
/// `utimensat(2)`.
pub(crate) fn set_times(
    fd: BorrowedFd<'_>,
    atime: libc::timespec,
    mtime: libc::timespec,
) -> Result<(), Errno> {
    let times = [atime, mtime];
    // SAFETY: the path is a literal, and the kernel reads the two times of `times`.
    check(unsafe {
        libc::utimensat(
            fd.as_raw_fd(),
            c"".as_ptr(),
            times.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    })?;
    Ok(())
}

/// A new, non-blocking inotify instance. (nix hides the watches' numbers.)
pub(crate) fn inotify_new() -> Result<OwnedFd, Errno> {
    // SAFETY: no memory is involved.
    check_fd(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) }.into())
}

/// Watches what `path` leads to.
pub(crate) fn inotify_add(inotify: BorrowedFd<'_>, path: &CStr, mask: u32) -> Result<u32, Errno> {
    // SAFETY: the path ends in NUL.
    let watch =
        check(unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), path.as_ptr(), mask) })?;
    u32::try_from(watch).map_err(|_| Errno::EOVERFLOW)
}

/// Ends a watch; `EINVAL` if there is none of that number.
pub(crate) fn inotify_remove(inotify: BorrowedFd<'_>, watch: u32) -> Result<(), Errno> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::inotify_rm_watch(inotify.as_raw_fd(), watch.cast_signed()) })?;
    Ok(())
}
