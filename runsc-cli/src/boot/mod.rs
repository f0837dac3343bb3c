//! The sentry's side of the command line: what the kernel is told ([`config`]), how it is steered ([`control`]), how that travels ([`wire`],
//! [`client`], [`server`]), and how the process comes up ([`sentry`], [`filter`],
//! [`kernel`], [`panics`]), with the helper that tells what is resident ([`ledger`]).

pub mod client;
#[cfg(test)]
mod compatibility;
pub mod config;
pub mod control;
#[cfg(feature = "fake-kernel")]
pub mod fake;
pub mod filter;
pub mod kernel;
pub mod ledger;
pub mod panics;
pub mod sentry;
pub mod server;
pub mod wire;
