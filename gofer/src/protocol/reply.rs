//! Types of the replies that are more than one number.

#![forbid(unsafe_code)]

use super::attr::{Attr, FileType};
use super::request::{NodeId, WatchId};
use super::wire::{Decoder, Encoder, Malformed, Wire, wire_struct};
use abi::Errno;

/// Reply to `Hello`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The server's [`super::VERSION`].
    pub version: u32,
    /// Number of trees that can be attached.
    pub trees: u32,
}
wire_struct!(Welcome { version, trees });

/// A new node and its attributes; a symbolic link comes with its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeReply {
    /// To be released by the receiver.
    pub node: NodeId,
    /// As they were when the node was opened.
    pub attr: Attr,
    /// Target of a symbolic link.
    pub target: Option<Box<[u8]>>,
}
wire_struct!(NodeReply { node, attr, target });

/// Reply to `Walk`: the nodes found, and why it ended early if there was an error. A walk also ends, without an error, at
/// the first node that is not a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkReply {
    /// One per component walked, the first one first.
    pub nodes: Vec<NodeReply>,
    /// What looking up the component after the last node said.
    pub error: Option<Errno>,
}

impl Wire<'_> for WalkReply {
    fn put(&self, out: &mut Encoder) {
        put_errno(self.error, out);
        u16::try_from(self.nodes.len()).unwrap_or(u16::MAX).put(out);
        for node in &self.nodes {
            node.put(out);
        }
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let error = get_errno(from)?;
        let count = usize::from(u16::get(from)?);
        if count > super::WALK_MAX {
            return Err(Malformed);
        }
        let nodes = (0..count)
            .map(|_| NodeReply::get(from))
            .collect::<Result<_, _>>()?;
        Ok(Self { nodes, error })
    }
}

/// Reply to `Lookup`; with [`super::request::Want::OPEN`] a descriptor may come with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupReply {
    /// The watch of a directory, if one was asked for and could be had.
    pub watch: Option<WatchId>,
    /// What the name leads to, or what looking it up said.
    pub found: Result<NodeReply, Errno>,
}

impl Wire<'_> for LookupReply {
    fn put(&self, out: &mut Encoder) {
        self.watch.put(out);
        put_errno(self.found.as_ref().err().copied(), out);
        if let Ok(node) = &self.found {
            node.put(out);
        }
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            watch: Option::get(from)?,
            found: match get_errno(from)? {
                Some(error) => Err(error),
                None => Ok(NodeReply::get(from)?),
            },
        })
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Inode number.
    pub ino: u64,
    /// Where to go on reading after this entry. Opaque; never 0.
    pub cursor: u64,
    /// Type, possibly unknown.
    pub kind: FileType,
    /// The name: any bytes but NUL and `/`.
    pub name: Box<[u8]>,
}
wire_struct!(DirEntry {
    ino,
    cursor,
    kind,
    name
});

/// Reply to `ReadDir`: some entries, without `.` and `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirEntries {
    /// In the directory's order.
    pub entries: Vec<DirEntry>,
    /// Nothing follows. Never false without entries.
    pub end: bool,
}

/// What follows in a [`DirEntries`].
pub(crate) mod listing {
    /// The reply ends here, the directory perhaps not.
    pub(crate) const PART: u8 = 0;
    /// An entry.
    pub(crate) const ENTRY: u8 = 1;
    /// The directory ends here.
    pub(crate) const END: u8 = 2;
}

impl Wire<'_> for DirEntries {
    fn put(&self, out: &mut Encoder) {
        for entry in &self.entries {
            listing::ENTRY.put(out);
            entry.put(out);
        }
        let last = if self.end {
            listing::END
        } else {
            listing::PART
        };
        last.put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut entries = Vec::new();
        let end = loop {
            match u8::get(from)? {
                listing::ENTRY => entries.push(DirEntry::get(from)?),
                listing::PART => break false,
                listing::END => break true,
                _ => return Err(Malformed),
            }
        };
        if entries.is_empty() && !end {
            return Err(Malformed);
        }
        Ok(Self { entries, end })
    }
}

/// An errno in front of a reply: 0 for none.
pub(crate) fn put_errno(error: Option<Errno>, out: &mut Encoder) {
    error.map_or(0, Errno::raw).put(out);
}

/// The counterpart of [`put_errno`].
pub(crate) fn get_errno(from: &mut Decoder<'_>) -> Result<Option<Errno>, Malformed> {
    match i32::get(from)? {
        0 => Ok(None),
        raw @ 1..=4095 => Ok(Some(Errno::from_raw(raw))),
        _ => Err(Malformed),
    }
}
