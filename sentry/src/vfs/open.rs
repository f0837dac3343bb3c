//! `open(2)`, `openat2(2)`: from a path to an open file (`fs/namei.c`: path_openat, do_open; `fs/open.c`).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::fs::{
    O_ACCMODE, O_CREAT, O_DIRECTORY, O_EXCL, O_NOATIME, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY,
    O_TMPFILE_BIT, O_TRUNC, O_WRONLY, S_IALLUGO, S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK,
    S_IFMT, S_IFREG, S_IFSOCK,
};

use crate::fs::host_file::HostInode;

use super::create::{Vacancy, check_dir_writable, inherit, is_free, make};
use super::lookup::{Found, LookupCx, LookupFlags, Parent, resolve, resolve_parent};
use super::special::PendingFifo;
use super::{
    Access, Attr, AttrChange, Dentry, File, FileOps, Inode, Link, MountFlags, MountNamespace,
    NodeKind, OpenHow, Path, TextHold, check_inode, events, special,
};
use crate::error::{Errno, Result};
use crate::task::creds::Creds;

/// How a guest asked to open.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenRequest {
    /// `O_*` flags.
    pub flags: u32,
    /// Mode of a file to be made, before the umask.
    pub mode: u32,
    /// RESOLVE_* of `openat2`, as look-up flags.
    pub resolve: LookupFlags,
}

/// What opening gave.
pub enum OpenOutcome {
    /// An open file.
    Ready(Arc<File>),
    /// Another has a lease that stands in the way, and was told: to be tried again when it is gone.
    Leased(Arc<Inode>, bool),
    /// A FIFO that may have to wait for its other end.
    Fifo(PendingFifo),
}

/// Most times that a file which vanishes between look-up and creation is looked up anew.
const CREATE_ATTEMPTS: u32 = 8;
/// Most links followed in the last component.
const MAX_LINKS: u32 = 40;

impl OpenRequest {
    /// The rules on flags that need no path (`build_open_flags`): `EINVAL`.
    pub fn checked(mut self) -> Result<Self> {
        if self.flags & O_TMPFILE_BIT != 0 {
            if self.flags & O_DIRECTORY == 0 || self.flags & O_ACCMODE == O_RDONLY {
                return Err(Errno::EINVAL);
            }
            if self.flags & O_CREAT != 0 {
                return Err(Errno::EINVAL);
            }
        }
        if self.flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT {
            return Err(Errno::EINVAL);
        }
        if self.flags & O_PATH != 0 {
            self.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | abi::fs::O_CLOEXEC;
        }
        Ok(self)
    }

    /// The permissions that opening needs; access mode 3 (ioctl only) needs both.
    fn access(&self) -> Access {
        let mut access = match self.flags & O_ACCMODE {
            O_RDONLY => 4,
            O_WRONLY => 2,
            _ => 6,
        };
        if self.flags & O_TRUNC != 0 {
            access |= 2;
        }
        Access(access)
    }
}

/// Opens `path` from `start`.
pub fn open_at(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    request: OpenRequest,
) -> Result<OpenOutcome> {
    let request = request.checked()?;
    if request.flags & O_TMPFILE_BIT != 0 {
        return open_tmpfile(cx, start, path, request).map(OpenOutcome::Ready);
    }
    if request.flags & O_CREAT == 0 {
        let mut flags = request.resolve;
        flags.set(LookupFlags::FOLLOW, request.flags & O_NOFOLLOW == 0);
        flags.set(LookupFlags::DIRECTORY, request.flags & O_DIRECTORY != 0);
        let reads = request.flags & (O_ACCMODE | O_PATH | O_DIRECTORY | O_TRUNC) == O_RDONLY;
        flags.set(LookupFlags::TO_READ, reads);
        let found = resolve(cx, start, path, flags)?;
        return open_found(cx, &found, request);
    }
    create_or_open(cx, start, path, request)
}

/// O_CREAT: the last component's links are followed here, since what they lead to may have to be made.
fn create_or_open(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    request: OpenRequest,
) -> Result<OpenOutcome> {
    let exclusive = request.flags & O_EXCL != 0;
    let mut start = start.clone();
    let mut path = path.to_vec();
    let mut links = 0;
    let mut attempts = 0;
    loop {
        let parent = resolve_parent(cx, &start, &path, request.resolve)?;
        if parent.special.is_some() {
            return Err(if exclusive {
                Errno::EEXIST
            } else {
                Errno::EISDIR
            });
        }
        if parent.trailing_slash {
            return Err(Errno::EISDIR);
        }
        let Parent { dir, name, .. } = parent;
        let looked = if exclusive && is_free(&dir, &name, cx.creds) {
            Err(Errno::ENOENT)
        } else {
            dir.dentry.lookup(&name)
        };
        let dentry = match looked {
            Ok(dentry) => dentry,
            Err(Errno::ENOENT) => {
                dir.check_writable()?;
                let dir_attr = check_dir_writable(&dir, cx.creds)?;
                if dir.dentry.is_unlinked() {
                    return Err(Errno::ENOENT);
                }
                let mode = request.mode & S_IALLUGO;
                let at = Vacancy { dir, name };
                match make(cx, &at, &dir_attr, NodeKind::Regular, mode) {
                    Ok(dentry) => return open_created(&at.dir, dentry, request),
                    // Somebody else has just made it.
                    Err(Errno::EEXIST) if !exclusive && attempts < CREATE_ATTEMPTS => {
                        at.dir.dentry.forget(&at.name, false);
                        attempts += 1;
                        continue;
                    }
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        };
        if exclusive {
            return Err(Errno::EEXIST);
        }
        let place = Path {
            mount: dir.mount.clone(),
            dentry,
        }
        .crossed();
        let Some(link) = place.inode().ops().as_symlink() else {
            return open_found(cx, &Found::Path(place), request);
        };
        links += 1;
        if request.flags & O_NOFOLLOW != 0
            || links > MAX_LINKS
            || request.resolve.contains(LookupFlags::NO_SYMLINKS)
            || place.mount.flags().contains(MountFlags::NOSYMFOLLOW)
        {
            return Err(Errno::ELOOP);
        }
        // Whether the link may be followed, and where magic ones lead, is the look-up's business; only a missing target is ours.
        let flags = request.resolve | LookupFlags::FOLLOW;
        match resolve(cx, &dir, &name, flags) {
            Ok(found) => return open_found(cx, &found, request),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        match link.follow(&cx)? {
            Link::Text(text) => {
                start = dir;
                path = text;
            }
            Link::Jump(_) | Link::JumpFile(_) => return Err(Errno::ENOENT),
        }
    }
}

/// Opens a file that this very call has made: no permission is asked for, nothing is truncated.
fn open_created(dir: &Path, dentry: Arc<Dentry>, request: OpenRequest) -> Result<OpenOutcome> {
    let path = Path {
        mount: dir.mount.clone(),
        dentry,
    };
    let inode = path.inode().clone();
    let hold = text_hold(&inode, request)?;
    let ops = inode.ops().open(&inode, how(request))?;
    let file = File::new(Some(path), inode, ops, request.flags);
    file.hold_text(hold);
    events::opened(&file);
    Ok(OpenOutcome::Ready(file))
}

/// The file's share in its inode's writers, if it is to be written: `ETXTBSY` while it runs.
fn text_hold(inode: &Arc<Inode>, request: OpenRequest) -> Result<Option<TextHold>> {
    if request.flags & O_ACCMODE == O_RDONLY {
        return Ok(None);
    }
    TextHold::write(inode)
}

const fn how(request: OpenRequest) -> OpenHow {
    OpenHow {
        flags: request.flags,
    }
}

fn open_tmpfile(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    request: OpenRequest,
) -> Result<Arc<File>> {
    let mut flags = request.resolve | LookupFlags::DIRECTORY;
    flags.set(LookupFlags::FOLLOW, request.flags & O_NOFOLLOW == 0);
    let dir = resolve(cx, start, path, flags)?.into_path()?;
    dir.check_writable()?;
    let dir_attr = check_dir_writable(&dir, cx.creds)?;
    let mode = request.mode & S_IALLUGO & !cx.fs.umask();
    let (mode, gid) = inherit(&dir_attr, mode, false, cx.creds);
    let inode = dir.inode().dir()?.tmpfile(mode, cx.creds.fsuid, gid)?;
    if request.flags & O_EXCL == 0 {
        inode.state.linkable.store(true, Ordering::Relaxed);
    }
    let name = format!("#{}", inode.attr()?.ino);
    let place = Path {
        mount: dir.mount.clone(),
        dentry: Dentry::detached(inode.clone(), Some(dir.dentry.clone()), name.as_bytes()),
    };
    let hold = text_hold(&inode, request)?;
    let ops = inode.ops().open(&inode, how(request))?;
    let file = File::new(Some(place), inode, ops, request.flags & !O_DIRECTORY);
    file.hold_text(hold);
    Ok(file)
}

/// `EPERM` for O_NOATIME on another's file.
fn check_noatime(attr: &Attr, creds: &Creds, flags: u32) -> Result<()> {
    if flags & O_NOATIME != 0 && creds.fsuid != attr.uid && !creds.owns_over(attr.uid) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Opens what a look-up found (`do_open`): checks in Linux's order, truncates, opens.
pub fn open_found(cx: LookupCx<'_>, found: &Found, request: OpenRequest) -> Result<OpenOutcome> {
    let inode = found.inode();
    let path = found.path();
    if request.flags & O_PATH != 0 {
        let ops = Box::new(PathOnly(match found {
            Found::File(file) => file.ops().anonymous_name(),
            Found::Path(_) => Vec::new(),
        }));
        return Ok(OpenOutcome::Ready(File::new(
            path.cloned(),
            inode.clone(),
            ops,
            request.flags,
        )));
    }
    let attr = inode.ops().attr_for_open(how(request))?;
    let kind = attr.file_type();
    if request.flags & O_CREAT != 0 && kind == S_IFDIR {
        return Err(Errno::EISDIR);
    }
    if request.flags & O_DIRECTORY != 0 && kind != S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    let truncate = kind == S_IFREG && request.flags & O_TRUNC != 0;
    if truncate {
        found.check_writable()?;
    }
    let access = request.access();
    match kind {
        S_IFLNK => return Err(Errno::ELOOP),
        S_IFDIR if access.0 & 2 != 0 => return Err(Errno::EISDIR),
        S_IFCHR | S_IFBLK
            if path.is_some_and(|path| path.mount.flags().contains(MountFlags::NODEV)) =>
        {
            return Err(Errno::EACCES);
        }
        _ => {}
    }
    check_inode(inode, &attr, cx.creds, access)?;
    check_noatime(&attr, cx.creds, request.flags)?;
    if request.flags & O_ACCMODE != O_RDONLY && matches!(kind, S_IFREG | S_IFDIR) {
        found.check_writable()?;
    }
    let leases = &inode.state.leases;
    let writes = access.0 & 2 != 0;
    if kind == S_IFREG && !leases.is_empty() && leases.conflicts(writes) {
        leases.break_for(writes);
        if request.flags & O_NONBLOCK != 0 {
            return Err(Errno::EAGAIN);
        }
        return Ok(OpenOutcome::Leased(inode.clone(), writes));
    }
    let file = match kind {
        S_IFSOCK => return Err(Errno::ENXIO),
        // A pipe of the host that was passed in (`/dev/stdout`) is no FIFO of ours.
        S_IFIFO if inode.downcast::<HostInode>().is_some() => {
            open_plain(inode, path, false, request)?
        }
        S_IFIFO => {
            let pending = PendingFifo::new(cx, path, inode, request.flags)?;
            return Ok(OpenOutcome::Fifo(pending));
        }
        // Terminals of the host that were passed in are devices with an open of their own.
        S_IFCHR | S_IFBLK if matches!(found, Found::Path(_)) => {
            special::open_device(cx, path, inode, request.flags)?
        }
        // Anonymous inodes have no type; their `open` says ENXIO, as Linux's `no_open`.
        _ => open_plain(inode, path, truncate, request)?,
    };
    if let Some(task) = cx.task {
        file.set_opener(task.creds());
    }
    events::opened(&file);
    Ok(OpenOutcome::Ready(file))
}

fn open_plain(
    inode: &Arc<Inode>,
    path: Option<&Path>,
    truncate: bool,
    request: OpenRequest,
) -> Result<Arc<File>> {
    let hold = if truncate {
        TextHold::write(inode)?
    } else {
        text_hold(inode, request)?
    };
    let ops = inode.ops().open(inode, how(request))?;
    if truncate {
        inode.ops().set_attr(&AttrChange {
            size: Some(0),
            ..AttrChange::default()
        })?;
        if let Some(path) = path {
            events::content_changed(&path.dentry);
        }
    }
    let file = File::new(path.cloned(), inode.clone(), ops, request.flags);
    file.hold_text(hold.filter(|_| request.flags & O_ACCMODE != O_RDONLY));
    Ok(file)
}

/// A description that names `path` and gives no I/O, as O_PATH makes it; it keeps a tree of mounts that is attached to nothing (`open_tree(2)`).
#[must_use]
pub fn place_holder(path: Path, tree: Option<Arc<MountNamespace>>) -> Arc<File> {
    let inode = path.inode().clone();
    let ops: Box<dyn FileOps> = match tree {
        Some(tree) => Box::new(DetachedTree { _tree: tree }),
        None => Box::new(PathOnly(Vec::new())),
    };
    File::new(Some(path), inode, ops, O_PATH)
}

/// An O_PATH description that a detached tree of mounts lives as long as.
struct DetachedTree {
    _tree: Arc<MountNamespace>,
}

impl FileOps for DetachedTree {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What an O_PATH description can do: nothing.
struct PathOnly(Vec<u8>);

impl FileOps for PathOnly {
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        self.0.clone()
    }
}

/// The `S_IF*` bits as a kind of node to make with `mknod(2)`: `EINVAL` for what it cannot make, `EPERM` for directories.
pub fn node_kind(mode: u32, dev: u64) -> Result<NodeKind> {
    match mode & S_IFMT {
        0 | S_IFREG => Ok(NodeKind::Regular),
        S_IFIFO => Ok(NodeKind::Fifo),
        S_IFSOCK => Ok(NodeKind::Socket),
        S_IFCHR => Ok(NodeKind::CharDevice(dev)),
        S_IFBLK => Ok(NodeKind::BlockDevice(dev)),
        S_IFDIR => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}
