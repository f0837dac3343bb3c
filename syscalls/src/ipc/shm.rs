//! System V shared memory.

use std::sync::Arc;

use abi::ipc::{
    IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, SHM_EXEC, SHM_HUGETLB, SHM_INFO, SHM_LOCK, SHM_RDONLY,
    SHM_REMAP, SHM_RND, SHM_STAT, SHM_STAT_ANY, SHM_UNLOCK, ShmInfo, ShmidDs, Shminfo,
};
use abi::mm::{PROT_EXEC, PROT_READ, PROT_WRITE};
use abi::{PAGE_SIZE, UserAddr, UserIn, UserOut, page_ceil, page_floor};
use sentry::error::{Errno, SysResult};
use sentry::ipc::Access;
use sentry::ipc::shm::{SHMMNI, Segment, Segments, attach_count, attached_at, owner_of, sweep};
use sentry::mm::{Backing, GUEST_TOP, MapRequest, RegionFlags};
use sentry::task::CurrentTask;
use sentry::task::limits::Resource;

fn segments(cx: &CurrentTask) -> Arc<Segments> {
    let segments: Arc<Segments> = cx.namespaces().ipc.objects.get();
    sweep(&segments);
    segments
}

/// `shmget(2)`.
pub async fn shmget(cx: &CurrentTask, key: i32, size: u64, flags: i32) -> SysResult<i32> {
    let wanted = Access((flags as u32 >> 6 | flags as u32 >> 3 | flags as u32) & 7);
    let pid = cx.group.pid.local();
    Ok(segments(cx).get(
        cx,
        key,
        flags,
        SHMMNI,
        |segment, creds| {
            if size > segment.size {
                return Err(Errno::EINVAL);
            }
            segment.permissions().check(creds, wanted)
        },
        |permissions| {
            if size == 0 || size > GUEST_TOP {
                return Err(Errno::EINVAL);
            }
            if flags & SHM_HUGETLB != 0 {
                // No huge pages are reserved here.
                return Err(Errno::ENOMEM);
            }
            Segment::new(permissions, size, pid)
        },
    )?)
}

/// `shmat(2)`.
pub async fn shmat(cx: &CurrentTask, id: i32, addr: u64, flags: i32) -> SysResult<UserAddr> {
    let segment = segments(cx).find(id)?;
    let addr = if addr.is_multiple_of(PAGE_SIZE) {
        addr
    } else if flags & SHM_RND != 0 {
        page_floor(addr)
    } else {
        return Err(Errno::EINVAL.into());
    };
    if flags & SHM_REMAP != 0 && addr == 0 {
        return Err(Errno::EINVAL.into());
    }
    let read_only = flags & SHM_RDONLY != 0;
    let mut access = Access::READ.0;
    let mut prot = PROT_READ;
    if !read_only {
        access |= Access::WRITE.0;
        prot |= PROT_WRITE;
    }
    if flags & SHM_EXEC != 0 {
        access |= 1;
        prot |= PROT_EXEC;
    }
    segment.permissions().check(&cx.creds(), Access(access))?;
    let mut region_flags = RegionFlags::SHARED;
    if read_only {
        region_flags |= RegionFlags::NEVER_WRITE;
    }
    let request = MapRequest {
        addr,
        len: page_ceil(segment.size).ok_or(Errno::EINVAL)?,
        prot,
        flags: region_flags,
        backing: Backing::Memory {
            file: segment.memory()?,
            name: segment.name(),
            offset: 0,
        },
        fixed: addr != 0 && flags & SHM_REMAP != 0,
        no_replace: addr != 0 && flags & SHM_REMAP == 0,
        low: false,
        label: None,
        limit: cx.group.limit(Resource::As),
        limit_data: u64::MAX,
    };
    let thread = cx.thread();
    let at = match cx.memory_map().map(&*thread, request).await {
        Ok(at) => at,
        // Something is mapped there.
        Err(Errno::EEXIST) => return Err(Errno::EINVAL.into()),
        Err(errno) => return Err(errno.into()),
    };
    segment.touched(cx.group.pid.local(), true);
    Ok(UserAddr(at))
}

/// `shmdt(2)`.
pub async fn shmdt(cx: &CurrentTask, addr: u64) -> SysResult<()> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let map = cx.memory_map();
    let (ranges, file) = attached_at(&map, addr)?;
    let thread = cx.thread();
    for (start, len) in ranges {
        map.unmap(&*thread, start, len).await?;
    }
    let all: Arc<Segments> = cx.namespaces().ipc.objects.get();
    if let Some(segment) = owner_of(&all, &file) {
        segment.touched(cx.group.pid.local(), false);
    }
    drop(file);
    sweep(&all);
    Ok(())
}

/// `shmctl(2)`.
pub async fn shmctl(cx: &CurrentTask, id: i32, command: i32, at: UserAddr) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let registry = segments(cx);
    let creds = cx.creds();
    match command & !super::IPC_64 {
        IPC_INFO => {
            let info = Shminfo {
                shmmax: GUEST_TOP,
                shmmin: 1,
                shmmni: SHMMNI as u64,
                shmseg: SHMMNI as u64,
                shmall: GUEST_TOP / PAGE_SIZE,
                ..Shminfo::default()
            };
            cx.memory().put(UserOut::new(at), &info)?;
            Ok(registry.highest_slot())
        }
        SHM_INFO => {
            let all = registry.all();
            let pages = all.iter().map(|(_, s)| s.size.div_ceil(PAGE_SIZE)).sum();
            let info = ShmInfo {
                used_ids: all.len() as i32,
                total: pages,
                resident: pages,
                ..ShmInfo::default()
            };
            cx.memory().put(UserOut::new(at), &info)?;
            Ok(registry.highest_slot())
        }
        command @ (IPC_STAT | SHM_STAT | SHM_STAT_ANY) => {
            let (full, segment) = if command == IPC_STAT {
                (id, registry.find(id)?)
            } else {
                registry.at_slot(id)?
            };
            if command != SHM_STAT_ANY {
                segment.permissions().check(&creds, Access::READ)?;
            }
            let attached = attach_count(&cx.kernel.root_pid_namespace, &segment);
            cx.memory()
                .put(UserOut::new(at), &segment.stat(full, attached))?;
            Ok(if command == IPC_STAT { 0 } else { full })
        }
        IPC_SET => {
            let new: ShmidDs = cx.memory().get(UserIn::new(at))?;
            registry.find(id)?.set_permissions(cx, &new.perm)?;
            Ok(0)
        }
        IPC_RMID => {
            let segment = registry.find(id)?;
            let permissions = segment.permissions();
            permissions.check_owner(&creds)?;
            registry.forget_key(permissions.key);
            if segment.retire() {
                registry.remove(id, permissions.key);
            }
            Ok(0)
        }
        // Guest memory is not locked; as for mlock the request is accepted within its limits.
        SHM_LOCK | SHM_UNLOCK => {
            registry.find(id)?.permissions().check_owner(&creds)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
