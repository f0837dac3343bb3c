//! Registers as the host's signal frames hold them, and frames of our own making.

use crate::Registers;
use crate::stub;

use super::template::XstateFormat;

/// `__USER_CS` and `__USER_DS` (`arch/x86/include/asm/segment.h`).
const USER_CS: u64 = 0x33;
const USER_SS: u64 = 0x2b;
/// CF, PF, AF, ZF, SF, TF, DF, OF, NT, RF, AC, ID: what user code may set.
const USER_FLAGS: u64 = 0x0025_4dd5;
/// Interrupts enabled, and the bit that is always one.
const FIXED_FLAGS: u64 = 0x202;

/// Words of a sigcontext that matter: 23 registers and the fpstate pointer.
pub(crate) const CONTEXT_WORDS: usize = 24;

/// The parts of a sigcontext beside [`Registers`].
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Trap {
    pub(crate) error: u64,
    pub(crate) trapno: u64,
    pub(crate) cr2: u64,
    pub(crate) fpstate: u64,
}

/// Decodes a sigcontext (`struct sigcontext_64`).
pub(crate) fn decode(words: &[u64; CONTEXT_WORDS]) -> (Registers, Trap) {
    let registers = Registers {
        r8: words[0],
        r9: words[1],
        r10: words[2],
        r11: words[3],
        r12: words[4],
        r13: words[5],
        r14: words[6],
        r15: words[7],
        rdi: words[8],
        rsi: words[9],
        rbp: words[10],
        rbx: words[11],
        rdx: words[12],
        rax: words[13],
        rcx: words[14],
        rsp: words[15],
        rip: words[16],
        eflags: words[17],
        cs: words[18] & 0xffff,
        ss: words[18] >> 48,
    };
    (
        registers,
        Trap {
            error: words[19],
            trapno: words[20],
            cr2: words[22],
            fpstate: words[23],
        },
    )
}

/// Encodes a sigcontext with sanitised selectors and flags.
pub(crate) fn encode(registers: &Registers, trap: &Trap) -> [u64; CONTEXT_WORDS] {
    [
        registers.r8,
        registers.r9,
        registers.r10,
        registers.r11,
        registers.r12,
        registers.r13,
        registers.r14,
        registers.r15,
        registers.rdi,
        registers.rsi,
        registers.rbp,
        registers.rbx,
        registers.rdx,
        registers.rax,
        registers.rcx,
        registers.rsp,
        registers.rip,
        registers.eflags & USER_FLAGS | FIXED_FLAGS,
        USER_CS | USER_SS << 48,
        trap.error,
        trap.trapno,
        0,
        trap.cr2,
        trap.fpstate,
    ]
}

/// Registers of a thread in which nothing has run.
pub(crate) fn fresh() -> Registers {
    Registers {
        cs: USER_CS,
        ss: USER_SS,
        eflags: FIXED_FLAGS,
        ..Registers::default()
    }
}

/// Where things lie on a stub stack when the host kernel delivers a signal on an empty one (`get_sigframe`).
pub(super) struct Placement {
    pub(super) frame: u64,
    pub(super) fpstate: u64,
}

/// For the stub stack of slot `index`.
pub(super) fn place(index: usize, format: &XstateFormat) -> Placement {
    let top = stub::stack_base(index) + stub::STACK_SIZE;
    let fpstate = (top - format.size as u64) & !63;
    Placement {
        frame: ((fpstate - stub::FRAME_SIZE) & !15) - 8,
        fpstate,
    }
}

/// Whether `frame` can be a signal frame on the stub stack of slot `index`.
pub(super) fn frame_is_on_stack(frame: u64, index: usize) -> bool {
    let low = stub::stack_base(index) + stub::STACK_RESERVED;
    frame.is_multiple_of(8)
        && frame >= low
        && frame <= stub::stack_base(index) + stub::STACK_SIZE - stub::FRAME_SIZE
}

/// Whether an XSAVE image of `size` bytes at `fpstate` lies on the stub stack of slot `index`, aligned.
pub(super) fn fpstate_is_on_stack(fpstate: u64, size: usize, index: usize) -> bool {
    let low = stub::stack_base(index) + stub::STACK_RESERVED;
    let Some(end) = fpstate.checked_add(size as u64) else {
        return false;
    };
    fpstate.is_multiple_of(64)
        && fpstate >= low
        && end <= stub::stack_base(index) + stub::STACK_SIZE
}

/// The words of an `rt_sigframe` that `rt_sigreturn` takes: an empty mask, the stub stack of slot `index` as alternate stack, these registers.
pub(super) fn build(index: usize, context: &[u64; CONTEXT_WORDS]) -> Vec<u64> {
    let mut words = vec![0_u64; stub::FRAME_SIZE as usize / 8];
    // UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS
    words[1] = 7;
    words[3] = stub::stack_base(index);
    words[5] = stub::STACK_SIZE;
    words[6..6 + CONTEXT_WORDS].copy_from_slice(context);
    words
}

const XSTATE_MAGIC2: u32 = 0x4650_5845;

/// The XSAVE image of a thread in which nothing has run.
pub(crate) fn initial_xstate(format: &XstateFormat) -> Vec<u8> {
    let mut image = vec![0_u8; format.size];
    image[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    image[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
    image[28..32].copy_from_slice(&format.mxcsr_mask.to_le_bytes());
    image[464..512].copy_from_slice(&format.reserved);
    if format.size >= 512 + 64 + 4 {
        image[format.size - 4..].copy_from_slice(&XSTATE_MAGIC2.to_le_bytes());
    }
    image
}

/// Whether the host would restore `image`: right size and marks, no bit that XRSTOR refuses.
pub(crate) fn xstate_is_valid(image: &[u8], format: &XstateFormat) -> bool {
    let word32 =
        |at: usize| u32::from_le_bytes([image[at], image[at + 1], image[at + 2], image[at + 3]]);
    let word64 = |at: usize| u64::from(word32(at)) | u64::from(word32(at + 4)) << 32;
    if image.len() != format.size || image.len() < 512 || word32(24) & !format.mxcsr_mask != 0 {
        return false;
    }
    if image.len() == 512 {
        return true;
    }
    let features = u64::from_le_bytes(format.reserved[8..16].try_into().unwrap_or_default());
    image.len() >= 580
        && image[464..480] == format.reserved[..16]
        && word32(image.len() - 4) == XSTATE_MAGIC2
        && word64(512) & !features == 0
        && image[520..576].iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_survive_a_frame_but_privileged_bits_do_not() {
        let mut words = [0_u64; CONTEXT_WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = index as u64 + 100;
        }
        let (registers, trap) = decode(&words);
        assert_eq!(
            (
                registers.r8,
                registers.rip,
                registers.rsp,
                trap.cr2,
                trap.fpstate
            ),
            (100, 116, 115, 122, 123)
        );
        let again = encode(
            &Registers {
                eflags: u64::MAX,
                cs: 0x23,
                ..registers
            },
            &trap,
        );
        assert_eq!(again[..17], words[..17]);
        assert_eq!(again[17] & 0x3000, 0, "no I/O privilege");
        assert_eq!(again[18] & 0xffff, 0x33);
    }

    #[test]
    fn hostile_pointers_are_refused() {
        assert!(!fpstate_is_on_stack(u64::MAX - 63, 2696, 0));
        assert!(!fpstate_is_on_stack(stub::stack_base(1), 2696, 0));
        assert!(!frame_is_on_stack(stub::stack_base(0), 0));
        assert!(!frame_is_on_stack(u64::MAX - 7, 0));
        let format = XstateFormat {
            size: 2700,
            reserved: [0; 48],
            mxcsr_mask: 0xffff,
        };
        let placed = place(3, &format);
        assert!(
            frame_is_on_stack(placed.frame, 3)
                && fpstate_is_on_stack(placed.fpstate, format.size, 3)
        );
        assert_eq!(placed.frame % 16, 8);
        let image = initial_xstate(&format);
        assert!(xstate_is_valid(&image, &format));
        let mut bad = image;
        bad[530] = 1;
        assert!(!xstate_is_valid(&bad, &format));
    }
}
