//! A person at a terminal: a command on a pty of its own, keys that are sent to it, and the screen as an emulator shows it.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::pty::openpty;

use crate::host::{set_window_size, window_size};

/// A command that runs on a terminal. Dropping it kills the command.
pub struct Terminal {
    master: File,
    child: Child,
    output: Receiver<Vec<u8>>,
    emulator: vt100::Parser,
    /// Whether the other side has hung up.
    ended: bool,
    /// Nothing has come since keys were pressed.
    unanswered: bool,
}

/// What a person sees: the text, where the cursor is, and whether it is the alternate screen, as full-screen programs use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Screen {
    lines: Vec<String>,
    cursor: (u16, u16),
    alternate: bool,
}

impl Screen {
    /// Whether the text occurs in one of its lines.
    #[must_use]
    pub fn shows(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.contains(text))
    }

    /// Whether the cursor stands behind the text, as it does behind a prompt.
    #[must_use]
    pub fn is_at(&self, text: &str) -> bool {
        let (row, column) = self.cursor;
        let Some(line) = self.lines.get(usize::from(row)) else {
            return false;
        };
        let before: String = line.chars().take(usize::from(column)).collect();
        before.trim_end().ends_with(text)
    }
}

impl std::fmt::Display for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let used = self.lines.iter().rposition(|line| !line.is_empty());
        for line in &self.lines[..used.map_or(0, |last| last + 1)] {
            writeln!(f, "  |{line}")?;
        }
        let kind = if self.alternate { ", alternate" } else { "" };
        let (row, column) = self.cursor;
        writeln!(f, "  (cursor at row {row}, column {column}{kind})")
    }
}

impl Terminal {
    /// Starts the command as leader of a new session whose controlling terminal has this size.
    ///
    /// # Errors
    /// What could not be made or started, as a sentence.
    pub fn start(
        command: &Command,
        columns: NonZero<u16>,
        rows: NonZero<u16>,
    ) -> Result<Self, String> {
        let pty = openpty(&window_size(columns.get(), rows.get()), None)
            .map_err(|e| format!("cannot make a terminal: {e}"))?;
        let end = || {
            pty.slave
                .try_clone()
                .map(Stdio::from)
                .map_err(|e| format!("cannot pass the terminal on: {e}"))
        };
        let mut session = Command::new("setsid");
        session
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            session.current_dir(directory);
        }
        let child = session
            .stdin(end()?)
            .stdout(end()?)
            .stderr(end()?)
            .spawn()
            .map_err(|e| format!("cannot run setsid: {e}"))?;
        drop(session);
        drop(pty.slave);
        let master = File::from(pty.master);
        let mut reader = master
            .try_clone()
            .map_err(|e| format!("cannot read the terminal: {e}"))?;
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // EIO: nobody holds the other end any more.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            master,
            child,
            output,
            emulator: vt100::Parser::new(rows, columns, 0),
            ended: false,
            unanswered: false,
        })
    }

    /// Sends keys.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn press(&mut self, keys: &[u8]) -> Result<(), String> {
        self.unanswered = true;
        self.master
            .write_all(keys)
            .map_err(|e| format!("cannot type on the terminal: {e}"))
    }

    /// Changes its size, as dragging the corner of a window does.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resize(&mut self, columns: NonZero<u16>, rows: NonZero<u16>) -> Result<(), String> {
        self.emulator.screen_mut().set_size(rows, columns);
        set_window_size(&self.master, columns.get(), rows.get())
            .map_err(|e| format!("cannot resize the terminal: {e}"))
    }

    /// What is on the screen, as far as it has been read.
    #[must_use]
    pub fn screen(&self) -> Screen {
        let screen = self.emulator.screen();
        let (_, columns) = screen.size();
        Screen {
            lines: screen
                .rows(0, columns.get())
                .map(|line| line.trim_end().to_owned())
                .collect(),
            cursor: screen.cursor_position(),
            alternate: screen.alternate_screen(),
        }
    }

    /// Whether nothing has come since keys were pressed.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.unanswered && !self.ended
    }

    /// Takes what comes next; false when nothing did in this time or nothing can any more.
    pub fn read(&mut self, timeout: Duration) -> bool {
        if self.ended {
            return false;
        }
        match self.output.recv_timeout(timeout) {
            Ok(bytes) => {
                self.unanswered = false;
                self.emulator.process(&bytes);
                true
            }
            Err(why) => {
                self.ended = why == RecvTimeoutError::Disconnected;
                false
            }
        }
    }

    /// Waits for the command's end: its exit code, 128 + n for a signal.
    ///
    /// # Errors
    /// It still runs at the deadline.
    pub fn wait(&mut self, deadline: Duration) -> Result<i32, String> {
        let end = Instant::now() + deadline;
        while !self.ended {
            let left = end.saturating_duration_since(Instant::now());
            if !self.read(left) && !self.ended {
                return Err(format!(
                    "the command still runs; its screen:\n{}",
                    self.screen()
                ));
            }
        }
        let status = self
            .child
            .wait()
            .map_err(|e| format!("cannot wait for the command: {e}"))?;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended; then both fail and nothing is lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
