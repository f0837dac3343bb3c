//! Runs machine code in guest processes and checks every kind of stop.

#[macro_use]
mod common;

use common::*;
use platform::{GUEST_TOP, HostCall, Registers, Stop};

guest_code!(
    light_then_full,
    "mov edi, 7",
    "mov eax, 39",
    "syscall", // getpid: light
    "mov r15, rax",
    "mov r14, 0x1234",
    "mov edi, 11",
    "mov esi, 22",
    "mov eax, 600",
    "syscall", // full
    "mov rsi, rax",
    "mov rdi, r15",
    "mov eax, 601",
    "syscall", // light
    "ud2",
);

#[test]
fn spawn_light_full_fault() {
    run(async {
        let made = load(shared(), light_then_full()).await;
        let thread = &made.thread;
        thread.resume();
        let (nr, args) = light(thread).await;
        assert_eq!((nr, args[0]), (39, 7));
        thread.answer(4242);
        let Ok(Stop::SyscallFull(call)) = next(thread).await else {
            panic!("full stop")
        };
        assert_eq!((call.nr, call.args[0], call.args[1]), (600, 11, 22));
        let registers = thread.registers().unwrap();
        assert_eq!(
            (registers.rax, registers.r14, registers.r15),
            (600, 0x1234, 4242)
        );
        assert_eq!(registers.rip, call.ip);
        thread
            .set_registers(&Registers {
                rax: 99,
                ..registers
            })
            .unwrap();
        thread.resume();
        let (nr, args) = light(thread).await;
        assert_eq!((nr, args[0], args[1]), (601, 4242, 99));
        thread.answer(-38);
        let Ok(Stop::Fault(fault)) = next(thread).await else {
            panic!("fault")
        };
        assert_eq!(fault.signal, abi::signal::Signal::ILL);
        assert_eq!(thread.registers().unwrap().rax as i64, -38);
        thread.exit();
        assert!(next(thread).await.is_err());
    });
}

#[test]
fn a_fresh_process_has_nothing_but_the_vdso() {
    run(async {
        let made = shared().spawn().await.unwrap();
        let pid = made.space.host_pid();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let vdso = made.space.vdso();
        for line in maps.lines() {
            let (start, _) = line.split_once('-').unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            let ours = start >= GUEST_TOP;
            let host = (vdso.vvar.start..vdso.vvar.end).contains(&start)
                || (vdso.code.start..vdso.code.end).contains(&start);
            assert!(ours || host, "unexpected mapping: {line}");
        }
        let mut magic = [0; 4];
        assert_eq!(made.space.read(vdso.code.start, &mut magic), Ok(4));
        assert_eq!(&magic, b"\x7fELF");
        assert_eq!(
            std::fs::read_dir(format!("/proc/{pid}/fd"))
                .unwrap()
                .count(),
            1,
            "only the slots"
        );
    });
}

#[test]
fn memory_is_read_and_written_by_page() {
    run(async {
        let made = load(shared(), &[0x90]).await;
        let space = &made.space;
        let mut buf = [0; 8192];
        assert_eq!(space.read(STACK_TOP - 100, &mut buf), Ok(100));
        assert_eq!(space.read(STACK_TOP, &mut buf), Err(abi::Errno::EFAULT));
        assert_eq!(space.read(STACK_TOP, &mut []), Ok(0));
        assert_eq!(
            space.write(CODE, &[0; 4]),
            Err(abi::Errno::EFAULT),
            "read-only"
        );
        assert_eq!(space.write(STACK_TOP - 4, &[1; 8]), Ok(4));
        assert_eq!(space.read(GUEST_TOP, &mut buf), Err(abi::Errno::EFAULT));
        assert_eq!(space.read(u64::MAX - 4, &mut buf), Err(abi::Errno::EFAULT));
        assert_eq!(
            space.write_vectored(&[(DATA, 2), (DATA + 10, 3)], b"abcde"),
            Ok(5)
        );
        let mut out = [0; 5];
        assert_eq!(
            space.read_vectored(&[(DATA + 10, 3), (DATA, 2)], &mut out),
            Ok(5)
        );
        assert_eq!(&out, b"cdeab");
        assert_eq!(
            space.read_vectored(&[(DATA, 2), (STACK_TOP, 2)], &mut out),
            Ok(2)
        );
        let results = made
            .thread
            .order(&[
                HostCall::Unmap {
                    addr: DATA,
                    len: 4096,
                },
                HostCall::Unmap {
                    addr: GUEST_TOP,
                    len: 4096,
                },
            ])
            .await
            .unwrap();
        assert_eq!(results, [Ok(0), Err(abi::Errno::EINVAL)]);
        assert_eq!(space.read(DATA, &mut out), Err(abi::Errno::EFAULT));
    });
}
