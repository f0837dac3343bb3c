//! Names in the directories of a gofer's tree.

use std::sync::Arc;

use ::gofer::client::{
    Entry, Looked, NameChange, NodKind, OpenFlags, Ownership, RenameFlags, UnlinkKind, Want,
};

use super::Trust;
use super::attrs::Under;
use super::dir_state::DirState;
use super::node::Node;
use super::watch::OwnChange;
use crate::error::{Errno, Result};
use crate::vfs::{DirOps, Inode, NodeKind};

impl Node {
    fn find(&self, name: &[u8], open: bool) -> Result<Arc<Inode>> {
        let state = self.state();
        if let Some(state) = &state {
            match state.name(name) {
                Some(Some(inode)) => return Ok(inode),
                Some(None) => return Err(Errno::ENOENT),
                None => {}
            }
        }
        let fs = self.fs()?;
        let under = Under::of(state.as_ref());
        let asked = state.as_ref().map(|state| state.names_now());
        let note = |inode| {
            if let (Some(state), Some(asked)) = (&state, asked) {
                state.note(name, inode, asked);
            }
        };
        let mut want = Want::empty();
        want.set(Want::OPEN, open);
        let strays = match &fs.trust {
            Trust::Watches(watches) => {
                want |= Want::WATCH;
                watches.strays()
            }
            _ => 0,
        };
        let looked = self.look_up(name, want)?;
        let entry = match looked.found {
            Ok(entry) => entry,
            Err(Errno::ENOENT) => {
                note(None);
                return Err(Errno::ENOENT);
            }
            Err(errno) => return Err(errno),
        };
        let attr = entry.attr;
        let inode = fs.inode(entry, under);
        if let Some(node) = inode.downcast::<Self>() {
            if node.is_dir() && want.contains(Want::WATCH) {
                if node.is_watched() {
                    if let (Some(id), Trust::Watches(watches)) = (looked.watch, &fs.trust) {
                        // It counts once for each who asked: let the table settle it.
                        drop(watches.register(id));
                    }
                } else {
                    node.watched(looked.watch, Some(&attr), strays);
                }
            }
            if let Some(file) = looked.file {
                node.descriptors.keep_reading(file);
            }
        }
        note(Some(&inode));
        Ok(inode)
    }

    /// Asks the gofer; if it holds too much for this kernel's sake, lets go of what is not in use and asks again.
    fn look_up(&self, name: &[u8], want: Want) -> Result<Looked> {
        let ask = || self.client().look_up(self.remote(), name, want);
        let looked = ask()?;
        if !matches!(looked.found, Err(Errno::EMFILE | Errno::ENFILE)) {
            return Ok(looked);
        }
        crate::vfs::dentry::shrink();
        // What was let go of goes with the next messages.
        self.client().flush()?;
        ask()
    }

    /// Does what brings `name` into being, and notes it.
    fn bring(&self, name: &[u8], make: impl FnOnce() -> Result<Entry>) -> Result<Arc<Inode>> {
        let fs = self.fs()?;
        let state = self.state();
        let asked = state.as_ref().map(|state| state.names_now());
        let under = Under::of(state.as_ref());
        let own = OwnChange::begin(state.as_ref(), NameChange::Created, name);
        let made = make();
        own.settle(made.is_ok());
        let inode = fs.inode(made?, under);
        if let (Some(state), Some(asked)) = (&state, asked) {
            state.note_own(name, Some(&inode), asked);
        }
        self.names_changed();
        Ok(inode)
    }

    /// Does what changes `name` in another way, and notes what it leads to then.
    fn change(
        &self,
        name: &[u8],
        change: NameChange,
        then: Option<&Arc<Inode>>,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let state = self.state();
        let asked = state.as_ref().map(|state| state.names_now());
        let own = OwnChange::begin(state.as_ref(), change, name);
        let done = act();
        own.settle(done.is_ok());
        done?;
        if let (Some(state), Some(asked)) = (&state, asked) {
            state.note_own(name, then, asked);
        }
        self.names_changed();
        Ok(())
    }

    fn remove(&self, name: &[u8], inode: &Arc<Inode>, kind: UnlinkKind) -> Result<()> {
        self.change(name, NameChange::Deleted, None, || {
            self.client().unlink(self.remote(), name, kind)
        })?;
        if let Some(node) = inode.downcast::<Self>() {
            node.lost_name();
        }
        Ok(())
    }

    /// What is known of a name now, before we change it.
    fn known(state: Option<&Arc<DirState>>, name: &[u8]) -> Option<Arc<Inode>> {
        state.and_then(|state| state.name(name)).flatten()
    }
}

impl DirOps for Node {
    fn lookup(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.find(name, false)
    }

    fn lookup_to_read(&self, name: &[u8]) -> Result<Arc<Inode>> {
        self.find(name, true)
    }

    fn creates_without_lookup(&self) -> bool {
        true
    }

    fn still_valid(&self, name: &[u8], child: Option<&Arc<Inode>>) -> bool {
        self.state().is_some_and(|state| state.knows(name, child))
    }

    fn create(
        &self,
        name: &[u8],
        kind: NodeKind,
        mode: u32,
        uid: u32,
        gid: u32,
    ) -> Result<Arc<Inode>> {
        let owner = Ownership {
            mode: mode & 0o7777,
            uid,
            gid,
        };
        let (client, remote) = (self.client(), self.remote());
        let mut made = None;
        let inode = self.bring(name, || match kind {
            NodeKind::Directory => client.mkdir(remote, name, owner),
            NodeKind::Regular => {
                let flags = OpenFlags::READ | OpenFlags::WRITE;
                let (entry, fd) = client.create(remote, name, flags, owner)?;
                made = Some(fd);
                Ok(entry)
            }
            NodeKind::Fifo => client.mknod(remote, name, NodKind::Fifo, owner),
            NodeKind::Socket => client.mknod(remote, name, NodKind::Socket, owner),
            NodeKind::CharDevice(_) | NodeKind::BlockDevice(_) => {
                client.mknod(remote, name, NodKind::Device, owner)
            }
        })?;
        if let (Some(fd), Some(node)) = (made, inode.downcast::<Self>()) {
            node.descriptors.keep_made(fd);
        }
        Ok(inode)
    }

    fn symlink(&self, name: &[u8], target: &[u8], uid: u32, gid: u32) -> Result<Arc<Inode>> {
        let owner = Ownership {
            mode: 0o777,
            uid,
            gid,
        };
        self.bring(name, || {
            self.client().symlink(self.remote(), name, target, owner)
        })
    }

    fn link(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        let node = inode.downcast::<Self>().ok_or(Errno::EXDEV)?;
        self.change(name, NameChange::Created, Some(inode), || {
            let attr = self.client().link(node.remote(), self.remote(), name)?;
            node.learn_under(&attr, Under::of(self.state().as_ref()));
            Ok(())
        })
    }

    fn unlink(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.remove(name, inode, UnlinkKind::File)
    }

    fn rmdir(&self, name: &[u8], inode: &Arc<Inode>) -> Result<()> {
        self.remove(name, inode, UnlinkKind::Directory)
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<Inode>, new_name: &[u8], flags: u32) -> Result<()> {
        let target_dir = new_dir.downcast::<Self>().ok_or(Errno::EXDEV)?;
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let ask = || {
            self.client().rename(
                (self.remote(), name),
                (target_dir.remote(), new_name),
                flags,
            )
        };
        if flags.contains(RenameFlags::EXCHANGE) {
            // What is announced of it makes both names be looked up anew.
            return ask();
        }
        let source = Self::known(self.state().as_ref(), name);
        let replaced = Self::known(target_dir.state().as_ref(), new_name);
        let Some(source) = source else {
            return ask();
        };
        self.change(name, NameChange::MovedFrom, None, || {
            target_dir.change(new_name, NameChange::MovedTo, Some(&source), ask)
        })?;
        if let Some(node) = source.downcast::<Self>() {
            node.moved(Under::of(target_dir.state().as_ref()));
        }
        if let Some(node) = replaced.as_ref().and_then(|inode| inode.downcast::<Self>()) {
            node.lost_name();
        }
        Ok(())
    }

    fn tmpfile(&self, mode: u32, uid: u32, gid: u32) -> Result<Arc<Inode>> {
        let owner = Ownership {
            mode: mode & 0o7777,
            uid,
            gid,
        };
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let (entry, fd) = self.client().tmpfile(self.remote(), flags, owner)?;
        let inode = self.fs()?.inode(entry, Under::Nameless);
        if let Some(node) = inode.downcast::<Self>() {
            node.descriptors.keep_made(fd);
        }
        Ok(inode)
    }
}
