//! Names of Unix sockets.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::fs::S_IFSOCK;
use abi::socket::{AF_UNIX, SOCKADDR_UN_SIZE};
use parking_lot::Mutex;

use super::{Bound, UnixSocket};
use crate::error::{Errno, Result};
use crate::socket::SockAddr;
use crate::task::CurrentTask;
use crate::vfs::lookup::{LookupCx, LookupFlags, resolve};
use crate::vfs::{Access, Inode, NodeKind, Path, check_inode, mknod_at};

/// Names that begin with NUL, of one network namespace.
#[derive(Default)]
struct AbstractNames(Mutex<HashMap<Vec<u8>, Weak<UnixSocket>>>);

/// What a socket is bound to.
pub(super) enum Name {
    /// A file, which must stay known for as long as the socket is bound to it.
    Path { addr: SockAddr, _inode: Arc<Inode> },
    /// An abstract name (with its leading NUL).
    Abstract(Vec<u8>),
    /// The address of the listener that a connection was made through.
    Inherited(SockAddr),
}

/// A parsed address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Only a family: autobind.
    Unnamed,
    /// A path.
    Path(Vec<u8>),
    /// An abstract name (with its leading NUL).
    Abstract(Vec<u8>),
}

/// Parses `struct sockaddr_un`: `EINVAL` for another family or a bad length.
pub(super) fn parse(addr: &[u8]) -> Result<Target> {
    let (family, rest) = addr.split_at_checked(2).ok_or(Errno::EINVAL)?;
    if addr.len() > SOCKADDR_UN_SIZE
        || i32::from(u16::from_ne_bytes([family[0], family[1]])) != AF_UNIX
    {
        return Err(Errno::EINVAL);
    }
    match rest.first() {
        None => Ok(Target::Unnamed),
        Some(0) => Ok(Target::Abstract(rest.to_vec())),
        Some(_) => {
            let end = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
            Ok(Target::Path(rest[..end].to_vec()))
        }
    }
}

fn with_family(rest: &[u8]) -> SockAddr {
    let mut addr = (AF_UNIX as u16).to_ne_bytes().to_vec();
    addr.extend_from_slice(rest);
    addr
}

/// A name as `getsockname(2)` gives it.
pub(super) fn shown(name: Option<&Name>) -> SockAddr {
    match name {
        None => with_family(&[]),
        Some(Name::Path { addr, .. } | Name::Inherited(addr)) => addr.clone(),
        Some(Name::Abstract(name)) => with_family(name),
    }
}

/// Takes an abstract name back.
pub(super) fn release(socket: &Arc<UnixSocket>, name: &Name) {
    if let Name::Abstract(name) = name {
        let names = socket.net.objects.get::<AbstractNames>();
        let mut names = names.0.lock();
        if names
            .get(name)
            .is_some_and(|owner| std::ptr::eq(owner.as_ptr(), Arc::as_ptr(socket)))
        {
            names.remove(name);
        }
    }
}

fn take_abstract(socket: &Arc<UnixSocket>, name: Vec<u8>) -> Result<Name> {
    let names = socket.net.objects.get::<AbstractNames>();
    let mut names = names.0.lock();
    if names.contains_key(&name) {
        return Err(Errno::EADDRINUSE);
    }
    names.insert(name.clone(), Arc::downgrade(socket));
    Ok(Name::Abstract(name))
}

/// Five hexadecimal digits that nobody has.
fn autobind(socket: &Arc<UnixSocket>) -> Result<Name> {
    const NAMES: u32 = 1 << 20;
    let mut start = [0; 4];
    crate::host::random(&mut start);
    let start = u32::from_ne_bytes(start);
    for step in 0..NAMES {
        let number = start.wrapping_add(step) % NAMES;
        let name = format!("\0{number:05x}").into_bytes();
        if let Ok(name) = take_abstract(socket, name) {
            return Ok(name);
        }
    }
    Err(Errno::ENOSPC)
}

/// `bind(2)`.
pub(super) fn bind(task: &CurrentTask, socket: &Arc<UnixSocket>, addr: &[u8]) -> Result<()> {
    let target = parse(addr)?;
    if socket.state.lock().name.is_some() {
        // Linux looks at the file first, and then finds that the socket has a name.
        return if target == Target::Unnamed {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        };
    }
    let name = match target {
        Target::Unnamed => autobind(socket)?,
        Target::Abstract(name) => take_abstract(socket, name)?,
        Target::Path(path) => {
            let inode = make_node(task, &path)?;
            let bound: Bound = Arc::downgrade(socket) as Bound;
            *inode.shared.socket.lock() = Some(bound);
            let mut shown = with_family(&path);
            shown.push(0);
            Name::Path {
                addr: shown,
                _inode: inode,
            }
        }
    };
    let mut state = socket.state.lock();
    if state.name.is_some() {
        drop(state);
        release(socket, &name);
        return Err(Errno::EINVAL);
    }
    state.name = Some(name);
    Ok(())
}

/// Gives the socket a name if it has none (sockets with SO_PASSCRED that send or connect).
pub(super) fn ensure_bound(task: &CurrentTask, socket: &Arc<UnixSocket>) -> Result<()> {
    let unnamed = socket.state.lock().name.is_none();
    if unnamed && socket.options.lock().pass_creds {
        bind(task, socket, &with_family(&[]))?;
    }
    Ok(())
}

fn make_node(task: &CurrentTask, path: &[u8]) -> Result<Arc<Inode>> {
    let (fs, creds) = task.lookup_parts();
    let cx = LookupCx {
        fs: &fs,
        creds: &creds,
        task: Some(task.task()),
    };
    match mknod_at(cx, &fs.cwd(), path, NodeKind::Socket, 0o777) {
        Ok(dentry) => Ok(dentry.inode().clone()),
        Err(Errno::EEXIST) => Err(Errno::EADDRINUSE),
        Err(errno) => Err(errno),
    }
}

/// The file at a path of the task's.
pub(super) fn look_up(task: &CurrentTask, path: &[u8]) -> Result<Path> {
    let (fs, creds) = task.lookup_parts();
    let cx = LookupCx {
        fs: &fs,
        creds: &creds,
        task: Some(task.task()),
    };
    resolve(cx, &fs.cwd(), path, LookupFlags::FOLLOW)?.into_path()
}

/// The socket at an address: `ECONNREFUSED` if there is none, or the errors of path resolution.
pub(super) fn find(
    task: &CurrentTask,
    socket: &UnixSocket,
    target: &Target,
) -> Result<Arc<UnixSocket>> {
    match target {
        Target::Unnamed => Err(Errno::EINVAL),
        Target::Abstract(name) => {
            let names = socket.net.objects.get::<AbstractNames>();
            let found = names.0.lock().get(name).and_then(Weak::upgrade);
            found.ok_or(Errno::ECONNREFUSED)
        }
        Target::Path(path) => {
            let path = look_up(task, path)?;
            let inode = path.inode();
            let attr = inode.attr()?;
            check_inode(inode, &attr, &task.creds(), Access::WRITE)?;
            if attr.file_type() != S_IFSOCK {
                return Err(Errno::ECONNREFUSED);
            }
            let bound = inode.shared.socket.lock().clone();
            bound
                .and_then(|bound| bound.upgrade())
                .and_then(|any| any.downcast::<UnixSocket>().ok())
                .ok_or(Errno::ECONNREFUSED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_up_to_a_nul_or_abstract_to_the_last_byte() {
        let addr = |rest: &[u8]| with_family(rest);
        assert_eq!(parse(&addr(b"")), Ok(Target::Unnamed));
        assert_eq!(parse(&addr(b"/a\0b")), Ok(Target::Path(b"/a".to_vec())));
        assert_eq!(
            parse(&addr(b"\0a\0b")),
            Ok(Target::Abstract(b"\0a\0b".to_vec()))
        );
        assert_eq!(parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(parse(&[2, 0, 1]), Err(Errno::EINVAL));
        assert_eq!(parse(&addr(&[b'a'; 109])), Err(Errno::EINVAL));
        assert!(parse(&addr(&[b'a'; 108])).is_ok());
    }
}
