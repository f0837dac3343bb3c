//! The template: a freestanding process, forked from the boot code, that guest processes are cloned from.
//!
//! [`Template::prepare`] runs while the sentry-to-be may still read `/proc/self/maps` and fork. The child (in `template_child.rs`) moves the vDSO
//! to its place, maps the stub and the control pages, sheds everything that libc registered with the kernel, closes all descriptors but its
//! socket and jumps into the stub, which unmaps the rest. From then on the template does one thing: per message it clones a process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use abi::Errno;
use parking_lot::Mutex;

use super::filter::Instruction;
use crate::host::memory::SharedMemory;
use crate::host::{process, socket};
use crate::{GUEST_TOP, Range, Vdso, stub};

/// How long one step of making a process may take.
pub(crate) const STEP_TIMEOUT_MS: u64 = 10_000;

/// One mapping of the host's vDSO or its data, and where guests will see it.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) from: u64,
    pub(super) len: u64,
    pub(super) to: u64,
}

/// The host's XSAVE image as signal frames have it.
#[derive(Clone, Debug)]
pub(crate) struct XstateFormat {
    /// Bytes with the trailing magic.
    pub(crate) size: usize,
    /// Bytes 464..512 of the legacy area.
    pub(crate) reserved: [u8; 48],
    /// MXCSR bits that may be set.
    pub(crate) mxcsr_mask: u32,
}

/// A prepared template process; dropping it ends the process (guests already made live on).
pub struct Template {
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    control: SharedMemory,
    vdso: Vdso,
    xstate: XstateFormat,
    fsgsbase: bool,
    /// The host does not tell a receiver that the last process has gone.
    polls_before_receiving: bool,
    /// Held while a process is being made: the control pages describe one at a time.
    making: Mutex<()>,
}

/// Whether this kernel is 6.11 or later.
fn receiver_learns_of_the_end() -> bool {
    let Ok(name) = nix::sys::utsname::uname() else {
        return false;
    };
    let release = name.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 11)
}

/// Errno with what was being done, for people.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the template for guest processes: {step}: {errno}")]
pub struct PrepareError {
    /// What failed.
    pub step: &'static str,
    /// The host's answer.
    pub errno: Errno,
}

fn step<T>(step: &'static str, result: Result<T, Errno>) -> Result<T, PrepareError> {
    result.map_err(|errno| PrepareError { step, errno })
}

impl Template {
    /// Forks the template. Call it from the thread that lives as long as the guests shall (they die with it), before any filter is installed,
    /// with the ids that the guests shall have.
    pub fn prepare() -> Result<Self, PrepareError> {
        let maps = step(
            "reading /proc/self/maps",
            std::fs::read_to_string("/proc/self/maps").map_err(Errno::from),
        )?;
        Self::prepare_with_maps(&maps)
    }

    /// As [`Template::prepare`], with the text of `/proc/self/maps` as it was read before that went out of sight. Stack and vDSO must be where it says.
    pub fn prepare_with_maps(maps: &str) -> Result<Self, PrepareError> {
        let (pieces, vdso) = plan(maps).ok_or(PrepareError {
            step: "finding room for the stub above the guest's addresses (is address randomisation off?)",
            errno: Errno::EEXIST,
        })?;
        let _ = process::allowed_cpus();
        let control = step(
            "making its control pages",
            SharedMemory::new(c"runsc-template", stub::CONTROL_SIZE as usize),
        )?;
        let (ours, theirs) = step("making its socket", socket::pair())?;
        write_boot_script(&control, vdso);
        // SAFETY: a plain query.
        let fsgsbase = unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 != 0;
        let plan = super::template_child::Plan {
            pieces,
            socket: theirs.as_raw_fd(),
            control: control.fd().as_raw_fd(),
            fsgsbase,
        };
        let pid = step("forking it", super::template_child::fork(&plan))?;
        drop(theirs);
        let pidfd = step("opening its pidfd", process::open_pidfd(pid))?;
        if let Err(errno) = socket::receive_byte(ours.as_fd(), STEP_TIMEOUT_MS as i32) {
            let _ = process::kill(pidfd.as_fd());
            let _ = process::reap_blocking(pidfd.as_fd());
            let told = control.read(stub::CONTROL_ERROR);
            let (step, errno) = match told {
                0 => ("waiting for it to start", errno),
                _ => (
                    super::template_child::step_name(told >> 32),
                    Errno::from_raw(told as u32 as i32),
                ),
            };
            return Err(PrepareError { step, errno });
        }
        let xstate = read_xstate(&control);
        Ok(Self {
            pid,
            pidfd,
            socket: ours,
            control,
            vdso,
            xstate,
            fsgsbase,
            polls_before_receiving: !receiver_learns_of_the_end(),
            making: Mutex::new(()),
        })
    }

    /// The template's process id, for the boot code to move it to the guests' cgroup.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The template's pidfd.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    pub(crate) fn vdso(&self) -> Vdso {
        self.vdso
    }

    pub(crate) fn xstate(&self) -> &XstateFormat {
        &self.xstate
    }

    pub(super) const fn polls_before_receiving(&self) -> bool {
        self.polls_before_receiving
    }

    pub(super) fn has_fsgsbase(&self) -> bool {
        self.fsgsbase
    }

    /// Stores the filter and the two scripts. Called once.
    pub(super) fn configure(&self, filter: &[Instruction], first_frame: u64) {
        let control = &self.control;
        let words: Vec<u64> = filter
            .iter()
            .map(|instruction| instruction.to_word())
            .collect();
        self.write_filter(&words);
        control.write_words(
            stub::CONTROL_ALTSTACK,
            &[stub::stack_base(0), 0, stub::STACK_SIZE],
        );
        control.write(stub::CONTROL_FRAME, first_frame);
        let fd = stub::CONTROL_FD as u64;
        self.write_parent_script();
        let fixed = (libc::MAP_FIXED | libc::MAP_SHARED) as u64;
        let private =
            (libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
                as u64;
        let rw = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let chunk = super::arena::CHUNK_SLOTS as u64;
        let map = libc::SYS_mmap as u64;
        let new_listener = 1 << 3 | 1 << 5; // NEW_LISTENER | WAIT_KILLABLE_RECV
        write_script(
            control,
            stub::CONTROL_CHILD,
            &[
                [libc::SYS_close as u64, fd, 0, 0, 0, 0, 0],
                [map, stub::SLOTS, chunk * stub::SLOT_SIZE, rw, fixed, 0, 0],
                [
                    map,
                    stub::STACKS,
                    chunk * stub::STACK_SIZE,
                    rw,
                    private,
                    u64::MAX,
                    0,
                ],
                [
                    libc::SYS_sigaltstack as u64,
                    stub::CONTROL + stub::CONTROL_ALTSTACK as u64,
                    0,
                    0,
                    0,
                    0,
                    0,
                ],
                [
                    libc::SYS_prctl as u64,
                    libc::PR_SET_PDEATHSIG as u64,
                    libc::SIGKILL as u64,
                    0,
                    0,
                    0,
                    0,
                ],
                // SECCOMP_SET_MODE_FILTER = 1
                [
                    libc::SYS_seccomp as u64,
                    1,
                    new_listener,
                    stub::CONTROL + stub::CONTROL_FPROG as u64,
                    0,
                    0,
                    0,
                ],
            ],
        );
    }

    /// As [`Template::configure`] for processes that do nothing on their own: stores a filter program (as words) for their tracer to install and
    /// what they do first. Called once.
    pub(crate) fn configure_bare(&self, filter: &[u64], first: &[[u64; 7]]) {
        self.write_filter(filter);
        self.write_parent_script();
        write_script(&self.control, stub::CONTROL_CHILD, first);
        // SS_DISABLE: the sentry's own alternate stack was inherited.
        self.control.write_words(stub::CONTROL_ALTSTACK, &[0, 2, 0]);
    }

    fn write_filter(&self, words: &[u64]) {
        assert!(
            stub::CONTROL_FILTER + words.len() * 8 <= stub::CONTROL_SIZE as usize,
            "filter fits the control pages"
        );
        self.control.write_words(stub::CONTROL_FILTER, words);
        self.control.write_words(
            stub::CONTROL_FPROG,
            &[
                words.len() as u64,
                stub::CONTROL + stub::CONTROL_FILTER as u64,
            ],
        );
    }

    fn write_parent_script(&self) {
        let write_byte = [
            libc::SYS_write as u64,
            stub::CONTROL_FD as u64,
            stub::CONTROL + stub::CONTROL_MESSAGE as u64,
            1,
            0,
            0,
            0,
        ];
        let clone = [
            libc::SYS_clone as u64,
            (libc::CLONE_PARENT | libc::SIGCHLD) as u64,
            0,
            0,
            0,
            0,
            0,
        ];
        write_script(
            &self.control,
            stub::CONTROL_PARENT,
            &[
                clone,
                [libc::SYS_close as u64, 0, 0, 0, 0, 0, 0],
                write_byte,
            ],
        );
    }

    /// Clones a process whose descriptor 0 is `arena`. The returned id is not reaped by anyone until the caller does so.
    pub(crate) fn clone_process(&self, arena: BorrowedFd<'_>) -> Result<i32, Errno> {
        let _guard = self.making.lock();
        let result = stub::CONTROL_PARENT + 64 + 56;
        self.control.write(result, 0);
        socket::send_descriptor(self.socket.as_fd(), arena)?;
        socket::receive_byte(self.socket.as_fd(), STEP_TIMEOUT_MS as i32)?;
        let pid = self.control.read(result).cast_signed();
        match i32::try_from(pid) {
            Ok(pid) if pid > 1 => Ok(pid),
            Ok(error) if error < 0 => Err(Errno::from_raw(-error)),
            _ => Err(Errno::EIO),
        }
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        let _ = process::kill(self.pidfd.as_fd());
        let _ = process::reap_blocking(self.pidfd.as_fd());
    }
}

fn write_script(control: &SharedMemory, at: usize, calls: &[[u64; 7]]) {
    control.write(at, calls.len() as u64);
    for (index, call) in calls.iter().enumerate() {
        control.write_words(at + 64 + index * 64, call);
    }
}

fn write_boot_script(control: &SharedMemory, vdso: Vdso) {
    let at = stub::CONTROL + stub::CONTROL_MESSAGE as u64;
    // msghdr at +0, its vector at +64, the control buffer at +80, the byte at +112.
    control.write_words(stub::CONTROL_MESSAGE, &[0, 0, at + 64, 1, at + 80, 24, 0]);
    control.write_words(stub::CONTROL_MESSAGE + 64, &[at + 112, 1]);
    let munmap = libc::SYS_munmap as u64;
    let start = vdso.vvar.start.min(vdso.code.start);
    let end = vdso.vvar.end.max(vdso.code.end);
    let after_text = stub::TEXT + 4096;
    let after_control = stub::CONTROL + stub::CONTROL_SIZE;
    write_script(
        control,
        stub::CONTROL_BOOT,
        &[
            [munmap, 0, start, 0, 0, 0, 0],
            [munmap, end, stub::TEXT - end, 0, 0, 0, 0],
            [munmap, after_text, stub::CONTROL - after_text, 0, 0, 0, 0],
            [
                munmap,
                after_control,
                stub::ZONE_END - after_control,
                0,
                0,
                0,
                0,
            ],
            [libc::SYS_arch_prctl as u64, 0x1002, 0, 0, 0, 0, 0], // ARCH_SET_FS
            [
                libc::SYS_write as u64,
                stub::CONTROL_FD as u64,
                at + 112,
                1,
                0,
                0,
                0,
            ],
        ],
    );
}

fn read_xstate(control: &SharedMemory) -> XstateFormat {
    let mut reserved = [0_u8; 48];
    for (index, chunk) in reserved.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(
            &control
                .read(stub::CONTROL_XSTATE + 16 + index * 8)
                .to_ne_bytes(),
        );
    }
    XstateFormat {
        size: control.read(stub::CONTROL_XSTATE) as usize,
        reserved,
        mxcsr_mask: control.read(stub::CONTROL_XSTATE + 8) as u32,
    }
}

/// Finds the vDSO's mappings in the text of `/proc/self/maps` and places them below [`GUEST_TOP`]; `None` if something else is in our zone.
fn plan(maps: &str) -> Option<(Vec<Piece>, Vdso)> {
    let mut pieces = Vec::new();
    let (mut vvar, mut code): (Option<Range>, Option<Range>) = (None, None);
    let mut others = Vec::new();
    for line in maps.lines() {
        let (range, _) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (
            u64::from_str_radix(start, 16).ok()?,
            u64::from_str_radix(end, 16).ok()?,
        );
        match line.rsplit(' ').next()? {
            "[vdso]" => code = Some(Range { start, end }),
            name if name.starts_with("[vvar") => {
                vvar = Some(vvar.map_or(Range { start, end }, |old| Range {
                    start: old.start.min(start),
                    end: old.end.max(end),
                }));
            }
            "[stack]" | "[vsyscall]" => continue,
            _ => {
                others.push(Range { start, end });
                continue;
            }
        }
        pieces.push(Piece {
            from: start,
            len: end - start,
            to: 0,
        });
    }
    let (vvar, code) = (vvar?, code?);
    let (start, end) = (vvar.start.min(code.start), vvar.end.max(code.end));
    let base = GUEST_TOP.checked_sub(end - start)?;
    if others
        .iter()
        .any(|range| range.end > base && range.start < stub::ZONE_END)
    {
        return None;
    }
    let moved = |range: Range| Range {
        start: base + (range.start - start),
        end: base + (range.end - start),
    };
    for piece in &mut pieces {
        piece.to = base + (piece.from - start);
    }
    Some((
        pieces,
        Vdso {
            vvar: moved(vvar),
            code: moved(code),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vdso_keeps_its_shape_below_the_top() {
        let maps = "400000-401000 r-xp 00000000 fe:00 1 /bin/x\n7f0000004000-7f0000008000 r--p 00000000 00:00 0 [vvar]\n\
            7f0000008000-7f000000a000 r--p 00000000 00:00 0 [vvar_vclock]\n7f000000a000-7f000000c000 r-xp 00000000 00:00 0 [vdso]\n";
        let (pieces, vdso) = plan(maps).unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(
            vdso.code,
            Range {
                start: GUEST_TOP - 0x2000,
                end: GUEST_TOP
            }
        );
        assert_eq!(
            vdso.vvar,
            Range {
                start: GUEST_TOP - 0x8000,
                end: GUEST_TOP - 0x2000
            }
        );
        assert!(
            plan(&format!(
                "{maps}7fff00000000-7fff00001000 r--p 00000000 00:00 0 \n"
            ))
            .is_none()
        );
    }
}
