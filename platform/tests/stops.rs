//! Kicks, file mappings, faults, hostile guests.

#[macro_use]
mod common;

use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use common::*;
use platform::{HostCall, MapSource, Registers, Stop};

guest_code!(spin, "2:", "inc qword ptr [0x500000]", "jmp 2b");
guest_code!(
    calls,
    "xor ebx, ebx",
    "2:",
    "inc rbx",
    "mov rdi, rbx",
    "mov eax, 700",
    "syscall",
    "lea rcx, [rbx + 7]",
    "cmp rax, rcx",
    "je 2b",
    "ud2"
);
guest_code!(ud2, "ud2");

#[test]
fn a_spinning_guest_is_kicked() {
    run(async {
        let made = load(shared(), spin()).await;
        made.thread.resume();
        for _ in 0..200 {
            made.thread.kick();
            made.thread.kick();
            assert_eq!(next(&made.thread).await, Ok(Stop::Kicked));
            let registers = made.thread.registers().unwrap();
            assert!((CODE..CODE + 16).contains(&registers.rip));
            made.thread.resume();
        }
        let (user, system) = made.thread.cpu_time_ns();
        assert!(user + system > 0);
        let usage = made.space.usage();
        assert!(usage.user_ns + usage.system_ns > 0);
    });
}

#[test]
fn kicks_neither_repeat_nor_lose_calls() {
    run(async {
        let made = load(shared(), calls()).await;
        let thread = &made.thread;
        thread.resume();
        let (mut expected, mut kicked) = (1_u64, 0);
        let kicker = {
            let thread = Arc::clone(thread);
            let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let flag = Arc::clone(&stop);
            let handle = std::thread::spawn(move || {
                let mut wait = 1_u32;
                while !flag.load(std::sync::atomic::Ordering::Relaxed) {
                    thread.kick();
                    wait = wait.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    for _ in 0..wait % 20_000 {
                        std::hint::spin_loop();
                    }
                }
            });
            (handle, stop)
        };
        while expected < 50_000 {
            match next(thread).await.expect("alive") {
                Stop::Syscall(call) => {
                    assert_eq!(
                        (call.nr, call.args[0]),
                        (700, expected),
                        "each call exactly once"
                    );
                    if expected % 5 == 0 {
                        thread.answer_and_stop(expected as i64 + 7);
                        assert_eq!(next(thread).await, Ok(Stop::Kicked));
                        kicked += 1;
                        let registers = thread.registers().unwrap();
                        assert_eq!(registers.rax, expected + 7);
                        thread.resume();
                    } else {
                        thread.answer(expected as i64 + 7);
                    }
                    expected += 1;
                }
                Stop::Kicked => {
                    kicked += 1;
                    thread.resume();
                }
                other => panic!("{other:?}"),
            }
        }
        kicker.1.store(true, std::sync::atomic::Ordering::Relaxed);
        kicker.0.join().unwrap();
        assert!(kicked > 9_000);
    });
}

#[test]
fn a_waiting_call_is_answered_after_a_kick() {
    run(async {
        let made = load(shared(), calls()).await;
        made.thread.resume();
        assert_eq!(light(&made.thread).await.1[0], 1);
        made.thread.kick();
        made.thread.answer(8);
        assert_eq!(next(&made.thread).await, Ok(Stop::Kicked));
        assert_eq!(made.thread.registers().unwrap().rax, 8);
        made.thread.resume();
        assert_eq!(light(&made.thread).await.1[0], 2);
    });
}

fn file(content: &[u8]) -> Arc<OwnedFd> {
    let fd = nix::sys::memfd::memfd_create("file", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
    let mut file = std::fs::File::from(fd);
    let mut page = vec![0; 8192];
    page[..content.len()].copy_from_slice(content);
    page[4096..4096 + content.len()].copy_from_slice(content);
    page[4096] = b'2';
    file.write_all(&page).unwrap();
    Arc::new(file.into())
}

#[test]
fn files_are_mapped() {
    run(async {
        let made = load(shared(), &[0x90]).await;
        let (one, two) = (file(b"one"), file(b"two"));
        let map = |addr, file: &Arc<OwnedFd>, offset, shared, prot| HostCall::Map {
            addr,
            len: 4096,
            prot,
            shared,
            replace: false,
            noreserve: false,
            source: MapSource::File {
                file: Arc::clone(file),
                offset,
            },
        };
        let calls = [
            map(0x90_0000, &one, 0, false, 1),
            map(0x90_1000, &one, 4096, false, 1),
            map(0x90_2000, &two, 0, true, 3),
            map(0x90_3000, &one, 0, true, 2),
            map(0x90_3000, &one, 0, true, 2),
            map(0x90_4000, &one, 0, true, 2),
        ];
        let results = made.thread.order(&calls).await.unwrap();
        assert_eq!(
            results,
            [
                Ok(0x90_0000),
                Ok(0x90_1000),
                Ok(0x90_2000),
                Ok(0x90_3000),
                Err(abi::Errno::EEXIST)
            ]
        );
        let mut bytes = [0; 3];
        for (addr, expected) in [
            (0x90_0000, b"one"),
            (0x90_1000, b"2ne"),
            (0x90_2000, b"two"),
            (0x90_3000, b"one"),
        ] {
            made.space.read(addr, &mut bytes).unwrap();
            assert_eq!(&bytes, expected);
        }
        let remap = HostCall::Remap {
            addr: 0x90_0000,
            old_len: 4096,
            new_len: 4096,
            new_addr: 0xa0_0000,
            keep_old: false,
        };
        let advise = HostCall::Advise {
            addr: 0xa0_0000,
            len: 4096,
            advice: 4,
        };
        let bad = HostCall::Advise {
            addr: 0xa0_0000,
            len: 4096,
            advice: 12,
        };
        assert_eq!(
            made.thread.order(&[remap, advise, bad]).await.unwrap(),
            [Ok(0xa0_0000), Ok(0), Err(abi::Errno::EINVAL)]
        );
    });
}

#[test]
fn long_lists_of_orders() {
    run(async {
        let made = load(shared(), &[0x90]).await;
        let calls: Vec<_> = (0..100)
            .map(|page| anonymous(0x100_0000 + page * 4096, 4096, 3))
            .collect();
        let results = made.thread.order(&calls).await.unwrap();
        assert_eq!(results.len(), 100);
        assert!(results.iter().all(Result::is_ok));
    });
}

#[test]
fn a_fault_is_described_and_repaired() {
    run(async {
        let made = load(shared(), spin()).await;
        made.thread
            .order(&[HostCall::Protect {
                addr: DATA,
                len: 4096,
                prot: 1,
            }])
            .await
            .unwrap();
        made.thread.resume();
        let Ok(Stop::Fault(fault)) = next(&made.thread).await else {
            panic!("fault")
        };
        assert_eq!(
            (
                fault.signal,
                fault.code,
                fault.addr,
                fault.cr2,
                fault.trapno
            ),
            (abi::signal::Signal::SEGV, 2, DATA, DATA, 14)
        );
        assert_eq!(fault.error & 6, 6, "a write by user code");
        made.thread
            .order(&[HostCall::Protect {
                addr: DATA,
                len: 4096,
                prot: 3,
            }])
            .await
            .unwrap();
        made.thread.resume();
        made.thread.kick();
        assert_eq!(next(&made.thread).await, Ok(Stop::Kicked));
    });
}

// Jumps to the stub's order instruction to make a call of its own.
guest_code!(forge_order, "mov rbx, [0x500000]", "mov eax, 39", "jmp rbx");
// Pretends to be a new thread.
guest_code!(
    forge_child,
    "mov rbx, [0x500000]",
    "mov edi, 0x101",
    "movabs rsi, 0x7fff40007000",
    "mov edx, 5",
    "mov eax, 0x3ffff001",
    "jmp rbx"
);
// Rings with a frame outside its stub stack.
guest_code!(
    forge_frame,
    "mov rbx, [0x500000]",
    "mov edi, 10",
    "mov esi, 0x500000",
    "mov eax, 0x3ffff001",
    "jmp rbx"
);
// 32-bit gate, x32 number, number -1.
guest_code!(
    other_gates,
    "mov eax, 20",
    "int 0x80",
    "mov r12, rax",
    "mov eax, 0x40000027",
    "syscall",
    "mov r13, rax",
    "mov rax, -1",
    "syscall",
    "mov r14, rax",
    "mov rdi, r12",
    "mov rsi, r13",
    "mov rdx, r14",
    "mov eax, 700",
    "syscall",
    "ud2",
);

#[test]
fn forged_stub_calls_kill() {
    if on_ptrace() {
        // The stub's instructions mean nothing there: its calls stop like any other.
        return;
    }
    for (code, ip) in [
        (forge_order(), platform::stub::order_ip()),
        (forge_child(), platform::stub::doorbell_ip()),
        (forge_frame(), platform::stub::doorbell_ip()),
    ] {
        run(async move {
            let made = load(shared(), code).await;
            made.space.write(DATA, &(ip - 2).to_ne_bytes()).unwrap();
            made.thread.resume();
            assert!(next(&made.thread).await.is_err());
        });
    }
}

#[test]
fn other_gates_are_closed() {
    run(async {
        let made = load(shared(), other_gates()).await;
        made.thread.resume();
        let (_, args) = match next(&made.thread).await {
            Ok(Stop::Syscall(call)) => (call.nr, call.args),
            // A host without 32-bit emulation faults on int 0x80.
            Ok(Stop::Fault(_)) => return,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            args[..3].iter().map(|&arg| arg as i64).collect::<Vec<_>>(),
            [-38, -38, -38]
        );
    });
}

#[test]
fn a_deaf_guest_is_killed() {
    if on_ptrace() {
        // It cannot make itself deaf: its rt_sigreturn is not executed.
        return;
    }
    // rt_sigreturn at the stub's address with a frame that blocks all signals.
    run(async {
        let made = load(shared(), spin()).await;
        let frame = DATA + 0x1000;
        let mut words = vec![0_u64; 55];
        words[1] = 6;
        words[6 + 15] = STACK_TOP;
        words[6 + 16] = CODE;
        words[6 + 17] = 0x202;
        words[6 + 18] = 0x33 | 0x2b << 48;
        words[38] = u64::MAX;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        made.space.write(frame, &bytes).unwrap();
        let registers = made.thread.registers().unwrap();
        made.thread
            .set_registers(&Registers {
                rax: 15,
                rsp: frame + 8,
                rip: platform::stub::sigreturn_ip() - 2,
                ..registers
            })
            .unwrap();
        made.thread.resume();
        while word(&made.space, DATA) == 0 {
            std::thread::yield_now();
        }
        made.thread.kick();
        assert!(next(&made.thread).await.is_err());
    });
}

// Calls clock_gettime in the vDSO (address in r12) with CLOCK_MONOTONIC, reports.
guest_code!(
    clock,
    "mov edi, 1",
    "mov esi, 0x500000",
    "call r12",
    "mov rdi, rax",
    "mov eax, 700",
    "syscall",
    "ud2"
);

#[test]
fn the_vdso_tells_the_time() {
    run(async {
        let made = load(shared(), clock()).await;
        let code = made.space.vdso().code;
        let mut image = vec![0; (code.end - code.start) as usize];
        assert_eq!(made.space.read(code.start, &mut image), Ok(image.len()));
        let offset = symbol(&image, "__vdso_clock_gettime").expect("symbol");
        let registers = made.thread.registers().unwrap();
        made.thread
            .set_registers(&Registers {
                r12: code.start + offset,
                ..registers
            })
            .unwrap();
        made.thread.resume();
        let (nr, args) = light(&made.thread).await;
        assert_eq!((nr, args[0]), (700, 0));
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        let told = word(&made.space, DATA);
        assert!(
            (now.tv_sec() as u64).abs_diff(told) <= 2,
            "{told} is not now"
        );
    });
}

fn symbol(image: &[u8], name: &str) -> Option<u64> {
    let u16_at = |at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap()) as usize;
    let u32_at = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let (sections, count) = (u64_at(40), u16_at(60));
    let header = |index: usize| sections + index * 64;
    for index in 0..count {
        let section = header(index);
        if u32_at(section + 4) == 11 {
            let (offset, size, link) = (
                u64_at(section + 24),
                u64_at(section + 32),
                u32_at(section + 40),
            );
            let strings = u64_at(header(link) + 24);
            for entry in (offset..offset + size).step_by(24) {
                let text = &image[strings + u32_at(entry)..];
                if text.starts_with(name.as_bytes()) && text[name.len()] == 0 {
                    return Some(u64_at(entry + 8) as u64);
                }
            }
        }
    }
    None
}

#[test]
fn ends_with_its_handle() {
    let made = run(async { load(shared(), ud2()).await });
    // Not in the task: the thread that runs it may be the one that reaps.
    let pid = made.space.host_pid();
    drop(made);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while std::path::Path::new(&format!("/proc/{pid}")).exists() {
        assert!(
            std::time::Instant::now() < deadline,
            "process {pid} is still there"
        );
        std::thread::yield_now();
    }
    let expected = if on_ptrace() { "ptrace" } else { "notify" };
    assert_eq!(shared().name(), expected);
}
