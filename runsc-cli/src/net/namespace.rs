//! Doing something in another network namespace: on a thread of its own, which ends there.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};

/// The network namespace of a process.
pub fn of_process(pid: i32) -> Result<File> {
    File::open(format!("/proc/{pid}/ns/net")).context("the container's network namespace is gone")
}

/// Whether `namespace` is the one that this command is in, or the machine's first.
pub fn is_shared(namespace: &File) -> Result<bool> {
    let id = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
    let wanted = id(namespace)?;
    let same = |path: &str| {
        File::open(path)
            .and_then(|file| id(&file))
            .is_ok_and(|other| other == wanted)
    };
    Ok(same("/proc/self/ns/net") || same("/proc/1/ns/net"))
}

/// Runs `work` in a namespace.
pub fn within<R: Send>(namespace: &File, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .context("cannot enter the container's network namespace")?;
            work()
        })?;
        thread
            .join()
            .map_err(|_| anyhow!("internal error: work in the network namespace panicked"))?
    })
}
