//! Notices what happens in the trees: one thread and one inotify instance for the whole process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{RepositoryConfig, Symlinks};
use crate::tree::Dirty;

/// The watch over all trees. Dropping it ends it.
pub struct Watch {}

/// Hears what was seen in one tree. Called from the watch's own thread: it must not block.
pub type Sink = Arc<dyn Fn(Seen) + Send + Sync>;

/// What a [`Sink`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Places to look at. The first one after [`Watch::add`] is `Dirty::everything()`, sent when all
    /// watches stand: a look taken for it misses nothing that happens later.
    Dirty(Dirty),
    /// `repodata/repomd.xml` was written, replaced or removed, by us or by somebody else.
    Metadata,
    /// How the tree is watched from now on.
    Watching(Means),
}

/// How a tree is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// Changes are heard of at once.
    Inotify,
    /// Everything is compared every now and then, because inotify cannot see all: why, and what to do.
    Polling { why: String },
    /// The root is not there (or is not a directory): tried again every few seconds.
    Missing { why: String },
}

/// How one tree is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchRules {
    pub symlinks: Symlinks,
    /// A file nobody closes is reported when it was quiet for this long …
    pub settle: Duration,
    /// … or, at the latest, after this.
    pub settle_max: Duration,
    /// Time between two full comparisons.
    pub rescan: Duration,
}

impl From<&RepositoryConfig> for WatchRules {
    fn from(config: &RepositoryConfig) -> Self {
        Self {
            symlinks: config.symlinks,
            settle: config.settle,
            settle_max: config.settle_max,
            rescan: config.rescan,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot start the thread that watches the trees")]
    Thread(#[source] std::io::Error),
    #[error("cannot prepare to watch directories")]
    Prepare(#[source] std::io::Error),
}

impl Watch {
    /// Starts the thread. Where inotify cannot be had, every tree is polled.
    pub fn start() -> Result<Self, WatchError> {
        todo!()
    }

    /// Watches the directory `root` (absolute) from now on; a second call for it replaces rules and
    /// sink. Returns at once: a root that is missing, or cannot be watched, is told to the sink.
    pub fn add(&self, _root: &Path, _rules: WatchRules, _sink: Sink) {
        todo!()
    }

    /// Forgets a tree. The sink may be in a last call while this returns.
    pub fn remove(&self, _root: &Path) {
        todo!()
    }

    /// Tells how long a full comparison of this tree took, so that polling leaves it in peace long enough.
    pub fn compared(&self, _root: &Path, _took: Duration) {
        todo!()
    }
}
