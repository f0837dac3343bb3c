//! Bulk data: where bytes go to and come from, guest memory or the kernel's own.

use crate::error::{Errno, Result};

/// Takes the bytes that a read produces.
pub trait Sink {
    /// How many bytes more it takes.
    fn remaining(&self) -> usize;
    /// Takes a prefix of `bytes`, at most [`Sink::remaining`]; short if the guest's memory ends, `EFAULT` if not even one byte could be stored.
    fn put(&mut self, bytes: &[u8]) -> Result<usize>;
}

/// Gives the bytes that a write consumes. Each byte is read from the guest once.
pub trait Source {
    /// How many bytes are left.
    fn remaining(&self) -> usize;
    /// Fills a prefix of `buf`, at most [`Source::remaining`]; short if the guest's memory ends, `EFAULT` if not even one byte could be read.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// As [`Source::take`], but the bytes stay: for operations that must see them to know whether they have to wait. They may differ when they are
    /// taken later: go by what was seen here.
    fn peek(&mut self, buf: &mut [u8]) -> Result<usize>;
    /// The next bytes as a vector of at most `limit`.
    fn take_vec(&mut self, limit: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; limit.min(self.remaining())];
        let n = self.take(&mut buf)?;
        buf.truncate(n);
        Ok(buf)
    }
}

/// A [`Sink`] in the kernel's memory.
#[derive(Debug)]
pub struct KernelSink {
    bytes: Vec<u8>,
    limit: usize,
}

impl KernelSink {
    /// Takes at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }
    /// What it took.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Sink for KernelSink {
    fn remaining(&self) -> usize {
        self.limit - self.bytes.len()
    }
    fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let n = bytes.len().min(self.remaining());
        self.bytes.extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

/// A [`Source`] in the kernel's memory.
#[derive(Debug)]
pub struct KernelSource<'a>(pub &'a [u8]);

impl Source for KernelSource<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }
    fn take(&mut self, buf: &mut [u8]) -> Result<usize> {
        let n = buf.len().min(self.0.len());
        if n == 0 && !buf.is_empty() {
            return Err(Errno::EFAULT);
        }
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
    fn peek(&mut self, buf: &mut [u8]) -> Result<usize> {
        let all = self.0;
        let result = self.take(buf);
        self.0 = all;
        result
    }
}
