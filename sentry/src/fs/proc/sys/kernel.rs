//! `/proc/sys/kernel`.

use std::sync::OnceLock;

use abi::uts::{RELEASE, SYSTEM, VERSION};

use super::values::{Shape, fixed, value};
use crate::error::{Errno, Result};
use crate::fs::static_tree::{Node, Reader};
use crate::task::creds::Cap;
use crate::task::namespaces::UtsNamespace;
use parking_lot::RwLock;

const MAX_INT: i64 = i32::MAX as i64;

/// A host or domain name of the reader's UTS namespace.
fn uts(which: fn(&UtsNamespace) -> &RwLock<Vec<u8>>) -> Node {
    Node::writable(
        move |reader: &Reader<'_>| {
            let uts = reader.require()?.namespaces().uts.clone();
            let mut text = which(&uts).read().clone();
            text.push(b'\n');
            Ok(text)
        },
        move |reader, data| {
            let task = reader.require()?;
            let uts = task.namespaces().uts.clone();
            task.creds().require_in(&uts.owner, Cap::SYS_ADMIN)?;
            let line = data.split(|b| *b == b'\n' || *b == 0).next().unwrap_or(b"");
            if line.len() > 64 {
                return Err(Errno::EINVAL);
            }
            *which(&uts).write() = line.to_vec();
            Ok(())
        },
    )
}

/// A random UUID (version 4) as text.
fn uuid() -> String {
    let mut bytes = [0_u8; 16];
    crate::host::random(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

fn random() -> Node {
    let boot_id = OnceLock::new();
    Node::dir([
        (
            "boot_id",
            Node::text(move |_: &Reader<'_>| -> Result<String> {
                Ok(format!("{}\n", boot_id.get_or_init(uuid)))
            }),
        ),
        (
            "entropy_avail",
            fixed(crate::fs::dev::ENTROPY_BITS.to_string()),
        ),
        ("poolsize", fixed(crate::fs::dev::ENTROPY_BITS.to_string())),
        ("urandom_min_reseed_secs", fixed("60")),
        (
            "uuid",
            Node::text(|_: &Reader<'_>| Ok(format!("{}\n", uuid()))),
        ),
        ("write_wakeup_threshold", fixed("256")),
    ])
}

/// The directory.
pub(super) fn node() -> Node {
    let number = |name, default, low, high| value(name, default, Shape::Integers(1, low, high));
    Node::dir([
        ("acct", fixed("4\t2\t30")),
        ("cap_last_cap", fixed(Cap::LAST.0.to_string())),
        ("core_pattern", fixed("core")),
        ("core_uses_pid", fixed("0")),
        ("ctrl-alt-del", fixed("0")),
        ("dmesg_restrict", fixed("1")),
        ("domainname", uts(|uts| &uts.domainname)),
        ("hostname", uts(|uts| &uts.hostname)),
        ("io_uring_disabled", fixed("2")),
        (
            "keys",
            Node::dir([("maxkeys", fixed("200")), ("maxbytes", fixed("20000"))]),
        ),
        ("kptr_restrict", fixed("1")),
        ("modules_disabled", fixed("1")),
        ("msgmax", number("kernel.msgmax", "8192", 0, MAX_INT)),
        ("msgmnb", number("kernel.msgmnb", "16384", 0, MAX_INT)),
        ("msgmni", number("kernel.msgmni", "32000", 0, MAX_INT)),
        ("ngroups_max", fixed("65536")),
        ("nmi_watchdog", fixed("0")),
        ("osrelease", fixed(RELEASE)),
        ("ostype", fixed(SYSTEM)),
        ("overflowgid", fixed("65534")),
        ("overflowuid", fixed("65534")),
        ("panic", fixed("0")),
        ("panic_on_oops", fixed("0")),
        ("perf_event_paranoid", fixed("4")),
        ("pid_max", fixed(crate::task::PID_MAX.to_string())),
        ("printk", fixed("4\t4\t1\t7")),
        ("random", random()),
        ("randomize_va_space", fixed("2")),
        ("sched_autogroup_enabled", fixed("0")),
        ("sched_child_runs_first", fixed("0")),
        ("sched_rr_timeslice_ms", fixed("100")),
        ("sched_rt_period_us", fixed("1000000")),
        ("sched_rt_runtime_us", fixed("950000")),
        (
            "seccomp",
            Node::dir([
                (
                    "actions_avail",
                    fixed("kill_process kill_thread trap errno user_notif trace log allow"),
                ),
                (
                    "actions_logged",
                    fixed("kill_process kill_thread trap errno user_notif trace log"),
                ),
            ]),
        ),
        (
            "sem",
            value(
                "kernel.sem",
                "32000\t1024000000\t500\t32000",
                Shape::Integers(4, 0, MAX_INT),
            ),
        ),
        ("sem_next_id", fixed("-1")),
        ("shm_next_id", fixed("-1")),
        (
            "shm_rmid_forced",
            number("kernel.shm_rmid_forced", "0", 0, 1),
        ),
        (
            "shmall",
            number("kernel.shmall", "18446744073692774399", 0, i64::MAX),
        ),
        (
            "shmmax",
            number("kernel.shmmax", "18446744073692774399", 0, i64::MAX),
        ),
        ("shmmni", number("kernel.shmmni", "4096", 0, 32768)),
        ("sysrq", fixed("0")),
        ("tainted", fixed("0")),
        ("threads-max", fixed("126000")),
        ("version", fixed(VERSION)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_random_and_of_version_four() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }
}
