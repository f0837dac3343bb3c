//! What `uname(2)` says.

/// Length of each field, with its NUL.
pub const UTS_FIELD: usize = 65;
/// `uname -s`.
pub const SYSTEM: &str = "Linux";
/// The kernel version whose behaviour the sentry follows.
pub const RELEASE: &str = "6.12.0";
/// What programs see that cannot bear a version above 2.6 (UNAME26): the minor number plus 60 (`override_release`).
pub const RELEASE_26: &str = "2.6.72";
/// `version` of `struct utsname`.
pub const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC runsc";
