//! Mount options of tmpfs (`tmpfs(5)`).

use crate::error::{Errno, Result};

/// Parsed options; `None` leaves the default (or, at a remount, what is).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bytes; 0: no limit.
    pub size: Option<u64>,
    /// Inodes; 0: no limit.
    pub inodes: Option<u64>,
    /// Permission bits of the root directory.
    pub mode: Option<u32>,
    /// Owner of the root directory.
    pub uid: Option<u32>,
    /// Group of the root directory.
    pub gid: Option<u32>,
}

/// A number with an optional k, m, g, t, p or e (powers of 1024).
fn scaled(text: &str) -> Result<u64> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, suffix)) if suffix.is_ascii_alphabetic() => {
            let power = "kmgtpe"
                .find(suffix.to_ascii_lowercase())
                .ok_or(Errno::EINVAL)?;
            (&text[..at], 10 * (power as u32 + 1))
        }
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    number
        .checked_mul(1_u64.checked_shl(shift).ok_or(Errno::EINVAL)?)
        .ok_or(Errno::EINVAL)
}

impl Options {
    /// Parses the data of `mount(2)`; `memory` is what a percentage counts of, in bytes. `EINVAL` for what tmpfs does not know.
    pub fn parse(data: &str, memory: u64) -> Result<Self> {
        let mut options = Self::default();
        for option in data.split(',').filter(|o| !o.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "size" => {
                    options.size = Some(match value.strip_suffix('%') {
                        Some(percent) => {
                            let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
                            (memory / 100).saturating_mul(percent)
                        }
                        None => scaled(value)?,
                    });
                }
                "nr_blocks" => {
                    options.size = Some(scaled(value)?.checked_mul(4096).ok_or(Errno::EINVAL)?);
                }
                "nr_inodes" => options.inodes = Some(scaled(value)?),
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                    options.mode = Some(mode & 0o7777);
                }
                "uid" => options.uid = Some(value.parse().map_err(|_| Errno::EINVAL)?),
                "gid" => options.gid = Some(value.parse().map_err(|_| Errno::EINVAL)?),
                // Hints on placement of pages, which the host decides.
                "huge" | "mpol" | "inode64" | "inode32" | "noswap" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes_and_percentages() {
        let parse = |text| Options::parse(text, 1000).map(|o| o.size);
        assert_eq!(parse("size=64m"), Ok(Some(64 << 20)));
        assert_eq!(parse("size=65536k,mode=1777"), Ok(Some(64 << 20)));
        assert_eq!(parse("size=50%"), Ok(Some(500)));
        assert_eq!(parse("nr_blocks=2"), Ok(Some(8192)));
        assert_eq!(parse("size=99999999999e"), Err(Errno::EINVAL));
        assert_eq!(parse("size="), Err(Errno::EINVAL));
        assert_eq!(parse("colour=red"), Err(Errno::EINVAL));
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(Options::parse("mode=755", 0).unwrap().mode, Some(0o755));
        assert_eq!(Options::parse("mode=9", 0), Err(Errno::EINVAL));
    }
}
