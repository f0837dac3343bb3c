//! `cargo xtask`: chores of the project that need more than cargo.
//!
//! ```text
//! cargo xtask rootfs [--with-languages]    build the Debian tree that the integration tests run programs in, and print its path
//! cargo xtask programs [WORD …]            every program of the tests on both platforms three times, the last pinned to one CPU
//! cargo xtask bench [ROUNDS [calls|commands|idle]]   what programs cost in a sandbox, as ratios to runc (7 rounds); run nothing beside it
//! cargo xtask vm RUNSC                     cgroup v2 and systemd in a virtual machine, runc as the oracle
//! cargo xtask deb [RUNSC]                  the Debian package, of a release build if no binary is given; prints its path
//! cargo xtask engines [WORDS…]   every case in real engines (Docker, containerd, Podman), or those whose names contain one of the words
//! cargo xtask network [WORD …]   real servers over a veth pair (iperf3, nginx, ssh, PostgreSQL …), with what they measure
//! ```

mod bench;
mod deb;
mod programs;
mod rootfs;
mod vm;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["bench", rest @ ..] if rest.len() <= 2 => {
            let Ok(rounds) = rest.first().map_or(Ok(7), |n| n.parse()) else {
                eprintln!("bench: {} is not a number of rounds", rest[0]);
                return ExitCode::from(2);
            };
            return finish(bench::run(rounds, rest.get(1).copied()));
        }
        ["vm", runsc] => return finish(vm::run(std::path::Path::new(runsc))),
        ["deb"] => deb::build(None),
        ["deb", runsc] => deb::build(Some(std::path::Path::new(runsc))),
        ["rootfs"] => rootfs::build(),
        ["rootfs", "--with-languages"] => rootfs::build_with_languages(),
        ["engines", words @ ..] => return finish(engines(words)),
        ["network", words @ ..] => return finish(network(words)),
        ["programs", words @ ..] => return finish(programs::run(words)),
        _ => {
            eprintln!(
                "usage: cargo xtask rootfs [--with-languages] | programs [WORD …] | bench [ROUNDS [calls|commands|idle]] | vm RUNSC | deb [RUNSC] | engines [WORD …] | network [WORD …]"
            );
            return ExitCode::from(2);
        }
    };
    finish(result.map(|path| println!("{}", path.display())))
}

/// The whole of `tests/engines`; without words also what is not in its smoke slice.
fn engines(words: &[&str]) -> anyhow::Result<()> {
    let tree = rootfs::build()?;
    anyhow::ensure!(tree.exists(), "the Debian tree is missing");
    let status = std::process::Command::new("cargo")
        .args(["test", "-p", "engines", "--test", "engines", "--"])
        .args(words)
        .env("ENGINES_ALL", "1")
        .status()?;
    anyhow::ensure!(status.success(), "the engines' tests failed");
    Ok(())
}

/// The servers of `tests/integration/tests/network/servers.rs`, from a tree that has them.
fn network(words: &[&str]) -> anyhow::Result<()> {
    rootfs::build_plain(rootfs::NETWORK, "rootfs-network")?;
    let status = std::process::Command::new("cargo")
        .args([
            "test",
            "-p",
            "integration",
            "--test",
            "network",
            "--",
            "--nocapture",
            "servers_serve",
        ])
        .env("NETWORK_ALL", "1")
        .env("NETWORK_PROGRAMS", words.join(" "))
        .status()?;
    anyhow::ensure!(status.success(), "a server did not serve: see above");
    Ok(())
}

fn finish(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
