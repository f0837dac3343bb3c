//! The requests, one line each: number, name, fields. The replies' types are named in [`super::reply`].

#![forbid(unsafe_code)]

use super::attr::SetAttr;
use super::wire::{Decoder, Encoder, Malformed, Names, Wire, wire_flags};

/// The server's name for an open file of a tree; whoever received it must release it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);

impl Wire<'_> for NodeId {
    fn put(&self, out: &mut Encoder) {
        self.0.put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        u64::get(from).map(Self)
    }
}

/// The server's number for a watched directory. Nodes of the same directory share it. Numbers are not used again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(pub u32);

impl Wire<'_> for WatchId {
    fn put(&self, out: &mut Encoder) {
        self.0.put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        u32::get(from).map(Self)
    }
}

bitflags::bitflags! {
    /// What a look-up brings beside the node.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Want: u32 {
        /// A descriptor for reading, if it is a regular file that can be opened.
        const OPEN = 1;
        /// A watch, if it is a directory, begun before its attributes were read.
        const WATCH = 2;
    }

    /// How to open a file: the rights of the donated descriptor and nothing more.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OpenFlags: u32 {
        /// For reading.
        const READ = 1;
        /// For writing.
        const WRITE = 2;
        /// Set the length to 0; needs `WRITE`.
        const TRUNCATE = 4;
    }

    /// Flags of `renameat2(2)`, with its values. Whiteouts are not offered.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail with `EEXIST` if the new name exists.
        const NOREPLACE = 1;
        /// Swap the two.
        const EXCHANGE = 2;
    }

    /// What a watch on a directory reports, with the values of `inotify(7)`.
    /// Removal of the directory itself, unmounting and lost events are always reported.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WatchMask: u32 {
        /// A file in the directory was written or truncated. Also reports each write through a donated descriptor: expensive.
        const MODIFY = 0x2;
        /// Attributes changed, of the directory or of something in it.
        const ATTRIB = 0x4;
        /// A name went away by renaming.
        const MOVED_FROM = 0x40;
        /// A name appeared by renaming.
        const MOVED_TO = 0x80;
        /// A name appeared.
        const CREATE = 0x100;
        /// A name was removed.
        const DELETE = 0x200;
        /// The names of the directory: all a dentry cache needs.
        const NAMES = Self::MOVED_FROM.bits() | Self::MOVED_TO.bits() | Self::CREATE.bits() | Self::DELETE.bits();
        /// What [`Want::WATCH`] asks for.
        const CACHE = Self::NAMES.bits() | Self::ATTRIB.bits();
    }

    /// Flags of `setxattr(2)`, with its values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XattrFlags: u32 {
        /// Fail with `EEXIST` if the attribute exists.
        const CREATE = 1;
        /// Fail with `ENODATA` if it does not.
        const REPLACE = 2;
    }
}
wire_flags!(Want);
wire_flags!(OpenFlags);
wire_flags!(RenameFlags);
wire_flags!(WatchMask);
wire_flags!(XattrFlags);

/// Implements [`Wire`] for an enumeration without fields, as `u8`.
macro_rules! wire_choice {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $number),* }

        impl Wire<'_> for $name {
            fn put(&self, out: &mut Encoder) {
                (*self as u8).put(out);
            }
            fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
                match u8::get(from)? {
                    $($number => Ok(Self::$variant),)*
                    _ => Err(Malformed),
                }
            }
        }
    };
}

wire_choice! {
    /// What `unlink` removes.
    UnlinkKind {
        /// Anything but a directory, as `unlink(2)`.
        File = 0,
        /// An empty directory, as `rmdir(2)`.
        Directory = 1,
    }
}
wire_choice! {
    /// What `mknod` creates. Device nodes are refused: the gofer's mounts are nodev.
    NodKind {
        /// Empty regular file.
        Regular = 0,
        /// Named pipe: a placeholder, the sentry implements pipes itself.
        Fifo = 1,
        /// Socket: a placeholder, the sentry implements sockets itself.
        Socket = 2,
        /// Device node: always `EPERM`.
        Device = 3,
    }
}
wire_choice! {
    /// How much to write out.
    SyncKind {
        /// Contents and attributes of one file, as `fsync(2)`.
        File = 0,
        /// Contents of one file, as `fdatasync(2)`.
        Data = 1,
        /// The whole file system that the file is on, as `syncfs(2)`.
        FileSystem = 2,
    }
}
wire_choice! {
    /// Type of a connection to a socket of the host.
    SocketKind {
        /// `SOCK_STREAM`.
        Stream = 0,
        /// `SOCK_DGRAM`.
        Datagram = 1,
        /// `SOCK_SEQPACKET`.
        SeqPacket = 2,
    }
}

/// Owner and permissions of a file that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Permission bits (07777), the guest's umask already applied.
    pub mode: u32,
    /// Owner as the container sees it.
    pub uid: u32,
    /// Group as the container sees it.
    pub gid: u32,
}
super::wire::wire_struct!(Ownership { mode, uid, gid });

macro_rules! requests {
    ($($(#[$meta:meta])* $number:literal => $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        /// A request, borrowing names and values from its message. Each is documented at the method of
        /// [`crate::client::Client`] that sends it.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the client's methods document requests and fields")]
        pub enum Request<'a> {
            $($(#[$meta])* $name { $($field: $type),* },)*
        }

        impl<'a> Wire<'a> for Request<'a> {
            fn put(&self, out: &mut Encoder) {
                match self {
                    $(Self::$name { $($field),* } => {
                        let number: u16 = $number;
                        number.put(out);
                        $($field.put(out);)*
                    })*
                }
            }
            fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed> {
                match u16::get(from)? {
                    $($number => Ok(Self::$name { $($field: Wire::get(from)?),* }),)*
                    _ => Err(Malformed),
                }
            }
        }
    };
}

requests! {
    1 => Hello { version: u32 }
    /// Carries only the releases in front of it.
    2 => Release {}
    3 => Attach { tree: u32 }
    4 => Walk { node: NodeId, names: Names<'a> }
    5 => GetAttr { node: NodeId }
    6 => SetAttr { node: NodeId, changes: SetAttr }
    7 => Open { node: NodeId, flags: OpenFlags }
    8 => Create { parent: NodeId, name: &'a [u8], flags: OpenFlags, owner: Ownership }
    9 => Mkdir { parent: NodeId, name: &'a [u8], owner: Ownership }
    10 => Symlink { parent: NodeId, name: &'a [u8], target: &'a [u8], owner: Ownership }
    11 => Mknod { parent: NodeId, name: &'a [u8], kind: NodKind, owner: Ownership }
    12 => Readlink { node: NodeId }
    13 => Link { node: NodeId, parent: NodeId, name: &'a [u8] }
    14 => Unlink { parent: NodeId, name: &'a [u8], kind: UnlinkKind }
    15 => Rename { old_parent: NodeId, old_name: &'a [u8], new_parent: NodeId, new_name: &'a [u8], flags: RenameFlags }
    16 => ReadDir { node: NodeId, cursor: u64 }
    17 => StatFs { node: NodeId }
    18 => GetXattr { node: NodeId, name: &'a [u8] }
    19 => SetXattr { node: NodeId, name: &'a [u8], value: &'a [u8], flags: XattrFlags }
    20 => ListXattr { node: NodeId }
    21 => RemoveXattr { node: NodeId, name: &'a [u8] }
    22 => TmpFile { parent: NodeId, flags: OpenFlags, owner: Ownership }
    23 => Sync { node: NodeId, kind: SyncKind }
    24 => Watch { node: NodeId, mask: WatchMask }
    25 => Connect { node: NodeId, kind: SocketKind }
    26 => Lookup { parent: NodeId, name: &'a [u8], want: Want }
}
