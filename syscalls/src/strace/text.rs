//! Bytes as C string literals, as strace prints them.

use std::fmt::Write;

/// Most bytes of a buffer that are shown.
pub(super) const CUT: usize = 32;

/// `"…"` with escapes. `more`: something was left out, `...` follows.
#[must_use]
pub(super) fn quoted(bytes: &[u8], more: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 5);
    out.push('"');
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'\r' => out.push_str("\\r"),
            0x0b => out.push_str("\\v"),
            0x0c => out.push_str("\\f"),
            b' '..=b'~' => out.push(char::from(*byte)),
            other => {
                // As short as it can be told apart from what follows.
                let digit_follows = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
                let _ = if digit_follows {
                    write!(out, "\\{other:03o}")
                } else {
                    write!(out, "\\{other:o}")
                };
            }
        }
    }
    out.push('"');
    if more {
        out.push_str("...");
    }
    out
}

/// At most [`CUT`] bytes of a buffer of `len` bytes that begins with `bytes`.
#[must_use]
pub(super) fn buffer(bytes: &[u8], len: usize) -> String {
    let shown = bytes.get(..CUT).unwrap_or(bytes);
    quoted(shown, shown.len() < len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_as_strace_does() {
        assert_eq!(
            quoted(b"a\"\\\n\x7fELF\x02\x01\x00", false),
            r#""a\"\\\n\177ELF\2\1\0""#
        );
        assert_eq!(quoted(b"\x001\xc3\xa4", false), r#""\0001\303\244""#);
        assert_eq!(
            buffer(&[b'x'; 40], 40),
            format!("\"{}\"...", "x".repeat(32))
        );
        assert_eq!(buffer(b"abc", 3), "\"abc\"");
    }
}
