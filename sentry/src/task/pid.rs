//! Pid namespaces and process ids (`pid_namespaces(7)`).
//!
//! An id number may stand for a task, a thread group, a process group and a session at once; it is free again when the last of them is gone.
//!
//! Lock order: a namespace's table is a leaf.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::user_ns::UserNamespace;
use super::{Task, ThreadGroup};
use crate::error::{Errno, Result};

/// Highest id + 1 (`kernel.pid_max`).
pub const PID_MAX: i32 = 4_194_304;

#[derive(Default)]
struct Entry {
    /// The Pid that owns the number, while anyone holds it.
    pid: Weak<Pid>,
    task: Weak<Task>,
}

struct Table {
    last: i32,
    entries: BTreeMap<i32, Entry>,
}

/// A pid namespace.
pub struct PidNamespace {
    /// The enclosing one.
    pub parent: Option<Arc<PidNamespace>>,
    /// Distance from the sandbox's first namespace.
    pub level: u32,
    table: Mutex<Table>,
    /// The namespace's init, once there is one.
    pub init: Mutex<Weak<ThreadGroup>>,
    /// Whose capabilities count for it.
    pub owner: Arc<UserNamespace>,
    /// Inode number in nsfs.
    pub ino: u64,
    /// Its init is gone: nobody can be born here any more.
    dead: AtomicBool,
}

impl PidNamespace {
    /// A namespace below `parent`, of the sandbox's own user namespace.
    #[must_use]
    pub fn new(parent: Option<Arc<Self>>) -> Arc<Self> {
        Self::owned(parent, UserNamespace::initial())
    }

    /// A namespace below `parent`.
    #[must_use]
    pub fn owned(parent: Option<Arc<Self>>, owner: Arc<UserNamespace>) -> Arc<Self> {
        let level = parent.as_ref().map_or(0, |p| p.level + 1);
        Arc::new(Self {
            parent,
            level,
            table: Mutex::new(Table {
                last: 0,
                entries: BTreeMap::new(),
            }),
            init: Mutex::default(),
            owner,
            ino: crate::kernel::next_namespace_ino(),
            dead: AtomicBool::new(false),
        })
    }

    /// Whether it is `other` or below it.
    #[must_use]
    pub fn is_within(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(self);
        while let Some(namespace) = at {
            if Arc::ptr_eq(namespace, other) {
                return true;
            }
            at = namespace.parent.as_ref();
        }
        false
    }

    fn allocate(&self, pid: &Weak<Pid>) -> Result<i32> {
        if self.is_dead() {
            return Err(Errno::ENOMEM);
        }
        let mut table = self.table.lock();
        for _ in 0..PID_MAX {
            let next = if table.last + 1 >= PID_MAX {
                300
            } else {
                table.last + 1
            };
            table.last = next;
            if table
                .entries
                .get(&next)
                .is_none_or(|e| e.pid.strong_count() == 0)
            {
                table.entries.insert(
                    next,
                    Entry {
                        pid: pid.clone(),
                        task: Weak::new(),
                    },
                );
                return Ok(next);
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Closes the namespace to new processes: its init is gone. Those between their id and their first instruction look at
    /// [`PidNamespace::is_dead`] after they have entered the tables.
    pub fn set_dead(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
    /// Whether its init is gone.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }
    /// How many ids are in use.
    #[must_use]
    pub fn ids_in_use(&self) -> usize {
        self.table.lock().entries.len()
    }

    /// The task with this thread id here.
    #[must_use]
    pub fn task(&self, number: i32) -> Option<Arc<Task>> {
        self.table.lock().entries.get(&number)?.task.upgrade()
    }
    /// The id object of a number in use.
    #[must_use]
    pub fn pid(&self, number: i32) -> Option<Arc<Pid>> {
        self.table.lock().entries.get(&number)?.pid.upgrade()
    }
    /// All tasks visible here, by ascending id.
    #[must_use]
    pub fn tasks(&self) -> Vec<(i32, Arc<Task>)> {
        let table = self.table.lock();
        table
            .entries
            .iter()
            .filter_map(|(n, e)| Some((*n, e.task.upgrade()?)))
            .collect()
    }
    /// All thread groups visible here (also zombies whose leader's task is gone), by ascending id.
    #[must_use]
    pub fn groups(&self) -> Vec<(i32, Arc<ThreadGroup>)> {
        let pids: Vec<(i32, Arc<Pid>)> = {
            let table = self.table.lock();
            table
                .entries
                .iter()
                .filter_map(|(n, e)| Some((*n, e.pid.upgrade()?)))
                .collect()
        };
        pids.into_iter()
            .filter_map(|(n, pid)| Some((n, pid.group()?)))
            .collect()
    }
    /// The id given out last (`/proc/loadavg`).
    #[must_use]
    pub fn last_pid(&self) -> i32 {
        self.table.lock().last
    }
}

/// A process id: one number in each namespace from the task's own up to the first.
pub struct Pid {
    numbers: Vec<(Arc<PidNamespace>, i32)>,
    group: Mutex<Weak<ThreadGroup>>,
}

impl Pid {
    /// Fresh numbers in `namespace` and all above it.
    pub fn allocate(namespace: &Arc<PidNamespace>) -> Result<Arc<Self>> {
        let mut error = None;
        let pid = Arc::new_cyclic(|weak| {
            let mut numbers = Vec::new();
            let mut at = Some(namespace.clone());
            while let Some(ns) = at {
                match ns.allocate(weak) {
                    Ok(number) => numbers.push((ns.clone(), number)),
                    Err(errno) => error = Some(errno),
                }
                at = ns.parent.clone();
            }
            Self {
                numbers,
                group: Mutex::default(),
            }
        });
        match error {
            None => Ok(pid),
            Some(errno) => Err(errno),
        }
    }
    /// The number as seen from `namespace`; 0 if it is not visible there.
    #[must_use]
    pub fn in_namespace(&self, namespace: &PidNamespace) -> i32 {
        self.numbers
            .iter()
            .find(|(ns, _)| std::ptr::eq(&**ns, namespace))
            .map_or(0, |(_, n)| *n)
    }
    /// The number in the innermost namespace.
    #[must_use]
    pub fn local(&self) -> i32 {
        self.numbers.first().map_or(0, |(_, n)| *n)
    }
    /// The innermost namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<PidNamespace> {
        &self.numbers[0].0
    }
    /// Numbers from the outermost to the innermost namespace (`NSpid`).
    #[must_use]
    pub fn all(&self) -> Vec<i32> {
        self.numbers.iter().rev().map(|(_, n)| *n).collect()
    }
    /// The thread group whose id this is.
    #[must_use]
    pub fn group(&self) -> Option<Arc<ThreadGroup>> {
        self.group.lock().upgrade()
    }
    /// Makes this the id of a thread group.
    pub fn set_group(&self, group: &Arc<ThreadGroup>) {
        *self.group.lock() = Arc::downgrade(group);
    }
    /// Makes this the id of a task (also when exec moves the leader's id to another thread).
    pub fn set_task(&self, task: &Arc<Task>) {
        for (ns, number) in &self.numbers {
            if let Some(entry) = ns.table.lock().entries.get_mut(number) {
                entry.task = Arc::downgrade(task);
            }
        }
    }
    /// Takes the task off this id.
    pub fn clear_task(&self) {
        for (ns, number) in &self.numbers {
            if let Some(entry) = ns.table.lock().entries.get_mut(number) {
                entry.task = Weak::new();
            }
        }
    }
}

impl Drop for Pid {
    fn drop(&mut self) {
        for (ns, number) in &self.numbers {
            let mut table = ns.table.lock();
            if table
                .entries
                .get(number)
                .is_some_and(|e| std::ptr::eq(e.pid.as_ptr(), self))
            {
                table.entries.remove(number);
            }
        }
    }
}

impl std::fmt::Debug for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}", self.local())
    }
}
