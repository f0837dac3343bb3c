//! A stopped tracee's registers: `struct user_regs_struct`, the FPU's, and the sets of GETREGSET.

use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result};
use sentry::mm::ops::order;
use sentry::platform::{GuestThread, HostCall, Registers};
use sentry::task::trace::Stop;
use sentry::task::{CurrentTask, Task};

/// Words of `struct user_regs_struct`.
const GENERAL: usize = 27;
/// Bytes of it.
pub(super) const GENERAL_SIZE: usize = GENERAL * 8;
/// Bytes of `struct user_fpregs_struct`.
pub(super) const LEGACY_SIZE: usize = 512;
/// Bytes of the software's own in an XSAVE image: a signal frame's marks, or ptrace's mask of features.
const SOFTWARE: std::ops::Range<usize> = 464..512;
/// The trailing mark of a signal frame's image.
const MAGIC2: usize = 4;

const NT_PRSTATUS: u64 = 1;
const NT_FPREGSET: u64 = 2;
const NT_X86_XSTATE: u64 = 0x202;

const ORIG_RAX: usize = 15;
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;

/// `struct user_regs_struct`.
pub(super) fn general(tracee: &Task, stop: &Stop) -> Result<[u64; GENERAL]> {
    let thread = tracee.thread();
    let r = thread.registers().map_err(|_| Errno::ESRCH)?;
    Ok([
        r.r15,
        r.r14,
        r.r13,
        r.r12,
        r.rbp,
        r.rbx,
        r.r11,
        r.r10,
        r.r9,
        r.r8,
        r.rax,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        stop.orig_rax.cast_unsigned(),
        r.rip,
        r.cs,
        r.eflags,
        r.rsp,
        r.ss,
        thread.fs_base(),
        thread.gs_base(),
        0,
        0,
        0,
        0,
    ])
}

pub(super) fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Sets all from the bytes of a `struct user_regs_struct`.
pub(super) async fn set_general(tracee: &Task, bytes: &[u8; GENERAL_SIZE]) -> Result<u64> {
    let mut w = [0_u64; GENERAL];
    for (word, bytes) in w.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    let thread = tracee.thread();
    let old = thread.registers().map_err(|_| Errno::ESRCH)?;
    let new = Registers {
        r15: w[0],
        r14: w[1],
        r13: w[2],
        r12: w[3],
        rbp: w[4],
        rbx: w[5],
        r11: w[6],
        r10: w[7],
        r9: w[8],
        r8: w[9],
        rax: w[10],
        rcx: w[11],
        rdx: w[12],
        rsi: w[13],
        rdi: w[14],
        rip: w[16],
        cs: old.cs,
        eflags: w[18],
        rsp: w[19],
        ss: old.ss,
    };
    if w[FS_BASE] != thread.fs_base() {
        set_base(&*thread, HostCall::SetFsBase(w[FS_BASE])).await?;
    }
    if w[GS_BASE] != thread.gs_base() {
        set_base(&*thread, HostCall::SetGsBase(w[GS_BASE])).await?;
    }
    thread.set_registers(&new).map_err(|_| Errno::ESRCH)?;
    super::set_orig_rax(tracee, w[ORIG_RAX].cast_signed());
    Ok(0)
}

async fn set_base(thread: &dyn GuestThread, call: HostCall) -> Result<()> {
    order(thread, call).await.map(drop).map_err(|_| Errno::EIO)
}

/// Byte offset of `u_debugreg` in `struct user`.
const DEBUG_REGISTERS: u64 = 848;
/// Bytes of `struct user`.
const USER_SIZE: u64 = 912;

/// PEEKUSER: the registers; debug registers and the rest of `struct user` read as zero.
pub(super) fn peek_user(tracee: &Task, stop: &Stop, offset: u64) -> Result<u64> {
    if !offset.is_multiple_of(8) || offset >= USER_SIZE {
        return Err(Errno::EIO);
    }
    let words = general(tracee, stop)?;
    Ok(words.get(offset as usize / 8).copied().unwrap_or(0))
}

/// POKEUSER: debug registers take nothing but zero, as where the hardware has no breakpoints to give.
pub(super) async fn poke_user(tracee: &Task, stop: &Stop, offset: u64, value: u64) -> Result<u64> {
    if !offset.is_multiple_of(8) || offset >= USER_SIZE {
        return Err(Errno::EIO);
    }
    let index = offset as usize / 8;
    if index >= GENERAL {
        return match (offset, value) {
            (DEBUG_REGISTERS.., 0) => Ok(0),
            (DEBUG_REGISTERS.., _) => Err(Errno::ENOSPC),
            _ => Err(Errno::EIO),
        };
    }
    let mut words = general(tracee, stop)?;
    words[index] = value;
    let mut all = [0; GENERAL_SIZE];
    all.copy_from_slice(&bytes(&words));
    set_general(tracee, &all).await
}

fn image(tracee: &Task) -> Result<Vec<u8>> {
    let image = tracee.thread().extended_state().map_err(|_| Errno::ESRCH)?;
    if image.len() < LEGACY_SIZE {
        return Err(Errno::EIO);
    }
    Ok(image)
}

/// The FXSAVE area.
pub(super) fn legacy(tracee: &Task) -> Result<Vec<u8>> {
    let mut image = image(tracee)?;
    image.truncate(LEGACY_SIZE);
    image[SOFTWARE].fill(0);
    Ok(image)
}

/// The whole XSAVE image as ptrace shows it: without a signal frame's marks, the mask of features in their place.
fn extended(tracee: &Task) -> Result<Vec<u8>> {
    let mut image = image(tracee)?;
    if image.len() < LEGACY_SIZE + 64 + MAGIC2 {
        return Err(Errno::ENODEV);
    }
    image.truncate(image.len() - MAGIC2);
    let mut features = [0; 8];
    features.copy_from_slice(&image[472..480]);
    image[SOFTWARE].fill(0);
    image[464..472].copy_from_slice(&features);
    Ok(image)
}

/// Replaces the start of the extended state; the software's own bytes stay.
fn set_extended(tracee: &Task, bytes: &[u8], legacy_only: bool) -> Result<u64> {
    let mut image = image(tracee)?;
    let end = image.len().saturating_sub(MAGIC2).max(LEGACY_SIZE);
    let old = image[SOFTWARE].to_vec();
    let n = bytes.len().min(if legacy_only { LEGACY_SIZE } else { end });
    image[..n].copy_from_slice(&bytes[..n]);
    image[SOFTWARE].copy_from_slice(&old);
    if legacy_only && image.len() >= LEGACY_SIZE + 8 {
        // The FPU's and SSE's registers are in use from now on.
        image[LEGACY_SIZE] |= 3;
    }
    tracee
        .thread()
        .set_extended_state(&image)
        .map_err(|_| Errno::ESRCH)?;
    Ok(0)
}

pub(super) fn set_legacy(tracee: &Task, bytes: &[u8; LEGACY_SIZE]) -> Result<u64> {
    set_extended(tracee, bytes, true)
}

/// The iovec of a register set's request.
fn vector(cx: &CurrentTask, at: UserAddr) -> Result<(UserAddr, usize)> {
    let [base, len]: [u64; 2] = cx.memory().get(UserIn::new(at))?;
    Ok((UserAddr(base), usize::try_from(len).unwrap_or(usize::MAX)))
}

/// GETREGSET: as much as the vector takes; its length becomes that.
pub(super) fn get_set(
    cx: &CurrentTask,
    tracee: &Task,
    stop: &Stop,
    kind: u64,
    at: UserAddr,
) -> Result<u64> {
    let (base, len) = vector(cx, at)?;
    let (bytes, unit) = match kind {
        NT_PRSTATUS => (bytes(&general(tracee, stop)?), 8),
        NT_FPREGSET => (legacy(tracee)?, 4),
        NT_X86_XSTATE => (extended(tracee)?, 8),
        _ => return Err(Errno::EINVAL),
    };
    if !len.is_multiple_of(unit) {
        return Err(Errno::EINVAL);
    }
    let n = len.min(bytes.len());
    cx.memory().write(base, &bytes[..n])?;
    cx.memory()
        .put(UserOut::<u64>::new(at.offset(8)), &(n as u64))?;
    Ok(0)
}

/// SETREGSET.
pub(super) async fn set_set(
    cx: &CurrentTask,
    tracee: &Task,
    stop: &Stop,
    kind: u64,
    at: UserAddr,
) -> Result<u64> {
    let (base, len) = vector(cx, at)?;
    let mut whole = match kind {
        NT_PRSTATUS => bytes(&general(tracee, stop)?),
        NT_FPREGSET => legacy(tracee)?,
        NT_X86_XSTATE => extended(tracee)?,
        _ => return Err(Errno::EINVAL),
    };
    if !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    if kind == NT_X86_XSTATE && len < whole.len() {
        return Err(Errno::EFAULT);
    }
    let n = len.min(whole.len());
    cx.memory().read(base, &mut whole[..n])?;
    match kind {
        NT_PRSTATUS => {
            let mut all = [0; GENERAL_SIZE];
            all.copy_from_slice(&whole);
            set_general(tracee, &all).await?;
        }
        NT_FPREGSET => {
            set_extended(tracee, &whole, true)?;
        }
        _ => {
            set_extended(tracee, &whole, false)?;
        }
    }
    cx.memory()
        .put(UserOut::<u64>::new(at.offset(8)), &(n as u64))?;
    Ok(0)
}

/// PTRACE_ARCH_PRCTL: reading the bases.
pub(super) fn arch_prctl(cx: &CurrentTask, tracee: &Task, code: u64, at: UserAddr) -> Result<u64> {
    const ARCH_GET_FS: u64 = 0x1003;
    const ARCH_GET_GS: u64 = 0x1004;
    let thread = tracee.thread();
    let base = match code {
        ARCH_GET_FS => thread.fs_base(),
        ARCH_GET_GS => thread.gs_base(),
        _ => return Err(Errno::EINVAL),
    };
    cx.memory().put(UserOut::new(at), &base)?;
    Ok(0)
}
