//! Changes made on the host: which cached facts are still true.
//!
//! Each watched directory has a [`DirState`]. The host queues an event before the call that causes it returns, and the queue is read before anything
//! cached is believed, once in each [`moment`](crate::vfs::moment): so a change that was finished before a guest's call is seen by that call. Nobody is
//! woken by changes; an idle sandbox does not read the queue, which the host bounds.
//!
//! What we change ourselves is announced in the queue too. Each change is entered in `own` before it is asked for, and the event that belongs to it says
//! nothing new. Since events are queued before the gofer's answer is sent, an entry whose answer has come needs to wait for the queue's present end only.
//!
//! Lock order: `queue` → `own`, `table` (leaves).

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ::gofer::client::{Client, Event, EventQueue, NameChange, WatchId};
use parking_lot::Mutex;

use super::dir_state::DirState;
use crate::error::{Errno, Result};
use crate::exec::Reactor;
use crate::exec::reactor::{Timer, WatchHandle};
use crate::vfs::moment;
use crate::wait::Events;

/// Reads of the queue at most before all is forgotten instead: more than the host queues (16,384 events by default) need.
const MAX_READS: u32 = 512;
/// How long a removed file's space may stay taken for want of another message.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// A change of our own.
struct Own {
    token: u64,
    /// Address of the directory's state, to tell it from others.
    dir: usize,
    change: NameChange,
    name: Vec<u8>,
    /// Its event has come.
    told: bool,
    /// Its answer has come, and said that it happened.
    done: bool,
}

/// A change of our own that is being asked for; [`OwnChange::settle`] it with what came of it.
pub(super) struct OwnChange {
    watches: Option<(Arc<Watches>, Arc<DirState>)>,
    token: u64,
}

fn address(dir: &Arc<DirState>) -> usize {
    Arc::as_ptr(dir) as usize
}

/// The watches of one gofer.
pub struct Watches {
    client: Client,
    reactor: Arc<Reactor>,
    queue: Mutex<EventQueue>,
    /// States of watched directories; several if one directory is in several trees.
    table: Mutex<HashMap<WatchId, Vec<Weak<DirState>>>>,
    /// Watches that were let go of and whose end is to be told.
    ending: Mutex<HashSet<WatchId>>,
    /// Events of watches that are in no table: see [`Watches::strays`].
    strays: AtomicU64,
    own: Mutex<Vec<Own>>,
    next_token: AtomicU64,
    /// The moment in which the queue was read last.
    read_at: AtomicU64,
    handle: Mutex<Option<WatchHandle>>,
    flush: Mutex<Option<Timer>>,
}

impl Watches {
    /// Watches through `client`. `lifeline` ends with the gofer; `on_gone` is then called once, on the reactor's thread. `EIO` if somebody else
    /// reads the gofer's events already.
    pub fn start(
        reactor: &Arc<Reactor>,
        client: Client,
        lifeline: OwnedFd,
        on_gone: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Arc<Self>> {
        let queue = client.take_events().ok_or(Errno::EIO)?;
        let watches = Arc::new(Self {
            client,
            reactor: reactor.clone(),
            queue: Mutex::new(queue),
            table: Mutex::default(),
            ending: Mutex::default(),
            strays: AtomicU64::new(0),
            own: Mutex::default(),
            next_token: AtomicU64::new(1),
            read_at: AtomicU64::new(0),
            handle: Mutex::new(None),
            flush: Mutex::new(None),
        });
        let weak = Arc::downgrade(&watches);
        let handle = reactor.watch(
            Arc::new(lifeline),
            Events::IN,
            // Nothing is ever sent: readable means the end.
            Arc::new(move |_| {
                if let Some(watches) = weak.upgrade() {
                    let handle = watches.handle.lock().take();
                    drop(handle);
                    watches.end_all();
                    on_gone();
                }
            }),
        );
        *watches.handle.lock() = Some(handle);
        Ok(watches)
    }

    /// Events of unknown watches so far. A watch is known only after its number has come: facts that came with it are believed only if this did not
    /// change meanwhile.
    pub(super) fn strays(&self) -> u64 {
        self.strays.load(Ordering::Acquire)
    }

    /// The state of a directory whose watch has just been answered.
    pub(super) fn register(self: &Arc<Self>, id: WatchId) -> Arc<DirState> {
        let state = Arc::new(DirState::new(Some((id, Arc::downgrade(self)))));
        let mut table = self.table.lock();
        table.entry(id).or_default().push(Arc::downgrade(&state));
        state
    }

    /// A state of `id` has gone.
    pub(super) fn unregister(&self, id: WatchId) {
        let mut table = self.table.lock();
        let Some(states) = table.get_mut(&id) else {
            return;
        };
        states.retain(|state| state.strong_count() > 0);
        let last = states.is_empty();
        if last {
            table.remove(&id);
        }
        drop(table);
        if last {
            self.ending.lock().insert(id);
            self.client.unwatch(id);
        }
    }

    /// Takes note of what has happened. Call it before a cached fact is believed.
    pub fn refresh(&self) {
        let now = moment::now().map_or(0, moment::Moment::number);
        if now != 0 && self.read_at.load(Ordering::Relaxed) == now {
            return;
        }
        let mut queue = self.queue.lock();
        // Of these the events are in the queue now, or never will be.
        let settled: Vec<u64> = {
            let own = self.own.lock();
            own.iter().filter(|o| o.done).map(|o| o.token).collect()
        };
        let mut reads = 0;
        loop {
            match queue.read(|event| self.apply(event)) {
                Ok(false) => break,
                Ok(true) if reads < MAX_READS => reads += 1,
                _ => {
                    self.forget_all();
                    break;
                }
            }
        }
        if !settled.is_empty() {
            self.own.lock().retain(|o| !settled.contains(&o.token));
        }
        self.read_at.store(now, Ordering::Relaxed);
    }

    fn apply(&self, event: Event<'_>) {
        match event {
            Event::Name(id, change, name) => {
                for state in self.states(id) {
                    if !self.is_own(&state, change, name) {
                        state.name_changed(name);
                    }
                }
            }
            Event::Attr(id, name) => {
                for state in self.states(id) {
                    if let Some(Some(inode)) = state.name(name)
                        && let Some(node) = inode.downcast::<super::node::Node>()
                    {
                        node.owner_changed();
                    }
                }
            }
            Event::SelfAttr(id) => self.states(id).iter().for_each(|s| s.attr_changed()),
            Event::SelfGone(id) => self.states(id).iter().for_each(|s| s.forget()),
            Event::Ended(id) => {
                let states = self.states(id);
                self.ending.lock().remove(&id);
                states.iter().for_each(|state| state.end());
            }
            Event::Overflow => self.forget_all(),
        }
    }

    fn states(&self, id: WatchId) -> Vec<Arc<DirState>> {
        let states: Vec<_> = {
            let table = self.table.lock();
            let states = table.get(&id).into_iter().flatten();
            states.filter_map(Weak::upgrade).collect()
        };
        if states.is_empty() && !self.ending.lock().contains(&id) {
            self.strays.fetch_add(1, Ordering::AcqRel);
        }
        states
    }

    /// Whether an event is that of a change of ours.
    fn is_own(&self, dir: &Arc<DirState>, change: NameChange, name: &[u8]) -> bool {
        let mut own = self.own.lock();
        let found = own
            .iter()
            .position(|o| !o.told && o.change == change && o.dir == address(dir) && o.name == name);
        let Some(at) = found else { return false };
        if own[at].done {
            own.swap_remove(at);
        } else {
            own[at].told = true;
        }
        true
    }

    fn forget_all(&self) {
        self.own.lock().clear();
        let all: Vec<_> = {
            let table = self.table.lock();
            let known = table.values().flatten().filter_map(Weak::upgrade);
            known.collect()
        };
        for state in all {
            state.forget();
        }
        self.strays.fetch_add(1, Ordering::AcqRel);
    }

    /// The gofer is gone: nothing that rests on it may be believed.
    fn end_all(&self) {
        let all: Vec<_> = {
            let table = self.table.lock();
            let known = table.values().flatten().filter_map(Weak::upgrade);
            known.collect()
        };
        for state in all {
            state.end();
        }
    }

    /// Sees to it that what was let go of is soon let go of by the gofer as well, even if no message follows: a removed file takes space until then.
    pub(super) fn flush_soon(self: &Arc<Self>) {
        let mut flush = self.flush.lock();
        if flush.is_some() {
            return;
        }
        let weak = Arc::downgrade(self);
        *flush = Some(self.reactor.call_at(
            Instant::now() + FLUSH_AFTER,
            Arc::new(move || {
                if let Some(watches) = weak.upgrade() {
                    let fired = watches.flush.lock().take();
                    drop(fired);
                    // If it fails the gofer is gone, and its descriptors with it.
                    if watches.client.try_flush() == Err(Errno::EAGAIN) {
                        watches.flush_soon();
                    }
                }
            }),
        ));
    }
}

impl OwnChange {
    /// We are about to ask for a change of `name` in a directory.
    pub(super) fn begin(dir: Option<&Arc<DirState>>, change: NameChange, name: &[u8]) -> Self {
        let watches = dir.and_then(|dir| Some((dir.watches()?, dir.clone())));
        let mut token = 0;
        if let Some((watches, dir)) = &watches {
            token = watches.next_token.fetch_add(1, Ordering::Relaxed);
            watches.own.lock().push(Own {
                token,
                dir: address(dir),
                change,
                name: name.to_vec(),
                told: false,
                done: false,
            });
        }
        Self { watches, token }
    }

    /// The answer came: it happened, or not.
    pub(super) fn settle(self, happened: bool) {
        let Some((watches, dir)) = self.watches else {
            return;
        };
        let mut own = watches.own.lock();
        let Some(at) = own.iter().position(|o| o.token == self.token) else {
            return;
        };
        if own[at].told || !happened {
            let entry = own.swap_remove(at);
            drop(own);
            if entry.told && !happened {
                // Then the event was another's.
                dir.name_changed(&entry.name);
            }
        } else {
            own[at].done = true;
        }
    }
}
