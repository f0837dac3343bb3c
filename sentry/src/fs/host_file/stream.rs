//! A host descriptor as a stream that never blocks.

use std::any::Any;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use abi::fs::{S_IFIFO, S_IFMT, S_IFREG, S_IFSOCK};
use abi::signal::Signal;
use abi::{UserAddr, UserOut};
use parking_lot::Mutex;

use crate::error::{Errno, Result, SysResult};
use crate::exec::Reactor;
use crate::exec::reactor::WatchHandle;
use crate::host;
use crate::task::CurrentTask;
use crate::vfs::{FileOps, IoCx, SeekFrom, Sink, Source};
use crate::wait::{Events, WaitQueue};

/// Most bytes moved by one host call.
const CHUNK: usize = 64 * 1024;
/// What POLLOUT promises for a pipe (PIPE_BUF).
const PIPE_BUF: usize = 4096;
/// What POLLOUT promises for a terminal (WAKEUP_CHARS).
const TTY_ROOM: usize = 256;
const FIONREAD: u32 = 0x541b;

/// Held over poll and write: see the module.
static WRITING: Mutex<()> = Mutex::new(());

struct Watching {
    handle: Option<WatchHandle>,
    armed: Events,
}

/// See the module.
pub struct HostStream {
    pub(super) fd: Arc<OwnedFd>,
    file_type: u32,
    /// A regular file opened for reading only: offsets are the guest's own.
    seekable: bool,
    reactor: Arc<Reactor>,
    queue: WaitQueue,
    watch: Mutex<Watching>,
    this: Weak<Self>,
}

impl HostStream {
    /// Takes a descriptor over. `EBADF` if it is none.
    pub fn new(reactor: Arc<Reactor>, fd: OwnedFd, writable: bool) -> Result<Arc<Self>> {
        Self::with_queue(reactor, fd, writable, WaitQueue::new())
    }

    /// As [`HostStream::new`], telling a queue that somebody has already.
    pub(crate) fn with_queue(
        reactor: Arc<Reactor>,
        fd: OwnedFd,
        writable: bool,
        queue: WaitQueue,
    ) -> Result<Arc<Self>> {
        let file_type = host::fstat(&fd)?.st_mode & S_IFMT;
        Ok(Arc::new_cyclic(|this| Self {
            fd: Arc::new(fd),
            file_type,
            seekable: file_type == S_IFREG && !writable,
            reactor,
            queue,
            watch: Mutex::new(Watching {
                handle: None,
                armed: Events::empty(),
            }),
            this: this.clone(),
        }))
    }

    fn poll_now(&self, events: Events) -> Events {
        if self.file_type == S_IFREG {
            return Events::FILE & events;
        }
        host::poll(&[(self.fd.as_raw_fd(), events)], Some(Duration::ZERO))
            .first()
            .map_or(Events::empty(), |(_, ready)| *ready)
    }

    pub(crate) fn descriptor(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }

    /// What is true now; arms what is not if somebody waits.
    pub(crate) fn readiness(&self) -> Events {
        let both = Events::IN | Events::OUT;
        let ready = self.poll_now(both);
        if !self.queue.is_empty() && self.file_type != S_IFREG {
            let missing = both - ready;
            if !missing.is_empty() && !ready.intersects(Events::ALWAYS) {
                self.arm(missing);
            }
        }
        let mut all = ready;
        if ready.contains(Events::IN) {
            all |= Events::RDNORM;
        }
        if ready.contains(Events::OUT) {
            all |= Events::WRNORM;
        }
        all
    }

    /// Has the reactor tell the queue once, as soon as any of `events` is true.
    pub(crate) fn arm(&self, events: Events) {
        let mut watch = self.watch.lock();
        let wanted = watch.armed | events;
        if let Some(handle) = &watch.handle {
            self.reactor.set_watch(handle, wanted);
        } else {
            let this = self.this.clone();
            watch.handle = Some(self.reactor.watch(
                self.fd.clone(),
                wanted,
                Arc::new(move |ready| {
                    if let Some(stream) = this.upgrade() {
                        stream.fired(ready);
                    }
                }),
            ));
        }
        watch.armed = wanted;
    }

    fn fired(&self, ready: Events) {
        {
            let mut watch = self.watch.lock();
            watch.armed = if ready.intersects(Events::ALWAYS) {
                Events::empty()
            } else {
                watch.armed - ready
            };
            if let Some(handle) = &watch.handle {
                self.reactor.set_watch(handle, watch.armed);
            }
        }
        self.queue.notify(ready);
    }

    fn read(&self, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let mut buf = vec![0; dst.remaining().min(CHUNK)];
        let n = if self.seekable {
            host::pread(&self.fd, &mut buf, offset)?
        } else {
            if self.poll_now(Events::IN).is_empty() {
                self.arm(Events::IN);
                return Err(Errno::EAGAIN.into());
            }
            match host::read(&self.fd, &mut buf) {
                Err(Errno::EAGAIN) => {
                    self.arm(Events::IN);
                    return Err(Errno::EAGAIN.into());
                }
                other => other?,
            }
        };
        if n == 0 {
            return Ok(0);
        }
        Ok(dst.put(&buf[..n])?)
    }

    fn write(&self, src: &mut dyn Source) -> SysResult<usize> {
        let room = match self.file_type {
            S_IFREG | S_IFSOCK => CHUNK,
            S_IFIFO => PIPE_BUF,
            _ => TTY_ROOM,
        };
        let mut done = 0;
        while src.remaining() > 0 {
            let held = WRITING.lock();
            if self.poll_now(Events::OUT).is_empty() {
                drop(held);
                if done > 0 {
                    break;
                }
                self.arm(Events::OUT);
                return Err(Errno::EAGAIN.into());
            }
            let piece = match src.take_vec(room) {
                Ok(piece) => piece,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            };
            match host::write(&self.fd, &piece) {
                Ok(n) => {
                    done += n;
                    if n < piece.len() {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }
}

/// A file's operations on a stream of its own.
pub fn operations(stream: Arc<HostStream>) -> Box<dyn FileOps> {
    Box::new(HostFile(stream))
}

/// A guest's open description of a [`HostStream`].
pub(super) struct HostFile(pub(super) Arc<HostStream>);

impl FileOps for HostFile {
    fn read_at(&self, _cx: IoCx<'_>, offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        self.0.read(offset, dst)
    }
    fn write_at(&self, cx: IoCx<'_>, offset: u64, src: &mut dyn Source) -> SysResult<(usize, u64)> {
        let written = self.0.write(src);
        if written == Err(Errno::EPIPE.into())
            && let Some(task) = cx.task
        {
            crate::fs::devpts::signals::to_thread(task.task(), Signal::PIPE);
        }
        written.map(|n| (n, offset.saturating_add(n as u64)))
    }
    fn seekable(&self) -> bool {
        self.0.seekable
    }
    fn seek(&self, from: SeekFrom) -> Result<u64> {
        let size = u64::try_from(host::fstat(&self.0.fd)?.st_size).unwrap_or(0);
        match from {
            SeekFrom::End(delta) => size.checked_add_signed(delta).ok_or(Errno::EINVAL),
            SeekFrom::Data(at) if at < size => Ok(at),
            SeekFrom::Hole(at) if at < size => Ok(size),
            _ => Err(Errno::ENXIO),
        }
    }
    fn readiness(&self) -> Events {
        self.0.readiness()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        (self.0.file_type != S_IFREG).then_some(&self.0.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        if request != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let mut count = [0_u8; 4];
        host::ioctl_buffer(&self.0.fd, u64::from(FIONREAD), &mut count)?;
        task.memory().put(
            UserOut::<i32>::new(UserAddr(arg)),
            &i32::from_ne_bytes(count),
        )?;
        Ok(0)
    }
    fn sync(&self, data_only: bool) -> Result<()> {
        if self.0.file_type == S_IFREG {
            host::fsync(&self.0.fd, data_only)
        } else {
            Err(Errno::EINVAL)
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        let ino = host::fstat(&self.0.fd).map_or(0, |stat| stat.st_ino);
        match self.0.file_type {
            S_IFIFO => format!("pipe:[{ino}]").into_bytes(),
            S_IFSOCK => format!("socket:[{ino}]").into_bytes(),
            _ => b"/dev/host".to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{KernelSink, KernelSource};
    use std::io::{PipeReader, PipeWriter};
    use std::sync::mpsc;

    const CX: IoCx<'static> = IoCx {
        task: None,
        flags: 0,
        opener: None,
    };
    const AGAIN: crate::error::SysError = crate::error::SysError::Errno(Errno::EAGAIN);

    fn pipe() -> (PipeReader, PipeWriter) {
        std::io::pipe().unwrap()
    }

    #[test]
    fn an_empty_pipe_gives_eagain_then_its_bytes_then_the_end() {
        let reactor = Reactor::new().unwrap();
        let (reader, writer) = pipe();
        let guest = HostFile(HostStream::new(reactor, reader.into(), false).unwrap());
        let mut sink = KernelSink::new(10);
        assert_eq!(guest.read_at(CX, 0, &mut sink), Err(AGAIN));
        std::io::Write::write_all(&mut &writer, b"hello").unwrap();
        assert_eq!(guest.read_at(CX, 0, &mut sink), Ok(5));
        drop(writer);
        assert_eq!(guest.read_at(CX, 0, &mut sink), Ok(0));
        assert_eq!(sink.into_bytes(), b"hello");
    }

    #[test]
    fn a_full_pipe_takes_a_part_and_then_gives_eagain() {
        let reactor = Reactor::new().unwrap();
        let (_reader, writer) = pipe();
        let guest = HostFile(HostStream::new(reactor, writer.into(), true).unwrap());
        let data = vec![1; 200_000];
        let (n, _) = guest.write_at(CX, 0, &mut KernelSource(&data)).unwrap();
        assert!(n > 0 && n < data.len());
        assert_eq!(guest.write_at(CX, 0, &mut KernelSource(&data)), Err(AGAIN));
    }

    struct Told(mpsc::Sender<Events>);
    impl crate::wait::WaitCallback for Told {
        fn notified(&self, events: Events) -> bool {
            let _ = self.0.send(events);
            true
        }
    }

    #[test]
    fn the_reactor_tells_a_waiter_that_there_is_data() {
        let reactor = Reactor::new().unwrap();
        let (reader, writer) = pipe();
        let guest = HostFile(HostStream::new(reactor.clone(), reader.into(), false).unwrap());
        let (send, receive) = mpsc::channel();
        let _registration =
            guest
                .wait_queue()
                .unwrap()
                .register_callback(Events::IN, false, Arc::new(Told(send)));
        assert!(!guest.readiness().contains(Events::IN));
        let runner = {
            let reactor = reactor.clone();
            std::thread::spawn(move || reactor.run())
        };
        std::io::Write::write_all(&mut &writer, b"x").unwrap();
        let told = receive.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(told.contains(Events::IN));
        assert!(guest.readiness().contains(Events::IN));
        reactor.stop();
        runner.join().unwrap();
    }
}
