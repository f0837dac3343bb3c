//! `kcmp(2)`: whether two processes share a kernel object.

use std::sync::{Arc, OnceLock};

use sentry::error::{Errno, SysResult};
use sentry::ipc::sem;
use sentry::task::{CurrentTask, Task};
use sentry::vfs::Fd;

/// A pointer's place in an order that tells nothing about addresses: xor and an odd factor, as Linux does it, chosen once.
fn veiled(pointer: usize) -> u64 {
    static VEIL: OnceLock<(u64, u64)> = OnceLock::new();
    let (mask, factor) = *VEIL.get_or_init(|| {
        let mut bytes = [0_u8; 16];
        sentry::host::random(&mut bytes);
        let (mask, factor) = bytes.split_at(8);
        let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
        (word(mask), word(factor) | 1 | 1 << 63)
    });
    (pointer as u64 ^ mask).wrapping_mul(factor)
}

/// 0: the same; 1: less; 2: greater.
fn compare(one: usize, other: usize) -> i32 {
    match veiled(one).cmp(&veiled(other)) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

fn identity<T>(object: Option<Arc<T>>) -> usize {
    object.map_or(0, |object| Arc::as_ptr(&object) as usize)
}

/// `kcmp(2)`.
pub async fn kcmp(
    cx: &CurrentTask,
    pid1: i32,
    pid2: i32,
    kind: i32,
    index1: u64,
    index2: u64,
) -> SysResult<i32> {
    const FILE: i32 = 0;
    const VM: i32 = 1;
    const FILES: i32 = 2;
    const FS: i32 = 3;
    const SIGHAND: i32 = 4;
    const IO: i32 = 5;
    const SYSVSEM: i32 = 6;
    const EPOLL_TFD: i32 = 7;
    let namespace = cx.pid_namespace();
    let one = namespace.task(pid1).ok_or(Errno::ESRCH)?;
    let other = namespace.task(pid2).ok_or(Errno::ESRCH)?;
    crate::cred::may_inspect(cx, &one)?;
    crate::cred::may_inspect(cx, &other)?;
    let pair = |of: fn(&Task) -> usize| compare(of(&one), of(&other));
    Ok(match kind {
        FILE => {
            let file = |task: &Task, index: u64| {
                let fd = Fd(i32::try_from(index).map_err(|_| Errno::EBADF)?);
                task.try_files().ok_or(Errno::EBADF)?.get(fd)
            };
            let (one, other) = (file(&one, index1)?, file(&other, index2)?);
            compare(Arc::as_ptr(&one) as usize, Arc::as_ptr(&other) as usize)
        }
        VM => pair(|task| identity(task.try_memory_map())),
        FILES => pair(|task| identity(task.try_files())),
        FS => pair(|task| identity(Some(task.fs()))),
        SIGHAND => pair(|task| identity(Some(task.group.actions()))),
        // Nobody has an I/O context here: all are the same.
        IO => 0,
        // Undo lists belong to processes; those without one are alike.
        SYSVSEM => pair(|task| {
            if sem::has_undo(task) {
                Arc::as_ptr(&task.group) as usize
            } else {
                0
            }
        }),
        EPOLL_TFD => return Err(Errno::EOPNOTSUPP.into()),
        _ => return Err(Errno::EINVAL.into()),
    })
}
