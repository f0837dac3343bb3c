//! Real programs on a Debian tree, under runc and under runsc: OCI bundles ([`bundle`]), the two runtimes ([`runtime`]), what is left of a run
//! ([`tree`]), shells that are asked ([`guest`]), and people at a terminal ([`terminal`], [`dialog`]).

pub mod bundle;
pub mod dialog;
pub mod guest;
mod host;
pub mod runtime;
pub mod terminal;
pub mod tree;
