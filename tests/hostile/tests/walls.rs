//! A guest that attacks its sandbox with everything it has, and what the host says of it.
//!
//! Needs root and tracefs. `RUNSC_BIN` tests another binary; `HOSTILE_ONLY=raw|memory|stub|frames|races` runs one family of attacks.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use harness::{Options, Outcome, Trial, run_all};
use hostile::allowed::Role;
use hostile::bench::{Bench, entries, eventually, is_alive};
use hostile::trace::{Audit, Trace};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// How long the attacks may take.
const ATTACK_DEADLINE: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(15);

fn main() -> ExitCode {
    let options = match Options::from_args() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let trial = |name, run: fn() -> Result<String, String>| {
        Trial::new(name, move || {
            if !nix::unistd::geteuid().is_root() {
                return Outcome::Skipped("needs root".into());
            }
            match run() {
                Ok(note) => Outcome::Passed(note),
                Err(error) => Outcome::Failed(error),
            }
        })
    };
    run_all(
        &options,
        1,
        vec![
            trial("hostile_guest_is_contained", contained),
            trial("sentry_gofer_and_guests_are_jailed", jailed),
        ],
    )
}

fn contained() -> Result<String, String> {
    let bench = Bench::new("guest")?;
    let canary = Canary::new(&bench)?;
    let trace = Trace::new()?;
    sees_this_process(&trace)?;

    bench.create("witness", &["witness"])?;
    bench.ok(&["start"], "witness", &[])?;
    eventually("the witness's start", Instant::now() + SOON, || {
        Ok(bench.output("witness").starts_with('r'))
    })?;

    let path = canary.path.display().to_string();
    let only = std::env::var("HOSTILE_ONLY").unwrap_or_default();
    bench.create("attacker", &["attack", &path, &only])?;
    let sentry = bench.pid("attacker", "sentry")?;
    let gofer = bench.pid("attacker", "gofer")?;
    let own = pid_namespace(sentry).ok_or("the sentry's pid namespace cannot be seen")?;
    let (pids, roles) = guests_of(sentry)?;
    let mut audit = Audit::new(roles);
    trace.start(&pids)?;
    bench.ok(&["start"], "attacker", &[])?;

    let deadline = Instant::now() + ATTACK_DEADLINE;
    let mut next_question = Instant::now();
    let mut questions = 0;
    let ended = eventually("the attacks' end", deadline, || {
        trace.drain(&mut audit)?;
        if bench.output("attacker").contains("hostile: ") {
            return Ok(true);
        }
        if !is_alive(sentry) || !is_alive(gofer) {
            return Err(format!(
                "the sentry ({}) or the gofer ({}) is dead",
                is_alive(sentry),
                is_alive(gofer)
            ));
        }
        if Instant::now() >= next_question {
            // In the middle of it all the sandbox answers.
            questions += 1;
            next_question = Instant::now() + Duration::from_secs(4);
            // It may have ended between the look above and the question; its last words tell that from a sandbox that fails to answer.
            if let Err(error) = ask(&bench, "attacker")
                && !bench.output("attacker").contains("breaches, done")
            {
                return Err(error);
            }
        }
        Ok(false)
    });
    println!("{}", bench.output("attacker"));
    ended?;
    trace.stop()?;
    trace.drain(&mut audit)?;
    let summary = format!(
        "executed calls by number: {:?}; {} host threads; asked {questions} times",
        audit.counts,
        audit.threads.len()
    );
    println!("{summary}");

    let mut wrong = std::mem::take(&mut audit.violations);
    if !bench
        .output("attacker")
        .contains("hostile: 0 breaches, done")
    {
        wrong.push("the guest says that it broke something".into());
    }
    if only.is_empty()
        && [9, 11, 25, 56, 60]
            .iter()
            .any(|nr| !audit.counts.contains_key(nr))
    {
        wrong.push("the trace lacks calls that surely were made: it proves nothing".into());
    }
    // The neighbour runs on with its memory as it was.
    ask(&bench, "witness")?;
    bench.ok(&["kill"], "witness", &["TERM"])?;
    eventually("the witness's report", Instant::now() + SOON, || {
        Ok(bench.output("witness").contains("witness: "))
    })?;
    if !bench.output("witness").contains("witness: intact") {
        wrong.push("the neighbour sandbox was harmed".into());
    }
    let helpers: Vec<i32> = ["attacker", "witness"]
        .iter()
        .flat_map(|id| ["sentry", "gofer", "init"].map(|which| bench.pid(id, which)))
        .collect::<Result<_, _>>()?;
    for id in ["attacker", "witness"] {
        eventually("the end", Instant::now() + SOON, || {
            Ok(bench.ok(&["state"], id, &[])?.contains("stopped"))
        })?;
        bench.ok(&["delete"], id, &[])?;
    }
    wrong.extend(bench.leftovers());
    // So many threads came and went that their numbers may be others' by now, guests of the other test among them: those of this sandbox are meant.
    let threads = audit
        .threads
        .iter()
        .filter(|pid| pid_namespace(**pid).is_some_and(|namespace| namespace == own));
    for pid in helpers.iter().chain(&pids).chain(threads) {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.starts_with("runsc") && is_alive(*pid) {
            wrong.push(format!("process {pid} ({}) is left", name.trim_end()));
        }
    }
    wrong.extend(canary.touched()?);
    if wrong.is_empty() {
        Ok(summary)
    } else {
        Err(wrong.join("\n"))
    }
}

/// The pid namespace of a process, as the host names it.
fn pid_namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// `state` and `exec` work.
fn ask(bench: &Bench, id: &str) -> Result<(), String> {
    let state = bench.ok(&["state"], id, &[])?;
    if !state.contains("running") {
        return Err(format!("{id} should be running: {state}"));
    }
    let pong = bench.ok(&["exec"], id, &["/hostile", "ping"])?;
    if pong == "pong\n" {
        Ok(())
    } else {
        Err(format!("exec in {id} printed {pong:?}"))
    }
}

/// The trace shows a call of a process that nothing holds: this one.
fn sees_this_process(trace: &Trace) -> Result<(), String> {
    let own = nix::unistd::gettid().as_raw();
    trace.start(&[own])?;
    let _ = nix::unistd::getppid();
    trace.stop()?;
    let mut audit = Audit::new(HashMap::new());
    trace.drain(&mut audit)?;
    if audit
        .violations
        .iter()
        .any(|line| line.contains(&format!("thread {own} (Guest) executed call 110 ")))
    {
        Ok(())
    } else {
        Err("the trace does not show this process's own calls: it proves nothing".into())
    }
}

/// The children of a sentry on the host without its ledger, which is the oldest, and what they are: the template is the oldest of the others.
fn guests_of(sentry: i32) -> Result<(Vec<i32>, HashMap<i32, Role>), String> {
    let mut pids: Vec<i32> = entries(Path::new(&format!("/proc/{sentry}/task")))
        .iter()
        .filter_map(|task| fs::read_to_string(task.join("children")).ok())
        .flat_map(|text| {
            text.split_ascii_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<i32>>()
        })
        .collect();
    pids.sort_by_key(|pid| start_time(*pid));
    if pids.is_empty() {
        return Err("the sentry has no children".into());
    }
    pids.remove(0);
    let mut roles: HashMap<i32, Role> = pids.iter().map(|pid| (*pid, Role::Script)).collect();
    let template = *pids.first().ok_or("the sentry has no template")?;
    roles.insert(template, Role::Template);
    Ok((pids, roles))
}

/// Field 22 of `/proc/PID/stat`, and the pid for those of one tick.
fn start_time(pid: i32) -> (u64, i32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let time = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok());
    (time.unwrap_or(u64::MAX), pid)
}

/// A file of the host's whose every use is noticed.
struct Canary {
    path: PathBuf,
    watch: Inotify,
}

const CANARY: &str = "nobody in a sandbox may read this\n";

impl Canary {
    fn new(bench: &Bench) -> Result<Self, String> {
        let path = bench.path("canary");
        fs::write(&path, CANARY).map_err(|e| format!("cannot write the canary: {e}"))?;
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).map_err(|e| format!("inotify: {e}"))?;
        watch
            .add_watch(&path, AddWatchFlags::IN_ALL_EVENTS)
            .map_err(|e| format!("inotify: {e}"))?;
        Ok(Self { path, watch })
    }

    /// What was done to it, after showing that reading would have been noticed.
    fn touched(&self) -> Result<Vec<String>, String> {
        let mut wrong: Vec<String> = self
            .watch
            .read_events()
            .unwrap_or_default()
            .iter()
            .map(|event| format!("the canary was used: {:?}", event.mask))
            .collect();
        if fs::read_to_string(&self.path).map_err(|e| format!("the canary is gone: {e}"))? != CANARY
        {
            wrong.push("the canary was changed".into());
        }
        if self.watch.read_events().is_err() {
            wrong.push("inotify does not report reads: it proves nothing".into());
        }
        Ok(wrong)
    }
}

fn jailed() -> Result<String, String> {
    let bench = Bench::new("jail")?;
    bench.create("c", &["witness"])?;
    bench.ok(&["start"], "c", &[])?;
    eventually("the start", Instant::now() + SOON, || {
        Ok(bench.output("c").starts_with('r'))
    })?;
    let (sentry, gofer) = (bench.pid("c", "sentry")?, bench.pid("c", "gofer")?);
    let mut wrong = Vec::new();
    // CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID
    wrong.extend(confinement(
        "gofer",
        gofer,
        0x1f,
        &["mnt", "pid", "net", "ipc"],
    ));
    wrong.extend(confinement(
        "sentry",
        sentry,
        0,
        &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"],
    ));
    for (name, pid) in [("sentry", sentry), ("gofer", gofer)] {
        let mounts =
            fs::read_to_string(format!("/proc/{pid}/mountinfo")).map_err(|e| e.to_string())?;
        let root_only = mounts.lines().count() == 1
            && mounts.contains(" / / ro,")
            && mounts.contains(" - tmpfs ");
        if !root_only || !entries(Path::new(&format!("/proc/{pid}/root/"))).is_empty() {
            wrong.push(format!(
                "{name}: its root is not an empty read-only tmpfs:\n{mounts}"
            ));
        }
    }
    wrong.extend(ledger_jailed(sentry));
    let rootfs = bench.path("c/rootfs").display().to_string();
    for (number, target) in descriptors(gofer) {
        // In a detached mount: the link shows the path from that mount's root, and must mean the same file below the container's root.
        let link = format!("/proc/{gofer}/fd/{number}");
        let known = same_file(&link, &format!("{rootfs}{target}"))
            || same_file(&link, &format!("/proc/{gofer}/fd"));
        if target.starts_with('/') && target != "/dev/null" && !known {
            wrong.push(format!(
                "gofer: descriptor {number} is {target}, which is not the container's"
            ));
        }
    }
    for (number, target) in descriptors(sentry) {
        if fs::metadata(format!("/proc/{sentry}/fd/{number}")).is_ok_and(|meta| meta.is_dir()) {
            wrong.push(format!(
                "sentry: descriptor {number} is the directory {target}"
            ));
        }
    }
    // A process for the next exec may just be in the making: it runs the stub's preparation, not guest code, and puts on its filter last.
    let (mut guests, mut guests_wrong) = (Vec::new(), Vec::new());
    let jailed = eventually("the guests' jails", Instant::now() + SOON, || {
        guests_wrong.clear();
        guests = guests_of(sentry)?.0;
        for pid in &guests[1..] {
            guests_wrong.extend(confinement(
                "guest",
                *pid,
                0,
                &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"],
            ));
            let held = descriptors(*pid);
            // Its slots, and the file that was mapped last.
            if held.iter().any(|(number, _)| !matches!(number, 0 | 3)) {
                guests_wrong.push(format!("guest {pid} holds {held:?}"));
            }
        }
        Ok(guests_wrong.is_empty())
    });
    if jailed.is_err() {
        wrong.append(&mut guests_wrong);
    }
    bench.ok(&["kill"], "c", &["TERM"])?;
    eventually("the end", Instant::now() + SOON, || {
        Ok(bench.ok(&["state"], "c", &[])?.contains("stopped"))
    })?;
    bench.ok(&["delete"], "c", &[])?;
    wrong.extend(bench.leftovers());
    if wrong.is_empty() {
        Ok(format!("{} guest processes", guests.len()))
    } else {
        Err(wrong.join("\n"))
    }
}

/// What is wrong with the confinement of the sentry's ledger: it holds a procfs of the guests' and a socket.
fn ledger_jailed(sentry: i32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{sentry}/task/{sentry}/children"));
    let named = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "runsc-ledger\n")
    };
    let children = children.unwrap_or_default();
    let mut pids = children
        .split_ascii_whitespace()
        .filter_map(|word| word.parse().ok());
    let Some(pid) = pids.find(named) else {
        return vec!["there is no ledger".into()];
    };
    let namespaces = &["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
    let mut wrong = confinement("ledger", pid, 0, namespaces);
    let held = descriptors(pid);
    let as_meant = matches!(&held[..], [(0, root), (1, socket)] if root == "/" && socket.starts_with("socket:"));
    let processes_only = entries(Path::new(&format!("/proc/{pid}/fd/0/")))
        .iter()
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        .all(|name| name.parse::<u32>().is_ok() || name == "self" || name == "thread-self");
    if !as_meant || !processes_only {
        wrong.push(format!("ledger {pid} holds {held:?}"));
    }
    wrong
}

fn same_file(a: &str, b: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn descriptors(pid: i32) -> Vec<(i32, String)> {
    entries(Path::new(&format!("/proc/{pid}/fd")))
        .iter()
        .filter_map(|path| {
            Some((
                path.file_name()?.to_str()?.parse().ok()?,
                fs::read_link(path).ok()?.display().to_string(),
            ))
        })
        .collect()
}

/// What is wrong with the confinement of every thread of `pid`: capabilities beyond `capabilities`, no filter, shared namespaces.
fn confinement(name: &str, pid: i32, capabilities: u64, namespaces: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    let tasks = entries(Path::new(&format!("/proc/{pid}/task")));
    if tasks.is_empty() {
        wrong.push(format!("{name} {pid} is gone"));
    }
    for task in tasks {
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        let value = |key: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
                .unwrap_or("")
                .to_owned()
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:", "CapBnd:"] {
            let held = u64::from_str_radix(&value(set), 16).unwrap_or(u64::MAX);
            if held & !capabilities != 0 {
                wrong.push(format!("{name}: {} has {set} {held:x}", task.display()));
            }
        }
        for (key, wanted) in [("NoNewPrivs:", "1"), ("Seccomp:", "2")] {
            if value(key) != wanted {
                wrong.push(format!(
                    "{name}: {} has {key} {}",
                    task.display(),
                    value(key)
                ));
            }
        }
    }
    for kind in namespaces {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
        if of(&pid.to_string()) == of("self") {
            wrong.push(format!("{name}: is in the host's {kind} namespace"));
        }
    }
    wrong
}
