//! Container ids.

use anyhow::{Result, bail};

/// Longest id: a directory name.
const MAX: usize = 255;

/// Accepts `[a-zA-Z0-9_+-][a-zA-Z0-9_+.-]*`, as runc does: never `.` or `..`, never a separator.
pub fn validate(id: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() {
        bail!("container id cannot be empty");
    }
    if id.len() > MAX || !id.chars().all(valid) || id.starts_with('.') {
        bail!("invalid container ID format");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "A-b_c+d.e", "-x", "0123456789abcdef"] {
            assert!(validate(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "ü", "a\0", "a\n"] {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
        assert!(validate(&"x".repeat(300)).is_err());
    }
}
