//! `cargo xtask vm`: what this machine's kernel cannot show, in a virtual machine: cgroup v2 with systemd, on Debian's own kernel.
//!
//! A Debian tree with a kernel becomes a disk image (kept in the cache beside the tree); a second, small disk carries the binary and `tests/vm`. qemu boots
//! it without acceleration, systemd runs `run.sh`, and what that prints on the second serial line is compared: runc first, as the oracle, then runsc.
//! Differences that are known stand in `tests/vm/expected-differences.txt` with their reasons.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::rootfs;

/// Packages of the machine.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "procps",
    "runc",
    "systemd",
    "systemd-sysv",
    "uidmap",
];
/// Without acceleration everything takes long.
const DEADLINE: Duration = Duration::from_secs(1200);

/// Boots the machine, prints the comparison.
///
/// # Errors
/// What could not be built or booted, or how many scenarios differ.
pub(crate) fn run(runsc: &Path) -> Result<()> {
    let tree = rootfs::build_plain(PACKAGES, "rootfs-vm")?;
    let disk = disk_of(&tree)?;
    let scratch = std::env::temp_dir().join(format!("runsc-vm-{}", std::process::id()));
    fs::create_dir_all(scratch.join("files"))?;
    let result = boot(&tree, &disk, &scratch, runsc).and_then(|()| {
        let text = fs::read_to_string(scratch.join("result")).context("no result")?;
        compare(&text.replace('\r', ""))
    });
    if result.is_err() {
        let console = fs::read_to_string(scratch.join("console")).unwrap_or_default();
        let tail: Vec<&str> = console.lines().rev().take(30).collect();
        for line in tail.iter().rev() {
            eprintln!("console: {line}");
        }
    }
    fs::remove_dir_all(&scratch)?;
    result
}

/// The tree as an ext4 image, made once.
fn disk_of(tree: &Path) -> Result<PathBuf> {
    let disk = tree.with_extension("ext4");
    if !disk.exists() {
        let partial = tree.with_extension("ext4-partial");
        make_disk(tree, &partial, "3G")?;
        fs::rename(&partial, &disk)?;
    }
    Ok(disk)
}

fn make_disk(from: &Path, to: &Path, size: &str) -> Result<()> {
    let _ = fs::remove_file(to);
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-d"])
        .args([from, to])
        .arg(size)
        .status()
        .context("cannot run mke2fs: install the package e2fsprogs")?;
    ensure!(made.success(), "mke2fs failed for {}", to.display());
    Ok(())
}

fn boot(tree: &Path, disk: &Path, scratch: &Path, runsc: &Path) -> Result<()> {
    let files = scratch.join("files");
    fs::copy(runsc, files.join("runsc"))
        .with_context(|| format!("cannot copy {}", runsc.display()))?;
    let stripped = Command::new("strip").arg(files.join("runsc")).status();
    ensure!(
        stripped.is_ok_and(|status| status.success()),
        "cannot run strip: install the package binutils"
    );
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm");
    fs::create_dir_all(files.join("scenarios"))?;
    for name in ["run.sh", "scenario.sh"] {
        fs::copy(sources.join(name), files.join(name))?;
    }
    for entry in fs::read_dir(sources.join("scenarios"))? {
        let path = entry?.path();
        fs::copy(
            &path,
            files
                .join("scenarios")
                .join(path.file_name().unwrap_or_default()),
        )?;
    }
    let work = scratch.join("work.ext4");
    make_disk(&files, &work, "256M")?;
    let newest = |prefix: &str| -> Result<PathBuf> {
        fs::read_dir(tree.join("boot"))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .with_context(|| format!("the tree has no {prefix}"))
    };
    let command = "console=ttyS0 root=/dev/vda rw quiet systemd.mask=serial-getty@ttyS0.service \
        systemd.run=\"/bin/sh -c 'mount -o remount,rw / ; mount -o ro /dev/vdb /mnt && exec /bin/sh /mnt/run.sh'\" \
        systemd.run_success_action=poweroff systemd.run_failure_action=poweroff";
    let drive = |path: &Path| format!("file={},if=virtio,format=raw,snapshot=on", path.display());
    let serial = |name: &str| format!("file:{}", scratch.join(name).display());
    let mut machine = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "pc,accel=tcg",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1536",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
            "-nic",
            "none",
        ])
        .arg("-kernel")
        .arg(newest("vmlinuz")?)
        .arg("-initrd")
        .arg(newest("initrd.img")?)
        .args(["-append", command])
        .args(["-drive", &drive(disk), "-drive", &drive(&work)])
        .args(["-serial", &serial("console"), "-serial", &serial("result")])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run qemu-system-x86_64: install the package qemu-system-x86")?;
    let start = Instant::now();
    loop {
        if let Some(status) = machine.try_wait()? {
            ensure!(status.success(), "qemu: {status}");
            eprintln!("the machine ran for {} s", start.elapsed().as_secs());
            return Ok(());
        }
        if start.elapsed() > DEADLINE {
            machine.kill()?;
            machine.wait()?;
            let said = fs::read_to_string(scratch.join("result")).unwrap_or_default();
            bail!(
                "the machine did not end within {} s; it said:\n{said}",
                DEADLINE.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Lines by manager and scenario, then by runtime.
type Outputs = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn compare(text: &str) -> Result<()> {
    let mut outputs = Outputs::new();
    let (mut key, mut runtime, mut ended) = (String::new(), String::new(), false);
    for line in text.lines() {
        match line
            .strip_prefix("== ")
            .map(|head| head.split(' ').collect::<Vec<_>>())
        {
            Some(head) if head == ["end"] => ended = true,
            Some(head) if head.len() == 3 => {
                key = format!("{}/{}", head[0], head[2]);
                runtime = head[1].to_owned();
                outputs
                    .entry(key.clone())
                    .or_default()
                    .entry(runtime.clone())
                    .or_default();
            }
            _ if key.is_empty() || ended => println!("{line}"),
            _ => outputs
                .entry(key.clone())
                .or_default()
                .entry(runtime.clone())
                .or_default()
                .push(line.to_owned()),
        }
    }
    ensure!(ended, "the scenarios did not run to their end:\n{text}");
    let list = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vm/expected-differences.txt"),
    )?;
    let (mut passed, mut failed) = (0, 0);
    for (key, runtimes) in &outputs {
        let of = |name: &str| runtimes.get(name).cloned().unwrap_or_default();
        let differing = differences(&of("runc"), &of("runsc"));
        let (known, unknown): (Vec<_>, Vec<_>) = differing
            .iter()
            .partition(|pair| is_known(&list, key, pair));
        for pair in &known {
            println!("{key}: differs as expected: {} / {}", pair.0, pair.1);
        }
        if unknown.is_empty() && !of("runc").is_empty() {
            passed += 1;
            println!("{key}: ok, {} lines", of("runc").len());
        } else {
            failed += 1;
            println!("{key}: FAILED");
            for (runc, runsc) in unknown {
                println!("  runc:  {runc}\n  runsc: {runsc}");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ensure!(
        failed == 0 && passed > 0,
        "{failed} scenarios differ from runc"
    );
    Ok(())
}

/// Lines of both, side by side, where they differ.
fn differences(runc: &[String], runsc: &[String]) -> Vec<(String, String)> {
    let line = |lines: &[String], index: usize| lines.get(index).cloned().unwrap_or_default();
    (0..runc.len().max(runsc.len()))
        .map(|index| (line(runc, index), line(runsc, index)))
        .filter(|(a, b)| a != b)
        .collect()
}

/// A line of the list is `MANAGER/SCENARIO WORD REASON`: lines that begin with the word may differ.
fn is_known(list: &str, key: &str, pair: &(String, String)) -> bool {
    list.lines()
        .filter(|line| !line.starts_with('#'))
        .any(|line| {
            let mut words = line.splitn(3, ' ');
            let scenario = words.next().unwrap_or_default();
            let word = words.next().unwrap_or_default();
            let reason = words.next().unwrap_or_default();
            let fits = scenario == key
                || scenario
                    .strip_prefix("any/")
                    .is_some_and(|name| key.ends_with(&format!("/{name}")));
            fits && !reason.is_empty() && pair.0.starts_with(word) && pair.1.starts_with(word)
        })
}
