//! Filling a fresh address space with a program.

use std::sync::Arc;

use abi::mm::{PROT_EXEC, PROT_READ, PROT_WRITE};
use abi::{PAGE_SIZE, UserAddr, page_ceil, page_floor};
use platform::{GUEST_TOP, GuestThread, HostCall, Registers};

use super::elf::Elf;
use super::{MAX_ARGS_TOTAL, Program, shown, stack};
use crate::error::{Errno, Result};
use crate::host;
use crate::mm::{Backing, Layout, MemoryMap, Region, RegionFlags};
use crate::task::creds::Creds;
use crate::vfs::File;

/// How a program starts.
pub struct Loaded {
    /// First registers.
    pub registers: Registers,
}

/// `personality(2)`: no address-space randomisation.
const ADDR_NO_RANDOMIZE: u32 = 0x004_0000;

fn random_pages(bits: u32, personality: u32) -> u64 {
    if personality & ADDR_NO_RANDOMIZE != 0 {
        return 0;
    }
    let mut bytes = [0; 8];
    host::random(&mut bytes);
    (u64::from_ne_bytes(bytes) & ((1 << bits) - 1)) * PAGE_SIZE
}

/// Regions to map, in order, and their source.
#[derive(Default)]
struct Plan {
    regions: Vec<Region>,
    /// Ranges to be zeroed after mapping: the rest of a segment's last file page.
    zero: Vec<(u64, u64)>,
}

impl Plan {
    fn add_elf(&mut self, file: &Arc<File>, elf: &Elf, bias: u64) -> Result<()> {
        for segment in &elf.segments {
            let start = bias.wrapping_add(segment.vaddr);
            let map_start = page_floor(start);
            let file_end = start.checked_add(segment.file_size).ok_or(Errno::ENOEXEC)?;
            let end = start
                .checked_add(segment.memory_size)
                .and_then(page_ceil)
                .ok_or(Errno::ENOEXEC)?;
            if map_start < platform::TRAMPOLINE_TOP || end > GUEST_TOP {
                return Err(Errno::ENOMEM);
            }
            let file_map_end = if segment.file_size == 0 {
                map_start
            } else {
                page_ceil(file_end).ok_or(Errno::ENOEXEC)?
            };
            if file_map_end > map_start {
                let offset = page_floor(segment.offset);
                let backing = Backing::File {
                    file: file.clone(),
                    offset,
                };
                self.region(map_start, file_map_end, segment.prot, backing, None);
            }
            if end > file_map_end {
                self.region(file_map_end, end, segment.prot, Backing::Anonymous, None);
            }
            if segment.memory_size > segment.file_size
                && file_end < file_map_end
                && segment.prot & PROT_WRITE != 0
            {
                self.zero.push((file_end, file_map_end));
            }
        }
        Ok(())
    }

    fn region(&mut self, start: u64, end: u64, prot: u32, backing: Backing, label: Option<&[u8]>) {
        let flags = RegionFlags::default();
        self.regions.push(Region {
            start,
            end,
            prot,
            flags,
            backing,
            label: label.map(Arc::from),
        });
    }

    async fn apply(self, map: &MemoryMap, thread: &dyn GuestThread) -> Result<()> {
        let mut calls = Vec::with_capacity(self.regions.len());
        for region in &self.regions {
            calls.push(HostCall::Map {
                addr: region.start,
                len: region.len(),
                prot: region.prot,
                shared: false,
                // Segments of one file may share a page: the later one wins, as in Linux.
                replace: true,
                noreserve: region.label.is_some(),
                source: region.backing.source(region.len(), false)?,
            });
        }
        let results = thread.order(&calls).await.map_err(|_| Errno::ENOMEM)?;
        for result in &results {
            (*result)?;
        }
        if results.len() != calls.len() {
            return Err(Errno::ENOMEM);
        }
        {
            let mut state = map.state.write();
            for region in self.regions {
                state.tree.insert(region);
            }
        }
        let memory = map.memory();
        for (start, end) in self.zero {
            memory.write(UserAddr(start), &vec![0; (end - start) as usize])?;
        }
        Ok(())
    }
}

/// Maps the program and its interpreter into the fresh space behind `map`, whose only thread is at a full stop, and builds the stack.
pub async fn load(
    map: &Arc<MemoryMap>,
    thread: &dyn GuestThread,
    program: &Program,
    creds: &Creds,
    secure: bool,
    stack_limit: u64,
    personality: u32,
) -> Result<Loaded> {
    let vdso = map.space().vdso();
    let top = [vdso.code.start, vdso.vvar.start]
        .into_iter()
        .filter(|a| *a != 0)
        .fold(GUEST_TOP, u64::min);
    let stack_top = page_floor(top) - 0x1_0000 - random_pages(22, personality);
    // The host does not grow stacks of ours: mapped at full size from the start, taking no memory until touched.
    let stack_size = page_ceil(stack_limit.clamp(256 << 10, 1 << 30)).unwrap_or(8 << 20);
    let mmap_base =
        stack_top - stack_size.max(128 << 20) - (1 << 20) - random_pages(28, personality);
    map.state.write().layout.mmap_base = mmap_base;

    let mut plan = Plan::default();
    let elf = &program.elf;
    let bias = if !elf.relocatable {
        0
    } else if program.interpreter.is_some() {
        // ELF_ET_DYN_BASE: two thirds of the address space.
        let base = GUEST_TOP / 3 * 2 + random_pages(28, personality);
        (base & !(elf.align - 1)).wrapping_sub(elf.span().0)
    } else {
        place(map, elf)?
    };
    plan.add_elf(&program.file, elf, bias)?;
    let mut entry = bias.wrapping_add(elf.entry);
    let program_entry = entry;
    let mut interpreter_base = 0;
    if let Some((file, interpreter)) = &program.interpreter {
        let base = if interpreter.relocatable {
            place(map, interpreter)?
        } else {
            0
        };
        plan.add_elf(file, interpreter, base)?;
        entry = base.wrapping_add(interpreter.entry);
        interpreter_base = base;
    }
    let stack_prot = PROT_READ | PROT_WRITE | if elf.exec_stack { PROT_EXEC } else { 0 };
    plan.region(
        stack_top - stack_size,
        stack_top,
        stack_prot,
        Backing::Anonymous,
        Some(b"[stack]"),
    );
    plan.apply(map, thread).await?;

    let mut auxv = vec![
        (33, vdso.code.start),
        (51, host::auxiliary(51)),
        (16, host::auxiliary(16)),
        (6, PAGE_SIZE),
        (17, 100),
        (3, bias.wrapping_add(elf.phdr_addr)),
        (4, 56),
        (5, u64::from(elf.phdr_count)),
        (7, interpreter_base),
        (8, 0),
        (9, program_entry),
        (11, u64::from(creds.uid)),
        (12, u64::from(creds.euid)),
        (13, u64::from(creds.gid)),
        (14, u64::from(creds.egid)),
        (23, u64::from(secure)),
        (26, host::auxiliary(26)),
    ];
    if map.space().has_sequences() {
        // AT_RSEQ_FEATURE_SIZE and AT_RSEQ_ALIGN, from Linux 6.3 on.
        let of_host = [27, 28].map(|key| (key, host::auxiliary(key)));
        auxv.extend(of_host.into_iter().filter(|&(_, value)| value != 0));
    }
    let limit = (stack_size / 4).min(MAX_ARGS_TOTAL);
    let stack = stack::build(
        stack_top,
        limit,
        &program.name,
        &program.args,
        &program.env,
        auxv,
    )?;

    let (_, data_end) = elf.span();
    let brk_base = if elf.relocatable && program.interpreter.is_none() {
        GUEST_TOP / 3 * 2
    } else {
        bias.wrapping_add(data_end)
    };
    let start_brk = page_ceil(brk_base).unwrap_or(brk_base) + random_pages(13, personality);
    let code = elf.segments.iter().find(|s| s.prot & PROT_EXEC != 0);
    let data = elf.segments.iter().rfind(|s| s.prot & PROT_WRITE != 0);
    let layout = Layout {
        start_code: code.map_or(0, |s| bias.wrapping_add(s.vaddr)),
        end_code: code.map_or(0, |s| bias.wrapping_add(s.vaddr + s.file_size)),
        start_data: data.map_or(0, |s| bias.wrapping_add(s.vaddr)),
        end_data: data.map_or(0, |s| bias.wrapping_add(s.vaddr + s.file_size)),
        start_brk,
        brk: start_brk,
        start_stack: stack.sp,
        arg_start: stack.args.0,
        arg_end: stack.args.1,
        env_start: stack.env.0,
        env_end: stack.env.1,
        auxv: stack.auxv,
        mmap_base,
    };
    let shown = shown::Shown::new(&program.comm, &layout, stack.sp);
    let bytes = [shown.bytes(), &stack.bytes].concat();
    map.memory().write(UserAddr(shown.address()), &bytes)?;
    // Only the host's tools want it: where the host refuses, they show less.
    let _ = thread.order(&shown.orders()).await;
    let mut state = map.state.write();
    state.layout = layout;
    state.exe = Some(program.file.clone());
    state.dumpable = u32::from(!secure && !program.unreadable);
    let registers = Registers {
        rip: entry,
        rsp: stack.sp,
        cs: 0x33,
        ss: 0x2b,
        eflags: 0x202,
        ..Registers::default()
    };
    Ok(Loaded { registers })
}

/// A place below the mapping base for a relocatable image: its load bias. Nothing is mapped there yet, but the plan is applied at once.
fn place(map: &MemoryMap, elf: &Elf) -> Result<u64> {
    let (start, end) = elf.span();
    let mut state = map.state.write();
    let base = state.layout.mmap_base;
    let at = state
        .tree
        .find_gap(
            (end - start).checked_add(elf.align).ok_or(Errno::ENOMEM)?,
            base,
        )
        .ok_or(Errno::ENOMEM)?;
    let at = (at + elf.align - 1) & !(elf.align - 1);
    Ok(at.wrapping_sub(start))
}
