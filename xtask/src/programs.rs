//! `cargo xtask programs`: the long tier of the integration tests, run by hand; its output is what `docs/results/` keeps.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs the programs whose names contain one of the words, or all of them: both platforms, three runs, the last on one CPU.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    crate::rootfs::build_with_languages()?;
    let status = Command::new("cargo")
        .args(["test", "-p", "integration", "--test", "programs", "--"])
        .args(words)
        .env("RUNSC_PLATFORMS", "notify ptrace")
        .env("INTEGRATION_RUNS", "3")
        .status()
        .context("cannot run cargo")?;
    ensure!(
        status.success(),
        "a program shows or leaves something else in the sandbox: see above"
    );
    Ok(())
}
