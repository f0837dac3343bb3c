//! Reading and writing another process's memory (`process_vm_readv(2)`).

use abi::Errno;

use super::check;
use crate::api::GUEST_TOP;

/// The kernel's limit on vectors of one call.
pub const IOV_MAX: usize = 1024;

fn transfer(
    pid: i32,
    local: libc::iovec,
    ranges: &[(u64, usize)],
    call: unsafe extern "C" fn(
        libc::pid_t,
        *const libc::iovec,
        libc::c_ulong,
        *const libc::iovec,
        libc::c_ulong,
        libc::c_ulong,
    ) -> isize,
) -> Result<usize, Errno> {
    let mut inline = [libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    }; 8];
    let heap: Vec<libc::iovec>;
    let foreign = |&(addr, len): &(u64, usize)| libc::iovec {
        iov_base: addr as *mut libc::c_void,
        iov_len: len,
    };
    let remote: &[libc::iovec] = if ranges.len() <= inline.len() {
        for (entry, range) in inline.iter_mut().zip(ranges) {
            *entry = foreign(range);
        }
        &inline[..ranges.len()]
    } else {
        heap = ranges.iter().map(foreign).collect();
        &heap
    };
    // SAFETY: `local` describes a live buffer of the caller; the remote vectors are only addresses to the kernel.
    let done = unsafe {
        call(
            pid,
            &raw const local,
            1,
            remote.as_ptr(),
            remote.len() as libc::c_ulong,
            0,
        )
    };
    check(done as libc::c_long).map(|count| count as usize)
}

/// Copies `ranges` of process `pid` (any thread id of it) into `buf`; short at the first unreadable page, `EFAULT` if nothing was readable.
/// At most [`IOV_MAX`] ranges.
pub fn read(pid: i32, ranges: &[(u64, usize)], buf: &mut [u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    transfer(pid, local, ranges, libc::process_vm_readv)
}

/// Copies `buf` to `ranges` of process `pid`; as [`read`].
pub fn write(pid: i32, ranges: &[(u64, usize)], buf: &[u8]) -> Result<usize, Errno> {
    let local = libc::iovec {
        iov_base: buf.as_ptr().cast_mut().cast(),
        iov_len: buf.len(),
    };
    transfer(pid, local, ranges, libc::process_vm_writev)
}

/// Cuts `ranges` to what may lie in guest memory and to `limit` bytes, hands them to `access` in batches, stops at the first short one.
pub(crate) fn vectored(
    ranges: &[(u64, usize)],
    limit: usize,
    mut access: impl FnMut(&[(u64, usize)], usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let mut batch = Vec::with_capacity(ranges.len().min(IOV_MAX));
    let (mut done, mut asked, mut cut) = (0_usize, 0_usize, false);
    let mut flush =
        |batch: &mut Vec<(u64, usize)>, done: &mut usize, asked: usize| -> Result<bool, Errno> {
            if batch.is_empty() {
                return Ok(true);
            }
            let start = *done;
            match access(batch, start) {
                Ok(count) => *done += count,
                Err(error) if start == 0 => return Err(error),
                Err(_) => return Ok(false),
            }
            batch.clear();
            Ok(*done == asked)
        };
    for &(addr, len) in ranges {
        let len = len.min(limit - asked);
        let room = usize::try_from(GUEST_TOP.saturating_sub(addr)).unwrap_or(usize::MAX);
        cut = len > room;
        let len = len.min(room);
        if len > 0 {
            batch.push((addr, len));
            asked += len;
        }
        if cut || asked == limit {
            break;
        }
        if batch.len() == IOV_MAX && !flush(&mut batch, &mut done, asked)? {
            return Ok(done);
        }
    }
    flush(&mut batch, &mut done, asked)?;
    if cut && done == 0 {
        Err(Errno::EFAULT)
    } else {
        Ok(done)
    }
}
