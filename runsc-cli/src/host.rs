//! The only file of this crate with `unsafe`: host calls that nix does not wrap, and descriptors that arrive by number or by SCM_RIGHTS.

#![expect(unsafe_code, reason = "see the module documentation")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use parking_lot::Mutex;

/// A process started by [`clone_process`].
#[derive(Debug)]
pub struct Cloned {
    /// Its pid in the caller's pid namespace.
    pub pid: i32,
    /// A pidfd.
    pub pidfd: OwnedFd,
}

/// `struct clone_args` of `linux/sched.h` (first version).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Forks with namespace `flags` (`CLONE_NEW*`). `child` runs in the new process and must end by exec or by returning an exit code.
///
/// The caller must be single-threaded (the commands are until they have launched everything): checked, since a fork of a threaded process could
/// deadlock in the child.
pub fn clone_process(flags: u64, child: impl FnOnce() -> i32) -> io::Result<Cloned> {
    if thread_count() > 1 && !cfg!(test) {
        return Err(io::Error::other(
            "internal error: fork of a process with threads",
        ));
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    // SAFETY: args is a valid clone_args of the size given, without a stack: the call behaves as fork does. No memory is shared.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = child();
            // SAFETY: ends the process without running the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        pid => {
            // SAFETY: the kernel stored a fresh descriptor here, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned {
                pid: i32::try_from(pid).unwrap_or(-1),
                pidfd,
            })
        }
    }
}

fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Takes over a descriptor that the parent left open for this process.
///
/// Fails if it is not open. Call it once per number: the numbers come from the hidden flags of our own re-exec.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: F_SETFD on any number is harmless; it fails if nothing is open there.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and was inherited for this purpose; nothing else in the process knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Which of the descriptors that can be preserved the caller left open; see [`remember_callers_descriptors`].
static CALLERS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());
/// How many descriptors from 3 on can be preserved.
pub const MOST_PRESERVED: u32 = 128;

/// Notes what the caller left open. To be called before this process opens anything itself: a number that is free now will be somebody else's later.
pub fn remember_callers_descriptors() {
    let end = 3 + RawFd::try_from(MOST_PRESERVED).unwrap_or(0);
    // SAFETY: F_GETFD on any number is harmless; it fails if nothing is open there.
    let open = (3..end).filter(|number| unsafe { libc::fcntl(*number, libc::F_GETFD) } != -1);
    *CALLERS.lock() = open.collect();
}

/// Takes over a descriptor that the caller left open; `None` if it did not, and the second time.
pub fn from_caller(number: RawFd) -> Option<OwnedFd> {
    let mut open = CALLERS.lock();
    let index = open.iter().position(|known| *known == number)?;
    open.swap_remove(index);
    inherited(number).ok()
}

/// Wraps descriptors that `recvmsg` just installed.
pub fn received(numbers: Vec<RawFd>) -> Vec<OwnedFd> {
    // SAFETY: the kernel installed these descriptors for this message; nobody else owns them.
    numbers
        .into_iter()
        .map(|number| unsafe { OwnedFd::from_raw_fd(number) })
        .collect()
}

/// Marks every descriptor from 3 on close-on-exec, then clears the mark from those in `keep`. For the child side of a fork, before exec.
pub fn keep_only(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: only changes close-on-exec flags.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    for fd in keep {
        // SAFETY: only changes a descriptor's flag.
        check(i64::from(unsafe { libc::fcntl(*fd, libc::F_SETFD, 0) }))?;
    }
    Ok(())
}

/// Closes every descriptor from `first` on. For a forked child that never returns to code which owns one of them.
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: closes descriptors; the caller promises that nothing uses them afterwards.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// `dup2` onto 0, 1 or 2.
pub fn set_stdio(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if !(0..=2).contains(&number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    if fd.as_raw_fd() == number {
        // SAFETY: only changes a descriptor's flag.
        return check(i64::from(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })).map(drop);
    }
    // SAFETY: replaces a standard stream, which no owned descriptor stands for.
    check(i64::from(unsafe { libc::dup2(fd.as_raw_fd(), number) })).map(drop)
}

/// `execveat(fd, "", argv, envp, AT_EMPTY_PATH)`. Returns only on failure.
pub fn exec_fd(fd: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter()
            .map(|text| text.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays are null-terminated and point to NUL-terminated strings that outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// `pidfd_open(2)`.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: makes a descriptor; no memory involved.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: fresh and owned by nobody.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

/// `pidfd_send_signal(2)`.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers but a null siginfo.
    check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<u8>(),
            0,
        )
    })
    .map(drop)
}

/// Flags of [`open_tree`].
pub const OPEN_TREE_CLONE: u32 = 1;
/// With the mounts below.
pub const AT_RECURSIVE: u32 = 0x8000;
/// `MOUNT_ATTR_RDONLY`.
pub const MOUNT_ATTR_RDONLY: u64 = 1;
/// `MOUNT_ATTR_NOSUID`.
pub const MOUNT_ATTR_NOSUID: u64 = 2;
/// `MOUNT_ATTR_NODEV`.
pub const MOUNT_ATTR_NODEV: u64 = 4;

/// `open_tree(2)`: a detached copy of the mount at `path`.
pub fn open_tree(path: &std::path::Path, flags: u32) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let flags = flags | libc::O_CLOEXEC as u32;
    // SAFETY: path is NUL-terminated and outlives the call.
    let fd =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: fresh and owned by nobody.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// `mount_setattr(2)` on a mount descriptor: sets `attributes` and the propagation type (`MS_PRIVATE`, `MS_SLAVE` or 0).
pub fn mount_setattr(
    mount: BorrowedFd<'_>,
    recursive: bool,
    attributes: u64,
    propagation: u64,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: attributes,
        attr_clr: 0,
        propagation,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: attr is a valid mount_attr of the size given; the path is an empty string.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Empties all capability sets of this thread and forbids getting any back (bounding set, ambient set, securebits).
pub fn drop_all_capabilities() -> io::Result<()> {
    // SECBIT_NOROOT and its lock, SECBIT_NO_SETUID_FIXUP and its lock, SECBIT_KEEP_CAPS_LOCKED, SECBIT_NO_CAP_AMBIENT_RAISE and its lock.
    const SECUREBITS: libc::c_ulong = 0b1110_1111;
    for capability in 0..64 {
        // SAFETY: plain numbers.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if present < 0 {
            break;
        }
        if present == 1 {
            // SAFETY: plain numbers.
            check(i64::from(unsafe {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0)
            }))?;
        }
    }
    // SAFETY: plain numbers.
    check(i64::from(unsafe {
        libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0)
    }))?;
    // SAFETY: plain numbers.
    check(i64::from(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    }))?;
    // struct __user_cap_header_struct, version 3, this thread; then two empty __user_cap_data_struct.
    let header: [u32; 2] = [0x2008_0522, 0];
    let data = [0u32; 6];
    // SAFETY: header and data have the layout of capset(2), version 3.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Opens a pty's slave by its master (`TIOCGPTPEER`): no path, so no mount namespace is trusted.
pub fn pty_slave(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: an ioctl that takes a flag word and returns a descriptor.
    let fd = check(i64::from(unsafe {
        libc::ioctl(
            master.as_raw_fd(),
            libc::TIOCGPTPEER,
            libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC,
        )
    }))?;
    // SAFETY: fresh and owned by nobody.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd).unwrap_or(-1)) })
}

/// Makes `terminal` the controlling terminal of this session leader.
pub fn set_controlling_terminal(terminal: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an ioctl with a plain argument.
    check(i64::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0)
    }))
    .map(drop)
}

/// Columns and rows of a terminal.
pub fn window_size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: size is valid for writes.
    check(i64::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size)
    }))?;
    Ok((size.ws_col, size.ws_row))
}

/// Sets columns and rows of a terminal.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: size is valid for reads.
    check(i64::from(unsafe {
        libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size)
    }))
    .map(drop)
}

/// Descriptor 0, which stays open for the life of the process (Rust's runtime opens `/dev/null` when it was closed).
#[must_use]
pub fn stdin_fd() -> BorrowedFd<'static> {
    // SAFETY: nothing in this program closes descriptor 0.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// Whether a descriptor is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    // SAFETY: isatty looks at a valid descriptor.
    unsafe { libc::isatty(fd.as_fd().as_raw_fd()) == 1 }
}

/// Raises another process's limit of open descriptors to `limit`, hard and soft (needs privilege).
pub fn raise_descriptor_limit(pid: i32, limit: u64) -> io::Result<()> {
    let new = libc::rlimit64 {
        rlim_cur: limit,
        rlim_max: limit,
    };
    // SAFETY: new is valid for reads; no old value is asked for.
    check(i64::from(unsafe {
        libc::prlimit64(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const new,
            std::ptr::null_mut(),
        )
    }))
    .map(drop)
}

fn check(result: i64) -> io::Result<i64> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Makes libc's allocator use one heap for all threads: further heaps are trimmed by a procedure that reads `/proc/sys/vm/overcommit_memory`, and the
/// sentry opens nothing. Call it before the first thread starts.
pub fn single_heap() {
    // SAFETY: mallopt takes two numbers; the process has one thread.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        // Buffers of connections are mapped on their own, so that pages that are never used cost nothing and freed ones go back. Set, it stays.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    };
}

/// A socket of the calling thread's namespace that sends IPv4 packets, headers and all, to its loopback.
///
/// # Errors
/// Without CAP_NET_RAW over the namespace.
pub fn loopback_output() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let number = check(i64::from(unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            libc::IPPROTO_RAW,
        )
    }))?;
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap_or(-1)) };
    // Where a packet goes is in its header; this only finds the way, which is loopback for all of it.
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes([127, 0, 0, 1]),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: a sockaddr_in of the size given.
    check(i64::from(unsafe {
        libc::connect(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    }))?;
    Ok(fd)
}

/// Whether an interface of the calling thread's namespace is up.
///
/// # Errors
/// If it is not there.
pub fn is_up(name: &std::ffi::CStr) -> io::Result<bool> {
    // SAFETY: no pointers.
    let number = check(i64::from(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }))?;
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap_or(-1)) };
    // SAFETY: a plain C structure, of which all-zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes_with_nul()) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is an ifreq, as SIOCGIFFLAGS wants it.
    check(i64::from(unsafe {
        libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request)
    }))?;
    // SAFETY: SIOCGIFFLAGS fills in the flags.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    Ok(i32::from(flags) & libc::IFF_UP != 0)
}

/// A packet socket on an interface of the calling thread's network namespace: every frame that comes in (not those that go out), with virtio-net headers,
/// non-blocking (`packet(7)`).
pub fn packet_socket(index: u32) -> io::Result<OwnedFd> {
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    const RECEIVE_BUFFER: libc::c_int = 8 << 20;
    const SEND_BUFFER: libc::c_int = 8 << 20;
    let index = i32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: no pointers. Protocol 0: nothing comes in before it is bound.
    let number = check(i64::from(unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            0,
        )
    }))?;
    // SAFETY: the kernel just gave us this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(i32::try_from(number).unwrap_or(-1)) };
    let set = |level, name, value: libc::c_int| {
        // SAFETY: the value is an int, and its size says so.
        check(i64::from(unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        }))
    };
    set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    // Without privilege over the host the buffers stay as they are.
    let _ = set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER);
    let _ = set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER);
    let everybody = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: libc::PACKET_MR_ALLMULTI as libc::c_ushort,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: a packet_mreq of the size given.
    check(i64::from(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const everybody).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    }))?;
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as libc::c_ushort,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: a sockaddr_ll of the size given.
    check(i64::from(unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    }))?;
    Ok(fd)
}
