//! The names that the table's lines use after `as`.

use super::command as of;
use super::message;
use super::names::{event, file, memory, process, socket};
use super::shape::{MANY, Seen, Shape, list, pointer};
use super::structs::{file_mode, octal, signal, signal_set};
use abi::fs::{O_CREAT, O_TMPFILE_BIT, PATH_MAX};

macro_rules! named {
    ($($name:ident = $shape:expr;)*) => {$(
        pub(crate) const $name: Shape = $shape;
    )*};
}

// Paths and strings, whole.
named! {
    PATH = Shape::In(|seen, at| seen.string(seen.arg(at), PATH_MAX));
    STRINGS = Shape::In(argument_vector);
    COUNTED_STRINGS = Shape::In(environment);
}

// Buffers: the length is the next argument, or what the call returned.
named! {
    BYTES = Shape::In(|seen, at| seen.bytes(seen.arg(at), seen.arg(at + 1)));
    FILLED = Shape::Out(|seen, at| seen.bytes(seen.arg(at), filled(seen)));
    VECTOR = Shape::In(|seen, at| message::vector(seen, seen.arg(at), seen.arg(at + 1), u64::MAX));
    FILLED_VECTOR = Shape::Out(|seen, at| message::vector(seen, seen.arg(at), seen.arg(at + 1), filled(seen)));
    WRITTEN_PATH = Shape::Out(|seen, at| seen.string(seen.arg(at), PATH_MAX));
}

// Numbers.
named! {
    HEX = Shape::Value(|raw| format!("{raw:#x}"));
    ADDRESS = Shape::Value(pointer);
    DECIMAL = Shape::Value(|raw| raw.cast_signed().to_string());
    ID = Shape::Value(|raw| if raw == 0xffff_ffff { "-1".to_owned() } else { raw.to_string() });
    OCTAL = Shape::Value(octal);
    MODE = Shape::Value(|raw| file_mode(raw as u32));
    OPEN_MODE = Shape::In(open_mode);
    DEVICE = Shape::Value(|raw| format!("makedev({:#x}, {:#x})", abi::fs::major(raw), abi::fs::minor(raw)));
    SIGNAL = Shape::Value(|raw| signal(raw.cast_signed()));
    IPC_MODE = Shape::Value(ipc_mode);
}

// Flags.
named! {
    OPEN = Shape::Flags(&file::OPEN);
    PIPE = Shape::Flags(&file::PIPE);
    AT = Shape::Flags(&file::AT);
    UNLINK = Shape::Flags(&file::UNLINK);
    ACCESS = Shape::Flags(&file::ACCESS);
    ACCESS_AT = Shape::Flags(&file::ACCESS_AT);
    RENAME = Shape::Flags(&file::RENAME);
    XATTR = Shape::Flags(&file::XATTR);
    RWF = Shape::Flags(&file::RWF);
    FALLOCATE = Shape::Flags(&file::FALLOCATE);
    FLOCK = Shape::Flags(&file::FLOCK);
    SPLICE = Shape::Flags(&file::SPLICE);
    SYNC_RANGE = Shape::Flags(&file::SYNC_RANGE);
    CLOSE_RANGE = Shape::Flags(&file::CLOSE_RANGE);
    MEMFD = Shape::Flags(&file::MEMFD);
    STATX = Shape::Flags(&file::STATX);
    MOUNT = Shape::Flags(&file::MOUNT);
    UMOUNT = Shape::Flags(&file::UMOUNT);
    PROT = Shape::Flags(&memory::PROT);
    MAP = Shape::Flags(&memory::MAP);
    MREMAP = Shape::Flags(&memory::MREMAP);
    MSYNC = Shape::Flags(&memory::MSYNC);
    MLOCK = Shape::Flags(&memory::MLOCK);
    MLOCKALL = Shape::Flags(&memory::MLOCKALL);
    SHMAT = Shape::Flags(&memory::SHMAT);
    MSG_IPC = Shape::Flags(&memory::MSG_IPC);
    GETRANDOM = Shape::Flags(&memory::GETRANDOM);
    UNSHARE = Shape::Flags(&process::CLONE);
    WAIT = Shape::Flags(&process::WAIT);
    TIMER = Shape::Flags(&process::TIMER);
    TFD_SET = Shape::Flags(&process::TFD_SET);
    FUTEX2 = Shape::Flags(&process::FUTEX2);
    SECCOMP_FLAGS = Shape::Flags(&process::SECCOMP_FLAGS);
    EPOLL_CREATE = Shape::Flags(&event::EPOLL_CREATE);
    EVENTFD = Shape::Flags(&event::EVENTFD);
    SIGNALFD = Shape::Flags(&event::SIGNALFD);
    TIMERFD = Shape::Flags(&event::TIMERFD);
    INOTIFY = Shape::Flags(&event::INOTIFY);
    INOTIFY_INIT = Shape::Flags(&event::INOTIFY_INIT);
    SOCK_TYPE = Shape::Flags(&socket::TYPE);
    ACCEPT = Shape::Flags(&socket::ACCEPT);
    MSG = Shape::Flags(&socket::MSG);
}

// Constants.
named! {
    WHENCE = Shape::Choice(&file::WHENCE);
    FADVISE = Shape::Choice(&file::FADVISE);
    FCNTL = Shape::Choice(&file::FCNTL);
    IOCTL = Shape::Choice(&file::IOCTL);
    MADVISE = Shape::Choice(&memory::MADVISE);
    MEMBARRIER = Shape::Choice(&memory::MEMBARRIER);
    IPC_CONTROL = Shape::Choice(&memory::IPC_CONTROL);
    SEM_CONTROL = Shape::Choice(&memory::SEM_CONTROL);
    IPC_KEY = Shape::Choice(&memory::IPC_KEY);
    SIG_HOW = Shape::Choice(&process::SIG_HOW);
    ID_TYPE = Shape::Choice(&process::ID_TYPE);
    CLOCK = Shape::Choice(&process::CLOCK);
    ITIMER = Shape::Choice(&process::ITIMER);
    RESOURCE = Shape::Choice(&process::RESOURCE);
    RUSAGE = Shape::Choice(&process::RUSAGE);
    PRIORITY = Shape::Choice(&process::PRIORITY);
    SCHEDULER = Shape::Choice(&process::SCHEDULER);
    ARCH_PRCTL = Shape::Choice(&process::ARCH_PRCTL);
    PRCTL = Shape::Choice(&process::PRCTL);
    PTRACE = Shape::Choice(&process::PTRACE);
    SECCOMP = Shape::Choice(&process::SECCOMP);
    EPOLL_OP = Shape::Choice(&event::EPOLL_OP);
    FAMILY = Shape::Choice(&socket::FAMILY);
    SHUTDOWN = Shape::Choice(&socket::SHUTDOWN);
    LEVEL = Shape::Choice(&socket::LEVEL);
    SOCK_PROTOCOL = Shape::In(message::protocol);
    SOCK_OPTION = Shape::In(message::option_name);
}

// What lies behind pointers, or means something beside other arguments.
named! {
    SOCKADDR = Shape::In(message::address_in);
    FILLED_SOCKADDR = Shape::Out(message::address_out);
    OPTION_IN = Shape::In(message::option_in);
    OPTION_OUT = Shape::Out(message::option_out);
    MESSAGES = Shape::In(message::messages_in);
    FILLED_MESSAGES = Shape::Out(message::messages_out);
    SIGNALS = Shape::In(|seen, at| seen.get(at).map(signal_set));
    FILLED_SIGNALS = Shape::Out(|seen, at| seen.get(at).map(signal_set));
    POLL_FDS = Shape::InOut(of::poll_in, of::poll_out);
    EPOLL_EVENTS = Shape::Out(of::epoll_events);
    FD_SET = Shape::InOut(of::fd_set, of::fd_set);
    WAIT_STATUS = Shape::Out(of::wait_status);
    SIGINFO = Shape::In(of::siginfo);
    FILLED_SIGINFO = Shape::Out(of::siginfo);
    TIMEOUT = Shape::In(|seen, at| seen.get::<abi::time::Timespec>(at).map(|time| super::shape::Shown::text(&time)));
    CLONE = Shape::In(|seen, at| Some(of::clone_flags(seen.arg(at))));
    CLONE_ARGS = Shape::In(of::clone_args);
    OPEN_HOW = Shape::In(of::open_how);
    FUTEX_OP = Shape::In(|seen, at| Some(of::futex_op(seen.arg(at))));
    FUTEX_VALUE = Shape::In(of::futex_value);
    FUTEX_TIMEOUT = Shape::In(of::futex_timeout);
    FUTEX_ADDR2 = Shape::In(of::futex_addr2);
    FUTEX_VALUE3 = Shape::In(of::futex_value3);
    FCNTL_ARG = Shape::InOut(of::fcntl_in, of::fcntl_out);
    IOCTL_ARG = Shape::InOut(of::ioctl_in, of::ioctl_out);
    PRCTL_ARG = Shape::InOut(of::prctl_in, of::prctl_out);
    SEM_OPS = Shape::In(|seen, at| elements::<abi::ipc::Sembuf>(seen, at, seen.arg(at + 1)));
    WAITERS = Shape::In(|seen, at| elements::<crate::futex::FutexWaitv>(seen, at, seen.arg(at + 1)));
    GROUPS = Shape::In(|seen, at| groups(seen, at, seen.arg(at.wrapping_sub(1))));
    FILLED_GROUPS = Shape::Out(|seen, at| groups(seen, at, filled(seen)));
    UTSNAME = Shape::Out(|seen, at| {
        let addr = seen.arg(at);
        let part = |number: u64| seen.string(addr.wrapping_add(65 * number), 65);
        Some(format!("{{sysname={}, nodename={}, ...}}", part(0)?, part(1)?))
    });
    SIGNAL_MASK_ARG = Shape::In(of::pselect_mask);
    UTIMBUF = Shape::In(|seen, at| seen.get::<abi::fs::Utimbuf>(at).map(|times| super::shape::Shown::text(&times)));
    CPU_SET = Shape::In(|seen, at| of::cpu_set(seen, at, seen.arg(at.wrapping_sub(1))));
    FILLED_CPU_SET = Shape::Out(|seen, at| of::cpu_set(seen, at, filled(seen)));
    REMAP_TO = Shape::In(|seen, at| {
        // MREMAP_FIXED or MREMAP_DONTUNMAP.
        let meant = seen.arg(at.wrapping_sub(1)) & 6 != 0;
        Some(if meant { pointer(seen.arg(at)) } else { String::new() })
    });
}

/// How many bytes (or elements) the call says that it has stored.
fn filled(seen: &Seen<'_>) -> u64 {
    seen.result
        .map_or(0, |result| u64::try_from(result).unwrap_or(0))
}

/// The mode of a call of open's family, which has one only if it may make the file.
fn open_mode(seen: &Seen<'_>, at: usize) -> Option<String> {
    let flags = seen.arg(at.wrapping_sub(1));
    let meant = flags & u64::from(O_CREAT | O_TMPFILE_BIT) != 0;
    Some(if meant {
        file_mode(seen.arg(at) as u32)
    } else {
        String::new()
    })
}

fn ipc_mode(raw: u64) -> String {
    let (flags, mode) = (raw & !0o777, raw & 0o777);
    if flags == 0 {
        file_mode(mode as u32)
    } else {
        format!("{}|{}", memory::IPC_GET.text(flags), file_mode(mode as u32))
    }
}

/// The strings that an array of pointers names, up to its NULL.
fn argument_vector(seen: &Seen<'_>, at: usize) -> Option<String> {
    let mut texts = Vec::new();
    for index in 0..=MANY as u64 {
        let addr: u64 = seen.get_at(seen.arg(at).wrapping_add(8 * index))?;
        if addr == 0 {
            return Some(list(texts, false));
        }
        if index == MANY as u64 {
            break;
        }
        texts.push(seen.string(addr, 256).unwrap_or_else(|| pointer(addr)));
    }
    Some(list(texts, true))
}

/// The address and how many strings it leads to: environments are long, and hold secrets.
fn environment(seen: &Seen<'_>, at: usize) -> Option<String> {
    const MOST: u64 = 1024;
    let addr = seen.arg(at);
    let mut count = 0;
    while count < MOST && seen.get_at::<u64>(addr.wrapping_add(8 * count))? != 0 {
        count += 1;
    }
    Some(format!(
        "{} /* {count}{} vars */",
        pointer(addr),
        if count == MOST { " or more" } else { "" }
    ))
}

/// `count` structures.
fn elements<T>(seen: &Seen<'_>, at: usize, count: u64) -> Option<String>
where
    T: super::shape::Shown + zerocopy::Immutable + Clone,
{
    let (found, more) = seen.array::<T>(seen.arg(at), count)?;
    Some(list(found.iter().map(super::shape::Shown::text), more))
}

fn groups(seen: &Seen<'_>, at: usize, count: u64) -> Option<String> {
    let (found, more) = seen.array::<u32>(seen.arg(at), count)?;
    Some(list(found.iter().map(u32::to_string), more))
}
