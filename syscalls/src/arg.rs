//! Arguments and results of system calls: from registers to types and back, and how `--strace` shows them.

use abi::{UserAddr, UserIn, UserOut};
use sentry::error::SysResult;
use sentry::vfs::Fd;

use crate::strace::shape::{Shape, Shown, pointer};

/// A type that an argument register can be decoded as. Decoding never fails.
pub trait Arg: Sized {
    /// From the register.
    fn decode(raw: u64) -> Self;
    /// For `--strace`.
    const SHAPE: Shape;
    /// Whether it is a descriptor.
    const IS_FD: bool = false;
}

macro_rules! integer_arg {
    ($($ty:ty),*) => {$(
        impl Arg for $ty {
            fn decode(raw: u64) -> Self {
                // Linux looks at the low bits only, in the parameter's width and sign.
                raw as $ty
            }
            const SHAPE: Shape = Shape::Value(|raw| (raw as $ty).to_string());
        }
    )*};
}
integer_arg!(i32, u32, i64, u64, usize);

impl Arg for Fd {
    fn decode(raw: u64) -> Self {
        Self(raw as i32)
    }
    const SHAPE: Shape = Shape::Value(|raw| match raw as i32 {
        abi::fs::AT_FDCWD => "AT_FDCWD".to_owned(),
        fd => fd.to_string(),
    });
    const IS_FD: bool = true;
}

impl Arg for UserAddr {
    fn decode(raw: u64) -> Self {
        Self(raw)
    }
    const SHAPE: Shape = Shape::Value(pointer);
}

impl<T: Shown> Arg for UserIn<T> {
    fn decode(raw: u64) -> Self {
        Self::new(UserAddr(raw))
    }
    const SHAPE: Shape = T::IN;
}

impl<T: Shown> Arg for UserOut<T> {
    fn decode(raw: u64) -> Self {
        Self::new(UserAddr(raw))
    }
    const SHAPE: Shape = T::OUT;
}

/// How a handled call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// `rax` gets the value.
    Value(i64),
    /// The handler has set all registers (rt_sigreturn, execve).
    RegistersSet,
    /// The thread is to end.
    Exit,
}

/// A handler's success value.
pub trait IntoOutcome {
    /// As an outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}
impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(0)
    }
}
impl IntoOutcome for i64 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self)
    }
}
impl IntoOutcome for i32 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(i64::from(self))
    }
}
impl IntoOutcome for u32 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(i64::from(self))
    }
}
impl IntoOutcome for u64 {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self as i64)
    }
}
impl IntoOutcome for usize {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self as i64)
    }
}
impl IntoOutcome for Fd {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(i64::from(self.0))
    }
}
impl IntoOutcome for UserAddr {
    fn into_outcome(self) -> Outcome {
        Outcome::Value(self.0 as i64)
    }
}

/// A handler's result as an outcome.
pub fn outcome<T: IntoOutcome>(result: SysResult<T>) -> SysResult<Outcome> {
    result.map(IntoOutcome::into_outcome)
}
