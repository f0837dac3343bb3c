//! futex: waiting, waking, moving waiters, operations on words, robust lists, priority inheritance.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::prelude::*;

cases![
    wait_value_mismatch, wait_times_out, wait_absolute_clocks, wake_private, wake_shared_between_processes, wake_shared_file_mapping,
    wake_counts, wait_interrupted, wait_restarts, requeue_moves, cmp_requeue_checks, wake_op_operates, bitset_selects, errors,
    lock_pi_owner_and_waiter, trylock_pi, robust_list_marks_owner_dead, robust_list_errors, waitv_any, thread_exit_clears_tid,
    private_and_shared_keys_differ,
];

const PRIVATE: i32 = FUTEX_PRIVATE_FLAG;

fn futex(word: &AtomicU32, op: i32, value: u32) -> Ret {
    sys!(SYS_futex, word.as_ptr(), op, value, 0, 0, 0)
}

fn wait_ms(word: &AtomicU32, op: i32, value: u32, ms: i64) -> Ret {
    sys!(SYS_futex, word.as_ptr(), op, value, &timespec_ms(ms), 0, u32::MAX)
}

/// Wakes until `count` waiters were woken in all: a waiter that is not there yet is waited for, whatever the scheduling.
fn wake_all_of(word: &AtomicU32, op: i32, count: i64) {
    let mut woken = 0;
    while woken < count {
        woken += futex(word, op, 1).must();
        sys!(SYS_sched_yield);
    }
}

fn wait_value_mismatch() {
    let word = AtomicU32::new(5);
    say!("{}", futex(&word, FUTEX_WAIT, 4));
    say!("{}", futex(&word, FUTEX_WAIT | PRIVATE, 4));
}

fn wait_times_out() {
    let word = AtomicU32::new(5);
    let start = now_ns();
    say!("{}", wait_ms(&word, FUTEX_WAIT | PRIVATE, 5, 20));
    say!("waited: {}", now_ns() - start >= 20_000_000);
    say!("zero: {}", wait_ms(&word, FUTEX_WAIT | PRIVATE, 5, 0));
    let bad = timespec { tv_sec: 0, tv_nsec: -1 };
    say!("negative: {}", sys!(SYS_futex, word.as_ptr(), FUTEX_WAIT, 5, &bad, 0, 0));
}

fn wait_absolute_clocks() {
    let word = AtomicU32::new(0);
    say!("past, monotonic: {}", wait_ms(&word, FUTEX_WAIT_BITSET | PRIVATE, 0, 1));
    say!("past, realtime: {}", wait_ms(&word, FUTEX_WAIT_BITSET | PRIVATE | FUTEX_CLOCK_REALTIME, 0, 1));
    say!("zero bitset: {}", sys!(SYS_futex, word.as_ptr(), FUTEX_WAIT_BITSET, 0, 0, 0, 0));
    say!("realtime with WAKE: {}", futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 1));
}

fn wake_private() {
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| futex(&word, FUTEX_WAIT | PRIVATE, 0));
        wake_all_of(&word, FUTEX_WAKE | PRIVATE, 1);
        say!("{}", waiter.join().unwrap());
    });
    say!("nobody left: {}", futex(&word, FUTEX_WAKE | PRIVATE, 10));
}

fn wake_shared_between_processes() {
    let word = map_shared(PAGE).word(0);
    let child = fork(|| futex(word, FUTEX_WAIT, 0).0 as i32);
    wake_all_of(word, FUTEX_WAKE, 1);
    say!("{}", child.wait());
}

fn wake_shared_file_mapping() {
    write_file(c"f", &[0; PAGE]);
    let fd = open(c"f", O_RDWR).fd();
    let map_word = || map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0).word(16);
    let (word, same) = (map_word(), map_word());
    let child = fork(|| futex(map_word(), FUTEX_WAIT, 0).0 as i32);
    word.store(0, SeqCst);
    wake_all_of(same, FUTEX_WAKE, 1);
    say!("{}", child.wait());
}

fn wake_counts() {
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..5).map(|_| scope.spawn(|| futex(&word, FUTEX_WAIT | PRIVATE, 0))).collect();
        wake_all_of(&word, FUTEX_WAKE | PRIVATE, 5);
        say!("{}", waiters.into_iter().map(|w| w.join().unwrap().to_string()).collect::<Vec<_>>().join(" "));
    });
}

fn wait_interrupted() {
    let word = AtomicU32::new(0);
    say!("with timeout: {}", interrupted(|| wait_ms(&word, FUTEX_WAIT | PRIVATE, 0, 10_000)));
    say!("without: {}", interrupted(|| futex(&word, FUTEX_WAIT | PRIVATE, 0)));
}

fn wait_restarts() {
    let word = map_shared(PAGE).word(0);
    let waker = fork(|| {
        sleep_ms(30);
        word.store(1, SeqCst);
        wake_all_of(word, FUTEX_WAKE, 1);
        0
    });
    let result = alarmed(SA_RESTART, || futex(word, FUTEX_WAIT, 0));
    // Restarting after the store finds the new value: both are right, an EINTR is not.
    say!("{}", matches!(result.to_string().as_str(), "0" | "EAGAIN"));
    waker.kill(SIGKILL);
    waker.wait();
}

fn requeue_moves() {
    let (from, to) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| futex(&from, FUTEX_WAIT | PRIVATE, 0))).collect();
        // Nobody wakes the first word: who wakes was moved.
        let mut woken = 0;
        while woken < 3 {
            sys!(SYS_futex, from.as_ptr(), FUTEX_REQUEUE | PRIVATE, 0, 10, to.as_ptr(), 0).must();
            woken += futex(&to, FUTEX_WAKE | PRIVATE, 10).must();
        }
        say!("woken at the new place: {woken}");
        say!("{}", waiters.into_iter().map(|w| w.join().unwrap().to_string()).collect::<Vec<_>>().join(" "));
    });
}

fn cmp_requeue_checks() {
    let (from, to) = (AtomicU32::new(3), AtomicU32::new(0));
    say!("mismatch: {}", sys!(SYS_futex, from.as_ptr(), FUTEX_CMP_REQUEUE | PRIVATE, 1, 1, to.as_ptr(), 4));
    say!("match: {}", sys!(SYS_futex, from.as_ptr(), FUTEX_CMP_REQUEUE | PRIVATE, 1, 1, to.as_ptr(), 3));
    say!("negative count: {}", sys!(SYS_futex, from.as_ptr(), FUTEX_CMP_REQUEUE | PRIVATE, -1, 1, to.as_ptr(), 3));
}

fn wake_op_operates() {
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(10));
    let encode = |op: u32, compare: u32, operand: u32, against: u32| op << 28 | compare << 24 | operand << 12 | against;
    for (what, code) in [("set 7", encode(0, 0, 7, 10)), ("add 5", encode(1, 0, 5, 7)), ("or 0x10", encode(2, 4, 0x10, 0))] {
        let ret = sys!(SYS_futex, first.as_ptr(), FUTEX_WAKE_OP | PRIVATE, 1, 1, second.as_ptr(), code);
        say!("{what}: {ret}, now {}", second.load(SeqCst));
    }
    for (what, code) in [("and not 0x10", encode(3, 0, 0x10, 0)), ("xor 1", encode(4, 0, 1, 0)), ("or 1<<6", encode(8 + 2, 0, 6, 0))] {
        let ret = sys!(SYS_futex, first.as_ptr(), FUTEX_WAKE_OP | PRIVATE, 1, 1, second.as_ptr(), code);
        say!("{what}: {ret}, now {}", second.load(SeqCst));
    }
    say!("bad operation: {}", sys!(SYS_futex, first.as_ptr(), FUTEX_WAKE_OP, 1, 1, second.as_ptr(), encode(7, 0, 0, 0)));
    say!("bad second word: {}", sys!(SYS_futex, first.as_ptr(), FUTEX_WAKE_OP, 1, 1, 8, encode(0, 0, 0, 0)));
}

fn bitset_selects() {
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| sys!(SYS_futex, word.as_ptr(), FUTEX_WAIT_BITSET | PRIVATE, 0, 0, 0, 0b10));
        let wake = |bits: u32| sys!(SYS_futex, word.as_ptr(), FUTEX_WAKE_BITSET | PRIVATE, 1, 0, 0, bits);
        say!("other bit: {}", wake(0b01));
        while wake(0b110).must() == 0 {
            sys!(SYS_sched_yield);
        }
        say!("{}", waiter.join().unwrap());
        say!("zero bits: {}", wake(0));
    });
}

fn errors() {
    let word = AtomicU32::new(0);
    say!("misaligned: {}", sys!(SYS_futex, word.as_ptr() as usize + 1, FUTEX_WAKE, 1, 0, 0, 0));
    say!("wait on nothing mapped: {}", sys!(SYS_futex, 8, FUTEX_WAIT, 0, 0, 0, 0));
    say!("private wake on nothing mapped: {}", sys!(SYS_futex, 8, FUTEX_WAKE | PRIVATE, 1, 0, 0, 0));
    say!("shared wake on nothing mapped: {}", sys!(SYS_futex, 8, FUTEX_WAKE, 1, 0, 0, 0));
    say!("unknown operation: {}", futex(&word, 99, 0));
    say!("FUTEX_FD is gone: {}", futex(&word, FUTEX_FD, 0));
    say!("bad timeout pointer: {}", sys!(SYS_futex, word.as_ptr(), FUTEX_WAIT, 0, 8, 0, 0));
}

fn lock_pi_owner_and_waiter() {
    let word = AtomicU32::new(0);
    say!("free: {}, owner is me {}", futex(&word, FUTEX_LOCK_PI | PRIVATE, 0), word.load(SeqCst) == gettid() as u32);
    say!("own again: {}", futex(&word, FUTEX_LOCK_PI | PRIVATE, 0));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let got = futex(&word, FUTEX_LOCK_PI | PRIVATE, 0);
            (got, futex(&word, FUTEX_UNLOCK_PI | PRIVATE, 0))
        });
        while word.load(SeqCst) & FUTEX_WAITERS == 0 {
            sys!(SYS_sched_yield);
        }
        say!("unlock hands it over: {}", futex(&word, FUTEX_UNLOCK_PI | PRIVATE, 0));
        let (got, left) = waiter.join().unwrap();
        say!("waiter {got}, its unlock {left}");
    });
    say!("word {}, unlock of what is not mine: {}", word.load(SeqCst), futex(&word, FUTEX_UNLOCK_PI | PRIVATE, 0));
}

fn trylock_pi() {
    let word = AtomicU32::new(0);
    say!("free: {}", futex(&word, FUTEX_TRYLOCK_PI | PRIVATE, 0));
    let taken = std::thread::scope(|scope| scope.spawn(|| futex(&word, FUTEX_TRYLOCK_PI | PRIVATE, 0)).join().unwrap());
    say!("taken: {taken}");
    word.store(0x3fff_fff0, SeqCst);
    say!("owner that does not exist: {}", futex(&word, FUTEX_LOCK_PI | PRIVATE, 0));
}

/// A robust list in shared memory: head at 0, one entry at 64, its futex at 96.
fn robust(m: Map) -> &'static AtomicU32 {
    let put = |at: usize, value: u64| m.put(at, &value.to_ne_bytes());
    put(0, m.addr as u64 + 64);
    put(8, 32);
    put(16, 0);
    put(64, m.addr as u64);
    m.word(96)
}

fn robust_list_marks_owner_dead() {
    let m = map_shared(PAGE);
    let word = robust(m);
    let child = fork(|| {
        sys!(SYS_set_robust_list, m.addr, 24).must();
        word.store(gettid() as u32 | FUTEX_WAITERS, SeqCst);
        0
    });
    say!("{}", child.wait());
    let value = word.load(SeqCst);
    say!("owner died {}, tid cleared {}", value & FUTEX_OWNER_DIED != 0, value & FUTEX_TID_MASK == 0);
    let killed = fork(|| {
        sys!(SYS_set_robust_list, m.addr, 24).must();
        word.store(gettid() as u32, SeqCst);
        kill_self(SIGKILL);
        0
    });
    say!("{}", killed.wait());
    say!("after SIGKILL: {:#x}", word.load(SeqCst));
}

fn robust_list_errors() {
    let m = map_anon(PAGE);
    say!("wrong size: {}", sys!(SYS_set_robust_list, m.addr, 23));
    say!("set: {}", sys!(SYS_set_robust_list, m.addr, 24));
    let (mut head, mut len) = (0usize, 0usize);
    say!("get: {}", sys!(SYS_get_robust_list, 0, &mut head, &mut len));
    say!("same {}, length {len}", head == m.addr);
    say!("of nobody: {}", sys!(SYS_get_robust_list, i32::MAX, &mut head, &mut len));
    sys!(SYS_set_robust_list, 0, 24).must();
}

fn waitv_any() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let entry = |word: &AtomicU32, value: u64| [value, word.as_ptr() as u64, u64::from(2 | PRIVATE as u32)];
    let list = [entry(&words[0], 0), entry(&words[1], 0)];
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| sys!(SYS_futex_waitv, &list, 2, 0, NULL, CLOCK_MONOTONIC));
        wake_all_of(&words[1], FUTEX_WAKE | PRIVATE, 1);
        say!("index {}", waiter.join().unwrap());
    });
    say!("mismatch: {}", sys!(SYS_futex_waitv, &[entry(&words[0], 9)], 1, 0, NULL, CLOCK_MONOTONIC));
    say!("none: {}", sys!(SYS_futex_waitv, &list, 0, 0, NULL, CLOCK_MONOTONIC));
    say!("too many: {}", sys!(SYS_futex_waitv, &list, 129, 0, NULL, CLOCK_MONOTONIC));
    say!("time in the past: {}", sys!(SYS_futex_waitv, &list, 2, 0, &timespec_ms(1), CLOCK_MONOTONIC));
}

fn thread_exit_clears_tid() {
    let m = map_shared(PAGE);
    m.word(0).store(1, SeqCst);
    let flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    let (r, w) = pipe();
    crate::host::clone_with_stack(flags, || {
        sys!(SYS_set_tid_address, m.addr);
        read(r, 1);
        0
    })
    .must();
    write(w, b"x");
    while m.word(0).load(SeqCst) != 0 {
        futex(m.word(0), FUTEX_WAIT, 1);
    }
    say!("cleared and woken");
}

fn private_and_shared_keys_differ() {
    let word = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait_ms(&word, FUTEX_WAIT | PRIVATE, 0, 60));
        let mut woken = 0;
        // As long as it waits.
        while !waiter.is_finished() {
            woken += futex(&word, FUTEX_WAKE, 1).must();
            sys!(SYS_sched_yield);
        }
        say!("shared wakes {woken} private waiters: {}", waiter.join().unwrap());
    });
}
