//! Host calls ordered of a stopped thread: translation, donation of descriptors, judging the results.

use std::future::poll_fn;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::task::Poll;

use abi::Errno;

use super::thread::{Phase, Purpose, RawCall, State, Thread};
use crate::api::{GUEST_BOTTOM, GUEST_TOP, Gone, HostCall, MapSource};
use crate::host::seccomp;
use crate::stub;

/// The number under which a guest's host process holds the file that is being mapped. (0 is its arena.) The host kernel ends the doorbell with it
/// once the descriptor is there: the number is the reply to execute the orders.
const FILE_FD: u32 = stub::REPLY_ORDERS as u32;

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;

/// What a call must return if it succeeds.
#[derive(Clone, Copy)]
pub(crate) enum Success {
    Zero,
    Address(u64),
    /// Whatever it is, it goes to the guest only.
    Any,
}

/// `madvise` values that only concern the caller's own private or file pages.
const ADVICE: &[u32] = &[
    0, 1, 2, 3, 4, 8, 10, 11, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
];

/// `sizeof(struct prctl_mm_map)`.
const MM_MAP_SIZE: u64 = 104;

fn check_range(addr: u64, len: u64) -> Result<(), Errno> {
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    let aligned = (addr | len).is_multiple_of(abi::PAGE_SIZE);
    if aligned && len > 0 && addr >= GUEST_BOTTOM && end <= GUEST_TOP {
        Ok(())
    } else {
        Err(Errno::EINVAL)
    }
}

/// `EFAULT` unless the host may write an answer there: among the guest's own addresses.
fn check_place(at: u64, len: usize) -> Result<(), Errno> {
    match at.checked_add(len as u64) {
        Some(end) if at >= GUEST_BOTTOM && end <= GUEST_TOP => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

fn protection(prot: u32) -> u64 {
    let write = libc::PROT_WRITE as u32;
    let prot = prot & 7;
    u64::from(if prot & write != 0 {
        prot | libc::PROT_READ as u32
    } else {
        prot
    })
}

pub(crate) fn translate(call: &HostCall) -> Result<(RawCall, Success), Errno> {
    Ok(match call {
        HostCall::Map {
            addr,
            len,
            prot,
            shared,
            replace,
            noreserve,
            source,
        } => {
            check_range(*addr, *len)?;
            let mut flags = if *shared {
                libc::MAP_SHARED
            } else {
                libc::MAP_PRIVATE
            };
            flags |= if *replace {
                libc::MAP_FIXED
            } else {
                libc::MAP_FIXED_NOREPLACE
            };
            if *noreserve {
                flags |= libc::MAP_NORESERVE;
            }
            let (fd, offset) = match source {
                MapSource::Anonymous => {
                    flags |= libc::MAP_ANONYMOUS;
                    (u64::MAX, 0)
                }
                MapSource::File { offset, .. } => (FILE_FD.into(), *offset),
            };
            (
                [
                    libc::SYS_mmap as u64,
                    *addr,
                    *len,
                    protection(*prot),
                    flags as u64,
                    fd,
                    offset,
                ],
                Success::Address(*addr),
            )
        }
        HostCall::Unmap { addr, len } => {
            check_range(*addr, *len)?;
            (
                [libc::SYS_munmap as u64, *addr, *len, 0, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::Protect { addr, len, prot } => {
            check_range(*addr, *len)?;
            (
                [
                    libc::SYS_mprotect as u64,
                    *addr,
                    *len,
                    protection(*prot),
                    0,
                    0,
                    0,
                ],
                Success::Zero,
            )
        }
        HostCall::Remap {
            addr,
            old_len,
            new_len,
            new_addr,
            keep_old,
        } => {
            check_range(*addr, *old_len)?;
            check_range(*new_addr, *new_len)?;
            let mut flags = 0;
            if new_addr != addr {
                flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            }
            if *keep_old {
                flags |= libc::MREMAP_DONTUNMAP;
            }
            (
                [
                    libc::SYS_mremap as u64,
                    *addr,
                    *old_len,
                    *new_len,
                    flags as u64,
                    *new_addr,
                    0,
                ],
                Success::Address(*new_addr),
            )
        }
        HostCall::Advise { addr, len, advice } => {
            check_range(*addr, *len)?;
            if !ADVICE.contains(advice) {
                return Err(Errno::EINVAL);
            }
            (
                [
                    libc::SYS_madvise as u64,
                    *addr,
                    *len,
                    u64::from(*advice),
                    0,
                    0,
                    0,
                ],
                Success::Zero,
            )
        }
        HostCall::Residency { addr, len, vector } => {
            check_range(*addr, *len)?;
            check_place(*vector, (*len / abi::PAGE_SIZE) as usize)?;
            (
                [libc::SYS_mincore as u64, *addr, *len, *vector, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::Pin { addr, len } => {
            check_range(*addr, *len)?;
            (
                [libc::SYS_mlock as u64, *addr, *len, 0, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::Unpin { addr, len } => {
            check_range(*addr, *len)?;
            (
                [libc::SYS_munlock as u64, *addr, *len, 0, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::Usage { thread, at } => {
            check_place(*at, size_of::<libc::rusage>())?;
            let who = if *thread {
                libc::RUSAGE_THREAD
            } else {
                libc::RUSAGE_SELF
            };
            (
                [libc::SYS_getrusage as u64, who as u64, *at, 0, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::ThreadClock { at } => {
            check_place(*at, size_of::<libc::timespec>())?;
            let clock = libc::CLOCK_THREAD_CPUTIME_ID as u64;
            (
                [libc::SYS_clock_gettime as u64, clock, *at, 0, 0, 0, 0],
                Success::Zero,
            )
        }
        HostCall::Barrier { command, flags } => (
            [
                libc::SYS_membarrier as u64,
                u64::from(command.cast_unsigned()),
                u64::from(*flags),
                0,
                0,
                0,
                0,
            ],
            Success::Any,
        ),
        HostCall::SetBits { at, bit } => {
            check_place(*at, 4)?;
            if !at.is_multiple_of(4) || !bit.is_power_of_two() {
                return Err(Errno::EINVAL);
            }
            // FUTEX_OP_OR with FUTEX_OP_OPARG_SHIFT: the operand is the bit's number. Nobody waits for a guest's word at the host, so nobody is woken.
            const OR_WITH_BIT: u32 = 2 | 8;
            let encoded = OR_WITH_BIT << 28 | bit.trailing_zeros() << 12;
            let op = (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as u64;
            (
                [
                    libc::SYS_futex as u64,
                    *at,
                    op,
                    1,
                    1,
                    *at,
                    u64::from(encoded),
                ],
                Success::Zero,
            )
        }
        HostCall::Sequences {
            area,
            len,
            flags,
            signature,
        } => {
            check_place(*area, *len as usize)?;
            (
                [
                    libc::SYS_rseq as u64,
                    *area,
                    u64::from(*len),
                    u64::from(*flags),
                    u64::from(*signature),
                    0,
                    0,
                ],
                Success::Zero,
            )
        }
        HostCall::SetFsBase(base) => (
            [libc::SYS_arch_prctl as u64, ARCH_SET_FS, *base, 0, 0, 0, 0],
            Success::Zero,
        ),
        HostCall::SetGsBase(base) => (
            [libc::SYS_arch_prctl as u64, ARCH_SET_GS, *base, 0, 0, 0, 0],
            Success::Zero,
        ),
        HostCall::SetName { name } => (
            [
                libc::SYS_prctl as u64,
                libc::PR_SET_NAME as u64,
                *name,
                0,
                0,
                0,
                0,
            ],
            Success::Zero,
        ),
        HostCall::SetLayout { layout } => (
            [
                libc::SYS_prctl as u64,
                libc::PR_SET_MM as u64,
                libc::PR_SET_MM_MAP as u64,
                *layout,
                MM_MAP_SIZE,
                0,
                0,
            ],
            Success::Zero,
        ),
    })
}

pub(crate) fn file_of(call: &HostCall) -> Option<&Arc<OwnedFd>> {
    match call {
        HostCall::Map {
            source: MapSource::File { file, .. },
            ..
        } => Some(file),
        _ => None,
    }
}

/// How many of `calls` can go in one list: at most one file among them.
fn batch_len(calls: &[HostCall]) -> usize {
    let mut file: Option<&Arc<OwnedFd>> = None;
    for (index, call) in calls.iter().enumerate().take(stub::ORDERS_MAX) {
        if let Some(this) = file_of(call)
            && !Arc::ptr_eq(file.get_or_insert(this), this)
        {
            return index;
        }
    }
    calls.len().min(stub::ORDERS_MAX)
}

impl Thread {
    /// See `GuestThread::order`.
    pub(super) async fn order(
        self: &Arc<Self>,
        mut calls: &[HostCall],
    ) -> Result<Vec<Result<u64, Errno>>, Gone> {
        self.set_up().await?;
        let mut results = Vec::with_capacity(calls.len());
        while !calls.is_empty() {
            let (batch, rest) = calls.split_at(batch_len(calls));
            calls = rest;
            let (mut translated, mut refused) = (Vec::with_capacity(batch.len()), None);
            for call in batch {
                match translate(call) {
                    Ok(call) => translated.push(call),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
            if translated.is_empty() {
                results.extend(refused.map(Err));
                return Ok(results);
            }
            let raw_calls = translated.iter().map(|(call, _)| *call).collect();
            let mut guard = None;
            if let Some(file) = batch.iter().find_map(file_of) {
                guard = Some(self.process.descriptor.lock().await);
                if let Err(error) = self.start_with_file(raw_calls, file)? {
                    results.push(Err(error));
                    return Ok(results);
                }
            } else {
                self.start_task_orders(raw_calls)?;
            }
            let raw = self.results().await?;
            drop(guard);
            let made = raw.len();
            for ((call, success), result) in translated.iter().zip(raw) {
                let wanted = match success {
                    Success::Zero => 0,
                    Success::Address(addr) => *addr,
                    Success::Any => result.max(0).cast_unsigned(),
                };
                if (-4095..0).contains(&result) {
                    results.push(Err(Errno::from_raw(-result as i32)));
                    return Ok(results);
                }
                if result.cast_unsigned() != wanted {
                    // A stub that lies about what it did.
                    self.process.kill();
                    return Err(Gone);
                }
                self.remember_base(call);
                results.push(Ok(wanted));
            }
            if made < translated.len() {
                // It stopped although nothing failed.
                self.process.kill();
                return Err(Gone);
            }
            if let Some(error) = refused {
                results.push(Err(error));
                return Ok(results);
            }
        }
        Ok(results)
    }

    /// Keeps `fs_base` and `gs_base` true on hosts where the stub cannot read them.
    fn remember_base(&self, call: &RawCall) {
        if call[0] == libc::SYS_arch_prctl as u64 {
            let mut state = self.state();
            match call[1] {
                ARCH_SET_FS => state.fs_base = call[2],
                _ => state.gs_base = call[2],
            }
        }
    }

    /// Starts orders with `file` as the guest's descriptor [`FILE_FD`]. The process's `descriptor` lock is held. An error: nothing was started.
    fn start_with_file(
        self: &Arc<Self>,
        calls: Vec<RawCall>,
        file: &Arc<OwnedFd>,
    ) -> Result<Result<(), Errno>, Gone> {
        // The weak reference keeps the allocation's address from being used again, so equal addresses mean the same file.
        let same = self
            .process
            .cached
            .lock()
            .as_ref()
            .is_some_and(|cached| Weak::as_ptr(cached) == Arc::as_ptr(file));
        if same {
            return self.start_task_orders(calls).map(Ok);
        }
        *self.process.cached.lock() = None;
        // Before the host kernel lets the stub go on, which may be before it answers us.
        let id = self
            .prepare_task_orders(&mut self.state(), calls)
            .ok_or(Gone)?;
        let listener = self.process.listener.fd();
        match seccomp::add_descriptor_and_reply(listener, id, file.as_fd(), FILE_FD) {
            Ok(()) => {
                *self.process.cached.lock() = Some(Arc::downgrade(file));
                Ok(Ok(()))
            }
            Err(Errno::ENOENT | Errno::ESRCH) => Err(Gone),
            Err(error) => {
                // It still waits in its doorbell.
                let mut state = self.state();
                if state.gone {
                    return Err(Gone);
                }
                state.phase = Phase::Full(id);
                if state.exited {
                    self.leave(state);
                    return Err(Gone);
                }
                Ok(Err(error))
            }
        }
    }

    fn prepare_task_orders(
        self: &Arc<Self>,
        state: &mut State,
        calls: Vec<RawCall>,
    ) -> Option<u64> {
        if state.gone || state.exited || !matches!(state.phase, Phase::Full(_)) {
            return None;
        }
        state.deferred = None;
        self.slot.write_orders(&calls, false);
        self.prepare_orders(state, calls, Purpose::Task)
    }

    fn start_task_orders(self: &Arc<Self>, calls: Vec<RawCall>) -> Result<(), Gone> {
        let id = self
            .prepare_task_orders(&mut self.state(), calls)
            .ok_or(Gone)?;
        self.reply(id, stub::REPLY_ORDERS);
        Ok(())
    }

    /// Orders raw calls and waits for what the guest says they returned: untrusted numbers, at most as many as calls, all made.
    pub(super) async fn run_orders(
        self: &Arc<Self>,
        calls: Vec<RawCall>,
    ) -> Result<Vec<i64>, Gone> {
        self.set_up().await?;
        self.start_task_orders(calls)?;
        self.results().await
    }

    /// Waits for the results of the orders that were started.
    pub(super) async fn results(&self) -> Result<Vec<i64>, Gone> {
        poll_fn(|cx| {
            let mut state = self.state();
            if let Some(results) = state.results.take() {
                return Poll::Ready(Ok(results));
            }
            if state.gone || state.exited {
                return Poll::Ready(Err(Gone));
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
