//! One guest thread: the state machine of its stops.
//!
//! All that touches the host thread happens on its tracer's thread (see [`super::tracer`]), in `perform` and `on_stop`; the rest only changes
//! [`State`].
//!
//! Kicks: a running thread is sent a signal, whose delivery its tracer sees and suppresses. A thread that is stopped is not: the wish is
//! remembered and turns its next resumption into a stop. A light stop that comes while a kick is wanted is wound back to before the call.

use std::sync::Arc;
use std::task::Waker;

use abi::Errno;
use abi::signal::Signal;
use parking_lot::{Mutex, MutexGuard};

use super::host::{self, Event, Resume, UserRegs};
use super::registers::{self, NO_CALL, XSTATE_MAX};
use super::space::Process;
use super::tracer::{Request, Tracer};
use crate::api::{Fault, Gone, Stop, SyscallArgs};
use crate::stub;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u64 = 0x4000_0000;
const ENOSYS: i64 = -38;
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// See the module.
pub(super) struct Thread {
    pub(super) tid: i32,
    pub(super) process: Arc<Process>,
    pub(super) tracer: Arc<Tracer>,
    state: Mutex<State>,
}

/// Where the thread is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Runs guest code, or is about to stop.
    Running,
    /// Stopped at a system call; only its number and arguments were read.
    Light,
    /// Stopped, registers and extended state were read.
    Full,
    /// Stopped for good.
    Parked,
}

/// A thread's state.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) stop: Option<Stop>,
    pub(super) waker: Option<Waker>,
    pub(super) gone: bool,
    pub(super) exited: bool,
    /// The registers at a full stop, and whether they differ from the host thread's.
    pub(super) regs: UserRegs,
    pub(super) regs_dirty: bool,
    /// The extended state at a full stop as ptrace has it, and whether it differs from the host thread's.
    pub(super) xstate: Vec<u8>,
    pub(super) xstate_dirty: bool,
    /// The kernel wants a stop that it has not seen yet.
    kick_wanted: bool,
    /// The kick's signal was sent and its delivery not seen yet.
    pub(super) signal_pending: bool,
    /// The stop has not been taken off the host's list.
    pub(super) unconsumed: bool,
}

impl Thread {
    /// A thread of `process` in a ptrace stop, in which nothing has run yet. `xstate` is its extended state, already in the host thread.
    pub(super) fn new(
        tid: i32,
        process: &Arc<Process>,
        tracer: &Arc<Tracer>,
        regs: UserRegs,
        xstate: Vec<u8>,
    ) -> Arc<Self> {
        let thread = Arc::new(Self {
            tid,
            process: Arc::clone(process),
            tracer: Arc::clone(tracer),
            state: Mutex::new(State {
                phase: Phase::Full,
                stop: Some(Stop::Started),
                waker: None,
                gone: false,
                exited: false,
                regs,
                regs_dirty: true,
                xstate,
                xstate_dirty: false,
                kick_wanted: false,
                signal_pending: false,
                unconsumed: true,
            }),
        });
        process.add(&thread);
        thread
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends a light stop with `value` in rax, fully stopped again if `stop`. On the tracer's thread.
    pub(super) fn answer(&self, value: i64, stop: bool) -> Option<Waker> {
        let mut state = self.state();
        if state.phase != Phase::Light || state.gone || state.exited {
            return None;
        }
        if stop || state.kick_wanted {
            if self.load(&mut state).is_err() {
                return None;
            }
            Self::leave_call(&mut state);
            state.regs.rax = value.cast_unsigned();
            return self.report_kicked(&mut state);
        }
        // An error means that it is dead, which its tracer will see.
        if host::set_rax(self.tid, value.cast_unsigned()).is_ok() {
            self.run_on(&mut state);
        }
        None
    }

    /// Ends a full stop. On the tracer's thread.
    pub(super) fn resume(&self) -> Option<Waker> {
        let mut state = self.state();
        if state.phase != Phase::Full || state.gone || state.exited {
            return None;
        }
        if state.kick_wanted {
            return self.report_kicked(&mut state);
        }
        if self.store(&mut state).is_ok() {
            self.run_on(&mut state);
        }
        None
    }

    fn run_on(&self, state: &mut State) {
        state.phase = Phase::Running;
        state.stop = None;
        state.unconsumed = false;
        let _ = host::resume(self.tid, Resume::Sysemu);
    }

    fn report_kicked(&self, state: &mut State) -> Option<Waker> {
        state.kick_wanted = false;
        state.phase = Phase::Full;
        state.stop = Some(Stop::Kicked);
        state.waker.take()
    }

    /// Reads what a full stop shows. rax becomes the number of the call that the thread is in, if any.
    fn load(&self, state: &mut State) -> Result<(), Errno> {
        state.regs = host::registers(self.tid)?;
        state.xstate.resize(XSTATE_MAX, 0);
        let len = host::xstate(self.tid, &mut state.xstate).unwrap_or(0);
        state.xstate.truncate(len);
        state.regs_dirty = false;
        state.xstate_dirty = false;
        Ok(())
    }

    /// The call is over, or never was: the host has nothing to restart.
    fn leave_call(state: &mut State) {
        if state.regs.orig_rax != NO_CALL {
            state.regs.rax = state.regs.orig_rax;
            state.regs.orig_rax = NO_CALL;
        }
        state.regs_dirty = true;
    }

    /// Gives the host thread what changed.
    pub(super) fn store(&self, state: &mut State) -> Result<(), Errno> {
        if state.xstate_dirty && !state.xstate.is_empty() {
            host::set_xstate(self.tid, &state.xstate)?;
            state.xstate_dirty = false;
        }
        if state.regs_dirty {
            state.regs.orig_rax = NO_CALL;
            host::set_registers(self.tid, &state.regs)?;
            state.regs_dirty = false;
        }
        Ok(())
    }

    /// The thread stopped while it ran. On the tracer's thread. Returns whom to wake.
    pub(super) fn on_stop(self: &Arc<Self>, status: i32) -> Option<Waker> {
        let mut state = self.state();
        state.unconsumed = true;
        if state.phase != Phase::Running || state.gone {
            return None;
        }
        let signal = status & 0xff;
        if signal == stub::KICK {
            state.signal_pending = false;
        }
        if state.exited {
            state.phase = Phase::Full;
            drop(state);
            self.leave();
            return None;
        }
        let result = match signal {
            SYSCALL_STOP => self.on_syscall(&mut state),
            stub::KICK if state.kick_wanted => self
                .load(&mut state)
                .map(|()| self.report_kicked(&mut state)),
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
                if status >> 8 == 0 =>
            {
                self.on_fault(&mut state, signal)
            }
            libc::SIGSYS if status >> 8 == 0 => self.on_vsyscall(&mut state),
            // A signal of somebody's on the host, a group stop, a kick that was told already: nothing to the guest.
            _ => {
                self.run_on(&mut state);
                Ok(None)
            }
        };
        // An error means that it is dead.
        result.unwrap_or(None)
    }

    fn on_syscall(&self, state: &mut State) -> Result<Option<Waker>, Errno> {
        let info = host::syscall_info(self.tid)?;
        if info.op != 1 {
            self.run_on(state);
            return Ok(None);
        }
        // 32-bit gates, x32, negative numbers: as if there were none.
        if info.arch != AUDIT_ARCH_X86_64 || u64::from(info.nr as u32) >= X32_BIT {
            host::set_rax(self.tid, ENOSYS.cast_unsigned())?;
            self.run_on(state);
            return Ok(None);
        }
        let nr = u64::from(info.nr as u32);
        let args = SyscallArgs {
            nr,
            args: info.args,
            ip: info.ip,
            arch: info.arch,
        };
        if self.tracer.core().is_full(nr) {
            self.load(state)?;
            Self::leave_call(state);
            state.phase = Phase::Full;
            state.stop = Some(Stop::SyscallFull(args));
        } else if state.kick_wanted {
            self.load(state)?;
            Self::leave_call(state);
            state.regs.rip -= 2;
            return Ok(self.report_kicked(state));
        } else {
            state.phase = Phase::Light;
            state.stop = Some(Stop::Syscall(args));
        }
        Ok(state.waker.take())
    }

    /// The filter kept the host from serving a call of the vsyscall page. The thread is behind its call of the page; the kernel's answer goes to rax.
    /// A full stop, since such a call cannot be wound back.
    fn on_vsyscall(&self, state: &mut State) -> Result<Option<Waker>, Errno> {
        /// `SYS_SECCOMP`
        const BY_FILTER: i32 = 1;
        let info = host::signal_info(self.tid)?;
        if info.code != BY_FILTER {
            self.run_on(state);
            return Ok(None);
        }
        self.load(state)?;
        Self::leave_call(state);
        let regs = &state.regs;
        let args = SyscallArgs {
            nr: regs.rax & 0xffff_ffff,
            args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
            ip: regs.rip,
            arch: info.arch,
        };
        state.phase = Phase::Full;
        state.stop = Some(Stop::SyscallFull(args));
        Ok(state.waker.take())
    }

    fn on_fault(&self, state: &mut State, signal: i32) -> Result<Option<Waker>, Errno> {
        let host::SignalInfo { code, addr, .. } = host::signal_info(self.tid)?;
        // Exceptions have positive codes; SI_USER and its like are 0 or negative: somebody on the host sent a signal.
        if code <= 0 {
            self.run_on(state);
            return Ok(None);
        }
        self.load(state)?;
        let number = match signal {
            libc::SIGSEGV => Signal::SEGV,
            libc::SIGBUS => Signal::BUS,
            libc::SIGFPE => Signal::FPE,
            libc::SIGILL => Signal::ILL,
            _ => Signal::TRAP,
        };
        let trap = self.trap_of(state, signal)?;
        state.phase = Phase::Full;
        state.stop = Some(Stop::Fault(Fault {
            signal: number,
            code,
            addr,
            trapno: trap.trapno,
            error: trap.error,
            cr2: trap.cr2,
        }));
        Ok(state.waker.take())
    }

    /// The thread shall run no more guest code. On the tracer's thread.
    pub(super) fn leave(self: &Arc<Self>) {
        let mut state = self.state();
        if state.gone || matches!(state.phase, Phase::Running | Phase::Parked) {
            return;
        }
        let light = state.phase == Phase::Light;
        state.phase = Phase::Parked;
        // A leader must not die before the others.
        if self.tid == self.process.pid {
            return;
        }
        if light && self.load(&mut state).is_err() {
            return;
        }
        let _ = self.inject(&mut state, &[libc::SYS_exit as u64, 0, 0, 0, 0, 0, 0]);
    }

    /// See `GuestThread::exit`.
    pub(super) fn exit(self: &Arc<Self>) {
        let mut state = self.state();
        if state.exited {
            return;
        }
        state.exited = true;
        state.stop = None;
        let last = self.process.thread_exits();
        if state.gone {
            return;
        }
        if last {
            self.process.kill();
        } else if state.phase == Phase::Running {
            self.signal(&mut state);
        } else {
            drop(state);
            self.tracer.submit(Request::Leave(Arc::clone(self)));
        }
    }

    /// See `GuestThread::kick`.
    pub(super) fn kick(&self) {
        let mut state = self.state();
        if state.exited || state.gone {
            return;
        }
        state.kick_wanted = true;
        if state.phase == Phase::Running {
            self.signal(&mut state);
        }
    }

    fn signal(&self, state: &mut State) {
        if !state.signal_pending {
            state.signal_pending =
                crate::host::process::signal_thread(self.process.pid, self.tid, stub::KICK).is_ok();
        }
    }

    /// The host thread is dead but not reaped. Returns whom to wake.
    pub(super) fn mark_gone(&self) -> Option<Waker> {
        let mut state = self.state();
        state.gone = true;
        state.stop = None;
        self.process.threads.lock().remove(&self.tid);
        state.waker.take()
    }

    /// Takes a stop that goes on off the host's list.
    pub(super) fn settle(&self) {
        let mut state = self.state();
        if state.phase != Phase::Running && !state.gone && std::mem::take(&mut state.unconsumed) {
            host::consume_stop(self.tid);
        }
    }

    /// Waits for the next stop of a thread that was just stepped.
    pub(super) fn wait(&self, state: &mut State) -> Result<i32, Gone> {
        match host::wait_for(self.tid) {
            Ok(Event::Stopped(status)) => {
                state.unconsumed = true;
                if status & 0xff == stub::KICK {
                    state.signal_pending = false;
                }
                Ok(status)
            }
            Ok(Event::Dead) | Err(_) => Err(Gone),
        }
    }
}

/// Registers of a thread in which nothing has run, on top of those that it stopped with.
pub(super) fn fresh(stopped: &UserRegs) -> UserRegs {
    let mut regs = UserRegs {
        fs_base: 0,
        gs_base: 0,
        ..*stopped
    };
    registers::from_api(&mut regs, &crate::notify::frame::fresh());
    regs
}
