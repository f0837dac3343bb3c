//! OCI bundles for tests: a root file system layered over the cached Debian tree, and a `config.json`.

use std::fs;
use std::path::{Path, PathBuf};

use harness::{Scratch, usual_mounts};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

/// The directory of a container's work; what programs leave below it is compared.
pub const WORK: &str = "work";

/// A bundle whose root is a fresh overlay over a shared tree. Dropping it unmounts and removes it.
pub struct Bundle {
    scratch: Scratch,
}

impl Bundle {
    /// A bundle that runs `args` in `/work` over `tree`.
    ///
    /// # Errors
    /// What could not be made, as a sentence.
    pub fn new(tree: &Path, args: &[&str]) -> Result<Self, String> {
        Self::with_stdio(tree, args, false)
    }

    /// The same with a terminal as its stdio.
    ///
    /// # Errors
    /// What could not be made, as a sentence.
    pub fn on_terminal(tree: &Path, args: &[&str]) -> Result<Self, String> {
        Self::with_stdio(tree, args, true)
    }

    fn with_stdio(tree: &Path, args: &[&str], terminal: bool) -> Result<Self, String> {
        let bundle = Self {
            scratch: Scratch::new(),
        };
        for name in ["layers", "rootfs"] {
            fs::create_dir(bundle.path().join(name))
                .map_err(|e| format!("cannot create {name}: {e}"))?;
        }
        // The layers get a tmpfs of their own: an overlay cannot be stacked on just any file system.
        let layers = bundle.path().join("layers");
        let none = Some("none");
        mount(
            none,
            &layers,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .map_err(|e| format!("cannot mount a tmpfs: {e}"))?;
        for name in ["upper", "work"] {
            fs::create_dir(layers.join(name)).map_err(|e| format!("cannot create {name}: {e}"))?;
        }
        let options = format!(
            "lowerdir={},upperdir={1}/upper,workdir={1}/work",
            tree.display(),
            layers.display()
        );
        mount(
            none,
            &bundle.rootfs(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .map_err(|e| format!("cannot mount an overlay over {}: {e}", tree.display()))?;
        fs::create_dir_all(bundle.work())
            .map_err(|e| format!("cannot create {}: {e}", bundle.work().display()))?;
        bundle.write(&config(args, terminal))?;
        Ok(bundle)
    }

    fn write(&self, spec: &Value) -> Result<(), String> {
        let text = serde_json::to_vec_pretty(spec).map_err(|e| e.to_string())?;
        fs::write(self.path().join("config.json"), text)
            .map_err(|e| format!("cannot write config.json: {e}"))
    }

    /// Changes the specification.
    ///
    /// # Errors
    /// What could not be read or written, as a sentence.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let text = fs::read(self.path().join("config.json"))
            .map_err(|e| format!("cannot read config.json: {e}"))?;
        let mut spec = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        change(&mut spec);
        self.write(&spec)
    }

    /// The bundle's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Its root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// The container's `/work`, on the host.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.rootfs().join(WORK)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // Lazily: a container that was just killed may still be going. A failure leaves garbage in the temporary directory.
        for name in ["rootfs", "layers"] {
            let _ = umount2(&self.path().join(name), MntFlags::MNT_DETACH);
        }
    }
}

/// The specification that both runtimes get: Docker's usual one, without a network.
fn config(args: &[&str], terminal: bool) -> Value {
    let capabilities = [
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": [path, "HOME=/root", "LC_ALL=C.UTF-8", "TERM=xterm"],
            "cwd": format!("/{WORK}"),
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "sandbox",
        "mounts": usual_mounts(),
        "linux": {
            "namespaces": namespaces,
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
            "readonlyPaths": ["/proc/sys"]
        }
    })
}
