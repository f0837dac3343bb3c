//! Where frames go to and come from: a packet socket of the host, or a test's emulated link.
//!
//! A frame is a virtio-net header ([`Header`], `linux/virtio_net.h`) and an Ethernet frame. With the header a frame may be larger than the MTU (the
//! device cuts it into segments) and may lack its checksum (the device completes it), in both directions.

/// Bytes of a virtio-net header.
pub const HEADER_LEN: usize = 10;
/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Largest frame with header: an IP packet of 64 KiB.
pub const FRAME_MAX: usize = HEADER_LEN + ETHERNET_LEN + 65_536;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Yes,
    /// The device has no room now; the frame is lost.
    Full,
    /// The device is gone or down.
    Gone,
}

/// See the module. Called under the stack's lock: it must not block.
pub trait Wire: Send + Sync {
    /// Sends a frame.
    fn send(&self, frame: &[u8]) -> Sent;
    /// Takes the next frame that has arrived and gives its length; `None`: nothing is there now.
    fn receive(&self, buf: &mut [u8]) -> Option<usize>;
}

/// The checksum is not complete: the rest of the packet has to be summed up from `start` on, into `start + offset`.
pub const NEEDS_CHECKSUM: u8 = 1;
/// The device has looked at the checksum.
pub const DATA_VALID: u8 = 2;
/// No segments to cut.
pub const GSO_NONE: u8 = 0;
/// Segments of TCP over IPv4.
pub const GSO_TCP4: u8 = 1;
/// Segments of TCP over IPv6.
pub const GSO_TCP6: u8 = 4;

/// The IP packet in a frame of ours, with its checksum completed as a device would; `None` if the frame is none of ours.
#[must_use]
pub fn completed(frame: &[u8]) -> Option<Vec<u8>> {
    let (header, ethernet) = Header::parse(frame)?;
    let mut packet = ethernet.get(ETHERNET_LEN..)?.to_vec();
    if header.flags & NEEDS_CHECKSUM != 0 {
        let start = usize::from(header.start).checked_sub(ETHERNET_LEN)?;
        let sum = crate::checksum::of(packet.get(start..)?);
        let at = start + usize::from(header.offset);
        packet
            .get_mut(at..at + 2)?
            .copy_from_slice(&sum.to_be_bytes());
    }
    Some(packet)
}

/// A virtio-net header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// [`NEEDS_CHECKSUM`], [`DATA_VALID`].
    pub flags: u8,
    /// `GSO_*`.
    pub gso: u8,
    /// Bytes of headers before the payload that is cut.
    pub header_len: u16,
    /// Bytes of payload of each segment.
    pub segment: u16,
    /// Where the checksum begins, from the start of the Ethernet frame.
    pub start: u16,
    /// Where it goes, from there.
    pub offset: u16,
}

impl Header {
    /// Reads it off a frame; `None` if the frame is too short.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = frame.split_at_checked(HEADER_LEN)?;
        let word = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        Some((
            Self {
                flags: head[0],
                gso: head[1],
                header_len: word(2),
                segment: word(4),
                start: word(6),
                offset: word(8),
            },
            rest,
        ))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso;
        bytes[2..4].copy_from_slice(&self.header_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.segment.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.offset.to_ne_bytes());
        bytes
    }
}
