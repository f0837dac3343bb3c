//! Real engines from Debian's packages, each in a world of its own: namespaces, a data root, a socket and cgroups that end with the test,
//! also when the test is killed.
//!
//! [`world`] makes and ends such a world, [`image`] the image that its containers run, [`docker`], [`containerd`] and [`podman`] start an engine in it,
//! and [`case`] runs a script of `cases/` under runc, the oracle, and then under runsc.

pub mod case;
pub mod containerd;
pub mod docker;
pub mod image;
pub mod podman;
pub mod pods;
pub mod world;
