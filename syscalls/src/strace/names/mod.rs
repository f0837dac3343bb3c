//! Names of flags and constants, in Linux's own words: data only, a file per family.
//!
//! Numbers are those of `include/uapi`; each table says what it belongs to. A number without a name is shown as a number, so that a table may be
//! incomplete but never wrong.

pub mod event;
pub mod file;
pub mod memory;
pub mod process;
pub mod socket;

use std::fmt::Write;

/// Names of the bits (and of small fields) of a flags word.
pub struct Flags {
    /// What zero is called where it has a name.
    pub zero: &'static str,
    /// `(mask, value, name)`: the word, masked, has this value. Wider masks come first.
    pub names: &'static [(u64, u64, &'static str)],
}

/// Names of a constant's values.
pub struct Choice(pub &'static [(i64, &'static str)]);

impl Flags {
    /// `A|B|0x40`: names, then what has none.
    #[must_use]
    pub fn text(&self, word: u64) -> String {
        let mut out = String::new();
        let mut left = word;
        let mut known = 0;
        for (mask, value, name) in self.names {
            // A field of several bits is named once; a zero field only if it has a name.
            if word & mask == *value && known & mask == 0 {
                known |= mask;
                left &= !mask;
                let _ = write!(out, "{}{name}", if out.is_empty() { "" } else { "|" });
            }
        }
        if left != 0 {
            let _ = write!(out, "{}{left:#x}", if out.is_empty() { "" } else { "|" });
        }
        if out.is_empty() {
            self.zero.clone_into(&mut out);
        }
        out
    }
}

impl Choice {
    /// The name, if there is one.
    #[must_use]
    pub fn name(&self, value: i64) -> Option<&'static str> {
        self.0
            .iter()
            .find(|(number, _)| *number == value)
            .map(|(_, name)| *name)
    }

    /// The name, or the number.
    #[must_use]
    pub fn text(&self, value: i64) -> String {
        match self.name(value) {
            Some(name) => name.to_owned(),
            None if (-4096..4096).contains(&value) => value.to_string(),
            None => format!("{value:#x}"),
        }
    }
}

macro_rules! flags {
    ($($(#[$doc:meta])* $table:ident $(, zero $zero:literal)? $(, mask $mask:literal { $($field:ident = $value:literal),* $(,)? })* ; { $($name:ident = $bit:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub static $table: $crate::strace::names::Flags = $crate::strace::names::Flags {
            zero: $crate::strace::names::flags!(@zero $($zero)?),
            names: &[$($(($mask, $value, stringify!($field)),)*)* $(($bit, $bit, stringify!($name)),)*],
        };
    )*};
    (@zero) => { "0" };
    (@zero $zero:literal) => { $zero };
}
pub(crate) use flags;

macro_rules! choices {
    ($($(#[$doc:meta])* $table:ident { $($name:ident = $value:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        pub static $table: $crate::strace::names::Choice =
            $crate::strace::names::Choice(&[$(($value, stringify!($name))),*]);
    )*};
}
pub(crate) use choices;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_bits_are_named_and_the_rest_is_shown() {
        assert_eq!(file::OPEN.text(0), "O_RDONLY");
        assert_eq!(file::OPEN.text(0o2_000_101), "O_WRONLY|O_CREAT|O_CLOEXEC");
        assert_eq!(file::OPEN.text(0o4_010_000), "O_RDONLY|O_SYNC");
        assert_eq!(file::OPEN.text(3), "0x3");
        assert_eq!(memory::PROT.text(0), "PROT_NONE");
        assert_eq!(memory::MAP.text(0x22), "MAP_PRIVATE|MAP_ANONYMOUS");
        assert_eq!(process::CLOCK.text(1), "CLOCK_MONOTONIC");
        assert_eq!(process::CLOCK.text(-6), "-6");
    }

    #[test]
    fn no_name_stands_for_two_bits_patterns_that_hide_each_other() {
        for (mask, value, name) in file::OPEN.names {
            assert_eq!(value & !mask, 0, "{name}");
        }
    }
}
