//! The lock that makes commands on one container take turns: `flock` on `ROOT/ID/lock`.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
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
    /// Makes the lock of a container that is being made, and holds it.
    pub fn create(dir: &Path) -> Result<Self> {
        Self::hold(dir, OpenOptions::new().write(true).create_new(true))
    }

    /// Waits for the lock of a container's directory. Fails if the directory went away meanwhile, and never makes a lock: that would keep whoever is
    /// removing the directory from it.
    pub fn take(dir: &Path) -> Result<Self> {
        Self::hold(dir, OpenOptions::new().write(true))
    }

    fn hold(dir: &Path, options: &mut OpenOptions) -> Result<Self> {
        let path = dir.join("lock");
        let mut file = match options.mode(0o600).open(&path) {
            Ok(file) => file,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Err(anyhow!(super::NO_CONTAINER));
            }
            Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
        };
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
