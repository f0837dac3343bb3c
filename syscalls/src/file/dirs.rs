//! Directories: listing, working directory, root.

use abi::fs::{PATH_MAX, S_IFDIR, S_IFMT};
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
use sentry::task::creds::Cap;
use sentry::vfs::lookup::LookupFlags;
use sentry::vfs::{Access, DirEntry, Fd, Path, check_inode, events};

use super::path::{CWD, Walker, get_path};

/// Most bytes that one call lists, whatever the guest's buffer.
const MAX_LISTING: usize = 1 << 20;
const NAME_AT_64: usize = 19;
const NAME_AT_OLD: usize = 18;

/// `getdents64(2)`.
pub async fn getdents64(cx: &CurrentTask, fd: Fd, buf: UserOut<u8>, len: u32) -> SysResult<usize> {
    list(cx, fd, buf, len, encode_64)
}

/// `getdents(2)`, with the type behind the name.
pub async fn getdents(cx: &CurrentTask, fd: Fd, buf: UserOut<u8>, len: u32) -> SysResult<usize> {
    list(cx, fd, buf, len, encode_old)
}

/// `d_type`: the type bits as `DT_*`.
const fn dirent_type(entry: &DirEntry) -> u8 {
    ((entry.file_type & S_IFMT) >> 12) as u8
}

/// A `struct linux_dirent64`, padded to eight bytes.
fn encode_64(entry: &DirEntry) -> Vec<u8> {
    let len = (NAME_AT_64 + entry.name.len() + 1).next_multiple_of(8);
    let mut record = Vec::with_capacity(len);
    record.extend_from_slice(&entry.ino.to_ne_bytes());
    record.extend_from_slice(&entry.next.to_ne_bytes());
    record.extend_from_slice(&(len as u16).to_ne_bytes());
    record.push(dirent_type(entry));
    record.extend_from_slice(&entry.name);
    record.resize(len, 0);
    record
}

/// A `struct linux_dirent`: the type is the record's last byte.
fn encode_old(entry: &DirEntry) -> Vec<u8> {
    let len = (NAME_AT_OLD + entry.name.len() + 2).next_multiple_of(8);
    let mut record = Vec::with_capacity(len);
    record.extend_from_slice(&entry.ino.to_ne_bytes());
    record.extend_from_slice(&entry.next.to_ne_bytes());
    record.extend_from_slice(&(len as u16).to_ne_bytes());
    record.extend_from_slice(&entry.name);
    record.resize(len, 0);
    record[len - 1] = dirent_type(entry);
    record
}

fn list(
    cx: &CurrentTask,
    fd: Fd,
    buf: UserOut<u8>,
    len: u32,
    encode: fn(&DirEntry) -> Vec<u8>,
) -> SysResult<usize> {
    let file = cx.file(fd)?;
    if file.inode().ops().as_dir().is_none() {
        return Err(Errno::ENOTDIR.into());
    }
    if file.path().is_some_and(|path| path.dentry.is_unlinked()) {
        return Err(Errno::ENOENT.into());
    }
    let room = (len as usize).min(MAX_LISTING);
    let mut out = Vec::new();
    let mut refused = false;
    let mut at = file.offset().lock();
    let mut next = *at;
    file.ops().readdir(*at, &mut |entry| {
        let record = encode(entry);
        if out.len() + record.len() > room {
            refused = true;
            return false;
        }
        out.extend_from_slice(&record);
        next = entry.next;
        true
    })?;
    if out.is_empty() && refused {
        return Err(Errno::EINVAL.into());
    }
    cx.memory().write(buf.addr(), &out)?;
    *at = next;
    drop(at);
    events::accessed(&file);
    Ok(out.len())
}

/// `getcwd(2)`: the length with the NUL.
pub async fn getcwd(cx: &CurrentTask, buf: UserOut<u8>, len: usize) -> SysResult<usize> {
    let fs = cx.fs();
    let cwd = fs.cwd();
    if cwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT.into());
    }
    let mut text = cwd.display(&fs);
    text.push(0);
    if text.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if text.len() > len {
        return Err(Errno::ERANGE.into());
    }
    cx.memory().write(buf.addr(), &text)?;
    Ok(text.len())
}

fn check_enterable(walker: &Walker, place: &Path) -> SysResult<()> {
    let attr = place.inode().attr()?;
    if attr.file_type() != S_IFDIR {
        return Err(Errno::ENOTDIR.into());
    }
    Ok(check_inode(
        place.inode(),
        &attr,
        &walker.creds,
        Access::EXEC,
    )?)
}

fn find_dir(cx: &CurrentTask, walker: &Walker, path: UserIn<u8>) -> SysResult<Path> {
    let path = get_path(cx, path)?;
    let flags = LookupFlags::FOLLOW | LookupFlags::DIRECTORY;
    let place = walker.find(cx, CWD, &path, flags)?.into_path()?;
    check_enterable(walker, &place)?;
    Ok(place)
}

/// `chdir(2)`.
pub async fn chdir(cx: &CurrentTask, path: UserIn<u8>) -> SysResult<()> {
    let walker = Walker::new(cx);
    let place = find_dir(cx, &walker, path)?;
    walker.fs.set_cwd(place);
    Ok(())
}

/// `fchdir(2)`.
pub async fn fchdir(cx: &CurrentTask, fd: Fd) -> SysResult<()> {
    let file = cx.files().get(fd)?;
    let walker = Walker::new(cx);
    let place = file.path().cloned().ok_or(Errno::ENOTDIR)?;
    check_enterable(&walker, &place)?;
    walker.fs.set_cwd(place);
    Ok(())
}

/// `chroot(2)`.
pub async fn chroot(cx: &CurrentTask, path: UserIn<u8>) -> SysResult<()> {
    let walker = Walker::new(cx);
    let place = find_dir(cx, &walker, path)?;
    walker.creds.require_here(Cap::SYS_CHROOT)?;
    walker.fs.set_root(place);
    Ok(())
}

/// `umask(2)`.
pub async fn umask(cx: &CurrentTask, mask: u32) -> SysResult<u32> {
    Ok(cx.fs().set_umask(mask))
}
