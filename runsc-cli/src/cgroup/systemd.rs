//! systemd as the maker of cgroups: transient scopes over D-Bus.
//!
//! [`plan`] reads the OCI spec's `SLICE:PREFIX:NAME`; [`Unit`] is the scope, started, updated and stopped through the manager: the system's for root, the
//! user's own for everybody else. Source: org.freedesktop.systemd1(5), systemd.resource-control(5), CGROUP_DELEGATION.md.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use oci_spec::runtime::LinuxResources;
use rustbus::connection::Timeout;
use rustbus::connection::ll_conn::DuplexConn;
use rustbus::connection::{get_session_bus_path, get_system_bus_path};
use rustbus::message_builder::{MarshalledMessage, MessageBuilder, MessageType};
use rustbus::params::{Array, Base, Container, Param, Variant};
use rustbus::signature::Type;
use rustbus::wire::ObjectPath;
use serde::{Deserialize, Serialize};

use super::v2_limits;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take for one answer or job.
const PATIENCE: Duration = Duration::from_secs(30);

/// A transient scope.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(super) struct Unit {
    /// `PREFIX-NAME.scope`.
    name: String,
    /// `….slice`.
    slice: String,
    /// Of the user's own manager, not of the system's.
    user: bool,
}

/// A property of a unit.
type Property = (&'static str, Param<'static, 'static>);

/// The unit for a spec's `cgroupsPath` (`SLICE:PREFIX:NAME`, or empty), and the path of its cgroup.
pub(super) fn plan(path: &str, id: &str) -> Result<(Unit, String)> {
    let user = !crate::launch::userns::is_root() || crate::launch::userns::in_user_namespace();
    let (slice, prefix, name) = parts(path, id)?;
    let slice = match slice.as_str() {
        "" if user => "user.slice".to_owned(),
        "" => "system.slice".to_owned(),
        _ => slice,
    };
    let name = if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    let base = if user {
        Connection::open(true)?.own_cgroup()?
    } else {
        String::new()
    };
    let path = format!("{}{}/{name}", base.trim_end_matches('/'), expand(&slice)?);
    Ok((Unit { name, slice, user }, path))
}

fn parts(path: &str, id: &str) -> Result<(String, String, String)> {
    if path.is_empty() {
        return Ok((String::new(), "runc".into(), id.to_owned()));
    }
    let parts: Vec<&str> = path.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        bail!(
            "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
        );
    };
    if name.is_empty() || [slice, prefix, name].iter().any(|part| part.contains('/')) {
        bail!("cgroupsPath {path:?}: the name is missing or a part has a slash");
    }
    Ok((slice.to_owned(), prefix.to_owned(), name.to_owned()))
}

/// The path of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn expand(slice: &str) -> Result<String> {
    let invalid = || anyhow!("invalid slice name: {slice}");
    let stem = slice.strip_suffix(".slice").ok_or_else(invalid)?;
    if stem == "-" {
        return Ok(String::new());
    }
    if slice.contains('/') || stem.is_empty() {
        return Err(invalid());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        prefix += part;
        path += &format!("/{prefix}.slice");
        prefix.push('-');
    }
    Ok(path)
}

impl Unit {
    /// Starts the scope with process `first` in it.
    pub(super) fn start(&self, first: i32, resources: Option<&LinuxResources>) -> Result<()> {
        let mut properties: Vec<Property> = vec![
            (
                "Description",
                text(&format!("runsc container {}", self.name)),
            ),
            ("Slice", text(&self.slice)),
            (
                "PIDs",
                array(vec![Base::Uint32(u32::try_from(first)?).into()], "u")?,
            ),
            ("Delegate", flag(true)),
            ("DefaultDependencies", flag(false)),
            ("MemoryAccounting", flag(true)),
            ("CPUAccounting", flag(true)),
            ("IOAccounting", flag(true)),
            ("TasksAccounting", flag(true)),
        ];
        if let Some(resources) = resources {
            properties.extend(limits(resources)?);
        }
        let mut systemd = Connection::open(self.user)?;
        // A scope of that name that failed, from a container of the same id, would be in the way.
        let _ = systemd.call("ResetFailedUnit", &[text(&self.name)]);
        systemd.follow_jobs()?;
        let arguments = [
            text(&self.name),
            text("replace"),
            properties_array(properties)?,
            array(Vec::new(), "(sa(sv))")?,
        ];
        let job = systemd
            .call("StartTransientUnit", &arguments)
            .with_context(|| format!("systemd cannot start {}", self.name))?;
        systemd.wait_for_job(&job, &self.name)
    }

    /// Tells systemd the new limits, so that it does not restore the old ones.
    pub(super) fn update(&self, resources: &LinuxResources) -> Result<()> {
        let properties = limits(resources)?;
        if properties.is_empty() {
            return Ok(());
        }
        let arguments = [text(&self.name), flag(true), properties_array(properties)?];
        Connection::open(self.user)?
            .call("SetUnitProperties", &arguments)
            .with_context(|| format!("systemd cannot change the limits of {}", self.name))?;
        Ok(())
    }

    /// Stops the scope. One that is gone (it went with its last process) is success.
    pub(super) fn stop(&self) -> Result<()> {
        let mut systemd = Connection::open(self.user)?;
        systemd.follow_jobs()?;
        match systemd.call("StopUnit", &[text(&self.name), text("replace")]) {
            Ok(job) => systemd.wait_for_job(&job, &self.name)?,
            Err(error) if format!("{error:#}").contains("not loaded") => {}
            Err(error) => return Err(error).context(format!("systemd cannot stop {}", self.name)),
        }
        let _ = systemd.call("ResetFailedUnit", &[text(&self.name)]);
        Ok(())
    }
}

/// The limits that systemd would otherwise set to its own defaults; the rest is written to the files.
fn limits(resources: &LinuxResources) -> Result<Vec<Property>> {
    let number = |value: &str| -> Param<'static, 'static> {
        Base::Uint64(value.parse().unwrap_or(u64::MAX)).into()
    };
    let mut list: Vec<Property> = Vec::new();
    for write in v2_limits::writes(resources)? {
        let property = match write.file.as_str() {
            "memory.max" => ("MemoryMax", number(&write.value)),
            "memory.low" => ("MemoryLow", number(&write.value)),
            "memory.swap.max" => ("MemorySwapMax", number(&write.value)),
            "cpu.weight" => ("CPUWeight", number(&write.value)),
            "pids.max" => ("TasksMax", number(&write.value)),
            "io.weight" => ("IOWeight", number(&write.value)),
            "cpu.max" => {
                list.extend(cpu_quota(&write.value));
                continue;
            }
            "cpuset.cpus" => ("AllowedCPUs", cpu_mask(&write.value)?),
            "cpuset.mems" => ("AllowedMemoryNodes", cpu_mask(&write.value)?),
            _ => continue,
        };
        list.push(property);
    }
    Ok(list)
}

/// `QUOTA PERIOD` in microseconds as systemd has it: microseconds per second, a multiple of 10 ms, and the period.
fn cpu_quota(value: &str) -> Vec<Property> {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    let period: u64 = period.parse().unwrap_or(100_000).max(1);
    let per_second = quota.parse::<u64>().map_or(u64::MAX, |quota| {
        let exact = quota.saturating_mul(1_000_000) / period;
        exact.div_ceil(10_000) * 10_000
    });
    vec![
        ("CPUQuotaPeriodUSec", Base::Uint64(period).into()),
        ("CPUQuotaPerSecUSec", Base::Uint64(per_second).into()),
    ]
}

/// A list such as `0-2,5` as a bit mask, lowest byte first.
fn cpu_mask(list: &str) -> Result<Param<'static, 'static>> {
    const MOST: u32 = 8192;
    let numbers = crate::spec::container::cpu_list(list)
        .filter(|numbers| numbers.iter().all(|number| *number < MOST))
        .ok_or_else(|| anyhow!("{list:?} is not a list of CPUs or memory nodes"))?;
    let mut mask = Vec::new();
    for number in numbers {
        let byte = (number / 8) as usize;
        if mask.len() <= byte {
            mask.resize(byte + 1, 0_u8);
        }
        mask[byte] |= 1 << (number % 8);
    }
    array(
        mask.into_iter()
            .map(|byte| Base::Byte(byte).into())
            .collect(),
        "y",
    )
}

fn text(value: &str) -> Param<'static, 'static> {
    Base::String(value.to_owned()).into()
}

fn flag(value: bool) -> Param<'static, 'static> {
    Base::Boolean(value).into()
}

fn array(values: Vec<Param<'static, 'static>>, element: &str) -> Result<Param<'static, 'static>> {
    let element_sig = Type::parse_description(element)
        .ok()
        .and_then(|mut types| types.pop())
        .ok_or_else(|| anyhow!("{element:?} is no D-Bus type"))?;
    let array = Array {
        element_sig,
        values,
    };
    Ok(Container::Array(array).into())
}

/// `a(sv)`.
fn properties_array(properties: Vec<Property>) -> Result<Param<'static, 'static>> {
    let values = properties
        .into_iter()
        .map(|(name, value)| {
            let variant = Variant {
                sig: value.sig(),
                value,
            };
            let variant = Container::Variant(Box::new(variant)).into();
            Container::Struct(vec![text(name), variant]).into()
        })
        .collect();
    array(values, "(sv)")
}

/// A connection to a manager.
struct Connection {
    bus: DuplexConn,
}

impl Connection {
    fn open(user: bool) -> Result<Self> {
        let (address, which) = if user {
            (
                get_session_bus_path(),
                "your own session (is DBUS_SESSION_BUS_ADDRESS set?)",
            )
        } else {
            (
                get_system_bus_path(),
                "the system (/run/dbus/system_bus_socket)",
            )
        };
        let explain = || {
            format!(
                "systemd cgroup flag passed, but systemd support for managing cgroups is not available: cannot reach the D-Bus of {which}"
            )
        };
        let address = address.with_context(explain)?;
        let mut bus = DuplexConn::connect_to_bus(address, false).with_context(explain)?;
        bus.send_hello(Timeout::Duration(PATIENCE))
            .with_context(explain)?;
        Ok(Self { bus })
    }

    /// Calls a method of the manager and waits for the answer.
    fn call(&mut self, method: &str, arguments: &[Param<'_, '_>]) -> Result<MarshalledMessage> {
        let mut message = MessageBuilder::new()
            .call(method)
            .at(SYSTEMD)
            .on(MANAGER_PATH)
            .with_interface(MANAGER)
            .build();
        for argument in arguments {
            message.body.push_old_param(argument)?;
        }
        self.send(&message)
    }

    fn send(&mut self, message: &MarshalledMessage) -> Result<MarshalledMessage> {
        let serial = self
            .bus
            .send
            .send_message(message)?
            .write_all()
            .map_err(|(_, error)| error)?;
        loop {
            let answer = self
                .bus
                .recv
                .get_next_message(Timeout::Duration(PATIENCE))
                .context("systemd does not answer")?;
            if answer.dynheader.response_serial != Some(serial) {
                continue;
            }
            if answer.typ == MessageType::Error {
                let name = answer.dynheader.error_name.clone().unwrap_or_default();
                let detail = answer.body.parser().get::<&str>().unwrap_or_default();
                bail!("{detail} ({name})");
            }
            return Ok(answer);
        }
    }

    /// Asks to be told when jobs end.
    fn follow_jobs(&mut self) -> Result<()> {
        let rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        self.send(&rustbus::standard_messages::add_match(rule))?;
        self.call("Subscribe", &[])?;
        Ok(())
    }

    /// Waits for the job that an answer names.
    fn wait_for_job(&mut self, answer: &MarshalledMessage, unit: &str) -> Result<()> {
        let job = answer
            .body
            .parser()
            .get::<ObjectPath<&str>>()
            .map(|path| path.as_ref().to_owned())
            .map_err(|error| anyhow!("systemd's answer names no job: {error:?}"))?;
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let message = self
                .bus
                .recv
                .get_next_message(Timeout::Duration(left))
                .with_context(|| format!("systemd does not finish its job for {unit}"))?;
            if message.dynheader.member.as_deref() != Some("JobRemoved") {
                continue;
            }
            // Id, job, unit, result.
            let Ok((_, path, _, result)) = message
                .body
                .parser()
                .get4::<u32, ObjectPath<&str>, &str, &str>()
            else {
                continue;
            };
            if path.as_ref() == job {
                if matches!(result, "done" | "skipped") {
                    return Ok(());
                }
                bail!("systemd's job for {unit} ended with {result:?}");
            }
        }
    }

    /// The cgroup of the manager itself.
    fn own_cgroup(&mut self) -> Result<String> {
        let mut message = MessageBuilder::new()
            .call("Get")
            .at(SYSTEMD)
            .on(MANAGER_PATH)
            .with_interface("org.freedesktop.DBus.Properties")
            .build();
        message
            .body
            .push_old_params(&[text(MANAGER), text("ControlGroup")])?;
        let answer = self.send(&message)?;
        let value = answer
            .body
            .parser()
            .get::<rustbus::wire::unmarshal::traits::Variant>()
            .map_err(|error| anyhow!("systemd does not tell its cgroup: {error:?}"))?;
        value
            .get::<String>()
            .map_err(|error| anyhow!("systemd does not tell its cgroup: {error:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_expand() {
        assert_eq!(expand("system.slice").unwrap(), "/system.slice");
        assert_eq!(
            expand("a-b-c.slice").unwrap(),
            "/a.slice/a-b.slice/a-b-c.slice"
        );
        assert_eq!(expand("-.slice").unwrap(), "");
        for wrong in ["a", "a--b.slice", "-a.slice", "a/b.slice", ".slice"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_have_three_parts() {
        assert_eq!(
            parts("s.slice:docker:abc", "id").unwrap(),
            ("s.slice".into(), "docker".into(), "abc".into())
        );
        assert_eq!(parts("", "id").unwrap().2, "id");
        for wrong in ["/a/b", "a:b", "a:b:", "a/b:c:d", "a:b:c:d"] {
            assert!(parts(wrong, "id").is_err(), "{wrong}");
        }
    }

    #[test]
    fn quotas_are_rounded_up_to_what_systemd_takes() {
        let quota = |value| match &cpu_quota(value)[1].1 {
            Param::Base(Base::Uint64(number)) => *number,
            _ => 0,
        };
        assert_eq!(quota("50000 100000"), 500_000);
        assert_eq!(quota("33333 100000"), 340_000);
        assert_eq!(quota("max 100000"), u64::MAX);
    }
}
