//! What a call costs: `cargo bench -p gofer --bench latency`.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::{owner, served};
use gofer::client::{OpenFlags, Polling, UnlinkKind};
use std::time::Instant;

const CALLS: u32 = 20_000;

fn measure(what: &str, mut call: impl FnMut()) {
    for _ in 0..CALLS / 10 {
        call();
    }
    let mut times: Vec<u64> = (0..CALLS)
        .map(|_| {
            let start = Instant::now();
            call();
            u64::try_from(start.elapsed().as_nanos()).unwrap()
        })
        .collect();
    times.sort_unstable();
    let at = |percent: usize| times[times.len() * percent / 100];
    println!(
        "{what:24} median {:6} ns, 10% {:6} ns, 99% {:6} ns",
        at(50),
        at(10),
        at(99)
    );
}

fn main() {
    let s = served();
    std::fs::create_dir_all(s.dir.0.join("a/b/c/d")).unwrap();
    std::fs::write(s.dir.0.join("a/b/c/d/e"), "x").unwrap();
    let (c, root) = (&s.client, &s.root.node);
    let path: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"e"];
    let file = c.walk(root, &path).unwrap().entries.pop().unwrap().node;
    for polling in [Polling::Never, Polling::WhileBusy] {
        println!("{polling:?}");
        c.set_polling(polling);
        measure("empty", || c.flush().unwrap());
        measure("getattr", || assert_eq!(c.getattr(&file).unwrap().size, 1));
        measure("walk of 1", || drop(c.walk(root, &path[..1]).unwrap()));
        measure("walk of 5", || drop(c.walk(root, &path).unwrap()));
        measure("walk to nothing", || {
            drop(c.walk(root, &[b"nothing"]).unwrap())
        });
        measure("open", || drop(c.open(&file, OpenFlags::READ).unwrap()));
        measure("create and unlink", || {
            c.create(root, b"new", OpenFlags::WRITE, owner(0o600))
                .unwrap();
            c.unlink(root, b"new", UnlinkKind::File).unwrap();
        });
    }
}
