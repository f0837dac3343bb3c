//! Registers and extended state between the host's ptrace layout and the interface's.

use super::host::UserRegs;
use crate::api::Registers;
use crate::notify::frame;
use crate::notify::template::XstateFormat;

/// One past the highest FS or GS base (`TASK_SIZE_MAX`).
const BASE_LIMIT: u64 = 0x7fff_ffff_f000;

/// No system call: the host restarts nothing.
pub(super) const NO_CALL: u64 = u64::MAX;

/// Whether `base` may be an FS or GS base.
pub(super) const fn base_is_valid(base: u64) -> bool {
    base < BASE_LIMIT
}

/// What the kernel is shown.
pub(super) fn to_api(regs: &UserRegs) -> Registers {
    Registers {
        r15: regs.r15,
        r14: regs.r14,
        r13: regs.r13,
        r12: regs.r12,
        rbp: regs.rbp,
        rbx: regs.rbx,
        r11: regs.r11,
        r10: regs.r10,
        r9: regs.r9,
        r8: regs.r8,
        rax: regs.rax,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        rip: regs.rip,
        cs: regs.cs,
        eflags: regs.eflags,
        rsp: regs.rsp,
        ss: regs.ss,
    }
}

/// Takes the kernel's registers over into `regs`, with sanitised selectors and flags.
pub(super) fn from_api(regs: &mut UserRegs, registers: &Registers) {
    let words = frame::encode(registers, &frame::Trap::default());
    let (clean, _) = frame::decode(&words);
    *regs = UserRegs {
        r15: clean.r15,
        r14: clean.r14,
        r13: clean.r13,
        r12: clean.r12,
        rbp: clean.rbp,
        rbx: clean.rbx,
        r11: clean.r11,
        r10: clean.r10,
        r9: clean.r9,
        r8: clean.r8,
        rax: clean.rax,
        rcx: clean.rcx,
        rdx: clean.rdx,
        rsi: clean.rsi,
        rdi: clean.rdi,
        orig_rax: NO_CALL,
        rip: clean.rip,
        cs: clean.cs,
        eflags: clean.eflags,
        rsp: clean.rsp,
        ss: clean.ss,
        ..*regs
    };
}

/// Most bytes of a host's extended state: with AMX about 11 KiB.
pub(super) const XSTATE_MAX: usize = 16 * 1024;

/// A signal frame's image of the extended state that ptrace read.
pub(super) fn image_of(state: &[u8], format: &XstateFormat) -> Vec<u8> {
    let mut image = frame::initial_xstate(format);
    let body = if format.size > 580 {
        format.size - 4
    } else {
        512
    };
    if state.len() < 576 {
        return image;
    }
    let count = body.min(state.len());
    image[..464].copy_from_slice(&state[..464]);
    image[28..32].copy_from_slice(&format.mxcsr_mask.to_le_bytes());
    if count > 512 {
        image[512..count].copy_from_slice(&state[512..count]);
        // Only the components that a frame has room for.
        let features = u64::from_le_bytes(format.reserved[8..16].try_into().unwrap_or_default());
        let present = u64::from_le_bytes(image[512..520].try_into().unwrap_or_default());
        image[512..520].copy_from_slice(&(present & features).to_le_bytes());
        image[520..576].fill(0);
    }
    image
}

/// What ptrace takes for a frame's `image`, `len` bytes; the initial state if the image is not valid.
pub(super) fn state_of(image: &[u8], format: &XstateFormat, len: usize) -> Vec<u8> {
    let initial;
    let image = if frame::xstate_is_valid(image, format) {
        image
    } else {
        initial = frame::initial_xstate(format);
        &initial
    };
    let mut state = vec![0_u8; len];
    let body = if format.size > 580 {
        format.size - 4
    } else {
        512
    };
    let count = body.min(len);
    state[..count].copy_from_slice(&image[..count]);
    // The software-reserved bytes are the frame's alone.
    if len >= 512 {
        state[464..512].fill(0);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format() -> XstateFormat {
        let mut reserved = [0; 48];
        reserved[8] = 7;
        XstateFormat {
            size: 836,
            reserved,
            mxcsr_mask: 0xffff,
        }
    }

    #[test]
    fn extended_state_survives_both_ways() {
        let format = format();
        let mut state = vec![0_u8; 2000];
        state[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes());
        state[160] = 9;
        state[512] = 0xff;
        state[600] = 8;
        let image = image_of(&state, &format);
        assert_eq!(
            (image.len(), image[160], image[512], image[600]),
            (836, 9, 7, 8)
        );
        assert!(frame::xstate_is_valid(&image, &format));
        let back = state_of(&image, &format, 2000);
        assert_eq!(
            (back.len(), back[160], back[512], back[600]),
            (2000, 9, 7, 8)
        );
    }

    #[test]
    fn rubbish_becomes_the_initial_state() {
        let state = state_of(&[1; 100], &format(), 2000);
        assert_eq!((state[0], state[1], state[512]), (0x7f, 3, 0));
        assert_eq!(
            image_of(&[1; 100], &format()),
            frame::initial_xstate(&format())
        );
    }

    #[test]
    fn privileged_bits_do_not_reach_the_host() {
        let mut regs = UserRegs {
            fs_base: 7,
            ..UserRegs::default()
        };
        from_api(
            &mut regs,
            &Registers {
                eflags: u64::MAX,
                cs: 0x10,
                ss: 0x18,
                rip: 5,
                ..Registers::default()
            },
        );
        assert_eq!(
            (
                regs.cs,
                regs.ss,
                regs.eflags & 0x3000,
                regs.rip,
                regs.fs_base
            ),
            (0x33, 0x2b, 0, 5, 7)
        );
        assert_eq!(regs.orig_rax, NO_CALL);
    }
}
