//! FUTEX_WAKE_OP: changes one word, wakes waiters of another and, depending on the old value, of the first.

use std::sync::Arc;

use abi::{UserAddr, UserIn, UserOut};

use super::key::key_of;
use super::table::wake_two;
use crate::error::{Errno, Result};
use crate::mm::MemoryMap;

/// The encoded operation (`futex(2)`, FUTEX_WAKE_OP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operation {
    op: u32,
    cmp: u32,
    op_arg: u32,
    cmp_arg: i32,
}

impl Operation {
    /// `ENOSYS` for an unknown operation or comparison, as Linux.
    fn decode(raw: u32) -> Result<Self> {
        const SHIFT: u32 = 8;
        let sign_extend = |field: u32| ((field << 20) as i32) >> 20;
        let op = raw >> 28 & 0xf;
        let cmp = raw >> 24 & 0xf;
        let mut op_arg = sign_extend(raw >> 12 & 0xfff) as u32;
        if op & SHIFT != 0 {
            op_arg = 1 << (op_arg & 31);
        }
        if op & !SHIFT > 4 || cmp > 5 {
            return Err(Errno::ENOSYS);
        }
        Ok(Self {
            op: op & !SHIFT,
            cmp,
            op_arg,
            cmp_arg: sign_extend(raw & 0xfff),
        })
    }
    const fn apply(&self, old: u32) -> u32 {
        match self.op {
            0 => self.op_arg,
            1 => old.wrapping_add(self.op_arg),
            2 => old | self.op_arg,
            3 => old & !self.op_arg,
            _ => old ^ self.op_arg,
        }
    }
    const fn compare(&self, old: u32) -> bool {
        let old = old as i32;
        match self.cmp {
            0 => old == self.cmp_arg,
            1 => old != self.cmp_arg,
            2 => old < self.cmp_arg,
            3 => old <= self.cmp_arg,
            4 => old > self.cmp_arg,
            _ => old >= self.cmp_arg,
        }
    }
}

/// Changes the word at `second`, wakes up to `count` waiters of `first` and up to `second_count` of `second` if the old value compares so.
///
/// The change is atomic towards other futex calls, but not towards instructions of the guest.
pub fn wake_op(
    map: &Arc<MemoryMap>,
    shared: bool,
    first: u64,
    second: u64,
    count: usize,
    second_count: usize,
    raw: u32,
) -> Result<usize> {
    let first_key = key_of(map, first, shared)?;
    let second_key = key_of(map, second, shared)?;
    let operation = Operation::decode(raw)?;
    let memory = map.memory();
    wake_two(first_key, second_key, count, second_count, || {
        let old: u32 = memory.get(UserIn::new(UserAddr(second)))?;
        memory.put(UserOut::new(UserAddr(second)), &operation.apply(old))?;
        Ok(operation.compare(old))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_signed_and_shifts_make_bits() {
        let add = Operation::decode(1 << 28 | 2 << 24 | 0xfff << 12 | 0xffe).unwrap();
        assert_eq!(add.apply(5), 4);
        assert!(add.compare(-3_i32 as u32));
        assert!(!add.compare(0));
        let or = Operation::decode((2 | 8) << 28 | 31 << 12).unwrap();
        assert_eq!(or.apply(1), 0x8000_0001);
    }

    #[test]
    fn unknown_operations_are_refused() {
        assert_eq!(Operation::decode(5 << 28), Err(Errno::ENOSYS));
        assert_eq!(Operation::decode(6 << 24), Err(Errno::ENOSYS));
    }
}
