//! Encoding and decoding of messages: [`Wire`] for values, [`Encoder`] and [`Decoder`] for buffers.
//!
//! Decoding never panics and never allocates more than the message is long: every count is checked against what is left.

#![forbid(unsafe_code)]

use super::{MAX_MESSAGE, WALK_MAX};

/// A message that does not follow the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A value that can travel in a message. Borrowed values point into the message.
pub trait Wire<'a>: Sized {
    /// Appends the value.
    fn put(&self, out: &mut Encoder);
    /// Takes the value off the front.
    ///
    /// # Errors
    /// [`Malformed`] when the message is too short or the value is out of range.
    fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed>;
}

/// A message under construction. The buffer is reused from message to message.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty message with room for the longest one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(MAX_MESSAGE),
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What has been written so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes left before the message is longer than [`MAX_MESSAGE`].
    #[must_use]
    pub fn room(&self) -> usize {
        MAX_MESSAGE.saturating_sub(self.bytes.len())
    }

    /// True if the message became longer than may be sent.
    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.bytes.len() > MAX_MESSAGE
    }

    /// Forgets what was written after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// The unread rest of a received message.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Over a whole message.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Takes `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// True when everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that nothing is left over.
    ///
    /// # Errors
    /// [`Malformed`] when something is.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}

macro_rules! wire_integers {
    ($($t:ty),*) => { $(
        impl Wire<'_> for $t {
            fn put(&self, out: &mut Encoder) {
                out.raw(&self.to_le_bytes());
            }
            fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
                let bytes = from.take(size_of::<$t>())?;
                Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
            }
        }
    )* };
}
wire_integers!(u8, u16, u32, u64, i32, i64);

/// Implements [`Wire`] for a structure, field by field in the order given.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl<'a> $crate::protocol::wire::Wire<'a> for $name {
            fn put(&self, out: &mut $crate::protocol::wire::Encoder) {
                $( $crate::protocol::wire::Wire::put(&self.$field, out); )*
            }
            fn get(from: &mut $crate::protocol::wire::Decoder<'a>) -> Result<Self, $crate::protocol::wire::Malformed> {
                Ok(Self { $( $field: $crate::protocol::wire::Wire::get(from)?, )* })
            }
        }
    };
}
pub(crate) use wire_struct;

/// Implements [`Wire`] for bit flags as `u32`; unknown bits are malformed.
macro_rules! wire_flags {
    ($name:ident) => {
        impl<'a> $crate::protocol::wire::Wire<'a> for $name {
            fn put(&self, out: &mut $crate::protocol::wire::Encoder) {
                self.bits().put(out);
            }
            fn get(
                from: &mut $crate::protocol::wire::Decoder<'a>,
            ) -> Result<Self, $crate::protocol::wire::Malformed> {
                Self::from_bits(u32::get(from)?).ok_or($crate::protocol::wire::Malformed)
            }
        }
    };
}
pub(crate) use wire_flags;

impl Wire<'_> for () {
    fn put(&self, _: &mut Encoder) {}
    fn get(_: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl<'a, A: Wire<'a>, B: Wire<'a>> Wire<'a> for (A, B) {
    fn put(&self, out: &mut Encoder) {
        self.0.put(out);
        self.1.put(out);
    }
    fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        Ok((A::get(from)?, B::get(from)?))
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn put(&self, out: &mut Encoder) {
        match self {
            None => 0_u8.put(out),
            Some(value) => {
                1_u8.put(out);
                value.put(out);
            }
        }
    }
    fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        match u8::get(from)? {
            0 => Ok(None),
            1 => Ok(Some(T::get(from)?)),
            _ => Err(Malformed),
        }
    }
}

/// Byte strings: `u32` length, then the bytes.
impl<'a> Wire<'a> for &'a [u8] {
    fn put(&self, out: &mut Encoder) {
        // Whatever does not fit makes the message overflow, which is checked before it is sent.
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        out.raw(self);
    }
    fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let len = usize::try_from(u32::get(from)?).map_err(|_| Malformed)?;
        from.take(len)
    }
}

impl Wire<'_> for Box<[u8]> {
    fn put(&self, out: &mut Encoder) {
        (&**self).put(out);
    }
    fn get(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(<&[u8]>::get(from)?.into())
    }
}

/// The components of a walk: at most [`WALK_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<'a>(pub Vec<&'a [u8]>);

impl<'a> Wire<'a> for Names<'a> {
    fn put(&self, out: &mut Encoder) {
        u16::try_from(self.0.len()).unwrap_or(u16::MAX).put(out);
        for name in &self.0 {
            name.put(out);
        }
    }
    fn get(from: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let count = usize::from(u16::get(from)?);
        if count > WALK_MAX {
            return Err(Malformed);
        }
        (0..count)
            .map(|_| <&[u8]>::get(from))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_message_is_malformed() {
        let mut out = Encoder::new();
        1000_u32.put(&mut out);
        out.raw(b"short");
        assert_eq!(<&[u8]>::get(&mut Decoder::new(out.bytes())), Err(Malformed));
    }

    #[test]
    fn names_survive_and_their_number_is_bounded() {
        let names = Names(vec![b"usr", b"\xff\xfe", b""]);
        let mut out = Encoder::new();
        names.put(&mut out);
        let mut from = Decoder::new(out.bytes());
        assert_eq!(Names::get(&mut from), Ok(names));
        assert_eq!(from.finish(), Ok(()));

        out.clear();
        Names(vec![b"a"; WALK_MAX + 1]).put(&mut out);
        assert_eq!(Names::get(&mut Decoder::new(out.bytes())), Err(Malformed));
    }
}
