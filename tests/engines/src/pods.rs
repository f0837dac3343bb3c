//! containerd's CRI service in a world, as kubelet uses it: handlers `runc` and `runsc-PLATFORM`, a pod network by CNI's bridge, and a pause image of ours.

use std::fs;
use std::path::Path;

use crate::containerd::{self, SOCKET};
use crate::image;
use crate::world::World;

/// Programs that must be installed, and CNI's plugins.
pub const NEEDS: &[&str] = &[
    "containerd",
    "ctr",
    "containerd-shim-runc-v2",
    "runc",
    "iptables",
    "/usr/lib/cni/bridge",
    "/usr/lib/cni/host-local",
    "/usr/lib/cni/portmap",
];

/// Debian's place of CNI's plugins.
const PLUGINS: &str = "/usr/lib/cni";

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "/run/cni-ipam"}},
    {"type": "portmap", "capabilities": {"portMappings": true}}]}"#;

/// The first process of a pod: it waits, and reaps in a shared pid namespace as any shell does.
const PAUSE: &str = r#"["sh","-c","trap 'exit 0' TERM INT; while :; do sleep 1000 & wait; done"]"#;

/// What a case gets as `RUNTIME`: the handler's name.
#[must_use]
pub fn runtime(platform: Option<&str>) -> String {
    platform.map_or_else(|| "runc".into(), |p| format!("runsc-{p}"))
}

fn handler(name: &str, program: &str) -> String {
    format!(
        "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}]\n  runtime_type = \"io.containerd.runc.v2\"\n  [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.{name}.options]\n    BinaryName = \"{program}\"\n"
    )
}

/// Starts containerd and imports the images.
///
/// # Errors
/// What did not come up.
pub fn start(world: &mut World, runsc: &Path, platforms: &[String]) -> Result<(), String> {
    let archive = image::archive()?;
    let directory = world.directory().to_owned();
    let mut config = format!(
        r#"version = 2
root = "{0}/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/local/pause:latest"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  # A machine may not let its root make processes less likely to be killed.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "/etc/cni/net.d"
"#,
        directory.display()
    );
    config += &handler("runc", "/usr/sbin/runc");
    for platform in platforms {
        config += &handler(
            &runtime(Some(platform)),
            &containerd::runtime(Some(platform)),
        );
    }
    fs::write(directory.join("etc/containerd/config.toml"), config).map_err(|e| e.to_string())?;
    world.sh(&format!(
        "mkdir -p /etc/cni/net.d /run/cni-ipam; cat > /etc/cni/net.d/10-pods.conflist <<'X'\n{NETWORK}\nX\n"
    ))?;
    containerd::wrappers(world, runsc, platforms)?;
    containerd::launch(world)?;
    for (name, command) in [("base", r#"["bash"]"#), ("pause", PAUSE)] {
        let oci = directory.join(format!("{name}.oci.tar"));
        let full = format!("docker.io/local/{name}");
        containerd::make_image(world, &archive, &oci, &full, command)?;
        world.sh(&format!(
            "ctr --namespace k8s.io images import {0}; rm {0}",
            oci.display()
        ))?;
    }
    Ok(())
}
