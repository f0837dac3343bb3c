//! What a guest's host process used in all, as the host says when it is reaped: some time after the guest's end, and the sentry does not wait for it
//! unless somebody asks.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::api::Usage;

/// See the module. Shared by the platform, which tells, and whoever waits for it.
#[derive(Default)]
pub struct Remains(Mutex<State>);

#[derive(Default)]
struct State {
    told: Option<Usage>,
    waiting: Vec<Waker>,
}

impl Remains {
    /// Of a process that has ended already, or never was.
    #[must_use]
    pub fn of(usage: Usage) -> Arc<Self> {
        let remains = Self::default();
        remains.tell(usage);
        Arc::new(remains)
    }

    /// The process has been reaped.
    pub fn tell(&self, usage: Usage) {
        let waiting = {
            let mut state = self.0.lock();
            state.told = Some(usage);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// What it used, if it has been reaped.
    #[must_use]
    pub fn get(&self) -> Option<Usage> {
        self.0.lock().told
    }

    /// What it used, once it has been reaped.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Usage> {
        let mut state = self.0.lock();
        match state.told {
            Some(usage) => Poll::Ready(usage),
            None => {
                if !state
                    .waiting
                    .iter()
                    .any(|waker| waker.will_wake(cx.waker()))
                {
                    state.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }
}
