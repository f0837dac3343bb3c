//! A kernel in miniature for the platform's tests: an executor and helpers that run machine code in guest processes.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test binary uses its part"
)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use platform::{
    AddressSpace, Cloned, Config, Gone, GuestThread, HostCall, MapSource, Platform, Registers,
    Stop, Worker,
};
use platform::{notify, ptrace};

type Future0 = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task: polled by whichever thread's queue it is in.
struct Task {
    future: Mutex<Option<Future0>>,
    queued: AtomicBool,
}

thread_local! {
    static READY: RefCell<Option<VecDeque<Arc<Task>>>> = const { RefCell::new(None) };
}

fn background() -> &'static std::sync::mpsc::SyncSender<Arc<Task>> {
    static SENDER: OnceLock<std::sync::mpsc::SyncSender<Arc<Task>>> = OnceLock::new();
    SENDER.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Arc<Task>>(100_000);
        std::thread::spawn(move || {
            Hooks.enter();
            for task in receiver {
                task.poll();
                Hooks.run_ready();
            }
        });
        sender
    })
}

impl Task {
    fn poll(self: Arc<Self>) {
        self.queued.store(false, Ordering::Release);
        let mut slot = self.future.lock().unwrap();
        let Some(future) = slot.as_mut() else { return };
        let waker = Waker::from(Arc::clone(&self));
        let poll = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        if !matches!(poll, Ok(Poll::Pending)) {
            *slot = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let rest = READY.with_borrow_mut(|queue| match queue {
            Some(queue) => {
                queue.push_back(self);
                None
            }
            None => Some(self),
        });
        if let Some(task) = rest {
            background().send(task).unwrap();
        }
    }
}

pub struct Hooks;

impl Worker for Hooks {
    fn enter(&self) {
        READY.set(Some(VecDeque::new()));
    }

    fn run_ready(&self) {
        while let Some(task) =
            READY.with_borrow_mut(|queue| queue.as_mut().and_then(VecDeque::pop_front))
        {
            task.poll();
        }
    }
}

/// Runs `future` as a task and waits for its result.
pub fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    start(future).recv().expect("the task finished")
}

/// Runs `future` as a task.
pub fn start<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::sync::mpsc::Receiver<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let future: Future0 = Box::pin(async move {
        let _ = sender.send(future.await);
    });
    let task = Arc::new(Task {
        future: Mutex::new(Some(future)),
        queued: AtomicBool::new(false),
    });
    task.wake();
    receiver
}

/// Awaits both.
pub async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut left, mut right) = (None, None);
    poll_fn(|cx| {
        if left.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            left = Some(value);
        }
        if right.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            right = Some(value);
        }
        if left.is_some() && right.is_some() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    (left.unwrap(), right.unwrap())
}

/// Whether this test binary is one of those that run the tests on ptrace (`ptrace_*.rs`).
pub fn on_ptrace() -> bool {
    module_path!().starts_with("ptrace")
}

/// Runs `prepare` on a thread that never ends: guests live as long as the thread that forked their template.
fn prepare_for_ever<T: Send + 'static>(prepare: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        sender.send(prepare()).map_err(drop).unwrap();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().unwrap()
}

/// The platform that this binary tests.
pub fn new_platform(full_calls: Vec<u32>) -> Box<dyn Platform> {
    let config = Config {
        full_calls,
        passable_calls: Vec::new(),
        fast_path: std::env::args().any(|arg| arg == "fast-path"),
        worker: Arc::new(Hooks),
    };
    if on_ptrace() {
        let template = prepare_for_ever(|| ptrace::Template::prepare().expect("template"));
        Box::new(ptrace::Platform::new(template, config).expect("platform"))
    } else {
        let template = prepare_for_ever(|| notify::Template::prepare().expect("template"));
        Box::new(notify::Platform::new(template, config).expect("platform"))
    }
}

/// One platform for all tests of a binary. Full calls: mmap and 600.
pub fn shared() -> &'static dyn Platform {
    static SHARED: OnceLock<Box<dyn Platform>> = OnceLock::new();
    &**SHARED.get_or_init(|| new_platform(vec![libc::SYS_mmap as u32, 600]))
}

pub const CODE: u64 = 0x40_0000;
pub const DATA: u64 = 0x50_0000;
pub const DATA_LEN: u64 = 0x10_0000;
pub const STACK_TOP: u64 = DATA + DATA_LEN;

pub async fn next(thread: &Arc<dyn GuestThread>) -> Result<Stop, Gone> {
    poll_fn(|cx| thread.poll_stop(cx)).await
}

/// The next stop, which must be a call answered lightly: its number and arguments.
pub async fn light(thread: &Arc<dyn GuestThread>) -> (u64, [u64; 6]) {
    match next(thread).await {
        Ok(Stop::Syscall(call)) => (call.nr, call.args),
        other => panic!("expected a light stop, got {other:?}"),
    }
}

pub fn anonymous(addr: u64, len: u64, prot: i32) -> HostCall {
    HostCall::Map {
        addr,
        len,
        prot: prot as u32,
        shared: false,
        replace: false,
        noreserve: false,
        source: MapSource::Anonymous,
    }
}

/// A process with `code` at [`CODE`] and writable memory at [`DATA`], stopped, with registers set to start there.
pub async fn load(platform: &dyn Platform, code: &[u8]) -> Cloned {
    let made = platform.spawn().await.expect("spawn");
    assert_eq!(next(&made.thread).await, Ok(Stop::Started));
    let len = (code.len() as u64).next_multiple_of(4096);
    let results = made
        .thread
        .order(&[anonymous(CODE, len, 3), anonymous(DATA, DATA_LEN, 3)])
        .await
        .expect("alive");
    assert_eq!(results, [Ok(CODE), Ok(DATA)]);
    assert_eq!(made.space.write(CODE, code), Ok(code.len()));
    let results = made
        .thread
        .order(&[HostCall::Protect {
            addr: CODE,
            len,
            prot: 5,
        }])
        .await
        .expect("alive");
    assert_eq!(results, [Ok(0)]);
    let registers = made.thread.registers().unwrap();
    made.thread
        .set_registers(&Registers {
            rip: CODE,
            rsp: STACK_TOP,
            ..registers
        })
        .unwrap();
    made
}

/// Reads a word of the guest's.
pub fn word(space: &Arc<dyn AddressSpace>, addr: u64) -> u64 {
    let mut bytes = [0; 8];
    assert_eq!(space.read(addr, &mut bytes), Ok(8));
    u64::from_ne_bytes(bytes)
}

/// Machine code between two symbols of the test's `global_asm!`.
#[macro_export]
macro_rules! guest_code {
    ($name:ident, $($line:literal),* $(,)?) => {
        std::arch::global_asm!(
            ".pushsection .rodata",
            concat!(".globl ", stringify!($name), "_guest_start, ", stringify!($name), "_guest_end"),
            concat!(stringify!($name), "_guest_start:"),
            $($line,)*
            concat!(stringify!($name), "_guest_end:"),
            ".popsection",
        );
        fn $name() -> &'static [u8] {
            let (start, end): (*const u8, *const u8);
            // SAFETY: only computes addresses.
            unsafe {
                std::arch::asm!(concat!("lea {0}, [rip + ", stringify!($name), "_guest_start]"), out(reg) start);
                std::arch::asm!(concat!("lea {0}, [rip + ", stringify!($name), "_guest_end]"), out(reg) end);
            }
            // SAFETY: read-only data between two symbols.
            unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
        }
    };
}
