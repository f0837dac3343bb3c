//! Seccomp filters of guests and of a container's profile: a validator and interpreter for classic BPF (`seccomp(2)`, `kernel/seccomp.c`,
//! `net/core/filter.c`: bpf_check_classic).
//!
//! What a set of filters always allows, whatever the arguments, is found once when a filter is added; most calls then cost one bit test.

use std::sync::Arc;

use abi::bpf::{
    AUDIT_ARCH_X86_64, SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT, SECCOMP_RET_ACTION_FULL,
    SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD,
    SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF, SockFilter,
};

use super::seccomp_listener::Notifications;
use crate::error::{Errno, Result};

/// Most instructions of one filter (BPF_MAXINSNS).
pub const MAX_INSTRUCTIONS: usize = 4096;
/// Most instructions of all filters of a task, each filter counting four more.
const MAX_TOTAL: usize = 32768;
/// `sizeof(struct seccomp_data)`.
const DATA_SIZE: u32 = 64;
/// Scratch words (BPF_MEMWORDS).
const MEMORY_WORDS: usize = 16;
/// Call numbers that the always-allowed set covers.
const CACHED_CALLS: usize = 512;

/// Filters and mode of a task; cloned at fork.
#[derive(Clone, Default)]
pub struct SeccompState {
    /// 0 none, 1 strict, 2 filter.
    pub mode: u32,
    /// Filters, the oldest first; all are evaluated.
    pub filters: Vec<Arc<Program>>,
    /// Calls of x86-64 that all filters allow whatever the arguments, by number.
    always: Option<Arc<[u64; CACHED_CALLS / 64]>>,
}

/// A valid filter.
#[derive(Debug)]
pub struct Program {
    code: Vec<SockFilter>,
    /// Who is asked about calls that it hands over.
    listener: Option<Arc<Notifications>>,
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.set_unused();
        }
    }
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run it.
    Allow,
    /// Run it and log it.
    Log,
    /// Answer with this error (0: success without running it).
    Errno(u16),
    /// SIGSYS with this `si_errno`.
    Trap(u16),
    /// The tracer decides, with this message; without one the call is not there.
    Trace(u16),
    /// Whoever holds the filter's listener decides.
    Notify,
    /// Ends the thread as by SIGSYS.
    KillThread,
    /// Ends the process as by SIGSYS.
    KillProcess,
}

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
pub struct CallData {
    /// Number.
    pub nr: u32,
    /// AUDIT_ARCH_*.
    pub arch: u32,
    /// Address behind the instruction.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

impl CallData {
    /// The 32-bit word at a validated offset.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.nr,
            4 => self.arch,
            8 => self.ip as u32,
            12 => (self.ip >> 32) as u32,
            _ => {
                let arg = self.args[(offset as usize - 16) / 8 % 6];
                if offset.is_multiple_of(8) {
                    arg as u32
                } else {
                    (arg >> 32) as u32
                }
            }
        }
    }
}

const fn class(code: u16) -> u16 {
    code & 7
}
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const RET_K: u16 = 0x06;
const RET_A: u16 = 0x16;
const LD_ABS: u16 = 0x20;
const LD_LEN: u16 = 0x80;
const LDX_LEN: u16 = 0x81;
const LD_IMM: u16 = 0x00;
const LDX_IMM: u16 = 0x01;
const LD_MEM: u16 = 0x60;
const LDX_MEM: u16 = 0x61;
const TAX: u16 = 0x07;
const TXA: u16 = 0x87;
const JA: u16 = 0x05;
/// The operand is X rather than k.
const SOURCE_X: u16 = 8;
const NEG: u16 = 0x84;

impl Program {
    /// Checks a filter as Linux does; `EINVAL` if it is no valid one.
    pub fn new(code: Vec<SockFilter>) -> Result<Self> {
        if code.is_empty() || code.len() > MAX_INSTRUCTIONS {
            return Err(Errno::EINVAL);
        }
        for (at, instruction) in code.iter().enumerate() {
            if !valid_instruction(instruction, code.len() - at - 1) {
                return Err(Errno::EINVAL);
            }
        }
        let ends = code
            .last()
            .is_some_and(|last| matches!(last.code, RET_K | RET_A));
        if !ends || !memory_is_initialised(&code) {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            code,
            listener: None,
        })
    }

    /// With somebody who is asked about calls.
    #[must_use]
    pub fn with_listener(mut self, listener: Arc<Notifications>) -> Self {
        self.listener = Some(listener);
        self
    }

    /// Runs the filter. `None` if it looks at anything but number and architecture while `only_number` is set.
    fn run(&self, data: &CallData, only_number: bool) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY_WORDS];
        let mut pc = 0;
        // Jumps only go forward, so this ends.
        while let Some(i) = self.code.get(pc) {
            pc += 1;
            let operand = if i.code & SOURCE_X != 0 { x } else { i.k };
            match i.code {
                LD_ABS if only_number && i.k > 4 => return None,
                LD_ABS => a = data.word(i.k),
                LD_LEN => a = DATA_SIZE,
                LDX_LEN => x = DATA_SIZE,
                LD_IMM => a = i.k,
                LDX_IMM => x = i.k,
                LD_MEM => a = memory[i.k as usize % MEMORY_WORDS],
                LDX_MEM => x = memory[i.k as usize % MEMORY_WORDS],
                ST => memory[i.k as usize % MEMORY_WORDS] = a,
                STX => memory[i.k as usize % MEMORY_WORDS] = x,
                TAX => x = a,
                TXA => a = x,
                RET_K => return Some(i.k),
                RET_A => return Some(a),
                JA => pc += i.k as usize,
                NEG => a = a.wrapping_neg(),
                code if class(code) == JMP => {
                    let taken = match code & 0xf0 {
                        0x10 => a == operand,
                        0x20 => a > operand,
                        0x30 => a >= operand,
                        _ => a & operand != 0,
                    };
                    pc += usize::from(if taken { i.jt } else { i.jf });
                }
                code => match alu(code & 0xf0, a, operand) {
                    Some(value) => a = value,
                    // Division by a zero in X ends the filter with 0, which is KILL_THREAD.
                    None => return Some(0),
                },
            }
        }
        Some(SECCOMP_RET_KILL_PROCESS)
    }
}

fn alu(op: u16, a: u32, operand: u32) -> Option<u32> {
    Some(match op {
        0x00 => a.wrapping_add(operand),
        0x10 => a.wrapping_sub(operand),
        0x20 => a.wrapping_mul(operand),
        0x30 => return a.checked_div(operand),
        0x40 => a | operand,
        0x50 => a & operand,
        // Shifts by X take its low five bits, as the processor does.
        0x60 => a.wrapping_shl(operand),
        0x70 => a.wrapping_shr(operand),
        _ => a ^ operand,
    })
}

/// Whether an instruction is one that seccomp knows, with valid operands. `behind`: how many follow.
fn valid_instruction(i: &SockFilter, behind: usize) -> bool {
    let in_memory = (i.k as usize) < MEMORY_WORDS;
    match class(i.code) {
        LD | LDX => match i.code {
            LD_ABS => i.k < DATA_SIZE && i.k.is_multiple_of(4),
            LD_LEN | LDX_LEN | LD_IMM | LDX_IMM => true,
            LD_MEM | LDX_MEM => in_memory,
            _ => false,
        },
        ST | STX => matches!(i.code, ST | STX) && in_memory,
        ALU => {
            let by_k = i.code & SOURCE_X == 0;
            match i.code & 0xf0 {
                _ if i.code & 0xff00 != 0 => false,
                0x80 => i.code == NEG,
                0x30 => !by_k || i.k != 0,
                0x60 | 0x70 => !by_k || i.k < 32,
                0x00 | 0x10 | 0x20 | 0x40 | 0x50 | 0xa0 => true,
                _ => false,
            }
        }
        JMP => match i.code {
            JA => (i.k as usize) < behind,
            code if code & 0xff00 == 0 && matches!(code & 0xf0, 0x10 | 0x20 | 0x30 | 0x40) => {
                usize::from(i.jt) < behind && usize::from(i.jf) < behind
            }
            _ => false,
        },
        RET => matches!(i.code, RET_K | RET_A),
        _ => matches!(i.code, TAX | TXA),
    }
}

/// Whether no path reads a scratch word that it has not written (`check_load_and_stores`).
fn memory_is_initialised(code: &[SockFilter]) -> bool {
    let mut reaching = vec![u16::MAX; code.len()];
    let mut valid = 0_u16;
    for (at, i) in code.iter().enumerate() {
        valid &= reaching[at];
        let mut meet = |target: usize, valid: u16| {
            if let Some(mask) = reaching.get_mut(target) {
                *mask &= valid;
            }
        };
        match i.code {
            ST | STX => valid |= 1 << i.k,
            LD_MEM | LDX_MEM if valid & (1 << i.k) == 0 => {
                return false;
            }
            JA => {
                meet(at + 1 + i.k as usize, valid);
                valid = u16::MAX;
            }
            code if class(code) == JMP => {
                meet(at + 1 + usize::from(i.jt), valid);
                meet(at + 1 + usize::from(i.jf), valid);
                valid = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

impl SeccompState {
    /// These filters with one more. `EINVAL` in strict mode, `ENOMEM` when there are too many instructions.
    pub fn with_filter(&self, program: Arc<Program>) -> Result<Self> {
        if self.mode == SECCOMP_MODE_STRICT {
            return Err(Errno::EINVAL);
        }
        let mut filters = self.filters.clone();
        filters.push(program);
        let total: usize = filters.iter().map(|f| f.code.len() + 4).sum();
        if total > MAX_TOTAL {
            return Err(Errno::ENOMEM);
        }
        let mut always = [0_u64; CACHED_CALLS / 64];
        for nr in 0..CACHED_CALLS {
            let data = CallData {
                nr: nr as u32,
                arch: AUDIT_ARCH_X86_64,
                ip: 0,
                args: [0; 6],
            };
            let known = self
                .always
                .as_ref()
                .is_none_or(|set| set[nr / 64] >> (nr % 64) & 1 != 0);
            let newest = filters.last().and_then(|f| f.run(&data, true));
            if known && newest.is_some_and(|ret| ret & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_ALLOW)
            {
                always[nr / 64] |= 1 << (nr % 64);
            }
        }
        Ok(Self {
            mode: SECCOMP_MODE_FILTER,
            filters,
            always: Some(Arc::new(always)),
        })
    }

    /// Whether one of the filters has a listener: there can be one only.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.filters.iter().any(|filter| filter.listener.is_some())
    }

    /// Strict mode: `EINVAL` if filters are set already.
    pub fn strict(&self) -> Result<Self> {
        if self.mode == SECCOMP_MODE_FILTER {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            mode: SECCOMP_MODE_STRICT,
            ..Self::default()
        })
    }

    /// Whether these filters begin with all of `other`'s (TSYNC).
    #[must_use]
    pub fn descends_from(&self, other: &Self) -> bool {
        other.mode != SECCOMP_MODE_STRICT
            && other.filters.len() <= self.filters.len()
            && other
                .filters
                .iter()
                .zip(&self.filters)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// What the filters of `state` say to a call.
#[must_use]
pub fn evaluate(state: &SeccompState, data: &CallData) -> Action {
    evaluate_with_listener(state, data).0
}

/// What the filters of `state` say to a call, and for [`Action::Notify`] who is asked.
#[must_use]
pub fn evaluate_with_listener(
    state: &SeccompState,
    data: &CallData,
) -> (Action, Option<Arc<Notifications>>) {
    match state.mode {
        SECCOMP_MODE_STRICT => {
            let allowed = [
                abi::nr::read,
                abi::nr::write,
                abi::nr::exit,
                abi::nr::rt_sigreturn,
            ];
            return if data.arch == AUDIT_ARCH_X86_64 && allowed.contains(&data.nr) {
                (Action::Allow, None)
            } else {
                (Action::KillThread, None)
            };
        }
        SECCOMP_MODE_FILTER => {}
        _ => return (Action::Allow, None),
    }
    let nr = data.nr as usize;
    if let Some(always) = &state.always
        && data.arch == AUDIT_ARCH_X86_64
        && nr < CACHED_CALLS
        && always[nr / 64] >> (nr % 64) & 1 != 0
    {
        return (Action::Allow, None);
    }
    let mut listener = None;
    let mut strictest = SECCOMP_RET_ALLOW;
    for filter in state.filters.iter().rev() {
        let ret = filter.run(data, false).unwrap_or(SECCOMP_RET_KILL_PROCESS);
        // Compared as signed numbers, the strictest action is the smallest.
        let rank = |value: u32| (value & SECCOMP_RET_ACTION_FULL) as i32;
        if rank(ret) < rank(strictest) {
            strictest = ret;
            listener = filter.listener.clone();
        }
    }
    let value = strictest as u16;
    let action = match strictest & SECCOMP_RET_ACTION_FULL {
        SECCOMP_RET_ALLOW => Action::Allow,
        SECCOMP_RET_LOG => Action::Log,
        SECCOMP_RET_ERRNO => Action::Errno(value.min(4095)),
        SECCOMP_RET_TRAP => Action::Trap(value),
        SECCOMP_RET_TRACE => Action::Trace(value),
        SECCOMP_RET_USER_NOTIF if listener.is_some() => Action::Notify,
        // Nobody listens.
        SECCOMP_RET_USER_NOTIF => Action::Errno(Errno::ENOSYS.raw() as u16),
        SECCOMP_RET_KILL_THREAD => Action::KillThread,
        _ => Action::KillProcess,
    };
    (action, listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
        SockFilter { code, jt, jf, k }
    }

    fn call(nr: u32, first: u64) -> CallData {
        CallData {
            nr,
            arch: AUDIT_ARCH_X86_64,
            ip: 0x1234_5678_9abc,
            args: [first, 0, 0, 0, 0, 0xdead_beef_0000_0001],
        }
    }

    fn state(code: Vec<SockFilter>) -> SeccompState {
        SeccompState::default()
            .with_filter(Arc::new(Program::new(code).unwrap()))
            .unwrap()
    }

    /// Call 7 with first argument 3 gives EPERM, else allow.
    fn sample() -> Vec<SockFilter> {
        vec![
            op(LD_ABS, 0, 0, 0),
            op(0x15, 0, 3, 7),
            op(LD_ABS, 0, 0, 16),
            op(0x15, 0, 1, 3),
            op(RET_K, 0, 0, SECCOMP_RET_ERRNO | 1),
            op(RET_K, 0, 0, SECCOMP_RET_ALLOW),
        ]
    }

    #[test]
    fn filters_look_at_number_and_arguments() {
        let state = state(sample());
        assert_eq!(evaluate(&state, &call(7, 3)), Action::Errno(1));
        assert_eq!(evaluate(&state, &call(7, 4)), Action::Allow);
        assert_eq!(evaluate(&state, &call(8, 3)), Action::Allow);
        let always = state.always.unwrap();
        assert_eq!(
            always[0] >> 7 & 3,
            2,
            "7 depends on its argument, 8 does not"
        );
    }

    #[test]
    fn the_strictest_filter_wins_and_the_newest_of_equals() {
        let add = |state: &SeccompState, ret| {
            let program = Program::new(vec![op(RET_K, 0, 0, ret)]).unwrap();
            state.with_filter(Arc::new(program)).unwrap()
        };
        let mut state = SeccompState::default();
        for (ret, expected) in [
            (SECCOMP_RET_LOG, Action::Log),
            (SECCOMP_RET_ALLOW, Action::Log),
            (SECCOMP_RET_ERRNO | 5, Action::Errno(5)),
            (SECCOMP_RET_ERRNO | 6, Action::Errno(6)),
            (SECCOMP_RET_TRAP | 9, Action::Trap(9)),
            (SECCOMP_RET_ERRNO | 7, Action::Trap(9)),
            (SECCOMP_RET_KILL_THREAD, Action::KillThread),
            (0x1234_0000, Action::KillThread),
            (SECCOMP_RET_KILL_PROCESS, Action::KillProcess),
        ] {
            state = add(&state, ret);
            assert_eq!(evaluate(&state, &call(1, 0)), expected);
        }
    }

    #[test]
    fn other_architectures_do_not_use_the_cached_answers() {
        let state = state(vec![
            op(LD_ABS, 0, 0, 4),
            op(0x15, 1, 0, AUDIT_ARCH_X86_64),
            op(RET_K, 0, 0, SECCOMP_RET_KILL_PROCESS),
            op(RET_K, 0, 0, SECCOMP_RET_ALLOW),
        ]);
        assert_eq!(evaluate(&state, &call(1, 0)), Action::Allow);
        let foreign = CallData {
            arch: 0x4000_0003,
            ..call(1, 0)
        };
        assert_eq!(evaluate(&state, &foreign), Action::KillProcess);
    }

    #[test]
    fn high_halves_and_the_last_argument_can_be_read() {
        let state = state(vec![op(LD_ABS, 0, 0, 60), op(RET_A, 0, 0, 0)]);
        assert_eq!(call(0, 0).word(60), 0xdead_beef);
        // 0xdead_0000 is no known action.
        assert_eq!(evaluate(&state, &call(0, 0)), Action::KillProcess);
    }

    #[test]
    fn invalid_programs_are_refused() {
        let ret = op(RET_K, 0, 0, SECCOMP_RET_ALLOW);
        for code in [
            vec![],
            vec![op(LD_ABS, 0, 0, 0)],
            vec![op(LD_ABS, 0, 0, 2), ret],
            vec![op(LD_ABS, 0, 0, 64), ret],
            vec![op(0x15, 1, 0, 0), ret],
            vec![op(JA, 0, 0, 1), ret],
            vec![op(0x34, 0, 0, 0), ret],
            vec![op(0x64, 0, 0, 32), ret],
            vec![op(LD_MEM, 0, 0, 3), ret],
            vec![op(ST, 0, 0, 16), ret],
            vec![op(0x94, 0, 0, 3), ret],
            vec![op(0x28, 0, 0, 0), ret],
            vec![op(0xffff, 0, 0, 0), ret],
        ] {
            assert!(Program::new(code.clone()).is_err(), "{code:?}");
        }
        // Written on one path only.
        let one_sided = vec![op(0x15, 0, 1, 0), op(ST, 0, 0, 3), op(LD_MEM, 0, 0, 3), ret];
        assert!(Program::new(one_sided).is_err());
    }

    #[test]
    fn strict_mode_allows_four_calls() {
        let state = SeccompState::default().strict().unwrap();
        assert_eq!(evaluate(&state, &call(abi::nr::write, 0)), Action::Allow);
        assert_eq!(
            evaluate(&state, &call(abi::nr::getpid, 0)),
            Action::KillThread
        );
    }
}
