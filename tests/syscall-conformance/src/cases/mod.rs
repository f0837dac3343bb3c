//! The families of cases, one file each.

use crate::case::Case;

macro_rules! families {
    ($($family:ident),+ $(,)?) => {
        $(mod $family;)+
        const FAMILIES: &[(&str, &[Case])] = &[$((stringify!($family), $family::CASES)),+];
    };
}

families![
    process,
    wait,
    exec,
    signals,
    sigqueue,
    faults,
    futex,
    threads,
    memory,
    pipes,
    events,
    unix_sockets,
    inet_tcp,
    inet_udp,
    inet_options,
    inet_raw,
    inet_interfaces,
    open,
    file_data,
    directories,
    attributes,
    locks,
    inotify,
    tty,
    credentials,
    time,
    sysv,
    seccomp,
    seccomp_notify,
    proc_fs,
    misc,
    mounts,
    acl,
    told_by_signal,
    namespaces,
    administration,
    aio,
    ptrace,
];

/// Every case with its family's name.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static Case)> {
    FAMILIES
        .iter()
        .flat_map(|(family, cases)| cases.iter().map(move |case| (*family, case)))
}

pub(crate) use exec::run_helper as helper;
