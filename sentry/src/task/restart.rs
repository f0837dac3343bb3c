//! How an interrupted call goes on: what `restart_syscall(2)` runs.
//!
//! A call whose arguments must change when it is restarted (a relative timeout) leaves its continuation with [`CurrentTask::restart_with`] and ends
//! with the error which that returns.

use platform::futures_shape::BoxFuture;

use super::CurrentTask;
use crate::error::{Errno, Restart, SysError, SysResult};

/// The rest of an interrupted call.
pub type Continuation = Box<dyn for<'a> FnOnce(&'a CurrentTask) -> BoxFuture<'a, SysResult> + Send>;

impl CurrentTask {
    /// Stores the rest of the call and returns [`Restart::Block`].
    #[must_use]
    pub fn restart_with(
        &self,
        rest: impl for<'a> FnOnce(&'a CurrentTask) -> BoxFuture<'a, SysResult> + Send + 'static,
    ) -> SysError {
        *self.continuation.lock() = Some(Box::new(rest));
        SysError::Restart(Restart::Block)
    }

    /// `restart_syscall(2)`: runs what was stored last, once; `EINTR` if there is nothing.
    pub async fn restart(&self) -> SysResult {
        let rest = self.continuation.lock().take();
        match rest {
            Some(rest) => rest(self).await,
            None => Err(Errno::EINTR.into()),
        }
    }
}
