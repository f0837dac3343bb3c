//! Fresh processes: made ahead of need, each by the thread that will trace it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::task::{Poll, Waker};

use abi::Errno;
use parking_lot::Mutex;

use super::Core;
use super::cloning::Made;
use super::host::{self, Event};
use super::inject::{FRAMES, SCRATCH};
use super::registers::XSTATE_MAX;
use super::space::{Files, Process, Space};
use super::thread::{self, Thread};
use super::tracer::Tracer;
use crate::host::{process, socket};
use crate::notify::thread::RawCall;
use crate::stub;

/// Processes kept ready.
const READY: usize = 2;

/// The pool and those who wait for it.
#[derive(Default)]
pub(super) struct Spawner {
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    ready: VecDeque<Result<Made, Errno>>,
    waiting: VecDeque<Waker>,
    making: usize,
    stopped: bool,
}

impl Spawner {
    /// Takes a ready process, or waits for the next.
    pub(super) async fn take(self: &Arc<Self>, core: &Arc<Core>) -> Result<Made, Errno> {
        poll_fn(|cx| {
            let taken = {
                let mut pool = self.pool.lock();
                let taken = pool.ready.pop_front();
                if taken.is_none() {
                    pool.waiting.push_back(cx.waker().clone());
                }
                taken
            };
            self.top_up(core);
            taken.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Starts as many tracers as processes are wanted.
    pub(super) fn top_up(self: &Arc<Self>, core: &Arc<Core>) {
        loop {
            {
                let mut pool = self.pool.lock();
                if pool.stopped || pool.ready.len() + pool.making >= pool.waiting.len() + READY {
                    return;
                }
                pool.making += 1;
            }
            let (spawner, own_core) = (Arc::clone(self), Arc::clone(core));
            let started = std::thread::Builder::new()
                .name("tracer".into())
                .spawn(move || trace(&spawner, &own_core));
            if let Err(error) = started {
                self.offer(Err(Errno::from(error)));
                return;
            }
        }
    }

    fn offer(&self, made: Result<Made, Errno>) {
        let (waker, unwanted) = {
            let mut pool = self.pool.lock();
            pool.making -= 1;
            // A failure is an answer for somebody who waits, nothing to keep.
            let unwanted = if pool.stopped || made.is_err() && pool.waiting.is_empty() {
                Some(made)
            } else {
                pool.ready.push_back(made);
                None
            };
            (pool.waiting.pop_front(), unwanted)
        };
        drop_all(unwanted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Drops what is ready, now and later.
    pub(super) fn stop(&self) {
        let ready = {
            let mut pool = self.pool.lock();
            pool.stopped = true;
            std::mem::take(&mut pool.ready)
        };
        drop_all(ready);
    }
}

fn drop_all(made: impl IntoIterator<Item = Result<Made, Errno>>) {
    for (thread, handle) in made.into_iter().flatten() {
        thread.exit();
        drop(handle);
    }
}

/// The body of a tracer's thread.
fn trace(spawner: &Spawner, core: &Arc<Core>) {
    core.worker.enter();
    match make(core) {
        Ok(made) => {
            let tracer = Arc::clone(&made.0.tracer);
            spawner.offer(Ok(made));
            tracer.run();
        }
        Err(error) => {
            spawner.offer(Err(error));
            core.worker.run_ready();
        }
    }
}

/// Makes one process and attaches to it.
fn make(core: &Arc<Core>) -> Result<Made, Errno> {
    let (ours, theirs) = socket::pair()?;
    let pid = core.template.clone_process(theirs.as_fd())?;
    drop(theirs);
    // Nobody else reaps: until then `pid` is this process.
    let mut guard = KillOnDrop { pid, process: None };
    let pidfd = process::open_pidfd(pid)?;
    host::seize(pid)?;
    host::interrupt(pid)?;
    let Event::Stopped(_) = host::wait_for(pid)? else {
        return Err(Errno::ESRCH);
    };
    host::clear_signal_mask(pid)?;
    let regs = thread::fresh(&host::registers(pid)?);
    let mut xstate = vec![0; XSTATE_MAX];
    let len = host::xstate(pid, &mut xstate)?;
    xstate.truncate(len);
    let xstate = super::registers::state_of(&[], core.template.xstate(), xstate.len());
    let tracer = Tracer::new(core, ours);
    let (space, handle) = Space::new(core.template.vdso());
    let process = Process::new(pid, pidfd, &space, Files::default());
    guard.process = Some(Arc::clone(&process));
    let thread = Thread::new(pid, &process, &tracer, regs, xstate);
    tracer.adopt(&thread);
    {
        let mut state = thread.state();
        state.xstate_dirty = true;
        for call in first_calls() {
            let value = thread
                .inject(&mut state, &call)
                .map_err(|_| Errno::ESRCH)?
                .value;
            let closed_before = call[0] == libc::SYS_close as u64;
            if (-4095..0).contains(&value) && !closed_before {
                return Err(Errno::from_raw(-value as i32));
            }
        }
    }
    guard.disarm();
    Ok((thread, handle))
}

/// What a new process is made to do: its memory for the tracer's needs, the filter; the template's things go.
fn first_calls() -> [RawCall; 7] {
    let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags =
        (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    let map = |addr: u64, len: u64| [libc::SYS_mmap as u64, addr, len, rw, flags, u64::MAX, 0];
    [
        [
            libc::SYS_close as u64,
            stub::CONTROL_FD as u64,
            0,
            0,
            0,
            0,
            0,
        ],
        map(SCRATCH, stub::SLOT_SIZE),
        map(FRAMES, stub::STACK_SIZE),
        die_with_parent(),
        [
            libc::SYS_sigaltstack as u64,
            stub::CONTROL + stub::CONTROL_ALTSTACK as u64,
            0,
            0,
            0,
            0,
            0,
        ],
        // SECCOMP_SET_MODE_FILTER
        [
            libc::SYS_seccomp as u64,
            1,
            0,
            stub::CONTROL + stub::CONTROL_FPROG as u64,
            0,
            0,
            0,
        ],
        [
            libc::SYS_munmap as u64,
            stub::CONTROL,
            stub::CONTROL_SIZE,
            0,
            0,
            0,
            0,
        ],
    ]
}

fn die_with_parent() -> RawCall {
    [
        libc::SYS_prctl as u64,
        libc::PR_SET_PDEATHSIG as u64,
        libc::SIGKILL as u64,
        0,
        0,
        0,
        0,
    ]
}

/// What a new process does until its tracer attaches.
pub(super) fn waiting_calls() -> [RawCall; 2] {
    [
        die_with_parent(),
        [libc::SYS_pause as u64, 0, 0, 0, 0, 0, 0],
    ]
}

/// Kills and reaps a process that did not come to anything.
struct KillOnDrop {
    pid: i32,
    process: Option<Arc<Process>>,
}

impl KillOnDrop {
    fn disarm(mut self) {
        self.pid = 0;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.pid == 0 {
            return;
        }
        let _ = process::kill_pid(self.pid);
        if let Some(process) = &self.process {
            process.space.remove(process);
            process.threads.lock().clear();
        }
        while matches!(host::wait_for(self.pid), Ok(Event::Stopped(_))) {
            host::consume_stop(self.pid);
        }
        host::reap(self.pid);
    }
}
