//! Starts and ends the long-lived processes of a container: sentry, gofer and proxy.

pub mod cleaner;
pub mod console;
pub mod create;
pub mod death;
pub mod foreground;
pub mod gofer;
pub mod hand_over;
pub mod hooks;
pub mod mountpoints;
pub mod pod;
pub mod process;
pub mod proxy;
pub mod proxy_root;
pub mod rollback;
pub mod sandbox;
pub mod seal;
pub mod settings;
pub mod teardown;
pub mod userns;

/// The kernel's text for an I/O error in lower case, as Go prints it (`no such file or directory`).
#[must_use]
pub fn errno_text(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => errno_words(nix::errno::Errno::from_raw(number)),
        None => error.to_string(),
    }
}

fn errno_words(errno: nix::errno::Errno) -> String {
    let mut chars = errno.desc().chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

/// A whole chain of errors in one sentence, with the host's errors in Go's style: callers look for `permission denied` and the like.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let words: Vec<String> = error
        .chain()
        .map(|cause| {
            if let Some(error) = cause.downcast_ref::<std::io::Error>() {
                errno_text(error)
            } else if let Some(errno) = cause.downcast_ref::<nix::errno::Errno>() {
                errno_words(*errno)
            } else {
                cause.to_string()
            }
        })
        .collect();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn errors_read_as_go_prints_them() {
        let io: Result<(), _> = Err(std::io::Error::from_raw_os_error(13));
        assert_eq!(
            sentence(&io.context("open /x").unwrap_err()),
            "open /x: permission denied"
        );
        let nix: Result<(), _> = Err(nix::errno::Errno::ENOENT);
        assert_eq!(
            sentence(&nix.context("a").context("b").unwrap_err()),
            "b: a: no such file or directory"
        );
    }
}
