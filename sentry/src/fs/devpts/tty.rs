//! A terminal: what its two ends share.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::console::Console;
use super::instance::DevptsFs;
use super::job_control::Job;
use super::line_discipline::{LineDiscipline, ReadOutcome};
use super::signals;
use super::termios::{Termios, cc};
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::exec::reactor::Timer;
use crate::task::{ControllingTerminal, Task};
use crate::wait::{Events, WaitQueue};
use abi::signal::Signal;

/// First major number of pts devices.
pub(super) const PTS_MAJOR: u32 = 136;

/// `struct winsize`: rows, columns, and the size in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are ioctl_tty(2)'s own")]
pub struct WinSize {
    pub rows: u16,
    pub cols: u16,
    pub xpixel: u16,
    pub ypixel: u16,
}

impl WinSize {
    /// From the structure's bytes.
    #[must_use]
    pub const fn from_bytes(b: [u8; 8]) -> Self {
        Self {
            rows: u16::from_ne_bytes([b[0], b[1]]),
            cols: u16::from_ne_bytes([b[2], b[3]]),
            xpixel: u16::from_ne_bytes([b[4], b[5]]),
            ypixel: u16::from_ne_bytes([b[6], b[7]]),
        }
    }
    /// The structure's bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        for (at, value) in [self.rows, self.cols, self.xpixel, self.ypixel]
            .into_iter()
            .enumerate()
        {
            bytes[2 * at..2 * at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }
}

/// Bits of packet mode's control byte (`ioctl_tty(2)`, TIOCPKT).
pub(super) mod packet {
    pub(crate) const FLUSHREAD: u8 = 1;
    pub(crate) const FLUSHWRITE: u8 = 2;
    pub(crate) const STOP: u8 = 4;
    pub(crate) const START: u8 = 8;
    pub(crate) const NOSTOP: u8 = 16;
    pub(crate) const DOSTOP: u8 = 32;
}

pub(super) struct State {
    pub(super) ldisc: LineDiscipline,
    pub(super) winsize: WinSize,
    /// TIOCSPTLCK: the slave cannot be opened yet.
    pub(super) locked: bool,
    /// TIOCPKT, and what is to be told.
    pub(super) packet_mode: bool,
    pub(super) packet_status: u8,
    /// The master (or the console's host end) is there.
    pub(super) connected: bool,
    /// Open slave files of this generation.
    pub(super) slaves: u32,
    /// A slave has been opened and all are closed: the master's reads give EIO.
    pub(super) abandoned: bool,
    /// Counts hang-ups: files of an older one are dead.
    pub(super) generation: u64,
    /// TIOCEXCL.
    pub(super) exclusive: bool,
    /// Until when a read waits (VTIME).
    pub(super) read_deadline: Option<(Instant, Timer)>,
}

/// A terminal.
pub struct Tty {
    /// N of `/dev/pts/N`.
    pub index: u32,
    pub(super) state: Mutex<State>,
    pub(super) job: Mutex<Job>,
    /// For readers and writers of the slave.
    pub(super) slave_queue: WaitQueue,
    /// For readers and writers of the master.
    pub(super) master_queue: WaitQueue,
    pub(super) reactor: Arc<Reactor>,
    pub(super) instance: Weak<DevptsFs>,
    /// The host terminal that is the other end, if one is, until the last slave is closed and all output is written.
    pub(super) console: Mutex<Option<Arc<Console>>>,
    pub(super) this: Weak<Self>,
}

impl Tty {
    pub(super) fn new(index: u32, reactor: Arc<Reactor>, instance: Weak<DevptsFs>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            index,
            state: Mutex::new(State {
                ldisc: LineDiscipline::default(),
                winsize: WinSize::default(),
                locked: true,
                packet_mode: false,
                packet_status: 0,
                connected: true,
                slaves: 0,
                abandoned: false,
                generation: 0,
                exclusive: false,
                read_deadline: None,
            }),
            job: Mutex::default(),
            slave_queue: WaitQueue::new(),
            master_queue: WaitQueue::new(),
            reactor,
            instance,
            console: Mutex::new(None),
            this: this.clone(),
        })
    }

    /// The slave's device number.
    #[must_use]
    pub const fn rdev(&self) -> u64 {
        abi::fs::makedev(PTS_MAJOR, self.index)
    }

    pub(super) fn console(&self) -> Option<Arc<Console>> {
        self.console.lock().clone()
    }

    /// The attributes.
    #[must_use]
    pub fn termios(&self) -> Termios {
        *self.state.lock().ldisc.termios()
    }

    /// Replaces the attributes; `flush` drops unread input (TCSAFLUSH).
    pub(super) fn set_termios(&self, change: impl FnOnce(&Termios) -> Termios, flush: bool) {
        {
            let mut state = self.state.lock();
            if flush {
                state.ldisc.flush_input();
            }
            let old = *state.ldisc.termios();
            let new = change(&old);
            state.ldisc.set_termios(new);
            state.read_deadline = None;
            if state.packet_mode {
                let stops = |t: &Termios| {
                    t.input(super::termios::iflag::IXON)
                        && t.cc[cc::VSTOP] == 19
                        && t.cc[cc::VSTART] == 17
                };
                if stops(&old) != stops(&new) {
                    state.packet_status &= !(packet::DOSTOP | packet::NOSTOP);
                    state.packet_status |= if stops(&new) {
                        packet::DOSTOP
                    } else {
                        packet::NOSTOP
                    };
                }
            }
        }
        self.input_taken();
        self.slave_queue.notify(Events::IN | Events::OUT);
        self.output_made();
    }

    /// The window's size.
    #[must_use]
    pub fn winsize(&self) -> WinSize {
        self.state.lock().winsize
    }

    /// Changes the window's size; the foreground group gets SIGWINCH if it is another.
    pub fn set_winsize(&self, size: WinSize) {
        let changed = std::mem::replace(&mut self.state.lock().winsize, size) != size;
        if changed {
            self.signal_foreground(Signal::WINCH);
        }
    }

    /// Types bytes; says how many were taken. 0: no room until somebody reads.
    pub(super) fn type_bytes(&self, bytes: &[u8]) -> usize {
        let received = {
            let mut state = self.state.lock();
            let received = state.ldisc.receive(bytes);
            // VTIME counts from the last byte.
            state.read_deadline = None;
            if state.packet_mode {
                if received.flushed {
                    state.packet_status |= packet::FLUSHREAD | packet::FLUSHWRITE;
                }
                match received.flow {
                    Some(true) => {
                        state.packet_status = state.packet_status & !packet::START | packet::STOP;
                    }
                    Some(false) => {
                        state.packet_status = state.packet_status & !packet::STOP | packet::START;
                    }
                    None => {}
                }
            }
            received
        };
        for signal in &received.signals {
            self.signal_foreground(*signal);
        }
        self.slave_queue
            .notify(Events::IN | Events::RDNORM | Events::OUT);
        self.output_made();
        received.taken
    }

    /// Reads for a program; `EAGAIN` if there is nothing yet.
    pub(super) fn read_for_program(&self, max: usize, nonblocking: bool) -> Result<Vec<u8>> {
        let outcome = {
            let mut state = self.state.lock();
            let timed_out = state
                .read_deadline
                .as_ref()
                .is_some_and(|(at, _)| *at <= Instant::now());
            let outcome = state.ldisc.read(max, timed_out);
            match &outcome {
                ReadOutcome::Data(_) => state.read_deadline = None,
                ReadOutcome::Nothing(true) => {}
                ReadOutcome::Nothing(false) if nonblocking => {}
                ReadOutcome::Nothing(false) => self.start_read_timer(&mut state),
            }
            outcome
        };
        match outcome {
            ReadOutcome::Data(bytes) => {
                self.input_taken();
                Ok(bytes)
            }
            ReadOutcome::Nothing(true) => Ok(Vec::new()),
            ReadOutcome::Nothing(false) => Err(Errno::EAGAIN),
        }
    }

    /// VTIME: with VMIN 0 the whole wait is bounded, else the wait after the first byte.
    fn start_read_timer(&self, state: &mut State) {
        let termios = state.ldisc.termios();
        let tenths = u64::from(termios.cc[cc::VTIME]);
        let waits = !state.ldisc.canonical()
            && tenths > 0
            && (termios.cc[cc::VMIN] == 0 || state.ldisc.has_some());
        if !waits || state.read_deadline.is_some() {
            return;
        }
        let at = Instant::now() + Duration::from_millis(100 * tenths);
        let this = self.this.clone();
        let timer = self.reactor.call_at(
            at,
            Arc::new(move || {
                if let Some(tty) = this.upgrade() {
                    tty.slave_queue.notify(Events::IN);
                }
            }),
        );
        state.read_deadline = Some((at, timer));
    }

    /// There may be room for input again.
    pub(super) fn input_taken(&self) {
        self.master_queue.notify(Events::OUT | Events::WRNORM);
        if let Some(console) = self.console() {
            console.resume_input();
        }
    }

    /// There may be output for the other end.
    pub(super) fn output_made(&self) {
        self.master_queue
            .notify(Events::IN | Events::RDNORM | Events::PRI);
        if let Some(console) = self.console() {
            console.flush();
        }
    }

    pub(super) fn signal_foreground(&self, signal: Signal) {
        if let Some(group) = self.foreground() {
            signals::to_group(&group, signal);
        }
    }

    /// The other end is gone: open slave files are dead, the session is told (`tty_vhangup`).
    pub(super) fn disconnect(&self) {
        self.state.lock().connected = false;
        self.hang_up();
    }

    /// Nobody has the slave open any more: the host terminal is let go as soon as it has taken all output.
    pub(super) fn finish_console(&self) {
        if let Some(console) = self.console() {
            console.finish();
        }
    }

    /// Makes this the controlling terminal of the session that `task` leads: `EPERM` if it leads none, or if either has another already.
    pub fn make_controlling(&self, task: &Arc<Task>) -> Result<()> {
        self.acquire(task, false)
    }

    /// Kills open slave files and tells the session, which loses its terminal.
    pub(super) fn hang_up(&self) {
        {
            let mut state = self.state.lock();
            state.generation += 1;
            state.slaves = 0;
            state.abandoned = true;
            state.read_deadline = None;
            state.ldisc.flush_input();
            state.ldisc.set_stopped(false);
        }
        self.leave_session(true);
        self.finish_console();
        let all = Events::IN | Events::OUT | Events::HUP | Events::ERR;
        self.slave_queue.notify(all);
        self.master_queue.notify(all);
    }
}
