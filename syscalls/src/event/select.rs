//! `select(2)`, `pselect6(2)` (`fs/select.c`).

use abi::time::{Timespec, Timeval};
use abi::{UserAddr, UserIn, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::task::CurrentTask;
use sentry::vfs::{Fd, NR_OPEN};
use sentry::wait::Events;

use super::poll::{Watched, finish, store_timespec, wait_for};
use super::{Timeout, read_mask, with_signal_mask};

const READ: Events = Events::IN
    .union(Events::RDNORM)
    .union(Events::RDBAND)
    .union(Events::HUP)
    .union(Events::ERR);
const WRITE: Events = Events::OUT
    .union(Events::WRNORM)
    .union(Events::WRBAND)
    .union(Events::ERR);
const EXCEPT: Events = Events::PRI;

/// A set of descriptors as the guest has it: words of 64.
struct FdSet {
    at: UserOut<u64>,
    words: Vec<u64>,
}

impl FdSet {
    fn read(cx: &CurrentTask, at: UserOut<u64>, count: usize) -> Result<Self> {
        let words = if at.is_null() {
            Vec::new()
        } else {
            let words = cx
                .memory()
                .get_array(UserIn::new(at.addr()), count.div_ceil(64));
            words?
        };
        Ok(Self { at, words })
    }
    fn contains(&self, fd: usize) -> bool {
        self.words
            .get(fd / 64)
            .is_some_and(|word| word & (1 << (fd % 64)) != 0)
    }
    fn cleared(&self) -> Self {
        Self {
            at: self.at,
            words: vec![0; self.words.len()],
        }
    }
    fn insert(&mut self, fd: usize) {
        if let Some(word) = self.words.get_mut(fd / 64) {
            *word |= 1 << (fd % 64);
        }
    }
    fn store(&self, cx: &CurrentTask) -> Result<()> {
        if self.at.is_null() {
            return Ok(());
        }
        let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_ne_bytes()).collect();
        cx.memory().write(self.at.addr(), &bytes)
    }
}

const KINDS: [Events; 3] = [READ, WRITE, EXCEPT];

async fn do_select(
    cx: &CurrentTask,
    count: i32,
    at: [UserOut<u64>; 3],
    timeout: Timeout,
) -> SysResult<usize> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let count = count.min(NR_OPEN);
    let mut sets = Vec::with_capacity(3);
    for at in at {
        sets.push(FdSet::read(cx, at, count)?);
    }
    let mut watched = Vec::new();
    let mut members = Vec::new();
    for fd in 0..count {
        let kinds: [bool; 3] = std::array::from_fn(|kind| sets[kind].contains(fd));
        if !kinds.contains(&true) {
            continue;
        }
        let file = cx.file(Fd(fd as i32))?;
        let wanted = KINDS.iter().zip(kinds).filter(|(_, asked)| *asked);
        let wanted = wanted.fold(Events::empty(), |all, (events, _)| all | *events);
        watched.push(Watched { file, wanted });
        members.push((fd, kinds));
    }
    let mut found: Vec<FdSet> = sets.iter().map(FdSet::cleared).collect();
    let result = wait_for(cx, &watched, timeout, || {
        let mut bits = 0;
        for (watched, (fd, kinds)) in watched.iter().zip(&members) {
            let ready = watched.file.readiness(Some(cx));
            for kind in 0..3 {
                if kinds[kind] && ready.intersects(KINDS[kind]) {
                    found[kind].insert(*fd);
                    bits += 1;
                }
            }
        }
        bits
    })
    .await;
    // Interrupted, the sets stay as they are.
    let bits = result?;
    for set in &found {
        set.store(cx)?;
    }
    Ok(bits)
}

/// `select(2)`.
pub async fn select(
    cx: &CurrentTask,
    nfds: i32,
    read: UserOut<u64>,
    write: UserOut<u64>,
    except: UserOut<u64>,
    limit: UserOut<Timeval>,
) -> SysResult<usize> {
    let given: Option<Timeval> = cx.memory().get_opt(UserIn::new(limit.addr()))?;
    let timeout = match given {
        None => Timeout::Until(None),
        // More than a million microseconds are carried, as Linux does here and nowhere else.
        Some(limit) if limit.sec < 0 || limit.usec < 0 => return Err(Errno::EINVAL.into()),
        Some(limit) => Timeout::from_timespec(Some(Timespec {
            sec: limit.sec.saturating_add(limit.usec / 1_000_000),
            nsec: limit.usec % 1_000_000 * 1000,
        }))?,
    };
    let result = do_select(cx, nfds, [read, write, except], timeout).await;
    finish(cx, result, |cx| match timeout.remaining_ns() {
        Some(left) => {
            let left = Timeval {
                sec: (left / 1_000_000_000) as i64,
                usec: (left % 1_000_000_000 / 1000) as i64,
            };
            cx.memory().put_opt(limit, &left)
        }
        None => Ok(()),
    })
}

/// `pselect6(2)`: the last argument points to a pair of pointer and size of the signal mask.
pub async fn pselect6(
    cx: &CurrentTask,
    nfds: i32,
    read: UserOut<u64>,
    write: UserOut<u64>,
    except: UserOut<u64>,
    limit: UserOut<Timespec>,
    mask: UserIn<[u64; 2]>,
) -> SysResult<usize> {
    let [mask_at, mask_size] = cx.memory().get_opt(mask)?.unwrap_or([0, 0]);
    let given = cx.memory().get_opt(UserIn::new(limit.addr()))?;
    let timeout = Timeout::from_timespec(given)?;
    let mask = read_mask(cx, UserIn::new(UserAddr(mask_at)), mask_size as usize)?;
    with_signal_mask(cx, mask, async {
        let result = do_select(cx, nfds, [read, write, except], timeout).await;
        finish(cx, result, |cx| store_timespec(cx, limit, timeout))
    })
    .await
}
