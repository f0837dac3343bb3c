//! Which sandbox a container belongs to: its own, or that of another container of its pod.
//!
//! Callers say so by annotations. containerd's CRI makes a sandbox container first and names it in the others. CRI-O and Podman name one that need not
//! exist: then the first container that names it makes the sandbox. A sandbox lives as long as one of its containers: see
//! [`hand_over`](super::hand_over).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Result, bail};
use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::process::ProcessId;
use crate::boot::client::Client;
use crate::boot::config::SharedNamespaces;
use crate::spec::validate::namespace_name;
use crate::state::{self, State, Status};

/// A caller's names for the two annotations, and whether the sandbox is there before its members.
struct Dialect {
    kind: &'static str,
    sandbox: &'static str,
    made_first: bool,
}

const DIALECTS: [Dialect; 2] = [
    Dialect {
        kind: "io.kubernetes.cri.container-type",
        sandbox: "io.kubernetes.cri.sandbox-id",
        made_first: true,
    },
    Dialect {
        kind: "io.kubernetes.cri-o.ContainerType",
        sandbox: "io.kubernetes.cri-o.SandboxID",
        made_first: false,
    },
];

/// A place in another container's sandbox.
#[derive(Debug)]
pub struct Membership {
    /// The sandbox: the id of its first container.
    pub sandbox: String,
    /// Its sentry.
    pub sentry: ProcessId,
    /// The namespaces that the spec has it join, by the containers that have them.
    pub shared: SharedNamespaces,
}

impl Membership {
    /// A connection to the sandbox's kernel.
    ///
    /// # Errors
    /// It is gone.
    pub fn connect(&self, root: &Path) -> Result<Client> {
        Client::connect(&root.join(&self.sandbox), self.sentry)
    }
}

/// Whether a spec's annotations say that it is of a pod.
#[must_use]
pub fn is_named(spec: &Spec) -> bool {
    spec.annotations().as_ref().is_some_and(|annotations| {
        DIALECTS
            .iter()
            .any(|dialect| annotations.contains_key(dialect.sandbox))
    })
}

/// The pod that a spec's annotations name, unless the container is the one that makes it.
fn named<'a>(spec: &'a Spec, id: &str) -> Option<(&'a str, &'static Dialect)> {
    let annotations = spec.annotations().as_ref()?;
    DIALECTS.iter().find_map(|dialect| {
        let kind = annotations.get(dialect.kind)?;
        let sandbox = annotations.get(dialect.sandbox)?;
        (kind == "container" && sandbox != id).then_some((sandbox.as_str(), dialect))
    })
}

/// The sandbox that a new container is to live in, if it is not to have one of its own.
///
/// # Errors
/// The sandbox is gone, or the spec names a namespace that none of its containers has.
pub fn membership(root: &Path, spec: &Spec, id: &str) -> Result<Option<Membership>> {
    let Some((name, dialect)) = named(spec, id) else {
        return beside(root, spec, id);
    };
    state::id::validate(name)?;
    let members: Vec<State> = state::all(root)?
        .into_iter()
        .filter(|state| state.sandbox == name || names(state, name))
        .collect();
    // Where nobody makes the sandbox first, it is named after whichever member came first.
    let first = members
        .iter()
        .find(|state| state.id == state.sandbox && lives(state));
    let Some((first, sentry)) = first.and_then(|first| Some((first, first.sentry?))) else {
        if dialect.made_first {
            bail!("the sandbox {name} of container {id} does not exist or has stopped");
        }
        return Ok(None);
    };
    let living = living(&members, &first.id);
    Ok(Some(Membership {
        sandbox: first.id.clone(),
        sentry,
        shared: SharedNamespaces {
            network: network_of(spec, &living),
            ipc: owner(spec, LinuxNamespaceType::Ipc, &living, &first.id)?,
            uts: owner(spec, LinuxNamespaceType::Uts, &living, &first.id)?,
            pid: owner(spec, LinuxNamespaceType::Pid, &living, &first.id)?,
        },
    }))
}

/// Without annotations: a container that is given the network of another one (Docker's `--network container:`) lives in its sandbox, for a network is one
/// sandbox's only.
fn beside(root: &Path, spec: &Spec, id: &str) -> Result<Option<Membership>> {
    if path_of(spec, LinuxNamespaceType::Network).is_none() {
        return Ok(None);
    }
    let all = state::all(root)?;
    let others: Vec<&State> = all
        .iter()
        .filter(|state| state.id != id && lives(state))
        .collect();
    let Some(neighbour) = network_of(spec, &others) else {
        return Ok(None);
    };
    let sandbox = others.iter().find(|state| state.id == neighbour);
    let first = sandbox.and_then(|state| others.iter().find(|first| first.id == state.sandbox));
    let Some((first, sentry)) = first.and_then(|first| Some((first, first.sentry?))) else {
        return Ok(None);
    };
    Ok(Some(Membership {
        sandbox: first.id.clone(),
        sentry,
        shared: SharedNamespaces {
            network: Some(neighbour),
            ..SharedNamespaces::default()
        },
    }))
}

fn living<'a>(members: &'a [State], sandbox: &str) -> Vec<&'a State> {
    members
        .iter()
        .filter(|state| state.sandbox == sandbox && lives(state))
        .collect()
}

/// Whether a container's annotations name this sandbox.
fn names(state: &State, sandbox: &str) -> bool {
    DIALECTS.iter().any(|dialect| {
        state
            .annotations
            .get(dialect.sandbox)
            .is_some_and(|name| name == sandbox)
    })
}

fn lives(state: &State) -> bool {
    !matches!(state.status(), Status::Stopped | Status::Creating)
        || state.sentry.is_some_and(|sentry| sentry.is_alive())
}

fn path_of(spec: &Spec, kind: LinuxNamespaceType) -> Option<&Path> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    let namespace = namespaces.iter().find(|one| one.typ() == kind)?;
    namespace.path().as_deref()
}

/// The member whose network the spec's is.
fn network_of(spec: &Spec, members: &[&State]) -> Option<String> {
    let path = path_of(spec, LinuxNamespaceType::Network)?;
    let wanted = std::fs::metadata(path).ok()?;
    let same = |state: &&&State| {
        let own = state.init.and_then(|init| {
            let path = format!("/proc/{}/ns/net", init.pid);
            std::fs::metadata(path).ok().filter(|_| init.is_alive())
        });
        own.is_some_and(|own| (own.dev(), own.ino()) == (wanted.dev(), wanted.ino()))
    };
    members.iter().find(same).map(|state| state.id.clone())
}

/// The member whose namespace of another kind the spec joins. The host's namespaces behind such paths are not the guests': `/proc/PID/ns/KIND` stands
/// for the container with that pid, a pinned one for the pod's.
fn owner(
    spec: &Spec,
    kind: LinuxNamespaceType,
    members: &[&State],
    first: &str,
) -> Result<Option<String>> {
    let Some(path) = path_of(spec, kind) else {
        return Ok(None);
    };
    let pid: Option<i32> = path
        .strip_prefix("/proc")
        .ok()
        .and_then(|rest| rest.iter().next()?.to_str()?.parse().ok());
    let Some(pid) = pid else {
        return Ok(Some(first.to_owned()));
    };
    let found = members
        .iter()
        .find(|state| state.init.is_some_and(|init| init.pid == pid));
    match found {
        Some(state) => Ok(Some(state.id.clone())),
        None => bail!(
            "the {} namespace {} belongs to no container of the sandbox {first}",
            namespace_name(kind),
            path.display()
        ),
    }
}
