//! ETXTBSY: a program that runs is not written, and what is open for writing is not run (`i_writecount`, `get_write_access`, `deny_write_access`).
//!
//! Only regular files that are opened by name count, as on Linux: a memfd's first descriptor does not. Two inode objects of one file (after its name
//! was forgotten by the cache) count apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use abi::fs::S_IFREG;

use super::{Inode, Mount};
use crate::error::{Errno, Result};

/// Writers, or minus the number of those who run it.
#[derive(Debug, Default)]
pub struct WriteCount(AtomicI32);

impl WriteCount {
    /// How many have it open for writing.
    #[must_use]
    pub fn writers(&self) -> i32 {
        self.0.load(Ordering::Acquire).max(0)
    }
    fn change(&self, next: impl Fn(i32) -> Option<i32>) -> Result<()> {
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .map(drop)
            .map_err(|_| Errno::ETXTBSY)
    }
}

/// A share in an inode's [`WriteCount`], given back when dropped.
pub struct TextHold {
    inode: Arc<Inode>,
    share: i32,
    /// The mount that counts the writer.
    mount: Option<Arc<Mount>>,
}

impl TextHold {
    /// For writing: `ETXTBSY` while it runs. `None` for what is no regular file.
    pub fn write(inode: &Arc<Inode>) -> Result<Option<Self>> {
        if inode.file_type()? != S_IFREG {
            return Ok(None);
        }
        let count = &inode.shared.write_count;
        count.change(|n| (n >= 0).then(|| n.saturating_add(1)))?;
        Ok(Some(Self {
            inode: inode.clone(),
            share: 1,
            mount: None,
        }))
    }
    /// For running: `ETXTBSY` while somebody has it open for writing.
    pub fn run(inode: &Arc<Inode>) -> Result<Self> {
        let count = &inode.shared.write_count;
        count.change(|n| (n <= 0).then(|| n.saturating_sub(1)))?;
        Ok(Self {
            inode: inode.clone(),
            share: -1,
            mount: None,
        })
    }
    /// Counts a writer as one of `mount` as well.
    #[must_use]
    pub(super) fn on(mut self, mount: &Arc<Mount>) -> Self {
        if self.share > 0 && self.mount.is_none() {
            mount.add_writer();
            self.mount = Some(mount.clone());
        }
        self
    }
}

impl Drop for TextHold {
    fn drop(&mut self) {
        let count = &self.inode.shared.write_count;
        count.0.fetch_sub(self.share, Ordering::AcqRel);
        if let Some(mount) = &self.mount {
            mount.remove_writer();
        }
    }
}
