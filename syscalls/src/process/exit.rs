//! The end of threads and processes.

use std::sync::Arc;

use abi::UserAddr;
use abi::UserOut;
use sentry::error::SysResult;
use sentry::signal::send;
use sentry::task::{CurrentTask, ExitStatus, Task, Times, lifecycle};
use sentry::wait::Events;

use crate::arg::Outcome;

/// `exit(2)` of one thread.
pub async fn exit(cx: &CurrentTask, status: i32) -> SysResult<Outcome> {
    cx.set_end(ExitStatus::Code(status as u8));
    crate::rseq::forget(cx).await;
    Ok(Outcome::Exit)
}

/// `exit_group(2)`.
pub async fn exit_group(cx: &CurrentTask, status: i32) -> SysResult<Outcome> {
    send::end_group(&cx.group, ExitStatus::Code(status as u8));
    Ok(Outcome::Exit)
}

/// Tells a vfork parent that the memory is its own again.
pub(super) fn release_vfork_parent(task: &Task) {
    let queue = task.vfork_done.lock().take();
    if let Some(queue) = queue {
        queue.notify(Events::IN);
    }
}

/// What leaving an address space entails (`mm_release`): robust futexes, the cleared thread id, a waiting vfork parent.
/// `for_good`: it exits, else it execs.
pub(super) fn leave_memory(task: &Arc<Task>, for_good: bool) {
    sentry::futex::exit_robust_list(task);
    sentry::futex::exit_owned(task, for_good);
    let clear = std::mem::take(&mut task.misc.lock().clear_child_tid);
    if clear != 0
        && let Some(map) = task.try_memory_map()
        // As Linux: memory that nobody else runs in is left alone, a core dump shall show it as it was.
        && map.users() > 1
    {
        let at: UserOut<i32> = UserOut::new(UserAddr(clear));
        if map.memory().put(at, &0).is_ok() {
            sentry::futex::wake_address(&map, clear, 1);
        }
    }
    release_vfork_parent(task);
}

/// Ends the thread: the last thing its future does.
pub fn leave(cx: &CurrentTask, status: ExitStatus) {
    let task = cx.task();
    leave_memory(task, true);
    let thread = task.thread();
    let (user_ns, system_ns) = thread.cpu_time_ns();
    let times = Times {
        user_ns,
        system_ns,
        ..Times::default()
    };
    *cx.group.remains.lock() = Some(thread.remains());
    task.replace_files(None);
    let map = task.replace_memory_map(None);
    thread.exit();
    drop(map);
    lifecycle::task_exited(task, status, times);
}
