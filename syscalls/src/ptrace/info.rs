//! What a tracer asks about calls and pending signals: GET_SYSCALL_INFO, PEEKSIGINFO.

use abi::{UserAddr, UserIn};
use sentry::error::{Errno, Result};
use sentry::signal::SigInfo;
use sentry::task::trace::{Stop, StopKind};
use sentry::task::{CurrentTask, Task};

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// GET_SYSCALL_INFO: `struct ptrace_syscall_info`; returns how long it is, and stores as much as asked for.
pub(super) fn syscall_info(
    cx: &CurrentTask,
    tracee: &Task,
    stop: &Stop,
    size: u64,
    at: UserAddr,
) -> Result<u64> {
    let registers = tracee.thread().registers().map_err(|_| Errno::ESRCH)?;
    let args = [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.r10,
        registers.r8,
        registers.r9,
    ];
    let (op, mut words, tail): (u32, Vec<u64>, Vec<u8>) = match stop.kind {
        StopKind::Entry => {
            let mut words = vec![stop.orig_rax.cast_unsigned()];
            words.extend(args);
            (1, words, Vec::new())
        }
        StopKind::Exit => {
            let failed = (-4095..0).contains(&registers.rax.cast_signed());
            (2, vec![registers.rax], vec![u8::from(failed)])
        }
        StopKind::Seccomp(data) => {
            let mut words = vec![stop.orig_rax.cast_unsigned()];
            words.extend(args);
            (3, words, u32::from(data).to_ne_bytes().to_vec())
        }
        _ => (0, Vec::new(), Vec::new()),
    };
    let head = u64::from(op) | u64::from(AUDIT_ARCH_X86_64) << 32;
    words.splice(0..0, [head, registers.rip, registers.rsp]);
    let mut bytes = super::registers::bytes(&words);
    bytes.extend(tail);
    let n = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len());
    cx.memory().write(at, &bytes[..n])?;
    Ok(bytes.len() as u64)
}

/// PEEKSIGINFO: copies of pending signals from an offset on; returns how many.
pub(super) fn peek_signals(
    cx: &CurrentTask,
    tracee: &Task,
    args: UserAddr,
    at: UserAddr,
) -> Result<u64> {
    const SHARED: u32 = 1;
    let [offset, rest]: [u64; 2] = cx.memory().get(UserIn::new(args))?;
    let (flags, count) = (rest as u32, (rest >> 32) as i32);
    if flags & !SHARED != 0 || count < 0 {
        return Err(Errno::EINVAL);
    }
    let pending: Vec<SigInfo> = if flags & SHARED != 0 {
        tracee.group.pending.lock().infos().copied().collect()
    } else {
        tracee.signals.lock().pending.infos().copied().collect()
    };
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut done = 0;
    for info in pending.iter().skip(skip).take(count as usize) {
        let place = at.offset(done * 128);
        match cx.memory().write(place, info.bytes()) {
            Ok(()) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}
