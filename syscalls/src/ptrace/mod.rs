//! `ptrace(2)`: the tracer's requests. What a stopped tracee does meanwhile is in [`sentry::task::trace`] and [`crate::trace`].

mod info;
mod memory;
mod registers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::signal::{SigSet, Signal, code};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::signal::{SigInfo, send};
use sentry::task::trace::{self, Mode, Stop, option};
use sentry::task::{CurrentTask, Task};

const TRACEME: u64 = 0;
const PEEKTEXT: u64 = 1;
const PEEKDATA: u64 = 2;
const PEEKUSER: u64 = 3;
const POKETEXT: u64 = 4;
const POKEDATA: u64 = 5;
const POKEUSER: u64 = 6;
const CONT: u64 = 7;
const KILL: u64 = 8;
const SINGLESTEP: u64 = 9;
const GETREGS: u64 = 12;
const SETREGS: u64 = 13;
const GETFPREGS: u64 = 14;
const SETFPREGS: u64 = 15;
const ATTACH: u64 = 16;
const DETACH: u64 = 17;
const OLDSETOPTIONS: u64 = 21;
const SYSCALL: u64 = 24;
const ARCH_PRCTL: u64 = 30;
const SETOPTIONS: u64 = 0x4200;
const GETEVENTMSG: u64 = 0x4201;
const GETSIGINFO: u64 = 0x4202;
const SETSIGINFO: u64 = 0x4203;
const GETREGSET: u64 = 0x4204;
const SETREGSET: u64 = 0x4205;
const SEIZE: u64 = 0x4206;
const INTERRUPT: u64 = 0x4207;
const LISTEN: u64 = 0x4208;
const PEEKSIGINFO: u64 = 0x4209;
const GETSIGMASK: u64 = 0x420a;
const SETSIGMASK: u64 = 0x420b;
const GET_SYSCALL_INFO: u64 = 0x420e;
const GET_RSEQ_CONFIGURATION: u64 = 0x420f;

pub(crate) use memory::write_memory_file;

/// `ptrace(2)`.
pub async fn ptrace(
    cx: &CurrentTask,
    request: u64,
    tid: i32,
    addr: u64,
    data: u64,
) -> SysResult<u64> {
    if request == TRACEME {
        return Ok(trace_me(cx)?);
    }
    let tracee = cx.pid_namespace().task(tid).ok_or(Errno::ESRCH)?;
    match request {
        ATTACH => return Ok(attach(cx, &tracee, false, 0)?),
        SEIZE if addr != 0 => return Err(Errno::EIO.into()),
        SEIZE => {
            let options = options_of(data).map_err(|errno| match errno {
                Errno::EINVAL => Errno::EIO,
                other => other,
            })?;
            return Ok(attach(cx, &tracee, true, options)?);
        }
        _ => {}
    }
    let mine = tracee
        .tracer()
        .is_some_and(|tracer| Arc::ptr_eq(&tracer, cx.task()));
    if !mine {
        return Err(Errno::ESRCH.into());
    }
    match request {
        KILL => {
            let info = SigInfo::user(Signal::KILL, code::SI_USER, 0, 0);
            send::process_signal(&tracee.group, info)?;
            return Ok(0);
        }
        INTERRUPT => {
            if !tracee.tracing.state.lock().seized {
                return Err(Errno::EIO.into());
            }
            trace::trap(&tracee);
            return Ok(0);
        }
        _ => {}
    }
    let Some(stop) = tracee.tracing.state.lock().stop.clone() else {
        return Err(Errno::ESRCH.into());
    };
    let data_at = UserAddr(data);
    match request {
        PEEKTEXT | PEEKDATA => {
            let word = memory::peek(&tracee, addr).await?;
            cx.memory().put(UserOut::new(data_at), &word)?;
            Ok(0)
        }
        POKETEXT | POKEDATA => {
            memory::poke(&tracee, addr, data).await?;
            Ok(0)
        }
        PEEKUSER => {
            let word = registers::peek_user(&tracee, &stop, addr)?;
            cx.memory().put(UserOut::new(data_at), &word)?;
            Ok(0)
        }
        POKEUSER => Ok(registers::poke_user(&tracee, &stop, addr, data).await?),
        CONT => go_on(&tracee, Mode::Continue, data),
        SYSCALL => go_on(&tracee, Mode::Syscall, data),
        SINGLESTEP => go_on(&tracee, Mode::Step, data),
        DETACH => {
            signal_of(data)?;
            trace::detach(&tracee, data as i32);
            Ok(0)
        }
        GETREGS => {
            let words = registers::general(&tracee, &stop)?;
            cx.memory().write(data_at, &registers::bytes(&words))?;
            Ok(0)
        }
        SETREGS => {
            let mut bytes = [0; registers::GENERAL_SIZE];
            cx.memory().read(data_at, &mut bytes)?;
            Ok(registers::set_general(&tracee, &bytes).await?)
        }
        GETFPREGS => {
            cx.memory().write(data_at, &registers::legacy(&tracee)?)?;
            Ok(0)
        }
        SETFPREGS => {
            let mut bytes = [0; registers::LEGACY_SIZE];
            cx.memory().read(data_at, &mut bytes)?;
            Ok(registers::set_legacy(&tracee, &bytes)?)
        }
        GETREGSET => Ok(registers::get_set(cx, &tracee, &stop, addr, data_at)?),
        SETREGSET => Ok(registers::set_set(cx, &tracee, &stop, addr, data_at).await?),
        ARCH_PRCTL => Ok(registers::arch_prctl(cx, &tracee, data, UserAddr(addr))?),
        SETOPTIONS | OLDSETOPTIONS => {
            let options = options_of(data)?;
            tracee.tracing.state.lock().options = options;
            Ok(0)
        }
        GETEVENTMSG => {
            let message = tracee.tracing.state.lock().message;
            cx.memory().put(UserOut::new(data_at), &message)?;
            Ok(0)
        }
        GETSIGINFO => {
            let info = stop.info.ok_or(Errno::EINVAL)?;
            cx.memory().write(data_at, info.bytes())?;
            Ok(0)
        }
        SETSIGINFO => {
            let mut bytes = [0; 128];
            cx.memory().read(data_at, &mut bytes)?;
            let number = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let signal = Signal::new(i64::from(number)).ok_or(Errno::EINVAL)?;
            let mut state = tracee.tracing.state.lock();
            let stop = state.stop.as_mut().ok_or(Errno::ESRCH)?;
            let info = stop.info.as_mut().ok_or(Errno::EINVAL)?;
            *info = SigInfo::from_guest(bytes, signal);
            Ok(0)
        }
        PEEKSIGINFO => Ok(info::peek_signals(cx, &tracee, UserAddr(addr), data_at)?),
        GETSIGMASK | SETSIGMASK if addr != 8 => Err(Errno::EINVAL.into()),
        GETSIGMASK => {
            let mask = {
                let signals = tracee.signals.lock();
                signals.saved_mask.unwrap_or(signals.blocked).0
            };
            cx.memory().put(UserOut::new(data_at), &mask)?;
            Ok(0)
        }
        SETSIGMASK => {
            let mask: u64 = cx.memory().get(UserIn::new(data_at))?;
            let never = SigSet::of(Signal::KILL).union(SigSet::of(Signal::STOP));
            let mut signals = tracee.signals.lock();
            signals.blocked = SigSet(mask).minus(never);
            signals.saved_mask = None;
            Ok(0)
        }
        LISTEN => {
            trace::listen(&tracee)?;
            Ok(0)
        }
        GET_SYSCALL_INFO => Ok(info::syscall_info(cx, &tracee, &stop, addr, data_at)?),
        GET_RSEQ_CONFIGURATION => {
            // `struct ptrace_rseq_configuration`: address, size, signature, flags, padding.
            const SIZE: usize = 24;
            let (area, len, signature) = tracee.misc.lock().rseq;
            let mut configuration = [0; SIZE];
            configuration[..8].copy_from_slice(&area.to_ne_bytes());
            configuration[8..12].copy_from_slice(&len.to_ne_bytes());
            configuration[12..16].copy_from_slice(&signature.to_ne_bytes());
            let n = usize::try_from(addr).unwrap_or(SIZE).min(SIZE);
            cx.memory().write(data_at, &configuration[..n])?;
            Ok(SIZE as u64)
        }
        _ => Err(Errno::EIO.into()),
    }
}

fn options_of(data: u64) -> Result<u32> {
    const SUSPEND_SECCOMP: u32 = 1 << 21;
    let options = u32::try_from(data).map_err(|_| Errno::EINVAL)?;
    if options & SUSPEND_SECCOMP != 0 {
        return Err(Errno::EPERM);
    }
    if options & !option::KNOWN != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(options)
}

fn trace_me(cx: &CurrentTask) -> Result<u64> {
    if cx.is_traced() {
        return Err(Errno::EPERM);
    }
    let parent = cx.group.parent().ok_or(Errno::EPERM)?;
    // The thread that made the process, or who stands in for it.
    let maker = cx.group.parent_thread.lock().upgrade();
    let tracer = maker
        .filter(|maker| Arc::ptr_eq(&maker.group, &parent))
        .filter(|maker| maker.try_memory_map().is_some())
        .or_else(|| parent.any_task())
        .ok_or(Errno::EPERM)?;
    trace::attach(cx.task(), &tracer, false, 0)?;
    Ok(0)
}

fn attach(cx: &CurrentTask, tracee: &Arc<Task>, seized: bool, options: u32) -> Result<u64> {
    if Arc::ptr_eq(&tracee.group, &cx.group) {
        return Err(Errno::EPERM);
    }
    crate::cred::may_inspect(cx, tracee)?;
    if tracee.group.exiting.lock().is_some() {
        return Err(Errno::EPERM);
    }
    trace::attach(tracee, cx.task(), seized, options)?;
    if !seized {
        let info = SigInfo::user(Signal::STOP, code::SI_KERNEL, 0, 0);
        send::thread_signal(tracee, info)?;
    }
    Ok(0)
}

fn signal_of(data: u64) -> Result<()> {
    const LAST: u64 = 64;
    if data <= LAST {
        Ok(())
    } else {
        Err(Errno::EIO)
    }
}

fn go_on(tracee: &Arc<Task>, mode: Mode, data: u64) -> SysResult<u64> {
    signal_of(data)?;
    trace::resume(tracee, mode, data as i32)?;
    Ok(0)
}

/// Whether the tracee is still in `stop`: for requests that waited.
fn still_stopped(tracee: &Task) -> Result<()> {
    let stopped = tracee.tracing.state.lock().stop.is_some();
    if stopped && !tracee.tracing.stepping.load(Ordering::Relaxed) {
        Ok(())
    } else {
        Err(Errno::ESRCH)
    }
}

/// Changes the number of the call that a stopped tracee is in.
fn set_orig_rax(tracee: &Task, value: i64) {
    if let Some(Stop { orig_rax, .. }) = &mut tracee.tracing.state.lock().stop {
        *orig_rax = value;
    }
}
