//! What a person does at a terminal, as a file: one step a line.
//!
//! ```text
//! # a comment
//! size 80x24            columns and rows; first, if at all
//! exec                  run the command by `exec -t` in a container that sleeps, not by `run`
//! command exec bash -i  for /bin/sh
//! press ls\r            keys; \r \n \t \e \\ \xNN, and a space at the end is kept
//! see TEXT              wait until a line shows TEXT and both screens, whole, are the same
//! at TEXT               the same, and the cursor stands behind TEXT: for a prompt
//! shows TEXT            wait until a line shows TEXT on both; for what differs between runs
//! resize 100x30
//! end                   the command ends; its exit code is compared
//! ```
//!
//! Both sides get the keys at the same time. A `see` waits until both show the text and the two screens are exactly the same.

use std::num::NonZero;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::terminal::{Screen, Terminal};

/// A step takes no longer than this, else it is stuck.
const DEADLINE: Duration = Duration::from_secs(40);

/// How long one of the two terminals is listened to before the other one's turn.
const TURN: Duration = Duration::from_millis(5);

/// Columns and rows.
type Size = (NonZero<u16>, NonZero<u16>);

/// A dialog, read.
pub struct Dialog {
    /// Columns and rows at the start.
    pub size: Size,
    /// Whether the command is run by `exec`.
    pub by_exec: bool,
    /// The command, for `/bin/sh -c`.
    pub command: String,
    steps: Vec<(usize, Step)>,
}

enum Step {
    Press(Vec<u8>),
    See(String),
    At(String),
    Shows(String),
    Resize(Size),
    End,
}

impl Dialog {
    /// Reads a dialog's text.
    ///
    /// # Errors
    /// The line that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut dialog = Self {
            size: size("80x24").ok_or("the usual size")?,
            by_exec: false,
            command: String::new(),
            steps: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let step = match word {
                "" | "#" => continue,
                "size" => {
                    dialog.size = size(rest).ok_or(format!("line {number}: no size: {rest}"))?;
                    continue;
                }
                "exec" => {
                    dialog.by_exec = true;
                    continue;
                }
                "command" => {
                    rest.clone_into(&mut dialog.command);
                    continue;
                }
                "press" => Step::Press(keys(rest).ok_or(format!("line {number}: no keys"))?),
                "see" => Step::See(rest.to_owned()),
                "at" => Step::At(rest.to_owned()),
                "shows" => Step::Shows(rest.to_owned()),
                "resize" => {
                    Step::Resize(size(rest).ok_or(format!("line {number}: no size: {rest}"))?)
                }
                "end" => Step::End,
                _ => return Err(format!("line {number}: unknown step {word}")),
            };
            dialog.steps.push((number, step));
        }
        if dialog.command.is_empty() || !matches!(dialog.steps.last(), Some((_, Step::End))) {
            return Err("a dialog needs a command, and an end as its last step".to_owned());
        }
        Ok(dialog)
    }

    /// Holds the dialog with both commands at once, each on a terminal of its own: their exit codes.
    ///
    /// # Errors
    /// What did not come, with the screens that were there instead.
    pub fn hold(&self, native: &Command, sandbox: &Command) -> Result<(i32, i32), String> {
        let (columns, rows) = self.size;
        let mut both = Both {
            native: Terminal::start(native, columns, rows)?,
            sandbox: Terminal::start(sandbox, columns, rows)?,
        };
        for (number, step) in &self.steps {
            let wanted: Box<dyn Fn(&Screen, &Screen) -> bool> = match step {
                Step::Press(keys) => {
                    both.native.press(keys)?;
                    both.sandbox.press(keys)?;
                    continue;
                }
                Step::Resize((columns, rows)) => {
                    both.native.resize(*columns, *rows)?;
                    both.sandbox.resize(*columns, *rows)?;
                    continue;
                }
                Step::See(text) => Box::new(move |a, b| a.shows(text) && a == b),
                Step::At(text) => Box::new(move |a, b| a.is_at(text) && a == b),
                Step::Shows(text) => Box::new(move |a, b| a.shows(text) && b.shows(text)),
                Step::End => {
                    let codes = (both.native.wait(DEADLINE), both.sandbox.wait(DEADLINE));
                    return Ok((
                        codes.0.map_err(|why| format!("natively, {why}"))?,
                        codes.1.map_err(|why| format!("in the sandbox, {why}"))?,
                    ));
                }
            };
            if !both.until(&wanted) {
                let (a, b) = (both.native.screen(), both.sandbox.screen());
                return Err(format!(
                    "line {number}: the native screen\n{a}and the sandbox's\n{b}"
                ));
            }
        }
        Err("the dialog has no end".to_owned())
    }
}

/// The two that are typed to.
struct Both {
    native: Terminal,
    sandbox: Terminal,
}

impl Both {
    /// Reads from both until their screens are as wanted; false at the deadline.
    fn until(&mut self, wanted: &dyn Fn(&Screen, &Screen) -> bool) -> bool {
        let end = Instant::now() + DEADLINE;
        // An old screen may look as the next one is to: what was pressed has to show on both sides first.
        while self.native.is_unanswered()
            || self.sandbox.is_unanswered()
            || !wanted(&self.native.screen(), &self.sandbox.screen())
        {
            if Instant::now() > end {
                return false;
            }
            self.native.read(TURN);
            self.sandbox.read(TURN);
        }
        true
    }
}

fn size(text: &str) -> Option<Size> {
    let (columns, rows) = text.trim().split_once('x')?;
    Some((columns.parse().ok()?, rows.parse().ok()?))
}

/// The bytes of a `press`; nothing where an escape is unknown.
fn keys(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        bytes.push(match rest.next()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            'e' => 0x1b,
            '\\' => b'\\',
            'x' => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).ok()?
            }
            _ => return None,
        });
    }
    (!bytes.is_empty()).then_some(bytes)
}
