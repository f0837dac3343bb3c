//! From the keyboard to lines (`n_tty_receive_char_special` and its kin).

use abi::signal::Signal;

use super::{INPUT_LIMIT, LineDiscipline, Mark, Received};
use crate::fs::devpts::termios::{cc, iflag, lflag};

impl LineDiscipline {
    /// Takes bytes as if typed.
    pub fn receive(&mut self, bytes: &[u8]) -> Received {
        let mut received = Received::default();
        for byte in bytes {
            if self.room() == 0 {
                break;
            }
            received.taken += 1;
            self.receive_byte(*byte, &mut received);
        }
        received
    }

    fn receive_byte(&mut self, byte: u8, received: &mut Received) {
        let t = self.termios;
        let mut byte = byte;
        if t.input(iflag::ISTRIP) {
            byte &= 0x7f;
        }
        if t.input(iflag::IUCLC) && t.local(lflag::IEXTEN) {
            byte = byte.to_ascii_lowercase();
        }
        if self.literal {
            self.literal = false;
            self.ordinary(byte);
            return;
        }
        if t.input(iflag::IXON) {
            if t.is(cc::VSTART, byte) {
                self.stopped = false;
                received.flow = Some(false);
                return;
            }
            if t.is(cc::VSTOP, byte) {
                self.stopped = true;
                received.flow = Some(true);
                return;
            }
            if self.stopped && t.input(iflag::IXANY) {
                self.stopped = false;
                received.flow = Some(false);
            }
        }
        if t.local(lflag::ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            self.signal(byte, signal, received);
            return;
        }
        match byte {
            b'\r' if t.input(iflag::IGNCR) => return,
            b'\r' if t.input(iflag::ICRNL) => byte = b'\n',
            b'\n' if t.input(iflag::INLCR) => byte = b'\r',
            _ => {}
        }
        if t.local(lflag::ICANON) && self.canonical_byte(byte) {
            return;
        }
        self.ordinary(byte);
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        [
            (cc::VINTR, Signal::INT),
            (cc::VQUIT, Signal::QUIT),
            (cc::VSUSP, Signal::TSTP),
        ]
        .into_iter()
        .find(|(index, _)| self.termios.is(*index, byte))
        .map(|(_, signal)| signal)
    }

    fn signal(&mut self, byte: u8, signal: Signal, received: &mut Received) {
        if !self.termios.local(lflag::NOFLSH) {
            self.flush_input();
            self.flush_output();
            received.flushed = true;
        }
        if self.termios.input(iflag::IXON) {
            self.stopped = false;
        }
        if self.termios.local(lflag::ECHO) {
            self.echo(byte);
        }
        received.signals.push(signal);
    }

    /// Editing characters and ends of lines; `false` for all others.
    fn canonical_byte(&mut self, byte: u8) -> bool {
        let t = self.termios;
        let extended = t.local(lflag::IEXTEN);
        if t.is(cc::VERASE, byte) || t.is(cc::VKILL, byte) || (extended && t.is(cc::VWERASE, byte))
        {
            self.erase(byte);
            return true;
        }
        if extended && t.is(cc::VLNEXT, byte) {
            self.literal = true;
            if t.local(lflag::ECHO) && t.local(lflag::ECHOCTL) {
                self.show_raw(b"^\x08");
            }
            return true;
        }
        if extended && t.local(lflag::ECHO) && t.is(cc::VREPRINT, byte) {
            self.echo(byte);
            self.show(b'\n');
            self.line_column = self.column;
            for byte in self.line.clone() {
                self.echo(byte);
            }
            return true;
        }
        if byte == b'\n' {
            if t.local(lflag::ECHO) || t.local(lflag::ECHONL) {
                self.show(b'\n');
            }
            self.end_line(Some(byte));
            return true;
        }
        if t.is(cc::VEOF, byte) {
            self.end_line(None);
            return true;
        }
        if t.is(cc::VEOL, byte) || (extended && t.is(cc::VEOL2, byte)) {
            if t.local(lflag::ECHO) {
                self.echo(byte);
            }
            self.end_line(Some(byte));
            return true;
        }
        false
    }

    /// Makes the edited line readable: with its last byte, or with an end of file behind it.
    fn end_line(&mut self, last: Option<u8>) {
        let line = std::mem::take(&mut self.line);
        self.ready.extend(line.iter().map(|b| (*b, Mark::None)));
        self.ready.push_back(match last {
            Some(byte) => (byte, Mark::End),
            None => (0, Mark::Eof),
        });
        self.lines += 1;
        self.line_column = self.column;
    }

    fn ordinary(&mut self, byte: u8) {
        let t = self.termios;
        let full = self.ready.len() + self.line.len() >= INPUT_LIMIT - 1;
        if t.local(lflag::ICANON) && full {
            // Room is kept for the end of the line.
            if t.input(iflag::IMAXBEL) {
                self.show_raw(b"\x07");
            }
            return;
        }
        if t.local(lflag::ECHO) {
            if self.line.is_empty() {
                self.line_column = self.column;
            }
            if byte == b'\n' {
                self.show(byte);
            } else {
                self.echo(byte);
            }
        }
        if t.local(lflag::ICANON) {
            self.line.push(byte);
        } else {
            self.ready.push_back((byte, Mark::None));
        }
    }
}
