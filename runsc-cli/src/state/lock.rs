//! The lock that makes commands on one container take turns: `flock` on `ROOT/ID/lock`.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

/// A held lock; released when dropped (also when the process dies).
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the lock of a container's directory. Fails if the directory went away meanwhile.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        let mut file = file;
        let held = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(held) => break held,
                Err((back, nix::errno::Errno::EINTR)) => file = back,
                Err((_, error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
        };
        // Whoever held it before may have deleted the container: then this is the lock of nothing.
        let same = std::fs::metadata(&path)
            .is_ok_and(|now| held.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
        if !same {
            return Err(anyhow!(super::NO_CONTAINER));
        }
        Ok(Self { _file: held })
    }
}
