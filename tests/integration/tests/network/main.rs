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

use std::process::ExitCode;

use integration::guest::{self, Case};
use world::on;

const CASES: &[Case] = &[
    (
        "servers_in_the_sandbox_are_reached_and_the_hosts_stack_keeps_still",
        |platform| {
            on(
                platform,
                basics::servers_in_the_sandbox_are_reached_and_the_hosts_stack_keeps_still,
            )
        },
    ),
    (
        "the_sandbox_reaches_servers_and_shows_its_network",
        |platform| {
            on(
                platform,
                basics::the_sandbox_reaches_servers_and_shows_its_network,
            )
        },
    ),
    ("the_hosts_own_network_is_refused", |platform| {
        on(platform, basics::the_hosts_own_network_is_refused)
    }),
    ("ip_and_ss_show_what_they_show_natively", |platform| {
        on(platform, control::ip_and_ss_show_what_they_show_natively)
    }),
    (
        "a_resolver_is_reached_and_ports_are_forwarded",
        |platform| {
            on(
                platform,
                host_loopback::a_resolver_is_reached_and_ports_are_forwarded,
            )
        },
    ),
    (
        "a_flood_does_not_shut_out_others_and_a_scan_finds_what_is_open",
        |platform| {
            on(
                platform,
                hostile::a_flood_does_not_shut_out_others_and_a_scan_finds_what_is_open,
            )
        },
    ),
    ("lost_packets_are_sent_again", |platform| {
        on(platform, loss::lost_packets_are_sent_again)
    }),
    ("servers_serve", |platform| {
        on(platform, servers::servers_serve)
    }),
];

fn main() -> ExitCode {
    guest::main("network", CASES)
}
