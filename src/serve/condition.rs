//! How the daemon itself is, beyond its repositories: told by `/-/ready`, the status and the metrics.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// What the daemon notes about itself, for the doors to tell.
#[derive(Default)]
pub struct Condition {
    /// Why the configuration on the disk is not the one that counts.
    mistake: RwLock<Option<Arc<str>>>,
    lost_lines: OnceLock<fn() -> u64>,
}

impl Condition {
    /// Notes why the configuration on the disk cannot be taken up, or that it was taken up; gives back what was
    /// noted before.
    pub fn note_mistake(&self, mistake: Option<&str>) -> Option<Arc<str>> {
        let mut noted = self.mistake.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut noted, mistake.map(Arc::from))
    }

    /// Why the configuration on the disk is not the one that counts; `None` while it is.
    pub fn mistake(&self) -> Option<Arc<str>> {
        self.mistake.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the lines of the log that were lost are counted. Once.
    pub fn count_lost_lines_by(&self, count: fn() -> u64) {
        let _ = self.lost_lines.set(count);
    }

    /// Lines of the daemon's log that could not be written.
    pub(super) fn lost_lines(&self) -> u64 {
        self.lost_lines.get().map_or(0, |count| count())
    }
}
