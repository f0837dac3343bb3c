//! ELF headers (`elf(5)`), checked for all that mapping relies on.

use abi::{PAGE_SIZE, page_floor};
use goblin::elf::header::{EM_X86_64, ET_DYN, ET_EXEC};
use goblin::elf::program_header::{PF_R, PF_W, PF_X, PT_GNU_STACK, PT_INTERP, PT_LOAD, PT_PHDR};
use goblin::elf64::header::{Header, SIZEOF_EHDR};
use goblin::elf64::program_header::{ProgramHeader, SIZEOF_PHDR};

use super::read_at;
use crate::error::{Errno, Result};
use crate::vfs::File;

/// A PT_LOAD segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Virtual address.
    pub vaddr: u64,
    /// Offset in the file, congruent to `vaddr` modulo the page size.
    pub offset: u64,
    /// Bytes from the file.
    pub file_size: u64,
    /// Bytes in memory, at least `file_size`.
    pub memory_size: u64,
    /// `PROT_*`.
    pub prot: u32,
}

/// What loading needs of an ELF file.
#[derive(Clone, Debug)]
pub struct Elf {
    /// ET_DYN: may be loaded anywhere.
    pub relocatable: bool,
    /// Entry point, unrelocated.
    pub entry: u64,
    /// Ascending, not overlapping in pages' starts.
    pub segments: Vec<Segment>,
    /// Where the program headers are in memory, unrelocated.
    pub phdr_addr: u64,
    /// Their number.
    pub phdr_count: u16,
    /// PT_INTERP.
    pub interpreter: Option<Vec<u8>>,
    /// PT_GNU_STACK asks for an executable stack.
    pub exec_stack: bool,
    /// Largest segment alignment.
    pub align: u64,
}

impl Elf {
    /// Reads and checks the headers; `head` is the start of the file. `ENOEXEC` for anything that is no x86-64 program.
    pub fn parse(file: &File, head: &[u8]) -> Result<Self> {
        let header_bytes: &[u8; SIZEOF_EHDR] = head
            .get(..SIZEOF_EHDR)
            .and_then(|h| h.try_into().ok())
            .ok_or(Errno::ENOEXEC)?;
        if &head[..4] != b"\x7fELF" || head[4] != 2 || head[5] != 1 {
            return Err(Errno::ENOEXEC);
        }
        let header = Header::from_bytes(header_bytes);
        let known_type = header.e_type == ET_EXEC || header.e_type == ET_DYN;
        if !known_type
            || header.e_machine != EM_X86_64
            || usize::from(header.e_phentsize) != SIZEOF_PHDR
        {
            return Err(Errno::ENOEXEC);
        }
        let table_size = usize::from(header.e_phnum) * SIZEOF_PHDR;
        if header.e_phnum == 0 || table_size > 65_536 {
            return Err(Errno::ENOEXEC);
        }
        let table = read_at(file, header.e_phoff, table_size)?;
        if table.len() != table_size {
            return Err(Errno::ENOEXEC);
        }
        let mut elf = Self {
            relocatable: header.e_type == ET_DYN,
            entry: header.e_entry,
            segments: Vec::new(),
            phdr_addr: 0,
            phdr_count: header.e_phnum,
            interpreter: None,
            exec_stack: false,
            align: PAGE_SIZE,
        };
        for phdr in ProgramHeader::from_bytes(&table, usize::from(header.e_phnum)) {
            match phdr.p_type {
                PT_LOAD => elf.add_segment(&phdr)?,
                PT_INTERP if elf.interpreter.is_none() => {
                    elf.interpreter = Some(read_interpreter(file, &phdr)?)
                }
                PT_GNU_STACK => elf.exec_stack = phdr.p_flags & PF_X != 0,
                PT_PHDR => elf.phdr_addr = phdr.p_vaddr,
                _ => {}
            }
        }
        if elf.segments.is_empty() {
            return Err(Errno::ENOEXEC);
        }
        if elf.phdr_addr == 0 {
            let at = header.e_phoff;
            let holder = elf
                .segments
                .iter()
                .find(|s| s.offset <= at && at - s.offset < s.file_size);
            elf.phdr_addr = holder.map_or(0, |s| s.vaddr.wrapping_add(at - s.offset));
        }
        Ok(elf)
    }

    fn add_segment(&mut self, phdr: &ProgramHeader) -> Result<()> {
        if phdr.p_memsz == 0 {
            return Ok(());
        }
        let top = platform::GUEST_TOP;
        let bad = phdr.p_filesz > phdr.p_memsz
            || phdr.p_memsz > top
            || phdr.p_vaddr > top - phdr.p_memsz
            || phdr.p_offset > i64::MAX as u64 - phdr.p_filesz
            || phdr.p_vaddr % PAGE_SIZE != phdr.p_offset % PAGE_SIZE
            || self
                .segments
                .last()
                .is_some_and(|last| page_floor(phdr.p_vaddr) < page_floor(last.vaddr));
        if bad {
            return Err(Errno::ENOEXEC);
        }
        let prot_of = |flag: u32, prot: u32| if phdr.p_flags & flag != 0 { prot } else { 0 };
        if phdr.p_align.is_power_of_two() && phdr.p_align <= 1 << 30 {
            self.align = self.align.max(phdr.p_align);
        }
        self.segments.push(Segment {
            vaddr: phdr.p_vaddr,
            offset: phdr.p_offset,
            file_size: phdr.p_filesz,
            memory_size: phdr.p_memsz,
            prot: prot_of(PF_R, 1) | prot_of(PF_W, 2) | prot_of(PF_X, 4),
        });
        Ok(())
    }

    /// First and one past the last byte in memory, page-aligned.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        let start = self.segments.first().map_or(0, |s| page_floor(s.vaddr));
        let end = self
            .segments
            .iter()
            .map(|s| s.vaddr + s.memory_size)
            .max()
            .unwrap_or(start);
        (start, abi::page_ceil(end).unwrap_or(end))
    }
}

fn read_interpreter(file: &File, phdr: &ProgramHeader) -> Result<Vec<u8>> {
    let len = usize::try_from(phdr.p_filesz).map_err(|_| Errno::ENOEXEC)?;
    if !(2..=abi::fs::PATH_MAX).contains(&len) {
        return Err(Errno::ENOEXEC);
    }
    let mut name = read_at(file, phdr.p_offset, len)?;
    if name.len() != len {
        return Err(Errno::EIO);
    }
    if name.pop() != Some(0) {
        return Err(Errno::ENOEXEC);
    }
    if let Some(nul) = name.iter().position(|b| *b == 0) {
        name.truncate(nul);
    }
    Ok(name)
}
