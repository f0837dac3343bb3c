//! New guest threads and processes: `clone(2)` ordered of a stopped thread.
//!
//! The order carries a random nonce in an argument that `clone` ignores; the child's first doorbell shows it. The nonce names a
//! [`PendingClone`], and what the child is (thread of that process, or child process of ours) is then asked of the host, not of the child.

use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use abi::Errno;
use parking_lot::Mutex;

use super::arena::{CHUNK_SLOTS, Slot};
use super::core::Core;
use super::frame;
use super::listener::Listener;
use super::process::Process;
use super::space::{Space, SpaceHandle};
use super::thread::{Beginning, Phase, RawCall, Thread};
use crate::api::{CloneKind, Gone, Registers};
use crate::host::{process, seccomp::Notification};
use crate::stub;

/// Flags of a thread of the same process (`CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM`).
const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

/// A clone whose child has not been set up yet.
pub(super) struct PendingClone {
    kind: CloneKind,
    parent: Arc<Process>,
    registers: Registers,
    fpstate: u64,
    fs_base: u64,
    gs_base: u64,
    /// The slot (taken when the child arrives) and, for a fork, the child's own space.
    slot: Mutex<Option<Slot>>,
    space: Arc<Space>,
    handle: Arc<SpaceHandle>,
    outcome: Mutex<Outcome>,
    /// The file behind the descriptor for mappings, which a child process inherits.
    cached: Option<Weak<OwnedFd>>,
}

#[derive(Default)]
struct Outcome {
    result: Option<Result<Arc<Thread>, Errno>>,
    waker: Option<Waker>,
}

impl PendingClone {
    fn finish(&self, result: Result<Arc<Thread>, Errno>) -> Option<Waker> {
        let mut outcome = self.outcome.lock();
        outcome.result.get_or_insert(result);
        outcome.waker.take()
    }

    /// The child's first doorbell, on the receiver's thread.
    pub(super) fn child_arrived(
        self: &Arc<Self>,
        core: &Arc<Core>,
        listener: &Listener,
        notification: &Notification,
    ) {
        let tid = notification.pid.cast_signed();
        let result = self.adopt(core, listener, notification);
        if let Err(error) = result {
            core.reaper.kill_stranger(tid);
            if let Some(waker) = self.finish(Err(error)) {
                waker.wake();
            }
        }
    }

    fn adopt(
        self: &Arc<Self>,
        core: &Arc<Core>,
        listener: &Listener,
        notification: &Notification,
    ) -> Result<(), Errno> {
        let tid = notification.pid.cast_signed();
        let slot = self.slot.lock().take().ok_or(Errno::EIO)?;
        let index = slot.index;
        if !frame::frame_is_on_stack(notification.data.args[1], index) {
            return Err(Errno::EIO);
        }
        let process = if self.kind == CloneKind::Thread {
            self.parent.signal_thread(tid, 0)?;
            Arc::clone(&self.parent)
        } else {
            let pidfd = process::open_pidfd(tid)?;
            if !process::is_child(pidfd.as_fd()) || tid == self.parent.pid {
                return Err(Errno::EIO);
            }
            let process = Process::new(
                tid,
                pidfd,
                Arc::clone(&self.parent.listener),
                Arc::clone(&self.space),
            );
            *process.cached.lock() = self.cached.clone();
            core.reaper.watch_process(&process)?;
            process
        };
        let fork = self.kind == CloneKind::Fork;
        let set_up = if fork {
            Some(self.setup_calls(index)?)
        } else {
            None
        };
        let beginning = Beginning {
            phase: Phase::Full(notification.id),
            stop: Some(crate::api::Stop::Started),
            registers: self.registers,
            fpstate: self.fpstate,
            // A thread's frame was written before it was made; a fork's is its parent's.
            dirty: fork,
            fs_base: self.fs_base,
            gs_base: self.gs_base,
            set_up,
        };
        let thread = Thread::new(core, &process, tid, slot, beginning).ok_or(Errno::EAGAIN)?;
        listener.insert(Arc::clone(&thread));
        if let Some(waker) = self.finish(Ok(thread)) {
            waker.wake();
        }
        Ok(())
    }

    /// What a fork's child does first: its slots replace those that it shares with its parent.
    fn setup_calls(&self, index: usize) -> Result<Vec<RawCall>, Errno> {
        let own = index / CHUNK_SLOTS;
        let mut calls: Vec<RawCall> = Vec::new();
        if self
            .parent
            .space
            .mapped_chunks()
            .iter()
            .any(|&chunk| chunk != own)
        {
            calls.push([
                libc::SYS_munmap as u64,
                stub::SLOTS,
                stub::SLOT_MAX as u64 * stub::SLOT_SIZE,
                0,
                0,
                0,
                0,
            ]);
        }
        calls.push(map_slots(
            own,
            self.space.chunk_offset(index).ok_or(Errno::EIO)?,
        ));
        Ok(calls)
    }
}

/// Maps the slots of the chunk at address-space index `chunk` from the arena's memfd, which is descriptor 0.
fn map_slots(chunk: usize, offset: usize) -> RawCall {
    let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_FIXED | libc::MAP_SHARED) as u64;
    [
        libc::SYS_mmap as u64,
        stub::slot_address(chunk * CHUNK_SLOTS),
        CHUNK_SLOTS as u64 * stub::SLOT_SIZE,
        rw,
        flags,
        0,
        offset as u64,
    ]
}

fn map_stacks(chunk: usize) -> RawCall {
    let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags =
        (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    let len = CHUNK_SLOTS as u64 * stub::STACK_SIZE;
    [
        libc::SYS_mmap as u64,
        stub::stack_base(chunk * CHUNK_SLOTS),
        len,
        rw,
        flags,
        u64::MAX,
        0,
    ]
}

fn errno_of(result: i64) -> Option<Errno> {
    (-4095..0)
        .contains(&result)
        .then(|| Errno::from_raw(-result as i32))
}

/// What a clone made: the thread, and the handle of its space.
pub(super) type Made = (Arc<Thread>, Arc<SpaceHandle>);

/// Withdraws a pending clone whose future is dropped or fails.
struct Expectation<'a> {
    listener: &'a Listener,
    nonce: u64,
}

impl Drop for Expectation<'_> {
    fn drop(&mut self) {
        self.listener.withdraw(self.nonce);
    }
}

impl Thread {
    /// See `GuestThread::clone_thread`.
    pub(super) async fn clone_thread(
        self: &Arc<Self>,
        kind: CloneKind,
        registers: &Registers,
        tls: Option<u64>,
    ) -> Result<Result<Made, Errno>, Gone> {
        let space = &self.process.space;
        let _layout = space.layout.lock().await;
        let Some(own_handle) = space.handle() else {
            return Err(Gone);
        };
        let fork = kind == CloneKind::Fork;
        if !fork && let Some(fast) = &self.core.fast {
            // One slot is one thread's: the others' calls must not be taken for its.
            fast.detach(self);
            self.state().patched_ip = 0;
        }

        let prepared = if fork {
            Space::new(space.arena(), self.slot.index, space.vdso_range())
        } else {
            match self.prepare_slot().await? {
                Ok(slot) => Ok((Arc::clone(space), own_handle, slot)),
                Err(error) => Err(error),
            }
        };
        let (child_space, handle, slot) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(error)),
        };
        let index = slot.index;
        let (stack, fpstate) = if fork {
            (0, self.state().trap.fpstate)
        } else {
            match self.write_first_frame(index, registers) {
                Ok(placed) => placed,
                Err(error) => {
                    space.release_slot(index);
                    return Ok(Err(error));
                }
            }
        };
        let (fs_base, gs_base) = {
            let state = self.state();
            (tls.unwrap_or(state.fs_base), state.gs_base)
        };
        let nonce = match process::random() {
            Ok(nonce) => nonce,
            Err(error) => return Ok(Err(error)),
        };
        // A new process gets a copy of the descriptors: while it is made, no other thread may have the file exchanged.
        let descriptor = match kind {
            CloneKind::Thread => None,
            CloneKind::SharedMemory | CloneKind::Fork => Some(self.process.descriptor.lock().await),
        };
        let cached = self.process.cached.lock().clone();
        let pending = Arc::new(PendingClone {
            kind,
            parent: Arc::clone(&self.process),
            registers: *registers,
            fpstate,
            fs_base,
            gs_base,
            slot: Mutex::new(Some(slot)),
            space: child_space,
            handle: Arc::clone(&handle),
            outcome: Mutex::default(),
            cached,
        });
        self.process.listener.expect(nonce, Arc::clone(&pending));
        let _expectation = Expectation {
            listener: &self.process.listener,
            nonce,
        };
        let mut flags = match kind {
            CloneKind::Thread => THREAD_FLAGS,
            CloneKind::SharedMemory => libc::CLONE_VM | libc::CLONE_PARENT | libc::SIGCHLD,
            CloneKind::Fork => libc::CLONE_PARENT | libc::SIGCHLD,
        };
        if tls.is_some() {
            flags |= libc::CLONE_SETTLS;
        }
        let call: RawCall = [
            libc::SYS_clone as u64,
            flags as u64,
            stack,
            0,
            0,
            tls.unwrap_or(0),
            nonce,
        ];
        let results = self.run_orders(vec![call]).await?;
        drop(descriptor);
        if let Some(error) = results.first().copied().and_then(errno_of) {
            if !fork {
                space.release_slot(index);
            }
            return Ok(Err(error));
        }
        self.await_child();
        let result = poll_fn(|cx| {
            {
                let mut outcome = pending.outcome.lock();
                if let Some(result) = outcome.result.take() {
                    return Poll::Ready(Ok(result));
                }
                outcome.waker = Some(cx.waker().clone());
            }
            let mut state = self.state();
            if state.gone || state.exited {
                return Poll::Ready(Err(Gone));
            }
            if state.child_late {
                return Poll::Ready(Ok(Err(Errno::EAGAIN)));
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        self.child_settled();
        let result = result?;
        if result.is_err()
            && kind != CloneKind::Thread
            && let Some(pid) = results.first().and_then(|&pid| i32::try_from(pid).ok())
        {
            // It died before it rang, or will be killed when it rings.
            self.core.reaper.reap_orphan(pid);
        }
        Ok(result.map(|thread| (thread, Arc::clone(&pending.handle))))
    }

    /// A free slot with its stub stack, mapped.
    async fn prepare_slot(self: &Arc<Self>) -> Result<Result<Slot, Errno>, Gone> {
        let space = &self.process.space;
        let reserved = match space.reserve_slot() {
            Ok(reserved) => reserved,
            Err(error) => return Ok(Err(error)),
        };
        let index = reserved.index;
        let number = index / CHUNK_SLOTS;
        if reserved.must_map {
            let offset = match space.chunk_to_map() {
                Ok(offset) => offset,
                Err(error) => {
                    space.release_slot(index);
                    return Ok(Err(error));
                }
            };
            let calls = vec![map_stacks(number), map_slots(number, offset)];
            let results = self.run_orders(calls.clone()).await?;
            if let Some(error) = results.iter().copied().find_map(errno_of) {
                space.release_slot(index);
                return Ok(Err(error));
            }
            if results.len() != calls.len() {
                self.process.kill();
                return Err(Gone);
            }
            space.chunk_mapped(index);
        }
        Ok(space.slot(index).ok_or(Errno::EIO))
    }

    /// Writes the frame that a new thread returns through: this thread's extended state, `registers`. Returns the addresses of frame and state.
    fn write_first_frame(
        self: &Arc<Self>,
        index: usize,
        registers: &Registers,
    ) -> Result<(u64, u64), Errno> {
        let format = self.core.template.xstate();
        let placed = frame::place(index, format);
        let image = self.read_xstate();
        let trap = frame::Trap {
            fpstate: placed.fpstate,
            ..frame::Trap::default()
        };
        let words = frame::build(index, &frame::encode(registers, &trap));
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize((placed.fpstate - placed.frame) as usize, 0);
        bytes.extend_from_slice(&image);
        self.process.space.write_stub(placed.frame, &bytes)?;
        Ok((placed.frame, placed.fpstate))
    }
}
