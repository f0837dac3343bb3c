//! The cases, a file per concept.

mod cgroups;
mod console;
mod create;
mod exec;
mod flags;
mod hooks;
mod kill;
mod mounts;
mod namespaces;
mod output;
mod process;
mod root;
mod seccomp;
mod stdio;

use crate::Bench;

/// What a case is: it drives a runtime and notes what it sees.
pub type Case = fn(&mut Bench);

/// Names functions of a module.
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub(super) const CASES: &[(&str, super::Case)] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use cases;

/// All cases as `file/function`.
#[must_use]
pub fn all() -> Vec<(String, Case)> {
    let files = [
        ("flags", flags::CASES),
        ("create", create::CASES),
        ("kill", kill::CASES),
        ("exec", exec::CASES),
        ("console", console::CASES),
        ("output", output::CASES),
        ("stdio", stdio::CASES),
        ("process", process::CASES),
        ("root", root::CASES),
        ("mounts", mounts::CASES),
        ("namespaces", namespaces::CASES),
        ("seccomp", seccomp::CASES),
        ("hooks", hooks::CASES),
        ("cgroups", cgroups::CASES),
    ];
    files
        .into_iter()
        .flat_map(|(file, cases)| {
            cases
                .iter()
                .map(move |(name, case)| (format!("{file}/{name}"), *case))
        })
        .collect()
}
