//! The wire protocol: one request and one reply per `SOCK_SEQPACKET` message, little endian, no padding.
//!
//! A request is `u16` CPU of a client that wants the server to poll for the next one, or [`SLEEP`]; `u16` number of
//! releases, that many node ids; `u16` number of watches to end, that many watch numbers; `u16` operation, then the
//! operation's fields (see [`request`]).
//! A reply is `i32` errno (0 = success), `u8` whether the server polls now, and, on success, the operation's reply type (see [`reply`]); at most one descriptor comes with it.
//! The first exchange on every channel is `Hello`, which carries [`VERSION`]; its reply brings the server's inotify
//! instance, which the client reads itself.

#![forbid(unsafe_code)]

pub mod attr;
pub mod reply;
pub mod request;
pub(crate) mod socket;
pub mod wire;

/// Incremented with every change of the encoding; both sides must agree exactly, since they come from one binary.
pub const VERSION: u32 = 2;

/// Longest message in bytes: the largest extended attribute (64 KiB, `xattr(7)`) and room for names and fields.
pub const MAX_MESSAGE: usize = 72 * 1024;

/// In place of a CPU: the client does not want the server to poll.
pub const SLEEP: u16 = u16::MAX;

/// How long a server thread looks for the next request before it sleeps, when the request asked for that and came from
/// another CPU (on one CPU polling would keep the client from running).
pub(crate) const POLL: std::time::Duration = std::time::Duration::from_micros(50);

/// Longest file name in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Most components in one walk.
pub const WALK_MAX: usize = 64;

/// Most releases that ride on one request, and most watches that it ends.
pub const RELEASE_MAX: usize = 512;

/// Longest value or list of extended attributes in bytes (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
pub const XATTR_MAX: usize = 65536;
