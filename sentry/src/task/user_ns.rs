//! User namespaces (`user_namespaces(7)`, `kernel/user_namespace.c`).
//!
//! Everywhere in the sentry an id is the sandbox's own (Linux's `kuid_t`): what the initial namespace calls it. A namespace maps the ids that its
//! members name and see to those; handlers translate at the border. A capability counts towards a namespace: see [`Creds::has_in`].
//!
//! Lock order: a namespace's maps are a leaf.

use std::sync::{Arc, LazyLock, OnceLock};

use parking_lot::RwLock;

use super::creds::{Cap, CapSet, Creds};
use crate::error::{Errno, Result};

/// What an id without a name in a namespace is shown as (`/proc/sys/kernel/overflowuid`).
pub const OVERFLOW_ID: u32 = 65_534;
/// Most lines of a map (`UID_GID_MAP_MAX_EXTENTS`).
const MAX_EXTENTS: usize = 340;
/// Deepest nesting.
const MAX_LEVEL: u32 = 32;
/// Most bytes of a map as it is written: less than a page.
const MAX_TEXT: usize = 4095;

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    /// First id in the namespace.
    first: u32,
    /// What the initial namespace calls it.
    lower: u32,
    /// How many.
    count: u32,
}

impl Extent {
    const fn offset(start: u32, count: u32, id: u32) -> Option<u32> {
        if id >= start && id - start < count {
            Some(id - start)
        } else {
            None
        }
    }
}

/// Ids of one kind.
#[derive(Debug, Default)]
struct Map(Vec<Extent>);

impl Map {
    fn down(&self, id: u32) -> Option<u32> {
        self.0
            .iter()
            .find_map(|e| Some(e.lower + Extent::offset(e.first, e.count, id)?))
    }
    fn up(&self, kid: u32) -> Option<u32> {
        self.0
            .iter()
            .find_map(|e| Some(e.first + Extent::offset(e.lower, e.count, kid)?))
    }
    /// What a whole range is called below; it must lie within one extent.
    fn range_down(&self, first: u32, count: u32) -> Option<u32> {
        self.0.iter().find_map(|e| {
            let offset = Extent::offset(e.first, e.count, first)?;
            (count <= e.count - offset).then_some(e.lower + offset)
        })
    }
}

#[derive(Debug)]
struct Maps {
    users: Map,
    groups: Map,
    /// Whether `setgroups(2)` may be called once groups are mapped.
    setgroups: bool,
}

/// Which of a namespace's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// `uid_map`.
    User,
    /// `gid_map`.
    Group,
}

/// A user namespace.
#[derive(Debug)]
pub struct UserNamespace {
    /// The one it was made in; `None`: the initial one.
    pub parent: Option<Arc<Self>>,
    level: u32,
    /// Who made it (euid).
    pub owner: u32,
    /// Inode number in nsfs.
    pub ino: u64,
    /// Whether its maker had CAP_SETFCAP: then the parent's root may be mapped from within.
    parent_could_setfcap: bool,
    maps: RwLock<Maps>,
}

/// What the ids of the initial namespace are on the host, if that is to be seen.
struct OuterMaps {
    users: Map,
    groups: Map,
}

impl OuterMaps {
    const fn of(&self, kind: IdKind) -> &Map {
        match kind {
            IdKind::User => &self.users,
            IdKind::Group => &self.groups,
        }
    }
}

static OUTER: OnceLock<OuterMaps> = OnceLock::new();

static INITIAL: LazyLock<Arc<UserNamespace>> = LazyLock::new(|| {
    let all = || {
        Map(vec![Extent {
            first: 0,
            lower: 0,
            count: u32::MAX,
        }])
    };
    Arc::new(UserNamespace {
        parent: None,
        level: 0,
        owner: 0,
        // PROC_USER_INIT_INO.
        ino: 0xefff_fffd,
        parent_could_setfcap: true,
        maps: RwLock::new(Maps {
            users: all(),
            groups: all(),
            setgroups: true,
        }),
    })
});

impl PartialEq for UserNamespace {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for UserNamespace {}

impl UserNamespace {
    /// The sandbox's own, which every container starts in.
    #[must_use]
    pub fn initial() -> Arc<Self> {
        INITIAL.clone()
    }

    /// A namespace made by who has `creds`: `ENOSPC` if nested too deep, `EPERM` if its maker has no name in its own (`create_user_ns`).
    pub fn new(creds: &Creds) -> Result<Arc<Self>> {
        let parent = &creds.user_ns;
        if parent.level > MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        let named = parent.uid(creds.euid).is_some() && parent.gid(creds.egid).is_some();
        if !named {
            return Err(Errno::EPERM);
        }
        Ok(Arc::new(Self {
            parent: Some(parent.clone()),
            level: parent.level + 1,
            owner: creds.euid,
            ino: crate::kernel::next_namespace_ino(),
            parent_could_setfcap: creds.effective.contains(Cap::SETFCAP),
            maps: RwLock::new(Maps {
                users: Map::default(),
                groups: Map::default(),
                setgroups: parent.maps.read().setgroups,
            }),
        }))
    }

    /// Whether it is [`UserNamespace::initial`].
    #[must_use]
    pub const fn is_initial(&self) -> bool {
        self.parent.is_none()
    }
    /// Ids of the initial namespace are the sandbox's, as far as it has them. -1 is what has no owner in the sandbox.
    fn initial_id(&self, kind: IdKind, id: u32) -> Option<u32> {
        if id == u32::MAX {
            return None;
        }
        match OUTER.get() {
            None => Some(id),
            Some(outer) => outer.of(kind).down(id).map(|_| id),
        }
    }

    /// The initial namespace is one of the host's, with these ids (in the sandbox, on the host, count): no others exist, and `uid_map` and `gid_map` show
    /// them. The first call counts.
    pub fn set_outer_maps(users: &[(u32, u32, u32)], groups: &[(u32, u32, u32)]) {
        let map = |ranges: &[(u32, u32, u32)], outside: bool| {
            let extent = |&(first, lower, count): &(u32, u32, u32)| Extent {
                first,
                lower: if outside { lower } else { first },
                count,
            };
            Map(ranges.iter().map(extent).collect())
        };
        let outer = OuterMaps {
            users: map(users, true),
            groups: map(groups, true),
        };
        if OUTER.set(outer).is_ok() {
            let initial = Self::initial();
            let mut maps = initial.maps.write();
            (maps.users, maps.groups) = (map(users, false), map(groups, false));
        }
    }

    /// The sandbox's id for a user that a member names; `None`: there is none, or `id` is -1.
    #[must_use]
    pub fn kuid(&self, id: u32) -> Option<u32> {
        if self.is_initial() {
            return self.initial_id(IdKind::User, id);
        }
        self.maps.read().users.down(id)
    }
    /// As [`UserNamespace::kuid`] for groups.
    #[must_use]
    pub fn kgid(&self, id: u32) -> Option<u32> {
        if self.is_initial() {
            return self.initial_id(IdKind::Group, id);
        }
        self.maps.read().groups.down(id)
    }
    /// What a user of the sandbox is called here.
    #[must_use]
    pub fn uid(&self, kuid: u32) -> Option<u32> {
        if self.is_initial() {
            return self.initial_id(IdKind::User, kuid);
        }
        self.maps.read().users.up(kuid)
    }
    /// As [`UserNamespace::uid`] for groups.
    #[must_use]
    pub fn gid(&self, kgid: u32) -> Option<u32> {
        if self.is_initial() {
            return self.initial_id(IdKind::Group, kgid);
        }
        self.maps.read().groups.up(kgid)
    }
    /// What is shown here for a user of the sandbox.
    #[must_use]
    pub fn shown_uid(&self, kuid: u32) -> u32 {
        self.uid(kuid).unwrap_or(OVERFLOW_ID)
    }
    /// What is shown here for a group of the sandbox.
    #[must_use]
    pub fn shown_gid(&self, kgid: u32) -> u32 {
        self.gid(kgid).unwrap_or(OVERFLOW_ID)
    }
    /// Whether `kuid` is its root.
    #[must_use]
    pub fn is_root(&self, kuid: u32) -> bool {
        self.uid(kuid) == Some(0)
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
    /// Whether members may call `setgroups(2)`.
    #[must_use]
    pub fn may_set_groups(&self) -> bool {
        let maps = self.maps.read();
        maps.setgroups && !maps.groups.0.is_empty()
    }
    /// Content of `setgroups`.
    #[must_use]
    pub fn setgroups_allowed(&self) -> bool {
        self.maps.read().setgroups
    }
    /// Writes `setgroups`: `EPERM` where it is too late.
    pub fn set_setgroups(&self, allow: bool) -> Result<()> {
        let mut maps = self.maps.write();
        if allow {
            return if maps.setgroups {
                Ok(())
            } else {
                Err(Errno::EPERM)
            };
        }
        if maps.setgroups && !maps.groups.0.is_empty() {
            return Err(Errno::EPERM);
        }
        maps.setgroups = false;
        Ok(())
    }

    /// A map's text for a reader whose namespace is `seen_from`.
    #[must_use]
    pub fn show(self: &Arc<Self>, kind: IdKind, seen_from: &Arc<Self>) -> String {
        let below = if Arc::ptr_eq(self, seen_from) {
            self.parent.as_ref()
        } else {
            Some(seen_from)
        };
        let outer = OUTER.get().filter(|_| below.is_none());
        let extents = if let Some(outer) = outer {
            outer.of(kind).0.clone()
        } else {
            let maps = self.maps.read();
            match kind {
                IdKind::User => maps.users.0.clone(),
                IdKind::Group => maps.groups.0.clone(),
            }
        };
        let name = |kid: u32| match (below, kind) {
            (None, _) => kid,
            (Some(below), IdKind::User) => below.uid(kid).unwrap_or(u32::MAX),
            (Some(below), IdKind::Group) => below.gid(kid).unwrap_or(u32::MAX),
        };
        let lines = extents
            .iter()
            .map(|e| format!("{:>10} {:>10} {:>10}\n", e.first, name(e.lower), e.count));
        lines.collect()
    }

    /// Writes a map, once (`map_write`). `opener` opened the file, `writer` writes.
    ///
    /// Errors: `EINVAL` for a text that is no map, `EPERM` for a second one or one that its writer may not make.
    pub fn set_map(
        self: &Arc<Self>,
        kind: IdKind,
        text: &[u8],
        opener: &Creds,
        writer: &Creds,
    ) -> Result<()> {
        let Some(parent) = &self.parent else {
            return Err(Errno::EPERM);
        };
        if !Arc::ptr_eq(&opener.user_ns, self) && !Arc::ptr_eq(&opener.user_ns, parent) {
            return Err(Errno::EPERM);
        }
        if text.len() > MAX_TEXT {
            return Err(Errno::EINVAL);
        }
        let mut maps = self.maps.write();
        let map = match kind {
            IdKind::User => &maps.users,
            IdKind::Group => &maps.groups,
        };
        if !map.0.is_empty() || !opener.has_in(self, Cap::SYS_ADMIN) {
            return Err(Errno::EPERM);
        }
        let wanted = parse(text)?;
        if !self.permits(kind, &wanted, maps.setgroups, opener, writer) {
            return Err(Errno::EPERM);
        }
        let below = parent.maps.read();
        let below = match kind {
            IdKind::User => &below.users,
            IdKind::Group => &below.groups,
        };
        let mut extents = Vec::with_capacity(wanted.len());
        for extent in wanted {
            let lower = below
                .range_down(extent.lower, extent.count)
                .ok_or(Errno::EPERM)?;
            extents.push(Extent { lower, ..extent });
        }
        match kind {
            IdKind::User => maps.users = Map(extents),
            IdKind::Group => maps.groups = Map(extents),
        }
        Ok(())
    }

    /// `new_idmap_permitted`; `wanted` has the parent's names.
    fn permits(
        self: &Arc<Self>,
        kind: IdKind,
        wanted: &[Extent],
        setgroups: bool,
        opener: &Creds,
        writer: &Creds,
    ) -> bool {
        let Some(parent) = &self.parent else {
            return false;
        };
        if kind == IdKind::User {
            // Mapping the parent's root would let it make file capabilities that count there (verify_root_map).
            let maps_root = wanted.iter().any(|e| e.lower == 0);
            let may = if Arc::ptr_eq(&opener.user_ns, self) {
                self.parent_could_setfcap
            } else {
                opener.has_in(parent, Cap::SETFCAP)
            };
            if maps_root && !may {
                return false;
            }
        }
        if let [only] = wanted
            && only.count == 1
            && self.owner == opener.euid
        {
            let own = match kind {
                IdKind::User => parent.kuid(only.lower) == Some(opener.euid),
                IdKind::Group => !setgroups && parent.kgid(only.lower) == Some(opener.egid),
            };
            if own {
                return true;
            }
        }
        let cap = match kind {
            IdKind::User => Cap::SETUID,
            IdKind::Group => Cap::SETGID,
        };
        writer.has_in(parent, cap) && opener.has_in(parent, cap)
    }
}

/// The lines of a map: `EINVAL` for anything that is none.
fn parse(text: &[u8]) -> Result<Vec<Extent>> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let mut extents: Vec<Extent> = Vec::new();
    let text = text.strip_suffix('\n').unwrap_or(text);
    for line in text.split('\n') {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let mut next = || numbers.next().and_then(std::result::Result::ok);
        let (Some(first), Some(lower), Some(count)) = (next(), next(), next()) else {
            return Err(Errno::EINVAL);
        };
        let wraps = |start: u32| start == u32::MAX || start.checked_add(count).is_none();
        if numbers.next().is_some() || count == 0 || wraps(first) || wraps(lower) {
            return Err(Errno::EINVAL);
        }
        let meets = |a: u32, b: u32, n: u32| a < b.saturating_add(n) && b < a.saturating_add(count);
        if extents
            .iter()
            .any(|e| meets(first, e.first, e.count) || meets(lower, e.lower, e.count))
        {
            return Err(Errno::EINVAL);
        }
        if extents.len() == MAX_EXTENTS {
            return Err(Errno::EINVAL);
        }
        extents.push(Extent {
            first,
            lower,
            count,
        });
    }
    Ok(extents)
}

impl Creds {
    /// Whether the capability counts towards `namespace` (`cap_capable`): it is effective in that namespace or, if these credentials are of an outer
    /// one, their owner made a namespace on the way.
    #[must_use]
    pub fn has_in(&self, namespace: &Arc<UserNamespace>, cap: Cap) -> bool {
        let mut at = namespace;
        loop {
            if Arc::ptr_eq(at, &self.user_ns) {
                return self.effective.contains(cap);
            }
            if at.level <= self.user_ns.level {
                return false;
            }
            let Some(parent) = &at.parent else {
                return false;
            };
            if Arc::ptr_eq(parent, &self.user_ns) && at.owner == self.euid {
                return true;
            }
            at = parent;
        }
    }
    /// `EPERM` unless [`Creds::has_in`].
    pub fn require_in(&self, namespace: &Arc<UserNamespace>, cap: Cap) -> Result<()> {
        if self.has_in(namespace, cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
    /// Whether the capability is effective in these credentials' own namespace.
    #[must_use]
    pub const fn has_here(&self, cap: Cap) -> bool {
        self.effective.contains(cap)
    }
    /// `EPERM` unless [`Creds::has_here`].
    pub const fn require_here(&self, cap: Cap) -> Result<()> {
        if self.has_here(cap) {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
    /// Whether the capability counts towards something that belongs to this user and group: both must have names in the own namespace
    /// (`capable_wrt_inode_uidgid`).
    #[must_use]
    pub fn has_over(&self, uid: u32, gid: u32, cap: Cap) -> bool {
        self.has_here(cap) && self.user_ns.uid(uid).is_some() && self.user_ns.gid(gid).is_some()
    }
    /// Whether CAP_FOWNER counts towards what belongs to this user (`inode_owner_or_capable`).
    #[must_use]
    pub fn owns_over(&self, uid: u32) -> bool {
        self.has_here(Cap::FOWNER) && self.user_ns.uid(uid).is_some()
    }
    /// Becomes a member of `namespace`, with every capability there (`set_cred_user_ns`).
    pub fn enter(&mut self, namespace: Arc<UserNamespace>) {
        self.user_ns = namespace;
        self.securebits = 0;
        self.inheritable = CapSet::EMPTY;
        self.permitted = CapSet::FULL;
        self.effective = CapSet::FULL;
        self.ambient = CapSet::EMPTY;
        self.bounding = CapSet::FULL;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32) -> Creds {
        let mut creds = Creds::root();
        creds.set_resgid(id, id, id).unwrap();
        creds.set_resuid(id, id, id).unwrap();
        creds
    }

    fn made_by(creds: &Creds) -> (Arc<UserNamespace>, Creds) {
        let namespace = UserNamespace::new(creds).unwrap();
        let mut inside = creds.clone();
        inside.enter(namespace.clone());
        (namespace, inside)
    }

    #[test]
    fn maps_are_parsed_strictly() {
        assert_eq!(parse(b"0 1000 1\n1 100000 65535").unwrap().len(), 2);
        for bad in [
            &b""[..],
            b"0 1000",
            b"0 1000 0",
            b"0 1000 1 2",
            b"a 0 1",
            b"0 5 2\n1 9 1",
            b"0 5 2\n7 6 1",
            b"4294967295 0 1",
            b"1 0 4294967295",
            b"0 0 1\n\n",
        ] {
            assert_eq!(parse(bad), Err(Errno::EINVAL), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_user_maps_itself_only() {
        let outside = user(1000);
        let (namespace, inside) = made_by(&outside);
        let set = |kind, text: &[u8]| namespace.set_map(kind, text, &inside, &inside);
        assert_eq!(set(IdKind::User, b"0 1001 1"), Err(Errno::EPERM));
        assert_eq!(set(IdKind::User, b"0 1000 2"), Err(Errno::EPERM));
        assert_eq!(set(IdKind::User, b"0 1000 1"), Ok(()));
        assert_eq!(set(IdKind::User, b"0 1000 1"), Err(Errno::EPERM));
        assert_eq!(set(IdKind::Group, b"0 1000 1"), Err(Errno::EPERM));
        namespace.set_setgroups(false).unwrap();
        assert_eq!(set(IdKind::Group, b"0 1000 1"), Ok(()));
        assert!(!namespace.may_set_groups());
        assert_eq!(namespace.shown_uid(1000), 0);
        assert_eq!(namespace.shown_uid(0), OVERFLOW_ID);
        assert_eq!(namespace.kuid(0), Some(1000));
        assert_eq!(namespace.kuid(1), None);
    }

    #[test]
    fn capabilities_count_downwards() {
        let outside = user(1000);
        let (namespace, inside) = made_by(&outside);
        let initial = UserNamespace::initial();
        assert!(inside.has_in(&namespace, Cap::SYS_ADMIN));
        assert!(!inside.has_in(&initial, Cap::SYS_ADMIN));
        assert!(outside.has_in(&namespace, Cap::SYS_ADMIN));
        assert!(!user(7).has_in(&namespace, Cap::SYS_ADMIN));
        assert!(Creds::root().has_in(&namespace, Cap::SYS_ADMIN));
        let (nested, deep) = {
            namespace
                .set_map(IdKind::User, b"0 1000 1", &inside, &inside)
                .unwrap();
            namespace.set_setgroups(false).unwrap();
            namespace
                .set_map(IdKind::Group, b"0 1000 1", &inside, &inside)
                .unwrap();
            made_by(&inside)
        };
        assert!(inside.has_in(&nested, Cap::CHOWN));
        assert!(!deep.has_in(&namespace, Cap::CHOWN));
        assert!(nested.is_within(&namespace) && !namespace.is_within(&nested));
    }

    #[test]
    fn nested_maps_name_what_the_parent_has() {
        let root = Creds::root();
        let (outer, inside) = made_by(&root);
        outer
            .set_map(IdKind::User, b"0 100000 1000", &root, &root)
            .unwrap();
        outer
            .set_map(IdKind::Group, b"0 100000 1000", &root, &root)
            .unwrap();
        let mut member = inside.clone();
        (member.euid, member.egid) = (100_000, 100_000);
        let (inner, deep) = made_by(&member);
        assert_eq!(
            inner.set_map(IdKind::User, b"0 999 2", &deep, &member),
            Err(Errno::EPERM)
        );
        inner
            .set_map(IdKind::User, b"5 500 10", &member, &member)
            .unwrap();
        assert_eq!(inner.kuid(5), Some(100_500));
        assert_eq!(
            inner.show(IdKind::User, &outer),
            "         5        500         10\n"
        );
        assert_eq!(
            inner.show(IdKind::User, &UserNamespace::initial()),
            "         5     100500         10\n"
        );
    }
}
