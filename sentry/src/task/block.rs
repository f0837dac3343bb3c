//! The one way to block.
//!
//! Every handler that waits does so through [`CurrentTask::block_until`] or a wrapper of it: register, then try; on `EAGAIN` look for signals and
//! the deadline; sleep; try again. No handler has a wait loop of its own.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use super::{CurrentTask, RunState};
use crate::error::{Errno, Restart, SysError, SysResult};
use crate::wait::{Events, Registration, WaitQueue};

impl CurrentTask {
    /// Tries `attempt` until it gives anything but `EAGAIN`. Between attempts the task sleeps on `queues` for `events`.
    ///
    /// A pending signal gives [`Restart::Sys`], the deadline `ETIMEDOUT`: callers map both to what their call does.
    pub async fn block_until<T: Send>(
        &self,
        queues: &[(&WaitQueue, Events)],
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> SysResult<T> + Send,
    ) -> SysResult<T> {
        const AGAIN: SysError = SysError::Errno(Errno::EAGAIN);
        match attempt() {
            Err(AGAIN) => {}
            done => return done,
        }
        let mut registrations: Option<Vec<Registration>> = None;
        let mut timer = None;
        let result = poll_fn(|cx| {
            if registrations.is_none() {
                registrations = Some(
                    queues
                        .iter()
                        .map(|(q, e)| q.register_waker(*e, cx.waker().clone()))
                        .collect(),
                );
            }
            match attempt() {
                Err(AGAIN) => {}
                done => return Poll::Ready(done),
            }
            if self.must_return() || self.thread().watch_gone(cx.waker()) {
                return Poll::Ready(Err(SysError::Restart(Restart::Sys)));
            }
            if let Some(at) = deadline {
                if Instant::now() >= at {
                    return Poll::Ready(Err(Errno::ETIMEDOUT.into()));
                }
                if timer.is_none() {
                    timer = Some(self.kernel.reactor.wake_at(at, cx.waker().clone()));
                }
            }
            if self.state() != RunState::Sleeping {
                self.set_state(RunState::Sleeping);
                self.thread().set_blocked(true);
            }
            Poll::Pending
        })
        .await;
        if self.state() == RunState::Sleeping {
            self.set_state(RunState::Running);
            self.thread().set_blocked(false);
        }
        result
    }

    /// Sleeps until the deadline; a signal gives [`Restart::Sys`].
    pub async fn sleep_until(&self, deadline: Option<Instant>) -> SysResult<()> {
        match self
            .block_until(&[], deadline, || Err::<(), _>(Errno::EAGAIN.into()))
            .await
        {
            Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(()),
            other => other,
        }
    }

    /// Blocks on `file` for `events` while `attempt` gives `EAGAIN`, unless the file is non-blocking (or `nonblocking` says so).
    pub async fn block_on_file<T: Send>(
        &self,
        file: &crate::vfs::File,
        events: Events,
        nonblocking: bool,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> SysResult<T> + Send,
    ) -> SysResult<T> {
        if nonblocking || file.nonblocking() {
            return attempt();
        }
        match file.wait_queue(Some(self)) {
            Some(queue) => {
                self.block_until(&[(&queue, events)], deadline, attempt)
                    .await
            }
            None => attempt(),
        }
    }
}
