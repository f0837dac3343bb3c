//! The gofer process: started by the command, jailed and served by the `gofer` crate. This file is the seam between the two.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use gofer::jail::{self, HostSockets, JailTree, MountAccess, Submounts};
use gofer::server::{IdMap, IdRange, ServerConfig, TreeConfig};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use super::death;
use super::process::{self, Helper, ProcessId};
use super::seal;
use super::userns::Mappings;
use crate::boot::panics;
use crate::cli::HostAccess;
use crate::host;
use crate::spec::mounts::TreeSource;

/// How long a gofer that has closed its report may take to be dead.
const DEATH: Duration = Duration::from_secs(5);
/// Request channels of a container: how many requests its gofer works on at a time.
const CHANNELS: usize = 4;
/// inotify watches per gofer: far below the default limit of a user (8,192 and more).
const MAX_WATCHES: usize = 4096;
/// Namespaces of a gofer.
const NAMESPACES: i32 = nix::libc::CLONE_NEWNS
    | nix::libc::CLONE_NEWPID
    | nix::libc::CLONE_NEWIPC
    | nix::libc::CLONE_NEWUTS
    | nix::libc::CLONE_NEWNET
    | nix::libc::CLONE_NEWCGROUP;

/// What the gofer process is told.
#[derive(Debug, Serialize, Deserialize)]
struct Boot {
    trees: Vec<BootTree>,
    channels: Vec<RawFd>,
    events: RawFd,
    ready: RawFd,
    host_uds: HostAccess,
    host_fifo: HostAccess,
    ids: Option<Mappings>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BootTree {
    path: PathBuf,
    recursive: bool,
    read_only: bool,
    scratch: bool,
    ids: Option<Mappings>,
}

/// A gofer that serves.
#[derive(Debug)]
pub struct Gofer {
    /// The process.
    pub id: ProcessId,
    /// The sentry's ends.
    pub channels: Vec<OwnedFd>,
    /// The sentry's end of a socket whose end tells that the gofer is gone.
    pub events: OwnedFd,
}

/// What may be reached beyond plain files.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `--host-uds`.
    pub host_uds: HostAccess,
    /// `--host-fifo`.
    pub host_fifo: HostAccess,
}

/// Starts a gofer for `trees` and waits until it is locked down. `started` is called as soon as the process exists, before it touches anything.
pub fn start(
    program: BorrowedFd<'_>,
    trees: &[TreeSource],
    policy: Policy,
    ids: Option<Mappings>,
    stderr: Option<BorrowedFd<'_>>,
    started: &mut dyn FnMut(ProcessId) -> Result<()>,
) -> Result<Gofer> {
    let pair = || {
        socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context("cannot make a socket pair for the gofer")
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..CHANNELS {
        let (a, b) = pair()?;
        ours.push(a);
        theirs.push(b);
    }
    let (events, their_events) = pair()?;
    // The sentry's reactor reads until nothing is left: it must not block there.
    fcntl(&events, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .context("cannot make the gofer's event socket non-blocking")?;
    let (mut ready, their_ready) = UnixStream::pair()?;
    let boot = Boot {
        trees: trees
            .iter()
            .map(|tree| BootTree {
                path: tree.path.clone(),
                recursive: tree.recursive,
                read_only: tree.read_only,
                scratch: tree.scratch,
                ids: tree.ids.clone(),
            })
            .collect(),
        channels: theirs.iter().map(AsRawFd::as_raw_fd).collect(),
        events: their_events.as_raw_fd(),
        ready: their_ready.as_raw_fd(),
        host_uds: policy.host_uds,
        host_fifo: policy.host_fifo,
        ids,
    };
    let config = seal::config(&boot)?;
    let mut inherit = boot.channels.clone();
    inherit.extend([boot.events, boot.ready, config.as_raw_fd()]);
    // Without privilege, mounts can only be copied in a user namespace of one's own.
    let own = (!super::userns::is_root()).then(Mappings::own_ids);
    let user = if own.is_some() {
        nix::libc::CLONE_NEWUSER
    } else {
        0
    };
    let helper = Helper {
        program,
        args: vec![
            "gofer-serve".into(),
            "--config-fd".into(),
            config.as_raw_fd().to_string(),
        ],
        namespaces: u64::try_from(NAMESPACES | user)?,
        inherit,
        stderr,
        mappings: own.as_ref(),
    };
    let id = process::start(&helper, started)?;
    drop((theirs, their_events, their_ready));
    let mut report = String::new();
    ready
        .read_to_string(&mut report)
        .context("the gofer died while starting")?;
    match report.as_str() {
        "ok" => Ok(Gofer {
            id,
            channels: ours,
            events,
        }),
        "" => {
            let died = death::of_child(death::GOFER, id, DEATH, " while starting");
            bail!(died.unwrap_or_else(|| "the gofer hung while starting".to_owned()))
        }
        error => Err(anyhow!("{error}")),
    }
}

/// The gofer process itself.
pub fn main(config_fd: RawFd) -> Result<()> {
    panics::end_process_on_panic("file server (gofer)");
    let boot: Boot = seal::read_config(host::inherited(config_fd)?)?;
    let channels = boot
        .channels
        .iter()
        .map(|fd| host::inherited(*fd))
        .collect::<Result<Vec<_>, _>>()?;
    let events = host::inherited(boot.events)?;
    let mut ready = UnixStream::from(host::inherited(boot.ready)?);
    match prepare(&boot, channels, events) {
        Ok(config) => {
            ready.write_all(b"ok")?;
            drop(ready);
            gofer::server::serve(config).map_err(|errno| anyhow!("gofer: {errno}"))
        }
        Err(error) => {
            let _ = ready.write_all(crate::launch::sentence(&error).as_bytes());
            Err(error)
        }
    }
}

fn prepare(boot: &Boot, channels: Vec<OwnedFd>, events: OwnedFd) -> Result<ServerConfig> {
    let foreign_mounts = !host_owns_mounts();
    let trees: Vec<JailTree> = boot
        .trees
        .iter()
        .map(|tree| JailTree {
            source: tree.path.clone(),
            submounts: if tree.recursive || foreign_mounts {
                Submounts::Included
            } else {
                Submounts::LeftOut
            },
            access: if tree.read_only {
                MountAccess::ReadOnly
            } else {
                MountAccess::AsSource
            },
        })
        .collect();
    let confined = jail::confine(&trees)?;
    let uds = boot.host_uds.opens();
    jail::lock_down(if uds {
        HostSockets::Allowed
    } else {
        HostSockets::Refused
    })?;
    let trees = confined
        .trees
        .into_iter()
        .zip(&boot.trees)
        .map(|(root, tree)| TreeConfig {
            root,
            read_only: tree.read_only,
            host_uds: uds,
            host_fifo: boot.host_fifo.opens(),
            scratch: tree.scratch,
            ids: id_map(tree.ids.as_ref(), boot.ids.as_ref()),
        })
        .collect();
    Ok(ServerConfig {
        trees,
        channels,
        lifeline: events,
        proc_self_fd: confined.proc_self_fd,
        max_watches: MAX_WATCHES,
    })
}

/// Mounts that came from another user namespace are locked together and can only be copied with all that is below.
fn host_owns_mounts() -> bool {
    !super::userns::in_user_namespace()
}

/// Ids in the container and on the host for a tree: what an id-mapped mount makes of the host's, seen from the container's user namespace.
fn id_map(mount: Option<&Mappings>, container: Option<&Mappings>) -> IdMap {
    let ranges = |of: fn(&Mappings) -> &Vec<Range>| match (mount.map(of), container.map(of)) {
        (None, None) => Vec::new(),
        (None, Some(container)) => container.iter().map(range).collect(),
        (Some(mount), None) => mount
            .iter()
            .map(|(host, mapped, count)| range(&(*mapped, *host, *count)))
            .collect(),
        (Some(mount), Some(container)) => composed(mount, container),
    };
    IdMap {
        users: ranges(|mappings| &mappings.uids),
        groups: ranges(|mappings| &mappings.gids),
    }
}

/// Inside, outside, count.
type Range = (u32, u32, u32);

const fn range(&(inside, outside, count): &Range) -> IdRange {
    IdRange {
        inside,
        outside,
        count,
    }
}

/// Where the mount's results meet what the container has. Never empty, which would stand for "as on the host".
fn composed(mount: &[Range], container: &[Range]) -> Vec<IdRange> {
    let mut list = vec![range(&(0, 0, 0))];
    for (host, mapped, size) in mount {
        for (inside, outside, count) in container {
            let begin = (*mapped).max(*outside);
            let end = mapped
                .saturating_add(*size)
                .min(outside.saturating_add(*count));
            if begin < end {
                list.push(IdRange {
                    inside: inside.saturating_add(begin - outside),
                    outside: host.saturating_add(begin - mapped),
                    count: end - begin,
                });
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mappings(ranges: &[Range]) -> Mappings {
        Mappings {
            uids: ranges.to_vec(),
            gids: ranges.to_vec(),
            may_set_groups: true,
        }
    }

    fn users(mount: Option<&[Range]>, container: Option<&[Range]>) -> Vec<Range> {
        let (mount, container) = (mount.map(mappings), container.map(mappings));
        id_map(mount.as_ref(), container.as_ref())
            .users
            .iter()
            .map(|range| (range.inside, range.outside, range.count))
            .collect()
    }

    #[test]
    fn an_id_mapped_mount_is_seen_through_the_containers_user_namespace() {
        assert_eq!(users(None, None), []);
        assert_eq!(users(None, Some(&[(0, 100, 10)])), [(0, 100, 10)]);
        // Files of 0 on the host are 5's.
        assert_eq!(users(Some(&[(0, 5, 1)]), None), [(5, 0, 1)]);
        // The usual case: the mount undoes the user namespace.
        let same = [(0, 1000, 10)];
        assert_eq!(users(Some(&same), Some(&same)), [(0, 0, 0), (0, 0, 10)]);
        let partly = users(Some(&[(0, 1005, 10)]), Some(&same));
        assert_eq!(partly, [(0, 0, 0), (5, 0, 5)]);
        assert_eq!(users(Some(&[(0, 7, 1)]), Some(&same)), [(0, 0, 0)]);
    }
}
