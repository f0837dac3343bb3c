//! Restartable sequences (`rseq(2)`): the host kernel does them, on the guest thread's own host thread.
//!
//! Registration is an ordered call; the sentry only remembers it. A thread whose memory may be given away while its host thread lives on is taken out
//! first ([`forget`]): the host kills a process whose registered area is gone. The host aborts a critical section when it delivers a signal; where the
//! sentry has the thread stopped by other means, [`abort`] does the same.

use abi::{UserAddr, UserIn, UserOut};
use sentry::SyscallArgs;
use sentry::error::{Errno, Result, SysResult};
use sentry::mm::GUEST_TOP;
use sentry::mm::ops::order;
use sentry::platform::HostCall;
use sentry::task::CurrentTask;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const FLAG_UNREGISTER: u32 = 1;
/// Where `struct rseq` points to its `struct rseq_cs`.
const RSEQ_CS: u64 = 8;

/// `struct rseq_cs`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct CriticalSection {
    version: u32,
    flags: u32,
    start_ip: u64,
    post_commit_offset: u64,
    abort_ip: u64,
}

/// `rseq(2)`.
pub async fn rseq(
    cx: &CurrentTask,
    area: UserAddr,
    len: u32,
    flags: u32,
    signature: u32,
) -> SysResult<()> {
    if !cx.memory_map().space().has_sequences() {
        return Err(Errno::ENOSYS.into());
    }
    let (registered, _, _) = cx.misc.lock().rseq;
    let inside = area
        .0
        .checked_add(u64::from(len))
        .is_some_and(|end| end <= GUEST_TOP);
    if !inside {
        // Registered areas lie inside.
        let plain = flags == 0 && registered == 0 && area.0.is_multiple_of(32) && len >= 32;
        return Err(if plain { Errno::EFAULT } else { Errno::EINVAL }.into());
    }
    let call = HostCall::Sequences {
        area: area.0,
        len,
        flags,
        signature,
    };
    order(&*cx.thread(), call).await?;
    cx.misc.lock().rseq = if flags == FLAG_UNREGISTER {
        (0, 0, 0)
    } else {
        (area.0, len, signature)
    };
    Ok(())
}

/// Whether `call` is the end of a thread that has to be taken out first: a leader's host thread waits in its stub for the others' end. Another's
/// ends inside of the call, where notifications are, and never looks at the area again.
pub(crate) fn needs_full_stop(cx: &CurrentTask, call: &SyscallArgs) -> bool {
    const EXIT: u64 = 60;
    let ends_inside =
        cx.kernel.platform.name() == "notify" && !std::sync::Arc::ptr_eq(&cx.tid(), &cx.group.pid);
    call.nr == EXIT && !ends_inside && cx.misc.lock().rseq.0 != 0
}

/// Takes the area of a thread at a full stop out of the host's books.
pub(crate) async fn forget(cx: &CurrentTask) {
    let (area, len, signature) = std::mem::take(&mut cx.misc.lock().rseq);
    if area == 0 {
        return;
    }
    let call = HostCall::Sequences {
        area,
        len,
        flags: FLAG_UNREGISTER,
        signature,
    };
    // Refused at a light stop, where it is not needed.
    let _ = order(&*cx.thread(), call).await;
}

/// Moves a thread that was stopped inside a critical section to its abort address (`rseq_ip_fixup`). Where the host has done it nothing is left to do.
pub(crate) fn abort(cx: &CurrentTask) {
    let (area, _, signature) = cx.misc.lock().rseq;
    if area != 0 {
        // What is broken is left to the host, which looks at it next.
        let _ = try_abort(cx, area, signature);
    }
}

fn try_abort(cx: &CurrentTask, area: u64, signature: u32) -> Result<()> {
    let memory = cx.memory();
    let at = UserAddr(area.wrapping_add(RSEQ_CS));
    let section: u64 = memory.get(UserIn::new(at))?;
    if section == 0 {
        return Ok(());
    }
    let section: CriticalSection = memory.get(UserIn::new(UserAddr(section)))?;
    let thread = cx.thread();
    let mut registers = thread.registers().map_err(|_| Errno::ESRCH)?;
    let inside = registers.rip.wrapping_sub(section.start_ip) < section.post_commit_offset;
    if section.version != 0 || !inside || section.abort_ip >= GUEST_TOP {
        return Ok(());
    }
    let before = UserAddr(section.abort_ip.wrapping_sub(4));
    if memory.get(UserIn::<u32>::new(before))? != signature {
        return Ok(());
    }
    memory.put(UserOut::new(at), &0_u64)?;
    registers.rip = section.abort_ip;
    thread.set_registers(&registers).map_err(|_| Errno::ESRCH)
}
