//! `/proc/sys`. Values that a container may change are kept per container ([`values::Values`]); the kernel's own are read-only.

mod kernel;
mod tables;
mod values;

use std::sync::Weak;

use crate::fs::static_tree::Node;
use crate::kernel::Kernel;

pub use values::{Values, set};

/// The directory.
pub(super) fn node(_kernel: &Weak<Kernel>) -> Node {
    Node::dir([
        ("abi", Node::dir([])),
        ("debug", Node::dir([])),
        ("dev", Node::dir([])),
        ("fs", tables::fs()),
        ("kernel", kernel::node()),
        ("net", tables::net()),
        ("user", tables::user()),
        ("vm", tables::vm()),
    ])
}
