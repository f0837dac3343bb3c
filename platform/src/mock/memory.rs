//! Guest memory as a table of pages in this process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE};
use parking_lot::Mutex;

use crate::api::{AddressSpace, GUEST_BOTTOM, GUEST_TOP, HostCall, MapSource, Usage, Vdso};

const PAGE: usize = PAGE_SIZE as usize;
const READ: u32 = 1;
const WRITE: u32 = 2;

/// One page: where its bytes are and what may be done with them.
#[derive(Clone)]
struct Page {
    bytes: Bytes,
    prot: u32,
}

#[derive(Clone)]
enum Bytes {
    Private(Box<[u8; PAGE]>),
    /// Shared between forks.
    Shared(Arc<Mutex<Box<[u8; PAGE]>>>),
    /// MAP_SHARED of a file, at this offset.
    File(Arc<OwnedFd>, u64),
}

fn zeroes() -> Box<[u8; PAGE]> {
    Box::new([0; PAGE])
}

fn read_file(file: &OwnedFd, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
    let file = std::fs::File::from(file.try_clone()?);
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(())
}

impl Page {
    fn read(&self, at: usize, buf: &mut [u8]) -> Result<(), Errno> {
        if self.prot & READ == 0 {
            return Err(Errno::EFAULT);
        }
        match &self.bytes {
            Bytes::Private(bytes) => buf.copy_from_slice(&bytes[at..at + buf.len()]),
            Bytes::Shared(bytes) => buf.copy_from_slice(&bytes.lock()[at..at + buf.len()]),
            Bytes::File(file, offset) => {
                buf.fill(0);
                read_file(file, offset + at as u64, buf).map_err(|_| Errno::EFAULT)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, at: usize, buf: &[u8]) -> Result<(), Errno> {
        if self.prot & WRITE == 0 {
            return Err(Errno::EFAULT);
        }
        match &mut self.bytes {
            Bytes::Private(bytes) => bytes[at..at + buf.len()].copy_from_slice(buf),
            Bytes::Shared(bytes) => bytes.lock()[at..at + buf.len()].copy_from_slice(buf),
            Bytes::File(file, offset) => {
                let file = std::fs::File::from(file.try_clone()?);
                file.write_all_at(buf, *offset + at as u64)
                    .map_err(|_| Errno::EFAULT)?;
            }
        }
        Ok(())
    }
}

/// See the module.
#[derive(Default)]
pub struct Memory {
    pages: Mutex<BTreeMap<u64, Page>>,
}

fn pages_of(addr: u64, len: u64) -> Result<std::ops::Range<u64>, Errno> {
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    let fits = (addr | len).is_multiple_of(PAGE_SIZE) && len > 0 && addr >= GUEST_BOTTOM;
    if fits && end <= GUEST_TOP {
        Ok(addr / PAGE_SIZE..end / PAGE_SIZE)
    } else {
        Err(Errno::EINVAL)
    }
}

impl Memory {
    /// A copy as `fork` makes it.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            pages: Mutex::new(self.pages.lock().clone()),
        }
    }

    /// Executes one ordered call as the host would.
    pub fn execute(&self, call: &HostCall) -> Result<u64, Errno> {
        let mut pages = self.pages.lock();
        match call {
            HostCall::Map {
                addr,
                len,
                prot,
                shared,
                replace,
                source,
                ..
            } => {
                let range = pages_of(*addr, *len)?;
                if !replace && pages.range(range.clone()).next().is_some() {
                    return Err(Errno::EEXIST);
                }
                let prot = if prot & WRITE != 0 {
                    prot | READ
                } else {
                    *prot
                };
                for (index, number) in range.enumerate() {
                    let bytes = match source {
                        MapSource::Anonymous if *shared => {
                            Bytes::Shared(Arc::new(Mutex::new(zeroes())))
                        }
                        MapSource::Anonymous => Bytes::Private(zeroes()),
                        MapSource::File { file, offset } => {
                            let offset = offset + index as u64 * PAGE_SIZE;
                            if *shared {
                                Bytes::File(Arc::clone(file), offset)
                            } else {
                                let mut bytes = zeroes();
                                read_file(file, offset, &mut bytes[..])?;
                                Bytes::Private(bytes)
                            }
                        }
                    };
                    pages.insert(number, Page { bytes, prot });
                }
                Ok(*addr)
            }
            HostCall::Unmap { addr, len } => {
                let range = pages_of(*addr, *len)?;
                pages.retain(|number, _| !range.contains(number));
                Ok(0)
            }
            HostCall::Protect { addr, len, prot } => {
                let range = pages_of(*addr, *len)?;
                let prot = if prot & WRITE != 0 {
                    prot | READ
                } else {
                    *prot
                };
                for number in range {
                    pages.get_mut(&number).ok_or(Errno::ENOMEM)?.prot = prot;
                }
                Ok(0)
            }
            HostCall::Remap {
                addr,
                old_len,
                new_len,
                new_addr,
                keep_old,
            } => {
                let (old, new) = (pages_of(*addr, *old_len)?, pages_of(*new_addr, *new_len)?);
                let prot = pages.get(&old.start).ok_or(Errno::EFAULT)?.prot;
                let moved: Vec<_> = old
                    .filter_map(|number| pages.remove(&number).map(|page| (number, page)))
                    .collect();
                if *keep_old {
                    for (number, page) in &moved {
                        pages.insert(
                            *number,
                            Page {
                                bytes: Bytes::Private(zeroes()),
                                prot: page.prot,
                            },
                        );
                    }
                }
                for number in new.clone() {
                    pages.insert(
                        number,
                        Page {
                            bytes: Bytes::Private(zeroes()),
                            prot,
                        },
                    );
                }
                for (number, page) in moved {
                    let target = number - addr / PAGE_SIZE + new.start;
                    if new.contains(&target) {
                        pages.insert(target, page);
                    }
                }
                Ok(*new_addr)
            }
            HostCall::Advise { addr, len, advice } => {
                let range = pages_of(*addr, *len)?;
                // MADV_DONTNEED; the rest are hints.
                if *advice == 4 {
                    for (_, page) in pages.range_mut(range) {
                        if let Bytes::Private(bytes) = &mut page.bytes {
                            *bytes = zeroes();
                        }
                    }
                }
                Ok(0)
            }
            HostCall::SetBits { at, bit } => {
                let page = pages.get_mut(&(*at / PAGE_SIZE)).ok_or(Errno::EFAULT)?;
                let offset = (*at % PAGE_SIZE) as usize;
                let mut word = [0; 4];
                page.read(offset, &mut word)?;
                page.write(offset, &(u32::from_ne_bytes(word) | bit).to_ne_bytes())?;
                Ok(0)
            }
            HostCall::Residency { .. }
            | HostCall::Pin { .. }
            | HostCall::Unpin { .. }
            | HostCall::Barrier { .. }
            | HostCall::Sequences { .. }
            | HostCall::Usage { .. }
            | HostCall::ThreadClock { .. }
            | HostCall::SetFsBase(_)
            | HostCall::SetGsBase(_)
            | HostCall::SetName { .. }
            | HostCall::SetLayout { .. } => Ok(0),
        }
    }

    /// Applies `access` page by page to `len` bytes from `addr` on: how many it took.
    fn by_page(
        &self,
        addr: u64,
        len: usize,
        mut access: impl FnMut(&mut Page, usize, std::ops::Range<usize>) -> Result<(), Errno>,
    ) -> Result<usize, Errno> {
        let mut pages = self.pages.lock();
        let mut done = 0;
        while done < len {
            let Some(here) = addr
                .checked_add(done as u64)
                .filter(|&here| here < GUEST_TOP)
            else {
                break;
            };
            let at = (here % PAGE_SIZE) as usize;
            let count = (PAGE - at).min(len - done);
            let Some(page) = pages.get_mut(&(here / PAGE_SIZE)) else {
                break;
            };
            if access(page, at, done..done + count).is_err() {
                break;
            }
            done += count;
        }
        if done == 0 && len > 0 {
            Err(Errno::EFAULT)
        } else {
            Ok(done)
        }
    }

    fn vectored(
        &self,
        ranges: &[(u64, usize)],
        limit: usize,
        mut one: impl FnMut(u64, std::ops::Range<usize>) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        for &(addr, len) in ranges {
            let len = len.min(limit - done);
            match one(addr, done..done + len) {
                Ok(count) if count == len => done += count,
                Ok(count) => return Ok(done + count),
                Err(error) => return if done == 0 { Err(error) } else { Ok(done) },
            }
        }
        Ok(done)
    }
}

impl AddressSpace for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        self.by_page(addr, buf.len(), |page, at, range| {
            page.read(at, &mut buf[range])
        })
    }

    fn write(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno> {
        self.by_page(addr, buf.len(), |page, at, range| {
            page.write(at, &buf[range])
        })
    }

    fn read_vectored(&self, ranges: &[(u64, usize)], buf: &mut [u8]) -> Result<usize, Errno> {
        self.vectored(ranges, buf.len(), |addr, range| {
            self.read(addr, &mut buf[range])
        })
    }

    fn write_vectored(&self, ranges: &[(u64, usize)], buf: &[u8]) -> Result<usize, Errno> {
        self.vectored(ranges, buf.len(), |addr, range| {
            self.write(addr, &buf[range])
        })
    }

    fn vdso(&self) -> Vdso {
        Vdso::default()
    }

    fn host_pid(&self) -> i32 {
        0
    }

    fn usage(&self) -> Usage {
        Usage {
            resident: self.pages.lock().len() as u64 * PAGE_SIZE,
            ..Usage::default()
        }
    }
}
