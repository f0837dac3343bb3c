//! The one place where terminals (and host streams) send signals. None of these signals is a real-time one, so no queue can be full.

use std::sync::Arc;

use abi::signal::Signal;

use crate::signal::{SigInfo, send};
use crate::task::{ProcessGroup, Task, ThreadGroup};

/// To one thread.
pub(crate) fn to_thread(task: &Arc<Task>, signal: Signal) {
    let _ = send::thread_signal(task, SigInfo::kernel(signal));
}

/// To a process.
pub(crate) fn to_process(group: &Arc<ThreadGroup>, signal: Signal) {
    let _ = send::process_signal(group, SigInfo::kernel(signal));
}

/// To all processes of a group.
pub(crate) fn to_group(group: &ProcessGroup, signal: Signal) {
    send::group_signal(group, SigInfo::kernel(signal));
}
