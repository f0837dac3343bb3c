//! `cargo xtask deb`: the Debian package. It holds one static binary and documentation, depends on nothing, and asks nobody when it is installed.
//!
//! What was built is tried before it is handed over: installed by dpkg into an empty tree, started there where no other file is, and removed again.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const NAME: &str = "runsc";

/// Builds the package of `runsc`, of a release build if none is given, and answers its path.
///
/// # Errors
/// What could not be built, or what is wrong with the package.
pub(crate) fn build(runsc: Option<&Path>) -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the workspace")?
        .to_owned();
    let binary = match runsc {
        Some(path) => path.to_owned(),
        None => release(&workspace)?,
    };
    let version = env!("CARGO_PKG_VERSION");
    let scratch = std::env::temp_dir().join(format!("runsc-deb-{}", std::process::id()));
    fs::create_dir(&scratch)?;
    let result = (|| {
        let tree = scratch.join("tree");
        fill(&workspace, &tree, &binary, version)?;
        let package = workspace
            .join("target/debian")
            .join(format!("{NAME}_{version}_amd64.deb"));
        fs::create_dir_all(workspace.join("target/debian"))?;
        pack(&workspace, &tree, &package)?;
        try_out(&scratch.join("installed"), &package)?;
        Ok(package)
    })();
    fs::remove_dir_all(&scratch)?;
    result
}

fn release(workspace: &Path) -> Result<PathBuf> {
    run(Command::new("cargo")
        .args(["build", "--release", "--package", "runsc-cli"])
        .current_dir(workspace))?;
    Ok(workspace.join("target/x86_64-unknown-linux-gnu/release/runsc"))
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}: {said}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn fill(workspace: &Path, tree: &Path, binary: &Path, version: &str) -> Result<()> {
    let program = tree.join("usr/bin/runsc");
    install(binary, &program, 0o755)?;
    run(Command::new("strip").arg(&program))?;
    let headers = run(Command::new("readelf")
        .arg("--program-headers")
        .arg(&program))?;
    ensure!(
        !headers.contains("INTERP"),
        "{} is not linked statically",
        binary.display()
    );
    let documents = tree.join("usr/share/doc").join(NAME);
    install(
        &workspace.join("README.md"),
        &documents.join("README.md"),
        0o644,
    )?;
    install(
        &workspace.join("CHANGELOG.md"),
        &documents.join("changelog"),
        0o644,
    )?;
    run(Command::new("gzip")
        .args(["-9n"])
        .arg(documents.join("changelog")))?;
    install(
        &workspace.join("LICENSE"),
        &documents.join("copyright"),
        0o644,
    )?;
    for example in [
        "containerd/runsc.toml",
        "crio/10-runsc.conf",
        "docker/daemon.json",
        "kubernetes/runtimeclass.yaml",
    ] {
        let from = workspace.join("deploy").join(example);
        install(&from, &documents.join("examples").join(example), 0o644)?;
    }
    control(tree, version)
}

fn control(tree: &Path, version: &str) -> Result<()> {
    let mut files = Vec::new();
    list(tree, &mut files)?;
    files.sort();
    let mut sums = String::new();
    let mut bytes = 0;
    for path in &files {
        let sum = run(Command::new("md5sum").arg(path))?;
        let sum = sum.split(' ').next().unwrap_or_default();
        writeln!(sums, "{sum}  {}", path.strip_prefix(tree)?.display())?;
        bytes += fs::metadata(path)?.len();
    }
    let directory = tree.join("DEBIAN");
    fs::create_dir(&directory)?;
    fs::write(directory.join("md5sums"), sums)?;
    let text = format!(
        "Package: {NAME}\nVersion: {version}\nArchitecture: amd64\nMaintainer: The runsc authors <runsc@localhost>\nInstalled-Size: {}\nRecommends: uidmap, procps\n\
        Section: admin\nPriority: optional\nDescription: container runtime with a Linux kernel in user space\n \
        An OCI runtime that Docker, containerd, Podman and CRI-O can select. Containers run under a\n \
        kernel of their own, written in Rust, and never call the host's.\n",
        bytes.div_ceil(1024)
    );
    fs::write(directory.join("control"), text)?;
    Ok(())
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// The same files give the same package: times are those of the last commit.
fn pack(workspace: &Path, tree: &Path, package: &Path) -> Result<()> {
    let time = run(Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(workspace))?;
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([tree, package])
        .env("SOURCE_DATE_EPOCH", time.trim()))?;
    Ok(())
}

/// Installs the package where nothing else is, starts the binary there, and removes it.
fn try_out(tree: &Path, package: &Path) -> Result<()> {
    for directory in ["info", "updates", "triggers"] {
        fs::create_dir_all(tree.join("var/lib/dpkg").join(directory))?;
    }
    for file in ["status", "available"] {
        fs::write(tree.join("var/lib/dpkg").join(file), "")?;
    }
    let dpkg = |args: &[&str]| {
        let mut command = Command::new("dpkg");
        // Nobody's machine is asked which packages it has.
        command
            .arg(format!("--root={}", tree.display()))
            .args([
                "--force-not-root",
                "--force-script-chrootless",
                "--log=/dev/null",
            ])
            .args(args);
        run(&mut command)
    };
    dpkg(&["--install", &package.display().to_string()])?;
    let installed = tree.join("usr/bin/runsc");
    ensure!(installed.exists(), "the package has no usr/bin/runsc");
    for argument in ["--version", "features"] {
        let mut command = Command::new("chroot");
        command.arg(tree).args(["/usr/bin/runsc", argument]);
        let said = run(&mut command)?;
        ensure!(
            !said.is_empty(),
            "runsc {argument} says nothing in an empty tree"
        );
    }
    dpkg(&["--purge", NAME])?;
    let mut left = Vec::new();
    list(&tree.join("usr"), &mut left).or_else(|error| {
        if tree.join("usr").exists() {
            Err(error)
        } else {
            Ok(())
        }
    })?;
    ensure!(left.is_empty(), "left after its removal: {left:?}");
    Ok(())
}
