//! Identifiers and keys (`ipc/util.c`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use abi::ipc::{IPC_CREAT, IPC_EXCL, IPC_PRIVATE, IpcPerm};
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::task::CurrentTask;
use crate::task::creds::{Cap, Creds};

/// An identifier is `sequence * SLOTS + slot`.
const SLOTS: i32 = 32768;

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Key, 0 for private objects.
    pub key: i32,
    /// Owner.
    pub uid: u32,
    /// Owner's group.
    pub gid: u32,
    /// Creator.
    pub cuid: u32,
    /// Creator's group.
    pub cgid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What is asked for: bits of a mode triple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub u32);

impl Access {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Read.
    pub const READ: Self = Self(4);
    /// Write (alter).
    pub const WRITE: Self = Self(2);
}

impl Permissions {
    /// Of a new object of the caller's.
    #[must_use]
    pub fn new(creds: &Creds, key: i32, flags: i32) -> Self {
        Self {
            key,
            uid: creds.euid,
            gid: creds.egid,
            cuid: creds.euid,
            cgid: creds.egid,
            mode: flags as u32 & 0o777,
        }
    }
    /// `EACCES` unless granted (`ipcperms`).
    pub fn check(&self, creds: &Creds, access: Access) -> Result<()> {
        let in_group = |gid: u32| creds.egid == gid || creds.groups.contains(&gid);
        let shift = if creds.euid == self.cuid || creds.euid == self.uid {
            6
        } else if in_group(self.cgid) || in_group(self.gid) {
            3
        } else {
            0
        };
        if access.0 & !(self.mode >> shift) & 7 != 0 && !creds.has(Cap::IPC_OWNER) {
            return Err(Errno::EACCES);
        }
        Ok(())
    }
    /// `EPERM` unless the caller owns or made the object, or administers the system.
    pub fn check_owner(&self, creds: &Creds) -> Result<()> {
        if creds.euid == self.cuid || creds.euid == self.uid || creds.has(Cap::SYS_ADMIN) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
    /// IPC_SET: `EINVAL` for ids that are none.
    pub fn set(&mut self, new: &IpcPerm) -> Result<()> {
        if new.uid == u32::MAX || new.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = new.uid;
        self.gid = new.gid;
        self.mode = (self.mode & !0o777) | (new.mode & 0o777);
        Ok(())
    }
    /// For IPC_STAT of the object with identifier `id`.
    #[must_use]
    pub fn show(&self, id: i32) -> IpcPerm {
        IpcPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: (id / SLOTS) as u16,
            ..IpcPerm::default()
        }
    }
}

struct Table<T> {
    objects: BTreeMap<i32, (i32, Arc<T>)>,
    keys: HashMap<i32, i32>,
    sequence: i32,
}

/// The objects of one kind in a namespace.
pub struct Registry<T>(Mutex<Table<T>>);

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Mutex::new(Table {
            objects: BTreeMap::new(),
            keys: HashMap::new(),
            sequence: 0,
        }))
    }
}

impl<T> Registry<T> {
    /// `semget` and the like. `existing` checks an object that the key has already, `make` makes a new one; `ENOSPC` beyond `limit` objects.
    pub fn get(
        &self,
        task: &CurrentTask,
        key: i32,
        flags: i32,
        limit: usize,
        existing: impl FnOnce(&T, &Creds) -> Result<()>,
        make: impl FnOnce(Permissions) -> Result<T>,
    ) -> Result<i32> {
        let creds = task.creds();
        let mut table = self.0.lock();
        let found = table.keys.get(&key).copied();
        if let (true, Some(slot)) = (key != IPC_PRIVATE, found) {
            if flags & IPC_CREAT != 0 && flags & IPC_EXCL != 0 {
                return Err(Errno::EEXIST);
            }
            let (id, object) = table.objects.get(&slot).ok_or(Errno::ENOENT)?;
            existing(object, &creds)?;
            return Ok(*id);
        }
        if key != IPC_PRIVATE && flags & IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if table.objects.len() >= limit {
            return Err(Errno::ENOSPC);
        }
        let slot = (0..SLOTS)
            .find(|slot| !table.objects.contains_key(slot))
            .ok_or(Errno::ENOSPC)?;
        let object = make(Permissions::new(&creds, key, flags))?;
        // The sequence makes an identifier stale once its object is gone.
        table.sequence = (table.sequence + 1) % (i32::MAX / SLOTS);
        let id = table.sequence * SLOTS + slot;
        table.objects.insert(slot, (id, Arc::new(object)));
        if key != IPC_PRIVATE {
            table.keys.insert(key, slot);
        }
        Ok(id)
    }

    /// The object with an identifier: `EINVAL` if there is none.
    pub fn find(&self, id: i32) -> Result<Arc<T>> {
        if id < 0 {
            return Err(Errno::EINVAL);
        }
        let table = self.0.lock();
        match table.objects.get(&(id % SLOTS)) {
            Some((full, object)) if *full == id => Ok(object.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// The object in a slot, with its identifier (SEM_STAT and the like).
    pub fn at_slot(&self, slot: i32) -> Result<(i32, Arc<T>)> {
        let table = self.0.lock();
        table.objects.get(&slot).cloned().ok_or(Errno::EINVAL)
    }

    /// Takes an object out; `None` if another did.
    pub fn remove(&self, id: i32, key: i32) -> Option<Arc<T>> {
        let mut table = self.0.lock();
        let slot = id % SLOTS;
        if table.objects.get(&slot)?.0 != id {
            return None;
        }
        if key != IPC_PRIVATE {
            table.keys.remove(&key);
        }
        table.objects.remove(&slot).map(|(_, object)| object)
    }

    /// Takes the key off an object that stays.
    pub fn forget_key(&self, key: i32) {
        self.0.lock().keys.remove(&key);
    }

    /// All objects with their identifiers (`/proc/sysvipc`).
    #[must_use]
    pub fn all(&self) -> Vec<(i32, Arc<T>)> {
        self.0.lock().objects.values().cloned().collect()
    }

    /// The highest slot in use, 0 if there is none (what the INFO commands return).
    #[must_use]
    pub fn highest_slot(&self) -> i32 {
        let table = self.0.lock();
        table.objects.keys().next_back().copied().unwrap_or(0)
    }
}
