//! The machine code of a trampoline, assembled for one call site and one slot.
//!
//! It may use what the `syscall` instruction clobbers, rax, rcx and r11, and touches no stack: flags are kept in ax (`lahf`, `seto`).

use super::{ARGUMENTS, CLAIM, DONE, NUMBER, REQUEST, RESULT, STATE};

/// How often the guest looks for an answer before it withdraws its request: about 2 µs with `pause` of 40 cycles.
const SPINS: u32 = 150;

/// `jmp rel32` from the instruction at `at` to `to`, if it reaches.
pub(super) fn jump(at: u64, to: u64) -> Option<[u8; 5]> {
    let distance = to.wrapping_sub(at.wrapping_add(5)).cast_signed();
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}

/// Displacement of a slot's field from its state, which r11 points at.
fn field(at: usize) -> u8 {
    (at - STATE) as u8
}

/// Code for address `base`: the call `nr` whose `syscall` instruction ends at `ip`, by the call slot at `slot`.
pub(super) fn assemble(base: u64, nr: u32, ip: u64, slot: u64) -> Option<Vec<u8>> {
    let mut code: Vec<u8> = Vec::with_capacity(192);
    let claim = field(CLAIM);
    // lahf; seto al; movabs $slot, r11; lock btsl $0, claim(r11)
    code.extend([0x9f, 0x0f, 0x90, 0xc0, 0x49, 0xbb]);
    code.extend(slot.to_le_bytes());
    code.extend([0xf0, 0x41, 0x0f, 0xba, 0x6b, claim, 0x00]);
    // jc plain
    let to_plain = forward(&mut code, 0x72);
    // movl $nr, number(r11)
    code.extend([0x41, 0xc7, 0x43, field(NUMBER)]);
    code.extend(nr.to_le_bytes());
    // mov rdi, rsi, rdx, r10, r8, r9 to arguments(r11)
    for (index, (rex, modrm)) in [
        (0x49, 0x7b),
        (0x49, 0x73),
        (0x49, 0x53),
        (0x4d, 0x53),
        (0x4d, 0x43),
        (0x4d, 0x4b),
    ]
    .into_iter()
    .enumerate()
    {
        code.extend([rex, 0x89, modrm, field(ARGUMENTS + index * 8)]);
    }
    // movl $REQUEST, (r11); mov $SPINS, ecx
    code.extend([0x41, 0xc7, 0x03]);
    code.extend(REQUEST.to_le_bytes());
    code.push(0xb9);
    code.extend(SPINS.to_le_bytes());
    // again: cmpl $DONE, (r11); je done; pause; dec ecx; jnz again
    let again = code.len();
    code.extend([0x41, 0x83, 0x3b, DONE as u8]);
    let to_done = forward(&mut code, 0x74);
    code.extend([0xf3, 0x90, 0xff, 0xc9]);
    backward(&mut code, 0x75, again);
    // lock btrl $0, (r11): withdraws the request unless it was taken; jc withdrawn
    code.extend([0xf0, 0x41, 0x0f, 0xba, 0x33, 0x00]);
    let to_withdrawn = forward(&mut code, 0x72);
    // taken: pause; cmpl $DONE, (r11); jne taken
    let taken = code.len();
    code.extend([0xf3, 0x90, 0x41, 0x83, 0x3b, DONE as u8]);
    backward(&mut code, 0x75, taken);
    // done: mov result(r11), rcx; movl $0, (r11); movl $0, claim(r11)
    land(&mut code, to_done);
    code.extend([0x49, 0x8b, 0x4b, field(RESULT)]);
    code.extend([0x41, 0xc7, 0x03, 0, 0, 0, 0]);
    code.extend([0x41, 0xc7, 0x43, claim, 0, 0, 0, 0]);
    // add $0x7f, al (sets the overflow flag from bit 0); sahf; mov rcx, rax; jmp behind the call
    code.extend([0x04, 0x7f, 0x9e, 0x48, 0x89, 0xc8]);
    code.extend(jump(base + code.len() as u64, ip)?);
    // withdrawn: movl $0, claim(r11)
    land(&mut code, to_withdrawn);
    code.extend([0x41, 0xc7, 0x43, claim, 0, 0, 0, 0]);
    // plain: flags; mov $nr, eax; jmp to the call
    land(&mut code, to_plain);
    code.extend([0x04, 0x7f, 0x9e, 0xb8]);
    code.extend(nr.to_le_bytes());
    code.extend(jump(base + code.len() as u64, ip - 2)?);
    Some(code)
}

/// A short conditional jump forward; where its distance goes.
fn forward(code: &mut Vec<u8>, opcode: u8) -> usize {
    code.extend([opcode, 0]);
    code.len() - 1
}

/// The end of a jump forward.
fn land(code: &mut [u8], at: usize) {
    code[at] = (code.len() - at - 1) as u8;
}

/// A short conditional jump backward.
fn backward(code: &mut Vec<u8>, opcode: u8, to: usize) {
    let distance = to as i64 - (code.len() as i64 + 2);
    code.extend([opcode, distance as i8 as u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_reach_two_gibibytes() {
        assert_eq!(
            jump(0x40_0000, 0x1_0000),
            Some([0xe9, 0xfb, 0xff, 0xc0, 0xff])
        );
        assert_eq!(jump(0x7000_0000_0000, 0x1_0000), None);
    }

    #[test]
    fn short_jumps_are_short() {
        let code = assemble(0x1_0000, 110, 0x40_1007, 0x7fff_1000_0c00).unwrap();
        assert!(code.len() < 192, "{}", code.len());
        // All forward jumps lie within 127 bytes: their distances are positive as signed bytes.
        let at = |pattern: &[u8]| {
            code.windows(pattern.len())
                .position(|window| window == pattern)
                .unwrap()
        };
        let jc = at(&[0xf0, 0x41, 0x0f, 0xba, 0x6b, 4, 0, 0x72]) + 8;
        let plain = jc + 1 + usize::from(code[jc]);
        assert!(code[jc] < 128);
        assert_eq!(code[plain..plain + 4], [0x04, 0x7f, 0x9e, 0xb8]);
    }
}
