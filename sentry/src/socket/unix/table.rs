//! The Unix sockets of a network namespace as `/proc/net/unix` and `sock_diag(7)` show them.
//!
//! Lock order: the table's lock is a leaf.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::address::Name;
use super::{Kind, Link, UnixSocket};
use crate::fs::proc::net::headers;
use crate::task::namespaces::NetNamespace;

/// The sockets that have a file, by inode number; in a namespace's `objects`.
#[derive(Default)]
pub(super) struct Table(Mutex<BTreeMap<u64, Weak<UnixSocket>>>);

impl Table {
    pub(super) fn add(&self, ino: u64, socket: &Arc<UnixSocket>) {
        socket.ino.store(ino, Ordering::Relaxed);
        self.0.lock().insert(ino, Arc::downgrade(socket));
    }

    pub(super) fn remove(&self, ino: u64) {
        self.0.lock().remove(&ino);
    }
}

/// One socket.
pub struct Row {
    /// Inode number.
    pub ino: u64,
    /// `SOCK_*`.
    pub kind: u8,
    /// As TCP's states: 1 connected, 7 not, 10 listening.
    pub state: u8,
    /// What follows the family in its address; a path without its NUL.
    pub name: Vec<u8>,
    /// Inode and device number of the file that it is bound to.
    pub file: Option<(u64, u64)>,
    /// The peer's inode number, 0 for none.
    pub peer: u64,
    /// Bytes that wait to be read; of a listener: connections that wait.
    pub queued: usize,
    /// Bytes that wait at the peer; of a listener: how many connections may wait.
    pub backlog: usize,
    /// Halves that are shut down.
    pub shutdown: u8,
}

const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

impl UnixSocket {
    fn row(&self, ino: u64) -> Row {
        let (name, file, state, peer, pending) = {
            let state = self.state.lock();
            let file = match &state.name {
                Some(Name::Path { _inode: inode, .. }) => {
                    inode.attr().ok().map(|attr| (attr.ino, attr.dev))
                }
                _ => None,
            };
            let mut name = super::address::shown(state.name.as_ref()).split_off(2);
            if name.first().is_some_and(|byte| *byte != 0) && name.last() == Some(&0) {
                name.pop();
            }
            let (number, peer, pending) = match &state.link {
                Link::None => (CLOSE, None, None),
                Link::Peer(peer) => (ESTABLISHED, Some(peer.clone()), None),
                Link::Host(_) => (ESTABLISHED, None, None),
                Link::Listening {
                    backlog, pending, ..
                } => (LISTEN, None, Some((pending.len(), *backlog))),
            };
            (name, file, number, peer, pending)
        };
        let unread = |socket: &Self| socket.inbox.lock().bytes();
        let (queued, backlog) = pending.unwrap_or_else(|| {
            let there = peer.as_ref().map_or(0, |peer| unread(peer));
            (unread(self), there)
        });
        Row {
            ino,
            kind: self.kind.number() as u8,
            state,
            name,
            file,
            peer: peer.map_or(0, |peer| peer.ino.load(Ordering::Relaxed)),
            queued,
            backlog,
            shutdown: self.inbox.lock().shutdown,
        }
    }
}

/// All sockets of a namespace.
#[must_use]
pub fn rows(net: &NetNamespace) -> Vec<Row> {
    let all: Vec<(u64, Arc<UnixSocket>)> = {
        let table = net.objects.get::<Table>();
        let table = table.0.lock();
        table
            .iter()
            .filter_map(|(ino, socket)| Some((*ino, socket.upgrade()?)))
            .collect()
    };
    all.iter().map(|(ino, socket)| socket.row(*ino)).collect()
}

/// `/proc/net/unix`.
#[must_use]
pub fn text(net: &NetNamespace) -> String {
    /// __SO_ACCEPTCON.
    const ACCEPTS: u32 = 0x1_0000;
    const UNCONNECTED: u8 = 1;
    const CONNECTED: u8 = 3;
    let mut text = headers("unix").to_owned();
    for row in rows(net) {
        let (flags, state) = match row.state {
            LISTEN => (ACCEPTS, UNCONNECTED),
            ESTABLISHED => (0, CONNECTED),
            _ => (0, UNCONNECTED),
        };
        let references = if row.kind == Kind::Datagram.number() as u8 || row.state != ESTABLISHED {
            2
        } else {
            3
        };
        let _ = write!(
            text,
            "0000000000000000: {references:08X} 00000000 {flags:08X} {:04X} {state:02X} {:5}",
            row.kind, row.ino
        );
        if !row.name.is_empty() {
            // Abstract names begin with an @ in place of the NUL.
            let name = row.name.iter().map(|byte| match byte {
                0 => b'@',
                byte => *byte,
            });
            let name: Vec<u8> = name.collect();
            let _ = write!(text, " {}", String::from_utf8_lossy(&name));
        }
        text.push('\n');
    }
    text
}
