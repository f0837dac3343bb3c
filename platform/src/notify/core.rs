//! What all parts of one notify platform share.

use std::sync::Arc;

use super::fast::FastPath;
use super::reaper::Reaper;
use super::template::Template;
use crate::api::Worker;

/// See the module.
pub(super) struct Core {
    pub(super) template: Template,
    pub(super) worker: Arc<dyn Worker>,
    pub(super) reaper: Arc<Reaper>,
    pub(super) poll_before_receive: bool,
    pub(super) fast: Option<FastPath>,
}
