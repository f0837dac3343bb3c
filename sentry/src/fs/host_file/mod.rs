//! Files over host descriptors handed in at the start: a container's standard input, output and error.
//!
//! - [`HostStream`]: the descriptor with its readiness; shared by all guest descriptions of it.
//! - [`HostInode`]: the inode; opened again through `/proc/self/fd/N` or `/dev/stdout` it gives the same stream. The VFS asks [`reopen`] before it
//!   treats the inode as a FIFO or device of its own.
//! - [`open_stdio`]: makes a guest's file of a descriptor. A terminal goes through [`super::devpts::console`] instead.
//!
//! O_NONBLOCK is never set on a descriptor that the caller may share: each read or write is preceded by a poll, writes are limited to what a poll
//! promises, and are made under one lock, since two descriptors may be the same pipe.
//!
//! Lock order: `WRITING` → a stream's `watch` (leaf).

mod inode;
mod stream;

pub use inode::{HostInode, open_stdio, reopen};
pub use stream::{HostStream, operations};
