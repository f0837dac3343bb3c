//! A sandbox whose first container is deleted while others live goes on: one of them takes the first one's place.
//!
//! The first container's directory has the control socket, its state names the sentry, and the sentry and the template sit in its cgroup. All that
//! passes to the heir. Lock order: the lock of a sandbox's first container is held before a member's is taken, and of members one at a time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::boot::client::SOCKET;
use crate::cgroup::{Cgroup, Place};
use crate::state::{self, Container, State, Status};

/// Finds an heir and makes it the sandbox's first container; `first` is a member of it from then on. `None`: there is nobody, and the sandbox ends.
///
/// # Errors
/// A state or the socket cannot be written.
pub fn to_another(first: &mut Container) -> Result<Option<State>> {
    let own = first.state.id.clone();
    let Some(root) = first.dir.parent().map(Path::to_owned) else {
        return Ok(None);
    };
    if first.state.sandbox != own || !first.state.sentry.is_some_and(|sentry| sentry.is_alive()) {
        return Ok(None);
    }
    let mut members: Vec<State> = state::all(&root)?
        .into_iter()
        .filter(|state| state.sandbox == own && state.id != own)
        .collect();
    // Who has the network keeps it.
    members.sort_by_key(|state| (!state.network.shared, state.created.clone()));
    let mut heir = None;
    for member in &members {
        // Whoever held the lock may have ended it.
        let Ok(mut container) = Container::open(&root, &member.id) else {
            continue;
        };
        let alive = !matches!(container.state.status(), Status::Stopped | Status::Creating);
        if !alive || container.state.sandbox != own {
            continue;
        }
        fs::hard_link(first.dir.join(SOCKET), container.dir.join(SOCKET))
            .with_context(|| format!("cannot hand the sandbox over to {}", member.id))?;
        inherit(&mut container.state, &mut first.state);
        container.save()?;
        heir = Some(container.state.clone());
        break;
    }
    let Some(heir) = heir else { return Ok(None) };
    for member in members.iter().filter(|member| member.id != heir.id) {
        if let Ok(mut container) = Container::open(&root, &member.id)
            && container.state.sandbox == own
        {
            container.state.sandbox.clone_from(&heir.id);
            container.save()?;
        }
    }
    first.save()?;
    Ok(Some(heir))
}

/// What is the sandbox's in the states.
fn inherit(heir: &mut State, first: &mut State) {
    heir.sandbox.clone_from(&heir.id);
    heir.sentry = first.sentry.take();
    heir.host_id = first.host_id.take();
    if heir.network.shared {
        heir.network.shared = false;
        heir.network.mode = first.network.mode;
        heir.network.ports = first.network.ports.take();
        heir.network.link = first.network.link.take();
    }
    first.sandbox.clone_from(&heir.id);
}

/// Moves the sandbox's processes, all that is left in the first container's cgroup, to the heir's.
///
/// # Errors
/// The host refuses it.
pub fn move_processes(from: &Cgroup, heir: &State) -> Result<()> {
    let Some(to) = &heir.cgroup else {
        return Ok(());
    };
    for place in [Place::Sentry, Place::Guest] {
        for pid in from.pids(place)? {
            to.add(pid, place).with_context(|| {
                format!("cannot move process {pid} to the cgroup of {}", heir.id)
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::process::ProcessId;

    fn state(id: &str, sandbox: &str) -> State {
        let mut state = State::new(id, "1.0.2", "/b".as_ref(), "/r".as_ref());
        sandbox.clone_into(&mut state.sandbox);
        state
    }

    #[test]
    fn the_heir_has_what_the_first_had() {
        let (mut first, mut heir) = (state("a", "a"), state("b", "a"));
        first.sentry = ProcessId::of(1);
        first.host_id = Some(7);
        first.network.ports = Some("1 2".into());
        heir.network.shared = true;
        inherit(&mut heir, &mut first);
        assert_eq!((heir.sandbox.as_str(), first.sandbox.as_str()), ("b", "b"));
        assert!(heir.sentry == ProcessId::of(1) && first.sentry.is_none());
        assert_eq!((heir.host_id, first.host_id), (Some(7), None));
        assert_eq!(heir.network.ports.as_deref(), Some("1 2"));
        assert!(!heir.network.shared && first.network.ports.is_none());
    }

    #[test]
    fn who_has_another_network_leaves_it_to_the_first() {
        let (mut first, mut heir) = (state("a", "a"), state("b", "a"));
        first.network.ports = Some("1 2".into());
        inherit(&mut heir, &mut first);
        assert_eq!(first.network.ports.as_deref(), Some("1 2"));
    }
}
