//! Memory files: the sealed copy of this program, configurations for children, scratch output.
//!
//! Long-lived processes run from a sealed copy so that nothing that a container could reach (`/proc/PID/exe` of a helper) is the installed
//! binary, and so that replacing the binary does not mix versions under a running sandbox.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest configuration that a child reads.
const MAX_CONFIG: u64 = 64 << 20;

/// A sealed memory file with this program's image: what an exec of it maps, without symbols and debug information.
pub fn program() -> Result<OwnedFd> {
    let source = File::open("/proc/self/exe").context("open /proc/self/exe")?;
    let end = loaded_end(&source).unwrap_or(u64::MAX);
    let exec = MFdFlags::from_bits_retain(nix::libc::MFD_EXEC);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // MFD_EXEC is unknown before Linux 6.3, where memory files are executable anyway.
    let fd = memfd_create(c"runsc", flags | exec)
        .or_else(|_| memfd_create(c"runsc", flags))
        .context("cannot make a memory file for the program")?;
    let mut file = File::from(fd);
    std::io::copy(&mut source.take(end), &mut file).context("cannot copy the program to memory")?;
    seal(&file)?;
    Ok(file.into())
}

/// How many bytes of an ELF file its segments take up (`elf(5)`); sections behind them are for debuggers. `None` if that cannot be told.
fn loaded_end(file: &File) -> Option<u64> {
    const HEADER: usize = 64;
    const ENTRY: usize = 56;
    const PT_LOAD: u32 = 1;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let half =
        |bytes: &[u8], at: usize| Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long =
        |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    if !header.starts_with(b"\x7fELF\x02\x01") || usize::from(half(&header, 54)?) != ENTRY {
        return None;
    }
    let (table, count) = (long(&header, 32)?, usize::from(half(&header, 56)?));
    let mut entries = vec![0; count * ENTRY];
    file.read_exact_at(&mut entries, table).ok()?;
    let mut end = table.checked_add(entries.len().try_into().ok()?)?;
    for entry in entries.chunks_exact(ENTRY) {
        if entry.get(..4)? == PT_LOAD.to_le_bytes() {
            end = end.max(long(entry, 8)?.checked_add(long(entry, 32)?)?);
        }
    }
    Some(end)
}

/// A sealed memory file with `value` as JSON, at offset 0, to be inherited by a child.
pub fn config<T: Serialize>(value: &T) -> Result<OwnedFd> {
    let mut file = scratch("config")?;
    serde_json::to_writer(&mut file, value)?;
    file.seek(SeekFrom::Start(0))?;
    seal(&file)?;
    Ok(file.into())
}

/// Reads what [`config`] wrote.
pub fn read_config<T: DeserializeOwned>(fd: OwnedFd) -> Result<T> {
    let file = File::from(fd);
    serde_json::from_reader(file.take(MAX_CONFIG))
        .context("cannot read the configuration from the parent")
}

/// An unsealed memory file for short-lived output.
pub fn scratch(name: &str) -> Result<File> {
    let name = std::ffi::CString::new(name)?;
    let fd = memfd_create(
        name.as_c_str(),
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )
    .context("cannot make a memory file")?;
    Ok(File::from(fd))
}

/// What was written to a scratch file: at most 4 KiB as one line.
pub fn read_scratch(file: &File) -> String {
    let mut text = String::new();
    let Ok(mut file) = file.try_clone() else {
        return text;
    };
    let _ = file.seek(SeekFrom::Start(0));
    let mut bytes = Vec::new();
    let _ = file.take(4096).read_to_end(&mut bytes);
    text.push_str(String::from_utf8_lossy(&bytes).trim());
    text
}

fn seal(file: &File) -> Result<()> {
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    // The host answers EBUSY while somebody else (page migration, per-CPU lists) holds a page of the file, having waited for it itself
    // (mm/memfd.c: memfd_wait_for_pins): not a state of ours, so a few more of its waits are the remedy.
    const WAITS: usize = 10;
    let mut sealed = fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals));
    for _ in 0..WAITS {
        if sealed != Err(nix::errno::Errno::EBUSY) {
            break;
        }
        sealed = fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals));
    }
    sealed.context("cannot seal a memory file")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_what_is_loaded_is_copied() {
        let own = File::open("/proc/self/exe").unwrap();
        let end = loaded_end(&own).unwrap();
        assert!(end > 100_000 && end < own.metadata().unwrap().len());
        assert_eq!(loaded_end(&File::open("/etc/passwd").unwrap()), None);
    }

    #[test]
    fn a_config_is_read_back_and_cannot_be_changed() {
        let fd = config(&vec![1, 2, 3]).unwrap();
        let mut file = File::from(fd.try_clone().unwrap());
        assert!(file.write_all(b"x").is_err());
        assert_eq!(read_config::<Vec<u32>>(fd).unwrap(), [1, 2, 3]);
    }
}
