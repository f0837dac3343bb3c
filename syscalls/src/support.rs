//! The support table of the documentation, from the table of calls.

use std::fmt::Write;

use crate::table::{Support, TABLE};

/// `docs/syscalls.md`: every call that Linux names on x86-64, and what the sandbox does with it.
#[must_use]
pub fn markdown() -> String {
    let full = TABLE.iter().filter(|e| e.support == Support::Full).count();
    let partial = TABLE.len() - full;
    let missing: Vec<(u32, &str)> = (0..512)
        .filter(|nr| TABLE.iter().all(|e| e.nr != *nr))
        .filter_map(|nr| abi::nr::name(nr).map(|name| (nr, name)))
        .collect();
    let mut text = String::from(
        "# System calls\n\n<!-- Generated from syscalls/src/table.rs: UPDATE_DOCS=1 cargo test -p syscalls --test support_table -->\n\n",
    );
    let _ = writeln!(
        text,
        "{full} full, {partial} partial, {} that answer `ENOSYS`.\n",
        missing.len()
    );
    text.push_str("| number | call | support |\n| --- | --- | --- |\n");
    let mut entries: Vec<_> = TABLE.iter().collect();
    entries.sort_by_key(|entry| entry.nr);
    for entry in entries {
        let support = match entry.support {
            Support::Full => "full".to_owned(),
            Support::Partial(note) => format!("partial: {note}"),
        };
        let _ = writeln!(text, "| {} | {} | {support} |", entry.nr, entry.name);
    }
    text.push_str("\nNot there (`ENOSYS`, counted): ");
    let names: Vec<String> = missing
        .iter()
        .map(|(nr, name)| format!("{name} ({nr})"))
        .collect();
    text.push_str(&names.join(", "));
    text.push_str(".\n");
    text
}
