//! From a process's configuration to a started task.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::fs::{O_RDONLY, S_IFDIR};
use nix::libc;
use sentry::error::Errno;
use sentry::fs::devpts::{ConsoleSlot, console};
use sentry::fs::host_file;
use sentry::kernel::{Container, Kernel};
use sentry::task::Task;
use sentry::task::creds::{CapSet, Creds};
use sentry::task::limits::Limits;
use sentry::task::namespaces::SeccompState;
use sentry::task::seccomp::{Action, CallData, evaluate};
use sentry::task::user_ns::UserNamespace;
use sentry::vfs::lookup::{LookupCx, LookupFlags, resolve};
use sentry::vfs::{Fd, FdFlags, FdTable, FsContext, NR_OPEN};
use syscalls::process::start::{Start, find_program, start};

use super::mounts;
use crate::boot::config::ProcessConfig;
use crate::boot::control::{ControlError, ErrorKind, GuestFd};

type Result<T> = std::result::Result<T, ControlError>;

fn invalid(message: String) -> ControlError {
    ControlError::new(ErrorKind::Invalid, message)
}

/// Reads a small text file of the container, such as `/etc/passwd`.
fn read_text(fs: &FsContext, path: &[u8]) -> Option<String> {
    const LIMIT: usize = 1 << 20;
    let creds = Creds::root();
    let cx = LookupCx {
        fs,
        creds: &creds,
        task: None,
    };
    let path = resolve(cx, &fs.root(), path, LookupFlags::FOLLOW)
        .ok()?
        .into_path()
        .ok()?;
    let ops = path
        .inode()
        .ops()
        .open(path.inode(), sentry::vfs::OpenHow { flags: O_RDONLY })
        .ok()?;
    let file = sentry::vfs::File::new(Some(path.clone()), path.inode().clone(), ops, O_RDONLY);
    let bytes = sentry::loader::read_at(&file, 0, LIMIT).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The line of a user in `passwd(5)` by name or uid: uid, gid, home.
fn passwd_entry(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32, String)> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, _, id, gid, _, home, ..] = fields[..] else {
            return None;
        };
        let id: u32 = id.parse().ok()?;
        let matches = name.map_or(id == uid, |name| name == user);
        matches.then(|| Some((id, gid.parse().ok()?, home.to_owned())))?
    })
}

/// The environment as runc makes it: of a name that is given twice the last value counts, in the first one's place; `HOME` that is missing or empty
/// is the user's.
fn environment(given: &[String], home: &str) -> Result<Vec<String>> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut env: Vec<String> = Vec::new();
    for entry in given {
        let Some((name, _)) = entry.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(invalid(format!(
                "error during container init: invalid environment variable: {entry:?}"
            )));
        };
        match names.get(name).and_then(|index| env.get_mut(*index)) {
            Some(earlier) => earlier.clone_from(entry),
            None => {
                names.insert(name, env.len());
                env.push(entry.clone());
            }
        }
    }
    let own = format!("HOME={home}");
    match names.get("HOME").and_then(|index| env.get_mut(*index)) {
        Some(empty) if empty == "HOME=" => *empty = own,
        Some(_) => {}
        None => env.push(own),
    }
    Ok(env)
}

/// The spec's `personality`, which each process that the container is given begins with; in the container's extensions.
#[derive(Default)]
pub(super) struct Personality(pub(super) AtomicU32);

/// Makes the process; it does not run yet.
pub(super) async fn prepare(
    kernel: &Arc<Kernel>,
    container: &Arc<Container>,
    config: ProcessConfig,
    stdio: Vec<GuestFd>,
    seccomp: SeccompState,
) -> Result<Arc<Task>> {
    let fs = FsContext::new(container.mounts.clone());
    fs.set_umask(config.user.umask.unwrap_or(0o022));
    let passwd = read_text(&fs, b"/etc/passwd").unwrap_or_default();
    let name = config.user.name.as_deref();
    let entry = passwd_entry(&passwd, name, config.user.uid);
    let (uid, gid) = match (name, &entry) {
        (None, _) => (config.user.uid, config.user.gid),
        (Some(_), Some((uid, gid, _))) => (*uid, *gid),
        (Some(name), None) => {
            return Err(invalid(format!(
                "user {name:?} is not in the container's /etc/passwd: use a number or add the user"
            )));
        }
    };
    let home = entry.map_or_else(|| "/".to_owned(), |(_, _, home)| home);
    let env = environment(&config.env, &home)?;
    let caps = &config.capabilities;
    let set = |bits: u64| CapSet(bits & CapSet::FULL.0);
    let creds = Creds {
        uid,
        euid: uid,
        suid: uid,
        fsuid: uid,
        gid,
        egid: gid,
        sgid: gid,
        fsgid: gid,
        groups: {
            // As the kernel keeps them (`groups_sort`).
            let mut groups = config.user.additional_gids.clone();
            groups.sort_unstable();
            groups
        },
        effective: set(caps.effective),
        permitted: set(caps.permitted),
        inheritable: set(caps.inheritable),
        bounding: set(caps.bounding),
        ambient: set(caps.ambient),
        securebits: 0,
        no_new_privs: config.no_new_privileges,
        user_ns: UserNamespace::initial(),
    };
    let first = container.init.lock().strong_count() == 0;
    set_cwd(&fs, &creds, &config.cwd, first)?;
    let mut limits = Limits::default();
    for limit in &config.rlimits {
        if let Some(slot) = limits.0.get_mut(limit.resource as usize) {
            *slot = (limit.soft, limit.hard);
        }
    }
    let files = FdTable::new();
    let mut stdio = stdio;
    let mut terminal = None;
    if config.terminal && !stdio.is_empty() {
        // All three are the one terminal.
        let others = stdio.split_off(1);
        let slave = stdio.pop();
        stdio = others
            .into_iter()
            .filter(|guest| guest.number > 2)
            .collect();
        if let Some(slave) = slave {
            let (tty, file) = console::open_in(&fs, slave.fd, uid, gid)
                .map_err(|errno| invalid(format!("the terminal cannot be given to the container (is devpts mounted on /dev/pts?): {errno}")))?;
            for number in 0..=2 {
                files
                    .install_at(Fd(number), file.clone(), FdFlags::empty(), NR_OPEN as u64)
                    .map_err(|errno| invalid(format!("descriptor {number}: {errno}")))?;
            }
            container.extensions.get::<ConsoleSlot>().set_first(&tty);
            terminal = Some(tty);
        }
    }
    for guest in stdio {
        let file = host_file::open_stdio(&kernel.reactor, guest.fd, uid, gid).map_err(|errno| {
            invalid(format!(
                "descriptor {} cannot be given to the container: {errno}",
                guest.number
            ))
        })?;
        let number = Fd(i32::try_from(guest.number)
            .map_err(|_| invalid("descriptor number too large".to_owned()))?);
        files
            .install_at(number, file, FdFlags::empty(), NR_OPEN as u64)
            .map_err(|errno| invalid(format!("descriptor {}: {errno}", guest.number)))?;
    }
    let named = config.program.as_ref().or(config.args.first());
    let Some(program) = named.cloned() else {
        return Err(invalid("process has no arguments".to_owned()));
    };
    may_execute(&seccomp, &program)?;
    let env: Vec<Vec<u8>> = env.into_iter().map(String::into_bytes).collect();
    let there = {
        let cx = LookupCx {
            fs: &fs,
            creds: &creds,
            task: None,
        };
        let path = find_program(cx, program.as_bytes(), &env)
            .map_err(|errno| cannot_execute(&program, errno))?;
        resolve(cx, &fs.cwd(), &path, LookupFlags::FOLLOW).is_ok()
    };
    let request = Start {
        program: config.program.map(String::into_bytes),
        args: config.args.into_iter().map(String::into_bytes).collect(),
        env,
        creds,
        limits,
        fs,
        files,
        oom_score_adj: config.oom_score_adj.unwrap_or(0),
        nice: config.nice.clamp(-20, 19),
        policy: config.policy,
        io_priority: config.io_priority,
        seccomp,
    };
    let task = start(kernel, container, request)
        .await
        .map_err(|errno| match errno {
            // The program is there: what is missing is its interpreter.
            Errno::ENOENT if there => ControlError::new(
                ErrorKind::CannotExecute,
                format!("exec {program}: no such file or directory"),
            ),
            errno => cannot_execute(&program, errno),
        })?;
    task.misc.lock().personality = container
        .extensions
        .get::<Personality>()
        .0
        .load(Ordering::Relaxed);
    if config.mortal_init {
        task.group.unshielded.store(true, Ordering::Relaxed);
    }
    if let Some(tty) = terminal {
        tty.make_controlling(&task).map_err(|errno| {
            invalid(format!(
                "the terminal cannot control the process's session: {errno}"
            ))
        })?;
    }
    Ok(task)
}

/// A profile that denies `execve` denies the program itself: runc installs it before it executes anything.
fn may_execute(state: &SeccompState, program: &str) -> Result<()> {
    let call = CallData {
        nr: abi::nr::execve,
        arch: abi::bpf::AUDIT_ARCH_X86_64,
        ip: 0,
        args: [0; 6],
    };
    let errno = match evaluate(state, &call) {
        Action::Allow | Action::Log => return Ok(()),
        Action::Errno(number) => Errno::from_raw(i32::from(number)),
        // A profile has no listener before somebody runs.
        Action::Trace(_) | Action::Notify => Errno::ENOSYS,
        Action::Trap(_) | Action::KillThread | Action::KillProcess => Errno::EPERM,
    };
    Err(cannot_execute(program, errno))
}

/// runc's words, which callers match.
fn cannot_execute(program: &str, errno: Errno) -> ControlError {
    let text = match errno {
        Errno::ENOENT if !program.contains('/') => {
            format!("exec: {program:?}: executable file not found in $PATH")
        }
        errno @ (Errno::ENOENT | Errno::ENOTDIR) => format!(
            "exec: {program:?}: stat {program}: {}",
            errno.to_string().to_lowercase()
        ),
        errno => format!("exec: {program:?}: {}", errno.to_string().to_lowercase()),
    };
    ControlError::new(ErrorKind::CannotExecute, text)
}

/// Goes to the working directory. As with runc, a container's first process has it made if it is missing, an exec does not.
fn set_cwd(fs: &Arc<FsContext>, creds: &Creds, cwd: &str, first: bool) -> Result<()> {
    let cwd = if cwd.is_empty() { "/" } else { cwd };
    let root = Creds::root();
    let cx = LookupCx {
        fs,
        creds: &root,
        task: None,
    };
    if first {
        mounts::make_dirs(cx, cwd.as_bytes(), 0o755).map_err(|errno| {
            invalid(format!(
                "error during container init: mkdir {cwd}: {}",
                errno.to_string().to_lowercase()
            ))
        })?;
    }
    let user = LookupCx {
        fs,
        creds,
        task: None,
    };
    let path = resolve(
        user,
        &fs.root(),
        cwd.as_bytes(),
        LookupFlags::FOLLOW | LookupFlags::DIRECTORY,
    )
    .and_then(|found| found.into_path())
    .map_err(|errno| {
        ControlError::new(
            ErrorKind::CannotExecute,
            format!(
                "chdir to cwd ({cwd:?}) set in config.json failed: {}",
                errno.to_string().to_lowercase()
            ),
        )
    })?;
    debug_assert_eq!(path.inode().file_type().unwrap_or(S_IFDIR), S_IFDIR);
    fs.set_cwd(path);
    Ok(())
}

/// `SIGKILL`'s number, for those who end things.
pub(super) const SIGKILL: u32 = libc::SIGKILL as u32;
