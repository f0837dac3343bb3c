//! Waiting for futexes.

use std::time::Instant;

use abi::UserIn;
use platform::futures_shape::BoxFuture;

use super::FutexKey;
use super::key::key_of;
use super::table::{Queued, enqueue};
use crate::error::{Errno, Restart, Result, SysError, SysResult};
use crate::mm::UserMemory;
use crate::task::CurrentTask;
use crate::wait::{Events, WaitQueue};

/// A word that is to be waited for while it has a value.
#[derive(Clone, Copy, Debug)]
pub struct WaitRequest {
    /// Address of the word.
    pub addr: u64,
    /// Expected value.
    pub value: u32,
    /// Without FUTEX_PRIVATE_FLAG.
    pub shared: bool,
    /// Only wakes that meet it count; never 0.
    pub bitset: u32,
}

fn queue_one(
    cx: &CurrentTask,
    memory: &UserMemory,
    request: &WaitRequest,
    queue: &WaitQueue,
) -> Result<(FutexKey, Queued)> {
    let key = key_of(&cx.memory_map(), request.addr, request.shared)?;
    let word = UserIn::<u32>::new(abi::UserAddr(request.addr));
    let queued = enqueue(key, request.bitset, queue, || {
        Ok(memory.get(word)? == request.value)
    })?;
    Ok((key, queued))
}

/// Waits until woken: `EAGAIN` if the word has another value, `ETIMEDOUT` after the deadline, [`Restart::Sys`] for a signal.
pub async fn wait(
    cx: &CurrentTask,
    request: WaitRequest,
    deadline: Option<Instant>,
) -> SysResult<()> {
    wait_vector(cx, &[request], deadline).await.map(drop)
}

/// As [`wait`], but with a deadline a signal gives [`Restart::Block`]: the restarted wait ends when the first would have.
pub async fn wait_restartable(
    cx: &CurrentTask,
    request: WaitRequest,
    deadline: Option<Instant>,
) -> SysResult<()> {
    match wait(cx, request, deadline).await {
        Err(SysError::Restart(Restart::Sys)) if deadline.is_some() => {
            Err(cx.restart_with(move |cx| resume(cx, request, deadline)))
        }
        other => other,
    }
}

fn resume(
    cx: &CurrentTask,
    request: WaitRequest,
    deadline: Option<Instant>,
) -> BoxFuture<'_, SysResult> {
    Box::pin(async move {
        wait_restartable(cx, request, deadline)
            .await
            .map(|()| 0_i64)
    })
}

/// Waits for any of several futexes (`futex_waitv(2)`); returns the index of one that was woken.
pub async fn wait_vector(
    cx: &CurrentTask,
    requests: &[WaitRequest],
    deadline: Option<Instant>,
) -> SysResult<usize> {
    let queue = WaitQueue::new();
    let memory = cx.memory();
    let mut waiters: Vec<Queued> = Vec::with_capacity(requests.len());
    for request in requests {
        match queue_one(cx, &memory, request, &queue) {
            Ok((_, queued)) => waiters.push(queued),
            // A wake that came in the meantime must not be lost.
            Err(errno) => return cancel_all(&waiters).ok_or(errno.into()),
        }
    }
    let result = cx
        .block_until(&[(&queue, Events::IN)], deadline, || {
            waiters
                .iter()
                .position(Queued::is_woken)
                .ok_or(Errno::EAGAIN.into())
        })
        .await;
    // The wake may have come together with a signal or the deadline: then it counts.
    cancel_all(&waiters).map_or(result, Ok)
}

/// Takes all waiters out of the table; returns the first that had been woken.
fn cancel_all(waiters: &[Queued]) -> Option<usize> {
    let mut first = None;
    for (index, waiter) in waiters.iter().enumerate() {
        if waiter.cancel() && first.is_none() {
            first = Some(index);
        }
    }
    first
}
