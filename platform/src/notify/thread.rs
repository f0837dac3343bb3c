//! One guest thread: the state machine that its notifications drive.
//!
//! Every notification of a thread is judged by the phase it is in; what does not fit is an attack or a breakdown, and the process is killed.
//!
//! Lock order: a thread's state may be held while its process's `reaped` lock, the space's `slots`, the listener's maps and the reaper's lists are
//! taken for a moment; nothing else is taken under it, and no waker is called under it.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use abi::signal::Signal;
use parking_lot::{Mutex, MutexGuard};

use super::arena::Slot;
use super::core::Core;
use super::fast::Patch;
use super::frame::{self, CONTEXT_WORDS, Trap};
use super::process::Process;
use super::shelf::Shelf;
use crate::api::{Fault, Registers, Stop, SyscallArgs};
use crate::host::seccomp::{self, Notification};
use crate::stub;

/// How long a running thread may take to obey a kick.
const KICK_PATIENCE: Duration = Duration::from_secs(10);
/// How long ordered calls may take.
const ORDER_PATIENCE: Duration = Duration::from_secs(60);
/// ERESTARTNOINTR: the host restarts the call after the handler; guest code never sees it.
pub(super) const RESTART: i64 = -513;

/// A host call as registers: number and six arguments.
pub(crate) type RawCall = [u64; 7];

/// See the module.
pub(super) struct Thread {
    pub(super) tid: i32,
    pub(super) process: Arc<Process>,
    pub(super) slot: Slot,
    pub(super) core: Arc<Core>,
    state: Mutex<State>,
}

/// What the thread is doing as far as its notifications tell.
pub(super) enum Phase {
    /// Guest code, or about to run it.
    Running,
    /// Waits in an ordinary call.
    Light(u64),
    /// Waits in the doorbell.
    Full(u64),
    /// Executes ordered calls: those, and how many of them were let through.
    Ordering {
        calls: Vec<RawCall>,
        next: usize,
        purpose: Purpose,
    },
    /// Was kicked out of a call that sleeps long; on the way to its shelf.
    Shelving(Shelf),
    /// Its stub waits on the slot's futex for the call's answer.
    Shelved(Shelf),
    /// Waits for the answer in its call slot.
    Slot,
    /// A leader that has exited but must not die before the others; waits in the doorbell for ever.
    Parked,
}

/// Who gets the result of orders.
pub(super) enum Purpose {
    /// The task.
    Task,
    /// A fork's child has got its slot; the task's next orders follow.
    SetUp,
    /// The thread's own exit.
    Exit,
    /// Nobody, unless the last one fails: the thread runs on.
    Last,
    /// The patch of a call site.
    Patch,
}

/// A thread's state.
pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) stop: Option<Stop>,
    /// The registers at a full stop.
    pub(super) registers: Registers,
    pub(super) trap: Trap,
    /// The frame must be rewritten before the thread runs on.
    pub(super) dirty: bool,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    /// Results of the last orders, until the task takes them.
    pub(super) results: Option<Vec<i64>>,
    pub(super) waker: Option<Waker>,
    pub(super) gone: bool,
    pub(super) exited: bool,
    slot_released: bool,
    /// A kick is pending in the host kernel.
    pub(super) kicked: bool,
    /// When the thread was last told something.
    told_at: Option<Instant>,
    /// Since when this thread's task waits for the child of its clone, and whether that was too long.
    child_awaited: Option<Instant>,
    pub(super) child_late: bool,
    /// It is in the reaper's list.
    held_to_deadline: bool,
    /// It counts as runnable: from its first resumption on, but while it is blocked.
    runnable: bool,
    /// It has been resumed once.
    started: bool,
    /// The kernel says that it is blocked.
    pub(super) blocked: bool,
    /// Since when it is blocked and may be parked for it.
    pub(super) asleep_since: Option<Instant>,
    /// It counts as parked.
    pub(super) shelved: bool,
    /// The call of the light stop that it is in, or was in last.
    pub(super) call: Option<SyscallArgs>,
    /// The order that ends the full stop, until the thread runs on; and whether it ran on so, and may still report that the order failed.
    pub(super) deferred: Option<RawCall>,
    pub(super) may_have_failed: bool,
    /// What a fork's child has to do before its slot is its own: first of all, by orders on its stub stack.
    pub(super) set_up: Option<Vec<RawCall>>,
    /// It ran on by those.
    pub(super) setting_up: bool,
    /// That call was taken back and shall arrive again with all registers.
    pub(super) again: Option<SyscallArgs>,
    /// A call site that is being patched, and the end of the one that was (0: none).
    pub(super) patch: Option<Patch>,
    pub(super) patched_ip: u64,
}

/// How a thread begins.
pub(super) struct Beginning {
    pub(super) phase: Phase,
    pub(super) stop: Option<Stop>,
    pub(super) registers: Registers,
    pub(super) fpstate: u64,
    pub(super) dirty: bool,
    pub(super) fs_base: u64,
    pub(super) gs_base: u64,
    pub(super) set_up: Option<Vec<RawCall>>,
}

impl Thread {
    /// A thread in `process`, known to it; `None` if the process is dead already. The caller makes it known to the listener.
    pub(super) fn new(
        core: &Arc<Core>,
        process: &Arc<Process>,
        tid: i32,
        slot: Slot,
        beginning: Beginning,
    ) -> Option<Arc<Self>> {
        let thread = Arc::new(Self {
            tid,
            process: Arc::clone(process),
            slot,
            core: Arc::clone(core),
            state: Mutex::new(State {
                phase: beginning.phase,
                stop: beginning.stop,
                registers: beginning.registers,
                trap: Trap {
                    fpstate: beginning.fpstate,
                    ..Trap::default()
                },
                dirty: beginning.dirty,
                fs_base: beginning.fs_base,
                gs_base: beginning.gs_base,
                results: None,
                waker: None,
                gone: false,
                exited: false,
                slot_released: false,
                kicked: false,
                told_at: None,
                child_awaited: None,
                child_late: false,
                held_to_deadline: false,
                runnable: false,
                started: false,
                blocked: false,
                asleep_since: None,
                shelved: false,
                call: None,
                again: None,
                deferred: None,
                may_have_failed: false,
                set_up: beginning.set_up,
                setting_up: false,
                patch: None,
                patched_ip: 0,
            }),
        });
        let alive = process.add_thread(&thread);
        if alive {
            Some(thread)
        } else {
            thread.mark_gone();
            None
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    pub(super) fn reply(&self, id: u64, value: i64) {
        self.process.listener.reply(id, value);
    }

    /// Judges a notification of this thread. Returns whom to wake.
    pub(super) fn on_notification(self: &Arc<Self>, notification: &Notification) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.gone {
            self.process.kill();
            return None;
        }
        let data = &notification.data;
        let doorbell = data.nr.cast_unsigned() == stub::DOORBELL && data.ip == stub::doorbell_ip();
        let may_have_failed = std::mem::take(&mut state.may_have_failed);
        let without_slot = std::mem::take(&mut state.setting_up) && may_have_failed;
        match &state.phase {
            Phase::Running if doorbell && data.args[0] == stub::KIND_DONE && without_slot => {
                // It has no slot of its own, and nothing can be told by the one that it shares.
                self.violation()
            }
            Phase::Running if doorbell && data.args[0] == stub::KIND_DONE && may_have_failed => {
                self.deferred_failed(state, notification)
            }
            Phase::Running if doorbell => self.full_stop(state, notification),
            // Calls that the stub makes only when told to.
            Phase::Running if (stub::TEXT..stub::TEXT + 4096).contains(&data.ip) => {
                self.violation()
            }
            Phase::Running => self.light_stop(state, notification),
            Phase::Ordering { .. } if doorbell => self.orders_done(state, notification),
            Phase::Ordering { .. } => self.ordered_call(state, notification),
            Phase::Shelving(_) if doorbell => self.full_stop(state, notification),
            Phase::Shelved(_) if doorbell => self.unparked(state, notification),
            Phase::Light(_)
            | Phase::Full(_)
            | Phase::Slot
            | Phase::Shelving(_)
            | Phase::Shelved(_)
            | Phase::Parked => self.violation(),
        }
    }

    /// The guest's host process does what it cannot do by itself or by mistake.
    pub(super) fn violation(&self) -> Option<Waker> {
        self.process.kill();
        None
    }

    fn light_stop(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        if state.exited {
            self.kick_locked(&mut state);
        }
        if state.kicked {
            drop(state);
            self.reply(notification.id, RESTART);
            return None;
        }
        let data = &notification.data;
        state.phase = Phase::Light(notification.id);
        let call = SyscallArgs {
            nr: data.nr.cast_unsigned().into(),
            args: data.args,
            ip: data.ip,
            arch: data.arch,
        };
        state.call = Some(call);
        if self.core.fast.is_some() {
            self.note_plain(&state, call.ip);
            if self.wants_patch(&call) {
                state.patch = Some(Patch::Wanted);
                drop(state);
                self.call_again();
                return None;
            }
        }
        state.stop = Some(Stop::Syscall(call));
        state.waker.take()
    }

    fn full_stop(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        let [kind, frame_address, ..] = notification.data.args;
        if kind == 0 || kind > 64 || !frame::frame_is_on_stack(frame_address, self.slot.index) {
            return self.violation();
        }
        let mut words = [0_u64; CONTEXT_WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.slot.read(stub::SLOT_REGS + index * 8);
        }
        (state.registers, state.trap) = frame::decode(&words);
        state.dirty = false;
        if state.trap.fpstate != 0
            && !frame::fpstate_is_on_stack(
                state.trap.fpstate,
                self.core.template.xstate().size,
                self.slot.index,
            )
        {
            state.trap.fpstate = 0;
            state.dirty = true;
        }
        if self.core.template.has_fsgsbase() {
            state.fs_base = self.slot.read(stub::SLOT_FS);
            state.gs_base = self.slot.read(stub::SLOT_GS);
        }
        let signal = kind as i32;
        if signal == stub::KICK {
            state.kicked = false;
        }
        let before = std::mem::replace(&mut state.phase, Phase::Full(notification.id));
        if let Phase::Shelving(shelf) = before {
            return self.settle(state, notification.id, shelf);
        }
        if state.exited {
            self.leave(state);
            return None;
        }
        state.stop = Some(match state.again.take() {
            // The host was about to execute the call anew.
            Some(call)
                if state.registers.rip.wrapping_add(2) == call.ip
                    && state.registers.rax & 0xffff_ffff == call.nr =>
            {
                state.registers.rip = call.ip;
                state.dirty = true;
                if self.open_patch(&mut state, call) {
                    return None;
                }
                Stop::SyscallFull(call)
            }
            _ => self.decode_stop(signal, &state),
        });
        state.waker.take()
    }

    /// What a signal means, from the siginfo that the stub copied.
    fn decode_stop(&self, signal: i32, state: &State) -> Stop {
        let info = |word: usize| self.slot.read(stub::SLOT_INFO + word * 8);
        let code = info(1) as i32;
        let registers = &state.registers;
        match signal {
            // SYS_SECCOMP
            libc::SIGSYS if code == 1 => Stop::SyscallFull(SyscallArgs {
                // The filter looked at the low half only, as the host kernel does.
                nr: registers.rax & 0xffff_ffff,
                args: [
                    registers.rdi,
                    registers.rsi,
                    registers.rdx,
                    registers.r10,
                    registers.r8,
                    registers.r9,
                ],
                ip: registers.rip,
                arch: (info(3) >> 32) as u32,
            }),
            // Exceptions have positive codes; SI_USER and its like are 0 or negative: somebody on the host sent a signal.
            libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
                if code > 0 =>
            {
                let signal = match signal {
                    libc::SIGSEGV => Signal::SEGV,
                    libc::SIGBUS => Signal::BUS,
                    libc::SIGFPE => Signal::FPE,
                    libc::SIGILL => Signal::ILL,
                    _ => Signal::TRAP,
                };
                Stop::Fault(Fault {
                    signal,
                    code,
                    addr: info(2),
                    trapno: state.trap.trapno,
                    error: state.trap.error,
                    cr2: state.trap.cr2,
                })
            }
            _ => Stop::Kicked,
        }
    }

    /// One of the ordered calls arrives: it passes if it is exactly the next one.
    fn ordered_call(
        &self,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        let data = &notification.data;
        let Phase::Ordering {
            calls,
            next,
            purpose,
        } = &mut state.phase
        else {
            return None;
        };
        let Some(call) = calls.get(*next) else {
            return self.violation();
        };
        // All six arguments in full width: stricter than the kernel, which ignores some.
        if data.ip != stub::order_ip()
            || u64::from(data.nr.cast_unsigned()) != call[0]
            || data.args != call[1..]
        {
            return self.violation();
        }
        *next += 1;
        if matches!(purpose, Purpose::Last) {
            if *next < calls.len() {
                drop(state);
                let _ = seccomp::let_through(self.process.listener.fd(), notification.id);
                return None;
            }
            state.told_at = None;
            state.may_have_failed = true;
            self.now_running(&mut state);
        } else if matches!(purpose, Purpose::Exit) {
            // From here on its id may become another thread's.
            self.mark_gone_locked(&mut state);
            self.process.remove_thread(self.tid);
        }
        drop(state);
        let _ = seccomp::let_through(self.process.listener.fd(), notification.id);
        None
    }

    fn orders_done(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        notification: &Notification,
    ) -> Option<Waker> {
        let [kind, count, last, ..] = notification.data.args;
        let Phase::Ordering { calls, next, .. } = &state.phase else {
            return None;
        };
        if kind != stub::KIND_DONE || count != *next as u64 || *next == 0 && !calls.is_empty() {
            return self.violation();
        }
        let count = *next;
        let complete = count == calls.len();
        let Phase::Ordering { purpose, .. } =
            std::mem::replace(&mut state.phase, Phase::Full(notification.id))
        else {
            return None;
        };
        state.told_at = None;
        match purpose {
            Purpose::Task => {
                state.results = Some(
                    (0..count)
                        .map(|index| self.slot.order_result(index))
                        .collect(),
                );
                if state.exited {
                    self.leave(state);
                    return None;
                }
                state.waker.take()
            }
            Purpose::SetUp => {
                if !complete || (-4095..0).contains(&last.cast_signed()) {
                    return self.violation();
                }
                if state.exited {
                    self.leave(state);
                    return None;
                }
                state.results = Some(Vec::new());
                state.waker.take()
            }
            Purpose::Patch => {
                self.patch_ordered(state, !complete || (-4095..0).contains(&last.cast_signed()))
            }
            // Neither reports here: the one never comes back, the other runs as soon as its call has passed.
            Purpose::Exit | Purpose::Last => self.violation(),
        }
    }

    /// Makes the orders of a full stop what the thread's notifications are judged by. Returns the notification to be replied to, once the lock is
    /// released: another receiver may hear the thread at once.
    pub(super) fn prepare_orders(
        self: &Arc<Self>,
        state: &mut State,
        calls: Vec<RawCall>,
        purpose: Purpose,
    ) -> Option<u64> {
        let Phase::Full(id) = state.phase else {
            return None;
        };
        state.results = None;
        state.phase = Phase::Ordering {
            calls,
            next: 0,
            purpose,
        };
        self.note_told(state);
        Some(id)
    }

    /// Starts the orders that make up a stop's end or middle. The thread must be in a full stop.
    pub(super) fn start_orders(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        calls: Vec<RawCall>,
        purpose: Purpose,
    ) {
        let id = self.prepare_orders(&mut state, calls, purpose);
        drop(state);
        if let Some(id) = id {
            self.reply(id, stub::REPLY_ORDERS);
        }
    }

    /// The thread is at a full stop and shall never run guest code again.
    pub(super) fn leave(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if self.tid == self.process.pid {
            state.phase = Phase::Parked;
            return;
        }
        let call: RawCall = [libc::SYS_exit as u64, 0, 0, 0, 0, 0, 0];
        self.slot.write_orders(&[call], false);
        self.start_orders(state, vec![call], Purpose::Exit);
    }

    /// See `GuestThread::exit`.
    pub(super) fn exit(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.exited {
            return;
        }
        state.exited = true;
        state.stop = None;
        self.count_runnable(&mut state);
        let last = self.process.thread_exits();
        if state.gone {
            return;
        }
        if last {
            self.process.kill();
            return;
        }
        match state.phase {
            Phase::Full(_) => self.leave(state),
            Phase::Light(id)
                if Self::is_exiting(state.call.as_ref()) && self.tid != self.process.pid =>
            {
                // From here on its id may become another thread's.
                self.mark_gone_locked(&mut state);
                self.process.remove_thread(self.tid);
                drop(state);
                let _ = seccomp::let_through(self.process.listener.fd(), id);
            }
            Phase::Light(id) => {
                self.kick_locked(&mut state);
                state.phase = Phase::Running;
                drop(state);
                self.reply(id, RESTART);
            }
            Phase::Running => self.kick_locked(&mut state),
            Phase::Slot => {
                self.kick_locked(&mut state);
                self.answer_slot(&mut state, RESTART);
            }
            Phase::Shelved(_) => self.slot.set_park_word(1),
            Phase::Ordering { .. } | Phase::Shelving(_) | Phase::Parked => {}
        }
    }

    /// Makes the host deliver the kick signal, once until the thread shows that it got it.
    pub(super) fn kick_locked(self: &Arc<Self>, state: &mut State) {
        if state.kicked || state.gone {
            return;
        }
        if self.process.signal_thread(self.tid, stub::KICK).is_ok() {
            state.kicked = true;
            self.note_told(state);
        }
    }

    pub(super) fn note_told(self: &Arc<Self>, state: &mut State) {
        state.told_at = Some(Instant::now());
        self.hold_to_deadline(state);
    }

    pub(super) fn hold_to_deadline(self: &Arc<Self>, state: &mut State) {
        if !std::mem::replace(&mut state.held_to_deadline, true) {
            self.core.reaper.hold_to_deadline(Arc::downgrade(self));
        }
    }

    /// The guest runs on: from now on it has to obey.
    pub(super) fn now_running(&self, state: &mut State) {
        state.phase = Phase::Running;
        if !state.started {
            state.started = true;
            self.count_runnable(state);
        }
        // A stop that nobody looked at is over too.
        state.stop = None;
        state.asleep_since = None;
        if state.kicked {
            state.told_at = Some(Instant::now());
        }
    }

    /// Whether the thread still has to obey something, and whom to wake because it will not: kills its process if it is late.
    pub(super) fn owes(self: &Arc<Self>, now: Instant) -> (bool, Option<Waker>) {
        let mut state = self.state.lock();
        let late = |patience: Duration, since: Option<Instant>| {
            since.is_some_and(|since| now.saturating_duration_since(since) > patience)
        };
        let mut waker = None;
        if late(KICK_PATIENCE, state.child_awaited) {
            state.child_awaited = None;
            state.child_late = true;
            waker = state.waker.take();
        }
        self.shelve_if_due(&mut state, now);
        let patience = match state.phase {
            Phase::Running if state.kicked => Some(KICK_PATIENCE),
            Phase::Shelving(_) => Some(KICK_PATIENCE),
            Phase::Shelved(shelf) if shelf.is_answered() => Some(KICK_PATIENCE),
            Phase::Ordering { .. } => Some(ORDER_PATIENCE),
            _ => None,
        };
        if patience.is_some_and(|patience| late(patience, state.told_at)) {
            self.process.kill();
            state.held_to_deadline = false;
        } else {
            // A pending kick counts again when the guest runs on.
            let owes = patience.is_some()
                || state.kicked
                || state.child_awaited.is_some()
                || state.asleep_since.is_some();
            state.held_to_deadline = owes && !state.gone;
        }
        (state.held_to_deadline, waker)
    }

    /// This thread's clone was made: its child has to show itself in time.
    pub(super) fn await_child(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.child_late = false;
        state.child_awaited = Some(Instant::now());
        self.hold_to_deadline(&mut state);
    }

    /// The child came, or nobody cares any more.
    pub(super) fn child_settled(&self) {
        self.state.lock().child_awaited = None;
    }

    /// Brings the listener's count of runnable threads up to date.
    pub(super) fn count_runnable(&self, state: &mut State) {
        let runnable = state.started && !(state.blocked || state.exited || state.gone);
        if state.runnable != runnable {
            state.runnable = runnable;
            self.process.listener.count_runnable(runnable);
        }
    }

    /// The host thread no longer exists. Returns whom to wake.
    pub(super) fn mark_gone(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.phase = Phase::Parked;
        self.mark_gone_locked(&mut state);
        state.waker.take()
    }

    fn mark_gone_locked(&self, state: &mut State) {
        state.gone = true;
        if std::mem::take(&mut state.blocked) {
            self.process.listener.count_sleeper(false);
        }
        self.note_shelved(state, false);
        self.count_runnable(state);
        self.process.listener.remove(self);
        if let Some(fast) = &self.core.fast {
            fast.detach(self);
        }
        if !std::mem::replace(&mut state.slot_released, true) {
            self.process.space.release_slot(self.slot.index);
        }
    }
}
