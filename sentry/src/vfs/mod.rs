//! The virtual file system: what is common to all file systems.
//!
//! - [`Inode`] (concrete: identity, locks, watches, FIFO) over [`InodeOps`] (what a file system provides), with optional powers by accessor:
//!   [`DirOps`], [`SymlinkOps`], [`XattrOps`].
//! - [`Dentry`]: a name in the tree, cached (negative ones too); valid as long as its directory says so.
//! - [`Mount`], [`MountNamespace`], [`Path`]: where trees are joined.
//! - [`File`] (the open file description: access mode, offset, flags; checked once, here) over [`FileOps`].
//! - [`FdTable`], [`FsContext`]: a task's descriptors, root, working directory and umask.
//! - [`lookup`]: path resolution. [`open_at`], [`mkdir_at`], [`unlink_at`], [`rename_at`], [`link_at`], [`change_mode`] …: what the calls do, permission
//!   checks included. [`events`]: where changes are announced to inotify.
//!
//! - [`moment`]: how long an answer of a file server counts as current.
//!
//! Kernel objects never block: operations return `EAGAIN` or what they have. Permission checks are the VFS's, on attributes; file systems do none.
//!
//! Lock order (outer first): rename lock → a directory's `names` → mount table → dentry children → dentry name/parent → inode state → file offset → a file system's own locks.

pub mod acl;
mod attr;
mod close;
mod create;
pub(crate) mod dentry;
pub mod events;
mod fd_table;
mod file;
mod fs_context;
pub mod fs_types;
mod inode;
mod io;
mod link;
pub mod lookup;
pub mod moment;
mod mount;
mod open;
mod path;
mod permission;
mod rename;
mod set_attr;
mod special;
mod text_busy;
mod unlink;
pub mod xattr;

pub use attr::{Attr, AttrChange, SetTime};
pub use close::close_file;
pub use create::{mkdir_at, mknod_at, symlink_at};
pub use dentry::Dentry;
pub use fd_table::{Fd, FdFlags, FdTable, NR_OPEN};
pub use file::{DirEntry, File, FileOps, IoCx, Mappable, SeekFrom};
pub use fs_context::FsContext;
pub use inode::{
    DirOps, Inode, InodeOps, Link, NodeKind, OpenHow, SharedState, SymlinkOps, XattrOps,
};
pub use io::{KernelSink, KernelSource, Sink, Source};
pub use link::link_at;
pub use mount::{
    FileSystem, Mount, MountFlags, MountNamespace, PeerGroup, PropagationType, UmountHow,
    anonymous_dev,
};
pub use open::{OpenOutcome, OpenRequest, node_kind, open_at, open_found, place_holder};
pub use path::Path;
pub use permission::{Access, check_access, check_inode, check_sticky};
pub use rename::rename_at;
pub use set_attr::{change_mode, change_owner, set_times, strip_privileges, truncate};
pub use special::PendingFifo;
pub use text_busy::{TextHold, WriteCount};
pub use unlink::{rmdir_at, unlink_at};

#[cfg(test)]
mod tests;
