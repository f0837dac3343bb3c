//! containerd in a world, driven by ctr through its runc shim.

use std::fs;
use std::path::Path;

use crate::image;
use crate::world::World;

/// Its socket inside the world.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Programs that must be installed.
pub const NEEDS: &[&str] = &["containerd", "ctr", "containerd-shim-runc-v2", "runc"];

/// Makes an OCI image archive of one layer. `$1`: the layer, `$2`: the archive, `$3`: its name, `$4`: its command as JSON.
const OCI: &str = r#"
d=$(mktemp -d); trap 'rm -rf "$d"' EXIT
mkdir -p "$d/blobs/sha256"
digest() { sha256sum "$1" | cut -d ' ' -f 1; }
put() { h=$(digest "$1"); mv "$1" "$d/blobs/sha256/$h"; echo "$h"; }
l=$(digest "$1"); ln -s "$1" "$d/blobs/sha256/$l"
printf '{"architecture":"amd64","os":"linux","config":{"Cmd":%s,"Env":["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' "$4" "$l" > "$d/c"
cs=$(stat -c %s "$d/c"); c=$(put "$d/c")
printf '{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:%s","size":%s}]}' "$c" "$cs" "$l" "$(stat -c %s "$1")" > "$d/m"
ms=$(stat -c %s "$d/m"); m=$(put "$d/m")
printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s:latest"}}]}' "$m" "$ms" "$3" > "$d/index.json"
printf '{"imageLayoutVersion":"1.0.0"}' > "$d/oci-layout"
tar -C "$d" --dereference -cf "$2" oci-layout index.json blobs
"#;

/// What a case gets as `RUNTIME`: the value of ctr's `--runc-binary`.
#[must_use]
pub fn runtime(platform: Option<&str>) -> String {
    platform.map_or_else(|| "/usr/sbin/runc".into(), |p| format!("/run/runsc-{p}"))
}

/// Starts containerd and imports the image `local/base:latest`.
///
/// # Errors
/// What did not come up.
pub fn start(world: &mut World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    let archive = image::archive()?;
    let directory = world.directory().to_owned();
    let config = format!(
        "version = 2\nroot = \"{0}/containerd\"\nstate = \"/run/containerd\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = \"{SOCKET}\"\n",
        directory.display()
    );
    fs::write(directory.join("etc/containerd/config.toml"), config).map_err(|e| e.to_string())?;
    wrappers(world, runsc, platforms)?;
    launch(world)?;
    let oci = directory.join("base.oci.tar");
    make_image(world, &archive, &oci, "local/base", r#"["bash"]"#)?;
    world.sh(&format!(
        "ctr images import {}/base.oci.tar",
        directory.display()
    ))?;
    Ok(())
}

/// Makes an image archive of the layer `archive` that runs `command` (JSON).
///
/// # Errors
/// What the script said.
pub fn make_image(
    world: &World,
    archive: &Path,
    to: &Path,
    name: &str,
    command: &str,
) -> Result<(), String> {
    let output = world
        .command("sh")
        .args(["-euc", OCI, "oci"])
        .arg(archive)
        .arg(to)
        .args([name, command])
        .output()
        .map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "cannot make the OCI archive: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Starts containerd, again if it was ended.
///
/// # Errors
/// What did not come up.
pub fn launch(world: &mut World) -> Result<(), String> {
    world.daemon("containerd", &[], SOCKET)
}

/// Programs without flags of their own, `/run/runsc-PLATFORM`, as containerd and podman want them.
///
/// # Errors
/// What could not be written.
pub fn wrappers(world: &World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    // Callers may be ordinary users.
    world.sh(&format!(
        "mkdir -p -m 1777 {}/runsc",
        world.directory().display()
    ))?;
    for platform in platforms {
        let path = runtime(Some(platform));
        world.sh(&format!(
            "printf '#!/bin/sh\\nexec {} --platform={platform} --debug-log={}/runsc/ \"$@\"\\n' > {path}; chmod 755 {path}",
            runsc.display(),
            world.directory().display(),
        ))?;
    }
    Ok(())
}
