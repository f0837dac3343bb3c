//! A platform without guests: the test plays the guest. Needs no privilege and no host process.
//!
//! [`Mock::spawn`](crate::Platform::spawn) makes a thread as the real platforms do, and hands its other end, a [`Puppet`], to the test
//! ([`Mock::next_puppet`]). The puppet makes calls and faults and sees what the kernel answers; its memory is a table of pages.

pub mod memory;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use abi::Errno;
use parking_lot::{Condvar, Mutex};

use self::memory::Memory;
use crate::api::futures_shape::BoxFuture;
use crate::api::{
    CloneKind, Cloned, Fault, Gone, GuestThread, HostCall, Platform, Registers, Schedule, Stop,
    SyscallArgs,
};

/// How long a puppet waits for the kernel before the test is declared hung.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Default)]
pub struct Mock(Arc<Shared>);

#[derive(Default)]
struct Shared {
    puppets: Mutex<VecDeque<Puppet>>,
    made: Condvar,
    next_tid: AtomicI32,
}

impl Mock {
    /// A platform with no threads.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The guest's side of the oldest thread made that nobody has taken. Waits for it.
    ///
    /// # Panics
    /// If the kernel makes none for ten seconds.
    #[must_use]
    pub fn next_puppet(&self) -> Puppet {
        let mut puppets = self.0.puppets.lock();
        loop {
            if let Some(puppet) = puppets.pop_front() {
                return puppet;
            }
            assert!(
                !self.0.made.wait_for(&mut puppets, PATIENCE).timed_out(),
                "the kernel made no thread"
            );
        }
    }

    fn make(
        &self,
        space: Arc<Memory>,
        registers: Registers,
        fs_base: u64,
        gs_base: u64,
        image: Vec<u8>,
    ) -> Cloned {
        let thread = Arc::new(Thread {
            mock: self.clone(),
            tid: self.0.next_tid.fetch_add(1, Ordering::Relaxed) + 1,
            space: Arc::clone(&space),
            state: Mutex::new(State {
                stop: Some(Stop::Started),
                full: true,
                registers,
                fs_base,
                gs_base,
                image,
                ..State::default()
            }),
            changed: Condvar::new(),
        });
        self.0.puppets.lock().push_back(Puppet(Arc::clone(&thread)));
        self.0.made.notify_all();
        Cloned { thread, space }
    }
}

impl Platform for Mock {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn spawn(&self) -> BoxFuture<'_, Result<Cloned, Errno>> {
        let registers = Registers {
            cs: 0x33,
            ss: 0x2b,
            eflags: 0x202,
            ..Registers::default()
        };
        let made = self.make(Arc::default(), registers, 0, 0, vec![0; 512]);
        Box::pin(async { Ok(made) })
    }
}

struct Thread {
    mock: Mock,
    tid: i32,
    space: Arc<Memory>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Reported at the next poll.
    stop: Option<Stop>,
    waker: Option<Waker>,
    /// The thread is at a full stop.
    full: bool,
    /// The thread is at a light stop.
    light: bool,
    answer: Option<i64>,
    registers: Registers,
    fs_base: u64,
    gs_base: u64,
    image: Vec<u8>,
    kicked: bool,
    gone: bool,
}

/// The guest's side of a thread: what its code would do. Methods block until the kernel has answered.
pub struct Puppet(Arc<Thread>);

/// The kernel ended the thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl Puppet {
    /// The thread's memory, as the guest sees it.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.0.space
    }

    /// The registers with which the thread runs.
    #[must_use]
    pub fn registers(&self) -> Registers {
        self.0.state.lock().registers
    }

    /// Waits until the thread runs.
    pub fn run(&self) -> Result<(), Ended> {
        self.wait(|state| (!state.full && !state.light && state.stop.is_none()).then_some(()))
    }

    /// Makes a call of which the kernel gets number and arguments only: what it returns.
    pub fn call(&self, nr: u32, args: [u64; 6]) -> Result<i64, Ended> {
        self.run()?;
        let ip = self.registers().rip;
        self.stop(
            Stop::Syscall(SyscallArgs {
                nr: nr.into(),
                args,
                ip,
                arch: 0xc000_003e,
            }),
            |state| state.light = true,
        );
        let value = self.wait(|state| state.answer.take())?;
        self.run()?;
        Ok(value)
    }

    /// Makes a call at which the kernel gets all registers: the registers afterwards.
    pub fn call_full(&self, nr: u32, args: [u64; 6]) -> Result<Registers, Ended> {
        self.run()?;
        let ip = self.registers().rip;
        let stop = Stop::SyscallFull(SyscallArgs {
            nr: nr.into(),
            args,
            ip,
            arch: 0xc000_003e,
        });
        self.stop(stop, |state| {
            state.full = true;
            let [rdi, rsi, rdx, r10, r8, r9] = args;
            state.registers = Registers {
                rax: nr.into(),
                rdi,
                rsi,
                rdx,
                r10,
                r8,
                r9,
                ..state.registers
            };
        });
        self.run()?;
        Ok(self.registers())
    }

    /// Raises an exception.
    pub fn fault(&self, fault: Fault) -> Result<Registers, Ended> {
        self.run()?;
        self.stop(Stop::Fault(fault), |state| state.full = true);
        self.run()?;
        Ok(self.registers())
    }

    fn stop(&self, stop: Stop, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.0.state.lock();
            change(&mut state);
            state.stop = Some(stop);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wait<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> Result<T, Ended> {
        let mut state = self.0.state.lock();
        loop {
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            if state.gone {
                return Err(Ended);
            }
            let late = self.0.changed.wait_for(&mut state, PATIENCE).timed_out();
            assert!(!late, "the kernel left the thread waiting");
        }
    }
}

impl Thread {
    fn full(&self) -> Result<parking_lot::MutexGuard<'_, State>, Gone> {
        let state = self.state.lock();
        if state.gone { Err(Gone) } else { Ok(state) }
    }

    fn finish_light(&self, value: i64, stop: bool) {
        let waker = {
            let mut state = self.state.lock();
            if !std::mem::take(&mut state.light) {
                return;
            }
            state.answer = Some(value);
            state.registers.rax = value.cast_unsigned();
            if stop || std::mem::take(&mut state.kicked) {
                state.full = true;
                state.stop = Some(Stop::Kicked);
            }
            if state.stop.is_some() {
                state.waker.take()
            } else {
                None
            }
        };
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl GuestThread for Thread {
    fn poll_stop(&self, cx: &mut Context<'_>) -> Poll<Result<Stop, Gone>> {
        let mut state = self.state.lock();
        if state.gone {
            return Poll::Ready(Err(Gone));
        }
        if let Some(stop) = state.stop.take() {
            return Poll::Ready(Ok(stop));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn answer(&self, value: i64) {
        self.finish_light(value, false);
    }

    fn answer_and_stop(&self, value: i64) {
        self.finish_light(value, true);
    }

    fn registers(&self) -> Result<Registers, Gone> {
        Ok(self.full()?.registers)
    }

    fn set_registers(&self, registers: &Registers) -> Result<(), Gone> {
        self.full()?.registers = *registers;
        Ok(())
    }

    fn extended_state(&self) -> Result<Vec<u8>, Gone> {
        Ok(self.full()?.image.clone())
    }

    fn set_extended_state(&self, image: &[u8]) -> Result<(), Gone> {
        let mut state = self.full()?;
        state.image = if image.len() == 512 {
            image.to_vec()
        } else {
            vec![0; 512]
        };
        Ok(())
    }

    fn fs_base(&self) -> u64 {
        self.state.lock().fs_base
    }

    fn gs_base(&self) -> u64 {
        self.state.lock().gs_base
    }

    fn order<'a>(
        &'a self,
        calls: &'a [HostCall],
    ) -> BoxFuture<'a, Result<Vec<Result<u64, Errno>>, Gone>> {
        Box::pin(async move {
            let mut results = Vec::new();
            for call in calls {
                let mut state = self.full()?;
                match call {
                    HostCall::SetFsBase(base) => state.fs_base = *base,
                    HostCall::SetGsBase(base) => state.gs_base = *base,
                    _ => {}
                }
                drop(state);
                let result = self.space.execute(call);
                results.push(result);
                if result.is_err() {
                    break;
                }
            }
            Ok(results)
        })
    }

    fn clone_thread<'a>(
        &'a self,
        kind: CloneKind,
        registers: &'a Registers,
        tls: Option<u64>,
    ) -> BoxFuture<'a, Result<Result<Cloned, Errno>, Gone>> {
        Box::pin(async move {
            let (fs_base, gs_base, image) = {
                let state = self.full()?;
                (
                    tls.unwrap_or(state.fs_base),
                    state.gs_base,
                    state.image.clone(),
                )
            };
            let space = match kind {
                CloneKind::Fork => Arc::new(self.space.fork()),
                CloneKind::Thread | CloneKind::SharedMemory => Arc::clone(&self.space),
            };
            Ok(Ok(self
                .mock
                .make(space, *registers, fs_base, gs_base, image)))
        })
    }

    fn resume(&self) {
        let mut state = self.state.lock();
        if !state.full {
            return;
        }
        state.full = false;
        state.stop = None;
        if std::mem::take(&mut state.kicked) {
            state.full = true;
            state.stop = Some(Stop::Kicked);
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            return;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn kick(&self) {
        let mut state = self.state.lock();
        if state.gone || state.kicked {
            return;
        }
        if state.full || state.light {
            state.kicked = true;
            return;
        }
        state.full = true;
        state.stop = Some(Stop::Kicked);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn set_blocked(&self, _: bool) {}

    fn watch_gone(&self, waker: &Waker) -> bool {
        let mut state = self.state.lock();
        state.waker = Some(waker.clone());
        state.gone
    }

    fn exit(&self) {
        let waker = {
            let mut state = self.state.lock();
            state.gone = true;
            state.waker.take()
        };
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn remains(&self) -> Arc<crate::Remains> {
        crate::Remains::of(crate::Usage::default())
    }

    fn host_tid(&self) -> i32 {
        self.tid
    }

    fn schedule(&self, _how: Schedule) -> Result<(), Errno> {
        Ok(())
    }

    fn cpu_time_ns(&self) -> (u64, u64) {
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let thread = std::thread::current();
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread)));
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return value;
            }
            std::thread::park();
        }
    }

    #[test]
    fn the_puppet_is_served_like_a_guest() {
        let mock = Mock::new();
        let made = block_on(mock.spawn()).unwrap_or_else(|_| panic!("spawn"));
        let puppet = mock.next_puppet();
        let guest = std::thread::spawn(move || {
            let first = puppet.call(39, [1; 6]);
            let second = puppet.call_full(9, [2; 6]);
            let third = puppet.call(39, [3; 6]);
            (first, second.map(|registers| registers.rax), third)
        });
        block_on(async {
            let thread = &made.thread;
            let next = || poll_fn(|cx| thread.poll_stop(cx));
            assert_eq!(next().await, Ok(Stop::Started));
            thread.resume();
            let Ok(Stop::Syscall(call)) = next().await else {
                panic!("light")
            };
            assert_eq!((call.nr, call.args[0]), (39, 1));
            thread.kick();
            thread.answer(5);
            assert_eq!(next().await, Ok(Stop::Kicked));
            thread.resume();
            let Ok(Stop::SyscallFull(_)) = next().await else {
                panic!("full")
            };
            let map = HostCall::Map {
                addr: 0x10_0000,
                len: 8192,
                prot: 3,
                shared: false,
                replace: false,
                noreserve: false,
                source: crate::MapSource::Anonymous,
            };
            assert_eq!(
                thread.order(&[map.clone(), map]).await,
                Ok(vec![Ok(0x10_0000), Err(Errno::EEXIST)])
            );
            let registers = thread.registers().unwrap();
            thread
                .set_registers(&Registers {
                    rax: 6,
                    ..registers
                })
                .unwrap();
            assert_eq!(made.space.write(0x10_1ffe, b"abcd"), Ok(2));
            let child = thread
                .clone_thread(CloneKind::Fork, &registers, None)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(made.space.write(0x10_1ffe, b"x"), Ok(1));
            let mut buf = [0; 2];
            assert_eq!(child.space.read(0x10_1ffe, &mut buf), Ok(2));
            assert_eq!(&buf, b"ab");
            thread.resume();
            let Ok(Stop::Syscall(_)) = next().await else {
                panic!("light")
            };
            thread.exit();
            assert_eq!(next().await, Err(Gone));
        });
        assert_eq!(guest.join().unwrap(), (Ok(5), Ok(6), Err(Ended)));
    }
}
