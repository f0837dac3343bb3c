//! A kernel that runs nothing: for tests of everything around the kernel (feature `fake-kernel`, never in a release).
//!
//! `args` are its programs: `exit N`, `sleep`, `echo WORDS`, `cat` (one line), `fail TEXT` (cannot be executed).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::config::{ContainerConfig, ProcessConfig, ResourceLimits};
use super::control::{
    ContainerFds, ContainerStatus, ControlError, Created, ErrorKind, ExitStatus, GuestFd,
    ProcessInfo, Reply, SandboxKernel, SignalScope, Target,
};
use crate::net::Network;

#[derive(Default)]
struct Process {
    status: Option<ExitStatus>,
    waiters: Vec<Reply<ExitStatus>>,
    init: Option<(ProcessConfig, Vec<GuestFd>)>,
}

#[derive(Default)]
struct Books {
    processes: HashMap<Target, Process>,
    states: HashMap<String, ContainerStatus>,
    /// The gofer's channels: it ends when they close.
    gofers: HashMap<String, ContainerFds>,
}

/// The fake.
#[derive(Default)]
pub struct FakeKernel {
    books: Arc<Mutex<Books>>,
}

fn unknown() -> ControlError {
    ControlError::new(ErrorKind::NotFound, "container does not exist")
}

fn end(books: &Mutex<Books>, target: &Target, status: ExitStatus) {
    let mut books = books.lock();
    if target.exec.is_none() {
        books
            .states
            .insert(target.container.clone(), ContainerStatus::Stopped);
    }
    if let Some(process) = books.processes.get_mut(target)
        && process.status.is_none()
    {
        process.status = Some(status);
        for waiter in std::mem::take(&mut process.waiters) {
            waiter.send(Ok(status));
        }
    }
}

fn run(books: Arc<Mutex<Books>>, target: Target, process: ProcessConfig, stdio: Vec<GuestFd>) {
    std::thread::spawn(move || {
        let mut files: HashMap<u32, File> = stdio
            .into_iter()
            .map(|fd| (fd.number, File::from(fd.fd)))
            .collect();
        let words: Vec<&str> = process.args.iter().map(String::as_str).collect();
        let code = match words.as_slice() {
            ["exit", code] => code.parse().unwrap_or(1),
            ["sleep", ..] => return,
            ["echo", rest @ ..] => {
                if let Some(out) = files.get_mut(&1) {
                    let _ = writeln!(out, "{}", rest.join(" "));
                }
                0
            }
            ["cat"] => {
                let mut line = String::new();
                if let Some(input) = files.remove(&0) {
                    let _ = BufReader::new(input).read_line(&mut line);
                }
                if let Some(out) = files.get_mut(&1) {
                    let _ = out.write_all(line.as_bytes());
                }
                0
            }
            _ => 0,
        };
        drop(files);
        end(&books, &target, ExitStatus::Exited(code));
    });
}

fn executable(process: &ProcessConfig) -> Result<(), ControlError> {
    match process.args.first().map(String::as_str) {
        Some("fail") => Err(ControlError::new(
            ErrorKind::CannotExecute,
            "exec: \"fail\": executable file not found in $PATH",
        )),
        _ => Ok(()),
    }
}

impl SandboxKernel for FakeKernel {
    fn create_container(
        &self,
        config: ContainerConfig,
        mut fds: ContainerFds,
        reply: Reply<Created>,
    ) {
        if let Err(error) = executable(&config.process) {
            return reply.send(Err(error));
        }
        let target = Target {
            container: config.id.clone(),
            exec: None,
        };
        let stdio = std::mem::take(&mut fds.stdio);
        let mut books = self.books.lock();
        books.processes.insert(
            target,
            Process {
                init: Some((config.process, stdio)),
                ..Process::default()
            },
        );
        books
            .states
            .insert(config.id.clone(), ContainerStatus::Created);
        books.gofers.insert(config.id, fds);
        reply.send(Ok(Created::default()));
    }

    fn start(&self, id: &str, _network: Option<Network>, reply: Reply<()>) {
        let target = Target {
            container: id.to_owned(),
            exec: None,
        };
        let init = self
            .books
            .lock()
            .processes
            .get_mut(&target)
            .and_then(|process| process.init.take());
        match init {
            Some((process, stdio)) => {
                self.books
                    .lock()
                    .states
                    .insert(id.to_owned(), ContainerStatus::Running);
                run(Arc::clone(&self.books), target, process, stdio);
                reply.send(Ok(()));
            }
            None => reply.send(Err(unknown())),
        }
    }

    fn exec(&self, target: Target, process: ProcessConfig, stdio: Vec<GuestFd>, reply: Reply<u32>) {
        if let Err(error) = executable(&process) {
            return reply.send(Err(error));
        }
        self.books
            .lock()
            .processes
            .insert(target.clone(), Process::default());
        run(Arc::clone(&self.books), target, process, stdio);
        reply.send(Ok(7));
    }

    fn signal(&self, target: &Target, signal: u32, _: SignalScope) -> Result<(), ControlError> {
        if !self.books.lock().processes.contains_key(target) {
            return Err(unknown());
        }
        end(
            &self.books,
            target,
            ExitStatus::Signaled(u8::try_from(signal).unwrap_or(0)),
        );
        Ok(())
    }

    fn window_changed(&self, _: &Target) -> Result<(), ControlError> {
        Ok(())
    }

    fn wait(&self, target: &Target, reply: Reply<ExitStatus>) {
        let mut books = self.books.lock();
        match books.processes.get_mut(target) {
            Some(Process {
                status: Some(status),
                ..
            }) => reply.send(Ok(*status)),
            Some(process) => process.waiters.push(reply),
            None => reply.send(Err(unknown())),
        }
    }

    fn forget(&self, target: &Target) {
        if target.exec.is_some() {
            self.books.lock().processes.remove(target);
        }
    }

    fn status(&self, id: &str) -> Result<ContainerStatus, ControlError> {
        self.books
            .lock()
            .states
            .get(id)
            .copied()
            .ok_or_else(unknown)
    }

    fn processes(&self, _: &str) -> Result<Vec<ProcessInfo>, ControlError> {
        Ok(Vec::new())
    }

    fn pause(&self, _: &str, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn resume(&self, _: &str, reply: Reply<()>) {
        reply.send(Ok(()));
    }

    fn update(&self, _: &str, _: ResourceLimits) -> Result<(), ControlError> {
        Ok(())
    }

    fn destroy(&self, id: &str, reply: Reply<()>) {
        let mut books = self.books.lock();
        books.processes.retain(|target, _| target.container != id);
        books.gofers.remove(id);
        reply.send(Ok(()));
    }

    fn stacks(&self) -> String {
        "no threads\n".to_owned()
    }

    fn counters(&self) -> String {
        String::new()
    }

    fn strace(&self, _: &[String]) -> Result<(), ControlError> {
        Err(ControlError::new(
            ErrorKind::Unsupported,
            "nothing to trace",
        ))
    }
}
