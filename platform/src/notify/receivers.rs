//! The threads that listeners are served by: each listener has one, and a thread whose listener has ended waits for the next.
//!
//! Every exec makes a listener, and a thread costs some twenty host calls from birth to death. A few are kept.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Errno;
use parking_lot::{Condvar, Mutex};

use super::core::Core;
use super::listener::Listener;

/// Threads that wait at most.
const SPARE: usize = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Receivers {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Listeners that a waiting thread will take: never more than threads wait.
    listeners: VecDeque<Arc<Listener>>,
    waiting: usize,
    stopped: bool,
}

impl Receivers {
    /// Has `listener` served until its last process has gone.
    pub(super) fn serve(
        self: &Arc<Self>,
        core: &Arc<Core>,
        listener: Arc<Listener>,
    ) -> Result<(), Errno> {
        {
            let mut queue = self.queue.lock();
            if queue.waiting > queue.listeners.len() {
                queue.listeners.push_back(listener);
                self.arrived.notify_one();
                return Ok(());
            }
        }
        let (receivers, core) = (Arc::clone(self), Arc::clone(core));
        std::thread::Builder::new()
            .name("receiver".into())
            .spawn(move || {
                let mut next = Some(listener);
                while let Some(listener) = next {
                    listener.serve(&core);
                    drop(listener);
                    next = receivers.next();
                }
            })
            .map(drop)
            .map_err(Errno::from)
    }

    /// Ends the threads that wait.
    pub(super) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.arrived.notify_all();
    }

    fn next(&self) -> Option<Arc<Listener>> {
        let mut queue = self.queue.lock();
        if queue.waiting >= SPARE {
            return None;
        }
        queue.waiting += 1;
        while queue.listeners.is_empty() && !queue.stopped {
            self.arrived.wait(&mut queue);
        }
        queue.waiting -= 1;
        queue.listeners.pop_front()
    }
}
