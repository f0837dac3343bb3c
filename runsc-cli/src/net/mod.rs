//! The network that a sandbox takes over: read, opened and guarded by the commands, used by the sentry's stack.
//!
//! - [`take_over`] at `start`; [`give_back`] at `delete`. [`observe`]: what is there. [`guard`]: the host's stack keeps still. [`netlink`],
//!   [`namespace`]: the tools. [`veth`]: a network for `do`.
//!
//! Only private namespaces are touched, never the one that this command is in nor the machine's own.

pub mod guard;
pub mod namespace;
pub mod netlink;
pub mod observe;
pub mod veth;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use netstack::setup::Setup;
use serde::{Deserialize, Serialize};

use crate::boot::config::NetworkMode;
use crate::host;
use crate::state::State;

/// What is remembered of a container's network, in its state.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct NetworkState {
    /// `--network` at `create`.
    pub mode: NetworkMode,
    /// The spec gives the container a network namespace.
    pub private: bool,
    /// Where that namespace is, if it existed before the container.
    pub path: Option<PathBuf>,
    /// The host's port range before it was moved; set while the namespace is taken over.
    pub ports: Option<String>,
    /// It is another container's of the sandbox, who has taken it over.
    #[serde(default)]
    pub shared: bool,
    /// What `do` made for it.
    pub link: Option<veth::Link>,
}

/// A network for the sandbox.
pub struct Network {
    /// What there is.
    pub setup: Setup,
    /// A packet socket for each interface; for the host's loopback another one, and a raw socket to send by; the file of a capture.
    pub sockets: Vec<OwnedFd>,
}

/// Refuses what cannot be had, before anything is made.
pub fn check(mode: NetworkMode, private: bool) -> Result<()> {
    match mode {
        NetworkMode::Sandbox if !private => bail!(
            "the container has no network namespace of its own, and the sandbox never takes over the host's: give it one, or use --network=none"
        ),
        NetworkMode::Host => bail!(
            "--network=host is not supported: use --network=sandbox with a network namespace, or --network=none"
        ),
        NetworkMode::Sandbox | NetworkMode::None => Ok(()),
    }
}

/// Takes over the container's network namespace; its packets go to `capture` as well. `None`: there is nothing but loopback in it.
pub fn take_over(state: &mut State, capture: Option<File>) -> Result<Option<Network>> {
    if state.network.mode != NetworkMode::Sandbox || state.network.shared {
        return Ok(None);
    }
    let proxy = state.init.ok_or_else(|| anyhow!("container not running"))?;
    let namespace = namespace::of_process(proxy.pid)?;
    if namespace::is_shared(&namespace)? {
        check(NetworkMode::Sandbox, false)?;
    }
    let entered = namespace::within(&namespace, || {
        let mut setup = observe::setup().context("cannot read the container's network")?;
        if setup.interfaces.is_empty() {
            return Ok(None);
        }
        setup.check().map_err(|sentence| anyhow!(sentence))?;
        let sockets = setup
            .interfaces
            .iter()
            .map(|interface| {
                host::packet_socket(interface.index).with_context(|| {
                    format!("cannot open the container's interface {}", interface.name)
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let mut sockets = sockets;
        if host::is_up(c"lo")? {
            let index = 1;
            sockets
                .push(host::packet_socket(index).context("cannot open the container's loopback")?);
            sockets
                .push(host::loopback_output().context("cannot send to the container's loopback")?);
            setup.host_loopback = Some(observe::listeners_on_loopback()?);
        }
        let ports = guard::silence()?;
        setup.reserved_ports = Some(guard::PORTS);
        Ok(Some((Network { setup, sockets }, ports)))
    });
    let entered = match entered {
        Err(error) if !crate::launch::userns::is_root() => {
            crate::report::warning(&format!(
                "the sandbox has no network but its own loopback: {error:#}"
            ));
            None
        }
        other => other?,
    };
    Ok(entered.map(|(mut network, ports)| {
        network.setup.capture = capture.is_some();
        network.sockets.extend(capture.map(OwnedFd::from));
        state.network.ports = Some(ports);
        network
    }))
}

/// Gives the namespace back as it was found, if it is still there.
pub fn give_back(state: &State) -> Result<()> {
    let alive = state.init.filter(|proxy| proxy.is_alive());
    let namespace = match (alive, &state.network.path) {
        (Some(proxy), _) => namespace::of_process(proxy.pid).ok(),
        // Gone, if its owner has taken it down.
        (None, Some(path)) => File::open(path).ok(),
        // It went with the last process in it.
        (None, None) => None,
    };
    let result = match (&state.network.ports, namespace) {
        (Some(ports), Some(namespace)) if !namespace::is_shared(&namespace)? => {
            namespace::within(&namespace, || guard::give_back(ports))
        }
        _ => Ok(()),
    };
    if let Some(link) = &state.network.link {
        link.remove()?;
    }
    result
}
