//! The table: one line a call.
//!
//! `number => module::handler(argument: Type [as SHAPE], …) [-> SHAPE] Support [full];` where SHAPE says how `--strace` shows an argument or the
//! result where its type does not say it (see [`crate::strace::shape`]), Support is `Full` or `Partial("what is missing")`, and `full` asks the platform
//! for a stop with the whole register file (needed by calls that read registers or order host calls). `pass` instead: as `full`, but the call may
//! arrive without registers at first, to be let through to the host or made again. A number without a line answers ENOSYS and is
//! counted.

#[allow(unused_imports, reason = "argument types for the table's lines")]
use abi::{UserAddr, UserIn, UserOut};
use platform_args::SyscallArgs;
use sentry::error::{Errno, SysResult};
use sentry::task::CurrentTask;
#[allow(unused_imports, reason = "argument types for the table's lines")]
use sentry::vfs::Fd;

#[allow(unused_imports, reason = "argument types for the table's lines")]
use crate::arg::{Arg, Outcome, outcome};
use crate::strace::shape::Shape;

/// The argument structure, re-exported by the kernel so that this crate need not import the platform.
pub mod platform_args {
    pub use sentry::SyscallArgs;
}

/// How well a call is supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does.
    Full,
    /// With this difference.
    Partial(&'static str),
}

/// One parameter of a call.
pub struct Parameter {
    /// Name.
    pub name: &'static str,
    /// How strace shows it.
    pub shape: Shape,
    /// Bytes of the register that count.
    pub width: u8,
    /// A descriptor.
    pub is_fd: bool,
}

/// One line of the table.
pub struct Entry {
    /// Call number.
    pub nr: u32,
    /// Name.
    pub name: &'static str,
    /// The module that has the handler.
    pub family: &'static str,
    /// Parameters.
    pub parameters: &'static [Parameter],
    /// How strace shows what is returned, if not as a number.
    pub result: Option<Shape>,
    /// Support.
    pub support: Support,
    /// Needs the whole register file.
    pub full_stop: bool,
    /// The host may execute it as the guest's own (see `passing`), or it can do without registers: a light stop will do to begin with.
    pub may_pass: bool,
}

macro_rules! is_full {
    () => {
        false
    };
    (full) => {
        true
    };
    (pass) => {
        true
    };
}

macro_rules! may_pass {
    (pass) => {
        true
    };
    ($($other:ident)?) => {
        false
    };
}

macro_rules! shape_of {
    ($ty:ty) => {
        <$ty as Arg>::SHAPE
    };
    ($ty:ty, $shape:ident) => {
        crate::strace::shapes::$shape
    };
}

macro_rules! result_shape {
    () => {
        None
    };
    ($shape:ident) => {
        Some(crate::strace::shapes::$shape)
    };
}

macro_rules! syscall_table {
    ($($nr:literal => $module:ident :: $name:ident ( $($arg:ident : $ty:ty $(as $shape:ident)?),* ) $(-> $result:ident)? $support:ident $(($note:literal))? $($full:ident)?;)*) => {
        /// Every supported call.
        pub const TABLE: &[Entry] = &[$(
            Entry {
                nr: $nr,
                name: stringify!($name),
                family: stringify!($module),
                parameters: &[$(Parameter {
                    name: stringify!($arg),
                    shape: shape_of!($ty $(, $shape)?),
                    width: size_of::<$ty>() as u8,
                    is_fd: <$ty as Arg>::IS_FD,
                }),*],
                result: result_shape!($($result)?),
                support: Support::$support $(($note))?,
                full_stop: is_full!($($full)?),
                may_pass: may_pass!($($full)?),
            }
        ),*];

        /// Runs the handler of a call.
        pub async fn dispatch(cx: &CurrentTask, call: SyscallArgs) -> SysResult<Outcome> {
            let Ok(nr) = u32::try_from(call.nr) else { return Err(Errno::ENOSYS.into()) };
            match nr {
                $($nr => {
                    let mut _registers = call.args.into_iter();
                    let mut _next = || _registers.next().unwrap_or(0);
                    $(let $arg = <$ty as Arg>::decode(_next());)*
                    outcome(crate::$module::$name(cx, $($arg),*).await)
                })*
                _ => Err(Errno::ENOSYS.into()),
            }
        }
    };
}

/// The numbers that must arrive with the whole register file.
#[must_use]
pub fn full_calls() -> Vec<u32> {
    TABLE
        .iter()
        .filter(|entry| entry.full_stop)
        .map(|entry| entry.nr)
        .collect()
}

/// Those of them that may arrive without registers where the platform can let calls through.
#[must_use]
pub fn passable_calls() -> Vec<u32> {
    TABLE
        .iter()
        .filter(|entry| entry.may_pass)
        .map(|entry| entry.nr)
        .collect()
}

/// The table's line of a number.
#[must_use]
pub fn entry(nr: u64) -> Option<&'static Entry> {
    TABLE.iter().find(|entry| u64::from(entry.nr) == nr)
}

// Each family keeps to its own section. Argument types: Fd, UserAddr, UserIn<T>, UserOut<T>, i32, u32, i64, u64, usize.
syscall_table! {
    // --- file ---
    0 => file::read(fd: Fd, buf: UserOut<u8> as FILLED, len: usize) Full;
    1 => file::write(fd: Fd, buf: UserIn<u8> as BYTES, len: usize) Full;
    2 => file::open(path: UserIn<u8>, flags: u32 as OPEN, mode: u32 as OPEN_MODE) Full;
    3 => file::close(fd: Fd) Full;
    4 => file::stat(path: UserIn<u8>, buf: UserOut<abi::fs::Stat>) Full;
    5 => file::fstat(fd: Fd, buf: UserOut<abi::fs::Stat>) Full;
    6 => file::lstat(path: UserIn<u8>, buf: UserOut<abi::fs::Stat>) Full;
    8 => file::lseek(fd: Fd, offset: i64 as DECIMAL, whence: u32 as WHENCE) Full;
    16 => file::ioctl(fd: Fd, request: u32 as IOCTL, arg: UserAddr as IOCTL_ARG) Partial("generic commands and those of each file type; no FICLONE, no FS_IOC_*");
    17 => file::pread64(fd: Fd, buf: UserOut<u8> as FILLED, len: usize, offset: i64 as DECIMAL) Full;
    18 => file::pwrite64(fd: Fd, buf: UserIn<u8> as BYTES, len: usize, offset: i64 as DECIMAL) Full;
    19 => file::readv(fd: Fd, vec: UserAddr as FILLED_VECTOR, count: usize) Full;
    20 => file::writev(fd: Fd, vec: UserAddr as VECTOR, count: usize) Full;
    21 => file::access(path: UserIn<u8>, mode: u32 as ACCESS) Full;
    32 => file::dup(fd: Fd) Full;
    33 => file::dup2(old: Fd, new: Fd) Full;
    72 => file::fcntl(fd: Fd, command: u32 as FCNTL, arg: u64 as FCNTL_ARG) Partial("truncate does not break leases");
    76 => file::truncate(path: UserIn<u8>, size: i64 as DECIMAL) Full;
    77 => file::ftruncate(fd: Fd, size: i64 as DECIMAL) Full;
    78 => file::getdents(fd: Fd, buf: UserOut<u8>, len: u32) Full;
    79 => file::getcwd(buf: UserOut<u8> as WRITTEN_PATH, len: usize) Full;
    80 => file::chdir(path: UserIn<u8>) Full;
    81 => file::fchdir(fd: Fd) Full;
    82 => file::rename(old: UserIn<u8>, new: UserIn<u8>) Full;
    83 => file::mkdir(path: UserIn<u8>, mode: u32 as MODE) Full;
    84 => file::rmdir(path: UserIn<u8>) Full;
    85 => file::creat(path: UserIn<u8>, mode: u32 as MODE) Full;
    86 => file::link(old: UserIn<u8>, new: UserIn<u8>) Full;
    87 => file::unlink(path: UserIn<u8>) Full;
    88 => file::symlink(target: UserIn<u8>, path: UserIn<u8>) Full;
    89 => file::readlink(path: UserIn<u8>, buf: UserOut<u8> as FILLED, len: i32) Full;
    90 => file::chmod(path: UserIn<u8>, mode: u32 as MODE) Full;
    91 => file::fchmod(fd: Fd, mode: u32 as MODE) Full;
    92 => file::chown(path: UserIn<u8>, uid: u32 as ID, gid: u32 as ID) Full;
    93 => file::fchown(fd: Fd, uid: u32 as ID, gid: u32 as ID) Full;
    94 => file::lchown(path: UserIn<u8>, uid: u32 as ID, gid: u32 as ID) Full;
    40 => file::sendfile(out: Fd, input: Fd, offset: UserOut<i64>, count: usize) Full;
    73 => file::flock(fd: Fd, operation: u32 as FLOCK) Full;
    74 => file::fsync(fd: Fd) Full;
    75 => file::fdatasync(fd: Fd) Full;
    95 => file::umask(mask: u32 as OCTAL) Full;
    132 => file::utime(path: UserIn<u8>, times: UserAddr as UTIMBUF) Full;
    133 => file::mknod(path: UserIn<u8>, mode: u32 as MODE, dev: u32 as DEVICE) Full;
    137 => file::statfs(path: UserIn<u8>, buf: UserOut<abi::fs::Statfs>) Full;
    138 => file::fstatfs(fd: Fd, buf: UserOut<abi::fs::Statfs>) Full;
    161 => file::chroot(path: UserIn<u8>) Full;
    162 => file::sync() Full;
    187 => file::readahead(fd: Fd, offset: i64, count: usize) Partial("the host reads ahead as it sees fit");
    188 => file::setxattr(path: UserIn<u8>, name: UserIn<u8>, value: UserAddr as BYTES, size: usize, flags: u32 as XATTR) Partial("no POSIX ACLs");
    189 => file::lsetxattr(path: UserIn<u8>, name: UserIn<u8>, value: UserAddr as BYTES, size: usize, flags: u32 as XATTR) Partial("no POSIX ACLs");
    190 => file::fsetxattr(fd: Fd, name: UserIn<u8>, value: UserAddr as BYTES, size: usize, flags: u32 as XATTR) Partial("no POSIX ACLs");
    191 => file::getxattr(path: UserIn<u8>, name: UserIn<u8>, value: UserOut<u8> as FILLED, size: usize) Partial("no POSIX ACLs");
    192 => file::lgetxattr(path: UserIn<u8>, name: UserIn<u8>, value: UserOut<u8> as FILLED, size: usize) Partial("no POSIX ACLs");
    193 => file::fgetxattr(fd: Fd, name: UserIn<u8>, value: UserOut<u8> as FILLED, size: usize) Partial("no POSIX ACLs");
    194 => file::listxattr(path: UserIn<u8>, out: UserOut<u8> as FILLED, size: usize) Full;
    195 => file::llistxattr(path: UserIn<u8>, out: UserOut<u8> as FILLED, size: usize) Full;
    196 => file::flistxattr(fd: Fd, out: UserOut<u8> as FILLED, size: usize) Full;
    197 => file::removexattr(path: UserIn<u8>, name: UserIn<u8>) Full;
    198 => file::lremovexattr(path: UserIn<u8>, name: UserIn<u8>) Full;
    199 => file::fremovexattr(fd: Fd, name: UserIn<u8>) Full;
    217 => file::getdents64(fd: Fd, buf: UserOut<u8>, len: u32) Full;
    221 => file::fadvise64(fd: Fd, offset: i64 as DECIMAL, len: i64 as DECIMAL, advice: u32 as FADVISE) Partial("advice is not taken");
    235 => file::utimes(path: UserIn<u8>, times: UserIn<[abi::time::Timeval; 2]>) Full;
    257 => file::openat(dir: Fd, path: UserIn<u8>, flags: u32 as OPEN, mode: u32 as OPEN_MODE) Full;
    258 => file::mkdirat(dir: Fd, path: UserIn<u8>, mode: u32 as MODE) Full;
    259 => file::mknodat(dir: Fd, path: UserIn<u8>, mode: u32 as MODE, dev: u32 as DEVICE) Full;
    260 => file::fchownat(dir: Fd, path: UserIn<u8>, uid: u32 as ID, gid: u32 as ID, flags: u32 as AT) Full;
    261 => file::futimesat(dir: Fd, path: UserIn<u8>, times: UserIn<[abi::time::Timeval; 2]>) Full;
    262 => file::newfstatat(dir: Fd, path: UserIn<u8>, buf: UserOut<abi::fs::Stat>, flags: u32 as AT) Full;
    263 => file::unlinkat(dir: Fd, path: UserIn<u8>, flags: u32 as UNLINK) Full;
    264 => file::renameat(old_dir: Fd, old: UserIn<u8>, new_dir: Fd, new: UserIn<u8>) Full;
    265 => file::linkat(old_dir: Fd, old: UserIn<u8>, new_dir: Fd, new: UserIn<u8>, flags: u32 as AT) Full;
    266 => file::symlinkat(target: UserIn<u8>, dir: Fd, path: UserIn<u8>) Full;
    267 => file::readlinkat(dir: Fd, path: UserIn<u8>, buf: UserOut<u8> as FILLED, len: i32) Full;
    268 => file::fchmodat(dir: Fd, path: UserIn<u8>, mode: u32 as MODE) Full;
    269 => file::faccessat(dir: Fd, path: UserIn<u8>, mode: u32 as ACCESS) Full;
    275 => file::splice(input: Fd, offset_in: UserOut<i64>, out: Fd, offset_out: UserOut<i64>, len: usize, flags: u32 as SPLICE) Full;
    276 => file::tee(input: Fd, out: Fd, len: usize, flags: u32 as SPLICE) Full;
    277 => file::sync_file_range(fd: Fd, offset: i64 as DECIMAL, len: i64 as DECIMAL, flags: u32 as SYNC_RANGE) Full;
    278 => file::vmsplice(fd: Fd, vec: UserAddr as VECTOR, count: usize, flags: u32 as SPLICE) Partial("copies");
    280 => file::utimensat(dir: Fd, path: UserIn<u8>, times: UserIn<[abi::time::Timespec; 2]>, flags: u32 as AT) Full;
    285 => file::fallocate(fd: Fd, mode: u32 as FALLOCATE, offset: i64 as DECIMAL, len: i64 as DECIMAL) Full;
    292 => file::dup3(old: Fd, new: Fd, flags: u32 as PIPE) Full;
    295 => file::preadv(fd: Fd, vec: UserAddr as FILLED_VECTOR, count: usize, offset: i64) Full;
    296 => file::pwritev(fd: Fd, vec: UserAddr as VECTOR, count: usize, offset: i64) Full;
    303 => file::name_to_handle_at(dir: Fd, path: UserIn<u8>, handle: UserOut<u8>, mount_id: UserOut<i32>, flags: u32 as AT) Partial("EOPNOTSUPP: no file system exports handles");
    306 => file::syncfs(fd: Fd) Full;
    316 => file::renameat2(old_dir: Fd, old: UserIn<u8>, new_dir: Fd, new: UserIn<u8>, flags: u32 as RENAME) Full;
    326 => file::copy_file_range(input: Fd, offset_in: UserOut<i64>, out: Fd, offset_out: UserOut<i64>, len: usize, flags: u32) Full;
    327 => file::preadv2(fd: Fd, vec: UserAddr as FILLED_VECTOR, count: usize, offset: i64, offset_high: u64, flags: u32 as RWF) Partial("RWF_HIPRI has no effect");
    328 => file::pwritev2(fd: Fd, vec: UserAddr as VECTOR, count: usize, offset: i64, offset_high: u64, flags: u32 as RWF) Partial("RWF_HIPRI has no effect");
    332 => file::statx(dir: Fd, path: UserIn<u8>, flags: u32 as AT, mask: u32 as STATX, buf: UserOut<abi::fs::Statx>) Full;
    436 => file::close_range(first: u32, last: u32, flags: u32 as CLOSE_RANGE) Full;
    437 => file::openat2(dir: Fd, path: UserIn<u8>, how: UserAddr as OPEN_HOW, size: usize) Partial("RESOLVE_CACHED always gives EAGAIN");
    439 => file::faccessat2(dir: Fd, path: UserIn<u8>, mode: u32 as ACCESS, flags: u32 as ACCESS_AT) Full;
    452 => file::fchmodat2(dir: Fd, path: UserIn<u8>, mode: u32 as MODE, flags: u32 as AT) Full;
    463 => file::setxattrat(dir: Fd, path: UserIn<u8>, flags: u32 as AT, name: UserIn<u8>, args: UserAddr, size: usize) Partial("no POSIX ACLs");
    464 => file::getxattrat(dir: Fd, path: UserIn<u8>, flags: u32 as AT, name: UserIn<u8>, args: UserAddr, size: usize) Partial("no POSIX ACLs");
    465 => file::listxattrat(dir: Fd, path: UserIn<u8>, flags: u32 as AT, out: UserOut<u8> as FILLED, size: usize) Full;
    466 => file::removexattrat(dir: Fd, path: UserIn<u8>, flags: u32 as AT, name: UserIn<u8>) Full;

    // --- mount ---
    155 => mount::pivot_root(new: UserIn<u8>, put_old: UserIn<u8>) Full;
    165 => mount::mount(source: UserIn<u8>, target: UserIn<u8>, kind: UserIn<u8>, flags: u64 as MOUNT, data: UserAddr) Partial("remounting changes options of tmpfs only");
    166 => mount::umount2(target: UserIn<u8>, flags: u32 as UMOUNT) Full;
    428 => mount::open_tree(dir: Fd, path: UserIn<u8>, flags: u32) Full;
    429 => mount::move_mount(from_dir: Fd, from: UserIn<u8>, to_dir: Fd, to: UserIn<u8>, flags: u32) Full;
    430 => mount::fsopen(kind: UserIn<u8>, flags: u32) Full;
    431 => mount::fsconfig(fd: Fd, command: u32, key: UserAddr, value: UserAddr, aux: i32) Partial("values are flags and strings; no messages to read");
    432 => mount::fsmount(fd: Fd, flags: u32, attributes: u32) Full;
    433 => mount::fspick(dir: Fd, path: UserIn<u8>, flags: u32) Full;
    442 => mount::mount_setattr(dir: Fd, path: UserIn<u8>, flags: u32, attr: UserAddr, size: usize) Partial("no id-mapped mounts");
    457 => mount::statmount(request: UserAddr, buf: UserAddr, size: usize, flags: u32) Partial("the caller's namespace only; no option arrays and id maps");
    458 => mount::listmount(request: UserAddr, ids: UserOut<u64>, count: usize, flags: u32) Partial("the caller's namespace only");

    // --- event (poll, epoll, eventfd, timerfd, signalfd, inotify, pipe) ---
    7 => event::poll(fds: UserOut<crate::event::PollFd> as POLL_FDS, nfds: u32, timeout: i32) Full;
    22 => event::pipe(fds: UserOut<[i32; 2]>) Full;
    23 => event::select(nfds: i32, read: UserOut<u64> as FD_SET, write: UserOut<u64> as FD_SET, except: UserOut<u64> as FD_SET, limit: UserOut<abi::time::Timeval>) Full;
    213 => event::epoll_create(size: i32) Full;
    232 => event::epoll_wait(epfd: Fd, events: UserOut<crate::event::EpollEvent> as EPOLL_EVENTS, maxevents: i32, timeout: i32) Full;
    233 => event::epoll_ctl(epfd: Fd, op: i32 as EPOLL_OP, fd: Fd, event: UserIn<crate::event::EpollEvent>) Full;
    253 => event::inotify_init() Full;
    254 => event::inotify_add_watch(fd: Fd, path: UserIn<u8>, mask: u32 as INOTIFY) Partial("IN_UNMOUNT is not reported");
    255 => event::inotify_rm_watch(fd: Fd, wd: i32) Full;
    270 => event::pselect6(nfds: i32, read: UserOut<u64> as FD_SET, write: UserOut<u64> as FD_SET, except: UserOut<u64> as FD_SET, limit: UserOut<abi::time::Timespec> as TIMEOUT, mask: UserIn<[u64; 2]> as SIGNAL_MASK_ARG) Full;
    271 => event::ppoll(fds: UserOut<crate::event::PollFd> as POLL_FDS, nfds: u32, limit: UserOut<abi::time::Timespec> as TIMEOUT, mask: UserIn<u64> as SIGNALS, mask_size: usize) Full;
    281 => event::epoll_pwait(epfd: Fd, events: UserOut<crate::event::EpollEvent> as EPOLL_EVENTS, maxevents: i32, timeout: i32, mask: UserIn<u64> as SIGNALS, mask_size: usize) Full;
    282 => event::signalfd(fd: Fd, mask: UserIn<u64> as SIGNALS, size: usize) Full;
    283 => event::timerfd_create(clock: i32 as CLOCK, flags: u32 as TIMERFD) Full;
    284 => event::eventfd(initial: u32) Full;
    286 => event::timerfd_settime(fd: Fd, flags: u32 as TFD_SET, new: UserIn<abi::time::Itimerspec>, old: UserOut<abi::time::Itimerspec>) Partial("TFD_TIMER_CANCEL_ON_SET has no effect: guests cannot set the clock");
    287 => event::timerfd_gettime(fd: Fd, at: UserOut<abi::time::Itimerspec>) Full;
    289 => event::signalfd4(fd: Fd, mask: UserIn<u64> as SIGNALS, size: usize, flags: u32 as SIGNALFD) Full;
    290 => event::eventfd2(initial: u32, flags: u32 as EVENTFD) Full;
    291 => event::epoll_create1(flags: u32 as EPOLL_CREATE) Full;
    293 => event::pipe2(fds: UserOut<[i32; 2]>, flags: u32 as PIPE) Full;
    294 => event::inotify_init1(flags: u32 as INOTIFY_INIT) Full;
    319 => event::memfd_create(name: UserIn<u8>, flags: u32 as MEMFD) Partial("no huge pages: MFD_HUGETLB gives ENOSYS");
    441 => event::epoll_pwait2(epfd: Fd, events: UserOut<crate::event::EpollEvent> as EPOLL_EVENTS, maxevents: i32, timeout: UserIn<abi::time::Timespec>, mask: UserIn<u64> as SIGNALS, mask_size: usize) Full;

    // --- socket ---
    41 => socket::socket(domain: i32 as FAMILY, kind: i32 as SOCK_TYPE, protocol: i32 as SOCK_PROTOCOL) Partial("AF_UNIX, AF_INET, AF_INET6 and AF_NETLINK (routes); no packet sockets");
    42 => socket::connect(fd: Fd, addr: UserAddr as SOCKADDR, len: i32) Full;
    43 => socket::accept(fd: Fd, addr: UserAddr as FILLED_SOCKADDR, len: UserOut<i32>) Full;
    44 => socket::sendto(fd: Fd, buf: UserAddr as BYTES, len: usize, flags: i32 as MSG, addr: UserAddr as SOCKADDR, addr_len: i32) Partial("no out-of-band data, no zero-copy");
    45 => socket::recvfrom(fd: Fd, buf: UserAddr as FILLED, len: usize, flags: i32 as MSG, addr: UserAddr as FILLED_SOCKADDR, addr_len: UserOut<i32>) Partial("no out-of-band data, no error queue");
    46 => socket::sendmsg(fd: Fd, message: UserIn<abi::socket::Msghdr>, flags: i32 as MSG) Partial("as sendto");
    47 => socket::recvmsg(fd: Fd, message: UserOut<abi::socket::Msghdr>, flags: i32 as MSG) Partial("as recvfrom");
    48 => socket::shutdown(fd: Fd, how: i32 as SHUTDOWN) Full;
    49 => socket::bind(fd: Fd, addr: UserAddr as SOCKADDR, len: i32) Full;
    50 => socket::listen(fd: Fd, backlog: i32) Full;
    51 => socket::getsockname(fd: Fd, addr: UserAddr as FILLED_SOCKADDR, len: UserOut<i32>) Full;
    52 => socket::getpeername(fd: Fd, addr: UserAddr as FILLED_SOCKADDR, len: UserOut<i32>) Full;
    53 => socket::socketpair(domain: i32 as FAMILY, kind: i32 as SOCK_TYPE, protocol: i32 as SOCK_PROTOCOL, fds: UserOut<[i32; 2]>) Full;
    54 => socket::setsockopt(fd: Fd, level: i32 as LEVEL, name: i32 as SOCK_OPTION, value: UserAddr as OPTION_IN, len: i32) Partial("options without a meaning here answer ENOPROTOOPT");
    55 => socket::getsockopt(fd: Fd, level: i32 as LEVEL, name: i32 as SOCK_OPTION, value: UserAddr as OPTION_OUT, len: UserOut<i32>) Partial("as setsockopt");
    288 => socket::accept4(fd: Fd, addr: UserAddr as FILLED_SOCKADDR, len: UserOut<i32>, flags: i32 as ACCEPT) Full;
    299 => socket::recvmmsg(fd: Fd, messages: UserIn<abi::socket::Mmsghdr> as FILLED_MESSAGES, count: u32, flags: i32 as MSG, timeout: UserIn<abi::time::Timespec>) Partial("as recvfrom");
    307 => socket::sendmmsg(fd: Fd, messages: UserIn<abi::socket::Mmsghdr> as MESSAGES, count: u32, flags: i32 as MSG) Partial("as sendto");

    // --- memory ---
    9 => memory::mmap(addr: u64 as ADDRESS, len: u64 as DECIMAL, prot: u32 as PROT, flags: u32 as MAP, fd: Fd, offset: u64 as HEX) -> ADDRESS Full full;
    10 => memory::mprotect(addr: u64 as ADDRESS, len: u64 as DECIMAL, prot: u32 as PROT) Full pass;
    11 => memory::munmap(addr: u64 as ADDRESS, len: u64 as DECIMAL) Full pass;
    12 => memory::brk(addr: u64 as ADDRESS) -> ADDRESS Full full;
    25 => memory::mremap(addr: u64 as ADDRESS, old_len: u64 as DECIMAL, new_len: u64 as DECIMAL, flags: u32 as MREMAP, to: u64 as REMAP_TO) -> ADDRESS Full full;
    26 => memory::msync(addr: u64 as ADDRESS, len: u64, flags: u32 as MSYNC) Full;
    27 => memory::mincore(addr: u64, len: u64, vec: UserOut<u8>) Full full;
    216 => memory::remap_file_pages(addr: u64 as ADDRESS, len: u64 as DECIMAL, prot: u64, page: u64, flags: u32) Full full;
    462 => memory::mseal(addr: u64 as ADDRESS, len: u64 as DECIMAL, flags: u64) Full full;
    28 => memory::madvise(addr: u64 as ADDRESS, len: u64 as DECIMAL, advice: u32 as MADVISE) Full pass;
    149 => memory::mlock(addr: u64, len: u64) Partial("pages are pinned as far as the host's own limit allows") full;
    150 => memory::munlock(addr: u64, len: u64) Full full;
    151 => memory::mlockall(flags: u32 as MLOCKALL) Partial("as mlock; MCL_FUTURE keeps limits, but pins nothing") full;
    152 => memory::munlockall() Full full;
    324 => memory::membarrier(command: i32 as MEMBARRIER, flags: u32, cpu: i32) Partial("no commands for restartable sequences") full;
    325 => memory::mlock2(addr: u64 as ADDRESS, len: u64, flags: u32 as MLOCK) Partial("as mlock; MLOCK_ONFAULT pins at once") full;
    329 => memory::pkey_mprotect(addr: u64 as ADDRESS, len: u64, prot: u32 as PROT, key: i32) Full full;
    330 => refused::pkey_alloc(flags: u64, rights: u64) Partial("as a processor without protection keys");
    331 => refused::pkey_free(key: i32) Partial("as a processor without protection keys");
    237 => numa::mbind(addr: u64, len: u64, mode: i32, nodes: UserAddr, count: u64, flags: u32) Partial("one node: checked, nothing to place; the policy of a range is not shown");
    238 => numa::set_mempolicy(mode: i32, nodes: UserAddr, count: u64) Partial("one node: kept and shown, nothing to place");
    239 => numa::get_mempolicy(mode: UserOut<i32>, nodes: UserAddr, count: u64, addr: u64, flags: u64) Partial("as mbind");
    256 => numa::migrate_pages(pid: i32, count: u64, old: UserAddr, new: UserAddr) Partial("one node: nothing to move");
    279 => numa::move_pages(pid: i32, count: u64, pages: UserAddr, nodes: UserAddr, status: UserAddr, flags: u32) Partial("one node: nothing to move; mapped pages count as present");
    440 => process::process_madvise(fd: Fd, vec: UserAddr as VECTOR, count: usize, advice: u32 as MADVISE, flags: u32) Partial("advice for other processes is checked and left to the host") full;
    448 => process::process_mrelease(fd: Fd, flags: u32) Full;

    // --- process ---
    39 => process::getpid() Full;
    56 => process::clone(flags: u64 as CLONE, stack: u64 as ADDRESS, parent_tid: UserOut<i32>, child_tid: UserOut<i32> as ADDRESS, tls: u64 as ADDRESS) Full full;
    57 => process::fork() Full full;
    58 => process::vfork() Full full;
    59 => process::execve(path: UserIn<u8>, argv: UserAddr as STRINGS, envp: UserAddr as COUNTED_STRINGS) Full full;
    60 => process::exit(status: i32) Full pass;
    61 => process::wait4(pid: i32, status: UserOut<i32> as WAIT_STATUS, options: u32 as WAIT, usage: UserOut<u8>) Full;
    109 => process::setpgid(pid: i32, pgid: i32) Full;
    110 => process::getppid() Full;
    111 => process::getpgrp() Full;
    112 => process::setsid() Full;
    121 => process::getpgid(pid: i32) Full;
    124 => process::getsid(pid: i32) Full;
    158 => process::arch_prctl(code: u32 as ARCH_PRCTL, addr: u64 as ADDRESS) Partial("no CPUID faulting, no shadow stacks, no LAM") full;
    186 => process::gettid() Full;
    218 => process::set_tid_address(addr: u64 as ADDRESS) Full;
    231 => process::exit_group(status: i32) Full;
    247 => process::waitid(kind: i32 as ID_TYPE, id: i32, info: UserOut<u8> as FILLED_SIGINFO, options: u32 as WAIT, usage: UserOut<u8>) Full;
    272 => process::unshare(flags: u64 as UNSHARE) Partial("no time namespaces");
    308 => process::setns(fd: Fd, kind: i32) Full;
    312 => process::kcmp(pid1: i32, pid2: i32, kind: i32, index1: u64, index2: u64) Partial("no KCMP_EPOLL_TFD");
    310 => process::process_vm_readv(pid: i32, local: UserAddr, local_count: usize, remote: UserAddr, remote_count: usize, flags: u64) Full;
    311 => process::process_vm_writev(pid: i32, local: UserAddr, local_count: usize, remote: UserAddr, remote_count: usize, flags: u64) Full;
    322 => process::execveat(dir: Fd, path: UserIn<u8>, argv: UserAddr as STRINGS, envp: UserAddr as COUNTED_STRINGS, flags: u32 as AT) Full full;
    424 => process::pidfd_send_signal(fd: Fd, signal: i32 as SIGNAL, info: UserIn<u8> as SIGINFO, flags: u32) Full;
    434 => process::pidfd_open(pid: i32, flags: u32 as PIPE) Partial("no PIDFD_THREAD");
    435 => process::clone3(args: UserAddr as CLONE_ARGS, size: usize) Partial("no CLONE_INTO_CGROUP, set_tid") full;
    438 => process::pidfd_getfd(fd: Fd, wanted: Fd, flags: u32) Full;

    101 => ptrace::ptrace(request: u64 as PTRACE, tid: i32, addr: u64 as ADDRESS, data: u64 as ADDRESS) Partial("no hardware breakpoints, block steps and SYSEMU");

    // --- signal ---
    13 => signal::rt_sigaction(signal: i32 as SIGNAL, new: UserIn<crate::signal::KernelSigaction>, old: UserOut<crate::signal::KernelSigaction>, size: usize) Full;
    14 => signal::rt_sigprocmask(how: i32 as SIG_HOW, new: UserIn<u64> as SIGNALS, old: UserOut<u64> as FILLED_SIGNALS, size: usize) Full;
    15 => signal::rt_sigreturn() Full full;
    34 => signal::pause() Full;
    62 => signal::kill(pid: i32, signal: i32 as SIGNAL) Full;
    127 => signal::rt_sigpending(set: UserOut<u64> as FILLED_SIGNALS, size: usize) Full;
    128 => signal::rt_sigtimedwait(set: UserIn<u64> as SIGNALS, info: UserOut<u8> as FILLED_SIGINFO, timeout: UserIn<abi::time::Timespec>, size: usize) Full;
    129 => signal::rt_sigqueueinfo(pid: i32, signal: i32 as SIGNAL, info: UserIn<u8> as SIGINFO) Full;
    130 => signal::rt_sigsuspend(set: UserIn<u64> as SIGNALS, size: usize) Full;
    131 => signal::sigaltstack(new: UserIn<crate::signal::KernelStack>, old: UserOut<crate::signal::KernelStack>) Full full;
    200 => signal::tkill(tid: i32, signal: i32 as SIGNAL) Full;
    234 => signal::tgkill(tgid: i32, tid: i32, signal: i32 as SIGNAL) Full;
    297 => signal::rt_tgsigqueueinfo(tgid: i32, tid: i32, signal: i32 as SIGNAL, info: UserIn<u8> as SIGINFO) Full;

    // --- futex ---
    202 => futex::futex(addr: u64 as ADDRESS, op: i32 as FUTEX_OP, value: u32 as FUTEX_VALUE, timeout: u64 as FUTEX_TIMEOUT, addr2: u64 as FUTEX_ADDR2, value3: u32 as FUTEX_VALUE3) Partial("FUTEX_WAKE_OP is not atomic towards the guest's own instructions; owners of priority-inheritance futexes are not boosted");
    219 => futex::restart_syscall() Full;
    334 => rseq::rseq(area: UserAddr, len: u32, flags: u32, signature: u32) Partial("ENOSYS where the CPUs of the sandbox are not the host's first ones") full;
    273 => futex::set_robust_list(head: u64 as ADDRESS, len: u64) Full;
    274 => futex::get_robust_list(tid: i32, head: UserOut<u64>, len: UserOut<u64>) Full;
    449 => futex::futex_waitv(waiters: UserIn<crate::futex::FutexWaitv> as WAITERS, count: u32, flags: u32, timeout: u64 as ADDRESS, clock: i32 as CLOCK) Full;
    454 => futex::futex_wake(addr: u64 as ADDRESS, mask: u64, count: i32, flags: u32 as FUTEX2) Full;
    455 => futex::futex_wait(addr: u64 as ADDRESS, value: u64, mask: u64, flags: u32 as FUTEX2, timeout: u64 as TIMEOUT, clock: i32 as CLOCK) Full;
    456 => futex::futex_requeue(waiters: UserIn<crate::futex::FutexWaitv>, flags: u32, wake: i32, requeue: i32) Full;

    // --- clock ---
    35 => clock::nanosleep(request: UserIn<abi::time::Timespec>, left: UserOut<abi::time::Timespec>) Full;
    36 => clock::getitimer(which: i32 as ITIMER, value: UserOut<abi::time::Itimerval>) Full;
    37 => clock::alarm(seconds: u32) Full;
    38 => clock::setitimer(which: i32 as ITIMER, new: UserIn<abi::time::Itimerval>, old: UserOut<abi::time::Itimerval>) Full;
    96 => clock::gettimeofday(tv: UserOut<abi::time::Timeval>, tz: UserOut<[i32; 2]>) Full;
    100 => clock::times(buf: UserOut<[u64; 4]>) Full;
    159 => clock::adjtimex(buf: UserAddr) Partial("reads only: changes are refused with EPERM");
    164 => clock::settimeofday(tv: UserIn<abi::time::Timeval>, tz: UserIn<u64>) Partial("always refused with EPERM: the clocks are the host's");
    201 => clock::time(at: UserOut<i64>) Full;
    222 => clock::timer_create(clock: i32 as CLOCK, event: UserIn<crate::clock::Sigevent>, id: UserOut<i32>) Partial("CPU clocks are looked at every 4 to 256 ms");
    223 => clock::timer_settime(id: i32, flags: i32 as TIMER, new: UserIn<abi::time::Itimerspec>, old: UserOut<abi::time::Itimerspec>) Full;
    224 => clock::timer_gettime(id: i32, value: UserOut<abi::time::Itimerspec>) Full;
    225 => clock::timer_getoverrun(id: i32) Full;
    226 => clock::timer_delete(id: i32) Full;
    227 => clock::clock_settime(clock: i32 as CLOCK, at: UserIn<abi::time::Timespec>) Partial("always refused with EPERM: the clocks are the host's");
    228 => clock::clock_gettime(clock: i32 as CLOCK, at: UserOut<abi::time::Timespec>) Full full;
    229 => clock::clock_getres(clock: i32 as CLOCK, at: UserOut<abi::time::Timespec>) Full;
    230 => clock::clock_nanosleep(clock: i32 as CLOCK, flags: i32 as TIMER, request: UserIn<abi::time::Timespec>, left: UserOut<abi::time::Timespec>) Full;
    305 => clock::clock_adjtime(clock: i32 as CLOCK, buf: UserAddr) Partial("reads only: changes are refused with EPERM");

    // --- cred ---
    102 => cred::getuid() Full;
    104 => cred::getgid() Full;
    105 => cred::setuid(uid: u32) Full;
    106 => cred::setgid(gid: u32) Full;
    107 => cred::geteuid() Full;
    108 => cred::getegid() Full;
    113 => cred::setreuid(ruid: u32 as ID, euid: u32 as ID) Full;
    114 => cred::setregid(rgid: u32 as ID, egid: u32 as ID) Full;
    115 => cred::getgroups(size: i32, list: UserOut<u32> as FILLED_GROUPS) Full;
    116 => cred::setgroups(size: i32, list: UserIn<u32> as GROUPS) Full;
    117 => cred::setresuid(ruid: u32 as ID, euid: u32 as ID, suid: u32 as ID) Full;
    118 => cred::getresuid(ruid: UserOut<u32>, euid: UserOut<u32>, suid: UserOut<u32>) Full;
    119 => cred::setresgid(rgid: u32 as ID, egid: u32 as ID, sgid: u32 as ID) Full;
    120 => cred::getresgid(rgid: UserOut<u32>, egid: UserOut<u32>, sgid: UserOut<u32>) Full;
    122 => cred::setfsuid(uid: u32) Full;
    123 => cred::setfsgid(gid: u32) Full;
    125 => cred::capget(header: UserIn<crate::cred::CapHeader>, data: UserAddr) Full;
    126 => cred::capset(header: UserIn<crate::cred::CapHeader>, data: UserAddr) Full;
    135 => cred::personality(value: u32) Partial("UNAME26, ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC have their effect; the other bits are kept");
    157 => cred::prctl(option: i32 as PRCTL, arg2: u64 as PRCTL_ARG, arg3: u64, arg4: u64, arg5: u64) Partial("options for memory layout, huge pages, speculation, core scheduling and call dispatch are refused");

    // --- sched ---
    24 => misc::sched_yield() Full;
    97 => sched::getrlimit(resource: u32 as RESOURCE, limit: UserOut<crate::sched::Rlimit>) Full;
    98 => sched::getrusage(who: i32 as RUSAGE, usage: UserOut<crate::sched::Rusage>) Partial("peak and faults begin anew at exec") full;
    99 => sched::sysinfo(info: UserOut<crate::sched::Sysinfo>) Partial("load, buffers and used swap are reported as 0");
    140 => sched::getpriority(which: i32 as PRIORITY, who: i32) Full;
    141 => sched::setpriority(which: i32 as PRIORITY, who: i32, nice: i32) Partial("a lower value is kept and shown, but the host may schedule without it");
    142 => sched::sched_setparam(tid: i32, param: UserIn<i32>) Full;
    143 => sched::sched_getparam(tid: i32, param: UserOut<i32>) Full;
    144 => sched::sched_setscheduler(tid: i32, policy: i32 as SCHEDULER, param: UserIn<i32>) Partial("real-time policies are refused with EPERM");
    145 => sched::sched_getscheduler(tid: i32) Full;
    146 => sched::sched_get_priority_max(policy: i32 as SCHEDULER) Full;
    147 => sched::sched_get_priority_min(policy: i32 as SCHEDULER) Full;
    148 => sched::sched_rr_get_interval(tid: i32, at: UserOut<abi::time::Timespec>) Full;
    160 => sched::setrlimit(resource: u32 as RESOURCE, limit: UserIn<crate::sched::Rlimit>) Full;
    203 => sched::sched_setaffinity(tid: i32, len: u32, mask: UserAddr as CPU_SET) Full;
    204 => sched::sched_getaffinity(tid: i32, len: u32, mask: UserAddr as FILLED_CPU_SET) Full;
    251 => sched::ioprio_set(which: i32, who: i32, value: i32) Partial("the value is kept and shown, but has no effect");
    252 => sched::ioprio_get(which: i32, who: i32) Full;
    302 => sched::prlimit64(pid: i32, resource: u32 as RESOURCE, new: UserIn<crate::sched::Rlimit>, old: UserOut<crate::sched::Rlimit>) Full;
    314 => sched::sched_setattr(tid: i32, attr: UserAddr, flags: u32) Partial("as sched_setscheduler");
    315 => sched::sched_getattr(tid: i32, attr: UserAddr, size: u32, flags: u32) Full;

    // --- ipc ---
    29 => ipc::shmget(key: i32 as IPC_KEY, size: u64, flags: i32 as IPC_MODE) Partial("no huge pages");
    30 => ipc::shmat(id: i32, addr: u64 as ADDRESS, flags: i32 as SHMAT) -> ADDRESS Full full;
    31 => ipc::shmctl(id: i32, command: i32 as IPC_CONTROL, buf: UserAddr) Partial("SHM_LOCK locks nothing");
    64 => ipc::semget(key: i32 as IPC_KEY, count: i32, flags: i32 as IPC_MODE) Full;
    65 => ipc::semop(id: i32, ops: UserIn<abi::ipc::Sembuf> as SEM_OPS, count: u32) Full;
    66 => ipc::semctl(id: i32, number: i32, command: i32 as SEM_CONTROL, arg: u64) Full;
    67 => ipc::shmdt(addr: u64 as ADDRESS) Full full;
    68 => ipc::msgget(key: i32 as IPC_KEY, flags: i32 as IPC_MODE) Full;
    69 => ipc::msgsnd(id: i32, message: UserAddr, size: usize, flags: i32 as MSG_IPC) Full;
    70 => ipc::msgrcv(id: i32, message: UserAddr, size: usize, kind: i64, flags: i32 as MSG_IPC) Full;
    71 => ipc::msgctl(id: i32, command: i32 as IPC_CONTROL, buf: UserAddr) Full;
    220 => ipc::semtimedop(id: i32, ops: UserIn<abi::ipc::Sembuf> as SEM_OPS, count: u32, timeout: UserIn<abi::time::Timespec>) Full;
    240 => ipc::mq_open(name: UserIn<u8>, flags: u32 as OPEN, mode: u32 as OPEN_MODE, attr: UserIn<abi::ipc::MqAttr>) Full;
    241 => ipc::mq_unlink(name: UserIn<u8>) Full;
    242 => ipc::mq_timedsend(fd: Fd, text: UserAddr as BYTES, len: usize, priority: u32, timeout: UserIn<abi::time::Timespec>) Full;
    243 => ipc::mq_timedreceive(fd: Fd, text: UserAddr as FILLED, len: usize, priority: UserOut<u32>, timeout: UserIn<abi::time::Timespec>) Full;
    244 => ipc::mq_notify(fd: Fd, event: UserIn<crate::clock::Sigevent>) Partial("no SIGEV_THREAD");
    245 => ipc::mq_getsetattr(fd: Fd, new: UserIn<abi::ipc::MqAttr>, old: UserOut<abi::ipc::MqAttr>) Full;

    // --- aio ---
    206 => aio::io_setup(count: u32, context: UserOut<u64>) Full full;
    207 => aio::io_destroy(context: u64) Full full;
    208 => aio::io_getevents(context: u64, least: i64, most: i64, events: UserAddr, limit: UserIn<abi::time::Timespec>) Full;
    209 => aio::io_submit(context: u64, count: i64, operations: UserAddr) Partial("operations are carried out as they are submitted; no IOCB_CMD_POLL");
    210 => aio::io_cancel(context: u64, operation: UserAddr, event: UserAddr) Full;
    333 => aio::io_pgetevents(context: u64, least: i64, most: i64, events: UserAddr, limit: UserIn<abi::time::Timespec>, mask: UserIn<[u64; 2]> as SIGNAL_MASK_ARG) Full;

    // --- refused, as in any container ---
    153 => refused::vhangup() Partial("refused with EPERM");
    163 => refused::acct(path: UserIn<u8>) Partial("refused with EPERM");
    167 => refused::swapon(path: UserIn<u8>, flags: u32) Partial("refused with EPERM");
    168 => refused::swapoff(path: UserIn<u8>) Partial("refused with EPERM");
    169 => refused::reboot(magic: u32, magic2: u32, command: u32, arg: UserIn<u8>) Full;
    172 => refused::iopl(level: u32) Partial("refused with EPERM above level 0");
    173 => refused::ioperm(from: u64, count: u64, on: i32) Partial("ports can be given back, not taken (EPERM)");
    175 => refused::init_module(image: UserAddr, len: u64, args: UserIn<u8>) Partial("refused with EPERM");
    176 => refused::delete_module(name: UserIn<u8>, flags: u32) Partial("refused with EPERM");
    246 => refused::kexec_load(entry: u64, count: u64, segments: UserAddr, flags: u64) Partial("refused with EPERM");
    298 => refused::perf_event_open(attr: UserAddr, pid: i32, cpu: i32, group: Fd, flags: u64) Partial("refused with EACCES");
    300 => refused::fanotify_init(flags: u32, events: u32) Partial("refused with EPERM");
    301 => refused::fanotify_mark(fd: Fd, flags: u32, mask: u64, dir: Fd, path: UserIn<u8>) Partial("EINVAL: there is no such descriptor");
    304 => refused::open_by_handle_at(mount: Fd, handle: UserAddr, flags: u32) Partial("refused with EPERM");
    313 => refused::finit_module(fd: Fd, args: UserIn<u8>, flags: i32) Partial("refused with EPERM");
    320 => refused::kexec_file_load(kernel: Fd, initrd: Fd, len: u64, line: UserIn<u8>, flags: u64) Partial("refused with EPERM");
    321 => refused::bpf(command: i32, attr: UserAddr, size: u32) Partial("refused with EPERM");
    323 => refused::userfaultfd(flags: u32) Partial("refused with EPERM");
    425 => refused::io_uring_setup(entries: u32, params: UserAddr) Partial("refused with EPERM");

    // --- misc ---
    63 => misc::uname(buf: UserAddr as UTSNAME) Full;
    103 => misc::syslog(kind: i32, buf: UserAddr, len: i32) Partial("the log is empty");
    170 => misc::sethostname(name: UserAddr as BYTES, len: i32) Full;
    171 => misc::setdomainname(name: UserAddr as BYTES, len: i32) Full;
    309 => misc::getcpu(cpu: UserOut<u32>, node: UserOut<u32>) Full;
    317 => misc::seccomp(operation: u32 as SECCOMP, flags: u32 as SECCOMP_FLAGS, args: u64 as ADDRESS) Partial("no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
    318 => misc::getrandom(buf: UserAddr as FILLED, len: usize, flags: u32 as GETRANDOM) Full;
}
