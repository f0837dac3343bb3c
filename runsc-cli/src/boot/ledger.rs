//! The ledger: a process beside the sentry that reads how much memory guest processes have resident.
//!
//! The host tells that in `/proc/<pid>` alone, and the sentry opens nothing. So before it shuts itself in it forks this: a process that holds a procfs
//! of the guests' pid namespace (`subset=pid`: no other file) and one end of a socket, under a filter that lets it open files of that procfs for
//! reading, read, write and end. A question is a pid and what is asked; an answer is a count and that many numbers. It knows nothing of containers,
//! and what it says is only shown.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::prctl::{set_dumpable, set_name, set_pdeathsig};
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use parking_lot::Mutex;
use sentry::host_facts::{MemoryBooks, RegionUse, Resident};

use super::filter::{self, Check, Rule};
use crate::host;

/// Question: how much, of which kind (`status`).
const SIZES: u32 = 0;
/// Question: how much of each mapping (`smaps`).
const REGIONS: u32 = 1;
/// In place of a count: there is no such process, or it cannot be looked at.
const NOTHING: u32 = u32::MAX;
/// Most numbers of an answer: host processes have at most `vm.max_map_count` mappings, and some more.
const MAX_NUMBERS: u32 = 4 << 20;
/// Keys of `status`, in the order of an answer.
const STATUS: [&str; 5] = ["RssAnon", "RssFile", "RssShmem", "VmHWM", "VmSwap"];
/// Keys of `smaps`, in the order of an answer after first and last address.
const SMAPS: [&str; 10] = [
    "Rss",
    "Pss",
    "Pss_Dirty",
    "Shared_Clean",
    "Shared_Dirty",
    "Private_Clean",
    "Private_Dirty",
    "Referenced",
    "Anonymous",
    "Swap",
];
const REGION_NUMBERS: usize = 2 + SMAPS.len();

/// The sentry's end.
pub struct Ledger {
    stream: Mutex<File>,
}

/// Forks the process. `procfs` is the root of a procfs. The caller is single-threaded.
///
/// # Errors
/// What the host refused.
pub fn start(procfs: OwnedFd) -> Result<Ledger> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context("cannot make the ledger's socket")?;
    host::clone_process(0, || match shut_in(procfs, theirs) {
        Ok(()) => serve(),
        Err(_) => 1,
    })
    .context("cannot start the ledger")?;
    Ok(Ledger {
        stream: Mutex::new(File::from(ours)),
    })
}

/// Keeps the procfs as descriptor 0 and the socket as 1, and nothing else.
fn shut_in(procfs: OwnedFd, socket: OwnedFd) -> Result<()> {
    const PROCFS_FOR_READING: &[(u8, u64)] =
        &[(0, 0), (2, (libc::O_RDONLY | libc::O_CLOEXEC) as u64)];
    let _ = set_name(c"runsc-ledger");
    set_pdeathsig(Signal::SIGKILL)?;
    set_dumpable(false)?;
    host::set_stdio(procfs.as_fd(), 0)?;
    host::set_stdio(socket.as_fd(), 1)?;
    host::close_from(2)?;
    std::mem::forget((procfs, socket));
    let allocator = Check::Without(2, libc::PROT_EXEC as u64);
    filter::install(&[
        Rule::checked(
            libc::SYS_openat,
            "files of the procfs",
            Check::Equal(PROCFS_FOR_READING),
        ),
        Rule::any(libc::SYS_read, "questions; files of the procfs"),
        Rule::any(libc::SYS_write, "answers"),
        Rule::any(libc::SYS_close, "files of the procfs"),
        Rule::checked(
            libc::SYS_fcntl,
            "std looks whether what it closes is open (debug builds)",
            Check::Equal(&[(1, libc::F_GETFD as u64)]),
        ),
        Rule::checked(libc::SYS_mmap, "allocator", allocator),
        Rule::any(libc::SYS_munmap, "allocator"),
        Rule::any(libc::SYS_mremap, "allocator"),
        Rule::any(libc::SYS_madvise, "allocator"),
        Rule::any(libc::SYS_brk, "allocator"),
        Rule::any(libc::SYS_exit_group, "the end"),
    ])
}

/// Answers until the sentry is gone.
fn serve() -> i32 {
    let socket = io::stdout();
    let socket = socket.as_fd();
    loop {
        let mut question = [0_u8; 8];
        let mut got = 0;
        while got < question.len() {
            match nix::unistd::read(socket, &mut question[got..]) {
                Ok(0) | Err(_) => return 0,
                Ok(n) => got += n,
            }
        }
        let [pid, kind] = [0, 4].map(|at| u32::from_le_bytes(four(&question, at)));
        let numbers = match kind {
            SIZES => sizes(pid),
            REGIONS => regions(pid),
            _ => None,
        };
        let mut answer = Vec::new();
        let count = numbers
            .as_ref()
            .and_then(|numbers| u32::try_from(numbers.len()).ok())
            .unwrap_or(NOTHING);
        answer.extend_from_slice(&count.to_le_bytes());
        for number in numbers.unwrap_or_default() {
            answer.extend_from_slice(&number.to_le_bytes());
        }
        let mut rest = &answer[..];
        while !rest.is_empty() {
            match nix::unistd::write(socket, rest) {
                Ok(0) | Err(_) => return 0,
                Ok(n) => rest = &rest[n..],
            }
        }
    }
}

fn four(bytes: &[u8], at: usize) -> [u8; 4] {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    word
}

fn open(pid: u32, name: &str) -> Option<BufReader<File>> {
    let procfs = io::stdin();
    let path = format!("{pid}/{name}");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(procfs.as_fd(), path.as_str(), flags, Mode::empty()).ok()?;
    Some(BufReader::new(File::from(file)))
}

/// A line `Key:   123 kB`, in bytes.
fn kilobytes(line: &str) -> Option<(&str, u64)> {
    let (key, rest) = line.split_once(':')?;
    let number: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((key, number.saturating_mul(1024)))
}

fn sizes(pid: u32) -> Option<Vec<u64>> {
    let mut numbers = vec![0; STATUS.len()];
    for line in open(pid, "status")?.lines() {
        let line = line.ok()?;
        if let Some((key, bytes)) = kilobytes(&line)
            && let Some(at) = STATUS.iter().position(|wanted| *wanted == key)
        {
            numbers[at] = bytes;
        }
    }
    Some(numbers)
}

/// The range of a mapping's first line, `start-end rights …`.
fn range(line: &str) -> Option<(u64, u64)> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}

fn regions(pid: u32) -> Option<Vec<u64>> {
    parse_smaps(open(pid, "smaps")?)
}

fn parse_smaps(text: impl BufRead) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    for line in text.split(b'\n') {
        // Names of files may be anything.
        let line = line.ok()?;
        let line = String::from_utf8_lossy(&line);
        if let Some((start, end)) = range(&line) {
            numbers.extend([start, end]);
            numbers.resize(numbers.len() + SMAPS.len(), 0);
        } else if let Some((key, bytes)) = kilobytes(&line)
            && let Some(at) = SMAPS.iter().position(|wanted| *wanted == key)
            && let Some(last) = numbers.len().checked_sub(SMAPS.len())
        {
            numbers[last + at] = bytes;
        }
    }
    Some(numbers)
}

impl Ledger {
    fn ask(&self, host_pid: i32, kind: u32) -> Option<Vec<u64>> {
        let pid = u32::try_from(host_pid).ok().filter(|pid| *pid > 0)?;
        let mut question = [0; 8];
        question[..4].copy_from_slice(&pid.to_le_bytes());
        question[4..].copy_from_slice(&kind.to_le_bytes());
        let mut stream = self.stream.lock();
        stream.write_all(&question).ok()?;
        let mut count = [0; 4];
        stream.read_exact(&mut count).ok()?;
        let count = u32::from_le_bytes(count);
        if count > MAX_NUMBERS {
            return None;
        }
        let mut bytes = vec![0; count as usize * 8];
        stream.read_exact(&mut bytes).ok()?;
        Some(
            bytes
                .chunks_exact(8)
                .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
                .collect(),
        )
    }
}

impl MemoryBooks for Ledger {
    fn resident(&self, host_pid: i32) -> Option<Resident> {
        let numbers = self.ask(host_pid, SIZES)?;
        let &[anonymous, file, shared, peak, swapped] = &numbers[..] else {
            return None;
        };
        Some(Resident {
            anonymous,
            file,
            shared,
            peak,
            swapped,
        })
    }

    fn regions(&self, host_pid: i32) -> Option<Vec<RegionUse>> {
        let numbers = self.ask(host_pid, REGIONS)?;
        let regions = numbers.chunks_exact(REGION_NUMBERS).map(|n| RegionUse {
            start: n[0],
            end: n[1],
            resident: n[2],
            proportional: n[3],
            proportional_dirty: n[4],
            shared_clean: n[5],
            shared_dirty: n[6],
            private_clean: n[7],
            private_dirty: n[8],
            referenced: n[9],
            anonymous: n[10],
            swapped: n[11],
        });
        Some(regions.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_is_read_by_mapping() {
        let text = b"00400000-00402000 r-xp 00000000 08:01 12  /bin/a: 1 kB\n\
            Size:                  8 kB\nRss:                   4 kB\nPss:                   2 kB\nVmFlags: rd ex\n\
            7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \nRss:                   4 kB\nAnonymous:             4 kB\n";
        let numbers = parse_smaps(&text[..]).unwrap();
        assert_eq!(numbers.len(), 2 * REGION_NUMBERS);
        assert_eq!(numbers[..4], [0x40_0000, 0x40_2000, 4096, 2048]);
        assert_eq!(numbers[REGION_NUMBERS + 10], 4096);
    }

    #[test]
    fn what_is_no_size_is_left_out() {
        assert_eq!(kilobytes("VmHWM:\t     120 kB"), Some(("VmHWM", 122_880)));
        assert_eq!(kilobytes("Threads:\t1"), None);
        assert_eq!(kilobytes("nonsense"), None);
    }
}
