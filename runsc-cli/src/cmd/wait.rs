//! `wait`: prints how a container ended, as JSON.

use anyhow::{Result, bail};

use crate::boot::control::Target;
use crate::launch::settings::Settings;
use crate::state::{Container, Status};

/// Waits for a container's first process.
pub fn run(settings: &Settings, id: &str) -> Result<()> {
    let state = Container::peek(&settings.root, id)?;
    if state.status() == Status::Creating {
        bail!("container not running");
    }
    // The sentry stays until the container is deleted and remembers how it ended.
    let client = super::connect(&settings.root, &state)?;
    let status = client.wait(Target {
        container: id.to_owned(),
        exec: None,
    })?;
    crate::report::print(format_args!(
        "{}",
        serde_json::json!({"id": id, "exitStatus": status.code()})
    ));
    Ok(())
}
