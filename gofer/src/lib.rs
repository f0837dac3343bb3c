//! The gofer: the only process that touches a container's files by name.
//!
//! - [`protocol`]: what travels between sentry and gofer, and how it is encoded.
//! - [`server`]: answers requests over a set of *trees* (the root file system and each bind mount), never leaving them.
//! - [`jail`]: locks the process down before the server reads its first request.
//! - [`client`]: the sentry's side: one method per operation, callable from many threads.
//!
//! The client may be compromised and the files are hostile: the server believes neither.

#![deny(unsafe_code)]

pub mod client;
mod host;
pub mod jail;
pub mod protocol;
pub mod server;
