//! From programs (and echo) to the screen (`do_output_char`, `echo_char`).

use super::{ECHO_LIMIT, LineDiscipline, OUTPUT_LIMIT};
use crate::fs::devpts::termios::{iflag, lflag, oflag};

pub(super) const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

impl LineDiscipline {
    /// Writes as a program does; says how many bytes were taken. 0: output is stopped or full.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.stopped {
            return 0;
        }
        if !self.termios.output(oflag::OPOST) {
            let room = OUTPUT_LIMIT.saturating_sub(self.output.len());
            let n = bytes.len().min(room);
            self.output.extend(&bytes[..n]);
            return n;
        }
        let mut taken = 0;
        for byte in bytes {
            if self.output.len() >= OUTPUT_LIMIT {
                break;
            }
            self.process(*byte);
            taken += 1;
        }
        taken
    }

    /// Whether a write would take something.
    #[must_use]
    pub fn writable(&self) -> bool {
        !self.stopped && self.output.len() < OUTPUT_LIMIT
    }

    /// How many bytes a write would take at least.
    #[must_use]
    pub fn write_room(&self) -> usize {
        if self.stopped {
            0
        } else {
            // Processing can make more bytes of one (tabs, newlines); the last may exceed the limit.
            OUTPUT_LIMIT.saturating_sub(self.output.len()).div_ceil(8)
        }
    }

    /// Shows a byte as it is, even while output is stopped (TCIOFF, TCION).
    pub fn show_unprocessed(&mut self, byte: u8) {
        self.show_raw(&[byte]);
    }

    /// Shows one byte of echo with output processing.
    pub(super) fn show(&mut self, byte: u8) {
        if self.output.len() >= ECHO_LIMIT {
            return;
        }
        if self.termios.output(oflag::OPOST) {
            self.process(byte);
        } else {
            self.output.push_back(byte);
        }
    }

    /// Shows bytes as they are; the column is the caller's business.
    pub(super) fn show_raw(&mut self, bytes: &[u8]) {
        if self.output.len() < ECHO_LIMIT {
            self.output.extend(bytes);
        }
    }

    /// Echoes a byte: control characters as `^X` with ECHOCTL.
    pub(super) fn echo(&mut self, byte: u8) {
        if self.termios.local(lflag::ECHOCTL) && is_control(byte) && byte != b'\t' {
            self.show_raw(&[b'^', byte ^ 0x40]);
            self.column += 2;
        } else {
            self.show(byte);
        }
    }

    fn process(&mut self, byte: u8) {
        let t = self.termios;
        match byte {
            b'\n' => {
                if t.output(oflag::ONLRET) {
                    self.column = 0;
                }
                if t.output(oflag::ONLCR) {
                    self.column = 0;
                    self.output.push_back(b'\r');
                }
                self.output.push_back(b'\n');
                self.line_column = self.column;
            }
            b'\r' => {
                if t.output(oflag::ONOCR) && self.column == 0 {
                    return;
                }
                if t.output(oflag::OCRNL) {
                    if t.output(oflag::ONLRET) {
                        self.column = 0;
                    }
                    self.output.push_back(b'\n');
                    return;
                }
                self.column = 0;
                self.line_column = 0;
                self.output.push_back(b'\r');
            }
            b'\t' => {
                let spaces = 8 - (self.column & 7);
                self.column += spaces;
                if t.oflag & oflag::TABDLY == oflag::XTABS {
                    self.output.extend(std::iter::repeat_n(b' ', spaces));
                } else {
                    self.output.push_back(b'\t');
                }
            }
            0x08 => {
                self.column = self.column.saturating_sub(1);
                self.output.push_back(byte);
            }
            _ => {
                let shown = if t.output(oflag::OLCUC) {
                    byte.to_ascii_uppercase()
                } else {
                    byte
                };
                let continues = t.input(iflag::IUTF8) && byte & 0xc0 == 0x80;
                if !is_control(byte) && !continues {
                    self.column += 1;
                }
                self.output.push_back(shown);
            }
        }
    }
}
