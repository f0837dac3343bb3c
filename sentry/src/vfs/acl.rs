//! POSIX access control lists (`acl(5)`, `fs/posix_acl.c`): `system.posix_acl_access` and, for what is made in a directory,
//! `system.posix_acl_default`.
//!
//! An [`Acl`] is immutable; an inode that can have lists keeps them in an [`AclStore`].

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Access, Attr};
use crate::error::{Errno, Result};
use crate::task::creds::Creds;
use crate::task::user_ns::UserNamespace;

/// The list that says who may do what.
pub const ACCESS_NAME: &[u8] = b"system.posix_acl_access";
/// The list that what is made in the directory starts with.
pub const DEFAULT_NAME: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

/// Whom an entry is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Owner,
    User(u32),
    OwningGroup,
    Group(u32),
    /// The most that users and groups of the list get.
    Mask,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tag: Tag,
    perm: u32,
}

/// A valid list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    entries: Vec<Entry>,
}

impl Acl {
    /// From the form of extended attributes, with ids of a user namespace: `None` for an empty one. `EINVAL`, `EOPNOTSUPP` for another version.
    pub fn parse(bytes: &[u8], users: &UserNamespace) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            word.map(u32::from_le_bytes).ok_or(Errno::EINVAL)
        };
        if word(0)? != VERSION {
            return Err(Errno::EOPNOTSUPP);
        }
        if !(bytes.len() - 4).is_multiple_of(8) {
            return Err(Errno::EINVAL);
        }
        let mut entries = Vec::new();
        for at in (4..bytes.len()).step_by(8) {
            let (head, id) = (word(at)?, word(at + 4)?);
            let tag = match head & 0xffff {
                0x01 => Tag::Owner,
                0x02 => Tag::User(users.kuid(id).ok_or(Errno::EINVAL)?),
                0x04 => Tag::OwningGroup,
                0x08 => Tag::Group(users.kgid(id).ok_or(Errno::EINVAL)?),
                0x10 => Tag::Mask,
                0x20 => Tag::Other,
                _ => return Err(Errno::EINVAL),
            };
            entries.push(Entry {
                tag,
                perm: head >> 16,
            });
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let acl = Self { entries };
        acl.check()?;
        Ok(Some(acl))
    }
    /// The order of entries, and a mask where users or groups are named (`posix_acl_valid`).
    fn check(&self) -> Result<()> {
        let mut state = 0;
        let mut needs_mask = false;
        for entry in &self.entries {
            if entry.perm & !7 != 0 {
                return Err(Errno::EINVAL);
            }
            state = match (entry.tag, state) {
                (Tag::Owner, 0) => 1,
                (Tag::User(_), 1) => {
                    needs_mask = true;
                    1
                }
                (Tag::OwningGroup, 1) => 2,
                (Tag::Group(_), 2) => {
                    needs_mask = true;
                    2
                }
                (Tag::Mask, 2) => 3,
                (Tag::Other, 3) => 4,
                (Tag::Other, 2) if !needs_mask => 4,
                _ => return Err(Errno::EINVAL),
            };
        }
        if state == 4 {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
    /// The form of extended attributes.
    #[must_use]
    pub fn to_bytes(&self, users: &UserNamespace) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for entry in &self.entries {
            let (tag, id) = match entry.tag {
                Tag::Owner => (0x01, NO_ID),
                Tag::User(id) => (0x02, users.shown_uid(id)),
                Tag::OwningGroup => (0x04, NO_ID),
                Tag::Group(id) => (0x08, users.shown_gid(id)),
                Tag::Mask => (0x10, NO_ID),
                Tag::Other => (0x20, NO_ID),
            };
            bytes.extend((tag | entry.perm << 16).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
    fn mask(&self) -> Option<u32> {
        let mut entries = self.entries.iter();
        entries.find(|entry| entry.tag == Tag::Mask).map(|e| e.perm)
    }
    /// The permission bits that it amounts to, and whether they say all of it (`posix_acl_equiv_mode`).
    #[must_use]
    pub fn mode(&self) -> (u32, bool) {
        let mut mode = 0;
        let mut all = true;
        for entry in &self.entries {
            match entry.tag {
                Tag::Owner => mode |= entry.perm << 6,
                Tag::OwningGroup => mode |= entry.perm << 3,
                Tag::Other => mode |= entry.perm,
                Tag::User(_) | Tag::Group(_) | Tag::Mask => all = false,
            }
        }
        if let Some(mask) = self.mask() {
            mode = mode & !0o070 | mask << 3;
        }
        (mode, all)
    }
    /// Whether somebody other than the owner may (`posix_acl_permission`).
    #[must_use]
    pub fn permits(&self, attr: &Attr, creds: &Creds, access: Access) -> bool {
        let wanted = access.0 & 7;
        let mask = self.mask().unwrap_or(7);
        let mut in_some_group = false;
        for entry in &self.entries {
            match entry.tag {
                Tag::User(id) if id == creds.fsuid => return entry.perm & mask & wanted == wanted,
                Tag::OwningGroup | Tag::Group(_) => {
                    let id = match entry.tag {
                        Tag::Group(id) => id,
                        _ => attr.gid,
                    };
                    if creds.in_group(id) {
                        in_some_group = true;
                        if entry.perm & wanted == wanted {
                            return mask & wanted == wanted;
                        }
                    }
                }
                Tag::Other => return !in_some_group && entry.perm & wanted == wanted,
                _ => {}
            }
        }
        false
    }
    /// With other permission bits (`posix_acl_chmod`).
    #[must_use]
    pub fn with_mode(&self, mode: u32) -> Self {
        let masked = self.mask().is_some();
        let mut acl = self.clone();
        for entry in &mut acl.entries {
            match entry.tag {
                Tag::Owner => entry.perm = mode >> 6 & 7,
                Tag::OwningGroup if !masked => entry.perm = mode >> 3 & 7,
                Tag::Mask => entry.perm = mode >> 3 & 7,
                Tag::Other => entry.perm = mode & 7,
                _ => {}
            }
        }
        acl
    }
    /// As the list of something that is made with `mode` in a directory whose default it is, and its mode then (`posix_acl_create`).
    #[must_use]
    pub fn for_new(&self, mode: u32) -> (Self, u32) {
        let (own, _) = self.mode();
        let bits = mode & own & 0o777;
        (self.with_mode(bits), mode & !0o777 | bits)
    }
}

/// The lists of one inode.
#[derive(Debug, Default)]
pub struct AclStore {
    access: Mutex<Option<Arc<Acl>>>,
    default: Mutex<Option<Arc<Acl>>>,
}

impl AclStore {
    fn slot(&self, name: &[u8]) -> &Mutex<Option<Arc<Acl>>> {
        if name == DEFAULT_NAME {
            &self.default
        } else {
            &self.access
        }
    }
    /// The list called `name`.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Arc<Acl>> {
        self.slot(name).lock().clone()
    }
    /// Replaces it.
    pub fn set(&self, name: &[u8], acl: Option<Acl>) {
        *self.slot(name).lock() = acl.map(Arc::new);
    }
    /// The list that says who may do what.
    #[must_use]
    pub fn access(&self) -> Option<Arc<Acl>> {
        self.access.lock().clone()
    }
    /// The list for what is made in the directory.
    #[must_use]
    pub fn default_list(&self) -> Option<Arc<Acl>> {
        self.default.lock().clone()
    }
    /// The mode was changed by `chmod(2)`.
    pub fn mode_changed(&self, mode: u32) {
        let mut access = self.access.lock();
        if let Some(acl) = &*access {
            let new = Arc::new(acl.with_mode(mode));
            *access = Some(new);
        }
    }
    /// The names of those that there are.
    #[must_use]
    pub fn names(&self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for name in [ACCESS_NAME, DEFAULT_NAME] {
            if self.get(name).is_some() {
                names.push(name.to_vec());
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(entries: &[(u32, u32, u32)]) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend((tag | perm << 16).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn only_ordered_lists_with_a_mask_where_needed_are_valid() {
        let users = UserNamespace::initial();
        let parse = |entries: &[(u32, u32, u32)]| Acl::parse(&bytes(entries), &users);
        assert!(
            parse(&[(1, 7, 0), (4, 5, 0), (0x20, 0, 0)])
                .unwrap()
                .is_some()
        );
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(
            parse(&[(1, 7, 0), (2, 7, 5), (4, 5, 0), (0x20, 0, 0)]),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            parse(&[(4, 5, 0), (1, 7, 0), (0x20, 0, 0)]),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            parse(&[(1, 9, 0), (4, 5, 0), (0x20, 0, 0)]),
            Err(Errno::EINVAL)
        );
        assert_eq!(Acl::parse(&[1, 0, 0, 0], &users), Err(Errno::EOPNOTSUPP));
        assert_eq!(Acl::parse(&[2, 0], &users), Err(Errno::EINVAL));
    }

    #[test]
    fn the_mask_stands_for_the_group() {
        let users = UserNamespace::initial();
        let list = [(1, 6, 0), (2, 7, 5), (4, 4, 0), (0x10, 5, 0), (0x20, 0, 0)];
        let acl = Acl::parse(&bytes(&list), &users).unwrap().unwrap();
        assert_eq!(acl.mode(), (0o650, false));
        assert_eq!(acl.with_mode(0o741).mode(), (0o741, false));
        let (new, mode) = acl.for_new(0o100_622);
        assert_eq!((new.mode().0, mode), (0o600, 0o100_600));
        assert_eq!(acl.to_bytes(&users).len(), 4 + 5 * 8);
    }
}
