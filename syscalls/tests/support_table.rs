//! The documentation's support table is what the table of calls says.

use std::path::Path;

#[test]
fn documentation_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/syscalls.md");
    let generated = syscalls::support::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/syscalls.md is out of date: run UPDATE_DOCS=1 cargo test -p syscalls --test support_table"
    );
}

#[test]
fn no_number_is_twice_in_the_table_and_each_has_its_own_name() {
    let mut numbers: Vec<u32> = syscalls::table::TABLE
        .iter()
        .map(|entry| entry.nr)
        .collect();
    numbers.sort_unstable();
    let count = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    for entry in syscalls::table::TABLE {
        assert_eq!(
            abi::nr::name(entry.nr),
            Some(entry.name),
            "number {}",
            entry.nr
        );
    }
}
