//! Symbolic links of generated trees.

use std::any::Any;
use std::sync::Arc;

use super::Meta;
use crate::error::{Errno, Result};
use crate::vfs::lookup::LookupCx;
use crate::vfs::{Attr, AttrChange, FileOps, Inode, InodeOps, Link, OpenHow, SymlinkOps};

/// What says where a link leads.
pub trait LinkSource: Send + Sync {
    /// Where, for the task that follows it.
    fn follow(&self, cx: &LookupCx<'_>) -> Result<Link>;
    /// What `readlink(2)` shows, if not what [`LinkSource::follow`] implies.
    fn text(&self, cx: &LookupCx<'_>) -> Result<Vec<u8>> {
        match self.follow(cx)? {
            Link::Text(text) => Ok(text),
            Link::Jump(path) => Ok(path.display(cx.fs)),
            Link::JumpFile(file) => Ok(file.describe(cx.fs)),
        }
    }
    /// `st_size`.
    fn size(&self) -> u64 {
        0
    }
}

/// A fixed text.
pub(super) struct Text(pub(super) Vec<u8>);

impl LinkSource for Text {
    fn follow(&self, _cx: &LookupCx<'_>) -> Result<Link> {
        Ok(Link::Text(self.0.clone()))
    }
    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

/// A closure.
pub(super) struct Followed<F>(pub(super) F);

impl<F: Fn(&LookupCx<'_>) -> Result<Link> + Send + Sync> LinkSource for Followed<F> {
    fn follow(&self, cx: &LookupCx<'_>) -> Result<Link> {
        (self.0)(cx)
    }
}

/// A link's inode.
pub struct TreeLink {
    pub(super) meta: Meta,
    pub(super) source: Arc<dyn LinkSource>,
}

impl InodeOps for TreeLink {
    fn attr(&self) -> Result<Attr> {
        Ok(self.meta.attr(1, self.source.size()))
    }
    fn set_attr(&self, change: &AttrChange) -> Result<()> {
        Meta::set_attr(change)
    }
    fn open(&self, _inode: &Arc<Inode>, _how: OpenHow) -> Result<Box<dyn FileOps>> {
        Err(Errno::ELOOP)
    }
    fn as_symlink(&self) -> Option<&dyn SymlinkOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl SymlinkOps for TreeLink {
    fn follow(&self, cx: &LookupCx<'_>) -> Result<Link> {
        self.source.follow(cx)
    }
    fn text(&self, cx: &LookupCx<'_>) -> Result<Vec<u8>> {
        self.source.text(cx)
    }
}
