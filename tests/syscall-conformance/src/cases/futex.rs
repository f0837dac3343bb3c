//! futex: waiting, waking, moving waiters, operations on words, robust lists, priority inheritance.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::prelude::*;

cases![
    wait_value_mismatch, wait_times_out, wait_absolute_clocks, wake_private, wake_shared_between_processes, wake_shared_file_mapping,
    wake_counts, wait_interrupted, wait_restarts, requeue_moves, cmp_requeue_checks, wake_op_operates, bitset_selects, errors,
    lock_pi_owner_and_waiter, trylock_pi, robust_list_marks_owner_dead, robust_list_errors, waitv_any, thread_exit_clears_tid,
    private_and_shared_keys_differ, lock_pi_deadlocks, lock_pi_deadlines, lock_pi_goes_on_after_signals, lock_pi_owner_dies,
    lock_pi_robust_owner_dies, lock_pi_errors, lock_pi_is_not_woken, lock_pi_in_order, requeue_pi_takes_and_queues, requeue_pi_errors,
    wait_requeue_pi_ends,
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

const LOCK_PI2: i32 = 13;

fn lock(word: &AtomicU32) -> Ret {
    futex(word, FUTEX_LOCK_PI | PRIVATE, 0)
}

fn unlock(word: &AtomicU32) -> Ret {
    futex(word, FUTEX_UNLOCK_PI | PRIVATE, 0)
}

/// Until somebody waits for the lock.
fn until_waited_for(word: &AtomicU32) {
    while word.load(SeqCst) & FUTEX_WAITERS == 0 {
        sys!(SYS_sched_yield);
    }
    // The bit comes before the queueing.
    sleep_ms(20);
}

fn lock_pi_deadlocks() {
    let (first, second) = (AtomicU32::new(0), AtomicU32::new(0));
    lock(&first).must();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            lock(&second).must();
            // Waits for us.
            let got = lock(&first);
            (got, unlock(&first), unlock(&second))
        });
        until_waited_for(&first);
        say!("circle: {}", lock(&second));
        say!("trying instead: {}", futex(&second, FUTEX_TRYLOCK_PI | PRIVATE, 0));
        unlock(&first).must();
        let (got, one, two) = other.join().unwrap();
        say!("the other: {got} {one} {two}");
    });
    say!("{} {:#x}", first.load(SeqCst), second.load(SeqCst) & FUTEX_WAITERS);
    second.store(0, SeqCst);
}

fn lock_pi_deadlines() {
    let word = AtomicU32::new(0);
    lock(&word).must();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            say!("realtime, past: {}", wait_ms(&word, FUTEX_LOCK_PI | PRIVATE, 0, 1));
            say!("monotonic, past: {}", wait_ms(&word, LOCK_PI2 | PRIVATE, 0, 1));
            say!("the other clock, past: {}", wait_ms(&word, LOCK_PI2 | PRIVATE | FUTEX_CLOCK_REALTIME, 0, 1));
            say!("flag for the old one: {}", wait_ms(&word, FUTEX_LOCK_PI | PRIVATE | FUTEX_CLOCK_REALTIME, 0, 1));
            let bad = timespec { tv_sec: 0, tv_nsec: -1 };
            say!("bad time: {}", sys!(SYS_futex, word.as_ptr(), FUTEX_LOCK_PI | PRIVATE, 0, &bad, 0, 0));
            let mut soon: timespec = zeroed();
            sys!(SYS_clock_gettime, CLOCK_MONOTONIC, &mut soon).must();
            soon.tv_sec += 1;
            say!("in a second: {}", sys!(SYS_futex, word.as_ptr(), LOCK_PI2 | PRIVATE, 0, &soon, 0, 0));
        });
    });
    say!("waiters bit stays {}, unlock {}, word {}", word.load(SeqCst) & FUTEX_WAITERS != 0, unlock(&word), word.load(SeqCst));
}

fn lock_pi_goes_on_after_signals() {
    let m = map_shared(PAGE);
    let word = m.word(0);
    lock_shared(word).must();
    let child = fork(|| {
        let mut soon: timespec = zeroed();
        sys!(SYS_clock_gettime, CLOCK_MONOTONIC, &mut soon).must();
        soon.tv_nsec += 200_000_000;
        soon.tv_sec += soon.tv_nsec / 1_000_000_000;
        soon.tv_nsec %= 1_000_000_000;
        let end = interrupted(|| sys!(SYS_futex, word.as_ptr(), LOCK_PI2, 0, &soon, 0, 0));
        say!("interrupted until the deadline: {end}");
        let got = alarmed(0, || futex(word, FUTEX_LOCK_PI, 0));
        say!("interrupted until it is free: {got}, {}", futex(word, FUTEX_UNLOCK_PI, 0));
        0
    });
    sleep_ms(400);
    let unlocked = futex(word, FUTEX_UNLOCK_PI, 0);
    say!("{}, unlock {unlocked}", child.wait());
}

fn lock_shared(word: &AtomicU32) -> Ret {
    futex(word, FUTEX_LOCK_PI, 0)
}

fn lock_pi_owner_dies() {
    let m = map_shared(PAGE);
    let word = m.word(0);
    let (ready, go) = pipe();
    let owner = fork(|| {
        lock_shared(word).must();
        write(go, b"x");
        until_waited_for(word);
        0
    });
    read(ready, 1);
    say!("without a robust list: {}", lock_shared(word));
    let value = word.load(SeqCst);
    say!("mine {}, owner died {}", value & FUTEX_TID_MASK == gettid() as u32, value & FUTEX_OWNER_DIED != 0);
    say!("{}, unlock {}, {:#x}", owner.wait(), futex(word, FUTEX_UNLOCK_PI, 0), word.load(SeqCst));
    let gone = fork(|| lock_shared(word).0 as i32);
    say!("{}", gone.wait());
    say!("owner long gone: {}", lock_shared(word));
}

fn lock_pi_robust_owner_dies() {
    let m = map_shared(PAGE);
    let word = robust(m);
    // The entry of a priority-inheriting lock has bit 0 set.
    m.put(0, &(m.addr as u64 + 64 + 1).to_ne_bytes());
    let (ready, go) = pipe();
    let owner = fork(|| {
        sys!(SYS_set_robust_list, m.addr, 24).must();
        lock_shared(word).must();
        write(go, b"x");
        until_waited_for(word);
        0
    });
    read(ready, 1);
    let got = lock_shared(word);
    let value = word.load(SeqCst);
    say!("{got}: mine {}, owner died {}", value & FUTEX_TID_MASK == gettid() as u32, value & FUTEX_OWNER_DIED != 0);
    say!("{}, unlock {}", owner.wait(), futex(word, FUTEX_UNLOCK_PI, 0));
    let alone = fork(|| {
        sys!(SYS_set_robust_list, m.addr, 24).must();
        lock_shared(word).0 as i32
    });
    say!("{}: {:#x}", alone.wait(), word.load(SeqCst));
    say!("taken over: {}, {:#x}", lock_shared(word), word.load(SeqCst) & !FUTEX_TID_MASK);
    say!("unlock {}, {:#x}", futex(word, FUTEX_UNLOCK_PI, 0), word.load(SeqCst));
}

fn lock_pi_errors() {
    let word = AtomicU32::new(0);
    say!("misaligned {}", sys!(SYS_futex, word.as_ptr() as usize + 1, FUTEX_LOCK_PI | PRIVATE, 0, 0, 0, 0));
    say!("nothing mapped {}", sys!(SYS_futex, 8, FUTEX_LOCK_PI | PRIVATE, 0, 0, 0, 0));
    say!("unlock, nothing mapped {}", sys!(SYS_futex, 8, FUTEX_UNLOCK_PI | PRIVATE, 0, 0, 0, 0));
    let m = map_anon(PAGE);
    m.protect(PROT_READ).must();
    say!("read-only {}", futex(m.word(0), FUTEX_LOCK_PI | PRIVATE, 0));
    say!("bad timeout pointer {}", sys!(SYS_futex, word.as_ptr(), FUTEX_LOCK_PI | PRIVATE, 0, 8, 0, 0));
    word.store(1 << 29, SeqCst);
    say!("owner that is nobody {}", lock(&word));
    word.store(FUTEX_OWNER_DIED | FUTEX_WAITERS, SeqCst);
    say!("left by a dead owner {}, {:#x}", lock(&word), word.load(SeqCst) & !FUTEX_TID_MASK);
    word.store(gettid() as u32 | FUTEX_WAITERS, SeqCst);
    say!("mine by a store {}, {}", unlock(&word), word.load(SeqCst));
}

fn lock_pi_is_not_woken() {
    let word = AtomicU32::new(0);
    lock(&word).must();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| (lock(&word), unlock(&word)));
        until_waited_for(&word);
        say!("wake {}", futex(&word, FUTEX_WAKE | PRIVATE, 1));
        say!("requeue {}", sys!(SYS_futex, word.as_ptr(), FUTEX_REQUEUE | PRIVATE, 0, 1, &AtomicU32::new(0), 0));
        unlock(&word).must();
        let (got, left) = waiter.join().unwrap();
        say!("{got} {left}");
    });
}

fn lock_pi_in_order() {
    let word = AtomicU32::new(0);
    let place = AtomicU32::new(0);
    lock(&word).must();
    std::thread::scope(|scope| {
        let mut waiters = Vec::new();
        for _ in 0..4 {
            waiters.push(scope.spawn(|| {
                let got = lock(&word);
                let at = place.fetch_add(1, SeqCst);
                (got, at, unlock(&word))
            }));
            until_waited_for(&word);
        }
        unlock(&word).must();
        for waiter in waiters {
            let (got, at, left) = waiter.join().unwrap();
            say!("{got} place {at} {left}");
        }
    });
    say!("{}", word.load(SeqCst));
}

fn wait_requeue(word: &AtomicU32, lock: &AtomicU32) -> Ret {
    sys!(SYS_futex, word.as_ptr(), FUTEX_WAIT_REQUEUE_PI | PRIVATE, 0, 0, lock.as_ptr(), 0)
}

fn requeue_pi(word: &AtomicU32, lock: &AtomicU32, wake: i32, moves: i32, value: u32) -> Ret {
    sys!(SYS_futex, word.as_ptr(), FUTEX_CMP_REQUEUE_PI | PRIVATE, wake, moves, lock.as_ptr(), value)
}

fn requeue_pi_takes_and_queues() {
    let (word, mutex) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let waiter = scope.spawn(|| {
                    let got = wait_requeue(&word, &mutex);
                    let mine = mutex.load(SeqCst) & FUTEX_TID_MASK == gettid() as u32;
                    (got, mine, unlock(&mutex))
                });
                sleep_ms(30);
                waiter
            })
            .collect();
        say!("wake of such a waiter {}", futex(&word, FUTEX_WAKE | PRIVATE, 1));
        say!("plain requeue {}", sys!(SYS_futex, word.as_ptr(), FUTEX_REQUEUE | PRIVATE, 0, 1, mutex.as_ptr(), 0));
        say!("all, the lock is free: {}", requeue_pi(&word, &mutex, 1, i32::MAX, 0));
        for waiter in waiters {
            let (got, mine, left) = waiter.join().unwrap();
            say!("{got} {mine} {left}");
        }
        lock(&mutex).must();
        let waiter = scope.spawn(|| (wait_requeue(&word, &mutex), unlock(&mutex)));
        sleep_ms(30);
        say!("the lock is taken: {}", requeue_pi(&word, &mutex, 1, 0, 0));
        say!("hand over {}", unlock(&mutex));
        let (got, left) = waiter.join().unwrap();
        say!("{got} {left}, word {}", mutex.load(SeqCst));
    });
}

fn requeue_pi_errors() {
    let (word, mutex) = (AtomicU32::new(0), AtomicU32::new(0));
    say!("nobody waits {}", requeue_pi(&word, &mutex, 1, 1, 0));
    say!("other value {}", requeue_pi(&word, &mutex, 1, 1, 7));
    say!("wakes two {}", requeue_pi(&word, &mutex, 2, 1, 0));
    say!("negative {}", requeue_pi(&word, &mutex, 1, -1, 0));
    say!("to itself {}", requeue_pi(&word, &word, 1, 1, 0));
    say!("wait for itself {}", wait_requeue(&word, &word));
    word.store(1, SeqCst);
    say!("wait, other value {}", wait_requeue(&word, &mutex));
    word.store(0, SeqCst);
    std::thread::scope(|scope| {
        let other = AtomicU32::new(0);
        let waiter = scope.spawn(|| futex(&word, FUTEX_WAIT | PRIVATE, 0));
        sleep_ms(30);
        say!("a plain waiter {}", requeue_pi(&word, &mutex, 1, 1, 0));
        wake_all_of(&word, FUTEX_WAKE | PRIVATE, 1);
        say!("{}", waiter.join().unwrap());
        let waiter = scope.spawn(|| (wait_requeue(&word, &mutex), unlock(&mutex)));
        sleep_ms(30);
        say!("another lock than it named {}", requeue_pi(&word, &other, 1, 1, 0));
        say!("{}", requeue_pi(&word, &mutex, 1, 1, 0));
        let (got, left) = waiter.join().unwrap();
        say!("{got} {left}");
    });
}

fn wait_requeue_pi_ends() {
    let (word, mutex) = (AtomicU32::new(0), AtomicU32::new(0));
    let op = FUTEX_WAIT_REQUEUE_PI | PRIVATE;
    let past = timespec_ms(1);
    say!("past {}", sys!(SYS_futex, word.as_ptr(), op, 0, &past, mutex.as_ptr(), 0));
    say!("past, realtime {}", sys!(SYS_futex, word.as_ptr(), op | FUTEX_CLOCK_REALTIME, 0, &past, mutex.as_ptr(), 0));
    let mut soon: timespec = zeroed();
    sys!(SYS_clock_gettime, CLOCK_MONOTONIC, &mut soon).must();
    soon.tv_sec += 1;
    say!("signals, then the deadline: {}", interrupted(|| sys!(SYS_futex, word.as_ptr(), op, 0, &soon, mutex.as_ptr(), 0)));
}
