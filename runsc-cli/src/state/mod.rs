//! What is kept on disk about a container: `ROOT/ID/` with `state.json`, a lock file and the control socket.
//!
//! `state.json` is replaced atomically, so it can be read without the lock; whoever changes it holds the lock ([`Container::open`]). Whether a
//! container still runs is never stored: it is the proxy process's being alive.

#[cfg(test)]
mod compatibility;
pub mod id;
pub mod lock;
pub mod root;

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Hooks, Process};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::launch::process::ProcessId;
use crate::net::NetworkState;
use lock::Lock;

/// Version of [`State`]'s layout.
const STATE_VERSION: u32 = 1;
/// Error text that every caller matches.
pub const NO_CONTAINER: &str = "container does not exist";

/// A state file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} is damaged ({cause}): delete --force removes the container", path.display())]
pub struct Damaged {
    path: PathBuf,
    cause: String,
}

/// `state.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Layout version.
    pub version: u32,
    /// Container id.
    pub id: String,
    /// Id of the container whose sentry this one lives in (its own for the first).
    pub sandbox: String,
    /// `ociVersion` of the spec.
    pub oci_version: String,
    /// Absolute bundle path.
    pub bundle: PathBuf,
    /// Absolute root path.
    pub rootfs: PathBuf,
    /// RFC 3339 time of creation.
    pub created: String,
    /// uid of whoever created it.
    pub owner: u32,
    /// The proxy of the first process: the container's pid for the outside.
    pub init: Option<ProcessId>,
    /// The sentry.
    pub sentry: Option<ProcessId>,
    /// The gofer.
    pub gofer: Option<ProcessId>,
    /// `start` was called.
    pub started: bool,
    /// `pause` was called.
    pub paused: bool,
    /// The cgroup, unless cgroups are disabled.
    pub cgroup: Option<Cgroup>,
    /// Host uid of the sentry and the guests.
    pub host_id: Option<u32>,
    /// Annotations of the spec.
    pub annotations: BTreeMap<String, String>,
    /// The spec's process: defaults of `exec`.
    pub process: Option<Process>,
    /// The spec's hooks.
    pub hooks: Option<Hooks>,
    /// Its network.
    #[serde(default)]
    pub network: NetworkState,
}

/// What `state` calls a container's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made, or its creator died half-way.
    Creating,
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// The `state` of the runtime spec, as printed by `state` and given to hooks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OciState<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: String,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    owner: String,
}

impl State {
    /// A container that is being made.
    #[must_use]
    pub fn new(id: &str, oci_version: &str, bundle: &Path, rootfs: &Path) -> Self {
        Self {
            version: STATE_VERSION,
            id: id.to_owned(),
            sandbox: id.to_owned(),
            oci_version: oci_version.to_owned(),
            bundle: bundle.to_owned(),
            rootfs: rootfs.to_owned(),
            created: crate::report::rfc3339_nanos(std::time::SystemTime::now()),
            owner: nix::unistd::geteuid().as_raw(),
            init: None,
            sentry: None,
            gofer: None,
            started: false,
            paused: false,
            cgroup: None,
            host_id: None,
            annotations: BTreeMap::new(),
            process: None,
            hooks: None,
            network: NetworkState::default(),
        }
    }

    /// The present status.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.init {
            None => Status::Creating,
            Some(init) if !init.is_alive() => Status::Stopped,
            Some(_) if !self.started => Status::Created,
            Some(_) if self.paused => Status::Paused,
            Some(_) => Status::Running,
        }
    }

    /// The pid for the outside: 0 once it has stopped.
    #[must_use]
    pub fn pid(&self) -> i32 {
        match (self.status(), self.init) {
            (Status::Stopped | Status::Creating, _) | (_, None) => 0,
            (_, Some(init)) => init.pid,
        }
    }

    /// The runtime spec's view.
    #[must_use]
    pub fn oci(&self) -> OciState<'_> {
        self.oci_as(self.status(), self.pid())
    }

    /// The same with a status chosen by the caller, for hooks.
    #[must_use]
    pub fn oci_as(&self, status: Status, pid: i32) -> OciState<'_> {
        OciState {
            oci_version: &self.oci_version,
            id: &self.id,
            pid,
            status: status.to_string(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner: nix::unistd::User::from_uid(self.owner.into())
                .ok()
                .flatten()
                .map_or_else(|| self.owner.to_string(), |user| user.name),
        }
    }

    /// Text for a hook's standard input.
    #[must_use]
    pub fn for_hook(&self, status: Status) -> String {
        let pid = if status == Status::Stopped {
            0
        } else {
            self.init.map_or(0, |init| init.pid)
        };
        serde_json::to_string(&self.oci_as(status, pid)).unwrap_or_default()
    }
}

/// A container's directory, locked.
#[derive(Debug)]
pub struct Container {
    /// `ROOT/ID`.
    pub dir: PathBuf,
    /// Its state.
    pub state: State,
    lock: Lock,
}

impl Container {
    /// Makes the directory of a new container and locks it.
    pub fn create(root: &Path, state: State) -> Result<Self> {
        id::validate(&state.id)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| format!("cannot make the state directory {}", root.display()))?;
        let dir = root.join(&state.id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", dir.display()));
            }
        }
        let lock = Lock::create(&dir)?;
        let container = Self { dir, state, lock };
        if let Err(error) = container.save() {
            let _ = fs::remove_dir_all(&container.dir);
            return Err(error);
        }
        Ok(container)
    }

    /// Locks a container and reads its state. Waits for a command that holds the lock.
    pub fn open(root: &Path, name: &str) -> Result<Self> {
        id::validate(name)?;
        let dir = root.join(name);
        let lock = Lock::take(&dir)?;
        let state = read(&dir)?;
        Ok(Self { dir, state, lock })
    }

    /// Reads a container's state without locking.
    pub fn peek(root: &Path, name: &str) -> Result<State> {
        id::validate(name)?;
        read(&root.join(name))
    }

    /// Writes the state.
    pub fn save(&self) -> Result<()> {
        let path = self.dir.join("state.json");
        write_atomically(&path, &serde_json::to_vec(&self.state)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Lets other commands in, for one that goes on to wait.
    pub fn unlock(self) -> (PathBuf, State) {
        drop(self.lock);
        (self.dir, self.state)
    }

    /// Removes the directory.
    pub fn remove(self) -> Result<()> {
        remove_dir(&self.dir)
    }
}

/// Locks a container whatever its state file says.
pub fn lock_unread(root: &Path, name: &str) -> Result<(PathBuf, Lock)> {
    id::validate(name)?;
    let dir = root.join(name);
    let lock = Lock::take(&dir)?;
    Ok((dir, lock))
}

/// Removes a container's directory.
pub fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

fn read(dir: &Path) -> Result<State> {
    let path = dir.join("state.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(NO_CONTAINER),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let state: State = serde_json::from_slice(&text).map_err(|error| Damaged {
        path: path.clone(),
        cause: error.to_string(),
    })?;
    if state.version != STATE_VERSION {
        bail!(
            "{} was written by another version of runsc (layout {}, this one knows {STATE_VERSION})",
            path.display(),
            state.version
        );
    }
    Ok(state)
}

/// All containers below `root`, by name. Those that cannot be read are skipped with a warning, those of other runtimes without (dockerd 20.10 gives
/// all its runtimes the same root).
pub fn all(root: &Path) -> Result<Vec<State>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", root.display())),
    };
    let mut states = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        match read(&entry.path()) {
            Ok(state) => states.push(state),
            Err(error) if error.to_string() == NO_CONTAINER => {}
            Err(_) if is_foreign(&entry.path()) => {}
            Err(error) => crate::report::warning(&crate::launch::sentence(&error)),
        }
    }
    states.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(states)
}

/// Whether a directory holds another runtime's state: JSON without what ours cannot be without.
fn is_foreign(dir: &Path) -> bool {
    fs::read(dir.join("state.json"))
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok())
        .is_some_and(|value| value.is_object() && value.get("sandbox").is_none())
}

/// Writes a file so that readers see the old or the new content, never a part.
pub fn write_atomically(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let result = (|| {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(content)?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("runsc-state-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[test]
    fn create_read_remove() {
        let root = root("cycle");
        let container = Container::create(
            &root,
            State::new("a", "1.0.0", Path::new("/b"), Path::new("/r")),
        )
        .unwrap();
        assert_eq!(container.state.status(), Status::Creating);
        let error = Container::create(
            &root,
            State::new("a", "1.0.0", Path::new("/b"), Path::new("/r")),
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "container with given ID already exists");
        drop(container);
        assert_eq!(Container::open(&root, "a").unwrap().state.id, "a");
        assert_eq!(all(&root).unwrap().len(), 1);
        Container::open(&root, "a").unwrap().remove().unwrap();
        assert_eq!(
            Container::open(&root, "a").unwrap_err().to_string(),
            NO_CONTAINER
        );
        fs::remove_dir_all(&root).unwrap();
    }

    /// Who waits for a container that is being removed must not keep its directory from going.
    #[test]
    fn only_a_creator_makes_a_lock() {
        let root = root("removed");
        let dir = root.join("a");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("state.json"), "{}").unwrap();
        let error = Container::open(&root, "a").unwrap_err();
        assert_eq!(error.to_string(), NO_CONTAINER);
        assert!(!dir.join("lock").exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn status_follows_the_proxy() {
        let mut state = State::new("a", "1.0.0", Path::new("/b"), Path::new("/r"));
        let me = i32::try_from(std::process::id()).unwrap();
        state.init = ProcessId::of(me);
        assert_eq!((state.status(), state.pid()), (Status::Created, me));
        state.started = true;
        assert_eq!(state.status(), Status::Running);
        state.paused = true;
        assert_eq!(state.status(), Status::Paused);
        state.init = Some(ProcessId {
            pid: me,
            start_time: 1,
        });
        assert_eq!((state.status(), state.pid()), (Status::Stopped, 0));
    }

    #[test]
    fn the_state_has_the_fields_that_callers_read() {
        let state = State::new("a", "1.0.2", Path::new("/b"), Path::new("/r"));
        let value = serde_json::to_value(state.oci()).unwrap();
        for key in [
            "ociVersion",
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
    }
}
