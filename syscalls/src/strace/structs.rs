//! The structures that calls read and write, as text in strace's shape.

use abi::fs::{Flock, Stat, Statfs, Statx, UTIME_NOW, UTIME_OMIT, Utimbuf, major, minor};
use abi::ipc::{MqAttr, Sembuf};
use abi::time::{Itimerspec, Itimerval, Timespec, Timeval};

use super::names::{event, file, process};
use super::shape::{Shape, Shown, list, pointer};
use super::shapes;
use crate::clock::Sigevent;
use crate::cred::CapHeader;
use crate::event::{EpollEvent, PollFd};
use crate::futex::FutexWaitv;
use crate::sched::{Rlimit, Rusage, Sysinfo};
use crate::signal::{KernelSigaction, KernelStack};

macro_rules! shown {
    ($($ty:ty: |$value:ident| $text:expr;)*) => {$(
        impl Shown for $ty {
            fn text(&self) -> String {
                let $value = self;
                $text
            }
        }
    )*};
}

/// A signal by name.
pub(super) fn signal(number: i64) -> String {
    match number {
        32..=64 => format!("SIGRT_{}", number - 32),
        other => process::SIGNAL.text(other),
    }
}

/// A set of signals: `[INT CHLD]`, or `~[…]` when fewer are missing than there.
pub(super) fn signal_set(set: u64) -> String {
    let (inverted, shown) = if set.count_ones() > 32 {
        ("~", !set)
    } else {
        ("", set)
    };
    let names: Vec<String> = (1_i64..=64)
        .filter(|number| shown >> (number - 1) & 1 == 1)
        .map(|number| signal(number).trim_start_matches("SIG").to_owned())
        .collect();
    format!("{inverted}[{}]", names.join(" "))
}

/// A number as C writes octal ones, in at least three digits.
pub(super) fn octal(value: u64) -> String {
    format!("{:0>3}", format!("0{value:o}"))
}

/// A mode as `st_mode` has it: type and special bits by name, permissions in octal.
pub(super) fn file_mode(mode: u32) -> String {
    let named = mode & !0o777;
    let permissions = octal(u64::from(mode & 0o777));
    if named == 0 {
        permissions
    } else {
        format!("{}|{permissions}", file::FILE_TYPE.text(u64::from(named)))
    }
}

fn limit(value: u64) -> String {
    match value {
        u64::MAX => "RLIM64_INFINITY".to_owned(),
        value if value > 4096 && value % 1024 == 0 => format!("{}*1024", value / 1024),
        value => value.to_string(),
    }
}

fn device(dev: u64) -> String {
    format!("makedev({:#x}, {:#x})", major(dev), minor(dev))
}

fn stat(stat: &Stat) -> String {
    let size = if matches!(stat.mode & 0o170_000, 0o20_000 | 0o60_000) {
        format!("st_rdev={}", device(stat.rdev))
    } else {
        format!("st_size={}", stat.size)
    };
    format!("{{st_mode={}, {size}, ...}}", file_mode(stat.mode))
}

fn sigaction(action: &KernelSigaction) -> String {
    let handler = match process::HANDLER.name(action.handler.cast_signed()) {
        Some(name) => name.to_owned(),
        None => pointer(action.handler),
    };
    let mut text = format!(
        "{{sa_handler={handler}, sa_mask={}, sa_flags={}",
        signal_set(action.mask),
        process::SA.text(action.flags)
    );
    if action.restorer != 0 {
        text.push_str(&format!(", sa_restorer={:#x}", action.restorer));
    }
    text.push('}');
    text
}

shown! {
    i32: |value| format!("[{value}]");
    u32: |value| format!("[{value}]");
    i64: |value| format!("[{value}]");
    u64: |value| if *value < 4096 { format!("[{value}]") } else { format!("[{value:#x}]") };
    [i32; 2]: |pair| list(pair.iter().map(i32::to_string), false);
    [u64; 4]: |times| format!("{{tms_utime={}, tms_stime={}, tms_cutime={}, tms_cstime={}}}", times[0], times[1], times[2], times[3]);
    Timespec: |time| match time.nsec {
        UTIME_NOW => "UTIME_NOW".to_owned(),
        UTIME_OMIT => "UTIME_OMIT".to_owned(),
        _ => format!("{{tv_sec={}, tv_nsec={}}}", time.sec, time.nsec),
    };
    Timeval: |time| format!("{{tv_sec={}, tv_usec={}}}", time.sec, time.usec);
    [Timespec; 2]: |pair| list(pair.iter().map(Shown::text), false);
    [Timeval; 2]: |pair| list(pair.iter().map(Shown::text), false);
    Itimerspec: |timer| format!("{{it_interval={}, it_value={}}}", timer.interval.text(), timer.value.text());
    Itimerval: |timer| format!("{{it_interval={}, it_value={}}}", timer.interval.text(), timer.value.text());
    Utimbuf: |times| format!("{{actime={}, modtime={}}}", times.actime, times.modtime);
    Stat: |value| stat(value);
    Statx: |stat| format!("{{stx_mask={}, stx_mode={}, stx_size={}, ...}}", file::STATX.text(u64::from(stat.mask)), file_mode(u32::from(stat.mode)), stat.size);
    Statfs: |fs| format!("{{f_type={:#x}, f_bsize={}, f_blocks={}, f_bfree={}, f_bavail={}, f_files={}, f_ffree={}, f_namelen={}, f_frsize={}, f_flags={:#x}}}",
        fs.kind, fs.bsize, fs.blocks, fs.bfree, fs.bavail, fs.files, fs.ffree, fs.namelen, fs.frsize, fs.flags);
    Flock: |lock| format!("{{l_type={}, l_whence={}, l_start={}, l_len={}, l_pid={}}}",
        file::LOCK.text(lock.kind.into()), file::WHENCE.text(lock.whence.into()), lock.start, lock.len, lock.pid);
    Rlimit: |value| format!("{{rlim_cur={}, rlim_max={}}}", limit(value[0]), limit(value[1]));
    Rusage: |usage| format!("{{ru_utime={}, ru_stime={}, ru_maxrss={}, ...}}", usage.utime.text(), usage.stime.text(), usage.maxrss);
    Sysinfo: |info| format!("{{uptime={}, totalram={}, freeram={}, procs={}, ...}}", info.uptime, info.totalram, info.freeram, info.procs);
    KernelSigaction: |action| sigaction(action);
    KernelStack: |stack| format!("{{ss_sp={}, ss_flags={}, ss_size={}}}", pointer(stack.sp), process::SS.text(u64::from(stack.flags)), stack.size);
    PollFd: |poll| format!("{{fd={}, events={}}}", poll.fd, event::POLL.text(u64::from(poll.events)));
    EpollEvent: |event| {
        let (events, data) = (event.events, event.data);
        format!("{{events={}, data={data:#x}}}", event::EPOLL.text(u64::from(events)))
    };
    Sigevent: |event| format!("{{sigev_value={:#x}, sigev_signo={}, sigev_notify={}}}", event.value, signal(event.signo.into()), process::SIGEV.text(event.notify.into()));
    CapHeader: |header| format!("{{version={:#x}, pid={}}}", header.version, header.pid);
    FutexWaitv: |waiter| format!("{{val={}, uaddr={}, flags={}}}", waiter.value, pointer(waiter.addr), process::FUTEX2.text(u64::from(waiter.flags)));
    Sembuf: |op| format!("{{{}, {}, {:#o}}}", op.num, op.op, op.flags);
    MqAttr: |attr| format!("{{mq_flags={:#o}, mq_maxmsg={}, mq_msgsize={}, mq_curmsgs={}}}", attr.flags, attr.maxmsg, attr.msgsize, attr.curmsgs);
}

impl Shown for u8 {
    /// Names and paths are C strings.
    const IN: Shape = shapes::PATH;
    const OUT: Shape = Shape::Value(pointer);
    fn text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_modes_read_as_with_strace() {
        assert_eq!(signal_set(0), "[]");
        assert_eq!(signal_set(1 << 1 | 1 << 16), "[INT CHLD]");
        assert_eq!(signal_set(!(1 << 8)), "~[KILL]");
        assert_eq!(signal(33), "SIGRT_1");
        assert_eq!(file_mode(0o100_644), "S_IFREG|0644");
        assert_eq!(file_mode(0o41_777), "S_IFDIR|S_ISVTX|0777");
        assert_eq!(file_mode(0), "000");
        assert_eq!(octal(0o22), "022");
        assert_eq!(limit(8 << 20), "8192*1024");
        let time = Timespec { sec: 1, nsec: 5 };
        assert_eq!(time.text(), "{tv_sec=1, tv_nsec=5}");
    }
}
