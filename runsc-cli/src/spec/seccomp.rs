//! A spec's seccomp profile as a classic BPF program, with the meaning that runc and libseccomp give it.
//!
//! - A rule without conditions holds for its calls whatever other rules say of them; else the first rule whose conditions all hold decides.
//! - Conditions on different arguments must all hold. As soon as one argument has two, each condition is a rule of its own (runc's
//!   `matchCall`).
//! - Rules whose action is the default one say nothing. Unknown call names are skipped: profiles name calls of many kernels and architectures.
//! - Unless the default lets calls pass, calls newer than every call named get `ENOSYS`, so that programs fall back (runc's `patchbpf`).
//! - Calls of other architectures end the thread; the sandbox lets through none but x86-64's anyway.

use std::collections::BTreeMap;

use abi::bpf::{
    AUDIT_ARCH_X86_64, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS,
    SECCOMP_RET_KILL_THREAD, SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_TRAP, SockFilter,
};
use anyhow::{Result, bail};
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

/// `BPF_LD | BPF_W | BPF_ABS`.
const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`.
const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
const IF_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const IF_AT_LEAST: u16 = 0x35;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;
/// Offset of the call number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;
/// Offset of the first argument; the low half of each comes first.
const ARGUMENTS: u32 = 16;
/// Above every call number of x86-64 that has a name.
const CALLS: u32 = 1024;

/// What holds for a call.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Always(u32),
    /// The first rule whose conditions hold.
    When(Vec<(Vec<LinuxSeccompArg>, u32)>),
}

/// Compiles a profile.
///
/// # Errors
/// What cannot be done, in one sentence.
pub fn compile(profile: &LinuxSeccomp) -> Result<Vec<SockFilter>> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let numbers = numbers();
    let mut verdicts = BTreeMap::new();
    let mut newest = 0;
    for rule in profile.syscalls().iter().flatten() {
        let verdict = action(rule.action(), rule.errno_ret())?;
        let alternatives = alternatives(rule)?;
        for name in rule.names() {
            let Some(number) = numbers.get(name.as_str()) else {
                continue;
            };
            newest = newest.max(*number);
            if verdict != default {
                enter(&mut verdicts, *number, &alternatives, verdict);
            }
        }
    }
    let passes = matches!(
        default & 0xffff_0000,
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG | SECCOMP_RET_TRACE
    );
    let beyond = (!passes && newest > 0).then_some((
        newest,
        SECCOMP_RET_ERRNO | u32::from(abi::Errno::ENOSYS.raw().unsigned_abs() as u16),
    ));
    Ok(assemble(&verdicts, default, beyond))
}

fn numbers() -> BTreeMap<&'static str, u32> {
    (0..CALLS)
        .filter_map(|number| Some((abi::nr::name(number)?, number)))
        .collect()
}

/// An action as the filter's return value.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    // `SECCOMP_RET_DATA`; EPERM if not given.
    let data = errno.unwrap_or(1) & 0xffff;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            SECCOMP_RET_KILL_THREAD
        }
        LinuxSeccompAction::ScmpActKillProcess => SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => SECCOMP_RET_ERRNO | data,
        LinuxSeccompAction::ScmpActTrace => SECCOMP_RET_TRACE | data,
        LinuxSeccompAction::ScmpActLog => SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActNotify => bail!(
            "the seccomp profile uses SCMP_ACT_NOTIFY, which is not supported: use another action for these calls"
        ),
    })
}

/// A rule's conditions: any of the lists must hold as a whole. No list: no conditions.
fn alternatives(rule: &LinuxSyscall) -> Result<Vec<Vec<LinuxSeccompArg>>> {
    let args = rule.args().as_deref().unwrap_or(&[]);
    let mut seen = [0_usize; 6];
    for arg in args {
        let Some(count) = seen.get_mut(arg.index()) else {
            bail!(
                "the seccomp profile has a condition on argument {}: system calls have arguments 0 to 5",
                arg.index()
            );
        };
        *count += 1;
    }
    if args.is_empty() {
        return Ok(Vec::new());
    }
    if seen.iter().any(|count| *count > 1) {
        return Ok(args.iter().map(|arg| vec![*arg]).collect());
    }
    Ok(vec![args.to_vec()])
}

fn enter(
    verdicts: &mut BTreeMap<u32, Verdict>,
    number: u32,
    alternatives: &[Vec<LinuxSeccompArg>],
    action: u32,
) {
    let entry = verdicts
        .entry(number)
        .or_insert_with(|| Verdict::When(Vec::new()));
    match entry {
        Verdict::Always(_) => {}
        Verdict::When(_) if alternatives.is_empty() => *entry = Verdict::Always(action),
        Verdict::When(list) => {
            list.extend(alternatives.iter().map(|args| (args.clone(), action)));
        }
    }
}

const fn op(code: u16, k: u32) -> SockFilter {
    SockFilter {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

/// The program: the architecture, then the calls in ascending order, neighbours of one verdict as one range.
fn assemble(
    verdicts: &BTreeMap<u32, Verdict>,
    default: u32,
    beyond: Option<(u32, u32)>,
) -> Vec<SockFilter> {
    let mut code = vec![op(LOAD, ARCHITECTURE)];
    skip_unless(&mut code, IF_EQUAL, AUDIT_ARCH_X86_64, true);
    code.push(op(RETURN, SECCOMP_RET_KILL_THREAD));
    code.push(op(LOAD, NUMBER));
    if let Some((newest, action)) = beyond {
        skip_unless(&mut code, IF_GREATER, newest, false);
        code.push(op(RETURN, action));
    }
    let mut next = 0;
    let mut gap = |code: &mut Vec<SockFilter>, first: u32, last: u32| {
        // Calls between those that have a verdict: one test, so that none of them is taken for the next range.
        if first > next {
            skip_unless(code, IF_AT_LEAST, first, true);
            code.push(op(RETURN, default));
        }
        next = last + 1;
    };
    let mut list = verdicts.iter().peekable();
    while let Some((first, verdict)) = list.next() {
        let mut last = *first;
        if matches!(verdict, Verdict::Always(_)) {
            while let Some((number, _)) =
                list.next_if(|(number, next)| **number == last + 1 && *next == verdict)
            {
                last = *number;
            }
        }
        gap(&mut code, *first, last);
        let body = match verdict {
            Verdict::Always(action) => vec![op(RETURN, *action)],
            Verdict::When(rules) => {
                let mut body: Vec<_> = rules
                    .iter()
                    .flat_map(|(args, action)| rule(args, *action))
                    .collect();
                body.push(op(RETURN, default));
                body
            }
        };
        skip_range(&mut code, last, body.len());
        code.extend(body);
    }
    code.push(op(RETURN, default));
    code
}

/// A test that steps over the one instruction behind it when its outcome is `when`.
fn skip_unless(code: &mut Vec<SockFilter>, test: u16, k: u32, when: bool) {
    code.push(SockFilter {
        code: test,
        jt: u8::from(when),
        jf: u8::from(!when),
        k,
    });
}

/// Steps over `length` instructions if the call is above `last`. Conditional jumps reach 255 only, so a long way is jumped.
fn skip_range(code: &mut Vec<SockFilter>, last: u32, length: usize) {
    match u8::try_from(length) {
        Ok(length) => code.push(SockFilter {
            code: IF_GREATER,
            jt: length,
            jf: 0,
            k: last,
        }),
        Err(_) => {
            skip_unless(code, IF_GREATER, last, false);
            // A program longer than this fits is refused as a whole.
            code.push(op(JUMP, u32::try_from(length).unwrap_or(u32::MAX)));
        }
    }
}

/// Where a step of a condition goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// The condition holds.
    Pass,
    /// It does not.
    Fail,
}

#[derive(Clone, Copy)]
struct Step {
    code: u16,
    k: u32,
    yes: To,
    no: To,
}

impl Step {
    const fn plain(code: u16, k: u32) -> Self {
        Self {
            code,
            k,
            yes: To::Next,
            no: To::Next,
        }
    }
    const fn test(code: u16, k: u32, yes: To, no: To) -> Self {
        Self { code, k, yes, no }
    }
}

/// One rule: falls through behind its end when a condition fails, else returns `action`. The number is no longer loaded then.
fn rule(args: &[LinuxSeccompArg], action: u32) -> Vec<SockFilter> {
    let conditions: Vec<Vec<Step>> = args.iter().map(condition).collect();
    // At most six conditions of at most six steps, so offsets fit.
    let total = conditions.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(total);
    let mut end = 0;
    for steps in conditions {
        end += steps.len();
        for step in steps {
            let here = code.len() + 1;
            let offset = |to| {
                let target = match to {
                    To::Next => here,
                    To::Pass => end,
                    To::Fail => total,
                };
                u8::try_from(target - here).unwrap_or(u8::MAX)
            };
            code.push(SockFilter {
                code: step.code,
                jt: offset(step.yes),
                jf: offset(step.no),
                k: step.k,
            });
        }
    }
    code.push(op(RETURN, action));
    code
}

/// Compares an argument of 64 bits, unsigned, in two halves.
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn condition(arg: &LinuxSeccompArg) -> Vec<Step> {
    use LinuxSeccompOperator as Op;
    use To::{Fail, Next, Pass};
    // Validated: below 6.
    let low_at = ARGUMENTS + 8 * (arg.index() as u32);
    let load_high = Step::plain(LOAD, low_at + 4);
    let load_low = Step::plain(LOAD, low_at);
    let (high, low) = ((arg.value() >> 32) as u32, arg.value() as u32);
    // High halves decide unless they are equal.
    let ordered = |above: To, below: To, low_test: Step| {
        vec![
            load_high,
            Step::test(IF_GREATER, high, above, Next),
            Step::test(IF_EQUAL, high, Next, below),
            load_low,
            low_test,
        ]
    };
    match arg.op() {
        Op::ScmpCmpEq => equal(low_at, arg.value(), u64::MAX),
        Op::ScmpCmpMaskedEq => equal(low_at, arg.value_two().unwrap_or(0), arg.value()),
        Op::ScmpCmpNe => vec![
            load_high,
            Step::test(IF_EQUAL, high, Next, Pass),
            load_low,
            Step::test(IF_EQUAL, low, Fail, Next),
        ],
        Op::ScmpCmpGt => ordered(Pass, Fail, Step::test(IF_GREATER, low, Next, Fail)),
        Op::ScmpCmpGe => ordered(Pass, Fail, Step::test(IF_AT_LEAST, low, Next, Fail)),
        Op::ScmpCmpLt => ordered(Fail, Pass, Step::test(IF_AT_LEAST, low, Fail, Next)),
        Op::ScmpCmpLe => ordered(Fail, Pass, Step::test(IF_GREATER, low, Fail, Next)),
    }
}

/// `argument & mask == datum & mask`.
#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn equal(low_at: u32, datum: u64, mask: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for (offset, shift) in [(4, 32), (0, 0)] {
        let part = (mask >> shift) as u32;
        steps.push(Step::plain(LOAD, low_at + offset));
        if part != u32::MAX {
            steps.push(Step::plain(AND, part));
        }
        let wanted = (datum >> shift) as u32 & part;
        steps.push(Step::test(IF_EQUAL, wanted, To::Next, To::Fail));
    }
    steps
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod tests;
