//! The sandbox on a veth pair between two network namespaces that the test makes; the machine's own network is not touched.
//!
//! The namespaces are held by processes that die with the test. Needs root, iproute2, util-linux, nftables and python3; both sides run the same scripts.

mod basics;
mod control;
mod host_loopback;
mod hostile;
mod loss;
mod servers;
mod world;
