//! Arguments whose meaning another argument decides (fcntl, ioctl, prctl, futex), and results in several parts.

use abi::fs::{Flock, OpenHow};
use abi::time::Timespec;

use super::names::{event, file, process};
use super::shape::{MANY, Seen, Shown, list, pointer};
use super::structs::{file_mode, signal, signal_set};
use crate::event::{EpollEvent, PollFd};

const FUTEX_PRIVATE: u64 = 0x80;
const FUTEX_CLOCK_REALTIME: u64 = 0x100;

/// The argument before `at`.
fn before(seen: &Seen<'_>, at: usize) -> u64 {
    seen.arg(at.wrapping_sub(1))
}

fn as_flags(flags: &'static super::names::Flags, raw: u64) -> Option<String> {
    Some(flags.text(raw & 0xffff_ffff))
}

/// Left out.
fn nothing() -> Option<String> {
    Some(String::new())
}

fn decimal(raw: u64) -> Option<String> {
    Some((raw as i32).to_string())
}

pub(super) fn fcntl_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    let raw = seen.arg(at);
    match file::FCNTL.name(before(seen, at).cast_signed())? {
        "F_GETFD" | "F_GETFL" | "F_GETOWN" | "F_GETSIG" | "F_GETLEASE" | "F_GETPIPE_SZ"
        | "F_GET_SEALS" => nothing(),
        "F_SETFD" => as_flags(&file::DESCRIPTOR, raw),
        "F_SETFL" => as_flags(&file::OPEN, raw),
        "F_ADD_SEALS" => as_flags(&file::SEALS, raw),
        "F_SETSIG" => Some(signal(raw.cast_signed())),
        "F_SETLEASE" => Some(file::LOCK.text(raw.cast_signed())),
        "F_GETLK" | "F_SETLK" | "F_SETLKW" | "F_OFD_GETLK" | "F_OFD_SETLK" | "F_OFD_SETLKW" => {
            Some(seen.get::<Flock>(at)?.text())
        }
        "F_DUPFD" | "F_DUPFD_CLOEXEC" | "F_DUPFD_QUERY" | "F_SETOWN" | "F_SETPIPE_SZ" => {
            decimal(raw)
        }
        _ => None,
    }
}

pub(super) fn fcntl_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    match file::FCNTL.name(before(seen, at).cast_signed())? {
        "F_GETLK" | "F_OFD_GETLK" => fcntl_in(seen, at),
        _ => None,
    }
}

pub(super) fn ioctl_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    match file::IOCTL.name(before(seen, at).cast_signed())? {
        "TIOCNOTTY" | "TIOCEXCL" | "TIOCNXCL" | "FIONCLEX" | "FIOCLEX" => nothing(),
        "TIOCSCTTY" | "TCSBRK" | "TCXONC" | "TCFLSH" | "TCSBRKP" | "FICLONE" => {
            decimal(seen.arg(at))
        }
        "TIOCSPGRP" | "FIONBIO" | "FIOASYNC" | "TIOCSPTLCK" | "TIOCPKT" => {
            seen.get::<i32>(at).map(|value| format!("[{value}]"))
        }
        "TIOCGPTPEER" => as_flags(&file::OPEN, seen.arg(at)),
        "TIOCSWINSZ" => window(seen, at),
        "TCSETS" | "TCSETSW" | "TCSETSF" => terminal(seen, at),
        _ => None,
    }
}

pub(super) fn ioctl_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    match file::IOCTL.name(before(seen, at).cast_signed())? {
        "TIOCGPGRP" | "FIONREAD" | "TIOCOUTQ" | "TIOCGSID" | "TIOCGPTN" | "TIOCGPTLCK"
        | "SIOCATMARK" => seen.get::<i32>(at).map(|value| format!("[{value}]")),
        "TIOCGWINSZ" => window(seen, at),
        "TCGETS" => terminal(seen, at),
        _ => None,
    }
}

fn window(seen: &Seen<'_>, at: usize) -> Option<String> {
    let [rows, columns, x, y]: [u16; 4] = seen.get(at)?;
    Some(format!(
        "{{ws_row={rows}, ws_col={columns}, ws_xpixel={x}, ws_ypixel={y}}}"
    ))
}

fn terminal(seen: &Seen<'_>, at: usize) -> Option<String> {
    let [input, output, control, local]: [u32; 4] = seen.get(at)?;
    Some(format!(
        "{{c_iflag={input:#x}, c_oflag={output:#x}, c_cflag={control:#x}, c_lflag={local:#x}, ...}}"
    ))
}

pub(super) fn prctl_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    match process::PRCTL.name(before(seen, at).cast_signed()) {
        Some("PR_SET_NAME") => seen.string(seen.arg(at), 15),
        Some("PR_SET_PDEATHSIG") => Some(signal(seen.arg(at).cast_signed())),
        Some("PR_GET_NAME" | "PR_GET_PDEATHSIG") => None,
        _ if seen.arg(at) < 4096 => Some(seen.arg(at).to_string()),
        _ => None,
    }
}

pub(super) fn prctl_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    match process::PRCTL.name(before(seen, at).cast_signed())? {
        "PR_GET_NAME" => seen.string(seen.arg(at), 15),
        "PR_GET_PDEATHSIG" => seen
            .get::<i32>(at)
            .map(|number| format!("[{}]", signal(number.into()))),
        _ => None,
    }
}

/// `FUTEX_WAIT_PRIVATE`.
pub(super) fn futex_op(raw: u64) -> String {
    let flags = FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME;
    let mut text = process::FUTEX.text((raw & !flags).cast_signed());
    if raw & FUTEX_PRIVATE != 0 {
        text.push_str("_PRIVATE");
    }
    if raw & FUTEX_CLOCK_REALTIME != 0 {
        text.push_str("|FUTEX_CLOCK_REALTIME");
    }
    text
}

/// The name of a futex call's command: its second argument.
fn futex_command(seen: &Seen<'_>) -> &'static str {
    let command = seen.arg(1) & !(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
    process::FUTEX.name(command.cast_signed()).unwrap_or("")
}

pub(super) fn futex_value(seen: &Seen<'_>, at: usize) -> Option<String> {
    match futex_command(seen) {
        "FUTEX_LOCK_PI" | "FUTEX_UNLOCK_PI" | "FUTEX_TRYLOCK_PI" => nothing(),
        _ => decimal(seen.arg(at)),
    }
}

pub(super) fn futex_timeout(seen: &Seen<'_>, at: usize) -> Option<String> {
    match futex_command(seen) {
        "FUTEX_WAIT"
        | "FUTEX_WAIT_BITSET"
        | "FUTEX_LOCK_PI"
        | "FUTEX_LOCK_PI2"
        | "FUTEX_WAIT_REQUEUE_PI" => seen.get::<Timespec>(at).map(|time| time.text()),
        "FUTEX_REQUEUE" | "FUTEX_CMP_REQUEUE" | "FUTEX_CMP_REQUEUE_PI" | "FUTEX_WAKE_OP" => {
            decimal(seen.arg(at))
        }
        "FUTEX_WAKE_BITSET" => None,
        _ => nothing(),
    }
}

pub(super) fn futex_addr2(seen: &Seen<'_>, _: usize) -> Option<String> {
    match futex_command(seen) {
        "FUTEX_WAIT" => nothing(),
        _ => None,
    }
}

pub(super) fn futex_value3(seen: &Seen<'_>, at: usize) -> Option<String> {
    match futex_command(seen) {
        "FUTEX_WAIT_BITSET" | "FUTEX_WAKE_BITSET" if seen.arg(at) == 0xffff_ffff => {
            Some("FUTEX_BITSET_MATCH_ANY".to_owned())
        }
        "FUTEX_REQUEUE" => nothing(),
        "FUTEX_CMP_REQUEUE" | "FUTEX_CMP_REQUEUE_PI" => decimal(seen.arg(at)),
        _ => Some(format!("{:#x}", seen.arg(at))),
    }
}

/// `CLONE_VM|…|SIGCHLD`.
pub(super) fn clone_flags(raw: u64) -> String {
    let (flags, number) = (raw & !0xff, raw & 0xff);
    match (flags, number) {
        (0, 0) => "0".to_owned(),
        (_, 0) => process::CLONE.text(flags),
        (0, _) => signal(number.cast_signed()),
        _ => format!(
            "{}|{}",
            process::CLONE.text(flags),
            signal(number.cast_signed())
        ),
    }
}

/// `struct clone_args` of `clone3(2)`.
pub(super) fn clone_args(seen: &Seen<'_>, at: usize) -> Option<String> {
    let [
        flags,
        pidfd,
        child,
        parent,
        exit_signal,
        stack,
        stack_size,
        tls,
    ]: [u64; 8] = seen.get(at)?;
    Some(format!(
        "{{flags={}, pidfd={}, child_tid={}, parent_tid={}, exit_signal={}, stack={}, stack_size={stack_size:#x}, tls={}}}",
        process::CLONE.text(flags),
        pointer(pidfd),
        pointer(child),
        pointer(parent),
        signal(exit_signal.cast_signed()),
        pointer(stack),
        pointer(tls)
    ))
}

/// `struct open_how` of `openat2(2)`.
pub(super) fn open_how(seen: &Seen<'_>, at: usize) -> Option<String> {
    let how: OpenHow = seen.get(at)?;
    Some(format!(
        "{{flags={}, mode={}, resolve={}}}",
        file::OPEN.text(how.flags),
        file_mode(how.mode as u32),
        file::RESOLVE.text(how.resolve)
    ))
}

/// What is polled for.
pub(super) fn poll_in(seen: &Seen<'_>, at: usize) -> Option<String> {
    let (fds, more) = seen.array::<PollFd>(seen.arg(at), seen.arg(at + 1))?;
    Some(list(fds.iter().map(Shown::text), more))
}

/// What was found: those descriptors that have something.
pub(super) fn poll_out(seen: &Seen<'_>, at: usize) -> Option<String> {
    if seen.result == Some(0) {
        return nothing();
    }
    let (fds, more) = seen.array::<PollFd>(seen.arg(at), seen.arg(at + 1))?;
    let found = fds.iter().filter(|poll| poll.revents != 0);
    let found = found.map(|poll| {
        format!(
            "{{fd={}, revents={}}}",
            poll.fd,
            event::POLL.text(u64::from(poll.revents))
        )
    });
    Some(list(found, more))
}

/// As many events as were returned.
pub(super) fn epoll_events(seen: &Seen<'_>, at: usize) -> Option<String> {
    let count = u64::try_from(seen.result?).ok()?;
    let mut texts = Vec::new();
    for index in 0..count.min(MANY as u64) {
        let step = size_of::<EpollEvent>() as u64;
        let event: EpollEvent = seen.get_at(seen.arg(at).wrapping_add(index * step))?;
        texts.push(event.text());
    }
    Some(list(texts, count > MANY as u64))
}

/// The members of a set of descriptors below the call's first argument.
pub(super) fn fd_set(seen: &Seen<'_>, at: usize) -> Option<String> {
    let below = seen.arg(0).min(1024);
    let (words, _) = seen.array::<u64>(seen.arg(at), below.div_ceil(64))?;
    let members = (0..below).filter(|fd| {
        let word = words.get((fd / 64) as usize).copied().unwrap_or(0);
        word >> (fd % 64) & 1 == 1
    });
    let names: Vec<String> = members.map(|fd| fd.to_string()).collect();
    Some(format!("[{}]", names.join(" ")))
}

/// `pselect6`'s last argument: a pointer to a set and its size.
pub(super) fn pselect_mask(seen: &Seen<'_>, at: usize) -> Option<String> {
    let [set, size]: [u64; 2] = seen.get(at)?;
    let set = match seen.get_at::<u64>(set) {
        Some(set) => signal_set(set),
        None => pointer(set),
    };
    Some(format!("{{sigmask={set}, sigsetsize={size}}}"))
}

/// `[{WIFEXITED(s) && WEXITSTATUS(s) == 0}]`.
pub(super) fn wait_status(seen: &Seen<'_>, at: usize) -> Option<String> {
    if seen.result == Some(0) {
        return None;
    }
    let status: i32 = seen.get(at)?;
    let number = status & 0x7f;
    Some(if status == 0xffff {
        "[{WIFCONTINUED(s)}]".to_owned()
    } else if number == 0 {
        format!(
            "[{{WIFEXITED(s) && WEXITSTATUS(s) == {}}}]",
            status >> 8 & 0xff
        )
    } else if number == 0x7f {
        let event = match status >> 16 & 0xff {
            0 => String::new(),
            event => format!(" | {event:#x} << 8"),
        };
        format!(
            "[{{WIFSTOPPED(s) && WSTOPSIG(s) == {}{event}}}]",
            signal((status >> 8 & 0x7f).into())
        )
    } else {
        let core = if status & 0x80 == 0 {
            ""
        } else {
            " && WCOREDUMP(s)"
        };
        format!(
            "[{{WIFSIGNALED(s) && WTERMSIG(s) == {}{core}}}]",
            signal(number.into())
        )
    })
}

/// A `siginfo_t`, as far as all signals have it.
pub(super) fn siginfo(seen: &Seen<'_>, at: usize) -> Option<String> {
    let [number, _errno, code, _, pid, uid]: [i32; 6] = seen.get(at)?;
    Some(format!(
        "{{si_signo={}, si_code={code:#x}, si_pid={pid}, si_uid={}}}",
        signal(number.into()),
        uid.cast_unsigned()
    ))
}

/// The members of a CPU mask of `len` bytes.
pub(super) fn cpu_set(seen: &Seen<'_>, at: usize, len: u64) -> Option<String> {
    let (words, _) = seen.array::<u64>(seen.arg(at), len / 8)?;
    let mut cpus = Vec::new();
    for (index, word) in words.iter().enumerate() {
        cpus.extend(
            (0..64)
                .filter(|bit| word >> bit & 1 == 1)
                .map(|bit| (index * 64 + bit).to_string()),
        );
    }
    Some(format!("[{}]", cpus.join(" ")))
}
