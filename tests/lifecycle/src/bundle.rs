//! A small bundle: busybox as root file system, and the configuration that engines write.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use harness::usual_mounts;
use serde_json::{Value, json};

/// The applets that cases use.
const APPLETS: &[&str] = &[
    "awk",
    "cat",
    "chmod",
    "chown",
    "cut",
    "dd",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "mountpoint",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "sed",
    "sh",
    "sleep",
    "sort",
    "stat",
    "stty",
    "tail",
    "test",
    "touch",
    "tr",
    "true",
    "tty",
    "umount",
    "uname",
    "wc",
];

/// Where the static busybox of the test tree is.
fn busybox() -> PathBuf {
    let cache = std::env::var_os("RUNSC_TEST_CACHE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache"),
        PathBuf::from,
    );
    cache.join("rootfs/bin/busybox")
}

/// Whether bundles can be made here: else why not.
///
/// # Errors
/// What is missing and how to get it.
pub fn available() -> Result<(), String> {
    let busybox = busybox();
    if busybox.exists() {
        Ok(())
    } else {
        Err(format!(
            "{} is missing: run cargo xtask rootfs",
            busybox.display()
        ))
    }
}

/// Makes the root file system.
///
/// # Panics
/// When it cannot be written.
pub fn root(at: &Path) {
    for dir in [
        "bin",
        "dev",
        "etc",
        "proc",
        "sys",
        "tmp",
        "root",
        "home/user",
        "var",
        "mnt",
    ] {
        fs::create_dir_all(at.join(dir)).expect("a directory of the root");
    }
    fs::set_permissions(at.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("mode of /tmp");
    chown(at.join("home/user"), Some(1000), Some(1000)).expect("owner of /home/user");
    let target = at.join("bin/busybox");
    if fs::hard_link(busybox(), &target).is_err() {
        fs::copy(busybox(), &target).expect("busybox");
    }
    for applet in APPLETS {
        symlink("busybox", at.join("bin").join(applet)).expect("an applet");
    }
    fs::write(
        at.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
    )
    .expect("passwd");
    fs::write(
        at.join("etc/group"),
        "root:x:0:\nuser:x:1000:\nstaff:x:50:user\n",
    )
    .expect("group");
}

/// Capabilities that Docker gives.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The specification that cases change.
#[must_use]
pub fn config(cgroup: &str, args: &[&str]) -> Value {
    let namespaces: Vec<Value> = ["pid", "ipc", "uts", "mount", "network"]
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES}
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "sandbox",
        "mounts": usual_mounts(),
        "linux": {"namespaces": namespaces, "cgroupsPath": cgroup}
    })
}
