//! Epolls that watch epolls: no loops, and no chain longer than five (`EP_MAX_NESTS`, `ep_loop_check`).

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{Epoll, of_file};
use crate::error::{Errno, Result};

/// Steps in the longest chain.
const MAX_STEPS: usize = 4;
/// Bound of a check's work: a guest can build graphs with many paths.
const MAX_VISITS: usize = 10_000;

/// Held while an epoll is added to another, so that two additions do not make a loop between them.
static NESTING: Mutex<()> = Mutex::new(());

/// Checks that `outer` may watch `inner`: `ELOOP`. Hold the guard until it does.
pub(super) fn enter(outer: &Arc<Epoll>, inner: &Arc<Epoll>) -> Result<MutexGuard<'static, ()>> {
    let guard = NESTING.lock();
    let mut visits = MAX_VISITS;
    let below = steps_below(inner, outer, 0, &mut visits)?;
    let above = steps_above(outer, 0, &mut visits)?;
    if above + 1 + below > MAX_STEPS {
        return Err(Errno::ELOOP);
    }
    Ok(guard)
}

/// `inner` is not watched by `outer` any more.
pub(super) fn leave(outer: &Epoll, inner: &Epoll) {
    let mut parents = inner.parents.lock();
    if let Some(at) = parents
        .iter()
        .position(|parent| std::ptr::eq(parent.as_ptr(), outer))
    {
        parents.swap_remove(at);
    }
}

fn spend(visits: &mut usize, depth: usize) -> Result<()> {
    if depth > MAX_STEPS || *visits == 0 {
        return Err(Errno::ELOOP);
    }
    *visits -= 1;
    Ok(())
}

/// The longest chain of epolls below `at`; `ELOOP` if `target` is met.
fn steps_below(
    at: &Arc<Epoll>,
    target: &Arc<Epoll>,
    depth: usize,
    visits: &mut usize,
) -> Result<usize> {
    spend(visits, depth)?;
    if Arc::ptr_eq(at, target) {
        return Err(Errno::ELOOP);
    }
    let files: Vec<_> = {
        let interest = at.interest.lock();
        interest.values().filter_map(|item| item.file()).collect()
    };
    let mut longest = 0;
    for file in files {
        if let Ok(inner) = of_file(&file) {
            longest = longest.max(1 + steps_below(inner, target, depth + 1, visits)?);
        }
    }
    Ok(longest)
}

/// The longest chain of epolls above `at`.
fn steps_above(at: &Arc<Epoll>, depth: usize, visits: &mut usize) -> Result<usize> {
    spend(visits, depth)?;
    let parents: Vec<_> = {
        let mut parents = at.parents.lock();
        parents.retain(|parent| parent.strong_count() > 0);
        parents
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .collect()
    };
    let mut longest = 0;
    for parent in parents {
        longest = longest.max(1 + steps_above(&parent, depth + 1, visits)?);
    }
    Ok(longest)
}
