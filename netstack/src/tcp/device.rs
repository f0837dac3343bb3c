//! What smoltcp takes for a network device: one segment in at most, segments out straight to [`Net`].

use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, PacketMeta, RxToken,
    TxToken,
};
use smoltcp::time::Instant;

use crate::net::Net;
use crate::packet;
use crate::route::Hop;

/// Largest IP packet handed to the device to be cut.
const LARGEST: usize = 65_535;

/// Sequence and acknowledgement number of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) seq: u32,
    pub(super) ack: u32,
}

/// See the module.
pub(super) struct Tap<'a> {
    pub(super) net: &'a mut Net,
    pub(super) mtu: usize,
    /// The way to the peer.
    pub(super) hop: Hop,
    /// Bytes of the IP header.
    pub(super) head: usize,
    pub(super) incoming: Option<&'a [u8]>,
    /// Of the last segment sent.
    pub(super) last: Numbers,
    /// Segments sent.
    pub(super) sent: u64,
    /// Bytes of payload sent.
    pub(super) bytes: u64,
}

pub(super) struct In<'a>(&'a [u8]);

impl RxToken for In<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Out<'a, 'b> {
    tap: &'a mut Tap<'b>,
    meta: PacketMeta,
}

impl TxToken for Out<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let segment = self.meta.segmentation_offload_size.map(|size| size.get());
        let Tap {
            net,
            hop,
            head,
            last,
            bytes,
            sent,
            ..
        } = self.tap;
        let head = *head;
        net.counters.tcp_out_segments += 1;
        *sent += 1;
        net.send(hop, len, |into| {
            let result = f(into);
            let word = |at: usize| {
                into.get(at..at + 4)
                    .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
                    .map_or(0, u32::from_be_bytes)
            };
            last.seq = word(head + 4);
            last.ack = word(head + 8);
            let tcp = into
                .get(head + 12)
                .map_or(0, |byte| usize::from(byte >> 4) * 4);
            *bytes += len.saturating_sub(head + tcp) as u64;
            (result, Net::offload(into, segment))
        })
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.meta = meta;
    }
}

impl<'b> Device for Tap<'b> {
    type RxToken<'a>
        = In<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Out<'a, 'b>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(In<'_>, Out<'_, 'b>)> {
        let incoming = self.incoming.take()?;
        let meta = PacketMeta::default();
        Some((In(incoming), Out { tap: self, meta }))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Out<'_, 'b>> {
        let meta = PacketMeta::default();
        Some(Out { tap: self, meta })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

/// A device for [`smoltcp::iface::Interface::new`], which only asks for its capabilities.
pub(super) struct Blank(pub(super) usize);

pub(super) struct Nothing;

impl RxToken for Nothing {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&[])
    }
}

impl TxToken for Nothing {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut vec![0; len])
    }
}

impl Device for Blank {
    type RxToken<'a> = Nothing;
    type TxToken<'a> = Nothing;
    fn receive(&mut self, _now: Instant) -> Option<(Nothing, Nothing)> {
        None
    }
    fn transmit(&mut self, _now: Instant) -> Option<Nothing> {
        None
    }
    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.0)
    }
}

/// Checksums were looked at before, and are completed after: the IPv4 header's alone is smoltcp's to write.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = checksum;
    // smoltcp drops what is too long for IPv6.
    capabilities.segmentation.tcpv4 = std::num::NonZeroUsize::new(LARGEST);
    capabilities
}

/// Bytes of the IP header of packets between these families.
pub(super) const fn head(to: std::net::IpAddr) -> usize {
    packet::header_len(to)
}
