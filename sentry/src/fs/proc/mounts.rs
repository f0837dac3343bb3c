//! `mounts`, `mountinfo` and `mountstats` (`fs/proc_namespace.c`).

use std::sync::Arc;

use abi::fs::{major, minor};

use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;
use crate::vfs::{Dentry, Mount, MountFlags, MountNamespace, Path};

/// Escapes what would break a line into fields (`mangle`): blanks and backslashes as octal.
pub(crate) fn escape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

/// Per-mount options.
fn mount_options(flags: MountFlags) -> String {
    let mut text = String::from(if flags.contains(MountFlags::RDONLY) {
        "ro"
    } else {
        "rw"
    });
    for (flag, name) in [
        (MountFlags::NOSUID, ",nosuid"),
        (MountFlags::NODEV, ",nodev"),
        (MountFlags::NOEXEC, ",noexec"),
        (MountFlags::NOATIME, ",noatime"),
        (MountFlags::NODIRATIME, ",nodiratime"),
        (MountFlags::RELATIME, ",relatime"),
        (MountFlags::NOSYMFOLLOW, ",nosymfollow"),
    ] {
        if flags.contains(flag) {
            text.push_str(name);
        }
    }
    text
}

/// As `mounts` shows them: what cannot be written is `ro`, whether by mount or file system.
fn effective_flags(mount: &Mount) -> MountFlags {
    let mut flags = mount.flags();
    flags.set(MountFlags::RDONLY, mount.is_read_only());
    flags
}

/// The optional fields of mountinfo.
fn propagation(mount: &Arc<Mount>, namespace: &Arc<MountNamespace>) -> String {
    let mut text = String::new();
    if let Some(peers) = mount.peers() {
        text.push_str(&format!(" shared:{}", peers.id));
    }
    if let Some(master) = mount.master() {
        text.push_str(&format!(" master:{}", master.id));
        if let Some(from) = mount
            .dominating(namespace)
            .filter(|from| *from != master.id)
        {
            text.push_str(&format!(" propagate_from:{from}"));
        }
    }
    if mount.is_unbindable() {
        text.push_str(" unbindable");
    }
    text
}

/// The path of a dentry within its file system. Names from the file system's root, each with its slash.
#[must_use]
pub fn path_in_fs(dentry: &Arc<Dentry>) -> Vec<u8> {
    let mut names = Vec::new();
    let mut at = dentry.clone();
    while let Some(parent) = at.parent() {
        names.push(at.name());
        at = parent;
    }
    let mut text = Vec::new();
    for name in names.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    text
}

/// A mount that can be reached from the process's root.
struct Shown {
    mount: Arc<Mount>,
    parent: u64,
    point: Vec<u8>,
}

fn shown(subject: &Subject) -> Result<Vec<Shown>> {
    let task = subject.task()?;
    let fs = task.fs();
    let root = fs.root();
    let mut all = Vec::new();
    for mount in fs.namespace().mounts() {
        let top = Path {
            mount: mount.clone(),
            dentry: mount.root.clone(),
        };
        let (text, reached) = top.components(Some(&root));
        if !reached {
            continue;
        }
        let parent = mount.point().map_or(1, |point| point.mount.id);
        all.push(Shown {
            mount,
            parent,
            point: text,
        });
    }
    Ok(all)
}

fn source(mount: &Mount) -> Vec<u8> {
    if mount.source.is_empty() {
        b"none".to_vec()
    } else {
        escape(&mount.source)
    }
}

/// `mounts`.
pub(super) fn mounts(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for Shown { mount, point, .. } in shown(subject)? {
        text.extend(source(&mount));
        text.push(b' ');
        text.extend(escape(&point));
        text.extend_from_slice(
            format!(
                " {} {}{} 0 0\n",
                mount.fs.type_name(),
                mount_options(effective_flags(&mount)),
                mount.fs.options()
            )
            .as_bytes(),
        );
    }
    Ok(text)
}

/// `mountinfo`.
pub(super) fn mountinfo(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let namespace = subject.task()?.fs().namespace();
    for Shown {
        mount,
        parent,
        point,
    } in shown(subject)?
    {
        let dev = mount.fs.dev();
        text.extend_from_slice(
            format!("{} {parent} {}:{} ", mount.id, major(dev), minor(dev)).as_bytes(),
        );
        text.extend(escape(&path_in_fs(&mount.root)));
        text.push(b' ');
        text.extend(escape(&point));
        text.extend_from_slice(
            format!(
                " {}{} - {} ",
                mount_options(mount.flags()),
                propagation(&mount, &namespace),
                mount.fs.type_name()
            )
            .as_bytes(),
        );
        text.extend(source(&mount));
        let mode = if mount.fs_is_read_only() { "ro" } else { "rw" };
        text.extend_from_slice(format!(" {mode}{}\n", mount.fs.options()).as_bytes());
    }
    Ok(text)
}

/// `mountstats`.
pub(super) fn mountstats(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for Shown { mount, point, .. } in shown(subject)? {
        text.extend_from_slice(b"device ");
        text.extend(source(&mount));
        text.extend_from_slice(b" mounted on ");
        text.extend(escape(&point));
        text.extend_from_slice(format!(" with fstype {}\n", mount.fs.type_name()).as_bytes());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_stay_one_field() {
        assert_eq!(escape(b"/a b\\c\nd"), b"/a\\040b\\134c\\012d");
    }

    #[test]
    fn options_are_in_linux_order() {
        assert_eq!(
            mount_options(MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NOSUID),
            "ro,nosuid,noexec"
        );
        assert_eq!(mount_options(MountFlags::RELATIME), "rw,relatime");
    }
}
