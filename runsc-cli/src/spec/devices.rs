//! The spec's devices. A sandbox has no driver of the host's: nodes of others can be made and looked at, as in any container that may not use them.

use anyhow::{Result, bail};
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};
use sentry::fs::dev::{Class, Registry};

use super::mounts;
use crate::boot::config::DeviceConfig;

/// The spec's devices.
///
/// # Errors
/// One that makes no sense, or that the caller gives access to although the sandbox has no driver for it.
pub fn translate(linux: Option<&Linux>) -> Result<Vec<DeviceConfig>> {
    let mut list = Vec::new();
    for device in linux
        .and_then(|linux| linux.devices().as_ref())
        .into_iter()
        .flatten()
    {
        let Some(path) = mounts::clean(device.path()) else {
            bail!(
                "device path {:?} is not valid text",
                device.path().display().to_string()
            )
        };
        if is_granted(linux, device) && !has_driver(device) {
            bail!(
                "device {path} ({} {}:{}) is not supported: a sandbox has drivers of its own only, and none for this one; start the container without it",
                device.typ().as_str(),
                device.major(),
                device.minor()
            );
        }
        let number = |value: i64, what: &str| {
            u32::try_from(value).map_err(|_| {
                anyhow::anyhow!("device {path}: {what} number {value} is out of range")
            })
        };
        list.push(DeviceConfig {
            kind: match device.typ() {
                LinuxDeviceType::B => 'b',
                LinuxDeviceType::P => 'p',
                LinuxDeviceType::U => 'u',
                LinuxDeviceType::C | LinuxDeviceType::A => 'c',
            },
            major: number(device.major(), "major")?,
            minor: number(device.minor(), "minor")?,
            mode: device.file_mode().unwrap_or(0o666) & 0o7777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            path,
        });
    }
    Ok(list)
}

/// Whether somebody asked for access to this very device (`docker run --device`). Who has all (`--privileged`) did not ask for each.
fn is_granted(linux: Option<&Linux>, device: &LinuxDevice) -> bool {
    let rules = linux
        .and_then(|linux| linux.resources().as_ref())
        .and_then(|resources| resources.devices().as_ref());
    let everything = |rule: &LinuxDeviceCgroup| {
        matches!(rule.typ(), None | Some(LinuxDeviceType::A)) && rule.major().is_none()
    };
    let this = |rule: &LinuxDeviceCgroup| {
        rule.typ() == Some(device.typ())
            && rule.major() == Some(device.major())
            && rule.minor() == Some(device.minor())
    };
    let rules = rules.into_iter().flatten();
    let mut granted = false;
    for rule in rules {
        if everything(rule) {
            if rule.allow() {
                return false;
            }
            granted = false;
        } else if this(rule) {
            granted = rule.allow();
        }
    }
    granted
}

fn has_driver(device: &LinuxDevice) -> bool {
    let class = match device.typ() {
        LinuxDeviceType::B => Class::Block,
        LinuxDeviceType::C | LinuxDeviceType::U => Class::Char,
        // A FIFO needs none.
        LinuxDeviceType::P | LinuxDeviceType::A => return true,
    };
    let number = |value: i64| u32::try_from(value).ok();
    let (Some(major), Some(minor)) = (number(device.major()), number(device.minor())) else {
        return false;
    };
    Registry::default().has(class, abi::fs::makedev(major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(rules: &str, device: &str) -> Linux {
        serde_json::from_str(&format!(
            r#"{{"devices":[{device}],"resources":{{"devices":{rules}}}}}"#
        ))
        .unwrap()
    }

    const KMSG: &str = r#"{"path":"/dev/kmsg","type":"c","major":1,"minor":11}"#;
    const ZERO: &str = r#"{"path":"/dev/mine","type":"c","major":1,"minor":5}"#;

    #[test]
    fn what_was_asked_for_and_is_not_there_is_refused() {
        let asked = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"rwm"}]"#;
        let error = translate(Some(&linux(asked, KMSG)))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("device /dev/kmsg (c 1:11) is not supported"),
            "{error}"
        );
        let denied = r#"[{"allow":true,"type":"c","major":1,"minor":11,"access":"rwm"},{"allow":false,"access":"rwm"}]"#;
        translate(Some(&linux(denied, KMSG))).unwrap();
        translate(Some(&linux("[]", KMSG))).unwrap();
        translate(Some(&linux(r#"[{"allow":true,"access":"rwm"}]"#, KMSG))).unwrap();
        let zero = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":5,"access":"rwm"}]"#;
        assert_eq!(translate(Some(&linux(zero, ZERO))).unwrap().len(), 1);
    }
}
