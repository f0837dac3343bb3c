//! An open raw or ping socket: what the calls need of it.

use std::any::Any;
use std::sync::Arc;

use abi::socket as so;

use super::caller::Initial;
use super::control::PerMessage;
use super::names::*;
use super::options::show;
use super::raw::{RawSocket, RawTable};
use super::tables::Registry;
use super::{Endpoint, Family};
use crate::error::{Errno, Result, SysResult};
use crate::socket::options::{cut, int};
use crate::socket::{ControlMessage, Message, SockAddr, SocketOps};
use crate::task::CurrentTask;
use crate::vfs::{File, FileOps, IoCx, Sink, Source};
use crate::wait::{Events, WaitQueue};

const SOL_RAW: i32 = 255;
const SOL_ICMPV6: i32 = 58;
/// ICMP_FILTER and ICMPV6_FILTER.
const FILTER: i32 = 1;
/// IPV6_CHECKSUM.
const CHECKSUM: i32 = 7;

struct RawFile {
    socket: Arc<RawSocket>,
    ino: u64,
}

/// A new socket; permission was looked at.
pub(super) fn create(task: &CurrentTask, family: Family, ping: bool, protocol: i32) -> Arc<File> {
    let net = task.namespaces().net.clone();
    let socket = RawSocket::new(&net, family, ping, protocol, &Initial::of(task));
    crate::socket::new_file(task, |ino| {
        let registry = net.objects.get::<Registry<RawSocket>>();
        registry.add(ino, task.creds().euid, &socket);
        Box::new(RawFile { socket, ino })
    })
}

impl Drop for RawFile {
    fn drop(&mut self) {
        let net = self.socket.net.clone();
        net.objects.get::<Registry<RawSocket>>().remove(self.ino);
        self.socket.groups.leave_all(&net);
        self.socket.datagrams.close();
        net.objects.get::<RawTable>().closed(&net, &self.socket);
    }
}

impl FileOps for RawFile {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        Ok(self.socket.datagrams.receive(dst, 0)?.len)
    }
    fn write_at(
        &self,
        _cx: IoCx<'_>,
        _offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        let sent = self.socket.send_to(src, None, &PerMessage::default())?;
        Ok((sent, 0))
    }
    fn readiness(&self) -> Events {
        self.socket.datagrams.readiness()
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.socket.datagrams.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        self.socket.datagrams.ioctl(task, request, arg)
    }
    fn as_socket(&self) -> Option<&dyn SocketOps> {
        Some(self)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn anonymous_name(&self) -> Vec<u8> {
        format!("socket:[{}]", self.ino).into_bytes()
    }
}

impl SocketOps for RawFile {
    fn kind(&self) -> (i32, i32, i32) {
        let kind = if self.socket.ping {
            so::SOCK_DGRAM
        } else {
            so::SOCK_RAW
        };
        let socket = &self.socket;
        (socket.family.number(), kind, socket.protocol_number)
    }
    fn bind(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        self.socket
            .bind_to(Endpoint::parse(addr, self.socket.family)?)
    }
    fn listen(&self, _task: &CurrentTask, _backlog: i32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn connect(&self, _task: &CurrentTask, addr: &[u8]) -> Result<()> {
        if Endpoint::family_of(addr)? == so::AF_UNSPEC {
            self.socket.disconnect();
            return Ok(());
        }
        self.socket
            .connect_to(Endpoint::parse(addr, self.socket.family)?)
    }
    fn accept(&self, _task: &CurrentTask) -> Result<(Arc<File>, SockAddr)> {
        Err(Errno::EOPNOTSUPP)
    }
    fn send(
        &self,
        _task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: Vec<ControlMessage>,
        _files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize> {
        if flags & so::MSG_OOB != 0 {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let socket = &self.socket;
        let to = match to {
            None => None,
            Some(addr) => Some(Endpoint::parse(addr, socket.family)?),
        };
        let message = PerMessage::parse(&control, socket.family, false)?;
        if let Some(index) = message.interface {
            crate::socket::interface::by_index(&socket.net, index).ok_or(Errno::ENODEV)?;
        }
        Ok(socket.send_to(src, to, &message)?)
    }
    fn receive(&self, _task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message> {
        Ok(self.socket.datagrams.receive(dst, flags)?)
    }
    fn shutdown(&self, how: i32) -> Result<()> {
        self.socket.remote().ok_or(Errno::ENOTCONN)?;
        self.socket.datagrams.shut(how)
    }
    fn local_addr(&self) -> Result<SockAddr> {
        Ok(self.socket.local().show(self.socket.family))
    }
    fn peer_addr(&self) -> Result<SockAddr> {
        let remote = self.socket.remote().ok_or(Errno::ENOTCONN)?;
        Ok(remote.show(self.socket.family))
    }
    fn get_option(
        &self,
        _task: &CurrentTask,
        level: i32,
        name: i32,
        max: usize,
    ) -> Result<Vec<u8>> {
        let socket = &self.socket;
        match (level, name) {
            (so::SOL_SOCKET, so::SO_PEERNAME) => return Ok(cut(&self.peer_addr()?, max)),
            (so::SOL_SOCKET, _) => {
                let (_, kind, protocol) = self.kind();
                return socket
                    .datagrams
                    .get_socket_option((kind, protocol), name, max);
            }
            (so::IPPROTO_IP, IP_HDRINCL) => {
                return Ok(show(level, i32::from(socket.header_included()), max));
            }
            (SOL_RAW | SOL_ICMPV6, FILTER) => {
                let filter = socket.filter().map(u32::to_ne_bytes).concat();
                let len = if level == SOL_RAW { 4 } else { 32 };
                return Ok(cut(&filter[..len], max));
            }
            _ => {}
        }
        if let Some(value) = socket.groups.get(level, name) {
            return Ok(cut(&value, max));
        }
        if let Some(value) = super::common_option(socket.family, level, name, || {
            socket
                .remote()
                .map(|remote| super::mtu_to(&socket.net, remote))
        }) {
            return Ok(show(level, value?, max));
        }
        let protocol = socket.datagrams.protocol.lock();
        protocol.get(socket.datagrams.asker, level, name, max)
    }
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()> {
        let socket = &self.socket;
        match (level, name) {
            (so::SOL_SOCKET, _) => return socket.datagrams.set_socket_option(task, name, value),
            (so::IPPROTO_IP, IP_HDRINCL) if !socket.ping => {
                socket.include_header(int(value)? != 0);
                return Ok(());
            }
            (so::IPPROTO_IP, IP_OPTIONS) => return super::no_ip_options(value),
            (SOL_RAW | SOL_ICMPV6, FILTER) => {
                socket.set_filter(value);
                return Ok(());
            }
            // ICMPv6's is always filled in.
            (SOL_RAW | so::IPPROTO_IPV6, CHECKSUM)
                if socket.protocol_number == i32::from(super::raw::ICMP6) =>
            {
                return Ok(());
            }
            _ => {}
        }
        if let Some(result) = socket.groups.set(&socket.net, level, name, value) {
            return result;
        }
        let asker = socket.datagrams.asker;
        socket
            .datagrams
            .protocol
            .lock()
            .set(asker, level, name, value)
    }
    fn timeout_ns(&self, send: bool) -> Option<u64> {
        self.socket.datagrams.timeout_ns(send)
    }
}
