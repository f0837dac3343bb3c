//! Mappings that are made as the guest runs on: the books say at once what will be, the host does it before the next instruction.
//!
//! Only private anonymous memory where nothing was. Should the host refuse, the thread stops again and the books are set right
//! ([`MemoryMap::undo`]); until it stops the range is in limbo.

use std::sync::Arc;

use abi::Errno;
use platform::{GuestThread, HostCall, MapSource};

use super::{MapRequest, MemoryMap};
use crate::error::Result;

/// A mapping that is in the books and left for the end of the stop.
#[derive(Clone)]
pub struct Deferred {
    call: HostCall,
    start: u64,
    end: u64,
    /// The break before, if it was `brk` that mapped.
    old_break: Option<u64>,
}

impl Deferred {
    pub(super) fn with_break(self, old: u64) -> Self {
        Self {
            old_break: Some(old),
            ..self
        }
    }

    /// The host call.
    #[must_use]
    pub const fn call(&self) -> &HostCall {
        &self.call
    }
}

impl MemoryMap {
    /// As [`MemoryMap::map`], but what can be left for the end of the thread's stop is.
    pub async fn map_later(
        &self,
        thread: &Arc<dyn GuestThread>,
        request: MapRequest,
    ) -> Result<(u64, Option<Deferred>)> {
        let _operation = self.operation.lock().await;
        self.map_later_locked(thread, request).await
    }

    pub(super) async fn map_later_locked(
        &self,
        thread: &Arc<dyn GuestThread>,
        request: MapRequest,
    ) -> Result<(u64, Option<Deferred>)> {
        let call = self.plan(&**thread, &request).await?;
        let HostCall::Map {
            addr,
            len,
            shared: false,
            replace: false,
            source: MapSource::Anonymous,
            ..
        } = call
        else {
            return self.make(thread, call, request).await;
        };
        if !thread.defer(&call) {
            return self.make(thread, call, request).await;
        }
        self.limbo.enter(addr, addr + len, thread.clone());
        self.record(addr, request);
        let deferred = Deferred {
            call,
            start: addr,
            end: addr + len,
            old_break: None,
        };
        Ok((addr, Some(deferred)))
    }

    async fn make(
        &self,
        thread: &Arc<dyn GuestThread>,
        call: HostCall,
        request: MapRequest,
    ) -> Result<(u64, Option<Deferred>)> {
        let addr = super::ops::order(&**thread, call).await?;
        self.record(addr, request);
        Ok((addr, None))
    }

    /// The host refused what was deferred: it is not mapped. Returns what the guest's call says.
    pub fn undo(&self, deferred: &Deferred, error: Errno) -> i64 {
        let mut state = self.state.write();
        let removed = state.tree.remove(deferred.start, deferred.end);
        let result = match deferred.old_break {
            Some(old) => {
                state.layout.brk = old;
                old.cast_signed()
            }
            None => error.as_return(),
        };
        drop(state);
        drop(removed);
        result
    }
}
