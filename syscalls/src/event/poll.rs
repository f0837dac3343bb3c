//! `poll(2)`, `ppoll(2)` (`fs/select.c`).

use std::pin::Pin;
use std::sync::Arc;

use abi::time::Timespec;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, Restart, Result, SysError, SysResult};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;
use sentry::vfs::{Fd, File};
use sentry::wait::{Events, WaitQueue};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Timeout, read_mask, with_signal_mask};

/// POLLNVAL: the descriptor is not open.
const NVAL: u16 = 0x20;

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PollFd {
    pub(crate) fd: i32,
    pub(crate) events: u16,
    pub(crate) revents: u16,
}

/// What to wait for on one open file.
pub(super) struct Watched {
    pub(super) file: Arc<File>,
    /// What counts, ERR and HUP included.
    pub(super) wanted: Events,
}

/// Waits until `look` finds something among `watched`: what it gives, 0 at the end of the time; a signal gives [`Restart::Sys`].
pub(super) async fn wait_for(
    cx: &CurrentTask,
    watched: &[Watched],
    timeout: Timeout,
    mut look: impl FnMut() -> usize + Send,
) -> SysResult<usize> {
    let found = look();
    if found > 0 {
        return Ok(found);
    }
    if timeout == Timeout::Now && !cx.has_work() {
        return Ok(0);
    }
    let queues: Vec<(WaitQueue, Events)> = watched
        .iter()
        .filter_map(|w| Some((w.file.wait_queue(Some(cx))?, w.wanted)))
        .collect();
    let queues: Vec<(&WaitQueue, Events)> = queues.iter().map(|(q, e)| (q, *e)).collect();
    let result = cx
        .block_until(&queues, timeout.deadline(), || match look() {
            0 => Err(Errno::EAGAIN.into()),
            found => Ok(found),
        })
        .await;
    match result {
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(0),
        other => other,
    }
}

fn read_fds(cx: &CurrentTask, fds: UserOut<PollFd>, count: u32) -> Result<Vec<PollFd>> {
    if u64::from(count) > cx.group.limit(Resource::Nofile) {
        return Err(Errno::EINVAL);
    }
    cx.memory()
        .get_array(UserIn::new(fds.addr()), count as usize)
}

async fn do_poll(
    cx: &CurrentTask,
    fds: UserOut<PollFd>,
    count: u32,
    timeout: Timeout,
) -> SysResult<usize> {
    let mut polled = read_fds(cx, fds, count)?;
    let mut watched = Vec::with_capacity(polled.len());
    let mut places = Vec::with_capacity(polled.len());
    let mut invalid = 0;
    for (place, entry) in polled.iter_mut().enumerate() {
        entry.revents = 0;
        if entry.fd < 0 {
            continue;
        }
        match cx.file(Fd(entry.fd)) {
            Ok(file) => {
                let wanted = Events::from_bits_truncate(u32::from(entry.events));
                watched.push(Watched {
                    file,
                    wanted: wanted | Events::ALWAYS,
                });
                places.push(place);
            }
            Err(_) => {
                entry.revents = NVAL;
                invalid += 1;
            }
        }
    }
    let result = wait_for(cx, &watched, timeout, || {
        let mut found = invalid;
        for (watched, place) in watched.iter().zip(&places) {
            let ready = watched.file.readiness(Some(cx)) & watched.wanted;
            polled[*place].revents = ready.bits() as u16;
            found += usize::from(!ready.is_empty());
        }
        found
    })
    .await;
    let bytes = polled.as_slice().as_bytes();
    cx.memory().write(fds.addr(), bytes)?;
    result
}

/// A poll, and the rest of one that a signal without a handler interrupted: until the same moment.
fn poll_until(
    cx: &CurrentTask,
    fds: UserOut<PollFd>,
    count: u32,
    timeout: Timeout,
) -> Pin<Box<dyn Future<Output = SysResult<i64>> + Send + '_>> {
    Box::pin(async move {
        match do_poll(cx, fds, count, timeout).await {
            Err(SysError::Restart(_)) => {
                Err(cx.restart_with(move |cx| poll_until(cx, fds, count, timeout)))
            }
            other => other.map(|n| n as i64),
        }
    })
}

/// `poll(2)`.
pub async fn poll(
    cx: &CurrentTask,
    fds: UserOut<PollFd>,
    nfds: u32,
    timeout: i32,
) -> SysResult<i64> {
    poll_until(cx, fds, nfds, Timeout::from_ms(timeout)).await
}

/// Stores the time that is left, as ppoll and select do. A call that would be restarted with the new time gives EINTR if that cannot be stored.
pub(super) fn finish<T>(
    cx: &CurrentTask,
    result: SysResult<T>,
    store: impl FnOnce(&CurrentTask) -> Result<()>,
) -> SysResult<T> {
    let stored = store(cx);
    match result {
        Err(SysError::Restart(_)) if stored.is_err() => Err(Errno::EINTR.into()),
        Err(SysError::Restart(_)) => Err(SysError::Restart(Restart::NoHand)),
        other => other,
    }
}

/// Stores what is left of `timeout` as a timespec unless there is no pointer.
pub(super) fn store_timespec(
    cx: &CurrentTask,
    at: UserOut<Timespec>,
    timeout: Timeout,
) -> Result<()> {
    match timeout.remaining_ns() {
        Some(left) => cx.memory().put_opt(at, &Timespec::from_ns(left)),
        None => Ok(()),
    }
}

/// `ppoll(2)`.
pub async fn ppoll(
    cx: &CurrentTask,
    fds: UserOut<PollFd>,
    nfds: u32,
    limit: UserOut<Timespec>,
    mask: UserIn<u64>,
    mask_size: usize,
) -> SysResult<usize> {
    let given = cx.memory().get_opt(UserIn::new(limit.addr()))?;
    let timeout = Timeout::from_timespec(given)?;
    let mask = read_mask(cx, mask, mask_size)?;
    with_signal_mask(cx, mask, async {
        let result = do_poll(cx, fds, nfds, timeout).await;
        finish(cx, result, |cx| store_timespec(cx, limit, timeout))
    })
    .await
}
