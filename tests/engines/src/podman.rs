//! podman in a world: no daemon, only configuration and storage of its own.

use std::fs;
use std::path::Path;

use crate::world::World;
use crate::{containerd, image};

/// Programs that must be installed.
pub const NEEDS: &[&str] = &["podman", "conmon", "runc", "newuidmap"];

/// What a case gets as `RUNTIME`: the value of podman's `--runtime`.
#[must_use]
pub fn runtime(platform: Option<&str>) -> String {
    containerd::runtime(platform)
}

/// Writes podman's configuration and imports the image `localhost/base`.
///
/// # Errors
/// What did not work.
pub fn start(world: &mut World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    let archive = image::archive()?;
    let directory = world.directory().to_owned();
    let write = |name: &str, text: String| {
        fs::write(directory.join("etc/containers").join(name), text).map_err(|e| e.to_string())
    };
    write(
        "storage.conf",
        format!(
            "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"{}/storage\"\n",
            directory.display()
        ),
    )?;
    write(
        "containers.conf",
        format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = \"/run/libpod\"\nstatic_dir = \"{0}/libpod\"\nvolume_path = \"{0}/volumes\"\n",
            directory.display()
        ),
    )?;
    write(
        "policy.json",
        r#"{"default":[{"type":"insecureAcceptAnything"}]}"#.to_owned(),
    )?;
    containerd::wrappers(world, runsc, platforms)?;
    world.sh(&format!("podman import {} base", archive.display()))?;
    Ok(())
}
