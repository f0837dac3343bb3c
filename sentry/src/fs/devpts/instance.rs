//! A devpts instance: one a mount (`fs/devpts/inode.c`).

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use parking_lot::Mutex;

use super::node::PtsNode;
use super::root::RootDir;
use super::tty::Tty;
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::vfs::{FileSystem, Inode, anonymous_dev};

/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: i64 = 0x1cd1;
/// Most terminals of an instance (`kernel.pty.max`).
const MAX_PTYS: u32 = 4096;

/// Mount options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevptsOptions {
    /// Owner of slaves; `None`: who opens ptmx.
    pub uid: Option<u32>,
    /// Group of slaves; `None`: of who opens ptmx.
    pub gid: Option<u32>,
    /// Permissions of slaves.
    pub mode: u32,
    /// Permissions of ptmx.
    pub ptmxmode: u32,
    /// Most terminals.
    pub max: u32,
}

impl Default for DevptsOptions {
    fn default() -> Self {
        Self {
            uid: None,
            gid: None,
            mode: 0o600,
            ptmxmode: 0,
            max: MAX_PTYS,
        }
    }
}

impl DevptsOptions {
    /// From mount data: `EINVAL` for what is unknown.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let mut options = Self::default();
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        let octal = |text: &str| {
            u32::from_str_radix(text, 8)
                .map(|mode| mode & 0o777)
                .map_err(|_| Errno::EINVAL)
        };
        let decimal = |text: &str| text.parse::<u32>().map_err(|_| Errno::EINVAL);
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("uid", value)) => options.uid = Some(decimal(value)?),
                Some(("gid", value)) => options.gid = Some(decimal(value)?),
                Some(("mode", value)) => options.mode = octal(value)?,
                Some(("ptmxmode", value)) => options.ptmxmode = octal(value)?,
                Some(("max", value)) => options.max = decimal(value)?.min(MAX_PTYS),
                None if option == "newinstance" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    fn show(&self) -> String {
        let mut text = String::new();
        if let Some(uid) = self.uid {
            text.push_str(&format!(",uid={uid}"));
        }
        if let Some(gid) = self.gid {
            text.push_str(&format!(",gid={gid}"));
        }
        text.push_str(&format!(
            ",mode={:03o},ptmxmode={:03o}",
            self.mode, self.ptmxmode
        ));
        if self.max < MAX_PTYS {
            text.push_str(&format!(",max={}", self.max));
        }
        text
    }
}

/// See the module.
pub struct DevptsFs {
    dev: u64,
    options: DevptsOptions,
    reactor: Arc<Reactor>,
    root: Arc<Inode>,
    table: Mutex<BTreeMap<u32, Arc<Inode>>>,
    this: Weak<Self>,
}

impl DevptsFs {
    /// An empty instance.
    #[must_use]
    pub fn new(reactor: &Arc<Reactor>, options: DevptsOptions) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| {
            let dev = anonymous_dev();
            let fs: Weak<dyn FileSystem> = this.clone();
            let ptmx = Inode::new(
                fs.clone(),
                Box::new(PtsNode::ptmx(dev, options.ptmxmode, this.clone())),
            );
            let root = Inode::new(fs, Box::new(RootDir::new(dev, this.clone(), ptmx)));
            Self {
                dev,
                options,
                reactor: reactor.clone(),
                root,
                table: Mutex::default(),
                this: this.clone(),
            }
        })
    }

    /// The instance whose root directory `inode` is.
    #[must_use]
    pub fn of_root(inode: &Inode) -> Option<Arc<Self>> {
        inode.downcast::<RootDir>()?.instance()
    }

    /// A new terminal, entered as `N`; its slave belongs to the given ids unless the mount's options say otherwise. `ENOSPC` beyond the maximum.
    pub(super) fn allocate(&self, uid: u32, gid: u32) -> Result<Arc<Tty>> {
        let mut table = self.table.lock();
        let index = (0..self.options.max)
            .find(|index| !table.contains_key(index))
            .ok_or(Errno::ENOSPC)?;
        let tty = Tty::new(index, self.reactor.clone(), self.this.clone());
        let fs: Weak<dyn FileSystem> = self.this.clone();
        let node = PtsNode::slave(
            self.dev,
            &tty,
            self.options.mode,
            self.options.uid.unwrap_or(uid),
            self.options.gid.unwrap_or(gid),
        );
        table.insert(index, Inode::new(fs, Box::new(node)));
        Ok(tty)
    }

    /// Takes `N` away.
    pub(super) fn remove(&self, index: u32) {
        let removed = self.table.lock().remove(&index);
        drop(removed);
    }

    /// The inode of `N`.
    pub(super) fn find(&self, index: u32) -> Option<Arc<Inode>> {
        self.table.lock().get(&index).cloned()
    }

    /// Numbers in use.
    pub(super) fn numbers(&self) -> Vec<u32> {
        self.table.lock().keys().copied().collect()
    }
}

impl FileSystem for DevptsFs {
    fn type_name(&self) -> &'static str {
        "devpts"
    }
    fn root(&self) -> Arc<Inode> {
        self.root.clone()
    }
    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            kind: MAGIC,
            bsize: 4096,
            namelen: 255,
            frsize: 4096,
            ..Statfs::default()
        })
    }
    fn dev(&self) -> u64 {
        self.dev
    }
    fn options(&self) -> String {
        self.options.show()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_the_oci_default_mount() {
        let options = DevptsOptions::parse(b"newinstance,ptmxmode=0666,mode=0620,gid=5").unwrap();
        assert_eq!(options.show(), ",gid=5,mode=620,ptmxmode=666");
        assert_eq!(DevptsOptions::parse(b"bogus"), Err(Errno::EINVAL));
        assert_eq!(DevptsOptions::parse(b"mode=9"), Err(Errno::EINVAL));
    }

    #[test]
    fn the_lowest_free_number_is_given_and_the_maximum_holds() {
        let reactor = Reactor::new().unwrap();
        let fs = DevptsFs::new(&reactor, DevptsOptions::parse(b"max=2").unwrap());
        let first = fs.allocate(0, 0).unwrap();
        assert_eq!((first.index, fs.allocate(0, 0).unwrap().index), (0, 1));
        assert_eq!(fs.allocate(0, 0).err(), Some(Errno::ENOSPC));
        fs.remove(0);
        assert_eq!(fs.allocate(0, 0).unwrap().index, 0);
        assert_eq!(fs.numbers(), [0, 1]);
    }
}
