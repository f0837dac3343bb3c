//! Changes of credentials, with what they do to capabilities (`kernel/sys.c`, `security/commoncap.c`).
//!
//! Each takes credentials and changes them or gives the errno, leaving them as they were.

use super::creds::{Cap, CapSet, Creds};
use crate::error::{Errno, Result};

/// No change of this id.
pub const UNCHANGED: u32 = u32::MAX;

/// SECBIT_NOROOT.
pub const SECBIT_NOROOT: u32 = 1;
/// SECBIT_NO_SETUID_FIXUP.
pub const SECBIT_NO_SETUID_FIXUP: u32 = 1 << 2;
/// SECBIT_KEEP_CAPS.
pub const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// SECBIT_KEEP_CAPS_LOCKED.
pub const SECBIT_KEEP_CAPS_LOCKED: u32 = 1 << 5;
/// SECBIT_NO_CAP_AMBIENT_RAISE.
pub const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
const SECURE_ALL_BITS: u32 = 0x55;
const SECURE_ALL_LOCKS: u32 = SECURE_ALL_BITS << 1;

/// Capabilities that come and go with fsuid 0 (`CAP_FS_SET`): CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, LINUX_IMMUTABLE, MKNOD,
/// MAC_OVERRIDE.
const FS_CAPS: u64 = 0x1f | 1 << 9 | 1 << 27 | 1 << 32;

const fn subset(inner: CapSet, outer: CapSet) -> bool {
    inner.0 & !outer.0 == 0
}

fn invalid(id: u32) -> Result<()> {
    if id == UNCHANGED {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

impl Creds {
    /// What a change of real, effective and saved uid does to capabilities (`cap_emulate_setxuid`).
    fn fix_capabilities(&mut self, old: &Self) {
        if self.securebits & SECBIT_NO_SETUID_FIXUP != 0 {
            return;
        }
        let root = |creds: &Self| {
            let is_root = |id: u32| self.user_ns.is_root(id);
            (
                is_root(creds.euid),
                [creds.uid, creds.euid, creds.suid].into_iter().any(is_root),
            )
        };
        let ((old_root, was_root), (new_root, is_root)) = (root(old), root(self));
        if was_root && !is_root {
            if self.securebits & SECBIT_KEEP_CAPS == 0 {
                self.permitted = CapSet::EMPTY;
                self.effective = CapSet::EMPTY;
            }
            self.ambient = CapSet::EMPTY;
        }
        if old_root && !new_root {
            self.effective = CapSet::EMPTY;
        }
        if !old_root && new_root {
            self.effective = self.permitted;
        }
    }

    /// `setuid(2)`.
    pub fn set_uid(&mut self, uid: u32) -> Result<()> {
        invalid(uid)?;
        let old = self.clone();
        if self.has_here(Cap::SETUID) {
            self.uid = uid;
            self.suid = uid;
        } else if uid != self.uid && uid != self.suid {
            return Err(Errno::EPERM);
        }
        self.euid = uid;
        self.fsuid = uid;
        self.fix_capabilities(&old);
        Ok(())
    }

    /// `setreuid(2)`.
    pub fn set_reuid(&mut self, real: u32, effective: u32) -> Result<()> {
        let old = self.clone();
        let privileged = self.has_here(Cap::SETUID);
        if real != UNCHANGED {
            if !privileged && real != old.uid && real != old.euid {
                return Err(Errno::EPERM);
            }
            self.uid = real;
        }
        if effective != UNCHANGED {
            if !privileged && ![old.uid, old.euid, old.suid].contains(&effective) {
                *self = old;
                return Err(Errno::EPERM);
            }
            self.euid = effective;
        }
        if real != UNCHANGED || (effective != UNCHANGED && effective != old.uid) {
            self.suid = self.euid;
        }
        self.fsuid = self.euid;
        self.fix_capabilities(&old);
        Ok(())
    }

    /// `setresuid(2)`.
    pub fn set_resuid(&mut self, real: u32, effective: u32, saved: u32) -> Result<()> {
        let old = self.clone();
        let allowed = |id: u32| id == UNCHANGED || [old.uid, old.euid, old.suid].contains(&id);
        if !(self.has_here(Cap::SETUID) || allowed(real) && allowed(effective) && allowed(saved)) {
            return Err(Errno::EPERM);
        }
        if real != UNCHANGED {
            self.uid = real;
        }
        if effective != UNCHANGED {
            self.euid = effective;
        }
        self.fsuid = self.euid;
        if saved != UNCHANGED {
            self.suid = saved;
        }
        self.fix_capabilities(&old);
        Ok(())
    }

    /// `setfsuid(2)`: returns the old one whether it was changed or not.
    pub fn set_fsuid(&mut self, uid: u32) -> u32 {
        let old = self.fsuid;
        let known = [self.uid, self.euid, self.suid, self.fsuid].contains(&uid);
        if uid == UNCHANGED || !(known || self.has_here(Cap::SETUID)) {
            return old;
        }
        self.fsuid = uid;
        if self.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
            let (old_root, new_root) = (self.user_ns.is_root(old), self.user_ns.is_root(uid));
            if old_root && !new_root {
                self.effective.0 &= !FS_CAPS;
            }
            if !old_root && new_root {
                self.effective.0 |= self.permitted.0 & FS_CAPS;
            }
        }
        old
    }

    /// `setgid(2)`.
    pub fn set_gid(&mut self, gid: u32) -> Result<()> {
        invalid(gid)?;
        if self.has_here(Cap::SETGID) {
            self.gid = gid;
            self.sgid = gid;
        } else if gid != self.gid && gid != self.sgid {
            return Err(Errno::EPERM);
        }
        self.egid = gid;
        self.fsgid = gid;
        Ok(())
    }

    /// `setregid(2)`.
    pub fn set_regid(&mut self, real: u32, effective: u32) -> Result<()> {
        let privileged = self.has_here(Cap::SETGID);
        let (gid, egid, sgid) = (self.gid, self.egid, self.sgid);
        if real != UNCHANGED && !privileged && real != gid && real != egid {
            return Err(Errno::EPERM);
        }
        if effective != UNCHANGED && !privileged && ![gid, egid, sgid].contains(&effective) {
            return Err(Errno::EPERM);
        }
        if real != UNCHANGED {
            self.gid = real;
        }
        if effective != UNCHANGED {
            self.egid = effective;
        }
        if real != UNCHANGED || (effective != UNCHANGED && effective != gid) {
            self.sgid = self.egid;
        }
        self.fsgid = self.egid;
        Ok(())
    }

    /// `setresgid(2)`.
    pub fn set_resgid(&mut self, real: u32, effective: u32, saved: u32) -> Result<()> {
        let (gid, egid, sgid) = (self.gid, self.egid, self.sgid);
        let allowed = |id: u32| id == UNCHANGED || [gid, egid, sgid].contains(&id);
        if !(self.has_here(Cap::SETGID) || allowed(real) && allowed(effective) && allowed(saved)) {
            return Err(Errno::EPERM);
        }
        if real != UNCHANGED {
            self.gid = real;
        }
        if effective != UNCHANGED {
            self.egid = effective;
        }
        self.fsgid = self.egid;
        if saved != UNCHANGED {
            self.sgid = saved;
        }
        Ok(())
    }

    /// `setfsgid(2)`: returns the old one whether it was changed or not.
    pub fn set_fsgid(&mut self, gid: u32) -> u32 {
        let old = self.fsgid;
        let known = [self.gid, self.egid, self.sgid, self.fsgid].contains(&gid);
        if gid != UNCHANGED && (known || self.has_here(Cap::SETGID)) {
            self.fsgid = gid;
        }
        old
    }

    /// `setgroups(2)`; the caller has bounded the list.
    pub fn set_groups(&mut self, mut groups: Vec<u32>) -> Result<()> {
        self.require_here(Cap::SETGID)?;
        if groups.contains(&UNCHANGED) {
            return Err(Errno::EINVAL);
        }
        groups.sort_unstable();
        self.groups = groups;
        Ok(())
    }

    /// `capset(2)` on itself (`cap_capset`). Numbers that do not exist are ignored.
    pub fn set_capabilities(
        &mut self,
        effective: CapSet,
        permitted: CapSet,
        inheritable: CapSet,
    ) -> Result<()> {
        let valid = |set: CapSet| CapSet(set.0 & CapSet::FULL.0);
        let (effective, permitted, inheritable) =
            (valid(effective), valid(permitted), valid(inheritable));
        let own = CapSet(self.inheritable.0 | self.permitted.0);
        let bounded = CapSet(self.inheritable.0 | self.bounding.0);
        if (!self.has_here(Cap::SETPCAP) && !subset(inheritable, own))
            || !subset(inheritable, bounded)
            || !subset(permitted, self.permitted)
            || !subset(effective, permitted)
        {
            return Err(Errno::EPERM);
        }
        self.effective = effective;
        self.permitted = permitted;
        self.inheritable = inheritable;
        self.ambient.0 &= permitted.0 & inheritable.0;
        Ok(())
    }

    /// PR_CAPBSET_DROP.
    pub fn drop_bounding(&mut self, cap: Cap) -> Result<()> {
        self.require_here(Cap::SETPCAP)?;
        self.bounding.0 &= !(1 << cap.0);
        Ok(())
    }

    /// PR_CAP_AMBIENT_RAISE.
    pub fn raise_ambient(&mut self, cap: Cap) -> Result<()> {
        if !self.permitted.contains(cap)
            || !self.inheritable.contains(cap)
            || self.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0
        {
            return Err(Errno::EPERM);
        }
        self.ambient.0 |= 1 << cap.0;
        Ok(())
    }

    /// PR_SET_SECUREBITS.
    pub fn set_securebits(&mut self, bits: u32) -> Result<()> {
        let locked = (self.securebits & SECURE_ALL_LOCKS) >> 1;
        let changed = self.securebits ^ bits;
        if locked & changed != 0
            || self.securebits & SECURE_ALL_LOCKS & !bits != 0
            || bits & !(SECURE_ALL_BITS | SECURE_ALL_LOCKS) != 0
            || !self.has_here(Cap::SETPCAP)
        {
            return Err(Errno::EPERM);
        }
        self.securebits = bits;
        Ok(())
    }

    /// PR_SET_KEEPCAPS.
    pub fn set_keep_caps(&mut self, keep: bool) -> Result<()> {
        if self.securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
            return Err(Errno::EPERM);
        }
        if keep {
            self.securebits |= SECBIT_KEEP_CAPS;
        } else {
            self.securebits &= !SECBIT_KEEP_CAPS;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Creds {
        let mut creds = Creds::root();
        creds.set_resuid(1000, 1000, 1000).unwrap();
        creds
    }

    #[test]
    fn leaving_root_drops_capabilities_unless_kept() {
        let creds = user();
        assert_eq!(
            (creds.permitted, creds.effective),
            (CapSet::EMPTY, CapSet::EMPTY)
        );
        let mut keeping = Creds::root();
        keeping.set_keep_caps(true).unwrap();
        keeping.set_uid(1000).unwrap();
        assert_eq!(
            (keeping.permitted, keeping.effective),
            (CapSet::FULL, CapSet::EMPTY)
        );
    }

    #[test]
    fn a_saved_root_comes_back_with_its_capabilities() {
        let mut creds = Creds::root();
        creds.set_resuid(UNCHANGED, 1000, UNCHANGED).unwrap();
        assert_eq!(creds.effective, CapSet::EMPTY);
        assert_eq!(creds.fsuid, 1000);
        creds.set_uid(0).unwrap();
        assert_eq!(creds.effective, CapSet::FULL);
    }

    #[test]
    fn users_only_permute_their_ids() {
        let mut creds = user();
        let before = creds.clone();
        assert_eq!(creds.set_uid(0), Err(Errno::EPERM));
        assert_eq!(creds.set_reuid(1000, 0), Err(Errno::EPERM));
        assert_eq!(creds.set_resuid(0, 1000, 1000), Err(Errno::EPERM));
        assert_eq!(creds.set_fsuid(7), 1000);
        assert_eq!(creds, before);
        assert_eq!(creds.set_uid(UNCHANGED), Err(Errno::EINVAL));
    }

    #[test]
    fn fsuid_takes_file_capabilities_along() {
        let mut creds = Creds::root();
        creds.set_fsuid(5);
        assert!(!creds.has(Cap::DAC_OVERRIDE) && creds.has(Cap::SYS_ADMIN));
        creds.set_fsuid(0);
        assert!(creds.has(Cap::DAC_OVERRIDE));
    }

    #[test]
    fn capabilities_never_grow() {
        let mut creds = user();
        assert_eq!(
            creds.set_capabilities(CapSet(1), CapSet(1), CapSet(0)),
            Err(Errno::EPERM)
        );
        let mut root = Creds::root();
        root.inheritable = CapSet(1);
        root.raise_ambient(Cap::CHOWN).unwrap();
        root.set_capabilities(CapSet(2), CapSet(2), CapSet(1))
            .unwrap();
        assert_eq!(root.ambient, CapSet::EMPTY);
        assert_eq!(root.raise_ambient(Cap::CHOWN), Err(Errno::EPERM));
    }

    #[test]
    fn locked_securebits_stay() {
        let mut creds = Creds::root();
        creds.set_securebits(SECBIT_KEEP_CAPS_LOCKED).unwrap();
        assert_eq!(
            creds.set_securebits(SECBIT_KEEP_CAPS_LOCKED | SECBIT_KEEP_CAPS),
            Err(Errno::EPERM)
        );
        assert_eq!(creds.set_securebits(0), Err(Errno::EPERM));
        assert_eq!(creds.set_keep_caps(true), Err(Errno::EPERM));
    }
}
