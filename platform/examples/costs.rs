//! Prints what stops, orders, clones and spawns cost on this host: `cargo run --release -p platform --example costs`.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use common::*;
use platform::{CloneKind, HostCall, Registers, Stop};

guest_code!(light_calls, "2:", "mov eax, 700", "syscall", "jmp 2b");
guest_code!(full_calls, "2:", "mov eax, 600", "syscall", "jmp 2b");

fn report(name: &str, rounds: u32, start: Instant) {
    println!(
        "{name:40} {:8} ns",
        start.elapsed().as_nanos() / u128::from(rounds)
    );
}

fn main() {
    run(async {
        const ROUNDS: u32 = 50_000;
        let made = load(shared(), light_calls()).await;
        made.thread.resume();
        light(&made.thread).await;
        let start = Instant::now();
        for _ in 0..ROUNDS {
            made.thread.answer(0);
            light(&made.thread).await;
        }
        report("light call", ROUNDS, start);

        let made = load(shared(), full_calls()).await;
        made.thread.resume();
        next(&made.thread).await.unwrap();
        let start = Instant::now();
        for _ in 0..ROUNDS {
            made.thread.resume();
            next(&made.thread).await.unwrap();
        }
        report("full call", ROUNDS, start);
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let registers = made.thread.registers().unwrap();
            made.thread
                .set_registers(&Registers {
                    rax: 0,
                    ..registers
                })
                .unwrap();
            made.thread.resume();
            next(&made.thread).await.unwrap();
        }
        report("full call, registers edited", ROUNDS, start);

        const FEW: u32 = 5_000;
        let start = Instant::now();
        for _ in 0..FEW {
            let results = made
                .thread
                .order(&[HostCall::Protect {
                    addr: DATA,
                    len: 4096,
                    prot: 3,
                }])
                .await
                .unwrap();
            assert_eq!(results, [Ok(0)]);
        }
        report("order of one call", FEW, start);
        let calls = [
            anonymous(0x90_0000, 4096, 3),
            HostCall::Unmap {
                addr: 0x90_0000,
                len: 4096,
            },
        ];
        let start = Instant::now();
        for _ in 0..FEW {
            made.thread.order(&calls).await.unwrap();
        }
        report("order of map and unmap", FEW, start);
        let file: std::sync::Arc<std::os::fd::OwnedFd> =
            std::sync::Arc::new(std::fs::File::open("/proc/self/exe").unwrap().into());
        let map = |file: &std::sync::Arc<std::os::fd::OwnedFd>| HostCall::Map {
            addr: 0x90_0000,
            len: 4096,
            prot: 1,
            shared: false,
            replace: true,
            noreserve: false,
            source: platform::MapSource::File {
                file: file.clone(),
                offset: 0,
            },
        };
        made.thread.order(&[map(&file)]).await.unwrap();
        let start = Instant::now();
        for _ in 0..FEW {
            made.thread.order(&[map(&file)]).await.unwrap();
        }
        report("order of a file mapping, same file", FEW, start);
        let start = Instant::now();
        for _ in 0..FEW {
            let other = std::sync::Arc::new(file.try_clone().unwrap());
            made.thread.order(&[map(&other)]).await.unwrap();
        }
        report("order of a file mapping, new file", FEW, start);

        const FORKS: u32 = 1_000;
        let registers = made.thread.registers().unwrap();
        for (name, kind) in [
            ("thread", CloneKind::Thread),
            ("shared memory", CloneKind::SharedMemory),
            ("fork", CloneKind::Fork),
        ] {
            let start = Instant::now();
            for _ in 0..FORKS {
                let child = made
                    .thread
                    .clone_thread(kind, &registers, None)
                    .await
                    .unwrap()
                    .unwrap();
                assert_eq!(next(&child.thread).await, Ok(Stop::Started));
                child.thread.exit();
            }
            report(&format!("clone ({name}) and exit"), FORKS, start);
        }
        drop(made);
    });
    run(async {
        const SPAWNS: u32 = 300;
        let start = Instant::now();
        for _ in 0..SPAWNS {
            let made = shared().spawn().await.unwrap();
            assert_eq!(next(&made.thread).await, Ok(Stop::Started));
        }
        report("spawn and drop, one after another", SPAWNS, start);
    });
}
