//! Refuses specs that cannot be honoured, in runc's words where it has some; warns where runc would go on.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use oci_spec::runtime::{Linux, LinuxNamespaceType, LinuxResources, Spec};

use super::process;
use crate::cgroup::{self, Hierarchy};
use crate::launch::pod;
use crate::report;

/// `__NEW_UTS_LEN`: longest host name.
const MAX_HOST_NAME: usize = 64;

/// Checks the whole spec and answers the absolute path of the root file system.
pub fn validate(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let Some(root) = spec.root() else {
        bail!("root must be specified")
    };
    let Some(spec_process) = spec.process() else {
        bail!("process property must not be empty")
    };
    process::validate(spec_process)?;
    version(spec.version())?;
    let rootfs = bundle.join(root.path());
    let metadata = std::fs::metadata(&rootfs).map_err(|error| {
        anyhow!(
            "invalid rootfs: stat {}: {}",
            rootfs.display(),
            crate::launch::errno_text(&error)
        )
    })?;
    if !metadata.is_dir() {
        bail!("invalid rootfs: {} is not a directory", rootfs.display());
    }
    let rootfs = rootfs.canonicalize().map_err(|error| {
        anyhow!(
            "invalid rootfs: {}: {}",
            rootfs.display(),
            crate::launch::errno_text(&error)
        )
    })?;
    let namespaces = namespaces(spec)?;
    if spec
        .hostname()
        .as_ref()
        .is_some_and(|name| !name.is_empty())
        && !namespaces.contains(&LinuxNamespaceType::Uts)
    {
        bail!("unable to set hostname without a private UTS namespace");
    }
    if spec
        .hostname()
        .as_ref()
        .is_some_and(|name| name.len() > MAX_HOST_NAME)
    {
        bail!(
            "unable to start container process: error during container init: sethostname: invalid argument"
        );
    }
    if spec
        .domainname()
        .as_ref()
        .is_some_and(|name| !name.is_empty())
        && !namespaces.contains(&LinuxNamespaceType::Uts)
    {
        bail!("unable to set domainname without a private UTS namespace");
    }
    if let Some(linux) = spec.linux() {
        linux_fields(linux, &namespaces)?;
    }
    hooks(spec)?;
    foreign_platforms(spec);
    Ok(rootfs)
}

/// Major version 1, as runc accepts everything that it can read: other majors are refused, an empty version only warned of.
fn version(version: &str) -> Result<()> {
    match version.split('.').next() {
        Some("1") => Ok(()),
        Some("") | None => {
            report::debug("config.json has no ociVersion");
            Ok(())
        }
        _ => bail!(
            "unsupported spec version {version:?}: this runtime implements 1.x up to {}",
            super::SPEC_VERSION
        ),
    }
}

fn namespaces(spec: &Spec) -> Result<HashSet<LinuxNamespaceType>> {
    let linux = spec.linux().as_ref();
    let in_pod = pod::is_named(spec);
    let mut seen = HashSet::new();
    for namespace in linux
        .and_then(|linux| linux.namespaces().as_ref())
        .into_iter()
        .flatten()
    {
        let path = namespace
            .path()
            .as_ref()
            .map(|path| path.display().to_string())
            .unwrap_or_default();
        if !seen.insert(namespace.typ()) {
            bail!(
                "malformed spec file: duplicated ns {{{:?} {path:?}}}",
                namespace_name(namespace.typ())
            );
        }
        if !path.is_empty()
            && !in_pod
            && matches!(
                namespace.typ(),
                LinuxNamespaceType::Pid | LinuxNamespaceType::Ipc | LinuxNamespaceType::Uts
            )
        {
            report::warning(&format!(
                "the {} namespace {path} is not joined: a sandbox does not share its kernel's namespaces with other containers of the host",
                namespace_name(namespace.typ())
            ));
        }
        if !path.is_empty() && !Path::new(&path).exists() {
            bail!(
                "unable to create new parent process: namespace path: lstat {path}: no such file or directory"
            );
        }
    }
    if seen.contains(&LinuxNamespaceType::Time) {
        report::warning(
            "time namespaces are not supported: the container shares the clocks of the host",
        );
    }
    if let Some(linux) = linux
        && seen.contains(&LinuxNamespaceType::User)
    {
        if linux.uid_mappings().as_ref().is_none_or(Vec::is_empty) {
            bail!("User namespaces enabled, but no uid mappings found.");
        }
        if linux.gid_mappings().as_ref().is_none_or(Vec::is_empty) {
            bail!("User namespaces enabled, but no gid mappings found.");
        }
    }
    Ok(seen)
}

/// The spec's name of a namespace type.
#[must_use]
pub const fn namespace_name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn linux_fields(linux: &Linux, namespaces: &HashSet<LinuxNamespaceType>) -> Result<()> {
    for name in linux.sysctl().iter().flatten().map(|(name, _)| name) {
        sysctl(name, namespaces)?;
    }
    if let Some(propagation) = linux.rootfs_propagation()
        && !propagation.is_empty()
        && propagation_flags(propagation).is_none()
    {
        bail!("rootfsPropagation={propagation} is not supported");
    }
    if let Some(rdt) = linux.intel_rdt()
        && rdt.l3_cache_schema().is_some()
    {
        bail!("intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled");
    }
    if linux
        .intel_rdt()
        .as_ref()
        .is_some_and(|rdt| rdt.mem_bw_schema().is_some())
    {
        bail!("intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled");
    }
    if linux
        .mount_label()
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    for (present, name) in [
        (
            linux
                .personality()
                .as_ref()
                .and_then(|personality| personality.flags().as_ref())
                .is_some_and(|flags| !flags.is_empty()),
            "linux.personality.flags",
        ),
        (
            linux
                .time_offsets()
                .as_ref()
                .is_some_and(|offsets| !offsets.is_empty()),
            "linux.timeOffsets",
        ),
        (linux.memory_policy().is_some(), "linux.memoryPolicy"),
        (
            linux
                .net_devices()
                .as_ref()
                .is_some_and(|devices| !devices.is_empty()),
            "linux.netDevices",
        ),
    ] {
        if present {
            report::warning(&format!("{name} is not supported and was ignored"));
        }
    }
    if let Some(limits) = linux.resources() {
        resources(limits)?;
    }
    if let Some(profile) = linux.seccomp() {
        super::seccomp::compile(profile)?;
    }
    Ok(())
}

fn resources(resources: &LinuxResources) -> Result<()> {
    if resources
        .unified()
        .as_ref()
        .is_some_and(|unified| !unified.is_empty())
        && cgroup::hierarchy() == Hierarchy::V1
    {
        bail!("invalid configuration: cannot use unified on cgroup v1");
    }
    if let Some(swappiness) = resources
        .memory()
        .as_ref()
        .and_then(|memory| memory.swappiness())
        && swappiness > 100
    {
        bail!("invalid memory swappiness value: {swappiness} (valid range is 0-100)");
    }
    for (present, name) in [
        (resources.rdma().is_some(), "linux.resources.rdma"),
        (resources.network().is_some(), "linux.resources.network"),
    ] {
        if present {
            report::warning(&format!("{name} is not supported and was ignored"));
        }
    }
    Ok(())
}

/// Which sysctls a container may set, by runc's rules: those of a namespace that it has for itself.
fn sysctl(name: &str, namespaces: &HashSet<LinuxNamespaceType>) -> Result<()> {
    let dotted = name.replace('/', ".");
    let ipc = matches!(
        dotted.as_str(),
        "kernel.msgmax"
            | "kernel.msgmnb"
            | "kernel.msgmni"
            | "kernel.sem"
            | "kernel.shmall"
            | "kernel.shmmax"
            | "kernel.shmmni"
            | "kernel.shm_rmid_forced"
    ) || dotted.starts_with("fs.mqueue.");
    if ipc {
        if !namespaces.contains(&LinuxNamespaceType::Ipc) {
            bail!("sysctl {name:?} is not allowed in the hosts ipc namespace");
        }
        return Ok(());
    }
    if dotted.starts_with("net.") {
        if !namespaces.contains(&LinuxNamespaceType::Network) {
            bail!("sysctl {name:?} not allowed in host network namespace");
        }
        return Ok(());
    }
    if namespaces.contains(&LinuxNamespaceType::Uts) {
        match dotted.as_str() {
            "kernel.domainname" => return Ok(()),
            "kernel.hostname" => bail!(
                "sysctl {name:?} is not allowed as it conflicts with the OCI {:?} field",
                "hostname"
            ),
            _ => {}
        }
    }
    bail!("sysctl {name:?} is not in a separate kernel namespace")
}

/// `MS_*` of a `rootfsPropagation` value.
#[must_use]
pub fn propagation_flags(name: &str) -> Option<u64> {
    use super::mounts::flags as ms;
    match name {
        "private" => Some(ms::PRIVATE),
        "slave" => Some(ms::SLAVE),
        "shared" => Some(ms::SHARED),
        "unbindable" => Some(ms::UNBINDABLE),
        "rprivate" => Some(ms::PRIVATE | ms::REC),
        "rslave" => Some(ms::SLAVE | ms::REC),
        "rshared" => Some(ms::SHARED | ms::REC),
        "runbindable" => Some(ms::UNBINDABLE | ms::REC),
        _ => None,
    }
}

fn hooks(spec: &Spec) -> Result<()> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    for hook in crate::launch::hooks::all(hooks) {
        if !hook.path().is_absolute() {
            bail!(
                "invalid hook: path {:?} is not absolute",
                hook.path().display().to_string()
            );
        }
    }
    Ok(())
}

fn foreign_platforms(spec: &Spec) {
    for (present, name) in [
        (spec.solaris().is_some(), "solaris"),
        (spec.windows().is_some(), "windows"),
        (spec.vm().is_some(), "vm"),
        (spec.zos().is_some(), "zos"),
    ] {
        if present {
            report::warning(&format!(
                "{name} has no meaning for a Linux container and was ignored"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(extra: &str) -> Result<PathBuf> {
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"/"}},"process":{{"cwd":"/","user":{{}},"args":["a"]}}{extra}}}"#
        );
        validate(&super::super::load::spec_from_str(&text)?, Path::new("/"))
    }

    #[test]
    fn runcs_words() {
        for (extra, words) in [
            (
                r#","hostname":"x""#,
                "unable to set hostname without a private UTS namespace",
            ),
            (
                r#","linux":{"sysctl":{"kernel.foo":"1"}}"#,
                r#"sysctl "kernel.foo" is not in a separate kernel namespace"#,
            ),
            (
                r#","linux":{"sysctl":{"net.ipv4.ip_forward":"1"}}"#,
                r#"sysctl "net.ipv4.ip_forward" not allowed in host network namespace"#,
            ),
            (
                r#","linux":{"rootfsPropagation":"foo"}"#,
                "rootfsPropagation=foo is not supported",
            ),
            (
                r#","linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#,
                r#"malformed spec file: duplicated ns {"pid" ""}"#,
            ),
            (
                r#","linux":{"namespaces":[{"type":"user"}]}"#,
                "User namespaces enabled, but no uid mappings found.",
            ),
            (
                r#","linux":{"intelRdt":{"l3CacheSchema":"x"}}"#,
                "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
            ),
        ] {
            assert_eq!(check(extra).unwrap_err().to_string(), words);
        }
        assert_eq!(check("").unwrap(), PathBuf::from("/"));
    }

    #[test]
    fn a_missing_root_is_named() {
        let text = r#"{"root":{"path":"nosuch"},"process":{"cwd":"/","user":{},"args":["a"]}}"#;
        let error = validate(
            &super::super::load::spec_from_str(text).unwrap(),
            Path::new("/tmp"),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid rootfs: stat /tmp/nosuch: no such file or directory"
        );
    }
}
