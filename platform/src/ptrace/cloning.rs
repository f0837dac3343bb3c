//! New guest threads and processes: `clone(2)` injected into a stopped thread. The host attaches the child to the parent's tracer and tells its id.

use std::sync::Arc;

use abi::Errno;

use super::host::{self, Event};
use super::registers;
use super::space::{Process, Space, SpaceHandle};
use super::thread::{Phase, Thread};
use super::tracer::CloneOrder;
use crate::api::{CloneKind, Gone};
use crate::host::process;

/// Flags of a thread of the same process (`CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM`).
const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

/// What a clone made: the thread, and the handle of its space.
pub(super) type Made = (Arc<Thread>, Arc<SpaceHandle>);

impl Thread {
    /// See `GuestThread::clone_thread`. On the tracer's thread.
    pub(super) fn make_clone(
        self: &Arc<Self>,
        order: &CloneOrder,
    ) -> Result<Result<Made, Errno>, Gone> {
        if order.tls.is_some_and(|tls| !registers::base_is_valid(tls)) {
            return Ok(Err(Errno::EPERM));
        }
        let Some(own_handle) = self.process.space.handle() else {
            return Err(Gone);
        };
        let flags = match order.kind {
            CloneKind::Thread => THREAD_FLAGS,
            CloneKind::SharedMemory => libc::CLONE_VM | libc::CLONE_PARENT | libc::SIGCHLD,
            CloneKind::Fork => libc::CLONE_PARENT | libc::SIGCHLD,
        };
        let (tid, regs, xstate) = {
            let mut state = self.state();
            if state.phase != Phase::Full || state.gone || state.exited {
                return Err(Gone);
            }
            // The child inherits the extended state from the host thread.
            self.store(&mut state).map_err(|_| Gone)?;
            let done = self.inject(
                &mut state,
                &[libc::SYS_clone as u64, flags as u64, 0, 0, 0, 0, 0],
            )?;
            if (-4095..0).contains(&done.value) {
                return Ok(Err(Errno::from_raw(-done.value as i32)));
            }
            let Some(tid) = done.child.filter(|&tid| i64::from(tid) == done.value) else {
                self.process.kill();
                return Err(Gone);
            };
            let mut regs = state.regs;
            registers::from_api(&mut regs, &order.registers);
            regs.fs_base = order.tls.unwrap_or(regs.fs_base);
            (tid, regs, state.xstate.clone())
        };
        match host::wait_for(tid) {
            Ok(Event::Stopped(_)) => {}
            // Killed meanwhile. The main loop buries it.
            Ok(Event::Dead) | Err(_) => return Ok(Err(Errno::EAGAIN)),
        }
        let (process, handle) = match order.kind {
            CloneKind::Thread => (Arc::clone(&self.process), own_handle),
            CloneKind::SharedMemory | CloneKind::Fork => {
                let pidfd = match process::open_pidfd(tid) {
                    Ok(pidfd) => pidfd,
                    Err(error) => {
                        let _ = process::kill_pid(tid);
                        return Ok(Err(error));
                    }
                };
                let (space, handle) = match order.kind {
                    CloneKind::Fork => Space::new(self.process.space.vdso()),
                    _ => (Arc::clone(&self.process.space), own_handle),
                };
                let files = self.process.files.lock().clone();
                (Process::new(tid, pidfd, &space, files), handle)
            }
        };
        let thread = Self::new(tid, &process, &self.tracer, regs, xstate);
        self.tracer.adopt(&thread);
        Ok(Ok((thread, handle)))
    }
}
