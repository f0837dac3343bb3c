//! Closing a descriptor.

use std::sync::Arc;

use super::{FdTable, File};
use crate::error::Result;
use crate::fs::locks;

/// What closing a descriptor entails (`filp_close`): all POSIX locks that the table it was in holds on the file go, whatever other descriptors of
/// it there are (fcntl(2)); then the reference is dropped. The caller has taken the descriptor out of `files`. `Err` never means that it is
/// still open.
pub fn close_file(files: &Arc<FdTable>, file: Arc<File>) -> Result<()> {
    if !file.is_path_only() {
        locks::release_posix(file.inode(), files);
    }
    drop(file);
    Ok(())
}
