//! Files: descriptors, paths, attributes, data.
//!
//! What the calls mean is in [`sentry::vfs`]; here arguments are fetched, errors put in Linux's order, and waiting done.

pub mod attr;
pub mod copy;
pub mod dirs;
pub mod fcntl;
pub mod fd;
pub mod io;
pub mod ioctl;
pub mod locks;
pub mod names;
pub mod open;
pub mod path;
pub mod splice;
pub mod stat;
pub mod sync;
pub mod xattr;

pub use attr::*;
pub use copy::*;
pub use dirs::*;
pub use fcntl::*;
pub use fd::*;
pub use io::*;
pub use ioctl::*;
pub use locks::flock;
pub use names::*;
pub use open::*;
pub use splice::*;
pub use stat::*;
pub use sync::*;
pub use xattr::*;
