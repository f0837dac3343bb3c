//! `install` and `uninstall`: one entry for this program in the configuration of Docker ([`docker`]) or containerd ([`containerd`]).
//!
//! Only that entry changes; what else is in the file stays, and a file that cannot be understood is left alone. Running engines are not touched: the
//! last line says how they learn of it.

mod containerd;
mod docker;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use crate::cli::{Engine, InstallArgs, UninstallArgs};
use crate::state;

/// Largest configuration that is read.
const MAX_FILE: u64 = 4 << 20;

/// What an engine is told of a runtime.
pub struct Runtime<'a> {
    /// Its name there.
    pub name: &'a str,
    /// The program.
    pub program: &'a str,
    /// Global flags for each call.
    pub flags: &'a [String],
}

/// Adds this program.
pub fn install(args: &InstallArgs) -> Result<()> {
    let program = program()?;
    let runtime = Runtime {
        name: &args.runtime,
        program: &program,
        flags: &args.flags,
    };
    for (engine, path) in files(args.engine, args.config_file.as_deref())? {
        let old = read(&path)?;
        let new = match engine {
            Engine::Docker => docker::add(&old, &runtime, args.clobber),
            Engine::Containerd => containerd::add(&old, &runtime, args.clobber),
        }
        .with_context(|| format!("cannot change {}", path.display()))?;
        write(&path, &new)?;
        crate::report::print(format_args!(
            "{}: added the runtime {:?} ({program}); {}",
            path.display(),
            args.runtime,
            how_it_learns(engine)
        ));
    }
    Ok(())
}

/// Takes it out again.
pub fn uninstall(args: &UninstallArgs) -> Result<()> {
    for (engine, path) in files(args.engine, args.config_file.as_deref())? {
        let old = read(&path)?;
        let new = match engine {
            Engine::Docker => docker::remove(&old, &args.runtime),
            Engine::Containerd => containerd::remove(&old, &args.runtime),
        }
        .with_context(|| format!("cannot change {}", path.display()))?;
        match new {
            Some(new) => {
                write(&path, &new)?;
                crate::report::print(format_args!(
                    "{}: removed the runtime {:?}; {}",
                    path.display(),
                    args.runtime,
                    how_it_learns(engine)
                ));
            }
            None => crate::report::print(format_args!(
                "{}: has no runtime {:?}",
                path.display(),
                args.runtime
            )),
        }
    }
    Ok(())
}

const fn how_it_learns(engine: Engine) -> &'static str {
    match engine {
        Engine::Docker => "reload Docker (systemctl reload docker, or SIGHUP to dockerd)",
        Engine::Containerd => "restart containerd (systemctl restart containerd)",
    }
}

/// Where this program is, as engines will start it.
fn program() -> Result<String> {
    let path = std::env::current_exe().context("cannot tell where this program is")?;
    path.into_os_string()
        .into_string()
        .map_err(|path| anyhow!("the path of this program is not UTF-8: {}", path.display()))
}

/// The engines to configure and their files: the one asked for, else those that this machine has.
fn files(engine: Option<Engine>, file: Option<&Path>) -> Result<Vec<(Engine, PathBuf)>> {
    let own = |engine| match engine {
        Engine::Docker => PathBuf::from("/etc/docker/daemon.json"),
        Engine::Containerd => PathBuf::from("/etc/containerd/config.toml"),
    };
    match (engine, file) {
        (engine, Some(file)) => {
            let by_name = if file.extension().is_some_and(|e| e == "toml") {
                Engine::Containerd
            } else {
                Engine::Docker
            };
            Ok(vec![(engine.unwrap_or(by_name), file.to_owned())])
        }
        (Some(engine), None) => Ok(vec![(engine, own(engine))]),
        (None, None) => {
            let found: Vec<_> = [Engine::Docker, Engine::Containerd]
                .into_iter()
                .map(|engine| (engine, own(engine)))
                .filter(|(_, path)| path.parent().is_some_and(Path::is_dir))
                .collect();
            if found.is_empty() {
                bail!(
                    "neither /etc/docker nor /etc/containerd is there: say which engine with --engine, or which file with --config-file"
                );
            }
            Ok(found)
        }
    }
}

/// The file's text; empty if it is missing.
fn read(path: &Path) -> Result<String> {
    match fs::metadata(path) {
        Ok(about) if about.len() > MAX_FILE => {
            bail!("{} is larger than {MAX_FILE} bytes", path.display())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        _ => {}
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Replaces the file, keeping its mode. A symbolic link stays one.
fn write(path: &Path, text: &str) -> Result<()> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mode = fs::metadata(&real).map_or(0o644, |about| about.permissions().mode());
    if let Some(parent) = real.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    state::write_atomically(&real, text.as_bytes())
        .and_then(|()| fs::set_permissions(&real, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("cannot write {}", path.display()))
}
