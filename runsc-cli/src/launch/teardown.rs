//! Ends a container and removes all that it holds.

use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::Result;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::hand_over;
use super::hooks::{self, Point};
use super::process::ProcessId;
use crate::boot::client;
use crate::cgroup::Cgroup;
use crate::report;
use crate::state::{self, Container, Status};

/// Kills what is left of a container and removes processes, cgroup and state; then the `poststop` hooks run. Continues after failures and reports the
/// first one.
pub fn destroy(mut container: Container) -> Result<()> {
    let heir = hand_over::to_another(&mut container);
    let (dir, state) = (container.dir.clone(), container.state.clone());
    let mut first: Result<()> = Ok(());
    let mut note = |result: Result<()>| {
        if first.is_ok() {
            first = result;
        }
    };
    let heir = heir.unwrap_or_else(|error| {
        note(Err(error));
        None
    });
    // While the proxy keeps its namespace there.
    note(crate::net::give_back(&state));
    if state.sandbox == state.id {
        // The sentry is the first process of the guests' pid namespace: they die with it, and so does every proxy.
        for process in [state.sentry, state.init, state.gofer]
            .into_iter()
            .flatten()
        {
            note(process.kill_and_wait().map_err(Into::into));
        }
    } else {
        let root = dir.parent().unwrap_or(&dir);
        let sandbox = state::Container::peek(root, &state.sandbox)
            .ok()
            .and_then(|sandbox| sandbox.sentry);
        if let Some(sentry) = sandbox.filter(super::process::ProcessId::is_alive) {
            let socket_dir = root.join(&state.sandbox);
            note(
                crate::boot::client::Client::connect(&socket_dir, sentry)
                    .and_then(|client| client.destroy(&state.id)),
            );
        }
        for process in [state.init, state.gofer].into_iter().flatten() {
            note(process.kill_and_wait().map_err(Into::into));
        }
    }
    if let Some(cgroup) = &state.cgroup {
        if let Some(heir) = &heir {
            note(hand_over::move_processes(cgroup, heir));
        }
        note(cgroup.destroy());
    }
    note(container.remove());
    if let Err(error) = hooks::run(
        &hooks::at(state.hooks.as_ref(), Point::Poststop),
        &state.for_hook(Status::Stopped),
    ) {
        // The container is gone whatever they say.
        report::warning(&crate::launch::sentence(&error));
    }
    first
}

/// Takes down a container whose state file is lost: its control socket leads to the sentry, that one to the cgroup. Everything else ends with the sentry.
pub fn destroy_unread(dir: &Path) -> Result<()> {
    if let Some(sentry) = listener(dir) {
        let cgroup = Cgroup::of_sentry(sentry.pid);
        sentry.kill_and_wait()?;
        if let Some(cgroup) = cgroup {
            cgroup.destroy()?;
        }
    }
    state::remove_dir(dir)
}

/// The process that listens on a sandbox's control socket.
fn listener(dir: &Path) -> Option<ProcessId> {
    let (_dir, path) = client::short_path(dir).ok()?;
    let stream = UnixStream::connect(path).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    let name = std::fs::read_to_string(format!("/proc/{}/comm", peer.pid())).ok()?;
    (name.trim() == "runsc-sentry").then(|| ProcessId::of(peer.pid()))?
}
