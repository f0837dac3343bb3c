//! User namespaces of the helpers: which host ids a sandbox's processes have.
//!
//! Root gives every sandbox an id of its own far above what distributions hand out, so that a sentry that was taken over shares no uid with
//! anything else on the host. A rootless caller has only its own.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::LinuxIdMapping;
use serde::{Deserialize, Serialize};

/// First host id that sandboxes use: above systemd's container range (which ends at 0x6fff_ffff) and below 2^31.
const BASE: u32 = 0x7000_0000;
/// How many sandboxes can have an id of their own at a time.
const SLOTS: u32 = 0x0f00_0000;

/// Lines for `uid_map` and `gid_map`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Mappings {
    /// Inside id, outside id, count.
    pub uids: Vec<(u32, u32, u32)>,
    /// Inside id, outside id, count.
    pub gids: Vec<(u32, u32, u32)>,
    /// `setgroups` is allowed in the namespace (not so for an unprivileged caller).
    pub may_set_groups: bool,
}

impl Mappings {
    /// The sentry's mapping: id 0 to one host id. `taken` are the ids of other sandboxes.
    pub fn for_sentry(seed: &impl Hash, taken: &[u32]) -> Self {
        if !is_root() {
            return Self::own_ids();
        }
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        let start = u32::try_from(hasher.finish() % u64::from(SLOTS)).unwrap_or(0);
        let id = (0..SLOTS)
            .map(|step| BASE + (start + step) % SLOTS)
            .find(|id| !taken.contains(id))
            .unwrap_or(BASE);
        if !maps_include(id) {
            // A user namespace of an engine's: only its own ids exist there.
            return Self::own_ids();
        }
        Self {
            uids: vec![(0, id, 1)],
            gids: vec![(0, id, 1)],
            may_set_groups: true,
        }
    }

    /// Id 0 is the caller.
    #[must_use]
    pub fn own_ids() -> Self {
        let (uid, gid) = (
            nix::unistd::geteuid().as_raw(),
            nix::unistd::getegid().as_raw(),
        );
        Self {
            uids: vec![(0, uid, 1)],
            gids: vec![(0, gid, 1)],
            may_set_groups: false,
        }
    }

    /// The mappings of a spec with a user namespace.
    #[must_use]
    pub fn from_spec(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Self {
        let lines = |list: &[LinuxIdMapping]| {
            list.iter()
                .map(|map| (map.container_id(), map.host_id(), map.size()))
                .collect()
        };
        Self {
            uids: lines(uids),
            gids: lines(gids),
            may_set_groups: is_root(),
        }
    }

    /// Writes the mappings for a child that was cloned with `CLONE_NEWUSER`.
    pub fn write(&self, pid: i32) -> Result<()> {
        let dir = format!("/proc/{pid}");
        let dir = Path::new(&dir);
        if !self.may_set_groups {
            fs::write(dir.join("setgroups"), "deny")
                .context("cannot write setgroups of a new user namespace")?;
        }
        let hint = "cannot write the id mappings of a new user namespace (are the ids mapped in this one?)";
        fs::write(dir.join("gid_map"), lines(&self.gids)).context(hint)?;
        fs::write(dir.join("uid_map"), lines(&self.uids)).context(hint)
    }
}

fn lines(map: &[(u32, u32, u32)]) -> String {
    map.iter()
        .map(|(inside, outside, count)| format!("{inside} {outside} {count}\n"))
        .collect()
}

/// Whether this process is uid 0 in its user namespace.
#[must_use]
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Whether this process runs in a user namespace other than the host's first one.
#[must_use]
pub fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        map.split_ascii_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
    })
}

fn maps_include(id: u32) -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        return false;
    };
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [inside, _, count] if (inside..inside + count).contains(&u64::from(id)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_get_different_ids() {
        if !is_root() {
            return;
        }
        let first = Mappings::for_sentry(&"a", &[]);
        let id = first.uids[0].1;
        assert!(id >= BASE || in_user_namespace());
        let second = Mappings::for_sentry(&"a", &[id]);
        assert!(second.uids[0].1 != id || in_user_namespace());
    }
}
