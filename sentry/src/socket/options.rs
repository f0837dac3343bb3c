//! Options that all sockets have (`socket(7)`).

use abi::socket as so;
use abi::time::{NSEC_PER_SEC, Timeval};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Errno, Result};
use crate::task::creds::{Cap, Creds};

/// `net.core.wmem_max` and `rmem_max`; also the default of both buffers.
pub const BUFFER_MAX: usize = 212_992;
const SNDBUF_MIN: usize = 4608;
const RCVBUF_MIN: usize = 2304;

/// Values of the options of level SOL_SOCKET.
#[derive(Clone, Debug)]
pub struct Options {
    /// SO_SNDBUF as reported: twice what was asked for.
    pub sndbuf: usize,
    /// SO_RCVBUF as reported.
    pub rcvbuf: usize,
    /// SO_SNDTIMEO in nanoseconds.
    pub send_timeout_ns: Option<u64>,
    /// SO_RCVTIMEO in nanoseconds.
    pub receive_timeout_ns: Option<u64>,
    /// SO_PASSCRED.
    pub pass_creds: bool,
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT.
    pub reuse_port: bool,
    /// SO_LINGER: on, seconds.
    pub linger: (i32, i32),
    /// SO_RCVLOWAT.
    pub receive_low_water: i32,
    priority: i32,
    mark: u32,
    flags: u64,
    busy_poll: i32,
    /// SO_BINDTODEVICE: number and name of the interface.
    device: Option<(u32, String)>,
    cookie: u64,
}

/// A number for a socket that no other has (SO_COOKIE).
fn new_cookie() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sndbuf: BUFFER_MAX,
            rcvbuf: BUFFER_MAX,
            send_timeout_ns: None,
            receive_timeout_ns: None,
            pass_creds: false,
            reuse_addr: false,
            reuse_port: false,
            linger: (0, 0),
            receive_low_water: 1,
            priority: 0,
            mark: 0,
            flags: 0,
            busy_poll: 0,
            device: None,
            cookie: new_cookie(),
        }
    }
}

/// The first four bytes of an option's value; `EINVAL` if there are fewer.
pub fn int(value: &[u8]) -> Result<i32> {
    i32::read_from_prefix(value)
        .map(|(value, _)| value)
        .map_err(|_| Errno::EINVAL)
}

/// A value cut to what the guest has room for.
#[must_use]
pub fn cut(bytes: &[u8], max: usize) -> Vec<u8> {
    bytes[..bytes.len().min(max)].to_vec()
}

fn timeout(value: &[u8]) -> Result<Option<u64>> {
    let (tv, _) = Timeval::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
    if !(0..1_000_000).contains(&tv.usec) {
        return Err(Errno::EDOM);
    }
    if tv.sec < 0 {
        // Linux takes it as "do not wait".
        return Ok(Some(0));
    }
    let ns = (tv.sec as u64)
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(tv.usec as u64 * 1000);
    Ok((ns != 0).then_some(ns))
}

const fn timeval(ns: Option<u64>) -> Timeval {
    let ns = match ns {
        Some(ns) => ns,
        None => 0,
    };
    Timeval {
        sec: (ns / NSEC_PER_SEC) as i64,
        usec: (ns % NSEC_PER_SEC / 1000) as i64,
    }
}

/// Boolean options that are only kept.
const fn flag(name: i32) -> Option<u64> {
    match name {
        so::SO_DEBUG
        | so::SO_DONTROUTE
        | so::SO_BROADCAST
        | so::SO_KEEPALIVE
        | so::SO_OOBINLINE
        | so::SO_NO_CHECK
        | so::SO_TIMESTAMP
        | so::SO_TIMESTAMPNS
        | so::SO_RXQ_OVFL
        | so::SO_SELECT_ERR_QUEUE => Some(1 << name),
        _ => None,
    }
}

impl Options {
    /// With these sizes of the send and receive buffer.
    #[must_use]
    pub fn with_buffers(sndbuf: usize, rcvbuf: usize) -> Self {
        Self {
            sndbuf,
            rcvbuf,
            ..Self::default()
        }
    }

    /// As a connection that a listener makes begins with them.
    #[must_use]
    pub fn inherited(&self) -> Self {
        Self {
            cookie: new_cookie(),
            ..self.clone()
        }
    }

    /// SO_BINDTODEVICE: the interface's number.
    #[must_use]
    pub fn device(&self) -> Option<u32> {
        self.device.as_ref().map(|(index, _)| *index)
    }

    /// Sets SO_BINDTODEVICE.
    pub fn set_device(&mut self, device: Option<(u32, String)>) {
        self.device = device;
    }

    /// SO_COOKIE.
    #[must_use]
    pub const fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Whether a boolean option that is only kept is on.
    #[must_use]
    pub const fn is_on(&self, name: i32) -> bool {
        match flag(name) {
            Some(bit) => self.flags & bit != 0,
            None => false,
        }
    }

    /// `setsockopt` of level SOL_SOCKET. `ENOPROTOOPT` for what is not known.
    pub fn set(&mut self, creds: &Creds, name: i32, value: &[u8]) -> Result<()> {
        match name {
            so::SO_SNDTIMEO | so::SO_SNDTIMEO_NEW => {
                self.send_timeout_ns = timeout(value)?;
                return Ok(());
            }
            so::SO_RCVTIMEO | so::SO_RCVTIMEO_NEW => {
                self.receive_timeout_ns = timeout(value)?;
                return Ok(());
            }
            _ => {}
        }
        let number = int(value)?;
        let on = number != 0;
        match name {
            so::SO_SNDBUF => {
                let wanted = usize::try_from(number)
                    .unwrap_or(BUFFER_MAX)
                    .min(BUFFER_MAX);
                self.sndbuf = (wanted * 2).max(SNDBUF_MIN);
            }
            so::SO_RCVBUF => {
                let wanted = usize::try_from(number)
                    .unwrap_or(BUFFER_MAX)
                    .min(BUFFER_MAX);
                self.rcvbuf = (wanted * 2).max(RCVBUF_MIN);
            }
            // Beyond the maximum: needs CAP_NET_ADMIN over the host's memory, which no container has.
            so::SO_SNDBUFFORCE | so::SO_RCVBUFFORCE => return Err(Errno::EPERM),
            so::SO_PASSCRED => self.pass_creds = on,
            so::SO_REUSEADDR => self.reuse_addr = on,
            so::SO_REUSEPORT => self.reuse_port = on,
            so::SO_LINGER => {
                let (linger, _) = <[i32; 2]>::read_from_prefix(value).map_err(|_| Errno::EINVAL)?;
                self.linger = if linger[0] == 0 {
                    (0, self.linger.1)
                } else {
                    (1, linger[1])
                };
            }
            so::SO_RCVLOWAT => {
                self.receive_low_water = if number < 0 { i32::MAX } else { number.max(1) };
            }
            so::SO_PRIORITY => {
                if !(0..=6).contains(&number) {
                    creds.require(Cap::NET_ADMIN)?;
                }
                self.priority = number;
            }
            so::SO_MARK => {
                creds.require(Cap::NET_ADMIN)?;
                self.mark = number as u32;
            }
            so::SO_TYPE
            | so::SO_PROTOCOL
            | so::SO_DOMAIN
            | so::SO_ERROR
            | so::SO_SNDLOWAT
            | so::SO_COOKIE
            | so::SO_LOCK_FILTER
            | so::SO_ACCEPTCONN => return Err(Errno::ENOPROTOOPT),
            so::SO_BUSY_POLL => {
                if number < 0 {
                    return Err(Errno::EINVAL);
                }
                if number > self.busy_poll {
                    creds.require(Cap::NET_ADMIN)?;
                }
                self.busy_poll = number;
            }
            name => {
                let bit = flag(name).ok_or(Errno::ENOPROTOOPT)?;
                if name == so::SO_DEBUG && on {
                    creds.require(Cap::NET_ADMIN).map_err(|_| Errno::EACCES)?;
                }
                // The two kinds of timestamps exclude each other.
                let stamps = [so::SO_TIMESTAMP, so::SO_TIMESTAMPNS];
                if stamps.contains(&name) {
                    self.flags &= !stamps.into_iter().filter_map(flag).sum::<u64>();
                }
                self.flags = if on {
                    self.flags | bit
                } else {
                    self.flags & !bit
                };
            }
        }
        Ok(())
    }

    /// `getsockopt` of level SOL_SOCKET. `ENOPROTOOPT` for what is not known.
    pub fn get(&self, name: i32, max: usize) -> Result<Vec<u8>> {
        let number = match name {
            so::SO_SNDTIMEO | so::SO_SNDTIMEO_NEW => {
                return Ok(cut(timeval(self.send_timeout_ns).as_bytes(), max));
            }
            so::SO_RCVTIMEO | so::SO_RCVTIMEO_NEW => {
                return Ok(cut(timeval(self.receive_timeout_ns).as_bytes(), max));
            }
            so::SO_LINGER => {
                return Ok(cut([self.linger.0, self.linger.1].as_bytes(), max));
            }
            so::SO_BINDTODEVICE => {
                let Some((_, name)) = &self.device else {
                    return Ok(Vec::new());
                };
                if max < name.len() + 1 {
                    return Err(Errno::EINVAL);
                }
                return Ok([name.as_bytes(), b"\0"].concat());
            }
            so::SO_COOKIE => {
                return if max < 8 {
                    Err(Errno::EINVAL)
                } else {
                    Ok(self.cookie.to_ne_bytes().to_vec())
                };
            }
            so::SO_BUSY_POLL => self.busy_poll,
            so::SO_LOCK_FILTER => 0,
            // Packets come in on no particular CPU.
            so::SO_INCOMING_CPU => -1,
            so::SO_SNDBUF => self.sndbuf as i32,
            so::SO_RCVBUF => self.rcvbuf as i32,
            so::SO_PASSCRED => i32::from(self.pass_creds),
            so::SO_REUSEADDR => i32::from(self.reuse_addr),
            so::SO_REUSEPORT => i32::from(self.reuse_port),
            so::SO_RCVLOWAT => self.receive_low_water,
            so::SO_SNDLOWAT => 1,
            so::SO_PRIORITY => self.priority,
            so::SO_MARK => self.mark as i32,
            name => i32::from(self.flags & flag(name).ok_or(Errno::ENOPROTOOPT)? != 0),
        };
        Ok(cut(&number.to_ne_bytes(), max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_doubled_and_bounded() {
        let mut options = Options::default();
        let creds = Creds::root();
        for (asked, kept) in [(1, SNDBUF_MIN), (10_000, 20_000), (-1, 2 * BUFFER_MAX)] {
            options
                .set(&creds, so::SO_SNDBUF, &i32::to_ne_bytes(asked))
                .unwrap();
            assert_eq!(options.sndbuf, kept);
        }
    }

    #[test]
    fn timeouts_must_be_normal() {
        let mut options = Options::default();
        let creds = Creds::root();
        let set = |options: &mut Options, sec, usec| {
            options.set(&creds, so::SO_RCVTIMEO, Timeval { sec, usec }.as_bytes())
        };
        set(&mut options, 1, 500).unwrap();
        assert_eq!(options.receive_timeout_ns, Some(1_000_500_000));
        assert_eq!(set(&mut options, 0, 1_000_000), Err(Errno::EDOM));
        set(&mut options, 0, 0).unwrap();
        assert_eq!(options.receive_timeout_ns, None);
        assert_eq!(
            options.set(&creds, so::SO_RCVTIMEO, &[0; 4]),
            Err(Errno::EINVAL)
        );
        assert_eq!(options.set(&creds, 9999, &[0; 4]), Err(Errno::ENOPROTOOPT));
    }
}
