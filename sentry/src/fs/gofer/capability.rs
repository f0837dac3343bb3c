//! That a file has no capabilities, which every `execve(2)` asks, is remembered for as long as its change time stays what it was.
//!
//! Setting an attribute changes a file's ctime. Hosts may take that from a clock that ticks every few milliseconds, so an answer counts only if
//! ctime was long past when it was asked for: a later change then has another. Capabilities that are there are asked for each time.

use std::time::{SystemTime, UNIX_EPOCH};

use abi::time::Timespec;
use parking_lot::Mutex;

use crate::error::{Errno, Result};
use crate::vfs::Attr;

/// The attribute.
pub(super) const NAME: &[u8] = b"security.capability";

/// How far a ctime must be in the past, in seconds: more than any host's or file system's tick.
const SETTLED: i64 = 3;

/// The ctime with which a file was found to have none, and what was said then.
#[derive(Default)]
pub(super) struct Capability(Mutex<Option<(Timespec, Errno)>>);

impl Capability {
    /// The attribute's value: what is remembered if `attr` shows no change, else what `ask` says.
    pub(super) fn get(
        &self,
        attr: impl FnOnce() -> Result<Attr>,
        ask: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let ctime = attr()?.ctime;
        if let Some((seen, errno)) = *self.0.lock()
            && seen == ctime
        {
            return Err(errno);
        }
        let settled = ctime.sec.saturating_add(SETTLED) < now_sec();
        let answer = ask();
        *self.0.lock() = match &answer {
            Err(errno @ (Errno::ENODATA | Errno::EOPNOTSUPP)) if settled => Some((ctime, *errno)),
            _ => None,
        };
        answer
    }

    /// The attributes are being changed by us.
    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }
}

/// The host's clock, which ctimes are taken from; 0 before 1970.
fn now_sec() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attr(sec: i64, nsec: i64) -> Attr {
        Attr {
            ctime: Timespec { sec, nsec },
            ..Attr::default()
        }
    }

    #[test]
    fn what_is_absent_is_believed_until_ctime_changes() {
        let known = Capability::default();
        let absent = || Err(Errno::ENODATA);
        let ask = |attr: Attr, answer: Result<Vec<u8>>| known.get(|| Ok(attr), || answer);
        assert_eq!(ask(attr(5, 1), absent()), Err(Errno::ENODATA));
        // Not asked again.
        assert_eq!(ask(attr(5, 1), Ok(vec![1])), Err(Errno::ENODATA));
        assert_eq!(ask(attr(5, 2), Ok(vec![1])), Ok(vec![1]));
        assert_eq!(ask(attr(5, 2), absent()), Err(Errno::ENODATA));
        known.forget();
        assert_eq!(ask(attr(5, 2), Ok(vec![2])), Ok(vec![2]));
    }

    #[test]
    fn a_young_file_is_asked_each_time() {
        let known = Capability::default();
        let young = || attr(now_sec(), 0);
        assert!(known.get(|| Ok(young()), || Err(Errno::ENODATA)).is_err());
        assert_eq!(known.get(|| Ok(young()), || Ok(vec![1])), Ok(vec![1]));
    }
}
