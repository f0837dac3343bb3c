//! The spec's `process` as the kernel wants it.

use anyhow::{Result, bail};
use oci_spec::runtime::Process;

use super::{capabilities, scheduling};
use crate::boot::config::{ProcessConfig, RlimitConfig, UserConfig};
use crate::report;

/// Resource names in the order of their numbers on x86-64.
const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU",
    "RLIMIT_FSIZE",
    "RLIMIT_DATA",
    "RLIMIT_STACK",
    "RLIMIT_CORE",
    "RLIMIT_RSS",
    "RLIMIT_NPROC",
    "RLIMIT_NOFILE",
    "RLIMIT_MEMLOCK",
    "RLIMIT_AS",
    "RLIMIT_LOCKS",
    "RLIMIT_SIGPENDING",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
];

/// The number of a resource limit.
#[must_use]
pub fn rlimit_number(name: &str) -> Option<u32> {
    RLIMITS
        .iter()
        .position(|known| *known == name)
        .and_then(|index| u32::try_from(index).ok())
}

/// The limits of this command, which a container's processes start from as any child of it would.
fn own_limits() -> Vec<RlimitConfig> {
    use nix::sys::resource::{Resource, getrlimit};
    let resources = [
        Resource::RLIMIT_CPU,
        Resource::RLIMIT_FSIZE,
        Resource::RLIMIT_DATA,
        Resource::RLIMIT_STACK,
        Resource::RLIMIT_CORE,
        Resource::RLIMIT_RSS,
        Resource::RLIMIT_NPROC,
        Resource::RLIMIT_NOFILE,
        Resource::RLIMIT_MEMLOCK,
        Resource::RLIMIT_AS,
        Resource::RLIMIT_LOCKS,
        Resource::RLIMIT_SIGPENDING,
        Resource::RLIMIT_MSGQUEUE,
        Resource::RLIMIT_NICE,
        Resource::RLIMIT_RTPRIO,
        Resource::RLIMIT_RTTIME,
    ];
    resources
        .into_iter()
        .filter_map(|resource| {
            let (soft, hard) = getrlimit(resource).ok()?;
            Some(RlimitConfig {
                resource: resource as u32,
                soft,
                hard,
            })
        })
        .collect()
}

/// Checks what runc checks of a process, in its words.
pub fn validate(process: &Process) -> Result<()> {
    let cwd = process.cwd();
    if cwd.as_os_str().is_empty() {
        bail!("Cwd property must not be empty");
    }
    if !cwd.is_absolute() {
        bail!("Cwd must be an absolute path");
    }
    if process.args().as_ref().is_none_or(Vec::is_empty) {
        bail!("args must not be empty");
    }
    if process
        .selinux_label()
        .as_ref()
        .is_some_and(|label| !label.is_empty())
    {
        bail!("selinux label is specified in config, but selinux is disabled or not supported");
    }
    let nul = |text: &String| text.contains('\0');
    if process.args().iter().flatten().any(nul) || process.env().iter().flatten().any(nul) {
        bail!("process args and env must not contain NUL bytes");
    }
    if let Some(adjustment) = process.oom_score_adj()
        && !(-1000..=1000).contains(&adjustment)
    {
        bail!("oomScoreAdj {adjustment} is not between -1000 and 1000");
    }
    Ok(())
}

/// This command's nice value, which its container's processes inherit; 0 where it cannot be known.
fn own_nice() -> i32 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Field 19; the second, a name in parentheses, may hold anything.
    stat.rsplit(')')
        .next()
        .and_then(|rest| rest.split_ascii_whitespace().nth(16)?.parse().ok())
        .unwrap_or(0)
}

/// Translates a validated process. What the sandbox cannot honour is warned of, once, by name.
pub fn translate(process: &Process, preserved_fds: u32) -> Result<ProcessConfig> {
    validate(process)?;
    if process
        .apparmor_profile()
        .as_ref()
        .is_some_and(|profile| !profile.is_empty() && profile != "unconfined")
    {
        report::warning(
            "process.apparmorProfile is not applied: guest processes make no host calls that it could confine",
        );
    }
    let (policy, nice) = scheduling::policy(process)?;
    if process.exec_cpu_affinity().is_some() {
        report::warning("process.execCPUAffinity is not supported and was ignored");
    }
    let user = process.user();
    let mut rlimits = own_limits();
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        let Some(resource) = rlimit_number(&name) else {
            bail!("wrong rlimit value: {name}")
        };
        if rlimits.iter().any(|known| known.resource == resource) {
            // runc applies them in order: the last one wins.
            rlimits.retain(|known| known.resource != resource);
        }
        if limit.soft() > limit.hard() {
            bail!(
                "unable to start container process: error during container init: error setting rlimits for ready process: error setting rlimit type {resource}: invalid argument"
            );
        }
        rlimits.push(RlimitConfig {
            resource,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    Ok(ProcessConfig {
        args: process.args().clone().unwrap_or_default(),
        program: None,
        env: process.env().clone().unwrap_or_default(),
        cwd: process.cwd().to_string_lossy().into_owned(),
        user: UserConfig {
            uid: user.uid(),
            gid: user.gid(),
            additional_gids: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask(),
            name: None,
        },
        rlimits,
        capabilities: capabilities::sets(process.capabilities().as_ref()),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        terminal: process.terminal().unwrap_or(false),
        console_size: process.console_size().as_ref().and_then(|size| {
            Some((
                u16::try_from(size.width()).ok()?,
                u16::try_from(size.height()).ok()?,
            ))
        }),
        oom_score_adj: process.oom_score_adj(),
        nice: nice.unwrap_or_else(own_nice),
        policy,
        io_priority: scheduling::io_priority(process)?,
        mortal_init: false,
        preserved_fds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Process {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn runcs_words_for_bad_processes() {
        let error = |json: &str| validate(&parse(json)).unwrap_err().to_string();
        assert_eq!(
            error(r#"{"user":{},"cwd":"","args":["a"]}"#),
            "Cwd property must not be empty"
        );
        assert_eq!(
            error(r#"{"user":{},"cwd":"a","args":["a"]}"#),
            "Cwd must be an absolute path"
        );
        assert_eq!(
            error(r#"{"user":{},"cwd":"/","args":[]}"#),
            "args must not be empty"
        );
        assert_eq!(error(r#"{"user":{},"cwd":"/"}"#), "args must not be empty");
    }

    #[test]
    fn the_last_of_equal_rlimits_wins() {
        let process = parse(
            r#"{"user":{"uid":5},"cwd":"/","args":["a"],"rlimits":[{"type":"RLIMIT_NOFILE","hard":9,"soft":1},{"type":"RLIMIT_NOFILE","hard":9,"soft":2}]}"#,
        );
        let config = translate(&process, 0).unwrap();
        let files: Vec<_> = config
            .rlimits
            .iter()
            .filter(|limit| limit.resource == 7)
            .collect();
        assert_eq!(
            files,
            [&RlimitConfig {
                resource: 7,
                soft: 2,
                hard: 9
            }]
        );
        assert_eq!(config.rlimits.len(), RLIMITS.len(), "the rest is inherited");
        assert_eq!(config.user.uid, 5);
    }
}
