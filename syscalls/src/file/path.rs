//! From path arguments to places.

use std::sync::Arc;

use abi::UserIn;
use abi::fs::AT_FDCWD;
use sentry::error::{Errno, Result};
use sentry::task::creds::Creds;
use sentry::task::{CurrentTask, Task};
use sentry::vfs::lookup::{Found, LookupCx, LookupFlags, resolve};
use sentry::vfs::{Fd, FsContext, Path};

/// AT_FDCWD as a descriptor.
pub const CWD: Fd = Fd(AT_FDCWD);

/// What a look-up needs, held for the duration of a call.
pub struct Walker {
    /// Root, working directory, umask.
    pub fs: Arc<FsContext>,
    /// Credentials.
    pub creds: Arc<Creds>,
    task: Arc<Task>,
}

impl Walker {
    /// For a task as it is now.
    #[must_use]
    pub fn new(cx: &CurrentTask) -> Self {
        let (fs, creds) = cx.lookup_parts();
        Self {
            fs,
            creds,
            task: cx.task().clone(),
        }
    }
    /// With real in place of effective ids (`access(2)`).
    #[must_use]
    pub fn with_real_ids(mut self) -> Self {
        self.creds = Arc::new(self.creds.with_real_ids());
        self
    }
    /// For the VFS.
    #[must_use]
    pub fn cx(&self) -> LookupCx<'_> {
        LookupCx {
            fs: &self.fs,
            creds: &self.creds,
            task: Some(&self.task),
        }
    }
    /// Where a path starts: `EBADF`, `ENOTDIR` for a descriptor without a place. Absolute paths do not look at the descriptor.
    pub fn start(&self, cx: &CurrentTask, dir: Fd, path: &[u8]) -> Result<Path> {
        if path.first() == Some(&b'/') || dir == CWD {
            return Ok(self.fs.cwd());
        }
        let file = cx.files().get(dir)?;
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        file.path().cloned().ok_or(Errno::ENOTDIR)
    }
    /// Resolves `path` from `dir`. With [`LookupFlags::EMPTY`] an empty path means the descriptor itself, O_PATH ones too.
    pub fn find(
        &self,
        cx: &CurrentTask,
        dir: Fd,
        path: &[u8],
        flags: LookupFlags,
    ) -> Result<Found> {
        if path.is_empty() {
            if !flags.contains(LookupFlags::EMPTY) {
                return Err(Errno::ENOENT);
            }
            if dir == CWD {
                return Ok(Found::Path(self.fs.cwd()));
            }
            return cx.files().get(dir).map(Found::File);
        }
        let start = self.start(cx, dir, path)?;
        resolve(self.cx(), &start, path, flags)
    }
}

/// Fetches a path: `EFAULT`, `ENAMETOOLONG`.
pub fn get_path(cx: &CurrentTask, path: UserIn<u8>) -> Result<Vec<u8>> {
    cx.memory().get_path(path)
}

/// FOLLOW unless `flags` has AT_SYMLINK_NOFOLLOW, EMPTY if it has AT_EMPTY_PATH.
#[must_use]
pub fn at_flags(flags: u32) -> LookupFlags {
    let mut lookup = LookupFlags::empty();
    lookup.set(
        LookupFlags::FOLLOW,
        flags & abi::fs::AT_SYMLINK_NOFOLLOW == 0,
    );
    lookup.set(LookupFlags::EMPTY, flags & abi::fs::AT_EMPTY_PATH != 0);
    lookup
}
