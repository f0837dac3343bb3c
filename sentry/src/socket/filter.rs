//! Packet filters of sockets (`SO_ATTACH_FILTER`): classic BPF over what arrives (`socket(7)`, `net/core/filter.c`).
//!
//! - [`SocketFilter`]: one that was checked. [`Slot`]: what a socket has of it.
//!
//! Loads of the kernel's own values (offsets from `SKF_AD_OFF` on) and before the packet are refused with `EINVAL`.

use std::sync::Arc;

use abi::bpf::{SockFilter, SockFprog};
use abi::{UserAddr, UserIn};
use parking_lot::Mutex;
use zerocopy::FromBytes;

use super::options::int;
use crate::error::{Errno, Result};
use crate::task::CurrentTask;
use crate::task::seccomp::{MAX_INSTRUCTIONS, MEMORY_WORDS, alu, ends_and_is_initialised, valid};

/// SO_ATTACH_FILTER, SO_DETACH_FILTER.
pub const SO_ATTACH_FILTER: i32 = 26;
/// See [`SO_ATTACH_FILTER`].
pub const SO_DETACH_FILTER: i32 = 27;
/// The first offset that is no packet's (SKF_LL_OFF).
const NO_PACKET: u32 = -0x20_0000_i32 as u32;

const LD_WORD: u16 = 0x20;
const LD_HALF: u16 = 0x28;
const LD_BYTE: u16 = 0x30;
const LD_WORD_X: u16 = 0x40;
const LD_HALF_X: u16 = 0x48;
const LD_BYTE_X: u16 = 0x50;
/// Four times the low half of a byte: the length of a header of IPv4.
const LDX_HEADER: u16 = 0xb1;
const LD_LEN: u16 = 0x80;
const LDX_LEN: u16 = 0x81;

/// A packet: what precedes the bytes that the socket gets, and these.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Header that the filter sees and the guest does not.
    pub head: &'a [u8],
    /// What the guest gets.
    pub bytes: &'a [u8],
}

impl Seen<'_> {
    const fn len(&self) -> usize {
        self.head.len() + self.bytes.len()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        let behind = || self.bytes.get(at - self.head.len());
        self.head.get(at).or_else(behind).copied()
    }

    /// `size` bytes at `at`, in network order.
    fn load(&self, at: usize, size: usize) -> Option<u32> {
        (at..at.checked_add(size)?)
            .try_fold(0, |value, at| Some(value << 8 | u32::from(self.byte(at)?)))
    }
}

/// A valid filter.
#[derive(Debug)]
pub struct SocketFilter(Vec<SockFilter>);

impl SocketFilter {
    /// Checks a filter; `EINVAL` if it is no valid one.
    pub fn new(code: Vec<SockFilter>) -> Result<Self> {
        let known = |at: usize, i: &SockFilter| match i.code {
            LD_WORD | LD_HALF | LD_BYTE => i.k < NO_PACKET,
            LD_WORD_X | LD_HALF_X | LD_BYTE_X | LDX_HEADER => true,
            _ => valid(i, code.len() - at - 1),
        };
        let fits = !code.is_empty() && code.len() <= MAX_INSTRUCTIONS;
        let all = fits && code.iter().enumerate().all(|(at, i)| known(at, i));
        if all && ends_and_is_initialised(&code) {
            Ok(Self(code))
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// How many bytes of the packet are kept; 0: it is dropped, as it is when a load reaches beyond it.
    #[must_use]
    pub fn run(&self, seen: Seen<'_>) -> usize {
        self.verdict(seen).unwrap_or(0) as usize
    }

    fn verdict(&self, seen: Seen<'_>) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY_WORDS];
        let mut pc = 0;
        let len = u32::try_from(seen.len()).unwrap_or(u32::MAX);
        // Jumps only go forward, so this ends.
        while let Some(i) = self.0.get(pc) {
            pc += 1;
            let operand = if i.code & 8 != 0 { x } else { i.k };
            let indexed = |x: u32| Some(x.wrapping_add(i.k)).filter(|at| *at < NO_PACKET);
            match i.code {
                LD_WORD => a = seen.load(i.k as usize, 4)?,
                LD_HALF => a = seen.load(i.k as usize, 2)?,
                LD_BYTE => a = seen.load(i.k as usize, 1)?,
                LD_WORD_X => a = seen.load(indexed(x)? as usize, 4)?,
                LD_HALF_X => a = seen.load(indexed(x)? as usize, 2)?,
                LD_BYTE_X => a = seen.load(indexed(x)? as usize, 1)?,
                LDX_HEADER => x = (seen.load(i.k as usize, 1)? & 0xf) << 2,
                LD_LEN => a = len,
                LDX_LEN => x = len,
                0x00 => a = i.k,
                0x01 => x = i.k,
                0x60 => a = memory[i.k as usize % MEMORY_WORDS],
                0x61 => x = memory[i.k as usize % MEMORY_WORDS],
                0x02 => memory[i.k as usize % MEMORY_WORDS] = a,
                0x03 => memory[i.k as usize % MEMORY_WORDS] = x,
                0x07 => x = a,
                0x87 => a = x,
                0x06 => return Some(i.k),
                0x16 => return Some(a),
                0x05 => pc += i.k as usize,
                0x84 => a = a.wrapping_neg(),
                code if code & 7 == 5 => {
                    let taken = match code & 0xf0 {
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    pc += usize::from(if taken { i.jt } else { i.jf });
                }
                // Division by a zero in X drops the packet.
                code => a = alu(code & 0xf0, a, operand)?,
            }
        }
        None
    }
}

/// A socket's filter, if it has one, and whether it is locked (`SO_LOCK_FILTER`).
#[derive(Debug, Default)]
pub struct Slot(Mutex<(Option<Arc<SocketFilter>>, bool)>);

impl Slot {
    /// The filter.
    #[must_use]
    pub fn get(&self) -> Option<Arc<SocketFilter>> {
        self.0.lock().0.clone()
    }

    /// SO_LOCK_FILTER's value.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.lock().1
    }

    /// SO_LOCK_FILTER: `EPERM` to unlock.
    pub fn lock(&self, value: &[u8]) -> Result<()> {
        let on = int(value)? != 0;
        let mut slot = self.0.lock();
        if slot.1 && !on {
            return Err(Errno::EPERM);
        }
        slot.1 = on;
        Ok(())
    }

    /// SO_DETACH_FILTER: `ENOENT` without one, `EPERM` if it is locked.
    pub fn detach(&self, value: &[u8]) -> Result<()> {
        int(value)?;
        let mut slot = self.0.lock();
        if slot.1 {
            return Err(Errno::EPERM);
        }
        slot.0.take().map(drop).ok_or(Errno::ENOENT)
    }

    /// SO_ATTACH_FILTER: `value` is a `struct sock_fprog`.
    pub fn attach(&self, task: &CurrentTask, value: &[u8]) -> Result<()> {
        if value.len() != size_of::<SockFprog>() {
            return Err(Errno::EINVAL);
        }
        let program = SockFprog::read_from_bytes(value).map_err(|_| Errno::EINVAL)?;
        if self.is_locked() {
            return Err(Errno::EPERM);
        }
        let len = usize::from(program.len);
        if program.filter == 0 || len == 0 || len > MAX_INSTRUCTIONS {
            return Err(Errno::EINVAL);
        }
        let at = UserIn::new(UserAddr(program.filter));
        let filter = SocketFilter::new(task.memory().get_array(at, len)?)?;
        let mut slot = self.0.lock();
        if slot.1 {
            return Err(Errno::EPERM);
        }
        slot.0 = Some(Arc::new(filter));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn op(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    #[test]
    fn packets_are_kept_cut_or_dropped() {
        // Keeps nine bytes if the first one behind the header is 'x'.
        let filter = SocketFilter::new(vec![
            op(LD_BYTE, 0, 0, 8),
            op(0x15, 0, 1, u32::from(b'x')),
            op(0x06, 0, 0, 9),
            op(0x06, 0, 0, 0),
        ])
        .unwrap();
        let run = |bytes| {
            filter.run(Seen {
                head: &[0; 8],
                bytes,
            })
        };
        assert_eq!((run(b"xyz"), run(b"abc"), run(b"")), (9, 0, 0));
    }

    #[test]
    fn loads_beyond_the_packet_drop_it_and_the_kernels_values_are_refused() {
        let code = |load, k| vec![op(load, 0, 0, k), op(0x16, 0, 0, 0)];
        let far = SocketFilter::new(code(LD_WORD, NO_PACKET - 1)).unwrap();
        let seen = Seen {
            head: &[],
            bytes: &[1, 2, 3, 4],
        };
        assert_eq!(far.run(seen), 0);
        let word = SocketFilter::new(code(LD_WORD, 0)).unwrap();
        assert_eq!(word.run(seen), 0x0102_0304);
        for k in [NO_PACKET, -0x1000_i32 as u32, u32::MAX] {
            assert!(SocketFilter::new(code(LD_WORD, k)).is_err());
        }
        let indexed = |x| {
            let code = vec![op(0x01, 0, 0, x), op(LD_BYTE_X, 0, 0, 1), op(0x16, 0, 0, 0)];
            SocketFilter::new(code).unwrap().run(seen)
        };
        assert_eq!((indexed(2), indexed(3), indexed(u32::MAX)), (4, 0, 1));
    }
}
