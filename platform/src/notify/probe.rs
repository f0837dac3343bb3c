//! Whether this process may have seccomp listeners, found out before anything is set up.

use abi::Errno;

use crate::host;

/// Why the platform cannot be had, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The kernel knows no such filter action or flag (before Linux 5.19).
    #[error("this host's kernel is too old for seccomp user notification (it needs linux 5.19)")]
    TooOld,
    /// Of the filters that this process lives under, one has a listener already, and there can be only one.
    #[error(
        "this process already lives under a seccomp listener (of a container manager or tracer), and there can be only one"
    )]
    ListenerThere,
    /// Anything else.
    #[error("this host refuses a seccomp listener: {0}")]
    Other(Errno),
}

/// One `ret SECCOMP_RET_ALLOW`.
static ALLOW: [u64; 1] = [0x06 | 0x7fff_0000 << 32];

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u64,
    filter: *const u64,
}

/// Has a child try to install a listener. The caller is single-threaded (the child is a `vfork`-like copy that makes three calls and ends).
///
/// # Errors
/// What stands in the way.
pub fn probe() -> Result<(), Refusal> {
    let program = Program {
        len: 1,
        filter: ALLOW.as_ptr(),
    };
    // SAFETY: the child makes only raw calls on memory that it has a copy of, and ends without returning.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // NEW_LISTENER | WAIT_KILLABLE_RECV
        let flags: u64 = 1 << 3 | 1 << 5;
        // SAFETY: as above; `program` is a valid filter.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let result = libc::syscall(libc::SYS_seccomp, 1, flags, &raw const program);
            let code = if result < 0 {
                *libc::__errno_location()
            } else {
                0
            };
            libc::_exit(code & 0xff)
        }
    }
    host::check(pid.into()).map_err(Refusal::Other)?;
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        let error = host::last_errno();
        if error != Errno::EINTR {
            return Err(Refusal::Other(error));
        }
    }
    if !libc::WIFEXITED(status) {
        return Err(Refusal::Other(Errno::EPERM));
    }
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        libc::EBUSY => Err(Refusal::ListenerThere),
        libc::EINVAL | libc::ENOSYS => Err(Refusal::TooOld),
        other => Err(Refusal::Other(Errno::from_raw(other))),
    }
}
