//! `spec`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result, bail};

use crate::cli::SpecArgs;
use crate::spec::starter;

/// Writes `config.json`; never over an existing one.
pub fn run(args: &SpecArgs) -> Result<()> {
    let path = args.bundle.join("config.json");
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("File config.json exists. Remove it first")
        }
        Err(error) => return Err(error).with_context(|| format!("open {}", path.display())),
    };
    file.write_all(starter::text(args.rootless).as_bytes())
        .with_context(|| format!("write {}", path.display()))
}
