//! A repository: a tree, its catalog, its settings; and the worker that keeps its metadata true.

pub mod receive;

use std::sync::Arc;
use std::time::Duration;

use crate::config::RepositoryConfig;
use crate::package::{Location, Nevra, PkgId};
use crate::tree::{Dirty, FileStamp, Rejected, Scanned};

/// The door to one repository, cheap to clone. Everything that changes goes through its one worker.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    config: RepositoryConfig,
    /// Names and NEVRAs that uploads are about to take; see `receive`.
    receiving: receive::Reservations,
}

/// A place in the queue of changes: the change is visible once a publication has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What is published now.
#[derive(Debug, Clone)]
pub struct Published {
    /// `<revision>` of repomd.xml; 0 before the first publication.
    pub revision: u64,
    /// The bytes of repomd.xml as served; empty before the first publication.
    pub repomd: bytes::Bytes,
    pub packages: u64,
    /// When it was published.
    pub at: std::time::SystemTime,
}

/// A package the repository knows of, visible or about to be.
#[derive(Debug, Clone)]
pub struct Known {
    pub location: Location,
    pub stamp: FileStamp,
    pub pkgid: PkgId,
}

/// For /-/health, /-/status and the command line.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `None` until the first publication is there or confirmed.
    pub published: Option<Published>,
    /// Why nothing can be published now; `None` when all is well.
    pub trouble: Option<String>,
    pub rejected: Vec<Rejected>,
    /// Changes that wait for the next publication.
    pub pending: u64,
}

impl Handle {
    pub fn config(&self) -> &RepositoryConfig {
        &self.shared.config
    }

    /// Asks for a look at these places; returns at once.
    pub fn submit(&self, _dirty: Dirty) -> Ticket {
        todo!()
    }

    /// Hands over a package that was read on its way in and is in the tree already.
    pub fn arrived(&self, _scanned: Scanned) -> Ticket {
        todo!()
    }

    /// The packages of this NEVRA: the catalog's, and those that arrived and wait for publication. Blocking.
    pub fn find_nevra(&self, _nevra: &Nevra) -> anyhow::Result<Vec<Known>> {
        todo!()
    }

    /// What is known of this location. Blocking.
    pub fn find_location(&self, _location: &Location) -> anyhow::Result<Option<Known>> {
        todo!()
    }

    pub fn published(&self) -> Option<Arc<Published>> {
        todo!()
    }

    /// Waits until a publication has passed `ticket`; `None` when `limit` ran out first.
    pub async fn wait(&self, _ticket: Ticket, _limit: Duration) -> Option<Arc<Published>> {
        todo!()
    }

    pub fn status(&self) -> Status {
        todo!()
    }
}

impl Handle {
    /// Takes the repository's lock, opens its catalog (or makes it), and brings what a crash left
    /// half-done to an end. Blocking. Errors say what to do, for they are shown as they are.
    pub fn open(_config: RepositoryConfig) -> anyhow::Result<Self> {
        todo!()
    }

    /// Takes what the watch saw. Must not block.
    pub fn seen(&self, _seen: crate::watch::Seen) {
        todo!()
    }

    /// Finishes the publication that runs, starts no other, and lets the lock go. Blocking.
    pub fn close(&self) {
        todo!()
    }
}

/// Hears how far [`index`] is; called from several threads.
pub trait Progress: Sync {
    /// This many packages are to be read.
    fn to_read(&self, packages: u64);
    /// One more was read, or rejected.
    fn one_read(&self);
}

/// What came of [`index`].
#[derive(Debug, Clone)]
pub struct Summary {
    pub packages: u64,
    /// How many of them were read now; the others were known.
    pub read: u64,
    pub rejected: Vec<Rejected>,
    /// Names that could not be looked at: `(path, reason)`.
    pub refused: Vec<(String, String)>,
    /// Whether the metadata had to be made anew.
    pub changed: bool,
    /// `<revision>` of repomd.xml.
    pub revision: u64,
}

/// Makes the metadata of a tree once. Blocking. Fails when another process holds the repository.
pub fn index(_config: RepositoryConfig, _progress: &dyn Progress) -> anyhow::Result<Summary> {
    todo!()
}
