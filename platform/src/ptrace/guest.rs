//! What the kernel holds of a [`Thread`]: the [`GuestThread`] interface.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use abi::Errno;

use super::registers;
use super::thread::{Phase, Thread};
use super::tracer::{CloneOrder, Reply, Request};
use crate::api::futures_shape::BoxFuture;
use crate::api::{
    AddressSpace, CloneKind, Cloned, Gone, GuestThread, HostCall, Registers, Schedule, Stop,
};
use crate::remains::Remains;

/// Dropping it ends the thread.
pub(super) struct ThreadHandle(Arc<Thread>);

impl ThreadHandle {
    pub(super) fn cloned(thread: Arc<Thread>, space: Arc<dyn AddressSpace>) -> Cloned {
        Cloned {
            thread: Arc::new(Self(thread)),
            space,
        }
    }

    fn at_full_stop<T>(
        &self,
        read: impl FnOnce(&mut super::thread::State) -> T,
    ) -> Result<T, Gone> {
        let mut state = self.0.state();
        if state.gone || state.phase != Phase::Full {
            return Err(Gone);
        }
        Ok(read(&mut state))
    }
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        self.0.exit();
    }
}

impl GuestThread for ThreadHandle {
    fn poll_stop(&self, cx: &mut Context<'_>) -> Poll<Result<Stop, Gone>> {
        let mut state = self.0.state();
        if state.gone || state.exited {
            return Poll::Ready(Err(Gone));
        }
        if let Some(stop) = state.stop.take() {
            return Poll::Ready(Ok(stop));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn answer(&self, value: i64) {
        self.0
            .tracer
            .submit(Request::Answer(Arc::clone(&self.0), value, false));
    }

    fn answer_and_stop(&self, value: i64) {
        self.0
            .tracer
            .submit(Request::Answer(Arc::clone(&self.0), value, true));
    }

    fn registers(&self) -> Result<Registers, Gone> {
        self.at_full_stop(|state| registers::to_api(&state.regs))
    }

    fn set_registers(&self, wanted: &Registers) -> Result<(), Gone> {
        self.at_full_stop(|state| {
            registers::from_api(&mut state.regs, wanted);
            state.regs_dirty = true;
        })
    }

    fn extended_state(&self) -> Result<Vec<u8>, Gone> {
        let format = self.0.tracer.core().template.xstate();
        self.at_full_stop(|state| registers::image_of(&state.xstate, format))
    }

    fn set_extended_state(&self, image: &[u8]) -> Result<(), Gone> {
        let format = self.0.tracer.core().template.xstate();
        self.at_full_stop(|state| {
            state.xstate = registers::state_of(image, format, state.xstate.len());
            state.xstate_dirty = true;
        })
    }

    fn fs_base(&self) -> u64 {
        self.0.state().regs.fs_base
    }

    fn gs_base(&self) -> u64 {
        self.0.state().regs.gs_base
    }

    fn order<'a>(
        &'a self,
        calls: &'a [HostCall],
    ) -> BoxFuture<'a, Result<Vec<Result<u64, Errno>>, Gone>> {
        let reply = Reply::new();
        self.0.tracer.submit(Request::Order(
            Arc::clone(&self.0),
            calls.to_vec(),
            reply.clone(),
        ));
        Box::pin(reply.wait())
    }

    fn clone_thread<'a>(
        &'a self,
        kind: CloneKind,
        registers: &'a Registers,
        tls: Option<u64>,
    ) -> BoxFuture<'a, Result<Result<Cloned, Errno>, Gone>> {
        let order = CloneOrder {
            kind,
            registers: *registers,
            tls,
        };
        let reply = Reply::new();
        self.0
            .tracer
            .submit(Request::Clone(Arc::clone(&self.0), order, reply.clone()));
        Box::pin(async move {
            Ok(reply
                .wait()
                .await?
                .map(|(thread, space)| Self::cloned(thread, space)))
        })
    }

    fn resume(&self) {
        self.0.tracer.submit(Request::Resume(Arc::clone(&self.0)));
    }

    fn kick(&self) {
        self.0.kick();
    }

    /// Nothing to choose: a stopped thread costs the host nothing.
    fn set_blocked(&self, _blocked: bool) {}

    fn watch_gone(&self, waker: &Waker) -> bool {
        let mut state = self.0.state();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
        state.gone
    }

    fn exit(&self) {
        self.0.exit();
    }

    fn remains(&self) -> Arc<Remains> {
        Arc::clone(&self.0.process.remains)
    }

    fn host_tid(&self) -> i32 {
        self.0.tid
    }

    fn schedule(&self, how: Schedule) -> Result<(), Errno> {
        self.0.process.schedule(self.0.tid, how)
    }

    fn cpu_time_ns(&self) -> (u64, u64) {
        self.0.process.cpu_time_per_thread()
    }
}
