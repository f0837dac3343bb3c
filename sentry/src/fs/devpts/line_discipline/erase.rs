//! VERASE, VWERASE and VKILL (`eraser`).

use super::LineDiscipline;
use super::output::is_control;
use crate::fs::devpts::termios::{cc, iflag, lflag};

const fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

impl LineDiscipline {
    pub(super) fn erase(&mut self, byte: u8) {
        if self.line.is_empty() {
            return;
        }
        let t = self.termios;
        if t.is(cc::VERASE, byte) {
            self.erase_last(t.local(lflag::ECHOE), byte);
        } else if t.is(cc::VWERASE, byte) {
            let mut seen_word = false;
            while let Some(last) = self.line.last().copied() {
                if last.is_ascii_alphanumeric() || last == b'_' || last >= 0x80 {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
                self.erase_last(true, byte);
            }
        } else {
            self.kill_line(byte);
        }
    }

    fn kill_line(&mut self, byte: u8) {
        let t = self.termios;
        if !t.local(lflag::ECHO) {
            self.line.clear();
            return;
        }
        if !(t.local(lflag::ECHOK) && t.local(lflag::ECHOKE) && t.local(lflag::ECHOE)) {
            self.line.clear();
            self.echo(byte);
            if t.local(lflag::ECHOK) {
                self.show(b'\n');
            }
            return;
        }
        while !self.line.is_empty() {
            self.erase_last(true, byte);
        }
    }

    /// Takes the last character (all its bytes, with IUTF8) off the line and off the screen.
    fn erase_last(&mut self, visibly: bool, byte: u8) {
        let Some(mut last) = self.line.pop() else {
            return;
        };
        if self.termios.input(iflag::IUTF8) {
            while is_continuation(last) {
                match self.line.pop() {
                    Some(before) => last = before,
                    None => break,
                }
            }
        }
        let t = self.termios;
        if !t.local(lflag::ECHO) {
            return;
        }
        if !visibly {
            self.echo(byte);
            return;
        }
        if last == b'\t' {
            let before = self.line_width();
            let after = self.column.max(before);
            for _ in before..after {
                self.show_raw(b"\x08");
            }
            self.column = before;
            return;
        }
        let controls = t.local(lflag::ECHOCTL);
        let columns = match (is_control(last), controls) {
            (true, true) => 2,
            (true, false) => 0,
            (false, _) => 1,
        };
        for _ in 0..columns {
            self.show_raw(b"\x08 \x08");
            self.column = self.column.saturating_sub(1);
        }
    }

    /// Column behind the edited line.
    fn line_width(&self) -> usize {
        let controls = self.termios.local(lflag::ECHOCTL);
        let utf8 = self.termios.input(iflag::IUTF8);
        self.line
            .iter()
            .fold(self.line_column, |column, byte| match byte {
                b'\t' => (column | 7) + 1,
                b if is_control(*b) => column + if controls { 2 } else { 0 },
                b if utf8 && is_continuation(*b) => column,
                _ => column + 1,
            })
    }
}
