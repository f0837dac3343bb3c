//! Where the state of containers is kept.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::launch::userns;

/// `--root`, or the default: `/run/runsc` for root, `$XDG_RUNTIME_DIR/runsc` for everybody else (and for root in somebody's user namespace, as runc
/// decides it).
pub fn resolve(flag: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = flag {
        return std::path::absolute(path).with_context(|| format!("--root {}", path.display()));
    }
    let runtime_dir = env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let foreign_root =
        userns::in_user_namespace() && env::var_os("USER").is_none_or(|user| user != "root");
    if userns::is_root() && !foreign_root {
        return Ok(PathBuf::from("/run/runsc"));
    }
    Ok(match runtime_dir {
        Some(dir) => dir.join("runsc"),
        None if userns::is_root() => PathBuf::from("/run/runsc"),
        None => env::temp_dir().join(format!("runsc-{}", nix::unistd::geteuid())),
    })
}
