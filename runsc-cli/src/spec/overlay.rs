//! `--overlay2`: which trees get an overlay, and where what is written to it is kept. The value is `none` or `MOUNT:MEDIUM[,size=SIZE]` as gVisor has
//! it: MOUNT is `root` or `all`; MEDIUM is `memory`, `self` (files without names in the tree's own directory) or `dir=PATH` (the same there).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::mounts::TreeSource;
use crate::boot::config::OverlayMode;

/// `--overlay2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Where writes to the root go.
    pub root: Medium,
    /// Where writes to bind mounts go that are not read-only.
    pub mounts: Medium,
    /// Most bytes that each overlay keeps.
    pub size: Option<u64>,
}

/// Where an overlay keeps what is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    /// There is no overlay.
    #[default]
    None,
    /// In memory that is charged to the container.
    Memory,
    /// In the directory that the overlay is over.
    Own,
    /// In this directory of the host.
    Directory(PathBuf),
}

impl Overlay {
    /// `root:memory`.
    #[must_use]
    pub fn root_in_memory() -> Self {
        Self {
            root: Medium::Memory,
            ..Self::default()
        }
    }

    /// Reads the flag's value.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() || text == "none" {
            return Ok(Self::default());
        }
        let Some((mount, rest)) = text.split_once(':') else {
            bail!("--overlay2={text}: expected none, root:MEDIUM or all:MEDIUM")
        };
        let (medium, size) = match rest.split_once(',') {
            None => (rest, None),
            Some((medium, option)) => match option.strip_prefix("size=").and_then(bytes) {
                Some(size) => (medium, Some(size)),
                None => bail!(
                    "--overlay2={text}: after the comma only size=BYTES is understood, with k, m, g or t for multiples of 1024"
                ),
            },
        };
        let medium = match medium {
            "memory" => Medium::Memory,
            "self" => Medium::Own,
            _ => match medium.strip_prefix("dir=") {
                Some(path) if path.starts_with('/') => Medium::Directory(PathBuf::from(path)),
                _ => bail!(
                    "--overlay2={text}: the medium must be memory, self or dir=/absolute/path"
                ),
            },
        };
        let mounts = match mount {
            "root" => Medium::None,
            "all" => medium.clone(),
            other => bail!("--overlay2={text}: {other:?} is neither root nor all"),
        };
        Ok(Self {
            root: medium,
            mounts,
            size,
        })
    }
}

/// A number of bytes as `size=` takes it; not 0.
pub fn bytes(text: &str) -> Option<u64> {
    let (digits, unit) = match text.char_indices().last()? {
        (at, unit) if unit.is_ascii_alphabetic() => (text.get(..at)?, unit),
        _ => (text, 'b'),
    };
    let shift = match unit.to_ascii_lowercase() {
        'b' => 0,
        'k' => 10,
        'm' => 20,
        'g' => 30,
        't' => 40,
        _ => return None,
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|size| *size > 0)
}

impl Medium {
    /// The mode of a tree whose source is `source`; a directory that is needed is added to `trees`.
    ///
    /// # Errors
    /// The directory cannot hold files without names.
    pub fn over(&self, source: &Path, trees: &mut Vec<TreeSource>) -> Result<OverlayMode> {
        let directory = match self {
            Self::None => return Ok(OverlayMode::None),
            Self::Memory => return Ok(OverlayMode::Memory),
            // A single file has no directory of its own.
            Self::Own if !source.is_dir() => return Ok(OverlayMode::Memory),
            Self::Own => source,
            Self::Directory(directory) => directory,
        };
        let known = trees
            .iter()
            .position(|tree| tree.scratch && tree.path == directory);
        let index = match known {
            Some(index) => index,
            None => {
                check(directory)?;
                trees.push(TreeSource {
                    path: directory.to_owned(),
                    recursive: false,
                    read_only: false,
                    follow_host: false,
                    scratch: true,
                    ids: None,
                });
                trees.len() - 1
            }
        };
        let tree = u32::try_from(index)?;
        Ok(OverlayMode::File { tree })
    }
}

/// Whether files without names can be made in a directory.
fn check(directory: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(directory)
        .map(drop)
        .with_context(|| {
            format!(
                "--overlay2: cannot keep files of an overlay in {}: give another directory by dir=PATH, or use memory",
                directory.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused() {
        let parse = |text| Overlay::parse(text).unwrap();
        assert_eq!(parse("none"), Overlay::default());
        assert_eq!(parse("root:memory"), Overlay::root_in_memory());
        let all = parse("all:dir=/x,size=2g");
        let x = Medium::Directory("/x".into());
        assert_eq!((&all.root, &all.mounts, all.size), (&x, &x, Some(2 << 30)));
        let own = parse("root:self,size=4096");
        assert_eq!(
            (own.root, own.mounts, own.size),
            (Medium::Own, Medium::None, Some(4096))
        );
        for wrong in [
            "root",
            "root:dir=x",
            "some:memory",
            "root:memory,size=0",
            "root:memory,size=",
            "root:memory,size=1x",
            "root:memory,size=-1",
            "root:memory,mode=1",
            "root:memory,size=99999999999t",
            "root:disk",
        ] {
            let error = Overlay::parse(wrong).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--overlay2={wrong}: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn directories_become_scratch_trees_once() {
        let mut trees = Vec::new();
        let here = Path::new("/tmp");
        let first = Medium::Own.over(here, &mut trees).unwrap();
        let second = Medium::Directory(here.into())
            .over(Path::new("/etc"), &mut trees)
            .unwrap();
        assert_eq!(first, OverlayMode::File { tree: 0 });
        assert_eq!(second, first);
        assert!(trees.len() == 1 && trees[0].scratch);
        let file = Medium::Own
            .over(Path::new("/etc/passwd"), &mut trees)
            .unwrap();
        assert_eq!(file, OverlayMode::Memory);
        let error = Medium::Directory("/proc".into())
            .over(here, &mut trees)
            .unwrap_err();
        assert!(error.to_string().contains("/proc"), "{error}");
    }
}
