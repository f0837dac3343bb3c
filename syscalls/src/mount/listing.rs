//! Asking about mounts by their unique ids: statmount, listmount.

use std::sync::Arc;

use abi::fs::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, major, minor};
use abi::{UserAddr, UserOut};
use sentry::error::{Errno, Result, SysResult};
use sentry::fs::proc::mounts::path_in_fs;
use sentry::task::CurrentTask;
use sentry::vfs::{Mount, Path};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::file::path::Walker;

/// `struct mnt_id_req`, its second version.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    id: u64,
    parameter: u64,
    namespace: u64,
}

/// Bytes of the first version.
const FIRST_SIZE: usize = 24;
/// LSMT_ROOT: the root of the caller.
const ROOT: u64 = u64::MAX;

fn get_request(cx: &CurrentTask, at: UserAddr) -> Result<Request> {
    let mut size = [0; 4];
    cx.memory().read(at, &mut size)?;
    let size = u32::from_ne_bytes(size) as usize;
    if size > 4096 {
        return Err(Errno::E2BIG);
    }
    if size < FIRST_SIZE {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; size.max(size_of::<Request>())];
    cx.memory().read(at, &mut bytes[..size])?;
    let (known, more) = bytes.split_at(size_of::<Request>());
    if more.iter().any(|byte| *byte != 0) {
        return Err(Errno::E2BIG);
    }
    let request = Request::read_from_bytes(known).map_err(|_| Errno::EINVAL)?;
    // The size may have changed meanwhile: it is the first that counts.
    if request.spare != 0 || request.id <= Mount::UNIQUE_BASE {
        return Err(Errno::EINVAL);
    }
    Ok(request)
}

/// The mounts of the caller's namespace that its root can reach, with their places.
fn reachable(walker: &Walker) -> Vec<(Arc<Mount>, Vec<u8>)> {
    let root = walker.fs.root();
    let mounts = walker.fs.namespace().mounts().into_iter();
    mounts
        .filter_map(|mount| {
            let (text, reached) = mount.top().components(Some(&root));
            reached.then_some((mount, text))
        })
        .collect()
}

/// `ENOENT` for another namespace than the caller's: those of others are found by descriptors only.
fn check_namespace(walker: &Walker, request: &Request) -> Result<()> {
    // Zero is the caller's own.
    if request.namespace == 0 || request.namespace == walker.fs.namespace().ino {
        Ok(())
    } else {
        Err(Errno::ENOENT)
    }
}

const SB_BASIC: u64 = 1;
const MNT_BASIC: u64 = 2;
const PROPAGATE_FROM: u64 = 4;
const MNT_ROOT: u64 = 8;
const MNT_POINT: u64 = 0x10;
const FS_TYPE: u64 = 0x20;
const MNT_NS_ID: u64 = 0x40;
const MNT_OPTS: u64 = 0x80;
const SB_SOURCE: u64 = 0x200;
const SUPPORTED_MASK: u64 = 0x1000;

/// `struct statmount` without its strings.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Statmount {
    size: u32,
    mnt_opts: u32,
    mask: u64,
    sb_dev_major: u32,
    sb_dev_minor: u32,
    sb_magic: u64,
    sb_flags: u32,
    fs_type: u32,
    mnt_id: u64,
    mnt_parent_id: u64,
    mnt_id_old: u32,
    mnt_parent_id_old: u32,
    mnt_attr: u64,
    mnt_propagation: u64,
    mnt_peer_group: u64,
    mnt_master: u64,
    propagate_from: u64,
    mnt_root: u32,
    mnt_point: u32,
    mnt_ns_id: u64,
    fs_subtype: u32,
    sb_source: u32,
    opt_num: u32,
    opt_array: u32,
    opt_sec_num: u32,
    opt_sec_array: u32,
    supported_mask: u64,
    uidmap: [u32; 4],
    spare: [u64; 43],
}

/// The structure and the strings behind it.
struct Answer {
    fixed: Statmount,
    strings: Vec<u8>,
}

impl Answer {
    fn string(&mut self, text: &[u8]) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        at
    }
}

fn propagation(mount: &Mount) -> u64 {
    let mut flags = 0;
    if mount.is_shared() {
        flags |= MS_SHARED;
    }
    if mount.master().is_some() {
        flags |= MS_SLAVE;
    }
    if mount.is_unbindable() {
        flags |= MS_UNBINDABLE;
    }
    u64::from(if flags == 0 { MS_PRIVATE } else { flags })
}

fn describe(walker: &Walker, mount: &Arc<Mount>, place: &[u8], wanted: u64) -> Result<Answer> {
    const SUPPORTED: u64 = SB_BASIC
        | MNT_BASIC
        | PROPAGATE_FROM
        | MNT_ROOT
        | MNT_POINT
        | FS_TYPE
        | MNT_NS_ID
        | MNT_OPTS
        | SB_SOURCE
        | SUPPORTED_MASK;
    const SB_RDONLY: u32 = 1;
    let namespace = walker.fs.namespace();
    let mut answer = Answer {
        fixed: Statmount::new_zeroed_value(),
        // Offset 0 is the empty string.
        strings: vec![0],
    };
    let mask = wanted & SUPPORTED;
    let has = |bit: u64| mask & bit != 0;
    let fixed = &mut answer.fixed;
    fixed.mask = mask;
    if has(SB_BASIC) {
        fixed.sb_dev_major = major(mount.fs.dev());
        fixed.sb_dev_minor = minor(mount.fs.dev());
        fixed.sb_magic = mount.fs.statfs()?.kind as u64;
        fixed.sb_flags = if mount.fs_is_read_only() {
            SB_RDONLY
        } else {
            0
        };
    }
    if has(MNT_BASIC) {
        let parent = mount.point().map_or_else(|| mount.clone(), |p| p.mount);
        fixed.mnt_id = mount.unique_id();
        fixed.mnt_parent_id = parent.unique_id();
        fixed.mnt_id_old = mount.id as u32;
        fixed.mnt_parent_id_old = parent.id as u32;
        fixed.mnt_attr = super::attributes::shown(mount.flags());
        fixed.mnt_propagation = propagation(mount);
        fixed.mnt_peer_group = mount.peers().map_or(0, |group| u64::from(group.id));
        fixed.mnt_master = mount.master().map_or(0, |group| u64::from(group.id));
    }
    if has(PROPAGATE_FROM) {
        fixed.propagate_from = mount.dominating(&namespace).map_or(0, u64::from);
    }
    if has(MNT_NS_ID) {
        fixed.mnt_ns_id = namespace.ino;
    }
    if has(SUPPORTED_MASK) {
        fixed.supported_mask = SUPPORTED;
    }
    if has(MNT_ROOT) {
        answer.fixed.mnt_root = answer.string(&path_in_fs(&mount.root));
    }
    if has(MNT_POINT) {
        answer.fixed.mnt_point = answer.string(place);
    }
    if has(FS_TYPE) {
        answer.fixed.fs_type = answer.string(mount.fs.type_name().as_bytes());
    }
    if has(MNT_OPTS) {
        let options = mount.fs.options();
        let options = options.trim_start_matches(',');
        if options.is_empty() {
            answer.fixed.mask &= !MNT_OPTS;
        } else {
            answer.fixed.mnt_opts = answer.string(options.as_bytes());
        }
    }
    if has(SB_SOURCE) {
        answer.fixed.sb_source = answer.string(&mount.source);
    }
    let length = if answer.strings.len() > 1 {
        answer.strings.len()
    } else {
        0
    };
    answer.strings.truncate(length);
    answer.fixed.size = (size_of::<Statmount>() + length) as u32;
    Ok(answer)
}

impl Statmount {
    fn new_zeroed_value() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// `statmount(2)`: `EOVERFLOW` if the strings do not fit.
pub async fn statmount(
    cx: &CurrentTask,
    request: UserAddr,
    buf: UserAddr,
    size: usize,
    flags: u32,
) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let request = get_request(cx, request)?;
    let walker = Walker::new(cx);
    check_namespace(&walker, &request)?;
    let (mount, place) = reachable(&walker)
        .into_iter()
        .find(|(mount, _)| mount.unique_id() == request.id)
        .ok_or(Errno::ENOENT)?;
    let answer = describe(&walker, &mount, &place, request.parameter)?;
    let fixed = answer.fixed.as_bytes();
    if answer.strings.is_empty() {
        cx.memory().write(buf, &fixed[..size.min(fixed.len())])?;
        return Ok(());
    }
    if size < fixed.len() + answer.strings.len() {
        return Err(Errno::EOVERFLOW.into());
    }
    cx.memory().write(buf, fixed)?;
    cx.memory()
        .write(buf.offset(fixed.len() as u64), &answer.strings)?;
    Ok(())
}

/// `listmount(2)`: the unique ids of the mounts below one, or below the caller's root.
pub async fn listmount(
    cx: &CurrentTask,
    request: UserAddr,
    ids: UserOut<u64>,
    count: usize,
    flags: u32,
) -> SysResult<usize> {
    const REVERSE: u32 = 1;
    const MOST: usize = 1_000_000;
    if flags & !REVERSE != 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > MOST {
        return Err(Errno::EOVERFLOW.into());
    }
    let request = get_request(cx, request)?;
    let walker = Walker::new(cx);
    check_namespace(&walker, &request)?;
    let all = reachable(&walker);
    let top: Path = if request.id == ROOT {
        walker.fs.root()
    } else {
        let found = all
            .iter()
            .find(|(mount, _)| mount.unique_id() == request.id);
        found.ok_or(Errno::ENOENT)?.0.top()
    };
    let below = |mount: &Arc<Mount>| {
        !std::sync::Arc::ptr_eq(mount, &top.mount) && mount.top().components(Some(&top)).1
    };
    let mut found: Vec<u64> = all
        .iter()
        .filter(|(mount, _)| below(mount))
        .map(|(mount, _)| mount.unique_id())
        .collect();
    let last = request.parameter;
    if flags & REVERSE != 0 {
        found.reverse();
        found.retain(|id| last == 0 || *id < last);
    } else {
        found.retain(|id| *id > last);
    }
    found.truncate(count);
    cx.memory().write(ids.addr(), found.as_bytes())?;
    Ok(found.len())
}
