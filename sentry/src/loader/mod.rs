//! Loading programs: `#!` scripts, ELF images, the initial stack (`fs/exec.c`, `fs/binfmt_elf.c`, `fs/binfmt_script.c`).
//!
//! [`prepare`] finds and checks what is to run and fails without side effects; [`load`] fills a fresh address space. Everything in a file is hostile.

mod elf;
mod map;
mod shown;
mod stack;

use std::sync::Arc;

use abi::fs::{O_RDONLY, S_IFREG, S_ISGID, S_ISUID};

pub use elf::Elf;
pub use map::{Loaded, load};

use crate::error::{Errno, Result, SysError};
use crate::vfs::lookup::{LookupCx, LookupFlags, may_execute_at, resolve};
use crate::vfs::{Access, File, KernelSink, MountFlags, OpenHow, Path, TextHold, check_inode};

/// Most interpreters of interpreters (`bprm->rewrite`).
const MAX_SCRIPTS: usize = 5;
/// BINPRM_BUF_SIZE.
const HEAD: usize = 256;
/// MAX_ARG_STRLEN: one argument or variable.
pub const MAX_ARG_LEN: usize = 128 << 10;
/// Bound of all arguments and variables whatever the stack limit says (`_STK_LIM / 4 * 3`).
pub const MAX_ARGS_TOTAL: u64 = 6 << 20;

/// What is going to run.
pub struct Program {
    /// The ELF file.
    pub file: Arc<File>,
    /// Its parsed headers.
    pub elf: Elf,
    /// Its interpreter (ld.so), with parsed headers.
    pub interpreter: Option<(Arc<File>, Elf)>,
    /// Arguments, after `#!` has put its own in front.
    pub args: Vec<Vec<u8>>,
    /// Environment.
    pub env: Vec<Vec<u8>>,
    /// AT_EXECFN: the name as it was given.
    pub name: Vec<u8>,
    /// New task name: the last component of what was executed.
    pub comm: Vec<u8>,
    /// Set-user-ID owner, unless the mount or a script forbids it.
    pub set_uid: Option<u32>,
    /// Set-group-ID group.
    pub set_gid: Option<u32>,
    /// `security.capability` of the file, raw.
    pub file_caps: Option<Vec<u8>>,
    /// The file cannot be read by the caller: not dumpable.
    pub unreadable: bool,
}

/// Opens a file for execution: a regular file with an x bit on a mount that allows it. `EACCES`, `ENOENT` …
pub fn open_executable(cx: LookupCx<'_>, path: Path) -> Result<Arc<File>> {
    let attr = path.inode().attr()?;
    if attr.file_type() != S_IFREG || !may_execute_at(&path) {
        return Err(Errno::EACCES);
    }
    check_inode(path.inode(), &attr, cx.creds, Access::EXEC)?;
    let ops = path
        .inode()
        .ops()
        .open(path.inode(), OpenHow { flags: O_RDONLY })?;
    let hold = TextHold::run(path.inode())?;
    let file = File::new(Some(path.clone()), path.inode().clone(), ops, O_RDONLY);
    file.hold_text(Some(hold));
    Ok(file)
}

/// The same for a file without a place in any tree (a memfd), through its description.
pub fn open_placeless(cx: LookupCx<'_>, file: &Arc<File>) -> Result<Arc<File>> {
    let attr = file.inode().attr()?;
    if attr.file_type() != S_IFREG {
        return Err(Errno::EACCES);
    }
    check_inode(file.inode(), &attr, cx.creds, Access::EXEC)?;
    Ok(file.clone())
}

/// Reads up to `len` bytes at `offset`; short at the end of the file.
pub fn read_at(file: &File, offset: u64, len: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let mut sink = KernelSink::new(len - bytes.len());
        match file.pread(None, offset + bytes.len() as u64, &mut sink) {
            Ok(0) => break,
            Ok(_) => bytes.extend(sink.into_bytes()),
            Err(SysError::Errno(errno)) => return Err(errno),
            Err(SysError::Restart(_)) => return Err(Errno::EIO),
        }
    }
    Ok(bytes)
}

/// Whether the file is a `#!` script.
pub fn is_script(file: &File) -> Result<bool> {
    Ok(read_at(file, 0, 2)? == b"#!")
}

fn last_component(name: &[u8]) -> Vec<u8> {
    let last = name.rsplit(|b| *b == b'/').next().unwrap_or(name);
    last[..last.len().min(15)].to_vec()
}

/// Finds what `file` asks to be run with, through scripts and up to the ELF interpreter.
pub fn prepare(
    cx: LookupCx<'_>,
    file: Arc<File>,
    name: &[u8],
    mut args: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
) -> Result<Program> {
    let comm = last_component(name);
    let mut file = file;
    let mut script_name = name.to_vec();
    let mut scripts = 0;
    let head = loop {
        let head = read_at(&file, 0, HEAD)?;
        if !head.starts_with(b"#!") {
            break head;
        }
        scripts += 1;
        if scripts > MAX_SCRIPTS {
            return Err(Errno::ELOOP);
        }
        let (interpreter, argument) = parse_script(&head)?;
        if args.is_empty() {
            args.push(Vec::new());
        }
        args[0] = script_name;
        if let Some(argument) = argument {
            args.insert(0, argument);
        }
        args.insert(0, interpreter.clone());
        let path = resolve(cx, &cx.fs.cwd(), &interpreter, LookupFlags::FOLLOW)?.into_path()?;
        file = open_executable(cx, path)?;
        script_name = interpreter;
    };
    if args.is_empty() {
        // Since 5.18 an empty argv becomes one empty string.
        args.push(Vec::new());
    }
    let elf = Elf::parse(&file, &head)?;
    let interpreter = match &elf.interpreter {
        None => None,
        Some(name) => {
            let path = resolve(cx, &cx.fs.cwd(), name, LookupFlags::FOLLOW)?.into_path()?;
            let file = open_executable(cx, path)?;
            let head = read_at(&file, 0, HEAD)?;
            // A broken interpreter is ELIBBAD, not ENOEXEC.
            let elf = Elf::parse(&file, &head).map_err(|e| {
                if e == Errno::ENOEXEC {
                    Errno::ELIBBAD
                } else {
                    e
                }
            })?;
            Some((file, elf))
        }
    };
    let attr = file.inode().attr()?;
    let nosuid = file
        .path()
        .is_some_and(|p| p.mount.flags().contains(MountFlags::NOSUID))
        || cx.creds.no_new_privs;
    let group_exec = attr.mode & (S_ISGID | 0o010) == S_ISGID | 0o010;
    let file_caps = if nosuid {
        None
    } else {
        file.inode()
            .ops()
            .as_xattr()
            .and_then(|x| x.get(b"security.capability").ok())
    };
    Ok(Program {
        set_uid: (!nosuid && attr.mode & S_ISUID != 0).then_some(attr.uid),
        set_gid: (!nosuid && group_exec).then_some(attr.gid),
        unreadable: check_inode(file.inode(), &attr, cx.creds, Access::READ).is_err(),
        file_caps,
        file,
        elf,
        interpreter,
        args,
        env,
        name: name.to_vec(),
        comm,
    })
}

/// The interpreter and its optional argument of a `#!` line; `ENOEXEC` if there is none or the line does not end within the buffer.
fn parse_script(head: &[u8]) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let is_blank = |b: &u8| *b == b' ' || *b == b'\t';
    let line = &head[2..];
    let (line, complete) = match line.iter().position(|b| *b == b'\n' || *b == 0) {
        Some(end) => (&line[..end], true),
        None => (line, head.len() < HEAD),
    };
    let start = line
        .iter()
        .position(|b| !is_blank(b))
        .ok_or(Errno::ENOEXEC)?;
    let end = line
        .iter()
        .rposition(|b| !is_blank(b))
        .map_or(start, |at| at + 1);
    let line = &line[start..end];
    let split = line.iter().position(is_blank);
    // A name that may be cut off is refused; a cut-off argument is not (fs/binfmt_script.c).
    if split.is_none() && !complete {
        return Err(Errno::ENOEXEC);
    }
    match split {
        None => Ok((line.to_vec(), None)),
        Some(at) => {
            let rest = &line[at..];
            let from = rest.iter().position(|b| !is_blank(b)).unwrap_or(rest.len());
            Ok((line[..at].to_vec(), Some(rest[from..].to_vec())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_lines() {
        assert_eq!(
            parse_script(b"#!/bin/sh\necho").unwrap(),
            (b"/bin/sh".to_vec(), None)
        );
        assert_eq!(
            parse_script(b"#! /usr/bin/env  a b \n").unwrap(),
            (b"/usr/bin/env".to_vec(), Some(b"a b".to_vec()))
        );
        assert_eq!(parse_script(b"#!\n"), Err(Errno::ENOEXEC));
        let mut long = b"#!/".to_vec();
        long.resize(HEAD, b'x');
        assert_eq!(parse_script(&long), Err(Errno::ENOEXEC));
    }
}
