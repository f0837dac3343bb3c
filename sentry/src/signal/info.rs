//! `siginfo_t` (`include/uapi/asm-generic/siginfo.h`): 128 bytes, laid out once and carried as they are.

use abi::signal::{Signal, code};

/// A `siginfo_t`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SigInfo {
    bytes: [u8; 128],
}

impl SigInfo {
    pub(crate) fn blank(signal: Signal, code: i32) -> Self {
        let mut info = Self { bytes: [0; 128] };
        info.put_i32(0, i32::from(signal.number()));
        info.put_i32(8, code);
        info
    }
    fn put_i32(&mut self, at: usize, value: i32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    fn put_u64(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }
    fn i32_at(&self, at: usize) -> i32 {
        i32::from_ne_bytes([
            self.bytes[at],
            self.bytes[at + 1],
            self.bytes[at + 2],
            self.bytes[at + 3],
        ])
    }
    /// Sent by `kill` (SI_USER) or `tgkill` (SI_TKILL): sender's pid and real uid.
    #[must_use]
    pub fn user(signal: Signal, code: i32, pid: i32, uid: u32) -> Self {
        let mut info = Self::blank(signal, code);
        info.put_i32(16, pid);
        info.put_i32(20, uid as i32);
        info
    }
    /// Sent with a value (`sigqueue`, message queues): sender's pid and real uid.
    #[must_use]
    pub fn queued(signal: Signal, code: i32, pid: i32, uid: u32, value: u64) -> Self {
        let mut info = Self::user(signal, code, pid, uid);
        info.put_u64(24, value);
        info
    }
    /// Sent by the kernel itself.
    #[must_use]
    pub fn kernel(signal: Signal) -> Self {
        Self::blank(signal, code::SI_KERNEL)
    }
    /// A fault at `addr`.
    #[must_use]
    pub fn fault(signal: Signal, code: i32, addr: u64) -> Self {
        let mut info = Self::blank(signal, code);
        info.put_u64(16, addr);
        info
    }
    /// SIGCHLD: `status` is the exit code or signal number, times in clock ticks.
    #[must_use]
    pub fn child(code: i32, pid: i32, uid: u32, status: i32, utime: u64, stime: u64) -> Self {
        let mut info = Self::blank(Signal::CHLD, code);
        info.put_i32(16, pid);
        info.put_i32(20, uid as i32);
        info.put_i32(24, status);
        info.put_u64(32, utime);
        info.put_u64(40, stime);
        info
    }
    /// A POSIX timer's expiry.
    #[must_use]
    pub fn timer(signal: Signal, id: i32, overrun: i32, value: u64) -> Self {
        let mut info = Self::blank(signal, code::SI_TIMER);
        info.put_i32(16, id);
        info.put_i32(20, overrun);
        info.put_u64(24, value);
        info
    }
    /// The POSIX timer whose signal this is, or says that it is.
    #[must_use]
    pub fn timer_id(&self) -> Option<i32> {
        (self.code() == code::SI_TIMER).then(|| self.i32_at(16))
    }
    /// Sets the overruns of a POSIX timer's signal.
    pub fn set_timer_overrun(&mut self, overrun: i32) {
        self.put_i32(20, overrun);
    }
    /// SIGSYS from a guest's own seccomp filter (SECCOMP_RET_TRAP).
    #[must_use]
    pub fn seccomp(call_addr: u64, nr: u32, arch: u32, data: u16) -> Self {
        let mut info = Self::blank(Signal::SYS, code::SYS_SECCOMP);
        info.put_i32(4, i32::from(data));
        info.put_u64(16, call_addr);
        info.put_i32(24, nr as i32);
        info.put_i32(28, arch as i32);
        info
    }
    /// Readiness of a descriptor (F_SETSIG): `code` is POLL_IN …
    #[must_use]
    pub fn io(signal: Signal, code: i32, band: u64, fd: i32) -> Self {
        let mut info = Self::blank(signal, code);
        info.put_u64(16, band);
        info.put_i32(24, fd);
        info
    }
    /// As a guest gave it to `rt_sigqueueinfo`; the signal number is overwritten.
    #[must_use]
    pub fn from_guest(bytes: [u8; 128], signal: Signal) -> Self {
        let mut info = Self { bytes };
        info.put_i32(0, i32::from(signal.number()));
        info
    }
    /// `si_signo`.
    #[must_use]
    pub fn signal(&self) -> Signal {
        Signal::new(i64::from(self.i32_at(0))).unwrap_or(Signal::KILL)
    }
    /// `si_code`.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.i32_at(8)
    }
    /// `si_pid` (signals from users and children).
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.i32_at(16)
    }
    /// `si_uid`.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.i32_at(20) as u32
    }
    /// `si_addr` of a fault.
    #[must_use]
    pub fn addr(&self) -> u64 {
        let mut value = [0; 8];
        value.copy_from_slice(&self.bytes[16..24]);
        u64::from_ne_bytes(value)
    }
    /// The structure's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 128] {
        &self.bytes
    }
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}(code {})", self.signal(), self.code())
    }
}
