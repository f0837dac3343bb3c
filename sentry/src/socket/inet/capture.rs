//! A capture of all frames (`--pcap`), in the format of pcap-savefile(5).
//!
//! What is captured is what crosses the link: large segments before the device has cut them, checksums before it has completed them. A write that fails
//! (a full disk) ends the capture, not the network.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use netstack::Stack;

use crate::host;

/// Times are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
/// Longer than any frame.
const SNAP_LEN: u32 = 262_144;
const LINKTYPE_ETHERNET: u32 = 1;

/// The file's header.
fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_ne_bytes().to_vec();
    bytes.extend(VERSION.map(u16::to_ne_bytes).concat());
    // Times are UTC, of the accuracy of the format.
    bytes.extend([0; 8]);
    bytes.extend(SNAP_LEN.to_ne_bytes());
    bytes.extend(LINKTYPE_ETHERNET.to_ne_bytes());
    bytes
}

/// A frame with its header.
fn record(now: std::time::Duration, frame: &[u8]) -> Vec<u8> {
    let len = u32::try_from(frame.len()).unwrap_or(SNAP_LEN).min(SNAP_LEN);
    let mut bytes = Vec::with_capacity(16 + frame.len());
    for word in [now.as_secs() as u32, now.subsec_nanos(), len, len] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(&frame[..len as usize]);
    bytes
}

fn put(file: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match host::write(file, bytes) {
            Ok(count) if count > 0 => bytes = bytes.get(count..).unwrap_or_default(),
            _ => return false,
        }
    }
    true
}

/// Captures from now on.
pub(super) fn start(stack: &Stack, file: Arc<OwnedFd>) {
    let goes_on = AtomicBool::new(put(&file, &header()));
    stack.set_tap(Box::new(move |_out, frame| {
        if goes_on.load(Ordering::Relaxed) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let whole = put(&file, &record(now.unwrap_or_default(), frame));
            goes_on.store(whole, Ordering::Relaxed);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_their_sizes() {
        assert_eq!(header().len(), 24);
        let record = record(std::time::Duration::new(1, 2), b"frame");
        assert_eq!(record.len(), 16 + 5);
        assert_eq!(record[8..12], 5_u32.to_ne_bytes());
        assert_eq!(&record[16..], b"frame");
    }
}
