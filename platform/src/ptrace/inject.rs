//! Host calls that a stopped guest thread is made to execute: its tracer sets the registers, steps it over the stub's call instruction, and reads
//! the result. The arguments are in registers that nobody else can change.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;

use super::host::{self, Resume};
use super::registers::{self, NO_CALL};
use super::thread::{Phase, State, Thread};
use crate::api::{Gone, HostCall};
use crate::host::{socket, vm};
use crate::notify::frame::Trap;
use crate::notify::orders::{self, Success};
use crate::notify::thread::RawCall;
use crate::stub;

/// A page of the guest's that messages with descriptors are received in.
pub(super) const SCRATCH: u64 = stub::SLOTS;
/// The stack that signal frames are built on to learn about a fault.
pub(super) const FRAMES: u64 = stub::STACKS;
/// Steps that one injected call may take: itself, one stop each for the call before, a kick and an event.
const STEPS: usize = 64;

/// What an injected call came to.
pub(super) struct Done {
    /// Raw rax.
    pub(super) value: i64,
    /// The thread or process that it made.
    pub(super) child: Option<i32>,
}

fn restarts(value: i64) -> bool {
    (-516..=-512).contains(&value)
}

fn errno_of(value: i64) -> Option<Errno> {
    (-4095..0)
        .contains(&value)
        .then(|| Errno::from_raw(-value as i32))
}

impl Thread {
    /// Executes one call. The thread is stopped and its registers are loaded; they are put back when it is resumed.
    pub(super) fn inject(&self, state: &mut State, call: &RawCall) -> Result<Done, Gone> {
        loop {
            let done = self.inject_once(state, call)?;
            // A signal of the host's interrupted it before it had an effect.
            if done.child.is_some() || !restarts(done.value) {
                return Ok(done);
            }
        }
    }

    fn inject_once(&self, state: &mut State, call: &RawCall) -> Result<Done, Gone> {
        let after = stub::order_ip();
        let mut regs = state.regs;
        [
            regs.rax, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9,
        ] = *call;
        regs.rip = after - 2;
        regs.orig_rax = NO_CALL;
        regs.cs = 0x33;
        regs.ss = 0x2b;
        regs.eflags = 0x202;
        state.regs_dirty = true;
        host::set_registers(self.tid, &regs).map_err(|_| Gone)?;
        let mut child = None;
        for _ in 0..STEPS {
            host::resume(self.tid, Resume::Step(0)).map_err(|_| Gone)?;
            let status = self.wait(state)?;
            match status >> 8 {
                libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
                    let message = host::event_message(self.tid).map_err(|_| Gone)?;
                    child = i32::try_from(message).ok();
                }
                0 if status == libc::SIGTRAP => {
                    let regs = host::registers(self.tid).map_err(|_| Gone)?;
                    if regs.rip == after {
                        return Ok(Done {
                            value: regs.rax.cast_signed(),
                            child,
                        });
                    }
                }
                _ => {}
            }
        }
        // Somebody sends it signals without end.
        self.process.kill();
        Err(Gone)
    }

    /// See `GuestThread::order`. On the tracer's thread.
    pub(super) fn order(&self, calls: &[HostCall]) -> Result<Vec<Result<u64, Errno>>, Gone> {
        let mut state = self.state();
        if state.phase != Phase::Full || state.gone || state.exited {
            return Err(Gone);
        }
        let mut results = Vec::with_capacity(calls.len());
        for call in calls {
            let result = match call {
                HostCall::SetFsBase(base) | HostCall::SetGsBase(base)
                    if !registers::base_is_valid(*base) =>
                {
                    Err(Errno::EPERM)
                }
                HostCall::SetFsBase(base) => {
                    state.regs.fs_base = *base;
                    state.regs_dirty = true;
                    Ok(0)
                }
                HostCall::SetGsBase(base) => {
                    state.regs.gs_base = *base;
                    state.regs_dirty = true;
                    Ok(0)
                }
                _ => self.execute(&mut state, call)?,
            };
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
        Ok(results)
    }

    fn execute(&self, state: &mut State, call: &HostCall) -> Result<Result<u64, Errno>, Gone> {
        let (mut raw, success) = match orders::translate(call) {
            Ok(translated) => translated,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(file) = orders::file_of(call) {
            match self.donate(state, file)? {
                Ok(descriptor) => raw[5] = descriptor,
                Err(error) => return Ok(Err(error)),
            }
        }
        let value = self.inject(state, &raw)?.value;
        let wanted = match success {
            Success::Zero => 0,
            Success::Address(addr) => addr,
            Success::Any => value.max(0).cast_unsigned(),
        };
        match errno_of(value) {
            // A sibling of its spoilt the message that a descriptor came by.
            Some(Errno::EBADF) => {
                self.process.kill();
                Err(Gone)
            }
            Some(error) => Ok(Err(error)),
            None if value.cast_unsigned() == wanted => Ok(Ok(wanted)),
            None => {
                self.process.kill();
                Err(Gone)
            }
        }
    }

    /// Makes sure that the guest's process has `file` open; its number there.
    fn donate(&self, state: &mut State, file: &Arc<OwnedFd>) -> Result<Result<u64, Errno>, Gone> {
        if let Some(descriptor) = self.process.files.lock().find(file) {
            return Ok(Ok(descriptor));
        }
        // What was sent to a process that died before it took it must not be taken by another.
        while host::unreceived(self.tracer.socket()).map_err(|_| Gone)? > 0 {
            match self.receive(state)? {
                Ok(descriptor) => self.inject(state, &close(descriptor as u64))?,
                Err(error) => return Ok(Err(error)),
            };
        }
        if let Err(error) = socket::send_descriptor(self.tracer.socket(), file.as_fd()) {
            return Ok(Err(error));
        }
        match self.receive(state)? {
            Ok(descriptor) => Ok(Ok(self.process.files.lock().set(descriptor - 1, file))),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Has the guest's process receive one descriptor: its number there.
    fn receive(&self, state: &mut State) -> Result<Result<usize, Errno>, Gone> {
        let free = self.process.files.lock().free();
        let index = match free {
            Some(index) => index,
            None => {
                let number = self.process.files.lock().evict();
                self.inject(state, &close(number))?;
                number as usize - 1
            }
        };
        // msghdr at +0, its vector at +64, the control buffer at +80, the byte at +112.
        let mut words = [0_u64; 15];
        words[2..6].copy_from_slice(&[SCRATCH + 64, 1, SCRATCH + 80, 24]);
        words[8..10].copy_from_slice(&[SCRATCH + 112, 1]);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        if vm::write(self.tid, &[(SCRATCH, bytes.len())], &bytes) != Ok(bytes.len()) {
            self.process.kill();
            return Err(Gone);
        }
        let dontwait = libc::MSG_DONTWAIT as u64;
        let value = self
            .inject(
                state,
                &[libc::SYS_recvmsg as u64, 0, SCRATCH, dontwait, 0, 0, 0],
            )?
            .value;
        if value == 1 {
            return Ok(Ok(index + 1));
        }
        if value == i64::from(-libc::EAGAIN) || value == 0 || value > 1 {
            self.process.kill();
            return Err(Gone);
        }
        Ok(Err(errno_of(value).unwrap_or(Errno::EIO)))
    }

    /// What the host would say of the fault that the thread stopped for: ptrace does not tell, so the thread is made to take the signal, up to its
    /// handler's first instruction, and the frame is read. Registers, extended state and mask are put back. The frame is in the guest's memory: a
    /// sibling thread that writes there fools only its own process.
    pub(super) fn trap_of(&self, state: &mut State, signal: i32) -> Result<Trap, Errno> {
        let mut regs = state.regs;
        regs.rsp = FRAMES + stub::STACK_SIZE;
        regs.eflags &= !0x100;
        host::set_registers(self.tid, &regs)?;
        state.regs_dirty = true;
        state.xstate_dirty = true;
        host::resume(self.tid, Resume::Step(signal))?;
        self.wait(state).map_err(|Gone| Errno::ESRCH)?;
        host::clear_signal_mask(self.tid)?;
        let regs = host::registers(self.tid)?;
        let mut bytes = [0_u8; 32];
        // Words 19 to 22 of the sigcontext: err, trapno, oldmask, cr2.
        let at = regs.rsp.wrapping_add(stub::FRAME_REGS + 19 * 8);
        let inside = (FRAMES..FRAMES + stub::STACK_SIZE).contains(&regs.rsp);
        if regs.rip != stub::handler()
            || !inside
            || vm::read(self.tid, &[(at, 32)], &mut bytes) != Ok(32)
        {
            return Ok(Trap::default());
        }
        let word = |index: usize| {
            u64::from_ne_bytes(
                bytes[index * 8..index * 8 + 8]
                    .try_into()
                    .unwrap_or_default(),
            )
        };
        Ok(Trap {
            error: word(0),
            trapno: word(1),
            cr2: word(3),
            fpstate: 0,
        })
    }
}

fn close(number: u64) -> RawCall {
    [libc::SYS_close as u64, number, 0, 0, 0, 0, 0]
}
