//! A case: a name and a function that prints what it sees.

/// One named observation of the kernel's behaviour.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// The function's own name.
    pub(crate) name: &'static str,
    /// Prints its observations to stdout; panics when the set-up itself is impossible.
    pub(crate) run: fn(),
}

/// Declares a family's `CASES` from the names of its functions.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const CASES: &[$crate::case::Case] = &[$($crate::case::Case { name: stringify!($name), run: $name }),+];
    };
}
pub(crate) use cases;

/// `println!` without a buffer: a forked child never repeats what its parent said, and nothing is lost when a signal kills the process.
macro_rules! say {
    ($($arg:tt)*) => { $crate::host::say(&format!($($arg)*)) };
}
pub(crate) use say;
