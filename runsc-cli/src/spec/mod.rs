//! The OCI spec: reading it ([`load`]), refusing what cannot be done ([`validate`]), and turning it into what the kernel is told
//! ([`container`], [`process`], [`mounts`], [`idmap`], [`devices`], [`scheduling`], [`overlay`]).

pub mod capabilities;
pub mod container;
pub mod devices;
pub mod idmap;
pub mod load;
pub mod mounts;
pub mod overlay;
pub mod process;
pub mod scheduling;
pub mod seccomp;
pub mod starter;
pub mod validate;

/// Version of the runtime spec that this runtime implements.
pub const SPEC_VERSION: &str = "1.2.0";
/// The oldest version that it accepts.
pub const SPEC_VERSION_MIN: &str = "1.0.0";
