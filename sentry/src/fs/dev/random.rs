//! random and urandom (`random(4)`).

use std::any::Any;

use abi::UserOut;

use crate::error::{Errno, Result, SysResult};
use crate::task::CurrentTask;
use crate::task::creds::Cap;
use crate::vfs::{FileOps, IoCx, SeekFrom, Sink, Source};
use crate::wait::WaitQueue;

const RNDGETENTCNT: u32 = 0x8004_5200;
const RNDADDTOENTCNT: u32 = 0x4004_5201;
const RNDADDENTROPY: u32 = 0x4008_5203;
const RNDZAPENTCNT: u32 = 0x5204;
const RNDCLEARPOOL: u32 = 0x5206;
const RNDRESEEDCRNG: u32 = 0x5207;

/// What an initialised pool reports (`POOL_BITS`).
pub(crate) const ENTROPY_BITS: i32 = 256;

/// An open random device; always ready.
#[derive(Default)]
pub(super) struct Random {
    queue: WaitQueue,
}

impl FileOps for Random {
    fn read_at(&self, _cx: IoCx<'_>, _offset: u64, dst: &mut dyn Sink) -> SysResult<usize> {
        let mut done = 0;
        let mut buf = [0_u8; 4096];
        while dst.remaining() > 0 {
            let want = dst.remaining().min(buf.len());
            crate::host::random(&mut buf[..want]);
            match dst.put(&buf[..want]) {
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
        // Mixed into nothing: the host's pool needs no help from a guest, and Linux credits no entropy for writes either.
        Ok((src.remaining(), offset))
    }
    fn seekable(&self) -> bool {
        true
    }
    fn seek(&self, _from: SeekFrom) -> Result<u64> {
        Ok(0)
    }
    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn ioctl(&self, task: &CurrentTask, request: u32, arg: u64) -> SysResult<i64> {
        match request {
            RNDGETENTCNT => {
                task.memory()
                    .put(UserOut::<i32>::new(abi::UserAddr(arg)), &ENTROPY_BITS)?;
                Ok(0)
            }
            RNDADDTOENTCNT | RNDADDENTROPY | RNDZAPENTCNT | RNDCLEARPOOL | RNDRESEEDCRNG => {
                task.creds().require(Cap::SYS_ADMIN)?;
                // The pool is the host's.
                Err(Errno::EPERM.into())
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
