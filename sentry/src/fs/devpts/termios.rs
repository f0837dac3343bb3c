//! Terminal attributes (`termios(3)`, `include/uapi/asm-generic/termbits.h`).

/// Number of control characters in the kernel's structure.
pub const NCCS: usize = 19;
/// Bytes of `struct termios` as the kernel has it.
pub const TERMIOS_SIZE: usize = 36;
/// Bytes of `struct termios2`.
pub const TERMIOS2_SIZE: usize = 44;
/// Bytes of the old `struct termio`.
pub const TERMIO_SIZE: usize = 18;

/// `c_iflag`.
#[expect(missing_docs, reason = "the names are termios(3)'s own")]
pub mod iflag {
    pub const ISTRIP: u32 = 0o40;
    pub const INLCR: u32 = 0o100;
    pub const IGNCR: u32 = 0o200;
    pub const ICRNL: u32 = 0o400;
    pub const IUCLC: u32 = 0o1000;
    pub const IXON: u32 = 0o2000;
    pub const IXANY: u32 = 0o4000;
    pub const IMAXBEL: u32 = 0o20000;
    pub const IUTF8: u32 = 0o40000;
}

/// `c_oflag`.
#[expect(missing_docs, reason = "the names are termios(3)'s own")]
pub mod oflag {
    pub const OPOST: u32 = 0o1;
    pub const OLCUC: u32 = 0o2;
    pub const ONLCR: u32 = 0o4;
    pub const OCRNL: u32 = 0o10;
    pub const ONOCR: u32 = 0o20;
    pub const ONLRET: u32 = 0o40;
    pub const TABDLY: u32 = 0o14000;
    pub const XTABS: u32 = 0o14000;
}

/// `c_lflag`.
#[expect(missing_docs, reason = "the names are termios(3)'s own")]
pub mod lflag {
    pub const ISIG: u32 = 0o1;
    pub const ICANON: u32 = 0o2;
    pub const ECHO: u32 = 0o10;
    pub const ECHOE: u32 = 0o20;
    pub const ECHOK: u32 = 0o40;
    pub const ECHONL: u32 = 0o100;
    pub const NOFLSH: u32 = 0o200;
    pub const TOSTOP: u32 = 0o400;
    pub const ECHOCTL: u32 = 0o1000;
    pub const ECHOKE: u32 = 0o4000;
    pub const IEXTEN: u32 = 0o100_000;
}

/// Indices of control characters.
#[expect(missing_docs, reason = "the names are termios(3)'s own")]
pub mod cc {
    pub const VINTR: usize = 0;
    pub const VQUIT: usize = 1;
    pub const VERASE: usize = 2;
    pub const VKILL: usize = 3;
    pub const VEOF: usize = 4;
    pub const VTIME: usize = 5;
    pub const VMIN: usize = 6;
    pub const VSTART: usize = 8;
    pub const VSTOP: usize = 9;
    pub const VSUSP: usize = 10;
    pub const VEOL: usize = 11;
    pub const VREPRINT: usize = 12;
    pub const VWERASE: usize = 14;
    pub const VLNEXT: usize = 15;
    pub const VEOL2: usize = 16;
}

/// `struct termios2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are termios(3)'s own")]
pub struct Termios {
    pub iflag: u32,
    pub oflag: u32,
    pub cflag: u32,
    pub lflag: u32,
    pub line: u8,
    pub cc: [u8; NCCS],
    pub ispeed: u32,
    pub ospeed: u32,
}

impl Default for Termios {
    /// `tty_std_termios`, with 38400 baud.
    fn default() -> Self {
        Self {
            iflag: iflag::ICRNL | iflag::IXON,
            oflag: oflag::OPOST | oflag::ONLCR,
            // B38400 | CS8 | CREAD | HUPCL for consoles; ptys have no HUPCL.
            cflag: 0o17 | 0o60 | 0o200,
            lflag: lflag::ISIG
                | lflag::ICANON
                | lflag::ECHO
                | lflag::ECHOE
                | lflag::ECHOK
                | lflag::ECHOCTL
                | lflag::ECHOKE
                | lflag::IEXTEN,
            line: 0,
            // ^C ^\ DEL ^U ^D 0 1 0 ^Q ^S ^Z 0 ^R ^O ^W ^V 0
            cc: [
                3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0,
            ],
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(word)
}

impl Termios {
    /// Whether an input flag is set.
    #[must_use]
    pub const fn input(&self, flag: u32) -> bool {
        self.iflag & flag != 0
    }
    /// Whether an output flag is set.
    #[must_use]
    pub const fn output(&self, flag: u32) -> bool {
        self.oflag & flag != 0
    }
    /// Whether a local flag is set.
    #[must_use]
    pub const fn local(&self, flag: u32) -> bool {
        self.lflag & flag != 0
    }
    /// Whether `byte` is the control character at `index` (a disabled one, 0, never is).
    #[must_use]
    pub const fn is(&self, index: usize, byte: u8) -> bool {
        byte != 0 && self.cc[index] == byte
    }

    /// As `struct termios2`; the first [`TERMIOS_SIZE`] bytes are `struct termios`.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TERMIOS2_SIZE] {
        let mut bytes = [0; TERMIOS2_SIZE];
        for (at, value) in [
            (0, self.iflag),
            (4, self.oflag),
            (8, self.cflag),
            (12, self.lflag),
            (36, self.ispeed),
            (40, self.ospeed),
        ] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes[16] = self.line;
        bytes[17..36].copy_from_slice(&self.cc);
        bytes
    }

    /// With the values of a `struct termios`, or of a `struct termios2` if there are enough bytes.
    #[must_use]
    pub fn updated(&self, bytes: &[u8]) -> Self {
        let mut new = *self;
        if bytes.len() < TERMIOS_SIZE {
            return new;
        }
        new.iflag = word(bytes, 0);
        new.oflag = word(bytes, 4);
        new.cflag = word(bytes, 8);
        new.lflag = word(bytes, 12);
        new.line = bytes[16];
        new.cc.copy_from_slice(&bytes[17..36]);
        if bytes.len() >= TERMIOS2_SIZE {
            new.ispeed = word(bytes, 36);
            new.ospeed = word(bytes, 40);
        }
        new
    }

    /// As the old `struct termio` (TCGETA).
    #[must_use]
    pub fn to_termio(&self) -> [u8; TERMIO_SIZE] {
        let mut bytes = [0; TERMIO_SIZE];
        for (at, value) in [
            (0, self.iflag),
            (2, self.oflag),
            (4, self.cflag),
            (6, self.lflag),
        ] {
            bytes[at..at + 2].copy_from_slice(&(value as u16).to_ne_bytes());
        }
        bytes[8] = self.line;
        bytes[9..17].copy_from_slice(&self.cc[..8]);
        bytes
    }

    /// With the values of an old `struct termio` (TCSETA): the upper halves of the flags stay.
    #[must_use]
    pub fn updated_by_termio(&self, bytes: &[u8; TERMIO_SIZE]) -> Self {
        let half = |old: u32, at: usize| {
            (old & 0xffff_0000) | u32::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]))
        };
        let mut new = *self;
        new.iflag = half(self.iflag, 0);
        new.oflag = half(self.oflag, 2);
        new.cflag = half(self.cflag, 4);
        new.lflag = half(self.lflag, 6);
        new.line = bytes[8];
        new.cc[..8].copy_from_slice(&bytes[9..17]);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_survive_the_way_to_the_guest_and_back() {
        let mut termios = Termios::default();
        termios.cc[cc::VMIN] = 9;
        termios.ospeed = 115_200;
        assert_eq!(Termios::default().updated(&termios.to_bytes()), termios);
        let short = Termios::default().updated(&termios.to_bytes()[..TERMIOS_SIZE]);
        assert_eq!((short.cc[cc::VMIN], short.ospeed), (9, 38400));
        assert_eq!(termios.updated_by_termio(&termios.to_termio()), termios);
    }
}
