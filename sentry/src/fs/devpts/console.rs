//! A container's console: a host terminal as mere transport in a master's place.
//!
//! The host terminal is raw; editing, echo, signals and job control happen in the guest's own [`Tty`], which appears in the container's devpts like
//! any other. The host's line discipline would signal the host's processes, never the guests.
//!
//! The launcher hands in a description of its own (opened again with O_NONBLOCK and O_NOCTTY), so that a write never blocks a thread of the sentry.
//!
//! Lock order: `flushing` (held over the host's write) → the tty's `state`, or → `watch`; both are leaves.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use abi::fs::O_RDWR;
use parking_lot::Mutex;

use super::instance::DevptsFs;
use super::slave::SlaveFile;
use super::tty::{Tty, WinSize};
use crate::error::{Errno, Result};
use crate::exec::reactor::WatchHandle;
use crate::host;
use crate::task::ThreadGroup;
use crate::task::creds::Creds;
use crate::vfs::lookup::{LookupCx, LookupFlags, resolve};
use crate::vfs::{File, FsContext, Path};
use crate::wait::Events;

const TCGETS: u64 = 0x5401;
const TCSETS: u64 = 0x5402;
const TIOCGWINSZ: u64 = 0x5413;
/// Most bytes written at once: what a terminal that polls writable has room for, even if its description blocks.
const CHUNK: usize = 256;

struct Watching {
    handle: Option<WatchHandle>,
    armed: Events,
}

/// See the module.
pub struct Console {
    fd: Arc<OwnedFd>,
    tty: Arc<Tty>,
    flushing: Mutex<()>,
    watch: Mutex<Watching>,
    /// The last slave was closed: go when all output is written.
    finished: AtomicBool,
    this: Weak<Self>,
}

impl Console {
    /// Makes the host terminal `fd` a terminal of `instance`, owned by `uid` and `gid`. It goes
    /// when the last open slave is closed.
    ///
    /// Errors: `ENOTTY` if `fd` is no terminal, `ENOSPC` if the instance is full.
    pub fn attach(instance: &Arc<DevptsFs>, fd: OwnedFd, uid: u32, gid: u32) -> Result<Arc<Self>> {
        make_raw(&fd)?;
        let tty = instance.allocate(uid, gid)?;
        tty.state.lock().locked = false;
        let console = Arc::new_cyclic(|this| Self {
            fd: Arc::new(fd),
            tty: tty.clone(),
            flushing: Mutex::new(()),
            watch: Mutex::new(Watching {
                handle: None,
                armed: Events::empty(),
            }),
            finished: AtomicBool::new(false),
            this: this.clone(),
        });
        *tty.console.lock() = Some(console.clone());
        console.resize();
        console.watch(Events::IN, Events::empty());
        Ok(console)
    }

    /// The guest's terminal: `/dev/pts/<index>`.
    #[must_use]
    pub const fn tty(&self) -> &Arc<Tty> {
        &self.tty
    }

    /// Takes the host terminal's window size over; call it when the host side was resized.
    pub fn resize(&self) {
        let mut bytes = [0; 8];
        if host::ioctl_buffer(&self.fd, TIOCGWINSZ, &mut bytes).is_ok() {
            self.tty.set_winsize(WinSize::from_bytes(bytes));
        }
    }

    /// Changes what the reactor waits for.
    fn watch(&self, add: Events, remove: Events) {
        let mut watch = self.watch.lock();
        let wanted = (watch.armed | add) - remove;
        if wanted == watch.armed && watch.handle.is_some() {
            return;
        }
        watch.armed = wanted;
        if let Some(handle) = &watch.handle {
            self.tty.reactor.set_watch(handle, wanted);
        } else {
            let this = self.this.clone();
            watch.handle = Some(self.tty.reactor.watch(
                self.fd.clone(),
                wanted,
                Arc::new(move |ready| {
                    if let Some(console) = this.upgrade() {
                        console.ready(ready);
                    }
                }),
            ));
        }
    }

    fn ready(&self, ready: Events) {
        if ready.contains(Events::OUT) {
            self.flush();
        }
        if ready.contains(Events::IN) {
            self.take_input();
        } else if ready.intersects(Events::ALWAYS) {
            self.closed();
        }
    }

    fn take_input(&self) {
        let room = self.tty.state.lock().ldisc.room();
        if room == 0 {
            // Until a program reads: see `resume_input`.
            self.watch(Events::empty(), Events::IN);
            // A read may have come between the two: look again.
            if self.tty.state.lock().ldisc.room() > 0 {
                self.watch(Events::IN, Events::empty());
            }
            return;
        }
        let mut bytes = vec![0; room];
        match host::read(&self.fd, &mut bytes) {
            Ok(0) | Err(Errno::EIO) => self.closed(),
            Ok(n) => {
                // Only this thread types, so the room is still there.
                self.tty.type_bytes(&bytes[..n]);
            }
            Err(_) => {}
        }
    }

    /// The host's other end is gone: hang up, once.
    fn closed(&self) {
        self.watch(Events::empty(), Events::all());
        self.tty.disconnect();
    }

    /// A program has read: there is room for input.
    pub(super) fn resume_input(&self) {
        if self.tty.state.lock().connected {
            self.watch(Events::IN, Events::empty());
        }
    }

    /// Lets the host terminal go once all output is written.
    pub(super) fn finish(&self) {
        self.finished.store(true, Ordering::SeqCst);
        self.flush();
    }

    /// Writes collected output to the host, as far as it takes it.
    pub(super) fn flush(&self) {
        let mut wrote = false;
        let full = {
            let _flushing = self.flushing.lock();
            let full = loop {
                let piece = {
                    let mut state = self.tty.state.lock();
                    if !state.connected {
                        state.ldisc.flush_output();
                    }
                    state.ldisc.take_output(CHUNK)
                };
                if piece.is_empty() {
                    break false;
                }
                let written = self.write_now(&piece);
                wrote |= written > 0;
                if written < piece.len() {
                    self.tty.state.lock().ldisc.return_output(&piece[written..]);
                    break true;
                }
            };
            // Still under the lock: another flush must not undo what this one found.
            if full {
                self.watch(Events::OUT, Events::empty());
            } else {
                self.watch(Events::empty(), Events::OUT);
            }
            full
        };
        if !full && self.finished.load(Ordering::SeqCst) {
            // The caller holds another reference: this is not the last.
            let released = self.tty.console.lock().take();
            drop(released);
        }
        if wrote {
            self.tty.slave_queue.notify(Events::OUT | Events::WRNORM);
        }
    }

    /// Writes what the host terminal takes at once.
    fn write_now(&self, piece: &[u8]) -> usize {
        let writable = host::poll(&[(self.fd.as_raw_fd(), Events::OUT)], Some(Duration::ZERO))
            .iter()
            .any(|(_, ready)| ready.contains(Events::OUT));
        if writable {
            host::write(&self.fd, piece).unwrap_or(0)
        } else {
            0
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(instance) = self.tty.instance.upgrade() {
            instance.remove(self.tty.index);
        }
        self.tty.disconnect();
    }
}

/// Puts the host terminal `fd` in the devpts at a container's `/dev/pts` and opens it there, as a container's standard streams.
///
/// Errors: `ENXIO` if no devpts is mounted there, and those of [`Console::attach`].
pub fn open_in(fs: &FsContext, fd: OwnedFd, uid: u32, gid: u32) -> Result<(Arc<Tty>, Arc<File>)> {
    let creds = Creds::root();
    let cx = LookupCx {
        fs,
        creds: &creds,
        task: None,
    };
    let directory = resolve(
        cx,
        &fs.root(),
        b"/dev/pts",
        LookupFlags::FOLLOW | LookupFlags::DIRECTORY,
    )?
    .into_path()?;
    let instance = DevptsFs::of_root(directory.inode()).ok_or(Errno::ENXIO)?;
    let console = Console::attach(&instance, fd, uid, gid)?;
    let tty = console.tty().clone();
    let path = Path {
        mount: directory.mount.clone(),
        dentry: directory.dentry.lookup(tty.index.to_string().as_bytes())?,
    };
    let slave = SlaveFile::open(&tty, None, true)?;
    let inode = path.inode().clone();
    Ok((tty, File::new(Some(path), inode, slave, O_RDWR)))
}

/// The host side of a process's controlling terminal was resized: takes the size over and tells the foreground group.
pub fn resize_terminal_of(group: &ThreadGroup) {
    let terminal = group.session().terminal.lock().clone();
    if let Some(tty) = terminal
        .as_ref()
        .and_then(|terminal| terminal.as_any().downcast_ref::<Tty>())
    {
        refresh_winsize(tty);
    }
}

/// A program asks for the window size: the host's may have changed without anyone telling.
pub(super) fn refresh_winsize(tty: &Tty) {
    if let Some(console) = tty.console() {
        console.resize();
    }
}

/// Takes all processing from the host terminal (`cfmakeraw(3)`).
fn make_raw(fd: &OwnedFd) -> Result<()> {
    use super::termios::{TERMIOS_SIZE, Termios};
    let mut bytes = [0; TERMIOS_SIZE];
    host::ioctl_buffer(fd, TCGETS, &mut bytes)?;
    let raw = raw_mode(&Termios::default().updated(&bytes));
    bytes.copy_from_slice(&raw.to_bytes()[..TERMIOS_SIZE]);
    host::ioctl_buffer(fd, TCSETS, &mut bytes).map(drop)
}

fn raw_mode(termios: &super::termios::Termios) -> super::termios::Termios {
    use super::termios::{cc, oflag};
    let mut raw = *termios;
    // All input processing but IUTF8 goes, all local modes go, eight bits.
    raw.iflag &= super::termios::iflag::IUTF8;
    raw.oflag &= !oflag::OPOST;
    raw.lflag = 0;
    raw.cflag = raw.cflag & !0o460 | 0o60;
    raw.cc[cc::VMIN] = 1;
    raw.cc[cc::VTIME] = 0;
    raw
}
