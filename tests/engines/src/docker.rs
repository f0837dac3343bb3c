//! dockerd in a world, with runc and runsc on each platform as its runtimes.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::image;
use crate::world::World;

/// Its socket inside the world.
pub const SOCKET: &str = "/run/docker.sock";

/// Programs that must be installed.
pub const NEEDS: &[&str] = &["dockerd", "docker", "containerd", "runc", "docker-compose"];

/// Starts dockerd (with a containerd of its own) and imports the image `base`.
///
/// # Errors
/// What did not come up.
pub fn start(world: &mut World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    let archive = image::archive()?;
    configure(world, runsc, platforms)?;
    launch(world)?;
    world.sh(&format!(
        "docker import --change 'CMD [\"bash\"]' {} base",
        archive.display()
    ))?;
    Ok(())
}

/// Starts dockerd, again if it was ended.
///
/// # Errors
/// What did not come up.
pub fn launch(world: &mut World) -> Result<(), String> {
    let _ = fs::remove_file(world.directory().join("docker.sock"));
    world.daemon("dockerd", &["--host=unix:///run/docker.sock"], SOCKET)
}

/// Writes daemon.json.
fn configure(world: &World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    let directory = world.directory();
    let runtimes: serde_json::Map<String, serde_json::Value> = platforms
        .iter()
        .map(|platform| {
            let runtime = json!({
                "path": runsc,
                "runtimeArgs": [format!("--platform={platform}"), format!("--debug-log={}/runsc/", directory.display())],
            });
            (format!("runsc-{platform}"), runtime)
        })
        .collect();
    let config = json!({
        "data-root": directory.join("docker"),
        "exec-root": "/run/docker",
        "runtimes": runtimes,
        "ip6tables": false,
        // The world's network leads nowhere: no name of the machine's own may be asked for.
        "dns": ["192.0.2.1"],
        "live-restore": true,
    });
    fs::write(directory.join("etc/docker/daemon.json"), config.to_string())
        .map_err(|e| format!("cannot write daemon.json: {e}"))
}
