//! Which host calls a guest's host thread may execute: its own few, and those that the sentry orders, with the arguments that it orders.

/// Addresses that a guest may map.
const GUEST: std::ops::Range<u64> = 0x1_0000..0x7ffe_0000_0000;
const CONTROL: u64 = 0x7fff_0010_0000;
const SLOTS: std::ops::Range<u64> = 0x7fff_1000_0000..0x7fff_2000_0000;
const STACKS: std::ops::Range<u64> = 0x7fff_4000_0000..0x7fff_c000_0000;
const CHUNK: u64 = 16;

const MAP_SHARED: u64 = 1;
const MAP_PRIVATE: u64 = 2;
const MAP_FIXED: u64 = 0x10;
const MAP_ANONYMOUS: u64 = 0x20;
const MAP_NORESERVE: u64 = 0x4000;
const MAP_FIXED_NOREPLACE: u64 = 0x10_0000;

/// Flags of a fork, a process with shared memory, a thread; any with `CLONE_SETTLS`.
const CLONES: [u64; 3] = [0x8011, 0x8111, 0x5_0f00];
const CLONE_SETTLS: u64 = 0x8_0000;

/// Who executes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The template, before and after it clones.
    Template,
    /// A process that the template has just made and that has no filter yet.
    Script,
    /// A thread behind the filter.
    Guest,
}

/// One executed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number.
    pub nr: i64,
    /// All six argument registers.
    pub args: [u64; 6],
}

fn within(zone: &std::ops::Range<u64>, at: u64, len: u64) -> bool {
    len > 0 && at >= zone.start && at.checked_add(len).is_some_and(|end| end <= zone.end)
}

/// Whether `role` may execute `call`.
#[must_use]
pub fn is_allowed(role: Role, call: &Call) -> bool {
    match role {
        Role::Template => template(call),
        Role::Script => script(call) || guest(call),
        Role::Guest => guest(call),
    }
}

fn template(Call { nr, args }: &Call) -> bool {
    match nr {
        // recvmsg and write on its socket, clone, close of what it was handed
        47 | 1 => args[0] == 3,
        56 => args[0] == 0x8011,
        3 => args[0] == 0,
        _ => false,
    }
}

fn script(call: &Call) -> bool {
    let Call { nr, args } = call;
    match nr {
        3 => args[0] == 3,
        9 => stub_mapping(args),
        // sigaltstack, PR_SET_PDEATHSIG to SIGKILL, seccomp with a listener
        131 => true,
        157 => args[..2] == [1, 9],
        317 => args[..2] == [1, 1 << 3 | 1 << 5],
        _ => false,
    }
}

fn guest(Call { nr, args }: &Call) -> bool {
    let [a, b, c, d, e, _] = *args;
    match nr {
        // On their own: rt_sigreturn, sched_yield, restart_syscall, futex wait and wake in the slots.
        15 | 24 | 219 => true,
        202 => {
            // Ordered: FUTEX_WAKE_OP that sets one bit of one word and wakes nobody who waits at the host.
            let set_bit = b == 5 | 128 && within(&GUEST, a, 4) && a == e && (c, d) == (1, 1);
            within(&SLOTS, a, 4) && b & 0xffff_ffff < 2 || set_bit
        }
        // Bypass every filter in the host's kernel (`__secure_computing`): SIGILL or ENXIO is all they do.
        335 | 336 => true,
        // Ordered.
        9 => stub_mapping(args) || guest_mapping(args),
        10 => within(&GUEST, a, b) && c & !7 == 0,
        11 => {
            within(&GUEST, a, b)
                || (a, b) == (CONTROL, 0x4000)
                || (a, b) == (SLOTS.start, SLOTS.end - SLOTS.start)
        }
        25 => within(&GUEST, a, b) && within(&GUEST, e, c) && d & !7 == 0 && (a == e || d & 2 != 0),
        28 => within(&GUEST, a, b) && matches!(c, 0..=4 | 8 | 10 | 11 | 14..=23),
        // mincore, mlock, munlock; membarrier; getrusage and the thread's own clock, which the host writes to the guest's memory.
        27 => within(&GUEST, a, b) && within(&GUEST, c, b / 4096),
        149 | 150 => within(&GUEST, a, b),
        324 => a & !0x3ff == 0 && b == 0,
        // rseq.
        334 => within(&GUEST, a, b),
        98 => a < 2 && within(&GUEST, b, 144),
        228 => a == 3 && within(&GUEST, b, 16),
        158 => matches!(a, 0x1001 | 0x1002),
        // At exec, for the host's ps: PR_SET_NAME, and PR_SET_MM with PR_SET_MM_MAP (the process's own books of where its arguments are).
        157 => {
            a == 15 && within(&GUEST, b, 16) && (c, d, e) == (0, 0, 0)
                || (a, b) == (35, 14) && within(&GUEST, c, 0x68) && (d, e) == (0x68, 0)
        }
        56 => CLONES.contains(&(a & !CLONE_SETTLS)) && (b == 0 || within(&STACKS, b, 8)),
        60 => a == 0,
        // Its listener, once.
        3 => a < 4,
        _ => false,
    }
}

fn stub_mapping(args: &[u64; 6]) -> bool {
    let [at, len, prot, flags, fd, _] = *args;
    let slots = within(&SLOTS, at, len)
        && len == CHUNK * 0x1000
        && flags == MAP_FIXED | MAP_SHARED
        && fd == 0;
    let anonymous = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    let stacks =
        within(&STACKS, at, len) && len == CHUNK * 0x8000 && flags == anonymous && fd == u64::MAX;
    prot == 3 && (slots || stacks)
}

fn guest_mapping(args: &[u64; 6]) -> bool {
    let [at, len, prot, flags, fd, _] = *args;
    let kind = flags & (MAP_SHARED | MAP_PRIVATE);
    let place = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
    let known =
        MAP_SHARED | MAP_PRIVATE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_NORESERVE;
    let source = if flags & MAP_ANONYMOUS != 0 {
        fd == u64::MAX
    } else {
        // Where the sentry puts the file: the number is its reply to go on.
        fd == 3
    };
    within(&GUEST, at, len)
        && prot & !7 == 0
        && flags & !known == 0
        && kind.count_ones() == 1
        && place.count_ones() == 1
        && source
}
