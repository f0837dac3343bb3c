//! A validated spec as the kernel's [`ContainerConfig`] and the list of trees for the container's gofer.

use std::path::Path;

use anyhow::{Result, bail};
use oci_spec::runtime::{
    Linux, LinuxNamespaceType, LinuxPersonality, LinuxPersonalityDomain, LinuxResources, Spec,
};

use super::mounts::{self, TreeSource};
use super::overlay::{Medium, Overlay};
use super::{devices, process, validate};
use crate::boot::config::{
    ContainerConfig, IdMaps, NamespaceConfig, PROTOCOL_VERSION, ResourceLimits, RootConfig,
};
use crate::launch::userns::Mappings;

/// What comes out of a spec.
#[derive(Clone, Debug)]
pub struct Translated {
    /// For the kernel.
    pub config: ContainerConfig,
    /// For the gofer; index 0 is the root.
    pub trees: Vec<TreeSource>,
}

/// Translates a spec that [`validate::validate`] accepted and whose root it resolved.
pub fn translate(
    id: &str,
    spec: &Spec,
    bundle: &Path,
    rootfs: &Path,
    overlay: &Overlay,
    container_ids: Option<&Mappings>,
    preserved_fds: u32,
) -> Result<Translated> {
    let Some(spec_process) = spec.process() else {
        bail!("process property must not be empty")
    };
    let read_only = spec
        .root()
        .as_ref()
        .and_then(|root| root.readonly())
        .unwrap_or(false);
    let mut trees = vec![TreeSource {
        path: rootfs.to_owned(),
        recursive: true,
        read_only: read_only || overlay.root != Medium::None,
        follow_host: false,
        scratch: false,
        ids: None,
    }];
    let root_overlay = overlay.root.over(rootfs, &mut trees)?;
    let mut mount_list = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        mount_list.push(mounts::translate(
            mount,
            bundle,
            &overlay.mounts,
            container_ids,
            &mut trees,
        )?);
    }
    let linux = spec.linux().as_ref();
    Ok(Translated {
        config: ContainerConfig {
            version: PROTOCOL_VERSION,
            id: id.to_owned(),
            process: process::translate(spec_process, preserved_fds)?,
            ids: container_ids.map(|ids| IdMaps {
                users: ids.uids.clone(),
                groups: ids.gids.clone(),
            }),
            personality: linux.map_or(0, personality),
            root: RootConfig {
                read_only,
                overlay: root_overlay,
                propagation: linux
                    .and_then(|linux| linux.rootfs_propagation().as_deref())
                    .and_then(validate::propagation_flags)
                    .unwrap_or(0),
            },
            mounts: mount_list,
            overlay_size: overlay.size,
            host_sockets: false,
            host_fifos: false,
            namespaces: namespaces(linux),
            shared: crate::boot::config::SharedNamespaces::default(),
            // Without one it is the host's: a fresh UTS namespace begins as a copy.
            hostname: spec
                .hostname()
                .clone()
                .filter(|name| !name.is_empty())
                .or_else(|| nix::unistd::gethostname().ok()?.into_string().ok()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            masked_paths: linux
                .and_then(|linux| linux.masked_paths().clone())
                .unwrap_or_default(),
            readonly_paths: linux
                .and_then(|linux| linux.readonly_paths().clone())
                .unwrap_or_default(),
            devices: devices::translate(linux)?,
            sysctls: linux
                .and_then(|linux| linux.sysctl().clone())
                .unwrap_or_default()
                .into_iter()
                .map(|(name, value)| (name.replace('/', "."), value))
                .collect(),
            seccomp: linux.and_then(|linux| linux.seccomp().clone()),
            limits: limits(linux.and_then(|linux| linux.resources().as_ref())),
            cgroup_path: String::new(),
            annotations: spec
                .annotations()
                .clone()
                .unwrap_or_default()
                .into_iter()
                .collect(),
        },
        trees,
    })
}

fn namespaces(linux: Option<&Linux>) -> NamespaceConfig {
    // A namespace with a path belongs to somebody else: for the network it is the sandbox's, for the others the pod's, which is the sandbox too.
    let own = |kind| {
        linux
            .and_then(|linux| linux.namespaces().as_ref())
            .into_iter()
            .flatten()
            .any(|namespace| namespace.typ() == kind && namespace.path().is_none())
    };
    NamespaceConfig {
        pid: own(LinuxNamespaceType::Pid),
        ipc: own(LinuxNamespaceType::Ipc),
        uts: own(LinuxNamespaceType::Uts),
        mount: own(LinuxNamespaceType::Mount),
        network: own(LinuxNamespaceType::Network),
        cgroup: own(LinuxNamespaceType::Cgroup),
        user: own(LinuxNamespaceType::User),
    }
}

/// `PER_*` of the spec's domain (`linux/personality.h`).
fn personality(linux: &Linux) -> u32 {
    const PER_LINUX32: u32 = 8;
    match linux.personality().as_ref().map(LinuxPersonality::domain) {
        Some(LinuxPersonalityDomain::PerLinux32) => PER_LINUX32,
        Some(LinuxPersonalityDomain::PerLinux) | None => 0,
    }
}

/// The limits that the guest can see. Negative and zero values mean unlimited.
#[must_use]
pub fn limits(resources: Option<&LinuxResources>) -> ResourceLimits {
    let Some(resources) = resources else {
        return ResourceLimits::default();
    };
    let positive = |value: Option<i64>| {
        value
            .and_then(|value| u64::try_from(value).ok())
            .filter(|value| *value > 0)
    };
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    ResourceLimits {
        memory: positive(memory.and_then(|memory| memory.limit())),
        memory_swap: positive(memory.and_then(|memory| memory.swap())),
        cpu_quota: positive(cpu.and_then(|cpu| cpu.quota())),
        cpu_period: cpu
            .and_then(|cpu| cpu.period())
            .filter(|period| *period > 0),
        cpu_shares: cpu
            .and_then(|cpu| cpu.shares())
            .filter(|shares| *shares > 0),
        cpuset: cpu.and_then(|cpu| cpu.cpus().as_deref()).and_then(cpu_list),
        pids: positive(resources.pids().as_ref().map(|pids| pids.limit())),
    }
}

/// Reads a list like `0-2,7`. `None` if it is empty or not a list of CPU numbers below 4,096.
#[must_use]
pub fn cpu_list(text: &str) -> Option<Vec<u32>> {
    const MAX_CPU: u32 = 4096;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-2,7,1"), Some(vec![0, 1, 2, 7]));
        assert_eq!(cpu_list(""), None);
        assert_eq!(cpu_list("5-1"), None);
        assert_eq!(cpu_list("0-4294967295"), None);
    }

    #[test]
    fn the_starter_spec_translates() {
        let spec = super::super::starter::spec(false);
        let out = translate(
            "x",
            &spec,
            Path::new("/"),
            Path::new("/"),
            &Overlay::default(),
            None,
            0,
        )
        .unwrap();
        assert_eq!(out.trees.len(), 1);
        assert_eq!(out.config.mounts.len(), 7);
        assert!(
            out.config.namespaces.pid && !out.config.namespaces.user && out.config.root.read_only
        );
        assert_eq!(
            out.config.process.capabilities.bounding,
            1 << 5 | 1 << 10 | 1 << 29
        );
    }
}
