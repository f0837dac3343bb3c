//! Many threads, forks and processes; nothing may be left behind. One test, so that nobody else uses descriptors meanwhile.

#[macro_use]
mod common;

use std::time::{Duration, Instant};

use common::*;
use platform::{CloneKind, Cloned, Registers, Stop};

// Counts in rbx and reports it with r12.
guest_code!(
    count,
    "2:",
    "inc rbx",
    "mov rdi, rbx",
    "mov rsi, r12",
    "mov eax, 700",
    "syscall",
    "jmp 2b"
);

async fn parent() -> Cloned {
    load(shared(), count()).await
}

async fn clone(parent: &Cloned, kind: CloneKind, r12: u64) -> Cloned {
    let registers = Registers {
        r12,
        ..parent.thread.registers().unwrap()
    };
    let child = parent
        .thread
        .clone_thread(kind, &registers, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next(&child.thread).await, Ok(Stop::Started));
    child
}

/// Serves `rounds` calls of a running thread.
async fn serve(made: Cloned, r12: u64, rounds: u64) -> Cloned {
    for round in 1..=rounds {
        let (nr, args) = light(&made.thread).await;
        assert_eq!((nr, args[0], args[1]), (700, round, r12));
        made.thread.answer(0);
    }
    made
}

fn threads_call_in_parallel() {
    let parent = run(parent());
    let (parent, children) = run(async move {
        let mut children = Vec::new();
        for number in 0..8 {
            children.push(clone(&parent, CloneKind::Thread, number).await);
        }
        (parent, children)
    });
    let served: Vec<_> = children
        .into_iter()
        .enumerate()
        .map(|(number, child)| {
            child.thread.resume();
            start(serve(child, number as u64, 5_000))
        })
        .collect();
    served
        .into_iter()
        .for_each(|receiver| drop(receiver.recv().expect("served")));
    drop(parent);
}

fn forks() {
    run(async {
        let parent = parent().await;
        let mut children = Vec::new();
        for number in 0..300_u64 {
            let child = clone(&parent, CloneKind::Fork, number).await;
            child.thread.resume();
            children.push(child);
            if children.len() == 20 {
                for (index, child) in children.drain(..).enumerate() {
                    assert_eq!(
                        light(&child.thread).await.1[..2],
                        [1, number - 19 + index as u64]
                    );
                    child.thread.exit();
                }
            }
        }
    });
}

fn threads_come_and_go() {
    run(async {
        let parent = parent().await;
        for round in 0..40_u64 {
            let mut children = Vec::new();
            for number in 0..25 {
                let child = clone(&parent, CloneKind::Thread, number).await;
                child.thread.resume();
                children.push(child);
            }
            for (number, child) in children.into_iter().enumerate() {
                // Some end while they run, some at a call, some stopped.
                match (round + number as u64) % 3 {
                    0 => child.thread.exit(),
                    1 => {
                        light(&child.thread).await;
                        child.thread.exit();
                    }
                    _ => {
                        light(&child.thread).await;
                        child.thread.answer_and_stop(0);
                        assert_eq!(next(&child.thread).await, Ok(Stop::Kicked));
                        child.thread.exit();
                    }
                }
            }
        }
    });
}

fn processes_come_and_go() {
    for round in 0..25 {
        let running: Vec<_> = (0..20)
            .map(|number| {
                start(async move {
                    let made = parent().await;
                    let registers = made.thread.registers().unwrap();
                    made.thread
                        .set_registers(&Registers {
                            r12: number,
                            ..registers
                        })
                        .unwrap();
                    made.thread.resume();
                    let made = serve(made, number, 3).await;
                    if round % 2 == 0 {
                        nix::sys::signal::kill(
                            nix::unistd::Pid::from_raw(made.space.host_pid()),
                            nix::sys::signal::SIGKILL,
                        )
                        .unwrap();
                        while next(&made.thread).await.is_ok() {}
                    }
                })
            })
            .collect();
        running
            .into_iter()
            .for_each(|receiver| receiver.recv().expect("served"));
    }
}

/// Answers sleepers in every way; each makes its next call.
async fn wake(children: &[Cloned]) {
    for (number, child) in children.iter().enumerate() {
        let thread = &child.thread;
        let value = number as i64 + 5;
        thread.set_blocked(false);
        match number % 3 {
            0 => thread.answer(value),
            1 => thread.answer_and_stop(value),
            _ => {
                thread.kick();
                thread.answer(value);
            }
        }
        if number % 3 != 0 {
            assert_eq!(next(thread).await, Ok(Stop::Kicked));
            assert_eq!(thread.registers().unwrap().rax, value as u64);
            thread.resume();
        }
        assert_eq!(light(thread).await.1[1], number as u64);
    }
}

/// Many sleepers are parked; all get their answers, are stopped and end as if they were not.
fn sleepers() {
    let parent = run(parent());
    let (parent, children) = run(async move {
        let mut children = Vec::new();
        for number in 0..200 {
            let child = clone(&parent, CloneKind::Thread, number).await;
            child.thread.resume();
            assert_eq!(light(&child.thread).await.1[1], number);
            children.push(child);
        }
        (parent, children)
    });
    let pid = parent.space.host_pid();
    let parked = || {
        children
            .iter()
            .for_each(|child| child.thread.set_blocked(true));
        let in_futex = |child: &&Cloned| {
            let path = format!("/proc/{pid}/task/{}/syscall", child.thread.host_tid());
            std::fs::read_to_string(path).is_ok_and(|text| text.starts_with("202 "))
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while children.iter().filter(in_futex).count() < 200 - 32 {
            assert!(Instant::now() < deadline, "sleepers are not parked");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    parked();
    let children = {
        let (sender, receiver) = std::sync::mpsc::channel();
        let all = children.iter().map(|child| Cloned {
            thread: child.thread.clone(),
            space: child.space.clone(),
        });
        let all: Vec<_> = all.collect();
        run(async move {
            wake(&all).await;
            sender.send(all).unwrap();
        });
        parked();
        receiver.recv().unwrap()
    };
    children
        .iter()
        .step_by(2)
        .for_each(|child| child.thread.exit());
    let rest: Vec<_> = children.into_iter().skip(1).step_by(2).collect();
    run(async move {
        for child in &rest {
            child.thread.answer(0);
            light(&child.thread).await;
        }
    });
    drop(parent);
}

fn census() -> (usize, usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    let me = std::process::id();
    let children = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .map(|task| {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            text.split_whitespace().count()
        });
    (
        count("/proc/self/fd"),
        count(&format!("/proc/{me}/task")),
        children.sum(),
    )
}

/// Most threads that wait for a listener (`notify/receivers.rs`).
const SPARE_RECEIVERS: usize = 4;

#[test]
fn nothing_is_lost_or_left() {
    // The template and two ready processes, each with a receiver or tracer. Notify has a reaper and a spawner beside.
    let wanted_threads = if on_ptrace() { 6 } else { 8 };
    let settle = |wanted: &dyn Fn((usize, usize, usize)) -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !wanted(census()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        census()
    };
    run(async { drop(shared().spawn().await.unwrap()) });
    let mut before = settle(&|(_, threads, children)| children == 3 && threads == wanted_threads);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(20));
        before = before.min(census());
    }
    assert_eq!(
        (before.1, before.2),
        (wanted_threads, 3),
        "threads, children"
    );
    let phases: [(&str, fn()); 5] = [
        ("sleepers", sleepers),
        ("threads call in parallel", threads_call_in_parallel),
        ("forks", forks),
        ("threads come and go", threads_come_and_go),
        ("processes come and go", processes_come_and_go),
    ];
    for (name, phase) in phases {
        if on_ptrace() && name == "sleepers" {
            // Nothing is parked there: a stopped thread costs the host nothing.
            continue;
        }
        let start = Instant::now();
        phase();
        println!("{name}: {} ms", start.elapsed().as_millis());
        // Receivers whose listener has ended wait for the next one, a few of them.
        let spare = if on_ptrace() { 0 } else { SPARE_RECEIVERS };
        let threads = before.1..=before.1 + spare;
        let as_before = |now: (usize, usize, usize)| {
            (now.0, now.2) == (before.0, before.2) && threads.contains(&now.1)
        };
        let after = settle(&as_before);
        assert!(
            as_before(after),
            "descriptors, threads, children after {name}: {after:?}, before: {before:?}"
        );
    }
}
