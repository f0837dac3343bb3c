//! Which host calls threads execute, from the kernel's own tracepoints.
//!
//! `raw_syscalls:sys_enter` fires behind seccomp (`syscall_trace_enter` in the kernel's `entry` code): a call that a filter denies, traps or hands
//! to a listener that answers it is not there; one that is let through is. Threads are followed from a few processes on through every clone.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use harness::Scratch;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::allowed::{Call, Role, is_allowed};

/// Kilobytes of trace kept a CPU: more than a run writes between two reads.
const BUFFER_KB: &str = "16384";

/// A trace of its own, beside whatever else traces on this machine.
pub struct Trace {
    instance: PathBuf,
    /// Where tracefs was mounted for it.
    mounted: Option<Scratch>,
}

impl Trace {
    /// An idle trace; fails where the host has no tracefs.
    ///
    /// # Errors
    /// What the host refused, as a sentence.
    pub fn new() -> Result<Self, String> {
        let usual = Path::new("/sys/kernel/tracing");
        let (base, mounted) = if usual.join("instances").is_dir() {
            (usual.to_owned(), None)
        } else {
            let scratch = Scratch::new();
            let none: Option<&str> = None;
            mount(
                Some("tracefs"),
                scratch.path(),
                Some("tracefs"),
                MsFlags::empty(),
                none,
            )
            .map_err(|e| format!("cannot mount tracefs: {e}"))?;
            (scratch.path().to_owned(), Some(scratch))
        };
        let instance = base
            .join("instances")
            .join(format!("runsc-hostile-{}", harness::run_name()));
        let trace = Self { instance, mounted };
        fs::create_dir(&trace.instance)
            .map_err(|e| format!("cannot make a trace instance: {e}"))?;
        trace.set("trace_clock", "mono")?;
        trace.set("buffer_size_kb", BUFFER_KB)?;
        trace.set("options/event-fork", "1")?;
        // rt_sigreturn and sched_yield, which every thread may do with any registers, are most of what there is.
        trace.set(
            "events/raw_syscalls/sys_enter/filter",
            "id != 15 && id != 24",
        )?;
        Ok(trace)
    }

    fn set(&self, file: &str, value: &str) -> Result<(), String> {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(self.instance.join(file))
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|e| format!("cannot set the trace's {file}: {e}"))
    }

    /// Follows `pids` and all that they clone from now on.
    ///
    /// # Errors
    /// What the host refused, as a sentence.
    pub fn start(&self, pids: &[i32]) -> Result<(), String> {
        let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
        self.set("set_event_pid", &list.join(" "))?;
        self.set("events/sched/sched_process_fork/enable", "1")?;
        self.set("events/raw_syscalls/sys_enter/enable", "1")
    }

    /// No more events.
    ///
    /// # Errors
    /// What the host refused, as a sentence.
    pub fn stop(&self) -> Result<(), String> {
        self.set("events/enable", "0")
    }

    /// Hands every line that is there by now to `audit`.
    ///
    /// # Errors
    /// What could not be read.
    pub fn drain(&self, audit: &mut Audit) -> Result<(), String> {
        let pipe = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(self.instance.join("trace_pipe"))
            .map_err(|e| format!("cannot read the trace: {e}"))?;
        let mut reader = BufReader::with_capacity(1 << 16, WouldBlockIsEnd(pipe));
        let mut line = String::new();
        while reader
            .read_line(&mut line)
            .map_err(|e| format!("cannot read the trace: {e}"))?
            > 0
        {
            audit.line(line.trim_end());
            line.clear();
        }
        Ok(())
    }
}

use std::os::unix::fs::OpenOptionsExt;

struct WouldBlockIsEnd(File);

impl Read for WouldBlockIsEnd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Removing an instance needs it idle; what fails leaves an idle instance.
        let _ = self.stop();
        let _ = fs::remove_dir(&self.instance);
        if let Some(scratch) = &self.mounted {
            let _ = umount2(scratch.path(), MntFlags::MNT_DETACH);
        }
    }
}

/// Judges the lines of a [`Trace`].
pub struct Audit {
    roles: HashMap<i32, Role>,
    /// Executed calls by number.
    pub counts: BTreeMap<i64, u64>,
    /// What should not have happened; the first hundred.
    pub violations: Vec<String>,
    /// Threads seen.
    pub threads: Vec<i32>,
}

impl Audit {
    /// With what is known of the traced processes; others are guests' threads.
    #[must_use]
    pub fn new(roles: HashMap<i32, Role>) -> Self {
        Self {
            roles,
            counts: BTreeMap::new(),
            violations: Vec::new(),
            threads: Vec::new(),
        }
    }

    fn violation(&mut self, text: String) {
        if self.violations.len() < 100 {
            self.violations.push(text);
        }
    }

    /// Judges one line of `trace_pipe`.
    pub fn line(&mut self, line: &str) {
        if line.contains("LOST") {
            self.violation(format!("the trace is incomplete: {line}"));
        } else if let Some((head, rest)) = line.split_once(": sys_enter: NR ") {
            match (thread_of(head), parse_call(rest)) {
                (Some(tid), Some(call)) => self.call(tid, &call),
                _ => self.violation(format!("a line that cannot be read: {line}")),
            }
        } else if let Some((_, rest)) = line.split_once(": sched_process_fork: ") {
            let (parent, child) = (field(rest, " pid="), field(rest, " child_pid="));
            match (parent, child) {
                (Some(parent), Some(child)) => self.birth(parent, child),
                _ => self.violation(format!("a line that cannot be read: {line}")),
            }
        }
    }

    fn birth(&mut self, parent: i32, child: i32) {
        let role = if self.roles.get(&parent) == Some(&Role::Template) {
            Role::Script
        } else {
            Role::Guest
        };
        self.roles.insert(child, role);
        self.threads.push(child);
    }

    fn call(&mut self, tid: i32, call: &Call) {
        const SECCOMP: i64 = 317;
        *self.counts.entry(call.nr).or_default() += 1;
        let role = *self.roles.entry(tid).or_insert(Role::Guest);
        if !is_allowed(role, call) {
            self.violation(format!(
                "thread {tid} ({role:?}) executed call {} with {:x?}",
                call.nr, call.args
            ));
        }
        if role == Role::Script && call.nr == SECCOMP {
            self.roles.insert(tid, Role::Guest);
        }
    }
}

/// The thread of a line's head, `COMM-TID [CPU] FLAGS TIME`.
fn thread_of(head: &str) -> Option<i32> {
    head.split_once(" [")?
        .0
        .trim_end()
        .rsplit('-')
        .next()?
        .parse()
        .ok()
}

fn parse_call(text: &str) -> Option<Call> {
    let (nr, args) = text.split_once(" (")?;
    let mut words = args
        .trim_end_matches(')')
        .split(", ")
        .map(|word| u64::from_str_radix(word, 16).ok());
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = words.next()??;
    }
    Some(Call {
        nr: nr.parse().ok()?,
        args,
    })
}

fn field(text: &str, name: &str) -> Option<i32> {
    text.split_once(name)?.1.split(' ').next()?.parse().ok()
}
