//! Mount points that a read-only root lacks, made on the host before the root is served, as runc makes them before it remounts the root.
//!
//! The root is a hostile image: every step resolves inside it (`RESOLVE_IN_ROOT`), and what is made is made by name in an opened directory, never
//! through a symbolic link.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use crate::boot::config::{MountConfig, MountKind};

/// Most components of a mount point.
const MAX_DEPTH: usize = 128;

/// Makes what is missing in `root` for `mounts`, and the working directory. What is below another mount is that mount's business.
pub fn make_missing(root: &Path, mounts: &[MountConfig], cwd: &str) -> Result<()> {
    let root = nix::fcntl::open(
        root,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("open {}", root.display()))?;
    for (index, mount) in mounts.iter().enumerate() {
        let covered = mounts
            .iter()
            .take(index)
            .any(|other| is_below(&mount.destination, &other.destination));
        if covered {
            continue;
        }
        let directory = !matches!(
            mount.kind,
            MountKind::Tree {
                directory: false,
                ..
            }
        );
        make(&root, &mount.destination, directory).map_err(|errno| {
            anyhow!(
                "error during container init: error mounting {:?} to rootfs at {:?}: cannot create the mount point: {}",
                mount.source,
                mount.destination,
                crate::launch::errno_text(&errno.into())
            )
        })?;
    }
    if !mounts.iter().any(|mount| is_below(cwd, &mount.destination)) {
        make(&root, cwd, true).map_err(|errno| {
            anyhow!(
                "error during container init: mkdir {cwd}: {}",
                crate::launch::errno_text(&errno.into())
            )
        })?;
    }
    Ok(())
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || above == "/")
}

fn make(root: &OwnedFd, path: &str, directory: bool) -> Result<(), Errno> {
    if resolve(root, path).is_ok() {
        return Ok(());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() > MAX_DEPTH {
        return Err(Errno::ENAMETOOLONG);
    }
    let mut parent = String::from("/");
    for (index, part) in parts.iter().enumerate() {
        let here = format!("{}/{part}", parent.trim_end_matches('/'));
        if resolve(root, &here).is_err() {
            let dir = resolve(root, &parent)?;
            if index + 1 == parts.len() && !directory {
                let flags = OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_WRONLY
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                openat(dir.as_fd(), *part, flags, Mode::from_bits_truncate(0o755))?;
            } else {
                mkdirat(dir.as_fd(), *part, Mode::from_bits_truncate(0o755))?;
            }
        }
        parent = here;
    }
    Ok(())
}

fn resolve(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_the_image_lead_nowhere_else() {
        let base = std::env::temp_dir().join(format!("runsc-mountpoints-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        let (root, outside) = (base.join("root"), base.join("outside"));
        std::fs::create_dir_all(root.join("real")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        symlink(&outside, root.join("absolute")).unwrap();
        symlink("../outside", root.join("climbing")).unwrap();
        symlink("/real", root.join("inside")).unwrap();
        let fd = nix::fcntl::open(&root, OFlag::O_PATH, Mode::empty()).unwrap();
        make(&fd, "/a/b/c", true).unwrap();
        make(&fd, "/inside/file", false).unwrap();
        assert!(root.join("a/b/c").is_dir() && root.join("real/file").is_file());
        assert!(make(&fd, "/absolute/x", true).is_err());
        assert!(make(&fd, "/climbing/x", true).is_err());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        std::fs::remove_dir_all(&base).unwrap();
    }

    #[test]
    fn below() {
        assert!(is_below("/dev/pts", "/dev") && is_below("/x", "/"));
        assert!(!is_below("/device", "/dev"));
    }
}
