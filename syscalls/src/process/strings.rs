//! The argument and environment strings of `execve(2)`.
//!
//! They lie side by side in most programs, so a page's rest is fetched at once and serves what follows: two host calls a page, not two a string.
//! Every byte that counts is taken from one fetch.

use abi::UserAddr;
use sentry::error::{Errno, Result};
use sentry::loader::{MAX_ARG_LEN, MAX_ARGS_TOTAL};
use sentry::mm::UserMemory;

const PAGE: u64 = 4096;

/// What was fetched last of one stream of reads.
struct Window<'a> {
    memory: &'a UserMemory,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    const fn new(memory: &'a UserMemory) -> Self {
        Self {
            memory,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// The bytes from `addr` on as far as they are known, at least one: to the end of its page, or to where it becomes unreadable.
    fn at(&mut self, addr: u64) -> Result<&[u8]> {
        let known = addr
            .checked_sub(self.start)
            .is_some_and(|offset| offset < self.bytes.len() as u64);
        if !known {
            self.bytes.clear();
            self.bytes.resize((PAGE - addr % PAGE) as usize, 0);
            let read = self.memory.read_some(UserAddr(addr), &mut self.bytes);
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            self.start = addr;
            if read? == 0 {
                return Err(Errno::EFAULT);
            }
        }
        Ok(&self.bytes[(addr - self.start) as usize..])
    }

    fn word(&mut self, addr: u64) -> Result<u64> {
        let mut word = [0_u8; 8];
        let mut filled = 0;
        while filled < word.len() {
            let at = addr.checked_add(filled as u64).ok_or(Errno::EFAULT)?;
            let bytes = self.at(at)?;
            let n = bytes.len().min(word.len() - filled);
            word[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
        }
        Ok(u64::from_ne_bytes(word))
    }

    fn string(&mut self, mut addr: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < MAX_ARG_LEN {
            let bytes = self.at(addr)?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&bytes[..end]);
                if text.len() < MAX_ARG_LEN {
                    return Ok(text);
                }
                break;
            }
            text.extend_from_slice(bytes);
            addr = addr.checked_add(bytes.len() as u64).ok_or(Errno::EFAULT)?;
        }
        Err(Errno::E2BIG)
    }
}

/// A null-terminated array of strings; `E2BIG` beyond the limits, a null array is empty.
pub(super) fn read_strings(memory: &UserMemory, array: UserAddr) -> Result<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if array.is_null() {
        return Ok(strings);
    }
    let (mut pointers, mut texts) = (Window::new(memory), Window::new(memory));
    let mut total = 0_u64;
    let mut at = array.0;
    loop {
        let pointer = pointers.word(at)?;
        if pointer == 0 {
            return Ok(strings);
        }
        let string = texts.string(pointer)?;
        total += string.len() as u64 + 9;
        if total > MAX_ARGS_TOTAL {
            return Err(Errno::E2BIG);
        }
        strings.push(string);
        at = at.checked_add(8).ok_or(Errno::EFAULT)?;
    }
}
