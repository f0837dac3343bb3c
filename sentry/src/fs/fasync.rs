//! Who is told of a file's readiness by signal (`F_SETOWN`, `F_SETOWN_EX`, `F_SETSIG`).

/// The owner of a description, as `fcntl(2)` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// `F_OWNER_TID` 0, `F_OWNER_PID` 1, `F_OWNER_PGRP` 2.
    pub kind: i32,
    /// Its number in the setter's pid namespace, 0 for none.
    pub id: i32,
    /// `F_SETSIG`'s signal, 0 for SIGIO.
    pub signal: i32,
}
