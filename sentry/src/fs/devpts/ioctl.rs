//! `ioctl_tty(2)` for both ends.

use abi::signal::Signal;
use abi::{UserAddr, UserIn, UserOut};

use super::termios::{TERMIO_SIZE, TERMIOS_SIZE, TERMIOS2_SIZE};
use super::tty::{Tty, WinSize, packet};
use super::{MasterFile, SlaveFile};
use crate::error::{Errno, SysResult};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::vfs::{File, Path};
use crate::wait::Events;

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSW: u32 = 0x5403;
const TCSETSF: u32 = 0x5404;
const TCGETA: u32 = 0x5405;
const TCSETA: u32 = 0x5406;
const TCSETAW: u32 = 0x5407;
const TCSETAF: u32 = 0x5408;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCEXCL: u32 = 0x540c;
const TIOCNXCL: u32 = 0x540d;
const TIOCSCTTY: u32 = 0x540e;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCOUTQ: u32 = 0x5411;
const TIOCSTI: u32 = 0x5412;
/// Window size.
pub(super) const TIOCGWINSZ: u32 = 0x5413;
const TIOCSWINSZ: u32 = 0x5414;
const FIONREAD: u32 = 0x541b;
const TIOCPKT: u32 = 0x5420;
const TIOCNOTTY: u32 = 0x5422;
const TIOCSETD: u32 = 0x5423;
const TIOCGETD: u32 = 0x5424;
const TCSBRKP: u32 = 0x5425;
const TIOCSBRK: u32 = 0x5427;
const TIOCCBRK: u32 = 0x5428;
const TIOCGSID: u32 = 0x5429;
const TCGETS2: u32 = 0x802c_542a;
const TCSETS2: u32 = 0x402c_542b;
const TCSETSW2: u32 = 0x402c_542c;
const TCSETSF2: u32 = 0x402c_542d;
const TIOCGPTN: u32 = 0x8004_5430;
const TIOCSPTLCK: u32 = 0x4004_5431;
const TIOCGDEV: u32 = 0x8004_5432;
const TIOCSIG: u32 = 0x4004_5436;
const TIOCVHANGUP: u32 = 0x5437;
const TIOCGPKT: u32 = 0x8004_5438;
const TIOCGPTLCK: u32 = 0x8004_5439;
const TIOCGEXCL: u32 = 0x8004_5440;
const TIOCGPTPEER: u32 = 0x5441;

/// TCXONC's arguments.
const TCOOFF: u64 = 0;
const TCOON: u64 = 1;
const TCIOFF: u64 = 2;
const TCION: u64 = 3;

fn put_i32(task: &CurrentTask, arg: u64, value: i32) -> SysResult<i64> {
    task.memory()
        .put(UserOut::<i32>::new(UserAddr(arg)), &value)?;
    Ok(0)
}

fn get_i32(task: &CurrentTask, arg: u64) -> SysResult<i32> {
    Ok(task.memory().get(UserIn::<i32>::new(UserAddr(arg)))?)
}

fn length(value: usize) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// On the slave.
pub(super) fn slave(
    file: &SlaveFile,
    task: &CurrentTask,
    request: u32,
    arg: u64,
) -> SysResult<i64> {
    let tty = &file.tty;
    match request {
        TIOCSCTTY => {
            tty.acquire(task, arg == 1)?;
            Ok(0)
        }
        TIOCNOTTY => {
            tty.release(task)?;
            Ok(0)
        }
        TIOCGPGRP => put_i32(task, arg, tty.foreground_number(task)?),
        TIOCSPGRP => {
            let number = get_i32(task, arg)?;
            tty.set_foreground(task, number)?;
            Ok(0)
        }
        TIOCGSID => put_i32(task, arg, tty.session_number(task)?),
        FIONREAD => {
            let pending = tty.state.lock().ldisc.pending();
            put_i32(task, arg, length(pending))
        }
        TIOCOUTQ => put_i32(task, arg, 0),
        TIOCGPTN | TIOCSPTLCK | TIOCGPTLCK | TIOCPKT | TIOCGPKT | TIOCSIG | TIOCGPTPEER => {
            Err(Errno::ENOTTY.into())
        }
        _ => common(tty, task, request, arg, true),
    }
}

/// On the master.
pub(super) fn master(
    file: &MasterFile,
    task: &CurrentTask,
    request: u32,
    arg: u64,
) -> SysResult<i64> {
    let tty = &file.tty;
    match request {
        TIOCGPTN => put_i32(task, arg, i32::try_from(tty.index).unwrap_or(i32::MAX)),
        TIOCSPTLCK => {
            let locked = get_i32(task, arg)? != 0;
            tty.state.lock().locked = locked;
            Ok(0)
        }
        TIOCGPTLCK => {
            let locked = tty.state.lock().locked;
            put_i32(task, arg, i32::from(locked))
        }
        TIOCPKT => {
            let on = get_i32(task, arg)? != 0;
            let mut state = tty.state.lock();
            if on && !state.packet_mode {
                state.packet_status = 0;
            }
            state.packet_mode = on;
            Ok(0)
        }
        TIOCGPKT => {
            let on = tty.state.lock().packet_mode;
            put_i32(task, arg, i32::from(on))
        }
        TIOCSIG => {
            let signal = Signal::new(arg as i64)
                .filter(|signal| !signal.is_realtime())
                .ok_or(Errno::EINVAL)?;
            tty.signal_foreground(signal);
            Ok(0)
        }
        TIOCGPTPEER => open_peer(file, task, arg),
        FIONREAD => {
            let pending = tty.state.lock().ldisc.output_len();
            put_i32(task, arg, length(pending))
        }
        TIOCGPGRP => put_i32(task, arg, tty.any_foreground_number(task)),
        TIOCGSID => match tty.session() {
            Some(session) => put_i32(task, arg, session.id.in_namespace(&task.pid_namespace())),
            None => Err(Errno::ENOTTY.into()),
        },
        TIOCSPGRP | TIOCSCTTY | TIOCNOTTY => Err(Errno::ENOTTY.into()),
        _ => common(tty, task, request, arg, false),
    }
}

/// Opens the slave of a master without its name; `flags` are `open(2)` flags.
fn open_peer(file: &MasterFile, task: &CurrentTask, flags: u64) -> SysResult<i64> {
    let flags = flags as u32;
    let directory = file.directory.as_ref().ok_or(Errno::EIO)?;
    let path = Path {
        mount: directory.mount.clone(),
        dentry: directory
            .dentry
            .lookup(file.tty.index.to_string().as_bytes())
            .map_err(|_| Errno::EIO)?,
    };
    // Unlike an open by name this also opens a locked slave.
    let was_locked = std::mem::replace(&mut file.tty.state.lock().locked, false);
    let ops = SlaveFile::open(&file.tty, Some(task.task()), flags & abi::fs::O_NOCTTY != 0);
    file.tty.state.lock().locked = was_locked;
    let inode = path.inode().clone();
    let peer = File::new(Some(path), inode, ops?, flags);
    let fd = task.install(peer, flags & abi::fs::O_CLOEXEC != 0)?;
    Ok(i64::from(fd.0))
}

/// What both ends understand; attributes are the slave's. `checked`: background processes may not change them.
fn common(tty: &Tty, task: &CurrentTask, request: u32, arg: u64, checked: bool) -> SysResult<i64> {
    let at = UserAddr(arg);
    let memory = task.memory();
    let changes = matches!(
        request,
        TCSETS
            | TCSETSW
            | TCSETSF
            | TCSETA
            | TCSETAW
            | TCSETAF
            | TCSETS2
            | TCSETSW2
            | TCSETSF2
            | TCSBRK
            | TCSBRKP
            | TCXONC
            | TCFLSH
            | TIOCSETD
            | TIOCSBRK
            | TIOCCBRK
    );
    if changes && checked {
        tty.check_change(task, Signal::TTOU)?;
    }
    match request {
        TCGETS => memory.write(at, &tty.termios().to_bytes()[..TERMIOS_SIZE])?,
        TCGETS2 => memory.write(at, &tty.termios().to_bytes())?,
        TCGETA => memory.write(at, &tty.termios().to_termio())?,
        TCSETS | TCSETSW | TCSETSF => {
            let mut bytes = [0; TERMIOS_SIZE];
            memory.read(at, &mut bytes)?;
            tty.set_termios(|old| old.updated(&bytes), request == TCSETSF);
        }
        TCSETS2 | TCSETSW2 | TCSETSF2 => {
            let mut bytes = [0; TERMIOS2_SIZE];
            memory.read(at, &mut bytes)?;
            tty.set_termios(|old| old.updated(&bytes), request == TCSETSF2);
        }
        TCSETA | TCSETAW | TCSETAF => {
            let mut bytes = [0; TERMIO_SIZE];
            memory.read(at, &mut bytes)?;
            tty.set_termios(|old| old.updated_by_termio(&bytes), request == TCSETAF);
        }
        // There is no line to send a break on, and output needs no draining.
        TCSBRK | TCSBRKP | TIOCSBRK | TIOCCBRK => {}
        TCXONC => flow(tty, arg)?,
        TCFLSH => flush(tty, arg)?,
        TIOCEXCL | TIOCNXCL => tty.state.lock().exclusive = request == TIOCEXCL,
        TIOCGEXCL => {
            let exclusive = tty.state.lock().exclusive;
            return put_i32(task, arg, i32::from(exclusive));
        }
        TIOCGWINSZ => memory.write(at, &tty.winsize().to_bytes())?,
        TIOCSWINSZ => {
            let mut bytes = [0; 8];
            memory.read(at, &mut bytes)?;
            tty.set_winsize(WinSize::from_bytes(bytes));
        }
        TIOCOUTQ => {
            let len = tty.state.lock().ldisc.output_len();
            return put_i32(task, arg, length(len));
        }
        // dev.tty.legacy_tiocsti = 0: nobody types in another's name.
        TIOCSTI => return Err(Errno::EIO.into()),
        TIOCGETD => return put_i32(task, arg, 0),
        TIOCSETD => {
            if get_i32(task, arg)? != 0 {
                return Err(Errno::EINVAL.into());
            }
        }
        TIOCGDEV => return put_i32(task, arg, tty.rdev() as i32),
        TIOCVHANGUP => {
            task.creds().require(Cap::SYS_ADMIN)?;
            tty.hang_up();
        }
        _ => return Err(Errno::ENOTTY.into()),
    }
    Ok(0)
}

/// TCXONC: output stops and starts; input cannot be stopped at the far end, the characters for it are sent as on a line.
fn flow(tty: &Tty, arg: u64) -> SysResult<()> {
    match arg {
        TCOOFF | TCOON => {
            let stopped = arg == TCOOFF;
            {
                let mut state = tty.state.lock();
                state.ldisc.set_stopped(stopped);
                if state.packet_mode {
                    let (set, clear) = if stopped {
                        (packet::STOP, packet::START)
                    } else {
                        (packet::START, packet::STOP)
                    };
                    state.packet_status = state.packet_status & !clear | set;
                }
            }
            tty.slave_queue.notify(Events::OUT);
            tty.output_made();
            Ok(())
        }
        TCIOFF | TCION => {
            let index = if arg == TCIOFF {
                super::termios::cc::VSTOP
            } else {
                super::termios::cc::VSTART
            };
            let byte = tty.termios().cc[index];
            if byte != 0 {
                tty.state.lock().ldisc.show_unprocessed(byte);
                tty.output_made();
            }
            Ok(())
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// TCFLSH: 0 input, 1 output, 2 both.
fn flush(tty: &Tty, arg: u64) -> SysResult<()> {
    if arg > 2 {
        return Err(Errno::EINVAL.into());
    }
    {
        let mut state = tty.state.lock();
        if arg != 1 {
            state.ldisc.flush_input();
            if state.packet_mode {
                state.packet_status |= packet::FLUSHREAD;
            }
        }
        if arg != 0 {
            state.ldisc.flush_output();
            if state.packet_mode {
                state.packet_status |= packet::FLUSHWRITE;
            }
        }
    }
    tty.input_taken();
    tty.slave_queue.notify(Events::OUT);
    tty.output_made();
    Ok(())
}

/// `vhangup(2)`: hangs the caller's controlling terminal up, if it has one.
pub fn hang_up_own(task: &CurrentTask) {
    if let Some(tty) = super::job_control::terminal_of(task) {
        tty.hang_up();
    }
}
