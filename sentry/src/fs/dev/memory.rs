//! null, zero and full (`drivers/char/mem.c`).

use std::any::Any;
use std::sync::Arc;

use crate::error::{Errno, Result, SysResult};
use crate::vfs::{FileOps, IoCx, Mappable, Sink, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    Null,
    Zero,
    Full,
}

/// Minor numbers of major 1.
pub(super) const DEVICES: [(u32, Device); 3] =
    [(3, Device::Null), (5, Device::Zero), (7, Device::Full)];

pub(super) fn open(device: Device) -> Box<dyn FileOps> {
    Box::new(MemoryDevice(device))
}

struct MemoryDevice(Device);

static ZEROES: [u8; 65_536] = [0; 65_536];

impl FileOps for MemoryDevice {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        if self.0 == Device::Null {
            return Ok(0);
        }
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(ZEROES.len());
            match dst.put(&ZEROES[..want]) {
                Ok(n) => {
                    done += n;
                    if n < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }
    fn write_at(
        &self,
        _cx: IoCx<'_>,
        offset: u64,
        src: &mut dyn Source,
    ) -> SysResult<(usize, u64)> {
        if self.0 == Device::Full {
            return Err(Errno::ENOSPC.into());
        }
        // The bytes are not even looked at.
        Ok((src.remaining(), offset))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn ignores_seeks(&self) -> bool {
        // `null_lseek`: always at 0.
        true
    }
    fn as_mappable(&self) -> Option<&dyn Mappable> {
        (self.0 == Device::Zero).then_some(self as &dyn Mappable)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Mappable for MemoryDevice {
    fn map(&self, offset: u64, len: u64, write: bool) -> Result<platform::MapSource> {
        if !write {
            return Ok(platform::MapSource::Anonymous);
        }
        // Shared and writable: memory of its own that forks share (shmem_zero_setup).
        let file = crate::host::memfd(c"dev-zero")?;
        crate::host::ftruncate(&file, offset.checked_add(len).ok_or(Errno::EINVAL)?)?;
        Ok(platform::MapSource::File {
            file: Arc::new(file),
            offset,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{KernelSink, KernelSource};

    const CX: IoCx<'static> = IoCx {
        task: None,
        flags: 0,
        opener: None,
    };

    #[test]
    fn reads_and_writes_as_linux() {
        let (null, zero, full) = (open(Device::Null), open(Device::Zero), open(Device::Full));
        let mut sink = KernelSink::new(100_000);
        assert_eq!(null.read_at(CX, 0, &mut sink), Ok(0));
        assert_eq!(zero.read_at(CX, 0, &mut sink), Ok(100_000));
        assert!(sink.into_bytes().iter().all(|b| *b == 0));
        assert_eq!(null.write_at(CX, 0, &mut KernelSource(b"abc")), Ok((3, 0)));
        assert_eq!(
            full.write_at(CX, 0, &mut KernelSource(b"abc")),
            Err(Errno::ENOSPC.into())
        );
    }
}
