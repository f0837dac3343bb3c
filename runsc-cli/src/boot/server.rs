//! The sentry's end of the control socket: one thread that polls, parses and calls the kernel.
//!
//! It never waits for anybody: slow operations answer through [`Reply`], from any thread, into a queue that an eventfd announces; output is
//! buffered per connection, within bounds. While a request of a connection is under way no further one is read from it, except that waiting for
//! a process's end does not count.
//!
//! Lock order: only the answer queue has a lock, a leaf.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use parking_lot::Mutex;

use super::config::PROTOCOL_VERSION;
use super::control::{
    ContainerFds, ControlError, ErrorKind, FdRole, GuestFd, Reply, Request, Response,
    SandboxKernel, SignalScope, Target,
};
use super::wire::{self, Assembler, Fed, Frame};
use crate::net::Network;

/// Most connections at a time: every proxy holds one.
const MAX_CONNECTIONS: usize = 4096;
/// Most bytes waiting for a client that does not read.
const MAX_OUTPUT: usize = 32 << 20;
/// SIGKILL.
const SIGKILL: u32 = 9;

/// An answer on its way to a connection.
struct Answer {
    connection: u64,
    response: Response,
    /// The request under way is finished by it.
    completes: bool,
}

/// Answers from other threads.
struct Queue {
    answers: Mutex<Vec<Answer>>,
    bell: EventFd,
}

impl Queue {
    fn push(&self, answer: Answer) {
        self.answers.lock().push(answer);
        // Fails only when the counter is full, and then the bell rings anyway.
        let _ = self.bell.write(1);
    }
}

struct Connection {
    stream: UnixStream,
    assembler: Assembler,
    greeted: bool,
    busy: bool,
    output: Vec<u8>,
    /// The process whose proxy this is.
    owns: Option<Target>,
    /// The container that goes when this connection goes.
    uncommitted: Option<String>,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            assembler: Assembler::default(),
            greeted: false,
            busy: false,
            output: Vec::new(),
            owns: None,
            uncommitted: None,
        }
    }
}

/// The control server.
pub struct Server {
    kernel: Arc<dyn SandboxKernel>,
    listener: UnixListener,
    control_uid: u32,
    connections: BTreeMap<u64, Connection>,
    next_id: u64,
    queue: Arc<Queue>,
    containers: BTreeSet<String>,
    had_container: bool,
}

impl Server {
    /// A server on a listening, non-blocking socket. `initial` are connections that the parent made; they need no credentials check.
    pub fn new(
        kernel: Arc<dyn SandboxKernel>,
        listener: UnixListener,
        initial: Vec<UnixStream>,
        control_uid: u32,
    ) -> io::Result<Self> {
        let bell =
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let queue = Arc::new(Queue {
            answers: Mutex::new(Vec::new()),
            bell,
        });
        let mut server = Self {
            kernel,
            listener,
            control_uid,
            connections: BTreeMap::new(),
            next_id: 0,
            queue,
            containers: BTreeSet::new(),
            had_container: false,
        };
        for stream in initial {
            server.adopt(stream);
        }
        Ok(server)
    }

    fn adopt(&mut self, stream: UnixStream) {
        self.connections
            .insert(self.next_id, Connection::new(stream));
        self.next_id += 1;
    }

    /// Serves until the last container is gone.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.is_done() {
            let ready = self.wait()?;
            if ready.bell {
                self.deliver();
            }
            if ready.listener {
                self.accept();
            }
            for (id, flags) in ready.connections {
                self.serve(id, flags);
            }
        }
        Ok(())
    }

    /// The last container is gone and everybody was told, or nobody is left who could make one.
    fn is_done(&self) -> bool {
        if self.had_container {
            self.containers.is_empty() && self.flushed()
        } else {
            self.connections.is_empty()
        }
    }

    fn flushed(&self) -> bool {
        self.connections
            .values()
            .all(|connection| connection.output.is_empty())
            && self.queue.answers.lock().is_empty()
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut fds = vec![PollFd::new(self.queue.bell.as_fd(), PollFlags::POLLIN)];
        let listen = if self.connections.len() < MAX_CONNECTIONS {
            PollFlags::POLLIN
        } else {
            PollFlags::empty()
        };
        fds.push(PollFd::new(self.listener.as_fd(), listen));
        for connection in self.connections.values() {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, !connection.busy);
            events.set(PollFlags::POLLOUT, !connection.output.is_empty());
            fds.push(PollFd::new(connection.stream.as_fd(), events));
        }
        loop {
            match ppoll(&mut fds, None, None) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = |index: usize| {
            fds.get(index)
                .and_then(PollFd::revents)
                .unwrap_or(PollFlags::empty())
        };
        Ok(Ready {
            bell: !flags(0).is_empty(),
            listener: !flags(1).is_empty(),
            connections: self
                .connections
                .keys()
                .enumerate()
                .map(|(index, id)| (*id, flags(index + 2)))
                .filter(|(_, flags)| !flags.is_empty())
                .collect(),
        })
    }

    fn accept(&mut self) {
        // One a round: poll comes back for the next.
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        match getsockopt(&stream, PeerCredentials) {
            Ok(peer) if peer.uid() == self.control_uid => self.adopt(stream),
            _ => drop(stream),
        }
    }

    fn deliver(&mut self) {
        let _ = self.queue.bell.read();
        let answers = std::mem::take(&mut *self.queue.answers.lock());
        for answer in answers {
            self.answer(answer.connection, &answer.response, answer.completes);
        }
    }

    fn answer(&mut self, id: u64, response: &Response, completes: bool) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if completes {
            connection.busy = false;
        }
        if let Response::Exit { target, .. } = response
            && connection.owns.as_ref() == Some(target)
        {
            connection.owns = None;
            if target.exec.is_some() {
                self.kernel.forget(target);
            }
        }
        let bytes = wire::encode(response, 0).unwrap_or_default();
        connection.output.extend_from_slice(&bytes);
        if bytes.is_empty() || connection.output.len() > MAX_OUTPUT || !flush(connection) {
            self.close(id);
        }
    }

    fn serve(&mut self, id: u64, flags: PollFlags) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if flags.contains(PollFlags::POLLOUT) && !flush(connection) {
            return self.close(id);
        }
        if flags.contains(PollFlags::POLLIN) && !connection.busy {
            match connection.assembler.feed(&connection.stream, true) {
                Ok(Fed::Frame(frame)) => return self.request(id, frame),
                Ok(Fed::More) => return,
                Ok(Fed::End) | Err(_) => return self.close(id),
            }
        }
        if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            self.close(id);
        }
    }

    fn close(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        if let Some(target) = connection.owns {
            // Whoever held the process's pid was killed: so is the process.
            let _ = self.kernel.signal(&target, SIGKILL, SignalScope::Process);
            self.kernel.forget(&target);
        }
        if let Some(container) = connection.uncommitted {
            self.containers.remove(&container);
            self.kernel.destroy(&container, Reply::new(|_| {}));
        }
    }

    /// A reply that completes the request under way.
    fn reply<T: Send + 'static>(
        &self,
        connection: u64,
        convert: impl FnOnce(T) -> Response + Send + 'static,
    ) -> Reply<T> {
        let queue = Arc::clone(&self.queue);
        Reply::new(move |result| {
            let response = match result {
                Ok(value) => convert(value),
                Err(error) => Response::Failed { error },
            };
            queue.push(Answer {
                connection,
                response,
                completes: true,
            });
        })
    }

    fn request(&mut self, id: u64, frame: Frame) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let request: Request = match frame.parse() {
            Ok(request) => request,
            Err(error) => {
                let error = ControlError::new(ErrorKind::Invalid, error.to_string());
                return self.answer(id, &Response::Failed { error }, false);
            }
        };
        if !connection.greeted {
            match request {
                Request::Hello {
                    version: PROTOCOL_VERSION,
                } => {
                    connection.greeted = true;
                    self.answer(id, &Response::Done, false);
                }
                _ => self.close(id),
            }
            return;
        }
        if let Some(response) = self.handle(id, request, frame.fds) {
            self.answer(id, &response, false);
        }
    }

    /// Carries out a request. `None` when the answer comes later; the connection is then busy (or waits).
    fn handle(&mut self, id: u64, request: Request, fds: Vec<OwnedFd>) -> Option<Response> {
        let kernel = Arc::clone(&self.kernel);
        let result = match request {
            Request::Hello { .. } => Ok(Response::Done),
            Request::Create { config, fds: roles } => return self.create(id, *config, &roles, fds),
            Request::Commit => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.uncommitted = None;
                }
                Ok(Response::Done)
            }
            Request::Start {
                id: container,
                network,
            } => {
                let wanted = network.as_ref().map_or(0, |setup| setup.descriptors());
                if wanted == fds.len() {
                    self.set_busy(id);
                    let network = network.map(|setup| Network {
                        setup: *setup,
                        sockets: fds,
                    });
                    kernel.start(&container, network, self.reply(id, |()| Response::Done));
                    return None;
                }
                Err(ControlError::new(
                    ErrorKind::Invalid,
                    "start needs the descriptors of each interface",
                ))
            }
            Request::Exec {
                target,
                process,
                fds: roles,
            } => {
                let sorted = sort_fds(&roles, fds);
                match sorted {
                    Ok(sorted) if sorted.gofer_channels.is_empty() && target.exec.is_some() => {
                        self.set_busy(id);
                        kernel.exec(
                            target,
                            *process,
                            sorted.stdio,
                            self.reply(id, |pid| Response::Started { pid }),
                        );
                        return None;
                    }
                    Ok(_) => Err(ControlError::new(
                        ErrorKind::Invalid,
                        "exec needs a name and the descriptors of the process only",
                    )),
                    Err(error) => Err(error),
                }
            }
            Request::Signal {
                target,
                signal,
                scope,
            } => kernel
                .signal(&target, signal, scope)
                .map(|()| Response::Done),
            Request::WindowChanged { target } => {
                kernel.window_changed(&target).map(|()| Response::Done)
            }
            Request::Wait { target, owner } => {
                self.wait_for(id, target, owner);
                return None;
            }
            Request::Status { id: container } => kernel
                .status(&container)
                .map(|status| Response::Status { status }),
            Request::Processes { id: container } => kernel
                .processes(&container)
                .map(|processes| Response::Processes { processes }),
            Request::Pause { id: container } => {
                self.set_busy(id);
                kernel.pause(&container, self.reply(id, |()| Response::Done));
                return None;
            }
            Request::Resume { id: container } => {
                self.set_busy(id);
                kernel.resume(&container, self.reply(id, |()| Response::Done));
                return None;
            }
            Request::Update {
                id: container,
                limits,
            } => kernel.update(&container, limits).map(|()| Response::Done),
            Request::Destroy { id: container } => {
                self.set_busy(id);
                self.containers.remove(&container);
                kernel.destroy(&container, self.reply(id, |()| Response::Done));
                return None;
            }
            Request::Stacks => Ok(Response::Text {
                text: kernel.stacks(),
            }),
            Request::Counters => Ok(Response::Text {
                text: kernel.counters(),
            }),
            Request::Strace { calls } => kernel.strace(&calls).map(|()| Response::Done),
        };
        Some(result.unwrap_or_else(|error| Response::Failed { error }))
    }

    fn set_busy(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.busy = true;
        }
    }

    fn create(
        &mut self,
        id: u64,
        config: super::config::ContainerConfig,
        roles: &[FdRole],
        fds: Vec<OwnedFd>,
    ) -> Option<Response> {
        let refuse = |kind, message: &str| {
            Some(Response::Failed {
                error: ControlError::new(kind, message),
            })
        };
        if config.version != PROTOCOL_VERSION {
            return refuse(
                ErrorKind::Invalid,
                "the container's configuration is of another version of runsc",
            );
        }
        if self.containers.contains(&config.id) {
            return refuse(ErrorKind::Exists, "container with given ID already exists");
        }
        let sorted = match sort_fds(roles, fds) {
            Ok(sorted) => sorted,
            Err(error) => return Some(Response::Failed { error }),
        };
        self.containers.insert(config.id.clone());
        self.had_container = true;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.busy = true;
            connection.uncommitted = Some(config.id.clone());
        }
        self.kernel.create_container(
            config,
            sorted,
            self.reply(id, |created| Response::Created { created }),
        );
        None
    }

    fn wait_for(&mut self, id: u64, target: Target, owner: bool) {
        if owner && let Some(connection) = self.connections.get_mut(&id) {
            connection.owns = Some(target.clone());
        }
        let queue = Arc::clone(&self.queue);
        let told = target.clone();
        self.kernel.wait(
            &target,
            Reply::new(move |result| {
                let response = match result {
                    Ok(status) => Response::Exit {
                        target: told,
                        status,
                    },
                    Err(error) => Response::Failed { error },
                };
                queue.push(Answer {
                    connection: id,
                    response,
                    completes: false,
                });
            }),
        );
    }
}

struct Ready {
    bell: bool,
    listener: bool,
    connections: Vec<(u64, PollFlags)>,
}

/// Writes what fits; `false` if the connection is broken.
fn flush(connection: &mut Connection) -> bool {
    while !connection.output.is_empty() {
        match send(
            connection.stream.as_raw_fd(),
            &connection.output,
            MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        ) {
            Ok(count) => {
                connection.output.drain(..count);
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return true,
            Err(_) => return false,
        }
    }
    connection.output = Vec::new();
    true
}

fn sort_fds(roles: &[FdRole], fds: Vec<OwnedFd>) -> Result<ContainerFds, ControlError> {
    if roles.len() != fds.len() {
        return Err(ControlError::new(
            ErrorKind::Invalid,
            "the request does not say what its descriptors are",
        ));
    }
    let mut sorted = ContainerFds {
        stdio: Vec::new(),
        gofer_channels: Vec::new(),
        gofer_events: None,
        cgroup: Vec::new(),
    };
    for (role, fd) in roles.iter().zip(fds) {
        match role {
            FdRole::Guest(number) if sorted.stdio.iter().any(|known| known.number == *number) => {
                return Err(ControlError::new(
                    ErrorKind::Invalid,
                    "a guest descriptor was given twice",
                ));
            }
            FdRole::Guest(number) => sorted.stdio.push(GuestFd {
                number: *number,
                fd,
            }),
            FdRole::GoferChannel => sorted.gofer_channels.push(fd),
            FdRole::GoferEvents => sorted.gofer_events = Some(fd),
            FdRole::Cgroup => sorted.cgroup.push(fd),
        }
    }
    Ok(sorted)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
