//! Calls that replace the signal mask while they wait (ppoll, pselect6, epoll_pwait …).

use abi::UserIn;
use abi::signal::SigSet;
use sentry::error::{Errno, Result, SysError, SysResult};
use sentry::task::CurrentTask;

/// Reads the mask argument of such a call: `EINVAL` for a size other than the kernel's 8 bytes.
pub fn read_mask(cx: &CurrentTask, at: UserIn<u64>, size: usize) -> Result<Option<SigSet>> {
    if at.is_null() {
        return Ok(None);
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    let mask = SigSet(cx.memory().get(at)?);
    Ok(Some(mask.minus(SigSet::UNBLOCKABLE)))
}

/// Runs `call` under `mask` (`None`: no change). If a signal ended it, the mask stays until a handler has been chosen under it: the old one waits in
/// `saved_mask`, for the frame and for the task's loop (`restore_saved_sigmask_unless`).
pub async fn with_signal_mask<T>(
    cx: &CurrentTask,
    mask: Option<SigSet>,
    call: impl Future<Output = SysResult<T>>,
) -> SysResult<T> {
    let Some(mask) = mask else {
        return call.await;
    };
    {
        let mut signals = cx.signals.lock();
        signals.saved_mask = Some(signals.blocked);
        signals.blocked = mask;
    }
    let result = call.await;
    let by_signal = matches!(
        result,
        Err(SysError::Restart(_) | SysError::Errno(Errno::EINTR))
    );
    if !by_signal {
        let mut signals = cx.signals.lock();
        if let Some(old) = signals.saved_mask.take() {
            signals.blocked = old;
        }
        drop(signals);
        // What came while it was blocked for the call only.
        if cx.has_work() {
            cx.interrupt();
        }
    }
    result
}
