//! What every case imports: Linux's constants and structures by their own names, and the helpers.
//!
//! Explicit names win over libc's functions of the same name: `read`, `fork` or `pipe` are the helpers here.

#![allow(unused_imports, reason = "each family of cases uses a part of it")]

pub(crate) use crate::case::{cases, say};
pub(crate) use crate::child::{Child, Status, after, fork, wait_any};
pub(crate) use crate::host::{
    Data, NULL, Ret, clone_with_stack, close, exec, exit_now, getpid, gettid, lseek, now_ns, open,
    pipe, pipe2, pread, read, rlimit_of, set_soft_limit, sleep_ms, socketpair, sys, timespec_ms,
    touch, unused, write, write_file, zeroed,
};
pub(crate) use crate::inet::{
    Addr, Control, Received, accept, bind, connect, get, listen, listener, listener6, local, name,
    nonblocking, own, pair, poll, poll_names, port, receive_message, recv, send, send_message,
    send_to, set, show, show_control, shown, so_error, socket, tcp, udp, udp_pair, v4, v6,
    wait_for,
};
pub(crate) use crate::memory::{Map, PAGE, map, map_anon, map_shared};
pub(crate) use crate::signals::{
    alarmed, block, caught, caught_count, fault_report, handle, handle_blocking, ignore,
    interrupted, kill_self, mask, name_of, pending, queue, queue_self, reset, set_of, unblock,
};
pub(crate) use libc::*;
