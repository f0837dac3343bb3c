//! `pause` and `resume`: through the kernel, which stops guests where they hold nothing.

use anyhow::{Result, bail};

use crate::launch::settings::Settings;
use crate::state::{Container, Status};

/// Suspends a container.
pub fn pause(settings: &Settings, id: &str) -> Result<()> {
    let mut container = Container::open(&settings.root, id)?;
    if !matches!(container.state.status(), Status::Running | Status::Created) {
        bail!("container not running");
    }
    super::connect(&settings.root, &container.state)?.pause(id)?;
    container.state.paused = true;
    container.save()
}

/// Lets it run on.
pub fn resume(settings: &Settings, id: &str) -> Result<()> {
    let mut container = Container::open(&settings.root, id)?;
    if container.state.status() != Status::Paused {
        bail!("container not paused");
    }
    super::connect(&settings.root, &container.state)?.resume(id)?;
    container.state.paused = false;
    container.save()
}
