//! Credentials (`credentials(7)`, `capabilities(7)`). Immutable: a change makes a new set.

use std::sync::Arc;

use super::user_ns::UserNamespace;

/// A capability number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap(pub u8);

#[expect(missing_docs, reason = "the names are capabilities(7)'s own")]
impl Cap {
    pub const CHOWN: Self = Self(0);
    pub const DAC_OVERRIDE: Self = Self(1);
    pub const DAC_READ_SEARCH: Self = Self(2);
    pub const FOWNER: Self = Self(3);
    pub const FSETID: Self = Self(4);
    pub const KILL: Self = Self(5);
    pub const SETGID: Self = Self(6);
    pub const SETUID: Self = Self(7);
    pub const SETPCAP: Self = Self(8);
    pub const LINUX_IMMUTABLE: Self = Self(9);
    pub const NET_BIND_SERVICE: Self = Self(10);
    pub const NET_ADMIN: Self = Self(12);
    pub const NET_RAW: Self = Self(13);
    pub const IPC_LOCK: Self = Self(14);
    pub const IPC_OWNER: Self = Self(15);
    pub const SYS_CHROOT: Self = Self(18);
    pub const SYS_PTRACE: Self = Self(19);
    pub const SYS_ADMIN: Self = Self(21);
    pub const SYS_BOOT: Self = Self(22);
    pub const SYS_NICE: Self = Self(23);
    pub const SYS_RESOURCE: Self = Self(24);
    pub const SYS_TIME: Self = Self(25);
    pub const SYS_TTY_CONFIG: Self = Self(26);
    pub const MKNOD: Self = Self(27);
    pub const LEASE: Self = Self(28);
    pub const WAKE_ALARM: Self = Self(35);
    pub const AUDIT_CONTROL: Self = Self(30);
    pub const SETFCAP: Self = Self(31);
    /// The highest number that Linux 6.x knows (CHECKPOINT_RESTORE).
    pub const LAST: Self = Self(40);
}

/// A set of capabilities, bit `n` for number `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CapSet(pub u64);

impl CapSet {
    /// Every capability that exists.
    pub const FULL: Self = Self((1 << (Cap::LAST.0 + 1)) - 1);
    /// None.
    pub const EMPTY: Self = Self(0);
    /// Whether `cap` is in it.
    #[must_use]
    pub const fn contains(self, cap: Cap) -> bool {
        self.0 >> cap.0 & 1 != 0
    }
}

/// Who a task is and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are credentials(7)'s own")]
pub struct Creds {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Vec<u32>,
    pub effective: CapSet,
    pub permitted: CapSet,
    pub inheritable: CapSet,
    pub bounding: CapSet,
    pub ambient: CapSet,
    pub securebits: u32,
    pub no_new_privs: bool,
    /// What the ids and capabilities are relative to.
    pub user_ns: Arc<UserNamespace>,
}

impl Creds {
    /// Root with every capability.
    #[must_use]
    pub fn root() -> Self {
        Self {
            uid: 0,
            euid: 0,
            suid: 0,
            fsuid: 0,
            gid: 0,
            egid: 0,
            sgid: 0,
            fsgid: 0,
            groups: Vec::new(),
            effective: CapSet::FULL,
            permitted: CapSet::FULL,
            inheritable: CapSet::EMPTY,
            bounding: CapSet::FULL,
            ambient: CapSet::EMPTY,
            securebits: 0,
            no_new_privs: false,
            user_ns: UserNamespace::initial(),
        }
    }
    /// Whether the capability is effective in the sandbox's own user namespace (`capable`). What belongs to another namespace is asked for by
    /// [`Creds::has_in`], [`Creds::has_here`] or [`Creds::has_over`].
    #[must_use]
    pub fn has(&self, cap: Cap) -> bool {
        self.effective.contains(cap) && self.user_ns.is_initial()
    }
    /// `EPERM` unless [`Creds::has`].
    pub fn require(&self, cap: Cap) -> crate::error::Result<()> {
        if self.has(cap) {
            Ok(())
        } else {
            Err(crate::error::Errno::EPERM)
        }
    }
    /// Whether `gid` is the fsgid or a supplementary group.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
    /// These credentials with real ids as file-system ids (`access(2)`).
    #[must_use]
    pub fn with_real_ids(&self) -> Self {
        let mut creds = self.clone();
        creds.fsuid = self.uid;
        creds.fsgid = self.gid;
        if self.securebits & 1 == 0 {
            creds.effective = if self.user_ns.is_root(self.uid) {
                self.permitted
            } else {
                CapSet::EMPTY
            };
        }
        creds
    }
}
