//! Mount options of proc.

use crate::error::{Errno, Result};

/// Parsed options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcOptions {
    /// `subset=pid`: nothing but process directories.
    pub pids_only: bool,
    /// `gid=`: has no effect without `hidepid`, but is shown.
    pub gid: Option<u32>,
}

impl ProcOptions {
    /// From mount data. `EINVAL` for what is unknown, and for `hidepid` other than `0`/`off`, which is not implemented.
    pub fn parse(data: &[u8]) -> Result<Self> {
        let mut options = Self::default();
        let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("hidepid", "0" | "off")) => {}
                Some(("subset", "pid")) => options.pids_only = true,
                Some(("gid", gid)) => {
                    options.gid = Some(gid.parse().map_err(|_| Errno::EINVAL)?);
                }
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }

    /// As `/proc/mounts` shows them.
    #[must_use]
    pub fn show(&self) -> String {
        let mut text = String::new();
        if let Some(gid) = self.gid {
            text.push_str(&format!(",gid={gid}"));
        }
        if self.pids_only {
            text.push_str(",subset=pid");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_or_refused() {
        assert_eq!(ProcOptions::parse(b""), Ok(ProcOptions::default()));
        let options = ProcOptions::parse(b"gid=5,subset=pid,hidepid=0").unwrap();
        assert_eq!(options.show(), ",gid=5,subset=pid");
        assert_eq!(ProcOptions::parse(b"hidepid=2"), Err(Errno::EINVAL));
        assert_eq!(ProcOptions::parse(b"nonsense"), Err(Errno::EINVAL));
    }
}
