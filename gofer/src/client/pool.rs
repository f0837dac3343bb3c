//! The channels: each carries one call at a time; a call takes a free one or waits for one.

#![forbid(unsafe_code)]

use super::Released;
use crate::protocol::reply::get_errno;
use crate::protocol::request::Request;
use crate::protocol::wire::{Decoder, Encoder, Malformed, Wire};
use crate::protocol::{POLL, SLEEP, socket};
use abi::Errno;
use nix::sched::sched_getcpu;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<VecDeque<Channel>>,
    returned: Condvar,
    /// A channel broke: the gofer is gone or lies. Set under `free`'s lock.
    dead: AtomicBool,
    /// Calls in quick succession may poll.
    polling: AtomicBool,
}

/// A call this soon after the last one asks the gofer to poll for the next.
const SOON: Duration = Duration::from_micros(150);

/// How long a call looks for its reply while the gofer polls: longer than most requests take, shorter than a wake-up.
const PATIENCE: Duration = Duration::from_micros(30);

/// A channel with its buffers, which are reused.
#[derive(Debug)]
struct Channel {
    socket: OwnedFd,
    request: Encoder,
    reply: Box<[u8]>,
    /// When the last reply came.
    last: Option<Instant>,
    /// The gofer said in it that it polls.
    server_polls: bool,
}

impl Pool {
    pub(super) fn new(channels: Vec<OwnedFd>) -> Self {
        let free = channels
            .into_iter()
            .map(|socket| Channel {
                socket,
                request: Encoder::new(),
                reply: socket::buffer(),
                last: None,
                server_polls: false,
            })
            .collect();
        Self {
            free: Mutex::new(free),
            returned: Condvar::new(),
            dead: AtomicBool::new(false),
            polling: AtomicBool::new(false),
        }
    }

    pub(super) fn set_polling(&self, on: bool) {
        self.polling.store(on, Ordering::Relaxed);
    }

    /// Every channel is in use. Others may take the last one right after.
    pub(super) fn is_busy(&self) -> bool {
        self.free.lock().is_empty() && !self.is_dead()
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Sends a request with releases in front and waits for the reply, over the channel used last (its gofer thread and
    /// buffers are warm).
    pub(super) fn call<T: for<'a> Wire<'a>>(
        &self,
        released: &Released,
        request: &Request<'_>,
    ) -> Result<(T, Option<OwnedFd>), Errno> {
        self.call_on(self.take(VecDeque::pop_back)?, released, request)
    }

    /// As `call`, over the channel that has been idle longest.
    pub(super) fn call_oldest<T: for<'a> Wire<'a>>(
        &self,
        released: &Released,
        request: &Request<'_>,
    ) -> Result<(T, Option<OwnedFd>), Errno> {
        self.call_on(self.take(VecDeque::pop_front)?, released, request)
    }

    fn call_on<T: for<'a> Wire<'a>>(
        &self,
        mut channel: Channel,
        released: &Released,
        request: &Request<'_>,
    ) -> Result<(T, Option<OwnedFd>), Errno> {
        match channel.call(self.polling.load(Ordering::Relaxed), released, request) {
            Ok(outcome) => {
                self.free.lock().push_back(channel);
                self.returned.notify_one();
                outcome
            }
            Err(Broken) => {
                let mut free = self.free.lock();
                self.dead.store(true, Ordering::Relaxed);
                free.clear();
                drop(free);
                self.returned.notify_all();
                Err(Errno::EIO)
            }
        }
    }

    fn take(&self, pick: fn(&mut VecDeque<Channel>) -> Option<Channel>) -> Result<Channel, Errno> {
        let mut free = self.free.lock();
        loop {
            if self.is_dead() {
                return Err(Errno::EIO);
            }
            if let Some(channel) = pick(&mut free) {
                return Ok(channel);
            }
            self.returned.wait(&mut free);
        }
    }
}

/// The channel cannot be used any more.
struct Broken;

impl From<Malformed> for Broken {
    fn from(Malformed: Malformed) -> Self {
        Self
    }
}

impl Channel {
    /// One message each way. The inner result is the gofer's answer.
    fn call<T: for<'a> Wire<'a>>(
        &mut self,
        polling: bool,
        released: &Released,
        request: &Request<'_>,
    ) -> Result<Result<(T, Option<OwnedFd>), Errno>, Broken> {
        let idle = self.last.map(|last| last.elapsed());
        let ask = polling && idle.is_some_and(|idle| idle < SOON);
        let awake = self.server_polls && idle.is_some_and(|idle| idle < POLL);
        self.request.clear();
        let cpu = if ask {
            sched_getcpu().ok().and_then(|cpu| u16::try_from(cpu).ok())
        } else {
            None
        };
        cpu.unwrap_or(SLEEP).put(&mut self.request);
        u16::try_from(released.nodes.len())
            .map_err(|_| Broken)?
            .put(&mut self.request);
        for node in &released.nodes {
            node.put(&mut self.request);
        }
        u16::try_from(released.watches.len())
            .map_err(|_| Broken)?
            .put(&mut self.request);
        for watch in &released.watches {
            watch.put(&mut self.request);
        }
        let head = self.request.bytes().len();
        request.put(&mut self.request);
        let too_long = self.request.overflowed();
        if too_long {
            // The releases must arrive all the same.
            self.request.truncate(head);
            Request::Release {}.put(&mut self.request);
        }
        socket::send(self.socket.as_fd(), self.request.bytes(), None).map_err(|_| Broken)?;
        let patience = if awake { PATIENCE } else { Duration::ZERO };
        let received = socket::receive_donation(self.socket.as_fd(), &mut self.reply, patience)
            .map_err(|_| Broken)?;
        self.last = Some(Instant::now());
        let (message, donated) = received.ok_or(Broken)?;
        let mut from = Decoder::new(message);
        let error = get_errno(&mut from)?;
        self.server_polls = u8::get(&mut from)? != 0;
        if let Some(error) = error {
            return Ok(Err(error));
        }
        if too_long {
            return Ok(Err(Errno::E2BIG));
        }
        let reply = T::get(&mut from)?;
        from.finish()?;
        Ok(Ok((reply, donated)))
    }
}
