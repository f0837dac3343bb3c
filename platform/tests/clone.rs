//! Threads, forks, shared-memory processes, their exits and deaths.

#[macro_use]
mod common;

use std::sync::Arc;

use common::*;
use platform::{AddressSpace, CloneKind, Cloned, GuestThread, HostCall, Registers, Stop};

guest_code!(
    report,
    // Reports r12, the word at DATA and the FS base's word, for ever.
    "2:",
    "mov rdi, r12",
    "mov rsi, [0x500000]",
    "movq rdx, xmm3",
    "mov eax, 700",
    "syscall",
    "mov r12, rax",
    "jmp 2b",
);

async fn stopped_parent() -> Cloned {
    let made = load(shared(), report()).await;
    let registers = made.thread.registers().unwrap();
    made.thread
        .set_registers(&Registers {
            r12: 1,
            ..registers
        })
        .unwrap();
    made.space.write(DATA, &77_u64.to_ne_bytes()).unwrap();
    made
}

fn child_registers(parent: &Arc<dyn GuestThread>, r12: u64) -> Registers {
    // At the start of the code r12 is reported, behind its call rax.
    Registers {
        r12,
        rax: r12,
        ..parent.registers().unwrap()
    }
}

#[test]
fn thread_shares_memory_and_ends_alone() {
    let parent = run(async {
        let parent = stopped_parent().await;
        let registers = child_registers(&parent.thread, 2);
        let child = parent
            .thread
            .clone_thread(CloneKind::Thread, &registers, Some(DATA + 8))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(child.space.host_pid(), parent.space.host_pid());
        assert_ne!(child.thread.host_tid(), parent.thread.host_tid());
        assert_eq!(next(&child.thread).await, Ok(Stop::Started));
        assert_eq!(child.thread.registers().unwrap(), registers);
        assert_eq!(child.thread.fs_base(), DATA + 8);
        parent.thread.resume();
        child.thread.resume();
        for round in 0..50_u64 {
            let (mine, theirs) = both(light(&parent.thread), light(&child.thread)).await;
            assert_eq!(
                (mine.1[0], theirs.1[0]),
                if round == 0 {
                    (1, 2)
                } else {
                    (round * 2, round * 2 + 1)
                }
            );
            assert_eq!((mine.1[1], theirs.1[1]), (77 + round, 77 + round));
            parent
                .space
                .write(DATA, &(78 + round).to_ne_bytes())
                .unwrap();
            parent.thread.answer(round as i64 * 2 + 2);
            child.thread.answer(round as i64 * 2 + 3);
        }
        light(&child.thread).await;
        child.thread.exit();
        light(&parent.thread).await;
        parent.thread.answer(5);
        assert_eq!(light(&parent.thread).await.1[0], 5);
        parent
    });
    // Not in the task: the receiver that runs it has to let the thread exit.
    let tasks = || {
        std::fs::read_dir(format!("/proc/{}/task", parent.space.host_pid()))
            .unwrap()
            .count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while tasks() != 1 && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(tasks(), 1, "the child's host thread has ended");
}

#[test]
fn many_threads_cross_slot_chunks() {
    run(async {
        let parent = stopped_parent().await;
        let mut children = Vec::new();
        for number in 0..50 {
            let registers = child_registers(&parent.thread, 100 + number);
            let child = parent
                .thread
                .clone_thread(CloneKind::Thread, &registers, None)
                .await
                .unwrap()
                .unwrap();
            child.thread.resume();
            children.push(child);
        }
        for (number, child) in children.iter().enumerate() {
            assert_eq!(light(&child.thread).await.1[0], 100 + number as u64);
        }
        // A fork of a process with several chunks, from a thread that is not the first.
        children[30].thread.answer_and_stop(1);
        assert_eq!(next(&children[30].thread).await, Ok(Stop::Kicked));
        let registers = child_registers(&children[30].thread, 9);
        let fork = children[30]
            .thread
            .clone_thread(CloneKind::Fork, &registers, None)
            .await
            .unwrap()
            .unwrap();
        drop((children, parent));
        fork.thread.resume();
        assert_eq!(light(&fork.thread).await.1[..2], [9, 77]);
        let thread = {
            fork.thread.answer_and_stop(1);
            assert_eq!(next(&fork.thread).await, Ok(Stop::Kicked));
            let registers = child_registers(&fork.thread, 10);
            fork.thread
                .clone_thread(CloneKind::Thread, &registers, None)
                .await
                .unwrap()
                .unwrap()
        };
        thread.thread.resume();
        assert_eq!(light(&thread.thread).await.1[0], 10);
    });
}

#[test]
fn fork_copies_memory() {
    run(async {
        let parent = stopped_parent().await;
        let registers = child_registers(&parent.thread, 3);
        let child = parent
            .thread
            .clone_thread(CloneKind::Fork, &registers, None)
            .await
            .unwrap()
            .unwrap();
        assert_ne!(child.space.host_pid(), parent.space.host_pid());
        assert_eq!(next(&child.thread).await, Ok(Stop::Started));
        parent.space.write(DATA, &78_u64.to_ne_bytes()).unwrap();
        // Orders work in the child, on its own memory.
        assert_eq!(
            child
                .thread
                .order(&[anonymous(0x90_0000, 4096, 3)])
                .await
                .unwrap(),
            [Ok(0x90_0000)]
        );
        assert_eq!(parent.space.write(0x90_0000, &[1]), Err(abi::Errno::EFAULT));
        child.thread.resume();
        parent.thread.resume();
        assert_eq!(light(&child.thread).await.1[..2], [3, 77]);
        assert_eq!(light(&parent.thread).await.1[..2], [1, 78]);
        // A fork of the fork, after the first process has gone.
        drop(parent);
        child.thread.answer_and_stop(4);
        assert_eq!(next(&child.thread).await, Ok(Stop::Kicked));
        let registers = child_registers(&child.thread, 5);
        let grandchild = child
            .thread
            .clone_thread(CloneKind::Fork, &registers, None)
            .await
            .unwrap()
            .unwrap();
        grandchild.thread.resume();
        assert_eq!(light(&grandchild.thread).await.1[..2], [5, 77]);
    });
}

#[test]
fn shared_memory_outlives_its_first_process() {
    let (parent, child) = run(async {
        let parent = stopped_parent().await;
        let registers = child_registers(&parent.thread, 3);
        let child = parent
            .thread
            .clone_thread(CloneKind::SharedMemory, &registers, None)
            .await
            .unwrap()
            .unwrap();
        assert!(Arc::ptr_eq(
            &(child.space.clone() as Arc<dyn AddressSpace>),
            &parent.space
        ));
        child.thread.resume();
        assert_eq!(light(&child.thread).await.1[..2], [3, 77]);
        (parent, child)
    });
    // Not in the task: the thread that runs it may be the one that reaps.
    let first = parent.space.host_pid();
    parent.thread.exit();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while parent.space.host_pid() == first && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(parent.space.host_pid(), child.thread.host_tid());
    run(async move {
        parent.space.write(DATA, &80_u64.to_ne_bytes()).unwrap();
        child.thread.answer(1);
        assert_eq!(light(&child.thread).await.1[1], 80);
    });
}

#[test]
fn leader_exits_first() {
    run(async {
        let parent = stopped_parent().await;
        let registers = child_registers(&parent.thread, 3);
        let child = parent
            .thread
            .clone_thread(CloneKind::Thread, &registers, None)
            .await
            .unwrap()
            .unwrap();
        parent.thread.resume();
        light(&parent.thread).await;
        parent.thread.exit();
        assert!(next(&parent.thread).await.is_err());
        child.thread.resume();
        for round in 0..10 {
            assert_eq!(light(&child.thread).await.1[1], 77 + round);
            parent
                .space
                .write(DATA, &(78 + round).to_ne_bytes())
                .unwrap();
            child.thread.answer(0);
        }
        child.thread.exit();
    });
}

#[test]
fn extended_state_and_bases_are_kept_and_inherited() {
    run(async {
        let parent = stopped_parent().await;
        let mut image = parent.thread.extended_state().unwrap();
        // XMM3 lies at 160 + 3 * 16 of the legacy area; say that SSE state is there.
        image[160 + 48..160 + 56].copy_from_slice(&0xfeed_u64.to_ne_bytes());
        image[512] |= 2;
        parent.thread.set_extended_state(&image).unwrap();
        assert_eq!(
            parent
                .thread
                .order(&[
                    HostCall::SetFsBase(0x1234_5000),
                    HostCall::SetGsBase(0x777_7000)
                ])
                .await
                .unwrap(),
            [Ok(0), Ok(0)]
        );
        let mut children = Vec::new();
        for kind in [CloneKind::Thread, CloneKind::Fork, CloneKind::SharedMemory] {
            let registers = child_registers(&parent.thread, 3);
            children.push(
                parent
                    .thread
                    .clone_thread(kind, &registers, None)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        children.push(parent);
        for made in &children {
            made.thread.resume();
            assert_eq!(light(&made.thread).await.1[2], 0xfeed);
            made.thread.answer_and_stop(0);
            assert_eq!(next(&made.thread).await, Ok(Stop::Kicked));
            assert_eq!(
                (made.thread.fs_base(), made.thread.gs_base()),
                (0x1234_5000, 0x777_7000)
            );
            let image = made.thread.extended_state().unwrap();
            assert_eq!(image[160 + 48..160 + 56], 0xfeed_u64.to_ne_bytes());
            // Rubbish resets it.
            made.thread.set_extended_state(&[1; 100]).unwrap();
            made.thread.resume();
            assert_eq!(light(&made.thread).await.1[2], 0);
        }
    });
}

#[test]
fn death_from_outside_is_told() {
    run(async {
        let parent = stopped_parent().await;
        let registers = child_registers(&parent.thread, 3);
        let child = parent
            .thread
            .clone_thread(CloneKind::Thread, &registers, None)
            .await
            .unwrap()
            .unwrap();
        parent.thread.resume();
        child.thread.resume();
        light(&child.thread).await;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(parent.space.host_pid()),
            nix::sys::signal::SIGKILL,
        )
        .unwrap();
        assert!(next(&child.thread).await.is_err());
        // The parent's light stop may have come first.
        while next(&parent.thread).await.is_ok() {}
        assert!(parent.thread.registers().is_err());
        assert_eq!(parent.space.write(DATA, &[1]), Err(abi::Errno::EFAULT));
        parent.thread.answer(1);
        parent.thread.resume();
        parent.thread.kick();
    });
}
