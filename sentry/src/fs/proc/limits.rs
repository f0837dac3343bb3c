//! `limits` (`fs/proc/base.c`: proc_pid_limits).

use super::subject::Subject;
use crate::error::Result;
use crate::fs::static_tree::Reader;
use crate::task::limits::{INFINITY, Limits};

/// Names and units, by number.
const ROWS: [(&str, &str); 16] = [
    ("Max cpu time", "seconds"),
    ("Max file size", "bytes"),
    ("Max data size", "bytes"),
    ("Max stack size", "bytes"),
    ("Max core file size", "bytes"),
    ("Max resident set", "bytes"),
    ("Max processes", "processes"),
    ("Max open files", "files"),
    ("Max locked memory", "bytes"),
    ("Max address space", "bytes"),
    ("Max file locks", "locks"),
    ("Max pending signals", "signals"),
    ("Max msgqueue size", "bytes"),
    ("Max nice priority", ""),
    ("Max realtime priority", ""),
    ("Max realtime timeout", "us"),
];

/// `limits`.
pub(super) fn limits(subject: &Subject, _reader: &Reader<'_>) -> Result<Vec<u8>> {
    let limits = subject.group()?.limits.lock().clone();
    Ok(show(&limits).into_bytes())
}

fn show(limits: &Limits) -> String {
    let value = |value: u64| {
        if value == INFINITY {
            "unlimited".to_owned()
        } else {
            value.to_string()
        }
    };
    let mut text = format!(
        "{:<25} {:<20} {:<20} {:<10}\n",
        "Limit", "Soft Limit", "Hard Limit", "Units"
    );
    for ((soft, hard), (name, unit)) in limits.0.iter().zip(ROWS) {
        text.push_str(&format!(
            "{name:<25} {:<20} {:<20} {unit:<10}\n",
            value(*soft),
            value(*hard)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_linux_columns() {
        let text = show(&Limits::default());
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("Limit                     Soft Limit           Hard Limit           Units     ")
        );
        assert_eq!(
            text.lines().find(|line| line.starts_with("Max open files")),
            Some("Max open files            1024                 1048576              files     ")
        );
        assert_eq!(text.lines().count(), 17);
    }
}
