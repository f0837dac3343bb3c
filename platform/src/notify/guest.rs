//! What the kernel holds of a [`Thread`]: the [`GuestThread`] interface.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use abi::Errno;

use super::frame;
use super::thread::{Phase, Thread};
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
}

impl Drop for ThreadHandle {
    fn drop(&mut self) {
        self.0.exit();
    }
}

impl Thread {
    /// The extended state of the frame, as the host would restore it.
    pub(super) fn read_xstate(&self) -> Vec<u8> {
        let format = self.core.template.xstate();
        let fpstate = self.state().trap.fpstate;
        let mut image = vec![0_u8; format.size];
        if fpstate != 0
            && self.process.space.read_stub(fpstate, &mut image).is_ok()
            && frame::xstate_is_valid(&image, format)
        {
            return image;
        }
        frame::initial_xstate(format)
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
        self.0.answer(value, false);
    }

    fn answer_and_stop(&self, value: i64) {
        self.0.answer(value, true);
    }

    fn let_through(&self) -> bool {
        self.0.let_through()
    }

    fn call_again(&self) {
        self.0.call_again();
    }

    fn registers(&self) -> Result<Registers, Gone> {
        let state = self.0.state();
        if state.gone {
            Err(Gone)
        } else {
            Ok(state.registers)
        }
    }

    fn set_registers(&self, registers: &Registers) -> Result<(), Gone> {
        let mut state = self.0.state();
        if state.gone {
            return Err(Gone);
        }
        // What is sanitised on the way out is shown sanitised.
        let context = frame::encode(registers, &state.trap);
        state.registers = frame::decode(&context).0;
        state.dirty = true;
        Ok(())
    }

    fn extended_state(&self) -> Result<Vec<u8>, Gone> {
        if self.0.is_gone() {
            Err(Gone)
        } else {
            Ok(self.0.read_xstate())
        }
    }

    fn set_extended_state(&self, image: &[u8]) -> Result<(), Gone> {
        let thread = &self.0;
        let format = thread.core.template.xstate();
        let mut state = thread.state();
        if state.gone || !matches!(state.phase, Phase::Full(_)) {
            return Err(Gone);
        }
        state.dirty = true;
        let target = match state.trap.fpstate {
            0 => frame::place(thread.slot.index, format).fpstate,
            fpstate => fpstate,
        };
        // A null pointer makes the host reset the state.
        let written = frame::xstate_is_valid(image, format)
            && thread.process.space.write_stub(target, image).is_ok();
        state.trap.fpstate = if written { target } else { 0 };
        Ok(())
    }

    fn fs_base(&self) -> u64 {
        self.0.state().fs_base
    }

    fn gs_base(&self) -> u64 {
        self.0.state().gs_base
    }

    fn order<'a>(
        &'a self,
        calls: &'a [HostCall],
    ) -> BoxFuture<'a, Result<Vec<Result<u64, Errno>>, Gone>> {
        Box::pin(self.0.order(calls))
    }

    fn clone_thread<'a>(
        &'a self,
        kind: CloneKind,
        registers: &'a Registers,
        tls: Option<u64>,
    ) -> BoxFuture<'a, Result<Result<Cloned, Errno>, Gone>> {
        Box::pin(async move {
            let made = self.0.clone_thread(kind, registers, tls).await?;
            Ok(made.map(|(thread, space)| Self::cloned(thread, space)))
        })
    }

    fn defer(&self, call: &HostCall) -> bool {
        self.0.defer(call)
    }

    fn resume(&self) {
        self.0.resume_locked(self.0.state());
    }

    fn kick(&self) {
        self.0.kick();
    }

    fn set_blocked(&self, blocked: bool) {
        self.0.set_blocked(blocked);
    }

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
