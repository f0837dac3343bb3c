//! Descriptors of a regular file that the gofer has donated. Files share them: offsets are the sentry's.
//!
//! Lock order: a leaf.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

#[derive(Default)]
struct State {
    /// For reading only.
    read: Option<Arc<OwnedFd>>,
    /// For writing, and reading where that is possible; kept while somebody has the file open for writing.
    write: Weak<OwnedFd>,
    /// Whether `write` can read as well.
    write_reads: bool,
    /// The one that came with the file's creation, until it is opened.
    made: Option<Arc<OwnedFd>>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Descriptors(Mutex<State>);

impl Descriptors {
    /// For reading: the writable one if there is one (on an overlay host the read-only one may show the lower file), else the read-only one.
    pub(super) fn reading(&self) -> Option<Arc<OwnedFd>> {
        let state = self.0.lock();
        if state.write_reads
            && let Some(fd) = state.write.upgrade()
        {
            return Some(fd);
        }
        state.read.clone()
    }
    /// For writing.
    pub(super) fn writing(&self) -> Option<Arc<OwnedFd>> {
        self.0.lock().write.upgrade()
    }
    pub(super) fn any(&self) -> Option<Arc<OwnedFd>> {
        let state = self.0.lock();
        state.write.upgrade().or_else(|| state.read.clone())
    }
    /// Keeps one for reading, unless there is one that shows more.
    pub(super) fn keep_reading(&self, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        let mut state = self.0.lock();
        if state.write_reads
            && let Some(better) = state.write.upgrade()
        {
            return better;
        }
        state.read.get_or_insert(fd).clone()
    }
    /// Knows of one for writing; those for reading only are let go of.
    pub(super) fn know_writing(&self, fd: &Arc<OwnedFd>, reads: bool) {
        let mut state = self.0.lock();
        state.write = Arc::downgrade(fd);
        state.write_reads = reads;
        let old = state.read.take();
        drop(state);
        drop(old);
    }
    /// Keeps the one that came with the file's creation for the open that follows.
    pub(super) fn keep_made(&self, fd: OwnedFd) {
        let fd = Arc::new(fd);
        self.know_writing(&fd, true);
        self.0.lock().made = Some(fd);
    }
    /// The open after a creation has taken what it needs.
    pub(super) fn opened(&self) {
        let old = self.0.lock().made.take();
        drop(old);
    }
    /// Lets go of what is for reading only.
    pub(super) fn forget_reading(&self) {
        let old = self.0.lock().read.take();
        drop(old);
    }
    /// Lets go of what no open file uses.
    pub(super) fn forget_unused(&self) {
        let mut state = self.0.lock();
        let old = (state.read.take(), state.made.take());
        drop(state);
        drop(old);
    }
}
