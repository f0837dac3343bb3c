//! A network for `do`: a veth pair, forwarding, and a masquerade rule in a table of its own. All of it is remembered in the state and removed at the end.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use serde::{Deserialize, Serialize};

use super::guard::nat;
use super::netlink::{Attributes, CREATE, Message, Netlink, attributes};
use super::{namespace, observe};
use crate::launch::process::ProcessId;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const AF_INET: u8 = 2;
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// Networks of four addresses, from the end of the range for carriers' own use (RFC 6598).
const POOL: u32 = u32::from_be_bytes([100, 127, 0, 0]);
const NETWORKS: u32 = 1 << 14;
const PREFIX: u8 = 30;

/// What was made on the host.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Link {
    /// Name of the host's end, and of the nft table.
    pub name: String,
    /// Forwarding was off before.
    pub was_not_forwarding: bool,
}

/// Number of an interface of the calling thread's namespace.
fn index(name: &str) -> Result<u32> {
    let mut found = None;
    Netlink::new(SockProtocol::NetlinkRoute)?.dump(GET_LINK, &[0; 16], |body| {
        let Some(head) = body.first_chunk::<16>() else {
            return;
        };
        let named = attributes(&body[16..])
            .any(|(kind, data)| kind == 3 && data.strip_suffix(b"\0") == Some(name.as_bytes()));
        if named {
            found = Some(u32::from_ne_bytes([head[4], head[5], head[6], head[7]]));
        }
    })?;
    found.with_context(|| format!("interface {name} is not there"))
}

fn set_up(netlink: &mut Netlink, index: u32) -> Result<()> {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    // IFF_UP, and that it is meant.
    body[8] = 1;
    body[12] = 1;
    netlink.request(Message::new(NEW_LINK, 0, &body))
}

fn add_address(netlink: &mut Netlink, index: u32, ip: Ipv4Addr) -> Result<()> {
    let mut body = [AF_INET, PREFIX, 0, 0, 0, 0, 0, 0];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let broadcast = Ipv4Addr::from(u32::from(ip) | 3);
    let message = Message::new(NEW_ADDRESS, CREATE, &body)
        .with(2, &ip.octets())
        .with(1, &ip.octets())
        .with(4, &broadcast.octets());
    netlink.request(message)
}

/// A network that nothing on this machine uses.
fn free_network(start: u32) -> Result<u32> {
    let setup = observe::setup()?;
    let taken = |network: u32| {
        let ip = Ipv4Addr::from(network + 1).into();
        let routed = setup
            .routes
            .iter()
            .any(|route| route.prefix > 0 && netstack::covers(route, ip));
        let own = setup.interfaces.iter().flat_map(|i| &i.addresses);
        routed || own.into_iter().any(|address| address.ip == ip)
    };
    (0..NETWORKS)
        .map(|step| POOL + (start.wrapping_add(step) % NETWORKS) * 4)
        .find(|network| !taken(*network))
        .context("every network of the range for sandboxes is in use")
}

/// Makes the pair: one end here, the other as `eth0` in the namespace of `proxy`, with addresses, a default route and translation.
pub fn make(proxy: ProcessId) -> Result<Link> {
    let Ok(pid) = u32::try_from(proxy.pid) else {
        bail!("the container has no process");
    };
    let inside = namespace::of_process(proxy.pid)?;
    let network = free_network(pid)?;
    let (ours, theirs) = (Ipv4Addr::from(network + 1), Ipv4Addr::from(network + 2));
    let name = format!("runsc{pid}");
    let mut netlink = Netlink::new(SockProtocol::NetlinkRoute)?;
    let fd = u32::try_from(inside.as_raw_fd())?;
    let peer = Attributes::default()
        .raw(&[0; 16])
        .with(3, b"eth0\0")
        .with(28, &fd.to_ne_bytes());
    let kind = Attributes::default()
        .with(1, b"veth")
        .nest(2, &Attributes::default().nest(1, &peer));
    let pair = Message::new(NEW_LINK, CREATE, &[0; 16])
        .with(3, format!("{name}\0").as_bytes())
        .nest(18, &kind);
    netlink
        .request(pair)
        .context("cannot make a veth pair (the host's kernel needs CONFIG_VETH)")?;
    let mut link = Link {
        name,
        was_not_forwarding: false,
    };
    let connected = connect(&mut link, &inside, network, ours, theirs);
    if connected.is_err() {
        let _ = link.remove();
    }
    connected.map(|()| link)
}

fn connect(
    link: &mut Link,
    inside: &fs::File,
    network: u32,
    ours: Ipv4Addr,
    theirs: Ipv4Addr,
) -> Result<()> {
    let mut netlink = Netlink::new(SockProtocol::NetlinkRoute)?;
    let here = index(&link.name)?;
    add_address(&mut netlink, here, ours)?;
    set_up(&mut netlink, here)?;
    namespace::within(inside, || {
        let mut netlink = Netlink::new(SockProtocol::NetlinkRoute)?;
        let there = index("eth0")?;
        add_address(&mut netlink, there, theirs)?;
        set_up(&mut netlink, there)?;
        set_up(&mut netlink, index("lo")?)?;
        // Main table, RTPROT_BOOT, unicast.
        let body = [AF_INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        let route = Message::new(NEW_ROUTE, CREATE, &body)
            .with(5, &ours.octets())
            .with(4, &there.to_ne_bytes());
        netlink.request(route)
    })
    .context("cannot set up the sandbox's end of the veth pair")?;
    nat(&link.name, network, network + 3)
        .context("cannot translate the sandbox's addresses (nftables)")?;
    let forwarding = fs::read_to_string(FORWARD).unwrap_or_default();
    if forwarding.trim() == "0" {
        fs::write(FORWARD, "1").context("cannot turn forwarding on")?;
        link.was_not_forwarding = true;
    }
    Ok(())
}

impl Link {
    /// Removes what is left of it.
    pub fn remove(&self) -> Result<()> {
        super::guard::remove_table_named(&self.name)?;
        let mut netlink = Netlink::new(SockProtocol::NetlinkRoute)?;
        let remove =
            Message::new(DELETE_LINK, 0, &[0; 16]).with(3, format!("{}\0", self.name).as_bytes());
        match netlink.request(remove) {
            // It goes with the namespace of its other end.
            Err(error) if error.downcast_ref() == Some(&Errno::ENODEV) => {}
            other => other.context("cannot remove the sandbox's veth pair")?,
        }
        if self.was_not_forwarding {
            fs::write(FORWARD, "0").context("cannot turn forwarding off again")?;
        }
        Ok(())
    }
}
