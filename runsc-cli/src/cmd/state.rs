//! `state`.

use std::io::Write;

use anyhow::Result;

use crate::launch::settings::Settings;
use crate::state::Container;

/// Prints a container's state.
pub fn run(settings: &Settings, id: &str) -> Result<()> {
    let state = Container::peek(&settings.root, id)?;
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &state.oci())?;
    out.flush()?;
    Ok(())
}
