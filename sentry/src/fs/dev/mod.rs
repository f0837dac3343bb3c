//! Device nodes: which number opens what.
//!
//! - [`open`]: what the VFS calls for a character or block device.
//! - [`Registry`]: opener by number, in the kernel's extensions, so that other modules can add devices.
//! - [`memory`], [`random`]: null, zero, full, random, urandom. Terminals are in [`super::devpts`].
//! - [`DEFAULT_NODES`], [`DEFAULT_LINKS`]: what the OCI runtime specification wants in `/dev`.
//!
//! Locks: the registry's is a leaf, not held while an opener runs.

mod memory;
mod nodes;
mod random;

use std::collections::HashMap;
use std::sync::Arc;

use abi::fs::{S_IFBLK, S_IFMT, major, minor};
use parking_lot::RwLock;

pub use nodes::{
    CONSOLE_RDEV, DEFAULT_DIRS, DEFAULT_LINKS, DEFAULT_NODES, DefaultNode, PTMX_RDEV, TTY_RDEV,
};
pub(crate) use random::ENTROPY_BITS;

use crate::error::{Errno, Result};
use crate::kernel::Kernel;
use crate::task::Task;
use crate::vfs::{FileOps, Inode, OpenHow, Path};

/// An opening of a device node.
pub struct DeviceOpen<'a> {
    /// The sandbox.
    pub kernel: &'a Arc<Kernel>,
    /// The node.
    pub inode: &'a Arc<Inode>,
    /// Where the node was found, if it has a place.
    pub path: Option<&'a Path>,
    /// Flags.
    pub how: OpenHow,
    /// Who opens; `None` for the kernel itself.
    pub task: Option<&'a Arc<Task>>,
}

/// Opens one kind of device; the second argument is the device number.
pub type Opener = Arc<dyn Fn(&DeviceOpen<'_>, u64) -> Result<Box<dyn FileOps>> + Send + Sync>;

/// Character or block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// `S_IFCHR`.
    Char,
    /// `S_IFBLK`.
    Block,
}

/// Openers by class, major and minor (`None`: all minors of the major).
pub struct Registry(RwLock<HashMap<(Class, u32, Option<u32>), Opener>>);

impl Registry {
    /// Adds or replaces a device. `minor` `None` stands for all minors that have no entry of their own.
    pub fn register(&self, class: Class, major: u32, minor: Option<u32>, opener: Opener) {
        self.0.write().insert((class, major, minor), opener);
    }

    /// Whether there is a driver for a device.
    #[must_use]
    pub fn has(&self, class: Class, rdev: u64) -> bool {
        self.find(class, rdev).is_some()
    }

    fn find(&self, class: Class, rdev: u64) -> Option<Opener> {
        let table = self.0.read();
        table
            .get(&(class, major(rdev), Some(minor(rdev))))
            .or_else(|| table.get(&(class, major(rdev), None)))
            .cloned()
    }

    /// The major numbers in use with a name each (`/proc/devices`).
    #[must_use]
    pub fn majors(&self, class: Class) -> Vec<u32> {
        let mut majors: Vec<u32> = self
            .0
            .read()
            .keys()
            .filter(|key| key.0 == class)
            .map(|key| key.1)
            .collect();
        majors.sort_unstable();
        majors.dedup();
        majors
    }
}

impl Default for Registry {
    fn default() -> Self {
        let registry = Self(RwLock::default());
        let char_device = |major, minor, opener: Opener| {
            registry.register(Class::Char, major, minor, opener);
        };
        for (minor, device) in memory::DEVICES {
            char_device(
                1,
                Some(minor),
                Arc::new(move |_, _| Ok(memory::open(device))),
            );
        }
        for minor in [8, 9] {
            char_device(
                1,
                Some(minor),
                Arc::new(|_, _| Ok(Box::new(random::Random::default()))),
            );
        }
        super::devpts::register(&registry);
        registry
    }
}

/// Opens a device node. `ENXIO` if no such device exists here.
pub fn open(request: &DeviceOpen<'_>) -> Result<Box<dyn FileOps>> {
    let attr = request.inode.attr()?;
    let class = if attr.mode & S_IFMT == S_IFBLK {
        Class::Block
    } else {
        Class::Char
    };
    let registry = request.kernel.extensions.get::<Registry>();
    let opener = registry.find(class, attr.rdev).ok_or(Errno::ENXIO)?;
    opener(request, attr.rdev)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::fs::makedev;

    #[test]
    fn known_devices_are_found_and_others_are_not() {
        let registry = Registry::default();
        assert!(registry.find(Class::Char, makedev(1, 3)).is_some());
        assert!(registry.find(Class::Block, makedev(1, 3)).is_none());
        assert!(registry.find(Class::Char, makedev(1, 1)).is_none());
        registry.register(Class::Char, 10, None, Arc::new(|_, _| Err(Errno::EBUSY)));
        assert!(registry.find(Class::Char, makedev(10, 77)).is_some());
    }
}
