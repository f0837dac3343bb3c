//! Inodes of a gofer's tree.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ::gofer::client::{
    Attr as RemoteAttr, Client, Entry, Node as Remote, OpenFlags, WatchId, WatchMask, XattrFlags,
};
use parking_lot::Mutex;

use super::attrs::{self, Attrs, Under};
use super::capability::{self, Capability};
use super::descriptors::Descriptors;
use super::dir_state::DirState;
use super::file::{GoferDir, GoferFile};
use super::{GoferFs, Trust};
use crate::error::{Errno, Result};
use crate::host;
use crate::vfs::lookup::LookupCx;
use crate::vfs::{
    Attr, AttrChange, DirOps, FileOps, Inode, InodeOps, Link, OpenHow, SymlinkOps, XattrOps,
};

/// What is known of a directory's changes.
enum Watching {
    /// Nobody has asked for a watch.
    Unasked,
    /// It cannot be watched: nothing is believed.
    Refused,
    /// It is watched, or changes by us only.
    On(Arc<DirState>),
}

/// An inode.
pub(super) struct Node {
    fs: Weak<GoferFs>,
    client: Client,
    remote: Remote,
    kind: u32,
    target: Option<Box<[u8]>>,
    attrs: Attrs,
    capability: Capability,
    pub(super) descriptors: Descriptors,
    watching: Mutex<Watching>,
    /// Its last name was removed.
    unlinked: AtomicBool,
    exclusive: bool,
}

impl Node {
    pub(super) fn new(fs: &GoferFs, entry: Entry, under: Under) -> Self {
        Self {
            fs: fs.me.clone(),
            client: fs.client.clone(),
            kind: entry.attr.mode & abi::fs::S_IFMT,
            attrs: Attrs::new(&entry.attr, under),
            remote: entry.node,
            capability: Capability::default(),
            target: entry.target,
            descriptors: Descriptors::default(),
            watching: Mutex::new(Watching::Unasked),
            unlinked: AtomicBool::new(false),
            exclusive: matches!(fs.trust, Trust::Exclusive),
        }
    }

    /// Takes over what a look-up in a directory said.
    pub(super) fn learn_under(&self, attr: &RemoteAttr, under: Under) {
        self.attrs.learn_under(attr, under);
    }
    /// An event concerns its owner.
    pub(super) fn owner_changed(&self) {
        self.attrs.owner_changed();
    }
    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }
    pub(super) fn ino(&self) -> u64 {
        self.attrs.last().ino
    }
    pub(super) fn fs(&self) -> Result<Arc<GoferFs>> {
        self.fs.upgrade().ok_or(Errno::EIO)
    }
    pub(super) const fn is_dir(&self) -> bool {
        self.kind == abi::fs::S_IFDIR
    }

    /// The state of this directory, up to date; `None` if it cannot be watched and nothing may be believed. Asks for a watch at first use.
    pub(super) fn state(&self) -> Option<Arc<DirState>> {
        let fs = self.fs.upgrade()?;
        let watches = match &fs.trust {
            Trust::Nothing => return None,
            Trust::Exclusive => {
                let mut watching = self.watching.lock();
                if let Watching::On(state) = &*watching {
                    return Some(state.clone());
                }
                let state = Arc::new(DirState::new(None));
                state.note_attr(&self.attrs.last(), state.attr_now());
                *watching = Watching::On(state.clone());
                return Some(state);
            }
            Trust::Watches(watches) => watches,
        };
        watches.refresh();
        match &*self.watching.lock() {
            Watching::On(state) if !state.has_ended() => return Some(state.clone()),
            Watching::Refused => return None,
            Watching::On(_) | Watching::Unasked => {}
        }
        let strays = watches.strays();
        let watched = self.client.watch(&self.remote, WatchMask::CACHE);
        let (id, attr) = watched
            .ok()
            .flatten()
            .map_or((None, None), |(id, attr)| (Some(id), Some(attr)));
        if let Some(attr) = &attr {
            self.attrs.learn(attr, self.attrs.asking());
        }
        self.watched(id, attr.as_ref(), strays)
    }

    /// The gofer was asked for a watch, and perhaps for attributes after that. `strays`: [`super::watch::Watches::strays`] before.
    pub(super) fn watched(
        &self,
        id: Option<WatchId>,
        attr: Option<&RemoteAttr>,
        strays: u64,
    ) -> Option<Arc<DirState>> {
        let fs = self.fs.upgrade()?;
        let Trust::Watches(watches) = &fs.trust else {
            return None;
        };
        let Some(id) = id else {
            *self.watching.lock() = Watching::Refused;
            return None;
        };
        let state = watches.register(id);
        if watches.strays() != strays {
            // Something may have been told of it already, even its end: another time. Dropping the state ends the watch.
            return None;
        }
        if let Some(attr) = attr {
            state.note_attr(attr, state.attr_now());
        }
        let mut watching = self.watching.lock();
        if let Watching::On(other) = &*watching
            && !other.has_ended()
        {
            return Some(other.clone());
        }
        let old = std::mem::replace(&mut *watching, Watching::On(state.clone()));
        drop(watching);
        drop(old);
        Some(state)
    }
    /// Whether a look-up that finds this directory need not ask for a watch.
    pub(super) fn is_watched(&self) -> bool {
        !matches!(&*self.watching.lock(), Watching::Unasked)
    }

    /// A descriptor for reading.
    pub(super) fn readable(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.descriptors.reading() {
            return Ok(fd);
        }
        let asking = self.attrs.asking();
        let (fd, attr) = self.client.open(&self.remote, OpenFlags::READ)?;
        self.attrs.learn(&attr, asking);
        Ok(self.descriptors.keep_reading(fd))
    }

    /// A descriptor for writing, shared with others who write.
    fn writable(&self) -> Result<Arc<OwnedFd>> {
        if let Some(fd) = self.descriptors.writing() {
            return Ok(fd);
        }
        let asking = self.attrs.asking();
        let open = |flags| self.client.open(&self.remote, flags);
        let ((fd, attr), reads) = match open(OpenFlags::READ | OpenFlags::WRITE) {
            Ok(opened) => (opened, true),
            Err(Errno::EACCES) => (open(OpenFlags::WRITE)?, false),
            Err(errno) => return Err(errno),
        };
        self.attrs.learn(&attr, asking);
        let fd = Arc::new(fd);
        self.descriptors.know_writing(&fd, reads);
        Ok(fd)
    }

    /// It was renamed.
    pub(super) fn moved(&self, under: Under) {
        self.attrs.moved(under);
    }
    /// Names in this directory were changed by us.
    pub(super) fn names_changed(&self) {
        self.attrs.spoil();
    }

    /// One name less: with the last one goes what the kernel keeps without need.
    pub(super) fn lost_name(&self) {
        if self.is_dir() || self.attrs.last().nlink <= 1 {
            self.unlinked.store(true, Ordering::Relaxed);
            self.descriptors.forget_unused();
        }
        self.attrs.spoil();
    }

    /// Attributes of a directory: all, or only owner and mode.
    fn dir_attr(&self, whole: bool) -> Result<Attr> {
        let state = self.state();
        if let Some(attr) = state.as_ref().and_then(|state| state.attr(whole)) {
            return Ok(attrs::to_attr(&attr));
        }
        if let Some(attr) = self.attrs.fresh() {
            return Ok(attrs::to_attr(&attr));
        }
        let asked = state.map(|state| (state.attr_now(), state));
        let attr = self.ask()?;
        if let Some((asked, state)) = asked {
            state.note_attr(&attr, asked);
        }
        Ok(attrs::to_attr(&attr))
    }

    fn ask_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(self.client.getxattr(&self.remote, name)?.into_vec())
    }

    fn ask(&self) -> Result<RemoteAttr> {
        let asking = self.attrs.asking();
        let attr = self.client.getattr(&self.remote)?;
        self.attrs.learn(&attr, asking);
        Ok(attr)
    }

    fn refresh(&self) {
        if let Some(fs) = self.fs.upgrade()
            && let Trust::Watches(watches) = &fs.trust
        {
            watches.refresh();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if *self.unlinked.get_mut()
            && let Some(fs) = self.fs.upgrade()
            && let Trust::Watches(watches) = &fs.trust
        {
            watches.flush_soon();
        }
    }
}

impl InodeOps for Node {
    fn attr(&self) -> Result<Attr> {
        if self.is_dir() {
            return self.dir_attr(true);
        }
        if self.exclusive {
            return Ok(attrs::to_attr(&self.attrs.last()));
        }
        self.refresh();
        if self.kind == abi::fs::S_IFREG
            && let Some(fd) = self.descriptors.any()
            && let Some(owner) = self.attrs.owner()
        {
            let stat = host::fstat(&fd)?;
            return Ok(attrs::of_stat(&self.attrs.last(), &stat, owner));
        }
        let attr = match self.attrs.fresh() {
            Some(attr) => attr,
            None => self.ask()?,
        };
        Ok(attrs::to_attr(&attr))
    }

    fn access_attr(&self) -> Result<Attr> {
        if self.is_dir() {
            self.dir_attr(false)
        } else {
            self.attr()
        }
    }

    fn attr_for_open(&self, how: OpenHow) -> Result<Attr> {
        if self.kind == abi::fs::S_IFREG && !how.writable() && self.attrs.fresh().is_none() {
            // One message for both. If it fails, so does the open that follows.
            let _ = self.readable();
        }
        self.attr()
    }

    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        let asking = self.attrs.asking();
        let attr = self
            .client
            .setattr(&self.remote, &attrs::to_changes(change))?;
        self.attrs.learn(&attr, asking);
        if self.is_dir()
            && let Watching::On(state) = &*self.watching.lock()
        {
            state.attr_changed();
        }
        if change.size.is_some() {
            // On an overlay host truncation copies up: read-only descriptors may show the lower file.
            self.descriptors.forget_reading();
        }
        Ok(())
    }

    fn open(&self, inode: &Arc<Inode>, how: OpenHow) -> Result<Box<dyn FileOps>> {
        match self.kind {
            abi::fs::S_IFDIR => Ok(Box::new(GoferDir::new(inode.clone()))),
            abi::fs::S_IFREG => {
                let write = if how.writable() {
                    Some(self.writable()?)
                } else {
                    None
                };
                if how.readable() {
                    self.readable()?;
                }
                self.descriptors.opened();
                Ok(Box::new(GoferFile::new(inode.clone(), write)))
            }
            _ => Err(Errno::ENXIO),
        }
    }

    fn as_dir(&self) -> Option<&dyn DirOps> {
        self.is_dir().then_some(self)
    }
    fn as_symlink(&self) -> Option<&dyn SymlinkOps> {
        (self.kind == abi::fs::S_IFLNK).then_some(self)
    }
    fn as_xattr(&self) -> Option<&dyn XattrOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkOps for Node {
    fn follow(&self, _cx: &LookupCx<'_>) -> Result<Link> {
        match &self.target {
            Some(target) => Ok(Link::Text(target.to_vec())),
            None => Ok(Link::Text(self.client.readlink(&self.remote)?.into_vec())),
        }
    }
}

impl XattrOps for Node {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name == capability::NAME {
            return self.capability.get(|| self.attr(), || self.ask_xattr(name));
        }
        self.ask_xattr(name)
    }
    fn set(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        self.capability.forget();
        self.client.setxattr(&self.remote, name, value, flags)?;
        self.capability.forget();
        self.attrs.spoil();
        Ok(())
    }
    fn remove(&self, name: &[u8]) -> Result<()> {
        self.capability.forget();
        self.client.removexattr(&self.remote, name)?;
        self.capability.forget();
        self.attrs.spoil();
        Ok(())
    }
    fn list(&self) -> Result<Vec<Vec<u8>>> {
        let names = self.client.listxattr(&self.remote)?;
        Ok(names
            .split(|b| *b == 0)
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect())
    }
}
