//! Fresh processes: made ahead of need by a thread of their own.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use abi::Errno;
use parking_lot::{Condvar, Mutex};

use super::arena::Arena;
use super::cloning::Made;
use super::core::Core;
use super::frame;
use super::listener::Listener;
use super::process::Process;
use super::receivers::Receivers;
use super::space::Space;
use super::template::STEP_TIMEOUT_MS;
use super::thread::{Beginning, Phase, RawCall, Thread};
use crate::api::Stop;
use crate::host::{process, seccomp};
use crate::stub;

/// Processes kept ready.
const READY: usize = 2;

/// The pool and those who wait for it.
pub(super) struct Spawner {
    receivers: Arc<Receivers>,
    pool: Mutex<Pool>,
    wanted: Condvar,
}

#[derive(Default)]
struct Pool {
    ready: VecDeque<Result<Made, Errno>>,
    waiting: VecDeque<Waker>,
    stopped: bool,
}

impl Spawner {
    /// An empty pool.
    pub(super) fn new(receivers: Arc<Receivers>) -> Self {
        Self {
            receivers,
            pool: Mutex::default(),
            wanted: Condvar::new(),
        }
    }

    /// Takes a ready process, or waits for the next.
    pub(super) async fn take(&self) -> Result<Made, Errno> {
        poll_fn(|cx| {
            let mut pool = self.pool.lock();
            if pool.stopped {
                return Poll::Ready(Err(Errno::ESRCH));
            }
            let taken = pool.ready.pop_front();
            if taken.is_none() {
                pool.waiting.push_back(cx.waker().clone());
            }
            self.wanted.notify_one();
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Ends the thread and drops what is ready.
    pub(super) fn stop(&self) {
        let mut pool = self.pool.lock();
        pool.stopped = true;
        let ready = std::mem::take(&mut pool.ready);
        drop(pool);
        self.wanted.notify_all();
        drop_all(ready);
    }

    /// The body of the thread.
    pub(super) fn run(&self, core: &Arc<Core>) {
        core.worker.enter();
        loop {
            {
                let mut pool = self.pool.lock();
                while !pool.stopped && pool.waiting.is_empty() && pool.ready.len() >= READY {
                    self.wanted.wait(&mut pool);
                }
                if pool.stopped {
                    return;
                }
            }
            let made = make(core, &self.receivers);
            let failed = made.is_err();
            let (waiting, stopped) = {
                let mut pool = self.pool.lock();
                // A failure is an answer for somebody who waits, nothing to keep.
                if !failed || !pool.waiting.is_empty() {
                    pool.ready.push_back(made);
                }
                (pool.waiting.pop_front(), pool.stopped)
            };
            if stopped {
                let ready = std::mem::take(&mut self.pool.lock().ready);
                drop_all(ready);
                return;
            }
            let nobody_waited = waiting.is_none();
            if let Some(waker) = waiting {
                waker.wake();
                core.worker.run_ready();
            }
            if failed && nobody_waited {
                // The host has no room for a spare process now: look again when somebody asks, or later.
                let mut pool = self.pool.lock();
                if pool.waiting.is_empty() && !pool.stopped {
                    self.wanted.wait_for(&mut pool, Duration::from_secs(1));
                }
            }
        }
    }
}

fn drop_all(ready: VecDeque<Result<Made, Errno>>) {
    for (thread, handle) in ready.into_iter().flatten() {
        thread.exit();
        drop(handle);
    }
}

/// Makes one process, its listener and the listener's receiver.
fn make(core: &Arc<Core>, receivers: &Arc<Receivers>) -> Result<Made, Errno> {
    let arena = Arena::new()?;
    let (space, handle, slot) = Space::new(&arena, 0, core.template.vdso())?;
    let pid = core.template.clone_process(arena.memory().fd())?;
    // Nobody else reaps: until it is registered, `pid` is this process.
    let pidfd = match process::open_pidfd(pid) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            let _ = process::kill_pid(pid);
            return Err(error);
        }
    };
    let guard = KillOnDrop(Some(pidfd));
    let ready = arena
        .memory()
        .futex_wait(stub::SLOT_READY, 0, STEP_TIMEOUT_MS);
    let number = ready.cast_signed() - 1;
    if ready == 0 {
        return Err(Errno::ETIMEDOUT);
    }
    if number < 0 {
        return Err(Errno::from_raw(-number));
    }
    let pidfd = guard.0.as_ref().ok_or(Errno::EIO)?;
    let listener = Listener::new(process::take_descriptor(pidfd.as_fd(), number)?);
    let first = receive(&listener, pid)?;
    let placed = frame::place(0, core.template.xstate());
    if first.data.nr.cast_unsigned() != stub::DOORBELL || first.data.args[0] != stub::KIND_CHILD {
        return Err(Errno::EPROTO);
    }
    // Its own listener and the control pages go before guest code runs.
    let calls: [RawCall; 2] = [
        [libc::SYS_close as u64, number as u64, 0, 0, 0, 0, 0],
        [
            libc::SYS_munmap as u64,
            stub::CONTROL,
            stub::CONTROL_SIZE,
            0,
            0,
            0,
            0,
        ],
    ];
    slot.write_orders(&calls, false);
    listener.reply(first.id, stub::REPLY_ORDERS);
    for call in &calls {
        let notification = receive(&listener, pid)?;
        let data = &notification.data;
        if u64::from(data.nr.cast_unsigned()) != call[0] || data.args != call[1..] {
            return Err(Errno::EPROTO);
        }
        seccomp::let_through(listener.fd(), notification.id)?;
    }
    let last = receive(&listener, pid)?;
    if last.data.nr.cast_unsigned() != stub::DOORBELL
        || last.data.args[0] != stub::KIND_DONE
        || last.data.args[1] != 2
        || last.data.args[2] != 0
    {
        return Err(Errno::EPROTO);
    }
    let registers = frame::fresh();
    let frame = frame::build(0, &frame::encode(&registers, &frame::Trap::default()));
    let process = Process::new(
        pid,
        guard.disarm()?,
        Arc::clone(&listener),
        Arc::clone(&space),
    );
    let registered = (|| {
        let bytes: Vec<u8> = frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
        space.write_stub(placed.frame, &bytes)?;
        core.reaper.watch_process(&process)
    })();
    if let Err(error) = registered {
        process.kill();
        space.remove_process(&process);
        let _ = process::reap_blocking(process.pidfd());
        return Err(error);
    }
    let beginning = Beginning {
        phase: Phase::Full(last.id),
        stop: Some(Stop::Started),
        registers,
        fpstate: 0,
        dirty: false,
        fs_base: 0,
        gs_base: 0,
        set_up: None,
    };
    let thread = Thread::new(core, &process, pid, slot, beginning).ok_or(Errno::ESRCH)?;
    listener.insert(Arc::clone(&thread));
    if let Err(error) = receivers.serve(core, listener) {
        process.kill();
        return Err(error);
    }
    Ok((thread, handle))
}

/// The next notification, which must be process `pid`'s.
fn receive(listener: &Listener, pid: i32) -> Result<seccomp::Notification, Errno> {
    loop {
        let events = seccomp::poll_events(listener.fd(), STEP_TIMEOUT_MS as i32);
        match events {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(events) if events & libc::POLLIN == 0 => return Err(Errno::ESRCH),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error),
        }
        match seccomp::receive(listener.fd()) {
            Ok(notification) if notification.pid.cast_signed() == pid => return Ok(notification),
            Ok(_) => return Err(Errno::EPROTO),
            Err(Errno::ENOENT | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Kills and reaps a process that did not come to anything.
struct KillOnDrop(Option<std::os::fd::OwnedFd>);

impl KillOnDrop {
    fn disarm(mut self) -> Result<std::os::fd::OwnedFd, Errno> {
        self.0.take().ok_or(Errno::EIO)
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.0 {
            let _ = process::kill(pidfd.as_fd());
            let _ = process::reap_blocking(pidfd.as_fd());
        }
    }
}
