//! How a parameter is shown: the vocabulary of the table's lines.
//!
//! A parameter's type says it ([`Shown`], through [`crate::arg::Arg::SHAPE`]) unless its line says more (`flags: u32 as OPEN`). What a call reads is
//! looked at before the call, what it writes after it; each look is bounded, and a look that fails shows the address.

use abi::{UserAddr, UserIn};
use sentry::error::Result;
use sentry::mm::UserMemory;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::names::{Choice, Flags};
use super::text;

/// Most elements of an array that are shown.
pub(super) const MANY: usize = 16;

/// How one parameter is shown.
#[derive(Clone, Copy)]
pub enum Shape {
    /// From its register.
    Value(fn(u64) -> String),
    /// Bits by name.
    Flags(&'static Flags),
    /// A constant by name.
    Choice(&'static Choice),
    /// What it points to, or what it means beside the other arguments, before the call.
    In(Render),
    /// What it points to after a call that succeeded.
    Out(Render),
    /// Before, and after a call that succeeded.
    InOut(Render, Render),
}

/// Shows parameter number `at`. `None`: as an address. An empty text: not at all, and those behind it neither.
pub type Render = fn(&Seen<'_>, usize) -> Option<String>;

/// A call as it is looked at.
pub struct Seen<'a> {
    /// The guest's memory.
    pub memory: &'a UserMemory,
    /// Its registers, in their parameters' width.
    pub args: [u64; 6],
    /// What it returned, once it has.
    pub result: Option<i64>,
}

impl Seen<'_> {
    /// An argument; 0 beyond the last.
    #[must_use]
    pub fn arg(&self, at: usize) -> u64 {
        self.args.get(at).copied().unwrap_or(0)
    }

    /// The structure that argument `at` points to.
    pub(super) fn get<T: FromBytes + IntoBytes>(&self, at: usize) -> Option<T> {
        self.get_at(self.arg(at))
    }

    /// The structure at an address.
    pub(super) fn get_at<T: FromBytes + IntoBytes>(&self, addr: u64) -> Option<T> {
        if addr == 0 {
            return None;
        }
        self.memory.get(UserIn::new(UserAddr(addr))).ok()
    }

    /// At most [`MANY`] of `count` structures, and whether there are more.
    pub(super) fn array<T: FromBytes + IntoBytes + Immutable + Clone>(
        &self,
        addr: u64,
        count: u64,
    ) -> Option<(Vec<T>, bool)> {
        if addr == 0 {
            return None;
        }
        let shown = count.min(MANY as u64) as usize;
        let list = self.memory.get_array(UserIn::new(UserAddr(addr)), shown);
        Some((list.ok()?, count > shown as u64))
    }

    /// At most [`text::CUT`] of `len` bytes, quoted.
    pub(super) fn bytes(&self, addr: u64, len: u64) -> Option<String> {
        if addr == 0 {
            return None;
        }
        let mut bytes = [0; text::CUT];
        let wanted = len.min(text::CUT as u64) as usize;
        let part = bytes.get_mut(..wanted)?;
        self.memory.read(UserAddr(addr), part).ok()?;
        Some(text::buffer(part, usize::try_from(len).ok()?))
    }

    /// The string at an address: whole if it is a path, else cut.
    pub(super) fn string(&self, addr: u64, most: usize) -> Option<String> {
        if addr == 0 {
            return None;
        }
        let whole = self.cstr(addr, most).ok()?;
        let shown = whole.get(..most).unwrap_or(&whole);
        Some(text::quoted(shown, whole.len() > most))
    }

    /// At most `most + 1` bytes of the string at an address.
    fn cstr(&self, addr: u64, most: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() <= most {
            let from = addr.wrapping_add(bytes.len() as u64);
            // A page at a time: the string may end before one that cannot be read.
            let page = (4096 - (from & 4095)) as usize;
            let mut chunk = [0; 256];
            let wanted = page.min(chunk.len()).min(most + 1 - bytes.len());
            let chunk = chunk.get_mut(..wanted).unwrap_or(&mut []);
            self.memory.read(UserAddr(from), chunk)?;
            let end = chunk.iter().position(|byte| *byte == 0);
            bytes.extend_from_slice(chunk.get(..end.unwrap_or(wanted)).unwrap_or(&[]));
            if end.is_some() {
                break;
            }
        }
        Ok(bytes)
    }
}

/// A type behind pointers that can be shown.
pub trait Shown: FromBytes + IntoBytes + Sized {
    /// Behind a `UserIn`.
    const IN: Shape = Shape::In(one::<Self>);
    /// Behind a `UserOut`.
    const OUT: Shape = Shape::Out(one::<Self>);
    /// The value as text.
    fn text(&self) -> String;
}

/// The one structure that a parameter points to.
pub(super) fn one<T: Shown>(seen: &Seen<'_>, at: usize) -> Option<String> {
    seen.get::<T>(at).map(|value| value.text())
}

/// A pointer as it is.
#[must_use]
pub fn pointer(raw: u64) -> String {
    if raw == 0 {
        "NULL".to_owned()
    } else {
        format!("{raw:#x}")
    }
}

/// `[a, b, c...]`.
pub(super) fn list(items: impl IntoIterator<Item = String>, more: bool) -> String {
    let mut all: Vec<String> = items.into_iter().collect();
    if more {
        all.push("...".to_owned());
    }
    format!("[{}]", all.join(", "))
}
