//! Addresses in a guest's memory. They are plain numbers: validity is only known when the memory is accessed.

use std::marker::PhantomData;

/// An address in a guest's address space; never dereferenced by the sentry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct UserAddr(pub u64);

impl UserAddr {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// Whether this is the null pointer.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// `self + bytes`, wrapping: an address that wrapped fails when it is accessed.
    #[must_use]
    pub const fn offset(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl std::fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

macro_rules! user_pointer {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[repr(transparent)]
        pub struct $name<T>(UserAddr, PhantomData<fn() -> T>);

        impl<T> $name<T> {
            /// A typed pointer at `addr`.
            #[must_use]
            pub const fn new(addr: UserAddr) -> Self {
                Self(addr, PhantomData)
            }
            /// The untyped address.
            #[must_use]
            pub const fn addr(self) -> UserAddr {
                self.0
            }
            /// Whether this is the null pointer.
            #[must_use]
            pub const fn is_null(self) -> bool {
                self.0.is_null()
            }
            /// The pointer `count` elements further (wrapping).
            #[must_use]
            pub const fn index(self, count: u64) -> Self {
                Self::new(self.0.offset(count.wrapping_mul(size_of::<T>() as u64)))
            }
        }
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<T> Copy for $name<T> {}
        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

user_pointer!(
    /// A pointer that the call reads `T`s from.
    UserIn
);
user_pointer!(
    /// A pointer that the call writes `T`s to (and may read first, where Linux does).
    UserOut
);
