//! Who may import whom (ARCHITECTURE.md has the picture): every dependency of every crate of the workspace is on a list here.
//!
//! A new outside crate is a decision: add it to the list of the crate that needs it, in the same change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What one crate may import.
struct Rule {
    krate: &'static str,
    /// Crates of this workspace.
    ours: &'static [&'static str],
    /// Crates from outside.
    outside: &'static [&'static str],
}

const RULES: &[Rule] = &[
    Rule {
        krate: "abi",
        ours: &[],
        outside: &["bitflags", "libc", "zerocopy"],
    },
    Rule {
        krate: "platform",
        ours: &["abi"],
        outside: &[
            "bitflags",
            "crossbeam",
            "iced-x86",
            "libc",
            "linux-raw-sys",
            "memmap2",
            "nix",
            "parking_lot",
            "thiserror",
        ],
    },
    Rule {
        krate: "netstack",
        ours: &["abi"],
        outside: &["bitflags", "parking_lot", "serde", "smoltcp", "thiserror"],
    },
    Rule {
        krate: "gofer",
        ours: &["abi"],
        outside: &[
            "bitflags",
            "libc",
            "nix",
            "parking_lot",
            "pathrs",
            "seccompiler",
            "thiserror",
            "zerocopy",
        ],
    },
    Rule {
        krate: "sentry",
        ours: &["abi", "gofer", "netstack", "platform"],
        outside: &[
            "bitflags",
            "crossbeam",
            "goblin",
            "libc",
            "parking_lot",
            "slab",
            "thiserror",
            "tracing",
            "zerocopy",
        ],
    },
    Rule {
        krate: "syscalls",
        ours: &["abi", "sentry"],
        outside: &["bitflags", "parking_lot", "tracing", "zerocopy"],
    },
    Rule {
        krate: "runsc-cli",
        ours: &["abi", "gofer", "netstack", "platform", "sentry", "syscalls"],
        outside: &[
            "anyhow",
            "clap",
            "libc",
            "libcgroups",
            "nix",
            "oci-spec",
            "parking_lot",
            "rtnetlink",
            "rustbus",
            "seccompiler",
            "serde",
            "serde_json",
            "thiserror",
            "toml_edit",
            "tracing",
        ],
    },
    Rule {
        krate: "xtask",
        ours: &["integration"],
        outside: &["anyhow", "serde_json"],
    },
    Rule {
        krate: "harness",
        ours: &[],
        outside: &["nix", "serde_json"],
    },
    Rule {
        krate: "syscall-conformance",
        ours: &["harness"],
        outside: &["libc", "nix"],
    },
    Rule {
        krate: "integration",
        ours: &["harness"],
        outside: &["nix", "serde_json", "vt100"],
    },
    Rule {
        krate: "engines",
        ours: &["harness"],
        outside: &[
            "futures-util",
            "hyper-util",
            "nix",
            "prost",
            "serde_json",
            "tokio",
            "tokio-tungstenite",
            "tonic",
            "tonic-prost",
            "tower",
        ],
    },
    Rule {
        krate: "lifecycle",
        ours: &["harness"],
        outside: &["nix", "serde_json"],
    },
    Rule {
        krate: "hostile",
        ours: &["harness"],
        outside: &["nix"],
    },
    Rule {
        krate: "architecture",
        ours: &[],
        outside: &[],
    },
];

/// Outside crates that any crate may use in its tests and benchmarks.
const FOR_TESTS: &[&str] = &[
    "criterion",
    "libc",
    "nix",
    "proptest",
    "serde_json",
    "tempfile",
];

/// Files outside `platform/` that may hold `unsafe`: one clearly named file per crate that cannot do without.
const UNSAFE_FILE: &str = "host.rs";

fn metadata() -> Value {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// For each crate of the workspace: (dependency, whether it is for tests only).
fn dependencies(metadata: &Value) -> BTreeMap<String, Vec<(String, bool)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of = |package: &Value| {
        list(&package["dependencies"])
            .iter()
            .map(|d| (text(&d["name"]), d["kind"] == "dev"))
            .collect()
    };
    list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["name"]), of(package)))
        .collect()
}

#[test]
fn every_crate_has_a_rule() {
    let known: BTreeSet<&str> = RULES.iter().map(|rule| rule.krate).collect();
    let crates = dependencies(&metadata());
    let unknown: Vec<_> = crates
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "crates without a rule: {unknown:?}; say here what they may import"
    );
}

#[test]
fn dependencies_point_one_way() {
    let crates = dependencies(&metadata());
    let mut wrong = Vec::new();
    for rule in RULES {
        for (name, for_tests) in crates.get(rule.krate).into_iter().flatten() {
            let ours = crates.contains_key(name);
            let allowed = if ours {
                rule.ours.contains(&name.as_str())
            } else {
                rule.outside.contains(&name.as_str())
            };
            let in_tests = *for_tests && !ours && FOR_TESTS.contains(&name.as_str());
            if !allowed && !in_tests {
                wrong.push(format!("{} imports {name}", rule.krate));
            }
        }
    }
    assert!(wrong.is_empty(), "not on the list: {wrong:#?}");
}

/// All Rust files below `directory`, except build output.
fn sources(directory: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory)
        .expect("a readable directory")
        .flatten()
    {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn unsafe_code_stays_in_its_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace exists");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(
        files.len() > 20,
        "found only {} source files below {}",
        files.len(),
        root.display()
    );
    let keyword = ["un", "safe"].concat();
    let mut wrong = Vec::new();
    for file in files {
        let place = file.strip_prefix(&root).expect("below the root");
        if place.starts_with("platform") || place.ends_with(UNSAFE_FILE) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a readable source file");
        let code = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or_default());
        let uses = |line: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == keyword)
        };
        if let Some(line) = code
            .enumerate()
            .find_map(|(number, line)| uses(line).then_some(number + 1))
        {
            wrong.push(format!("{}:{line}", place.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "the keyword outside platform/ and {UNSAFE_FILE}: {wrong:#?}"
    );
}
