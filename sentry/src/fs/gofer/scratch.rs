//! A directory of the host in which the gofer makes files without names, for the bytes of an overlay (`--overlay2=root:self`, `root:dir=…`). They
//! are gone when the last descriptor is; nothing else can be done in that tree.

use std::os::fd::OwnedFd;

use ::gofer::client::{Client, Node, OpenFlags, Ownership};
use abi::fs::Statfs;

use super::statfs_of;
use crate::error::{Errno, Result};
use crate::fs::tmpfs::Store;

/// See the module.
pub struct Scratch {
    client: Client,
    directory: Node,
}

impl Scratch {
    /// The directory that is tree number `tree`.
    pub fn attach(client: Client, tree: u32) -> Result<Self> {
        let directory = client.attach(tree)?.node;
        Ok(Self { client, directory })
    }
}

impl Store for Scratch {
    fn make(&self) -> Result<OwnedFd> {
        let flags = OpenFlags::READ | OpenFlags::WRITE;
        let owner = Ownership {
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        match self.client.tmpfile(&self.directory, flags, owner) {
            Ok((_, file)) => Ok(file),
            // What a guest is told when the host cannot make a file.
            Err(Errno::EMFILE | Errno::ENFILE) => Err(Errno::ENOSPC),
            Err(errno) => Err(errno),
        }
    }
    fn statfs(&self) -> Option<Statfs> {
        self.client
            .statfs(&self.directory)
            .ok()
            .map(|host| statfs_of(&host))
    }
}
