//! The terminal line discipline (`drivers/tty/n_tty.c`, `termios(3)`): editing, echo, signals and output processing, as a pure data structure.
//!
//! - [`LineDiscipline`]: bytes from the keyboard go in by [`LineDiscipline::receive`], programs read with [`LineDiscipline::read`] and write with
//!   [`LineDiscipline::write`]; what is to be shown collects in the output, which the terminal's other side takes.
//!
//! No locks, no I/O: the terminal's lock is around it.

mod erase;
mod input;
mod output;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use abi::signal::Signal;

use super::termios::{Termios, cc, lflag};

/// Most bytes waiting to be read (`N_TTY_BUF_SIZE`).
pub const INPUT_LIMIT: usize = 4096;
/// Most bytes of written output waiting to be shown.
pub const OUTPUT_LIMIT: usize = 16 * 1024;
/// Echo may exceed the limit by so much before it is dropped.
const ECHO_LIMIT: usize = OUTPUT_LIMIT + 4 * INPUT_LIMIT;

/// What stands behind a byte of input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// The byte ends a line.
    End,
    /// No byte at all: an end of file was typed here.
    Eof,
}

/// What bytes from the keyboard led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// How many bytes were taken; the rest must be offered again when there is room.
    pub taken: usize,
    /// To be sent to the foreground process group, in order.
    pub signals: Vec<Signal>,
    /// Input was flushed by a signal character.
    pub flushed: bool,
    /// Output was stopped (`true`) or started again by a flow control character.
    pub flow: Option<bool>,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Bytes; none stands for an end of file.
    Data(Vec<u8>),
    /// Nothing to give yet. `true`: with VMIN = VTIME = 0, so that a read returns 0 at once.
    Nothing(bool),
}

/// See the module.
#[derive(Debug, Default)]
pub struct LineDiscipline {
    termios: Termios,
    /// Input that can be read (canonical mode: complete lines only).
    ready: VecDeque<(u8, Mark)>,
    /// Lines and ends of file in `ready`.
    lines: usize,
    /// The line being edited.
    line: Vec<u8>,
    /// Column in which the line being edited started.
    line_column: usize,
    /// Bytes to be shown.
    output: VecDeque<u8>,
    /// Cursor column.
    column: usize,
    /// The next byte is taken literally (VLNEXT).
    literal: bool,
    /// Output is stopped by flow control.
    stopped: bool,
}

impl LineDiscipline {
    /// The attributes.
    #[must_use]
    pub const fn termios(&self) -> &Termios {
        &self.termios
    }
    /// Whether lines are edited.
    #[must_use]
    pub const fn canonical(&self) -> bool {
        self.termios.local(lflag::ICANON)
    }
    /// Whether output is stopped by flow control.
    #[must_use]
    pub const fn stopped(&self) -> bool {
        self.stopped
    }
    /// Stops or starts output (TCXONC).
    pub const fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Replaces the attributes.
    pub fn set_termios(&mut self, new: Termios) {
        let was = self.canonical();
        self.termios = new;
        if was == self.canonical() {
            return;
        }
        self.literal = false;
        if was {
            // What was being edited can be read as it is.
            self.ready
                .extend(self.line.drain(..).map(|byte| (byte, Mark::None)));
        } else if let Some(last) = self.ready.back_mut()
            && last.1 == Mark::None
        {
            // What was there becomes a line.
            last.1 = Mark::End;
            self.lines += 1;
        }
        if !new.input(super::termios::iflag::IXON) {
            self.stopped = false;
        }
    }

    /// How many bytes [`LineDiscipline::receive`] would take; 0: the sender must wait until somebody reads.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.canonical() && self.lines == 0 {
            // An overlong line is cut, not held back: nobody could read it otherwise.
            return INPUT_LIMIT;
        }
        INPUT_LIMIT.saturating_sub(self.ready.len() + self.line.len())
    }

    /// Whether a read would give something now, an end of file included.
    #[must_use]
    pub fn readable(&self) -> bool {
        if self.canonical() {
            return self.lines > 0;
        }
        let min = usize::from(self.termios.cc[cc::VMIN]);
        let wanted = if self.termios.cc[cc::VTIME] == 0 && min > 0 {
            min
        } else {
            1
        };
        self.ready.len() >= wanted
    }

    /// Bytes that could be read (FIONREAD).
    #[must_use]
    pub fn pending(&self) -> usize {
        if self.canonical() && self.lines == 0 {
            return 0;
        }
        self.ready
            .iter()
            .filter(|(_, mark)| *mark != Mark::Eof)
            .count()
    }

    /// Reads at most `max` bytes. `timed_out`: the wait that VTIME allows is over, give what there is.
    pub fn read(&mut self, max: usize, timed_out: bool) -> ReadOutcome {
        if self.canonical() {
            if self.lines == 0 {
                return ReadOutcome::Nothing(false);
            }
            return ReadOutcome::Data(self.read_line(max));
        }
        let min = usize::from(self.termios.cc[cc::VMIN]);
        let timed = self.termios.cc[cc::VTIME] != 0;
        let enough = self.ready.len() >= min.min(max).max(1);
        if !enough && !timed_out {
            return ReadOutcome::Nothing(min == 0 && !timed && self.ready.is_empty());
        }
        let n = self.ready.len().min(max);
        let bytes = self
            .ready
            .drain(..n)
            .filter_map(|(byte, mark)| {
                if mark != Mark::None {
                    self.lines = self.lines.saturating_sub(1);
                }
                (mark != Mark::Eof).then_some(byte)
            })
            .collect();
        ReadOutcome::Data(bytes)
    }

    fn read_line(&mut self, max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some((byte, mark)) = self.ready.front().copied() {
            if mark != Mark::Eof {
                if bytes.len() == max {
                    break;
                }
                bytes.push(byte);
            }
            self.ready.pop_front();
            if mark != Mark::None {
                self.lines = self.lines.saturating_sub(1);
                break;
            }
        }
        bytes
    }

    /// Whether some input has come, though not enough for VMIN: the wait between bytes (VTIME) runs.
    #[must_use]
    pub fn has_some(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Drops all input.
    pub fn flush_input(&mut self) {
        self.ready.clear();
        self.line.clear();
        self.lines = 0;
        self.literal = false;
    }

    /// Drops all output.
    pub fn flush_output(&mut self) {
        self.output.clear();
    }

    /// Bytes waiting to be shown (TIOCOUTQ).
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output.len()
    }

    /// Takes at most `max` bytes to be shown.
    pub fn take_output(&mut self, max: usize) -> Vec<u8> {
        let n = self.output.len().min(max);
        self.output.drain(..n).collect()
    }

    /// Puts back what could not be shown.
    pub fn return_output(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().rev() {
            self.output.push_front(*byte);
        }
    }
}
