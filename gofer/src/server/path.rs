//! Names and descriptors as paths: what is checked before the host sees a name, and how a descriptor is named to it.

#![forbid(unsafe_code)]

use crate::protocol::NAME_MAX;
use abi::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// nix's error as ours.
pub(super) fn errno(error: nix::Error) -> Errno {
    Errno::from_raw(error as i32)
}

/// Accepts a single component that names something *in* a directory.
pub(super) fn check_name(name: &[u8]) -> Result<&[u8], Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0)
    {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}

/// Opens one component beneath `parent`, never following a symbolic link, not even a magic one of proc.
pub(super) fn open_beneath(
    parent: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .mode(nix::sys::stat::Mode::from_bits_truncate(mode))
        .resolve(
            ResolveFlag::RESOLVE_BENEATH
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
    openat2(parent, check_name(name)?, how).map_err(errno)
}

/// A descriptor's name in `/proc/self/fd`, which is the working directory of every channel thread: the host follows it
/// to exactly what the descriptor refers to, be it a symbolic link.
#[derive(Clone, Copy, Debug)]
pub(super) struct FdPath {
    text: [u8; 12],
}

impl FdPath {
    pub(super) fn of(fd: BorrowedFd<'_>) -> Self {
        let mut text = [0; 12];
        // Descriptors are 0..=i32::MAX: ten digits at most, and the NUL stays.
        let mut value = fd.as_raw_fd().unsigned_abs();
        let mut digits = [0; 10];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
            count += 1;
            if value == 0 {
                break;
            }
        }
        for (to, digit) in text.iter_mut().zip(digits.iter().take(count).rev()) {
            *to = *digit;
        }
        Self { text }
    }

    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.text).unwrap_or(c"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b"] {
            assert_eq!(check_name(bad), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(check_name(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
        assert_eq!(check_name(b"...\xff\n"), Ok(&b"...\xff\n"[..]));
    }

    #[test]
    fn descriptors_are_named_by_their_decimal_number() {
        let file = std::fs::File::open("/").unwrap();
        let fd = std::os::fd::AsFd::as_fd(&file);
        assert_eq!(
            FdPath::of(fd).as_cstr().to_str().unwrap(),
            fd.as_raw_fd().to_string()
        );
    }
}
