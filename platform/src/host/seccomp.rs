//! The listener side of seccomp user notification (`seccomp_unotify(2)`).

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Errno;

use super::check;

const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
const NOTIF_ADDFD: libc::c_ulong = 0x4018_2103;
const NOTIF_SET_FLAGS: libc::c_ulong = 0x4008_2104;
const FD_SYNC_WAKE_UP: u64 = 1;
const FLAG_CONTINUE: u32 = 1;
const ADDFD_SETFD: u32 = 1;
const ADDFD_SEND: u32 = 2;

/// `seccomp_data`: the call that was trapped.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Data {
    /// Call number, 32 bits.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address behind the call instruction.
    pub ip: u64,
    /// Argument registers.
    pub args: [u64; 6],
}

/// `seccomp_notif`: one call that waits for a reply.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Notification {
    /// Names the notification in replies.
    pub id: u64,
    /// The caller's thread id as the receiver sees it.
    pub pid: u32,
    /// Always zero.
    pub flags: u32,
    /// The call.
    pub data: Data,
}

#[repr(C)]
struct Response {
    id: u64,
    val: i64,
    error: i32,
    flags: u32,
}

#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    srcfd: u32,
    newfd: u32,
    newfd_flags: u32,
}

/// Waits for the next notification. `ENOENT` and `EINTR` mean: nothing, look again.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: the kernel writes one `seccomp_notif` into a zeroed structure of that layout.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_RECV, &raw mut notification) }.into())?;
    Ok(notification)
}

fn send(listener: BorrowedFd<'_>, response: &Response) -> Result<(), Errno> {
    check(
        // SAFETY: the kernel reads one `seccomp_notif_resp`.
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                NOTIF_SEND,
                std::ptr::from_ref(response),
            )
        }
        .into(),
    )
    .map(drop)
}

/// Ends the call with `value` in the return register. `ENOENT`: the caller is dead.
pub fn reply(listener: BorrowedFd<'_>, id: u64, value: i64) -> Result<(), Errno> {
    send(
        listener,
        &Response {
            id,
            val: value,
            error: 0,
            flags: 0,
        },
    )
}

/// Lets the host kernel execute the call as the guest's own.
pub fn let_through(listener: BorrowedFd<'_>, id: u64) -> Result<(), Errno> {
    send(
        listener,
        &Response {
            id,
            val: 0,
            error: 0,
            flags: FLAG_CONTINUE,
        },
    )
}

/// Installs a duplicate of `source` at number `target` in the table of the thread that waits in notification `id`, and ends its call with that
/// number. Waits for that thread; if it fails, the call is still waiting.
pub fn add_descriptor_and_reply(
    listener: BorrowedFd<'_>,
    id: u64,
    source: BorrowedFd<'_>,
    target: u32,
) -> Result<(), Errno> {
    let request = AddFd {
        id,
        flags: ADDFD_SETFD | ADDFD_SEND,
        srcfd: source.as_raw_fd().cast_unsigned(),
        newfd: target,
        newfd_flags: 0,
    };
    // SAFETY: the kernel reads one `seccomp_notif_addfd`.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_ADDFD, &raw const request) }.into())
        .map(drop)
}

/// Chooses whether replies wake the guest on the replier's CPU (Linux 6.6+; `EINVAL` before).
pub fn set_synchronous(listener: BorrowedFd<'_>, on: bool) -> Result<(), Errno> {
    let flags = if on { FD_SYNC_WAKE_UP } else { 0 };
    // SAFETY: this request takes its flags by value.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), NOTIF_SET_FLAGS, flags) }.into()).map(drop)
}

/// What `poll(2)` says of a descriptor within `timeout_ms` (negative: for ever): the events that hold.
pub fn poll_events(fd: BorrowedFd<'_>, timeout_ms: i32) -> Result<i16, Errno> {
    let limit = libc::timespec {
        tv_sec: i64::from(timeout_ms / 1000),
        tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000,
    };
    let timeout = if timeout_ms < 0 {
        std::ptr::null()
    } else {
        &raw const limit
    };
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid `pollfd`, a null pointer or a valid `timespec`, no mask.
    check(unsafe { libc::ppoll(&raw mut entry, 1, timeout, std::ptr::null()) }.into())?;
    Ok(entry.revents)
}
