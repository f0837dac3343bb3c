//! Typed access to guest memory. Everything is read once: take a copy, then decide.

use std::sync::Arc;

use abi::{UserAddr, UserIn, UserOut};
use platform::AddressSpace;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::error::{Errno, Result};
use crate::vfs::{Sink, Source};

/// A guest's memory, for one operation or many.
#[derive(Clone)]
pub struct UserMemory(Arc<dyn AddressSpace>);

/// One element of a guest's scatter/gather list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserRange {
    /// First byte.
    pub addr: UserAddr,
    /// Length in bytes.
    pub len: usize,
}

/// Most bytes that one read or write moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// Bytes copied at a time between host and guest.
const CHUNK: usize = 128 * 1024;
/// IOV_MAX.
pub const IOV_MAX: usize = 1024;

impl UserMemory {
    /// Of an address space.
    #[must_use]
    pub fn new(space: Arc<dyn AddressSpace>) -> Self {
        Self(space)
    }
    /// Reads exactly `buf.len()` bytes, else `EFAULT`.
    pub fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<()> {
        if self.0.read(addr.0, buf)? == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
    /// Writes all of `buf`, else `EFAULT` (a prefix may have been written, as in Linux).
    pub fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<()> {
        if self.0.write(addr.0, buf)? == buf.len() {
            Ok(())
        } else {
            Err(Errno::EFAULT)
        }
    }
    /// Reads as much as is readable of `buf.len()` bytes.
    pub fn read_some(&self, addr: UserAddr, buf: &mut [u8]) -> Result<usize> {
        self.0.read(addr.0, buf)
    }
    /// A structure, copied once.
    pub fn get<T: FromBytes + IntoBytes>(&self, at: UserIn<T>) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read(at.addr(), value.as_mut_bytes())?;
        Ok(value)
    }
    /// A structure, or `None` for a null pointer.
    pub fn get_opt<T: FromBytes + IntoBytes>(&self, at: UserIn<T>) -> Result<Option<T>> {
        if at.is_null() {
            Ok(None)
        } else {
            self.get(at).map(Some)
        }
    }
    /// Stores a structure.
    pub fn put<T: IntoBytes + Immutable>(&self, at: UserOut<T>, value: &T) -> Result<()> {
        self.write(at.addr(), value.as_bytes())
    }
    /// Stores a structure unless the pointer is null.
    pub fn put_opt<T: IntoBytes + Immutable>(&self, at: UserOut<T>, value: &T) -> Result<()> {
        if at.is_null() {
            Ok(())
        } else {
            self.put(at, value)
        }
    }
    /// `count` structures; the caller has bounded `count`.
    pub fn get_array<T: FromBytes + IntoBytes + Immutable + Clone>(
        &self,
        at: UserIn<T>,
        count: usize,
    ) -> Result<Vec<T>> {
        let mut values = vec![T::new_zeroed(); count];
        let bytes = values.as_mut_slice().as_mut_bytes();
        self.read(at.addr(), bytes)?;
        Ok(values)
    }
    /// A string up to its NUL, without it. `too_long` if there is none within `max` bytes.
    pub fn get_cstr(&self, at: UserAddr, max: usize, too_long: Errno) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut addr = at.0;
        while text.len() < max {
            // Never across a page boundary at once: the next page may be unreadable and the string end before it.
            let in_page = (4096 - (addr & 4095)) as usize;
            let mut chunk = [0_u8; 4096];
            let n = self.0.read(
                addr,
                &mut chunk[..in_page.min(256.max(in_page.min(max - text.len())))],
            )?;
            if let Some(end) = chunk[..n].iter().position(|b| *b == 0) {
                text.extend_from_slice(&chunk[..end]);
                return if text.len() < max {
                    Ok(text)
                } else {
                    Err(too_long)
                };
            }
            text.extend_from_slice(&chunk[..n]);
            addr = addr.checked_add(n as u64).ok_or(Errno::EFAULT)?;
        }
        Err(too_long)
    }
    /// A path name: `ENAMETOOLONG` from PATH_MAX on.
    pub fn get_path(&self, at: UserIn<u8>) -> Result<Vec<u8>> {
        self.get_cstr(at.addr(), abi::fs::PATH_MAX, Errno::ENAMETOOLONG)
    }
    /// An iovec array: `EINVAL` for too many or a negative or excessive length; the total is cut to MAX_RW_COUNT.
    pub fn get_iovecs(&self, at: UserAddr, count: usize) -> Result<Vec<UserRange>> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let raw: Vec<[u64; 2]> = self.get_array(UserIn::new(at), count)?;
        let mut total = 0_usize;
        let mut ranges = Vec::with_capacity(raw.len());
        for [addr, len] in raw {
            if i64::try_from(len).is_err() {
                return Err(Errno::EINVAL);
            }
            let len = (len as usize).min(MAX_RW_COUNT - total);
            total += len;
            ranges.push(UserRange {
                addr: UserAddr(addr),
                len,
            });
        }
        Ok(ranges)
    }
    /// A sink over one buffer.
    #[must_use]
    pub fn sink(&self, addr: UserAddr, len: usize) -> UserSink {
        self.sink_vec(vec![UserRange {
            addr,
            len: len.min(MAX_RW_COUNT),
        }])
    }
    /// A sink over several buffers.
    #[must_use]
    pub fn sink_vec(&self, ranges: Vec<UserRange>) -> UserSink {
        UserSink {
            memory: self.clone(),
            cursor: Cursor::new(ranges),
        }
    }
    /// A source over one buffer.
    #[must_use]
    pub fn source(&self, addr: UserAddr, len: usize) -> UserSource {
        self.source_vec(vec![UserRange {
            addr,
            len: len.min(MAX_RW_COUNT),
        }])
    }
    /// A source over several buffers.
    #[must_use]
    pub fn source_vec(&self, ranges: Vec<UserRange>) -> UserSource {
        UserSource {
            memory: self.clone(),
            cursor: Cursor::new(ranges),
        }
    }
}

struct Cursor {
    ranges: Vec<UserRange>,
    at: usize,
    skip: usize,
    remaining: usize,
}

impl Cursor {
    fn new(ranges: Vec<UserRange>) -> Self {
        let remaining = ranges.iter().map(|r| r.len).sum();
        Self {
            ranges,
            at: 0,
            skip: 0,
            remaining,
        }
    }
    /// The next piece of at most `limit` bytes.
    fn next(&mut self, limit: usize) -> Option<(u64, usize)> {
        while let Some(range) = self.ranges.get(self.at) {
            let left = range.len - self.skip;
            if left == 0 {
                self.at += 1;
                self.skip = 0;
                continue;
            }
            let addr = range.addr.0.wrapping_add(self.skip as u64);
            return (limit > 0).then(|| (addr, left.min(limit)));
        }
        None
    }
    /// Where it stands, and back there.
    const fn place(&self) -> (usize, usize, usize) {
        (self.at, self.skip, self.remaining)
    }
    const fn go_to(&mut self, (at, skip, remaining): (usize, usize, usize)) {
        self.at = at;
        self.skip = skip;
        self.remaining = remaining;
    }
    fn advance(&mut self, n: usize) {
        self.skip += n;
        self.remaining -= n;
    }
}

/// A [`Sink`] in guest memory.
pub struct UserSink {
    memory: UserMemory,
    cursor: Cursor,
}

impl Sink for UserSink {
    fn remaining(&self) -> usize {
        self.cursor.remaining
    }
    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut done = 0;
        while let Some((addr, len)) = self.cursor.next((bytes.len() - done).min(CHUNK)) {
            match self.memory.0.write(addr, &bytes[done..done + len]) {
                Ok(n) => {
                    done += n;
                    self.cursor.advance(n);
                    if n < len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }
}

/// A [`Source`] in guest memory.
pub struct UserSource {
    memory: UserMemory,
    cursor: Cursor,
}

impl Source for UserSource {
    fn remaining(&self) -> usize {
        self.cursor.remaining
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while let Some((addr, len)) = self.cursor.next((buf.len() - done).min(CHUNK)) {
            match self.memory.0.read(addr, &mut buf[done..done + len]) {
                Ok(n) => {
                    done += n;
                    self.cursor.advance(n);
                    if n < len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }
    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let place = self.cursor.place();
        let result = self.take(buf);
        self.cursor.go_to(place);
        result
    }
}
