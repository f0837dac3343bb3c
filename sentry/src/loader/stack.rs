//! The initial stack: strings, auxiliary vector, pointers, argc (`create_elf_tables`).

use crate::error::{Errno, Result};

/// The stack's top part, ready to be written.
pub(super) struct InitialStack {
    /// Lowest address: the initial stack pointer.
    pub(super) sp: u64,
    /// What belongs there.
    pub(super) bytes: Vec<u8>,
    /// Bounds of argument strings.
    pub(super) args: (u64, u64),
    /// Bounds of environment strings.
    pub(super) env: (u64, u64),
    /// The auxiliary vector.
    pub(super) auxv: Vec<u8>,
}

/// AT_* numbers whose values are addresses on the stack and so known only here.
const AT_PLATFORM: u64 = 15;
const AT_RANDOM: u64 = 25;
const AT_EXECFN: u64 = 31;

/// Builds the stack below `top`. `auxv` has everything but AT_RANDOM, AT_EXECFN, AT_PLATFORM and AT_NULL. `E2BIG` beyond `limit` bytes.
pub(super) fn build(
    top: u64,
    limit: u64,
    name: &[u8],
    args: &[Vec<u8>],
    env: &[Vec<u8>],
    mut auxv: Vec<(u64, u64)>,
) -> Result<InitialStack> {
    let strings: u64 = [args, env]
        .iter()
        .flat_map(|list| list.iter())
        .map(|s| s.len() as u64 + 1)
        .sum();
    let pointers = (args.len() + env.len() + 3) as u64 * 8;
    if strings + pointers + name.len() as u64 > limit {
        return Err(Errno::E2BIG);
    }
    // Strings, ascending: arguments, environment, name, 8 zero bytes up to the top.
    let mut text = Vec::new();
    let mut offsets = Vec::with_capacity(args.len() + env.len());
    for string in args.iter().chain(env) {
        offsets.push(text.len() as u64);
        text.extend_from_slice(string);
        text.push(0);
    }
    let env_end = text.len() as u64;
    let name_at = text.len() as u64;
    text.extend_from_slice(name);
    text.push(0);
    text.extend_from_slice(&[0; 8]);
    let text_at = top - text.len() as u64;
    let args_end = offsets.get(args.len()).copied().unwrap_or(env_end);
    // Below: platform string and random bytes.
    let mut small = b"x86_64\0".to_vec();
    let random_at = small.len() as u64;
    let mut random = [0_u8; 16];
    crate::host::random(&mut random);
    small.extend_from_slice(&random);
    let small_at = (text_at - small.len() as u64) & !15;
    auxv.extend([
        (AT_RANDOM, small_at + random_at),
        (AT_EXECFN, text_at + name_at),
        (AT_PLATFORM, small_at),
        (0, 0),
    ]);
    let words = 1 + args.len() + 1 + env.len() + 1 + auxv.len() * 2;
    let sp = (small_at - words as u64 * 8) & !15;
    let mut bytes = Vec::with_capacity((top - sp) as usize);
    let mut word = |value: u64| bytes.extend_from_slice(&value.to_ne_bytes());
    word(args.len() as u64);
    for offset in &offsets[..args.len()] {
        word(text_at + offset);
    }
    word(0);
    for offset in &offsets[args.len()..] {
        word(text_at + offset);
    }
    word(0);
    let mut auxv_bytes = Vec::new();
    for (key, value) in auxv {
        word(key);
        word(value);
        auxv_bytes.extend_from_slice(&key.to_ne_bytes());
        auxv_bytes.extend_from_slice(&value.to_ne_bytes());
    }
    bytes.resize((small_at - sp) as usize, 0);
    bytes.extend_from_slice(&small);
    bytes.resize((text_at - sp) as usize, 0);
    bytes.extend_from_slice(&text);
    Ok(InitialStack {
        sp,
        bytes,
        args: (text_at, text_at + args_end),
        env: (text_at + args_end, text_at + env_end),
        auxv: auxv_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_pointer_is_aligned_and_the_strings_are_where_the_pointers_say() {
        let args = vec![b"prog".to_vec(), b"x".to_vec()];
        let env = vec![b"A=1".to_vec()];
        let stack = build(
            0x7000_0000,
            1 << 20,
            b"/bin/prog",
            &args,
            &env,
            vec![(6, 4096)],
        )
        .unwrap();
        assert_eq!(stack.sp % 16, 0);
        let word = |i: usize| u64::from_ne_bytes(stack.bytes[i * 8..i * 8 + 8].try_into().unwrap());
        let string = |addr: u64| {
            let at = (addr - stack.sp) as usize;
            let len = stack.bytes[at..].iter().position(|b| *b == 0).unwrap();
            stack.bytes[at..at + len].to_vec()
        };
        assert_eq!(word(0), 2);
        assert_eq!(string(word(1)), b"prog");
        assert_eq!(string(word(2)), b"x");
        assert_eq!(word(3), 0);
        assert_eq!(string(word(4)), b"A=1");
        assert_eq!(stack.sp + stack.bytes.len() as u64, 0x7000_0000);
        assert_eq!(stack.args, (word(1), word(4)));
    }

    #[test]
    fn too_much_is_refused() {
        let args = vec![vec![b'a'; 1000]];
        assert_eq!(
            build(0x7000_0000, 500, b"p", &args, &[], Vec::new()).err(),
            Some(Errno::E2BIG)
        );
    }
}
