//! Capability names and their bits (`linux/capability.h`).

use oci_spec::runtime::{Capabilities, LinuxCapabilities};

use crate::boot::config::CapabilitySets;

/// Names by number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Every capability there is.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// The number of a capability, with or without `CAP_`, in any case.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| &known[4..] == bare)
        .and_then(|index| u32::try_from(index).ok())
}

/// The bit of a capability.
#[must_use]
pub fn bit(name: &str) -> Option<u64> {
    number(name).map(|number| 1 << number)
}

/// The spec's sets as masks.
#[must_use]
pub fn sets(spec: Option<&LinuxCapabilities>) -> CapabilitySets {
    let Some(spec) = spec else {
        return CapabilitySets::default();
    };
    CapabilitySets {
        bounding: mask(spec.bounding().as_ref()),
        effective: mask(spec.effective().as_ref()),
        inheritable: mask(spec.inheritable().as_ref()),
        permitted: mask(spec.permitted().as_ref()),
        ambient: mask(spec.ambient().as_ref()),
    }
}

fn mask(set: Option<&Capabilities>) -> u64 {
    set.map_or(0, |set| {
        set.iter()
            .filter_map(|capability| bit(&capability.to_string()))
            .fold(0, |mask, bit| mask | bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_numbers() {
        assert_eq!(number("CAP_CHOWN"), Some(0));
        assert_eq!(number("sys_admin"), Some(21));
        assert_eq!(number("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(number("CAP_FOO"), None);
        assert_eq!(number(""), None);
    }

    #[test]
    fn every_capability_of_the_spec_crate_has_a_bit() {
        let set: Capabilities = HashSet::from([
            oci_spec::runtime::Capability::Kill,
            oci_spec::runtime::Capability::CheckpointRestore,
        ]);
        assert_eq!(mask(Some(&set)), 1 << 5 | 1 << 40);
    }
}
