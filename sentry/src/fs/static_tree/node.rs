//! Descriptions of files, directories and links.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use abi::fs::{S_IFDIR, S_IFLNK, S_IFREG};

use super::dir::StaticDir;
use super::file::{Constant, Generated};
use super::link::{Followed, Text};
use super::{
    DirSource, FileSource, LinkSource, Meta, OwnerFn, Reader, TreeDir, TreeFile, TreeLink,
};
use crate::error::Result;
use crate::vfs::lookup::LookupCx;
use crate::vfs::{FileSystem, Inode, InodeOps, Link};

/// What a node is.
#[derive(Clone)]
pub enum Kind {
    /// A directory.
    Dir(Arc<dyn DirSource>),
    /// A regular file.
    File(Arc<dyn FileSource>),
    /// A symbolic link.
    Link(Arc<dyn LinkSource>),
}

/// See the module.
#[derive(Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// `None`: root.
    pub owner: Option<OwnerFn>,
}

impl Node {
    /// A node of any kind.
    #[must_use]
    pub const fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            owner: None,
        }
    }
    /// A directory (0555) with fixed names.
    #[must_use]
    pub fn dir<const N: usize>(children: [(&str, Self); N]) -> Self {
        Self::dir_of(
            children
                .into_iter()
                .map(|(name, node)| (name.as_bytes().to_vec(), node)),
        )
    }
    /// A directory (0555) with names only known at run time.
    #[must_use]
    pub fn dir_of(children: impl IntoIterator<Item = (Vec<u8>, Self)>) -> Self {
        let map: BTreeMap<Vec<u8>, Self> = children.into_iter().collect();
        Self::new(Kind::Dir(Arc::new(StaticDir(map))), 0o555)
    }
    /// A directory (0555) that generates its names.
    #[must_use]
    pub fn dynamic(source: impl DirSource + 'static) -> Self {
        Self::new(Kind::Dir(Arc::new(source)), 0o555)
    }
    /// A read-only file (0444) with a generated text.
    #[must_use]
    pub fn text<T: Into<Vec<u8>>>(
        read: impl Fn(&Reader<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Self {
        Self::new(
            Kind::File(Arc::new(Generated {
                read: move |reader: &Reader<'_>| read(reader).map(Into::into),
                write: None,
            })),
            0o444,
        )
    }
    /// A read-only file (0444) with a fixed text.
    #[must_use]
    pub fn constant(text: impl Into<Vec<u8>>) -> Self {
        Self::new(Kind::File(Arc::new(Constant(text.into()))), 0o444)
    }
    /// A file (0644) that can be written: `write` gets the bytes of one write call.
    #[must_use]
    pub fn writable<T: Into<Vec<u8>>>(
        read: impl Fn(&Reader<'_>) -> Result<T> + Send + Sync + 'static,
        write: impl Fn(&Reader<'_>, &[u8]) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::new(
            Kind::File(Arc::new(Generated {
                read: move |reader: &Reader<'_>| read(reader).map(Into::into),
                write: Some(Box::new(write)),
            })),
            0o644,
        )
    }
    /// A symbolic link with a fixed text.
    #[must_use]
    pub fn link(target: &str) -> Self {
        Self::new(
            Kind::Link(Arc::new(Text(target.as_bytes().to_vec()))),
            0o777,
        )
    }
    /// A symbolic link that leads where `follow` says.
    #[must_use]
    pub fn follow(follow: impl Fn(&LookupCx<'_>) -> Result<Link> + Send + Sync + 'static) -> Self {
        Self::new(Kind::Link(Arc::new(Followed(follow))), 0o777)
    }
    /// With these permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
    /// With this owner.
    #[must_use]
    pub fn owned(mut self, owner: OwnerFn) -> Self {
        self.owner = Some(owner);
        self
    }
    /// Its `S_IF*` bits.
    #[must_use]
    pub const fn file_type(&self) -> u32 {
        match self.kind {
            Kind::Dir(_) => S_IFDIR,
            Kind::File(_) => S_IFREG,
            Kind::Link(_) => S_IFLNK,
        }
    }

    pub(super) fn inode(
        &self,
        fs: &Weak<dyn FileSystem>,
        dev: u64,
        ino: u64,
        parent_ino: u64,
    ) -> Arc<Inode> {
        let meta = Meta {
            dev,
            ino,
            mode: self.file_type() | self.mode,
            owner: self.owner.clone(),
            born: crate::time::now(),
        };
        let ops: Box<dyn InodeOps> = match &self.kind {
            Kind::Dir(source) => Box::new(TreeDir {
                meta,
                parent_ino,
                fs: fs.clone(),
                source: source.clone(),
            }),
            Kind::File(source) => Box::new(TreeFile {
                meta,
                source: source.clone(),
            }),
            Kind::Link(source) => Box::new(TreeLink {
                meta,
                source: source.clone(),
            }),
        };
        Inode::new(fs.clone(), ops)
    }
}
