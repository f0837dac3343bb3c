//! `features`: what works, and nothing else, since containerd believes it.

use anyhow::Result;
use serde_json::json;

use crate::spec::{SPEC_VERSION, SPEC_VERSION_MIN, capabilities, mounts};

/// Prints the features as the runtime spec defines them.
pub fn run() -> Result<()> {
    crate::report::print(format_args!(
        "{}",
        serde_json::to_string_pretty(&features())?
    ));
    Ok(())
}

fn features() -> serde_json::Value {
    json!({
        "ociVersionMin": SPEC_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": mounts::known_options(),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": &capabilities::NAMES[..],
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                    "SCMP_ACT_TRACE", "SCMP_ACT_TRAP"
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"
                ],
                "archs": ["SCMP_ARCH_X86_64"]
            },
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}}
        },
        "annotations": {}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_there_and_what_is_ignored_is_not_claimed() {
        let features = features();
        assert!(features["ociVersionMin"].is_string() && features["ociVersionMax"].is_string());
        for (what, claimed) in [
            (
                &features["linux"]["mountExtensions"]["idmap"]["enabled"],
                true,
            ),
            (&features["linux"]["cgroup"]["rdma"], false),
            (&features["linux"]["apparmor"]["enabled"], false),
        ] {
            assert_eq!(*what, claimed);
        }
    }
}
