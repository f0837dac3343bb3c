//! Pairs of terminal ends, without tasks.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::*;
use crate::error::{Errno, SysError};
use crate::exec::Reactor;
use crate::vfs::{FileOps, IoCx, KernelSink, KernelSource};
use crate::wait::Events;

const CX: IoCx<'static> = IoCx {
    task: None,
    flags: 0,
    opener: None,
};

fn read(file: &dyn FileOps, max: usize) -> Result<Vec<u8>, SysError> {
    let mut sink = KernelSink::new(max);
    file.read_at(CX, 0, &mut sink).map(|_| sink.into_bytes())
}

fn write(file: &dyn FileOps, bytes: &[u8]) -> Result<usize, SysError> {
    file.write_at(CX, 0, &mut KernelSource(bytes))
        .map(|(n, _)| n)
}

fn pair() -> (Arc<DevptsFs>, MasterFile, Arc<Tty>) {
    let reactor = Reactor::new().unwrap();
    let fs = DevptsFs::new(&reactor, DevptsOptions::default());
    let tty = fs.allocate(0, 0).unwrap();
    let master = MasterFile {
        tty: tty.clone(),
        directory: None,
    };
    (fs, master, tty)
}

fn unlocked_slave(tty: &Arc<Tty>) -> Box<SlaveFile> {
    tty.state.lock().locked = false;
    SlaveFile::open(tty, None, true).unwrap()
}

#[test]
fn a_locked_slave_cannot_be_opened() {
    let (_fs, _master, tty) = pair();
    assert_eq!(SlaveFile::open(&tty, None, true).err(), Some(Errno::EIO));
}

#[test]
fn typed_lines_reach_the_slave_and_echo_to_the_master() {
    let (_fs, master, tty) = pair();
    let slave = unlocked_slave(&tty);
    assert_eq!(read(&*slave, 100), Err(Errno::EAGAIN.into()));
    assert_eq!(write(&master, b"hi\r"), Ok(3));
    assert!(slave.readiness().contains(Events::IN));
    assert_eq!(read(&*slave, 100).as_deref(), Ok(&b"hi\n"[..]));
    assert_eq!(read(&master, 100).as_deref(), Ok(&b"hi\r\n"[..]));
    assert_eq!(write(&*slave, b"out\n"), Ok(4));
    assert_eq!(read(&master, 100).as_deref(), Ok(&b"out\r\n"[..]));
    assert_eq!(read(&master, 100), Err(Errno::EAGAIN.into()));
}

#[test]
fn closing_the_master_hangs_the_slave_up_and_takes_its_name() {
    let (fs, master, tty) = pair();
    let slave = unlocked_slave(&tty);
    drop(master);
    assert_eq!(read(&*slave, 100).as_deref(), Ok(&b""[..]));
    assert_eq!(write(&*slave, b"x"), Err(Errno::EIO.into()));
    assert!(slave.readiness().contains(Events::HUP | Events::IN));
    assert!(fs.numbers().is_empty());
    assert_eq!(SlaveFile::open(&tty, None, true).err(), Some(Errno::EIO));
}

#[test]
fn the_master_reads_the_last_output_and_then_eio_when_all_slaves_are_closed() {
    let (_fs, master, tty) = pair();
    let slave = unlocked_slave(&tty);
    write(&*slave, b"bye").unwrap();
    drop(slave);
    assert!(master.readiness().contains(Events::HUP | Events::IN));
    assert_eq!(read(&master, 100).as_deref(), Ok(&b"bye"[..]));
    assert_eq!(read(&master, 100), Err(Errno::EIO.into()));
    let _slave = SlaveFile::open(&tty, None, true).unwrap();
    assert_eq!(read(&master, 100), Err(Errno::EAGAIN.into()));
}

#[test]
fn a_master_that_nobody_reads_makes_writers_wait() {
    let (_fs, master, tty) = pair();
    let slave = unlocked_slave(&tty);
    let flood = vec![b'x'; 1 << 20];
    let n = write(&*slave, &flood).unwrap();
    assert!(n > 0 && n < flood.len());
    assert_eq!(write(&*slave, &flood), Err(Errno::EAGAIN.into()));
    assert!(!slave.readiness().contains(Events::OUT));
    let mut seen = 0;
    while let Ok(bytes) = read(&master, 4096) {
        seen += bytes.len();
    }
    assert_eq!(seen, n);
    assert!(slave.readiness().contains(Events::OUT));
}

#[test]
fn packet_mode_tells_of_flow_control() {
    let (_fs, master, tty) = pair();
    let slave = unlocked_slave(&tty);
    tty.state.lock().packet_mode = true;
    write(&*slave, b"a").unwrap();
    assert_eq!(read(&master, 100).as_deref(), Ok(&b"\0a"[..]));
    write(&master, b"\x13").unwrap();
    assert!(master.readiness().contains(Events::PRI));
    assert_eq!(read(&master, 100).as_deref(), Ok(&[tty::packet::STOP][..]));
}

/// A host pseudo terminal: master file and slave descriptor.
fn host_pty() -> (std::fs::File, OwnedFd) {
    let master = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/ptmx")
        .unwrap();
    let fd: OwnedFd = master.try_clone().unwrap().into();
    crate::host::ioctl_buffer(&fd, 0x4004_5431, &mut [0; 4]).unwrap();
    let mut index = [0; 4];
    crate::host::ioctl_buffer(&fd, 0x8004_5430, &mut index).unwrap();
    let path = format!("/dev/pts/{}", u32::from_ne_bytes(index));
    let slave = std::os::unix::fs::OpenOptionsExt::custom_flags(
        OpenOptions::new().read(true).write(true),
        libc::O_NOCTTY | libc::O_NONBLOCK,
    )
    .open(path)
    .unwrap();
    (master, slave.into())
}

struct Told(std::sync::mpsc::Sender<Events>);
impl crate::wait::WaitCallback for Told {
    fn notified(&self, events: Events) -> bool {
        let _ = self.0.send(events);
        true
    }
}

#[test]
fn a_console_carries_a_guests_terminal_over_a_host_terminal() {
    let reactor = Reactor::new().unwrap();
    let fs = DevptsFs::new(&reactor, DevptsOptions::default());
    let (mut host, slave_fd) = host_pty();
    let console = Console::attach(&fs, slave_fd, 0, 0).unwrap();
    let guest = SlaveFile::open(console.tty(), None, true).unwrap();
    let runner = {
        let reactor = reactor.clone();
        std::thread::spawn(move || reactor.run())
    };
    let (send, told) = std::sync::mpsc::channel();
    let _registration =
        guest
            .wait_queue()
            .unwrap()
            .register_callback(Events::IN, false, Arc::new(Told(send)));
    host.write_all(b"hello\r").unwrap();
    let line = loop {
        match read(&*guest, 100) {
            Err(SysError::Errno(Errno::EAGAIN)) => {
                told.recv_timeout(std::time::Duration::from_secs(10))
                    .unwrap();
            }
            other => break other.unwrap(),
        }
    };
    assert_eq!(line, b"hello\n");
    write(&*guest, b"there\n").unwrap();
    // The echo, once, and the output, processed once.
    let mut shown = Vec::new();
    let mut buf = [0; 100];
    while shown.len() < b"hello\r\nthere\r\n".len() {
        let n = host.read(&mut buf).unwrap();
        shown.extend_from_slice(&buf[..n]);
    }
    assert_eq!(shown, b"hello\r\nthere\r\n");
    drop(host);
    loop {
        match read(&*guest, 100) {
            Err(SysError::Errno(Errno::EAGAIN)) => {
                told.recv_timeout(std::time::Duration::from_secs(10))
                    .unwrap();
            }
            other => {
                assert_eq!(other.as_deref(), Ok(&b""[..]));
                break;
            }
        }
    }
    reactor.stop();
    runner.join().unwrap();
}
