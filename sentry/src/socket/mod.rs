//! Sockets: what the socket calls need of a file that is one, and the families.
//!
//! - [`SocketOps`]: the calls. [`options`]: level SOL_SOCKET. [`inbox`]: what waits to be read. [`in_flight`]: descriptors on the way.
//! - [`unix`]: AF_UNIX. [`inet`]: AF_INET and AF_INET6. [`netlink`], `route_dump`: what `ip` asks; `diag`: what `ss` asks. [`interface`]: interfaces.

mod diag;
pub mod filter;
pub mod in_flight;
pub mod inbox;
pub mod inet;
pub mod interface;
pub mod loopback;
pub mod netlink;
pub mod options;
mod route_dump;
pub mod unix;

use std::sync::Arc;

use abi::fs::{O_RDWR, S_IFSOCK};
use abi::signal::{Signal, code};
use abi::socket::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX};

use crate::error::{Errno, Result, SysResult};
use crate::fs::anon;
use crate::signal::{SigInfo, send};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::vfs::{File, FileOps, Sink, Source};

/// A socket address as the guest gave or gets it: `sa_family` and what follows, at most 128 bytes.
pub type SockAddr = Vec<u8>;

/// One control message.
#[derive(Clone, Debug)]
pub struct ControlMessage {
    /// SOL_SOCKET, IPPROTO_IP …
    pub level: i32,
    /// SCM_RIGHTS, IP_PKTINFO …
    pub kind: i32,
    /// Payload, for SCM_RIGHTS empty (see [`Message::files`]).
    pub data: Vec<u8>,
}

/// What came besides the bytes.
#[derive(Default)]
pub struct Message {
    /// Bytes of payload delivered (with MSG_TRUNC: of the whole datagram).
    pub len: usize,
    /// Sender, if there is one.
    pub from: Option<SockAddr>,
    /// Control messages but SCM_RIGHTS.
    pub control: Vec<ControlMessage>,
    /// Descriptors passed (SCM_RIGHTS).
    pub files: Vec<Arc<File>>,
    /// MSG_* flags out (MSG_TRUNC, MSG_CTRUNC, MSG_EOR).
    pub flags: i32,
}

/// A socket's operations. None blocks: `EAGAIN`, `EINPROGRESS`; the file's wait queue tells when to try again.
pub trait SocketOps: Send + Sync {
    /// Domain, type, protocol (SO_DOMAIN, SO_TYPE, SO_PROTOCOL).
    fn kind(&self) -> (i32, i32, i32);
    /// `bind(2)`.
    fn bind(&self, task: &CurrentTask, addr: &[u8]) -> Result<()>;
    /// `listen(2)`.
    fn listen(&self, task: &CurrentTask, backlog: i32) -> Result<()>;
    /// `connect(2)`: `EINPROGRESS` when it will take time; called again it tells how it went (`EALREADY`, `EISCONN`, error).
    fn connect(&self, task: &CurrentTask, addr: &[u8]) -> Result<()>;
    /// `accept(2)`: the new socket's file (without flags) and the peer's address.
    fn accept(&self, task: &CurrentTask) -> Result<(Arc<File>, SockAddr)>;
    /// `sendmsg(2)`; `flags` are MSG_*.
    fn send(
        &self,
        task: &CurrentTask,
        src: &mut dyn Source,
        to: Option<&[u8]>,
        control: Vec<ControlMessage>,
        files: Vec<Arc<File>>,
        flags: i32,
    ) -> SysResult<usize>;
    /// `recvmsg(2)`; `flags` are MSG_*.
    fn receive(&self, task: &CurrentTask, dst: &mut dyn Sink, flags: i32) -> SysResult<Message>;
    /// `shutdown(2)`.
    fn shutdown(&self, how: i32) -> Result<()>;
    /// `getsockname(2)`.
    fn local_addr(&self) -> Result<SockAddr>;
    /// `getpeername(2)`.
    fn peer_addr(&self) -> Result<SockAddr>;
    /// `getsockopt(2)`: at most `max` bytes.
    fn get_option(&self, task: &CurrentTask, level: i32, name: i32, max: usize) -> Result<Vec<u8>>;
    /// `setsockopt(2)`.
    fn set_option(&self, task: &CurrentTask, level: i32, name: i32, value: &[u8]) -> Result<()>;
    /// How many bytes a blocking read of a stream waits for (SO_RCVLOWAT).
    fn low_water(&self) -> usize {
        1
    }
    /// SO_SNDTIMEO (`true`) or SO_RCVTIMEO in nanoseconds; `None`: wait for ever.
    fn timeout_ns(&self, send: bool) -> Option<u64>;
}

/// The file of a new socket; `ops` is made with its inode number.
pub fn new_file(task: &CurrentTask, ops: impl FnOnce(u64) -> Box<dyn FileOps>) -> Arc<File> {
    let creds = task.creds();
    let inode = anon::inode(S_IFSOCK | 0o777, creds.fsuid, creds.fsgid);
    let ino = inode.attr().map_or(0, |attr| attr.ino);
    File::new(None, inode, ops(ino), O_RDWR)
}

/// Tells the sender of a broken connection.
pub fn raise_sigpipe(task: &CurrentTask) {
    let info = SigInfo::user(
        Signal::PIPE,
        code::SI_USER,
        task.group.pid.local(),
        task.creds().uid,
    );
    // A standard signal: nothing limits it.
    let _ = send::thread_signal(task.task(), info);
}

/// `socket(2)`: `EAFNOSUPPORT`, `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM` as Linux.
pub fn create(task: &CurrentTask, domain: i32, kind: i32, protocol: i32) -> Result<Arc<File>> {
    match domain {
        AF_UNIX => {
            let kind = unix_kind(kind, protocol)?;
            Ok(unix::create(task, kind))
        }
        AF_INET => inet::create(task, inet::Family::V4, kind, protocol),
        AF_INET6 => inet::create(task, inet::Family::V6, kind, protocol),
        AF_NETLINK => netlink::create(task, kind, protocol),
        // Needs CAP_NET_RAW first of all.
        AF_PACKET => {
            task.creds()
                .require_in(&task.namespaces().net.owner, Cap::NET_RAW)?;
            Err(Errno::EAFNOSUPPORT)
        }
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// `socketpair(2)`.
pub fn create_pair(
    task: &CurrentTask,
    domain: i32,
    kind: i32,
    protocol: i32,
) -> Result<(Arc<File>, Arc<File>)> {
    if domain == AF_UNIX {
        return Ok(unix::create_pair(task, unix_kind(kind, protocol)?));
    }
    // Other families can make sockets, but no pairs.
    create(task, domain, kind, protocol)?;
    Err(Errno::EOPNOTSUPP)
}

fn unix_kind(kind: i32, protocol: i32) -> Result<unix::Kind> {
    if protocol != 0 && protocol != AF_UNIX {
        return Err(Errno::EPROTONOSUPPORT);
    }
    unix::Kind::from_number(kind).ok_or(Errno::ESOCKTNOSUPPORT)
}
