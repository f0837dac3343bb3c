//! What was used: `getrusage(2)`, `sysinfo(2)`.

use abi::time::Timeval;
use abi::{UserIn, UserOut};
use sentry::error::{Errno, SysResult};
use sentry::host_facts::HostFactsSlot;
use sentry::mm::ops::order;
use sentry::platform::HostCall;
use sentry::task::{CurrentTask, Times};
use sentry::time;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct rusage`, 144 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rusage {
    pub(crate) utime: Timeval,
    pub(crate) stime: Timeval,
    /// Kibibytes.
    pub(crate) maxrss: i64,
    ixrss: i64,
    idrss: i64,
    isrss: i64,
    minflt: i64,
    majflt: i64,
    nswap: i64,
    inblock: i64,
    oublock: i64,
    msgsnd: i64,
    msgrcv: i64,
    nsignals: i64,
    nvcsw: i64,
    nivcsw: i64,
}

const fn timeval(ns: u64) -> Timeval {
    Timeval {
        sec: (ns / 1_000_000_000) as i64,
        usec: (ns % 1_000_000_000 / 1000) as i64,
    }
}

impl Rusage {
    const fn of(times: Times) -> Self {
        Self {
            utime: timeval(times.user_ns),
            stime: timeval(times.system_ns),
            maxrss: (times.peak_resident / 1024) as i64,
            ixrss: 0,
            idrss: 0,
            isrss: 0,
            minflt: times.minor_faults as i64,
            majflt: times.major_faults as i64,
            nswap: 0,
            inblock: times.blocks[0] as i64,
            oublock: times.blocks[1] as i64,
            msgsnd: 0,
            msgrcv: 0,
            nsignals: 0,
            nvcsw: times.switches[0] as i64,
            nivcsw: times.switches[1] as i64,
        }
    }
}

/// `getrusage(2)`: the host counts faults, switches and resident pages of the guest's process; the CPU time of threads that are gone is the sentry's to add.
pub async fn getrusage(cx: &CurrentTask, who: i32, at: UserOut<Rusage>) -> SysResult<()> {
    const RUSAGE_SELF: i32 = 0;
    const RUSAGE_CHILDREN: i32 = -1;
    const RUSAGE_THREAD: i32 = 1;
    let thread = match who {
        RUSAGE_SELF => false,
        RUSAGE_THREAD => true,
        RUSAGE_CHILDREN => {
            crate::process::settle_children(cx).await;
            let times = *cx.group.child_times.lock();
            return Ok(cx.memory().put(at, &Rusage::of(times))?);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let call = HostCall::Usage {
        thread,
        at: at.addr().0,
    };
    order(&*cx.thread(), call).await?;
    let mut usage: Rusage = cx.memory().get(UserIn::new(at.addr()))?;
    if !thread {
        let gone = *cx.group.own_times.lock();
        let (user_ns, system_ns) = time::clock::process_cpu_ns(&cx.group);
        usage.utime = timeval(user_ns);
        usage.stime = timeval(system_ns);
        usage.maxrss = usage.maxrss.max((gone.peak_resident / 1024) as i64);
    }
    Ok(cx.memory().put(at, &usage)?)
}

/// `struct sysinfo`, 112 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sysinfo {
    pub(crate) uptime: i64,
    loads: [u64; 3],
    pub(crate) totalram: u64,
    pub(crate) freeram: u64,
    sharedram: u64,
    bufferram: u64,
    totalswap: u64,
    freeswap: u64,
    pub(crate) procs: u16,
    pad: [u16; 3],
    totalhigh: u64,
    freehigh: u64,
    mem_unit: u32,
    pad2: u32,
}

/// `sysinfo(2)`: of the container.
pub async fn sysinfo(cx: &CurrentTask, at: UserOut<Sysinfo>) -> SysResult<()> {
    let resources = cx.container.resources();
    let groups = cx.pid_namespace().groups();
    let facts = cx.kernel.extensions.get::<HostFactsSlot>();
    let used = facts.get().memory_used.as_ref();
    let used = used.and_then(|gauge| gauge()).unwrap_or(0);
    let threads: usize = groups.iter().map(|(_, group)| group.threads().len()).sum();
    let uptime_ns = time::boottime_ns().saturating_sub(cx.kernel.boot_ns);
    let info = Sysinfo {
        uptime: uptime_ns.div_ceil(1_000_000_000) as i64,
        totalram: resources.memory,
        freeram: resources.memory.saturating_sub(used),
        totalswap: resources.swap,
        freeswap: resources.swap,
        procs: u16::try_from(threads).unwrap_or(u16::MAX),
        mem_unit: 1,
        ..Sysinfo::default()
    };
    Ok(cx.memory().put(at, &info)?)
}
