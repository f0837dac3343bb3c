//! How errors and warnings leave the program: one line on standard error and one in the `--log` file.
//!
//! containerd decodes the whole log file with strict timestamps and podman parses it as a single object, so a command that fails writes exactly one
//! line there unless `--debug` was given. Standard error is the container's own while one is created, so with a log file warnings stay out of it: they
//! are kept until the command has succeeded ([`finish`]) and then go to the file.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use parking_lot::Mutex;

use crate::cli::LogFormat;

/// A line on standard output. Where nobody reads it any more the command ends as by `SIGPIPE`, as other programs do.
pub fn print(line: std::fmt::Arguments<'_>) {
    /// 128 and the signal's number.
    const BROKEN_PIPE: i32 = 141;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            std::process::exit(BROKEN_PIPE)
        }
        Err(why) => {
            error(&format!("cannot write to standard output: {why}"));
            std::process::exit(1)
        }
    }
}

/// Where the log goes.
struct Log {
    path: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Warnings for the log file of a command that has not ended yet.
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Says where the log goes; the first call counts. The file is made if it is missing.
///
/// # Errors
/// It cannot be opened: the caller would look for messages there in vain.
pub fn init(path: Option<PathBuf>, format: LogFormat, debug: bool) -> anyhow::Result<()> {
    if let Some(path) = &path {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("open {}", path.display()))?;
    }
    let _ = LOG.set(Log {
        path,
        format,
        debug,
    });
    Ok(())
}

/// Writes a line to standard error: the sandbox's debug log, in sentry and gofer. A log that cannot be written loses lines, and nobody suffers for it.
pub fn log_line(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Reports a fatal error.
pub fn error(message: &str) {
    write_log("error", message);
    let line = one_line(message);
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Reports something that the caller should know although the command goes on: in the log file if there is one, else on standard error.
pub fn warning(message: &str) {
    if LOG.get().is_some_and(|log| log.path.is_some()) {
        WARNINGS.lock().push(message.to_owned());
        return;
    }
    let line = one_line(message);
    let _ = writeln!(std::io::stderr(), "warning: {line}");
}

/// Writes the warnings of a command that succeeded to the log file.
pub fn finish() {
    for message in WARNINGS.lock().drain(..) {
        write_log("warning", &message);
    }
}

/// Writes a debug line, if asked for.
pub fn debug(message: &str) {
    if LOG.get().is_some_and(|log| log.debug) {
        write_log("debug", message);
    }
}

fn one_line(message: &str) -> String {
    message.replace(['\n', '\r'], " ").trim().to_owned()
}

fn write_log(level: &str, message: &str) {
    let Some(Log {
        path: Some(path),
        format,
        ..
    }) = LOG.get()
    else {
        return;
    };
    let time = rfc3339(SystemTime::now());
    let message = one_line(message);
    let line = match format {
        LogFormat::Json => {
            // The key order is the one runc's logger produces.
            let message = serde_json::Value::String(message);
            format!("{{\"level\":\"{level}\",\"msg\":{message},\"time\":\"{time}\"}}\n")
        }
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
    };
    if let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path) {
        let _ = file.write_all(line.as_bytes());
    }
}

/// Seconds-precision UTC timestamp.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("{}Z", civil(seconds))
}

/// Nanosecond-precision UTC timestamp, as Go prints `time.Time` in JSON.
#[must_use]
pub fn rfc3339_nanos(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let fraction = format!("{:09}", since.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{}{dot}{fraction}Z", civil(since.as_secs()))
}

/// `YYYY-MM-DDTHH:MM:SS` of seconds since the epoch, by the days-to-civil algorithm for the proleptic Gregorian calendar.
fn civil(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let clock = seconds % 86_400;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        clock / 3600,
        clock % 3600 / 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps() {
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_secs(951_827_696)),
            "2000-02-29T12:34:56Z"
        );
        assert_eq!(
            rfc3339_nanos(UNIX_EPOCH + Duration::new(1_795_484_377, 500_000_000)),
            "2026-11-24T01:39:37.5Z"
        );
    }

    #[test]
    fn a_message_is_always_one_line() {
        assert_eq!(one_line("a\nb\n"), "a b");
    }
}
