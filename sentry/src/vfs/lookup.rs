//! Path resolution (`path_resolution(7)`, `fs/namei.c`, `openat2(2)`).

use std::sync::Arc;

use abi::fs::{NAME_MAX, PATH_MAX, S_IFDIR, S_IFLNK, S_ISVTX};
use bitflags::bitflags;

use super::{Access, Dentry, File, FsContext, Inode, Link, MountFlags, Path, check_inode};
use crate::error::{Errno, Result};
use crate::task::creds::Creds;

/// Most symbolic links in one resolution.
const MAX_LINKS: u32 = 40;

bitflags! {
    /// How to resolve.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct LookupFlags: u32 {
        /// Follow a symbolic link in the last component.
        const FOLLOW = 1;
        /// The result must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the starting point (AT_EMPTY_PATH).
        const EMPTY = 4;
        /// RESOLVE_NO_SYMLINKS.
        const NO_SYMLINKS = 8;
        /// RESOLVE_NO_MAGICLINKS.
        const NO_MAGICLINKS = 16;
        /// RESOLVE_BENEATH.
        const BENEATH = 32;
        /// RESOLVE_IN_ROOT.
        const IN_ROOT = 64;
        /// RESOLVE_NO_XDEV.
        const NO_XDEV = 128;
        /// The caller means to open the result for reading.
        const TO_READ = 256;
    }
}

/// Who resolves.
#[derive(Clone, Copy)]
pub struct LookupCx<'a> {
    /// Root and working directory.
    pub fs: &'a FsContext,
    /// For search permission (fsuid, fsgid).
    pub creds: &'a Creds,
    /// The task, for `/proc/self` and magic links; `None` for the kernel's own look-ups.
    pub task: Option<&'a Arc<crate::task::Task>>,
}

/// Where a walk ended.
pub enum Found {
    /// A place in the tree.
    Path(Path),
    /// An open file without a place (`/proc/self/fd/3` of a pipe).
    File(Arc<File>),
}

impl Found {
    /// The place; `ENXIO` for a file without one.
    pub fn into_path(self) -> Result<Path> {
        match self {
            Self::Path(path) => Ok(path),
            Self::File(file) => file.path().cloned().ok_or(Errno::ENXIO),
        }
    }
    /// What is there.
    #[must_use]
    pub fn inode(&self) -> &Arc<Inode> {
        match self {
            Self::Path(path) => path.inode(),
            Self::File(file) => file.inode(),
        }
    }
    /// The place, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::File(file) => file.path(),
        }
    }
    /// `EROFS` if it is on a read-only mount.
    pub fn check_writable(&self) -> Result<()> {
        self.path().map_or(Ok(()), Path::check_writable)
    }
}

/// The parent of a last component that may not exist.
pub struct Parent {
    /// The directory.
    pub dir: Path,
    /// The last component.
    pub name: Vec<u8>,
    /// The path ended in a slash: only directories will do.
    pub trailing_slash: bool,
    /// The last component is `.`, `..` or the root itself: `EEXIST`, `EBUSY`, `EINVAL` or `ENOTEMPTY`, by call.
    pub special: Option<Special>,
}

/// A last component that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// `/`
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
}

struct Walk<'a> {
    cx: LookupCx<'a>,
    flags: LookupFlags,
    /// Where `..` and absolute links stop.
    root: Path,
    start: Path,
    links: u32,
}

enum Step {
    Done(Found),
    Parent(Parent),
}

/// Resolves `path` from `start` (the working directory unless a descriptor was given).
pub fn resolve(cx: LookupCx<'_>, start: &Path, path: &[u8], flags: LookupFlags) -> Result<Found> {
    match Walk::new(cx, start, flags)?.run(path, false)? {
        Step::Done(found) => Ok(found),
        Step::Parent(_) => Err(Errno::ENOENT),
    }
}

/// Resolves all but the last component of `path`.
pub fn resolve_parent(
    cx: LookupCx<'_>,
    start: &Path,
    path: &[u8],
    flags: LookupFlags,
) -> Result<Parent> {
    match Walk::new(cx, start, flags)?.run(path, true)? {
        Step::Parent(parent) => Ok(parent),
        Step::Done(_) => Err(Errno::ENOENT),
    }
}

/// The child `name` of `dir`, mounts on it crossed, links not followed. Search permission is checked.
pub fn child(cx: LookupCx<'_>, dir: &Path, name: &[u8]) -> Result<Path> {
    check_search(cx, dir)?;
    let dentry = dir.dentry.lookup(name)?;
    let place = Path {
        mount: dir.mount.clone(),
        dentry,
    };
    Ok(place.crossed())
}

fn check_search(cx: LookupCx<'_>, dir: &Path) -> Result<()> {
    let attr = dir.inode().access_attr()?;
    if attr.file_type() != S_IFDIR {
        return Err(Errno::ENOTDIR);
    }
    check_inode(dir.inode(), &attr, cx.creds, Access::EXEC)
}

impl<'a> Walk<'a> {
    fn new(cx: LookupCx<'a>, start: &Path, flags: LookupFlags) -> Result<Self> {
        let root = if flags.contains(LookupFlags::IN_ROOT) {
            start.clone()
        } else {
            cx.fs.root()
        };
        Ok(Self {
            cx,
            flags,
            root,
            start: start.clone(),
            links: 0,
        })
    }

    fn absolute(&self) -> Result<Path> {
        if self.flags.contains(LookupFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        Ok(self.root.clone())
    }

    fn run(mut self, path: &[u8], want_parent: bool) -> Result<Step> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if path.is_empty() {
            if self.flags.contains(LookupFlags::EMPTY) && !want_parent {
                return Ok(Step::Done(Found::Path(self.start)));
            }
            return Err(Errno::ENOENT);
        }
        let mut at = if path[0] == b'/' {
            self.absolute()?
        } else {
            self.start.clone()
        };
        // Components still to walk, the next one last.
        let mut todo: Vec<Vec<u8>> = Vec::new();
        let mut trailing_slash = push_components(&mut todo, path);
        if todo.is_empty() {
            // Only slashes.
            if want_parent {
                return Ok(Step::Parent(Parent {
                    dir: at,
                    name: b"/".to_vec(),
                    trailing_slash: true,
                    special: Some(Special::Root),
                }));
            }
            return Ok(Step::Done(Found::Path(at)));
        }
        while let Some(name) = todo.pop() {
            let last = todo.is_empty();
            check_search(self.cx, &at)?;
            if last && want_parent {
                let special = match name.as_slice() {
                    b"." => Some(Special::Dot),
                    b".." => Some(Special::DotDot),
                    _ => None,
                };
                if name.len() > NAME_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                return Ok(Step::Parent(Parent {
                    dir: at,
                    name,
                    trailing_slash,
                    special,
                }));
            }
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    at = self.dot_dot(&at)?;
                    continue;
                }
                _ => {}
            }
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            let next = Path {
                mount: at.mount.clone(),
                dentry: if last && self.flags.contains(LookupFlags::TO_READ) {
                    at.dentry.lookup_to_read(&name)?
                } else {
                    at.dentry.lookup(&name)?
                },
            };
            let next = self.cross(&at, next)?;
            let follow = !last || self.flags.contains(LookupFlags::FOLLOW) || trailing_slash;
            if follow && let Some(link) = next.inode().ops().as_symlink() {
                self.links += 1;
                if self.links > MAX_LINKS
                    || self.flags.contains(LookupFlags::NO_SYMLINKS)
                    || next.mount.flags().contains(MountFlags::NOSYMFOLLOW)
                {
                    return Err(Errno::ELOOP);
                }
                if last {
                    self.check_protected_link(&at, &next)?;
                }
                match link.follow(&self.cx)? {
                    Link::Text(text) => {
                        if text.is_empty() {
                            return Err(Errno::ENOENT);
                        }
                        if text[0] == b'/' {
                            at = self.absolute()?;
                        }
                        let slash = push_components(&mut todo, &text);
                        if last {
                            trailing_slash |= slash;
                        }
                        if todo.is_empty() {
                            return Ok(Step::Done(Found::Path(at)));
                        }
                    }
                    jump => {
                        let magic = LookupFlags::NO_MAGICLINKS
                            | LookupFlags::BENEATH
                            | LookupFlags::IN_ROOT;
                        if self.flags.intersects(magic) {
                            return Err(if self.flags.contains(LookupFlags::NO_MAGICLINKS) {
                                Errno::ELOOP
                            } else {
                                Errno::EXDEV
                            });
                        }
                        match jump {
                            Link::Jump(path) => at = path,
                            Link::JumpFile(file) if last => {
                                return Ok(Step::Done(Found::File(file)));
                            }
                            _ => return Err(Errno::ENOTDIR),
                        }
                        if last {
                            break;
                        }
                    }
                }
                continue;
            }
            at = next;
            if last {
                break;
            }
        }
        if (trailing_slash || self.flags.contains(LookupFlags::DIRECTORY))
            && at.inode().ops().as_dir().is_none()
        {
            return Err(Errno::ENOTDIR);
        }
        Ok(Step::Done(Found::Path(at)))
    }

    /// The rule of `fs.protected_symlinks` = 1 (`may_follow_link`): in a sticky world-writable directory only one's own links and those of the
    /// directory's owner are followed.
    fn check_protected_link(&self, dir: &Path, link: &Path) -> Result<()> {
        const SHARED: u32 = S_ISVTX | 0o002;
        let dir = dir.inode().access_attr()?;
        if dir.mode & SHARED != SHARED {
            return Ok(());
        }
        let link = link.inode().access_attr()?;
        if link.uid == self.cx.creds.fsuid || link.uid == dir.uid {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    fn cross(&self, from: &Path, path: Path) -> Result<Path> {
        let crossed = path.crossed();
        if self.flags.contains(LookupFlags::NO_XDEV) && !Arc::ptr_eq(&crossed.mount, &from.mount) {
            return Err(Errno::EXDEV);
        }
        Ok(crossed)
    }

    fn dot_dot(&self, at: &Path) -> Result<Path> {
        if self.flags.contains(LookupFlags::BENEATH) && at.same(&self.start) {
            return Err(Errno::EXDEV);
        }
        match at.parent(Some(&self.root)) {
            Some(parent) => self.cross(at, parent),
            None => Ok(at.clone()),
        }
    }
}

/// Puts the components of `path` on the stack, first one on top; says whether it ended in a slash.
fn push_components(stack: &mut Vec<Vec<u8>>, path: &[u8]) -> bool {
    let before = stack.len();
    stack.extend(
        path.split(|b| *b == b'/')
            .filter(|c| !c.is_empty())
            .map(<[u8]>::to_vec),
    );
    stack[before..].reverse();
    path.last() == Some(&b'/')
}

/// Whether the mount lets files at `path` be executed.
#[must_use]
pub fn may_execute_at(path: &Path) -> bool {
    !path.mount.flags().contains(MountFlags::NOEXEC)
}

/// Whether the inode is a symbolic link.
pub fn is_symlink(dentry: &Arc<Dentry>) -> Result<bool> {
    Ok(dentry.inode().file_type()? == S_IFLNK)
}
