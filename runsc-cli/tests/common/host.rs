//! The raw host calls that tests of the command line need.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

use std::os::fd::{FromRawFd, OwnedFd};

use nix::libc;

/// Takes over a descriptor that the kernel has just installed for this process.
pub fn adopt(number: i32) -> OwnedFd {
    // SAFETY: the caller got the number from the kernel a moment ago and nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Installs a seccomp listener over the calling thread and what it starts; the descriptor is held until the process ends.
pub fn install_listener() -> i64 {
    let filter = [libc::sock_filter {
        code: 6,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    }];
    let program = libc::sock_fprog {
        len: 1,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: a valid filter of one instruction.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    }
}
