//! The spec's mounts: options to flags, as runc reads them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use oci_spec::runtime::Mount;

use super::idmap;
use super::overlay::Medium;
use crate::boot::config::{MountConfig, MountKind};
use crate::launch::userns::Mappings;
use crate::report;

/// `MS_*` bits of Linux (`linux/mount.h`).
pub mod flags {
    #![expect(missing_docs, reason = "Linux's own names")]
    pub const RDONLY: u64 = 1;
    pub const NOSUID: u64 = 2;
    pub const NODEV: u64 = 4;
    pub const NOEXEC: u64 = 8;
    pub const SYNCHRONOUS: u64 = 16;
    pub const REMOUNT: u64 = 32;
    pub const MANDLOCK: u64 = 64;
    pub const DIRSYNC: u64 = 128;
    pub const NOSYMFOLLOW: u64 = 256;
    pub const NOATIME: u64 = 1024;
    pub const NODIRATIME: u64 = 2048;
    pub const BIND: u64 = 4096;
    pub const REC: u64 = 16384;
    pub const SILENT: u64 = 32768;
    pub const POSIXACL: u64 = 1 << 16;
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
    pub const RELATIME: u64 = 1 << 21;
    pub const I_VERSION: u64 = 1 << 23;
    pub const STRICTATIME: u64 = 1 << 24;
    pub const LAZYTIME: u64 = 1 << 25;
}

use flags as ms;

/// Options that set (`true`) or clear flags.
const OPTIONS: [(&str, bool, u64); 34] = [
    ("acl", true, ms::POSIXACL),
    ("async", false, ms::SYNCHRONOUS),
    ("atime", false, ms::NOATIME),
    ("bind", true, ms::BIND),
    ("defaults", true, 0),
    ("dev", false, ms::NODEV),
    ("diratime", false, ms::NODIRATIME),
    ("dirsync", true, ms::DIRSYNC),
    ("exec", false, ms::NOEXEC),
    ("iversion", true, ms::I_VERSION),
    ("lazytime", true, ms::LAZYTIME),
    ("loud", false, ms::SILENT),
    ("mand", true, ms::MANDLOCK),
    ("noacl", false, ms::POSIXACL),
    ("noatime", true, ms::NOATIME),
    ("nodev", true, ms::NODEV),
    ("nodiratime", true, ms::NODIRATIME),
    ("noexec", true, ms::NOEXEC),
    ("noiversion", false, ms::I_VERSION),
    ("nolazytime", false, ms::LAZYTIME),
    ("nomand", false, ms::MANDLOCK),
    ("norelatime", false, ms::RELATIME),
    ("nostrictatime", false, ms::STRICTATIME),
    ("nosuid", true, ms::NOSUID),
    ("nosymfollow", true, ms::NOSYMFOLLOW),
    ("rbind", true, ms::BIND | ms::REC),
    ("relatime", true, ms::RELATIME),
    ("remount", true, ms::REMOUNT),
    ("ro", true, ms::RDONLY),
    ("rw", false, ms::RDONLY),
    ("silent", true, ms::SILENT),
    ("strictatime", true, ms::STRICTATIME),
    ("suid", false, ms::NOSUID),
    ("sync", true, ms::SYNCHRONOUS),
];

/// Further clearing options, apart for the array's size.
const CLEARING: [(&str, u64); 1] = [("symfollow", ms::NOSYMFOLLOW)];

const PROPAGATION: [(&str, u64); 8] = [
    ("private", ms::PRIVATE),
    ("shared", ms::SHARED),
    ("slave", ms::SLAVE),
    ("unbindable", ms::UNBINDABLE),
    ("rprivate", ms::PRIVATE | ms::REC),
    ("rshared", ms::SHARED | ms::REC),
    ("rslave", ms::SLAVE | ms::REC),
    ("runbindable", ms::UNBINDABLE | ms::REC),
];

/// Options that act on the whole tree below: `r` before the plain name.
const RECURSIVE: [(&str, bool, u64); 16] = [
    ("rro", true, ms::RDONLY),
    ("rrw", false, ms::RDONLY),
    ("rnosuid", true, ms::NOSUID),
    ("rsuid", false, ms::NOSUID),
    ("rnodev", true, ms::NODEV),
    ("rdev", false, ms::NODEV),
    ("rnoexec", true, ms::NOEXEC),
    ("rexec", false, ms::NOEXEC),
    ("rnoatime", true, ms::NOATIME),
    ("ratime", false, ms::NOATIME),
    ("rnodiratime", true, ms::NODIRATIME),
    ("rdiratime", false, ms::NODIRATIME),
    ("rrelatime", true, ms::RELATIME),
    ("rnorelatime", false, ms::RELATIME),
    ("rnosymfollow", true, ms::NOSYMFOLLOW),
    ("rsymfollow", false, ms::NOSYMFOLLOW),
];

/// Options of a mount, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `MS_*` without propagation.
    pub flags: u64,
    /// Flags for the whole tree.
    pub recursive: u64,
    /// `MS_SHARED` and so on; the last one given.
    pub propagation: u64,
    /// What is left for the file system.
    pub data: Vec<String>,
    /// `tmpcopyup`.
    pub copy_up: bool,
    /// What follows `idmap=` or `ridmap=`; empty for the option alone.
    pub idmap: Option<String>,
}

/// Reads a mount's options.
#[must_use]
pub fn options<'a>(list: impl IntoIterator<Item = &'a str>) -> Options {
    let mut out = Options::default();
    for option in list {
        if let Some((_, set, bits)) = OPTIONS.iter().find(|entry| entry.0 == option) {
            apply(&mut out.flags, *set, *bits);
        } else if let Some((_, bits)) = CLEARING.iter().find(|entry| entry.0 == option) {
            apply(&mut out.flags, false, *bits);
        } else if let Some((_, bits)) = PROPAGATION.iter().find(|entry| entry.0 == option) {
            out.propagation = *bits;
        } else if let Some((_, set, bits)) = RECURSIVE.iter().find(|entry| entry.0 == option) {
            apply(&mut out.recursive, *set, *bits);
        } else {
            match option {
                "tmpcopyup" => out.copy_up = true,
                "idmap" | "ridmap" => out.idmap = Some(String::new()),
                "rstrictatime" => out.recursive |= ms::STRICTATIME,
                "rnostrictatime" => out.recursive &= !ms::STRICTATIME,
                other => match other
                    .strip_prefix('r')
                    .unwrap_or(other)
                    .strip_prefix("idmap=")
                {
                    Some(ranges) => out.idmap = Some(ranges.to_owned()),
                    None => out.data.push(other.to_owned()),
                },
            }
        }
    }
    out
}

fn apply(flags: &mut u64, set: bool, bits: u64) {
    if set {
        *flags |= bits;
    } else {
        *flags &= !bits;
    }
}

/// Every option that [`options`] knows, sorted, for `features`.
#[must_use]
pub fn known_options() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = OPTIONS.iter().map(|entry| entry.0).collect();
    names.extend(CLEARING.iter().map(|entry| entry.0));
    names.extend(PROPAGATION.iter().map(|entry| entry.0));
    names.extend(RECURSIVE.iter().map(|entry| entry.0));
    names.extend([
        "idmap",
        "ridmap",
        "tmpcopyup",
        "rstrictatime",
        "rnostrictatime",
    ]);
    names.sort_unstable();
    names
}

/// A host tree that the container's gofer serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeSource {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// With the mounts below it.
    pub recursive: bool,
    /// Never written.
    pub read_only: bool,
    /// `MS_SLAVE` or `MS_SHARED` asked for: later mounts of the host appear in it.
    pub follow_host: bool,
    /// Only for the bytes of overlays: see [`super::overlay`].
    pub scratch: bool,
    /// An id-mapped mount: owners on the host (inside) and what the mount makes of them (outside).
    pub ids: Option<Mappings>,
}

/// Translates one mount. Bind mounts add a tree to `trees` (whose index the kernel gets; tree 0 is the root).
pub fn translate(
    mount: &Mount,
    bundle: &Path,
    overlay: &Medium,
    container_ids: Option<&Mappings>,
    trees: &mut Vec<TreeSource>,
) -> Result<MountConfig> {
    let destination = destination(mount)?;
    let list: Vec<&str> = mount
        .options()
        .iter()
        .flatten()
        .map(String::as_str)
        .collect();
    let parsed = options(list.iter().copied());
    let ids = parsed
        .idmap
        .as_deref()
        .map(|text| idmap::read(text, container_ids))
        .transpose()
        .map_err(|error| anyhow!("mount {destination:?}: {error}"))?;
    let source = mount.source().clone().unwrap_or_default();
    let typ = mount.typ().as_deref().unwrap_or("");
    let failed = |what: String| {
        anyhow!(
            "unable to start container process: error during container init: error mounting {:?} to rootfs at {destination:?}: {what}",
            source.display().to_string()
        )
    };
    let bind = parsed.flags & ms::BIND != 0 || typ == "bind";
    if ids.is_some() && !bind {
        bail!("mount {destination:?}: only bind mounts can be id-mapped");
    }
    let kind = if bind {
        bind_tree(&bundle.join(&source), &parsed, ids, overlay, trees)
            .map_err(|what| failed(what.to_string()))?
    } else {
        match typ {
            "tmpfs" | "ramfs" => MountKind::Tmpfs,
            "proc" => MountKind::Proc,
            "sysfs" => MountKind::Sysfs,
            "devpts" => MountKind::Devpts,
            "mqueue" => MountKind::Mqueue,
            "cgroup" | "cgroup2" => MountKind::Cgroup,
            "devtmpfs" => MountKind::Devtmpfs,
            "" => {
                return Err(failed(
                    "the mount has neither a type nor the option bind".to_owned(),
                ));
            }
            other => {
                return Err(failed(format!(
                    "mount {other}:{destination}: no such device"
                )));
            }
        }
    };
    if bind && !parsed.data.is_empty() {
        report::warning(&format!(
            "mount {destination:?}: options {} have no meaning for a bind mount",
            parsed.data.join(",")
        ));
    }
    Ok(MountConfig {
        destination,
        kind,
        flags: shown(parsed.flags | parsed.recursive),
        recursive_flags: parsed.recursive,
        propagation: parsed.propagation,
        data: if bind {
            String::new()
        } else {
            parsed.data.join(",")
        },
        source: if typ.is_empty() || bind {
            "none".to_owned()
        } else {
            source.display().to_string()
        },
        copy_up: parsed.copy_up,
    })
}

/// The flags that a mount has: access times are relative unless something else is asked for (`mount(2)`).
fn shown(flags: u64) -> u64 {
    let flags = flags & !(ms::BIND | ms::REC | ms::REMOUNT | ms::SILENT);
    if flags & (ms::NOATIME | ms::STRICTATIME) == 0 {
        flags | ms::RELATIME
    } else {
        flags
    }
}

fn bind_tree(
    path: &Path,
    options: &Options,
    ids: Option<Mappings>,
    overlay: &Medium,
    trees: &mut Vec<TreeSource>,
) -> Result<MountKind> {
    let metadata = std::fs::metadata(path).map_err(|error| {
        anyhow!(
            "stat {}: {}",
            path.display(),
            crate::launch::errno_text(&error)
        )
    })?;
    let index = u32::try_from(trees.len())?;
    let read_only = (options.flags | options.recursive) & ms::RDONLY != 0;
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // What is not written needs no overlay, and devices, sockets and pipes are not written to.
    let covered = !read_only && (metadata.is_dir() || metadata.is_file());
    let overlay = if covered { overlay } else { &Medium::None };
    trees.push(TreeSource {
        path: path.clone(),
        recursive: options.flags & ms::REC != 0,
        read_only: read_only || *overlay != Medium::None,
        follow_host: options.propagation & (ms::SLAVE | ms::SHARED) != 0,
        scratch: false,
        ids,
    });
    let overlay = overlay.over(&path, trees)?;
    Ok(MountKind::Tree {
        index,
        directory: metadata.is_dir(),
        overlay,
        device: device_number(&metadata),
        source: Some((metadata.dev(), metadata.ino())),
    })
}

fn device_number(metadata: &std::fs::Metadata) -> Option<(u32, u32)> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return None;
    }
    let (major, minor) = (
        nix::sys::stat::major(metadata.rdev()),
        nix::sys::stat::minor(metadata.rdev()),
    );
    Some((u32::try_from(major).ok()?, u32::try_from(minor).ok()?))
}

/// The absolute, lexically clean destination. runc accepts a relative one with a warning.
fn destination(mount: &Mount) -> Result<String> {
    let path = mount.destination();
    if !path.is_absolute() {
        report::warning(&format!(
            "mount destination {} is not absolute. Support for non-absolute mount destinations will be removed in a future release.",
            path.display()
        ));
    }
    clean(path).ok_or_else(|| {
        anyhow!(
            "mount destination {:?} is not valid text",
            path.display().to_string()
        )
    })
}

/// `path` from the root, without `.`, `..` and doubled slashes.
#[must_use]
pub fn clean(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str()?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::config::OverlayMode;

    #[test]
    fn options_set_clear_and_pass_on() {
        let parsed = options([
            "nosuid",
            "ro",
            "rw",
            "mode=755",
            "rprivate",
            "rro",
            "tmpcopyup",
        ]);
        assert_eq!(parsed.flags, ms::NOSUID);
        assert_eq!(parsed.data, ["mode=755"]);
        assert_eq!(parsed.propagation, ms::PRIVATE | ms::REC);
        assert_eq!(parsed.recursive, ms::RDONLY);
        assert!(parsed.copy_up);
    }

    #[test]
    fn paths_cannot_climb() {
        assert_eq!(clean(Path::new("/a/../../b//./c")).unwrap(), "/b/c");
        assert_eq!(clean(Path::new("x")).unwrap(), "/x");
        assert_eq!(clean(Path::new("..")).unwrap(), "/");
    }

    fn mount(json: &str) -> Mount {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_missing_bind_source_is_named_as_runc_does() {
        let mount =
            mount(r#"{"destination":"/mnt","type":"bind","source":"/nosuch","options":["bind"]}"#);
        let error =
            translate(&mount, Path::new("/"), &Medium::None, None, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"unable to start container process: error during container init: error mounting "/nosuch" to rootfs at "/mnt": stat /nosuch: no such file or directory"#
        );
    }

    #[test]
    fn unknown_types_are_refused() {
        let mount = mount(r#"{"destination":"/mnt","type":"foofs","source":"foo"}"#);
        let error =
            translate(&mount, Path::new("/"), &Medium::None, None, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().ends_with("no such device"), "{error}");
    }

    #[test]
    fn id_mapped_mounts_have_their_mappings() {
        let ids = |options: &str| {
            let mount = mount(&format!(
                r#"{{"destination":"/m","type":"bind","source":"/tmp","options":[{options}]}}"#
            ));
            let mut trees = Vec::new();
            translate(&mount, Path::new("/"), &Medium::None, None, &mut trees)
                .map(|_| trees.remove(0).ids)
        };
        let own = ids(r#""bind","ridmap=uids=0-5-1;gids=0-6-1""#)
            .unwrap()
            .unwrap();
        assert_eq!((own.uids, own.gids), (vec![(0, 5, 1)], vec![(0, 6, 1)]));
        assert!(ids(r#""bind","idmap""#).is_err());
        assert_eq!(ids(r#""bind""#).unwrap(), None);
    }

    #[test]
    fn bind_mounts_become_trees() {
        let mount =
            mount(r#"{"destination":"/null","source":"/dev/null","options":["rbind","ro"]}"#);
        let mut trees = vec![TreeSource {
            path: "/".into(),
            recursive: false,
            read_only: false,
            follow_host: false,
            scratch: false,
            ids: None,
        }];
        let config = translate(&mount, Path::new("/"), &Medium::None, None, &mut trees).unwrap();
        assert_eq!(
            config.kind,
            MountKind::Tree {
                index: 1,
                directory: false,
                overlay: OverlayMode::None,
                device: Some((1, 3)),
                source: Some({
                    let null = std::fs::metadata("/dev/null").unwrap();
                    (null.dev(), null.ino())
                }),
            }
        );
        assert_eq!(config.flags, ms::RDONLY | ms::RELATIME);
        assert!(trees[1].recursive && trees[1].read_only);
    }
}
