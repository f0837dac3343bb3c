//! What a panic does in the sentry and in the gofer: one that is contained (see [`syscalls::guard`]) ends a guest's process; after any other nothing can
//! be relied upon any more, so that the whole process ends at once. Its guests die with it, and whoever waits is told how it ended.
//!
//! The standard hook is not used: for a backtrace it would open files, for which the filter kills.

use std::panic::PanicHookInfo;
use std::thread;

use crate::report;

/// Exit code of a sentry or gofer that panicked (`EX_SOFTWARE` of sysexits.h).
pub const PANICKED: i32 = 70;

/// From now on panics of this process end it.
pub fn end_process_on_panic(who: &'static str) {
    std::panic::set_hook(Box::new(move |info| {
        let contained = syscalls::guard::is_contained();
        report::log_line(&sentence(who, info, contained));
        if !contained {
            std::process::exit(PANICKED);
        }
    }));
}

fn sentence(who: &str, info: &PanicHookInfo<'_>, contained: bool) -> String {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let place = info
        .location()
        .map_or_else(String::new, |place| format!(" at {place}"));
    let thread = thread::current();
    format!(
        "runsc: internal error in thread {} of the {who}{place}: {text}{}",
        thread.name().unwrap_or("without a name"),
        if contained { "" } else { ": it ends" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const MARK: &str = "RUNSC_TEST_OF_PANICS";

    /// Not a test of its own: what the test below runs in a process of its own.
    #[test]
    fn panics_in_a_thread() {
        if std::env::var_os(MARK).is_none() {
            return;
        }
        end_process_on_panic("sentry");
        let thread = thread::Builder::new().name("reactor".to_owned());
        let joined = thread.spawn(|| panic!("told {}", "so")).map(|t| t.join());
        unreachable!("the process outlived the panic: {joined:?}");
    }

    #[test]
    fn a_panic_anywhere_ends_the_process_with_a_sentence() {
        let program = std::env::current_exe().unwrap();
        let output = Command::new(program)
            .args([
                "--exact",
                "boot::panics::tests::panics_in_a_thread",
                "--nocapture",
            ])
            .env(MARK, "1")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(PANICKED), "{words}");
        let said = words.lines().any(|line| {
            line.starts_with("runsc: internal error in thread reactor of the sentry at ")
                && line.ends_with(": told so: it ends")
        });
        assert!(said, "{words}");
    }
}
