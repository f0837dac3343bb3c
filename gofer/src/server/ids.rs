//! How user and group ids of the container look on the host.

#![forbid(unsafe_code)]

use abi::Errno;

/// A run of ids, as a line of `/proc/PID/uid_map`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id in the container.
    pub inside: u32,
    /// First id on the host.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

/// Maps ids both ways. Without ranges every id is itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    /// User ids.
    pub users: Vec<IdRange>,
    /// Group ids.
    pub groups: Vec<IdRange>,
}

/// What an id of the host without a counterpart is told as: it is nobody's, and no capability counts towards it (`INVALID_UID`). Guests are shown
/// `/proc/sys/fs/overflowuid`.
const NOBODYS: u32 = u32::MAX;

impl IdMap {
    pub(super) fn user_to_host(&self, uid: u32) -> Result<u32, Errno> {
        outward(&self.users, uid)
    }

    pub(super) fn group_to_host(&self, gid: u32) -> Result<u32, Errno> {
        outward(&self.groups, gid)
    }

    pub(super) fn user_from_host(&self, uid: u32) -> u32 {
        inward(&self.users, uid)
    }

    pub(super) fn group_from_host(&self, gid: u32) -> u32 {
        inward(&self.groups, gid)
    }
}

/// `EINVAL` for an id that is not mapped, as `chown(2)` says. −1 means "leave" to the host and is never a valid id.
fn outward(ranges: &[IdRange], id: u32) -> Result<u32, Errno> {
    if id == u32::MAX {
        return Err(Errno::EINVAL);
    }
    if ranges.is_empty() {
        return Ok(id);
    }
    translate(ranges.iter().map(|r| (r.inside, r.outside, r.count)), id).ok_or(Errno::EINVAL)
}

fn inward(ranges: &[IdRange], id: u32) -> u32 {
    if ranges.is_empty() {
        return id;
    }
    translate(ranges.iter().map(|r| (r.outside, r.inside, r.count)), id).unwrap_or(NOBODYS)
}

fn translate(mut ranges: impl Iterator<Item = (u32, u32, u32)>, id: u32) -> Option<u32> {
    ranges.find_map(|(from, to, count)| {
        let offset = id.checked_sub(from)?;
        if offset < count {
            to.checked_add(offset)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_mapped_both_ways_and_strangers_are_told_apart() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let map = IdMap {
            users: vec![range(0, 100_000, 1000), range(1000, 5, 1)],
            groups: vec![],
        };
        assert_eq!(map.user_to_host(999), Ok(100_999));
        assert_eq!(map.user_to_host(1000), Ok(5));
        assert_eq!(map.user_to_host(1001), Err(Errno::EINVAL));
        assert_eq!(map.user_from_host(100_000), 0);
        assert_eq!(map.user_from_host(0), NOBODYS);
        assert_eq!(map.group_to_host(7), Ok(7));
        assert_eq!(map.group_to_host(u32::MAX), Err(Errno::EINVAL));
    }
}
