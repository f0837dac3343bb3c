//! Dispositions (`sigaction(2)`).

use abi::signal::{SigSet, Signal};
use bitflags::bitflags;
use parking_lot::Mutex;

bitflags! {
    /// `sa_flags`; unknown bits are kept, as Linux keeps those it knows (`UAPI_SA_FLAGS`) and clears the rest.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SaFlags: u64 {
        /// SA_NOCLDSTOP.
        const NOCLDSTOP = 1;
        /// SA_NOCLDWAIT.
        const NOCLDWAIT = 2;
        /// SA_SIGINFO.
        const SIGINFO = 4;
        /// SA_EXPOSE_TAGBITS.
        const EXPOSE_TAGBITS = 0x800;
        /// SA_RESTORER.
        const RESTORER = 0x0400_0000;
        /// SA_ONSTACK.
        const ONSTACK = 0x0800_0000;
        /// SA_RESTART.
        const RESTART = 0x1000_0000;
        /// SA_NODEFER.
        const NODEFER = 0x4000_0000;
        /// SA_RESETHAND.
        const RESETHAND = 0x8000_0000;
    }
}

/// What a disposition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Disposition {
    /// SIG_DFL.
    #[default]
    Default,
    /// SIG_IGN.
    Ignore,
    /// A handler's address.
    Handler(u64),
}

/// A signal's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Action {
    /// Default, ignore or a handler.
    pub disposition: Disposition,
    /// SA_*.
    pub flags: SaFlags,
    /// `sa_restorer`.
    pub restorer: u64,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

/// What SIG_DFL does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with a core dump.
    Core,
    /// Nothing.
    Ignore,
    /// Stops the process.
    Stop,
    /// Continues it (and is then ignored).
    Continue,
}

/// The default of each signal (`signal(7)`).
#[must_use]
pub const fn default_action(signal: Signal) -> DefaultAction {
    match signal.number() {
        3..=8 | 11 | 24 | 25 | 31 => DefaultAction::Core,
        17 | 23 | 28 => DefaultAction::Ignore,
        18 => DefaultAction::Continue,
        19..=22 => DefaultAction::Stop,
        _ => DefaultAction::Terminate,
    }
}

/// The actions of a process (or of several, with CLONE_SIGHAND).
pub struct SignalActions(Mutex<[Action; 64]>);

impl Default for SignalActions {
    fn default() -> Self {
        Self(Mutex::new([Action::default(); 64]))
    }
}

impl SignalActions {
    /// One action.
    #[must_use]
    pub fn get(&self, signal: Signal) -> Action {
        self.0.lock()[usize::from(signal.number() - 1)]
    }
    /// Replaces one; returns the old.
    pub fn set(&self, signal: Signal, action: Action) -> Action {
        std::mem::replace(&mut self.0.lock()[usize::from(signal.number() - 1)], action)
    }
    /// A copy of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Mutex::new(*self.0.lock()))
    }
    /// What exec does: handlers become default, ignored stays ignored.
    #[must_use]
    pub fn after_exec(&self) -> Self {
        let mut actions = *self.0.lock();
        for action in &mut actions {
            let disposition = match action.disposition {
                Disposition::Ignore => Disposition::Ignore,
                _ => Disposition::Default,
            };
            *action = Action {
                disposition,
                ..Action::default()
            };
        }
        Self(Mutex::new(actions))
    }
    /// Whether the signal would be thrown away: ignored, or default and nothing to do.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        match self.get(signal).disposition {
            Disposition::Ignore => true,
            Disposition::Default => matches!(default_action(signal), DefaultAction::Ignore),
            Disposition::Handler(_) => false,
        }
    }
    /// The sets of ignored and of handled signals, for `/proc/<pid>/status`.
    #[must_use]
    pub fn sets(&self) -> (SigSet, SigSet) {
        let actions = self.0.lock();
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for (index, action) in actions.iter().enumerate() {
            let bit = SigSet(1 << index);
            match action.disposition {
                Disposition::Ignore => ignored = ignored.union(bit),
                Disposition::Handler(_) => caught = caught.union(bit),
                Disposition::Default => {}
            }
        }
        (ignored, caught)
    }
}
