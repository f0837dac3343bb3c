//! Runs a command on a terminal of its own and plays a user at it: reads steps from standard input and prints what the terminal showed.
//!
//! ```text
//! engines-terminal COMMAND…  < steps
//!     size COLUMNS ROWS      what the terminal's size is from now on
//!     type TEXT              \r, \n and \xNN are understood
//!     until TEXT             waits until the terminal shows it (after what earlier steps waited for)
//!     end                    waits for the command to end, as the end of the steps does
//! ```
//!
//! The exit code is the command's; 99 when a wait was in vain.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A terminal that shows nothing new for so long will not show it any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// Exit code of a wait that was in vain.
const IN_VAIN: u8 = 99;

struct Screen {
    chunks: Receiver<Vec<u8>>,
    shown: String,
    /// How much of it earlier steps have dealt with.
    seen: usize,
}

impl Screen {
    /// Waits until `text` is shown; whether it was.
    fn until(&mut self, text: &str) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return true;
            }
            match self
                .chunks
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(chunk) => self.shown.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Everything to the end; whether it came.
    fn reaches_end(&mut self) -> bool {
        loop {
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.shown.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }
}

fn main() -> ExitCode {
    let mut steps = String::new();
    std::io::stdin()
        .read_to_string(&mut steps)
        .expect("steps on standard input");
    let size = nix::pty::Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = nix::pty::openpty(Some(&size), None).expect("a terminal");
    let slave_name = nix::unistd::ttyname(&pty.slave).expect("the terminal has a name");
    let stdio = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .args(std::env::args_os().skip(1))
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio());
    let mut child = command.spawn().expect("setsid starts");
    drop(command);
    drop(pty.slave);
    let mut master = std::fs::File::from(pty.master);
    let mut reader = master.try_clone().expect("a descriptor");
    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut screen = Screen {
        chunks,
        shown: String::new(),
        seen: 0,
    };
    let mut failed = None;
    for step in steps.lines().map(str::trim_start).filter(|s| !s.is_empty()) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "size" => {
                let (columns, rows) = rest.split_once(' ').expect("size COLUMNS ROWS");
                let status = Command::new("stty")
                    .arg("-F")
                    .arg(&slave_name)
                    .args(["cols", columns, "rows", rows])
                    .status();
                assert!(status.is_ok_and(|s| s.success()), "stty failed");
            }
            "type" => master
                .write_all(&unescape(rest))
                .expect("the terminal takes input"),
            "until" => {
                if !screen.until(rest) {
                    failed = Some(step.to_owned());
                    break;
                }
            }
            "end" => break,
            other => panic!("unknown step {other}"),
        }
    }
    if let Some(step) = failed {
        println!("{}\n[in vain: {step}]", screen.shown);
        let _ = child.kill();
        let _ = child.wait();
        return ExitCode::from(IN_VAIN);
    }
    let ended = screen.reaches_end();
    if !ended {
        println!("{}\n[in vain: end]", screen.shown);
        let _ = child.kill();
        let _ = child.wait();
        return ExitCode::from(IN_VAIN);
    }
    let code = child.wait().ok().and_then(|status| status.code());
    print!("{}", screen.shown.replace('\r', ""));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(IN_VAIN),
    )
}

/// `\r`, `\n`, `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend(&rest.as_bytes()[..at]);
        let tail = &rest[at + 1..];
        let (byte, used) = match tail.as_bytes().first() {
            Some(b'r') => (b'\r', 1),
            Some(b'n') => (b'\n', 1),
            Some(b'x') => (
                u8::from_str_radix(&tail[1..3], 16).expect("two hexadecimal digits"),
                3,
            ),
            _ => (b'\\', 0),
        };
        out.push(byte);
        rest = &tail[used..];
    }
    out.extend(rest.as_bytes());
    out
}
