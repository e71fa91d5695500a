//! A repository: a tree, its catalog, its settings; and the worker that keeps its metadata true.

mod additional;
mod adopt;
pub mod aftermath;
mod at_rest;
pub mod batches;
pub mod browse;
mod databases;
pub mod figures;
pub mod folders;
mod handle;
mod heal;
mod hurry;
mod idle;
mod inbox;
mod index;
mod keyring;
mod lock;
mod make_room;
mod orphans;
mod pool;
mod press;
pub mod properties;
mod publication;
pub mod receive;
mod recover;
mod refresh;
mod remembered;
mod removal;
mod rename;
mod signing;
mod take_in;
#[cfg(test)]
mod tests;
mod unread;
pub mod verify;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::catalog::{self, Catalog, CatalogError, Ready};
use crate::config::RepositoryConfig;
use crate::databases::DatabaseError;
use crate::package::{Location, PkgId};
use crate::publish::{Place, PublishError};
use crate::repodata::KINDS;
use crate::repodata::join::Trail;
use crate::scan::{LookError, RootId};
use crate::sign::keyring::KeyringError;
use crate::sign::{SignError, Signer};
use crate::tree::{FileStamp, Rejected};

use handle::Shared;

pub use crate::watch::Means;
pub use at_rest::{AtRest, at_rest};
pub use handle::Handle;
pub use index::{Progress, Summary, index};

/// Where the time comes from; tests and SOURCE_DATE_EPOCH use the same door.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A place in the queue of changes: the change is visible once a publication has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
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
    pub at: SystemTime,
    /// Tells this publication from every other one of the repository: `@N` in URLs.
    pub number: u64,
    /// What belongs to exactly these bytes of repomd.xml; `None` where nobody signs.
    pub signed: Option<Signed>,
    /// Whether anybody was given it, so that it must stay fetchable.
    pub given: Arc<AtomicBool>,
}

/// A signature and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes of `repomd.xml.asc`.
    pub signature: bytes::Bytes,
    /// The bytes of `repomd.xml.key`: the armored public key.
    pub public_key: bytes::Bytes,
}

/// How far the worker is; doors wait on it.
#[derive(Debug, Clone, Default)]
struct Progressed {
    /// Every change up to this one is in what is published.
    passed: Ticket,
    published: Option<Arc<Published>>,
    trouble: Option<String>,
    /// Places whose names cannot be published, with reasons.
    refused: Vec<(String, String)>,
    /// The same of files outside of the tree.
    refused_outside: Vec<(String, String)>,
    /// Places that could not be read for now, with reasons.
    unread: Vec<(String, String)>,
    watching: Option<Means>,
    /// How many files were rejected or refused.
    left_out: usize,
}

/// A package the repository knows of, visible or about to be.
#[derive(Debug, Clone)]
pub struct Known {
    pub location: Location,
    pub stamp: FileStamp,
    pub pkgid: PkgId,
}

impl From<catalog::reader::Listed> for Known {
    fn from(listed: catalog::reader::Listed) -> Self {
        Self { location: listed.location, stamp: listed.stamp, pkgid: listed.pkgid }
    }
}

/// For /-/health, /-/status and the command line.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// `None` until the first publication is there or confirmed.
    pub published: Option<Arc<Published>>,
    /// Why nothing can be published now; `None` when all is well.
    pub trouble: Option<String>,
    pub rejected: Vec<Rejected>,
    /// Places whose names cannot be published: `(path, reason)`.
    pub refused: Vec<(String, String)>,
    /// Files and directories that cannot be read for now, and are tried again: `(path, reason)`.
    pub unread: Vec<(String, String)>,
    /// Packages that share a NEVRA and differ: all of them are published, which clients may not expect.
    pub duplicates: Vec<Location>,
    /// How the tree is watched; `None` while nobody watches it.
    pub watching: Option<Means>,
    /// Changes that wait for the next publication.
    pub pending: u64,
    /// How long the last publication took; `None` before the first one of this process.
    pub took: Option<Duration>,
    /// The last verification, if there was one.
    pub verified: Option<verify::Verified>,
    /// What needs attention and keeps nothing from being published, each in a line.
    pub warnings: Vec<String>,
}

/// Why a repository cannot be opened or kept up to date.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error("cannot make {}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} is served by another createrepod already ({holder}); stop that one first", path.display())]
    Locked { path: PathBuf, holder: String },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Look(#[from] LookError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("cannot put the metadata of {name} together")]
    Join { name: String, source: std::io::Error },
    #[error(
        "something else keeps replacing {}: stop createrepo_c or whatever writes there; it is put back once nobody \
         has written there for {} s, or at once by createrepod refresh, and until then createrepod serves what it has \
         published", path.display(), quiet.as_secs()
    )]
    Contested { path: PathBuf, quiet: Duration },
    #[error("the worker of {name} broke down; this is a bug, please report it")]
    Panicked { name: String },
}

impl RepositoryError {
    /// Whether a directory was not there that is made again.
    fn is_passing(&self) -> bool {
        let (Self::Publish(PublishError::Write { source, .. } | PublishError::Read { source, .. })
        | Self::Directory { source, .. }) = self
        else {
            return false;
        };
        source.kind() == std::io::ErrorKind::NotFound
    }
}

/// The tree, its catalog, and what is known of the last publication: what the worker owns.
struct Repository {
    config: RepositoryConfig,
    clock: Clock,
    place: Place,
    /// Held until this is closed: no second daemon may write here.
    lock: Option<lock::TreeLock>,
    root: RootId,
    /// The path of the root, free of links.
    real: PathBuf,
    /// Closed while nothing happens; see [`Repository::catalog`].
    catalog: Option<Catalog>,
    remembered: remembered::Remembered,
    /// Checksum states of the current metadata files and, once prepared, of the next ones; by kind.
    trails: [Vec<Trail>; KINDS],
    /// What the next publication will need.
    ready: Ready,
    /// The databases of EL6 and EL7 as last published, where there are any.
    databases: databases::State,
    published: Option<Arc<Published>>,
    /// Read when it is first needed, and again when its files may have changed.
    signer: Option<Signer>,
    trusted: keyring::Trusted,
    /// The publication before this one, and whether anybody was told of it.
    superseded: Option<(u64, Arc<AtomicBool>)>,
    /// Bytes of the current metadata files.
    current_size: u64,
    /// Who else replaces repomd.xml.
    contest: heal::Contest,
    /// Since when something of ours is missing in the tree.
    vanished: Option<removal::Vanished>,
    unfinished: refresh::Unfinished,
    /// Since when the first publication waits; see [`Repository::must_settle_first`].
    settling: Option<std::time::Instant>,
    additional: additional::Additional,
    unread: unread::Waiting,
    later: worker::Later,
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.rest();
    }
}

/// How many catalogs this process has open for writing.
static OPEN_CATALOGS: AtomicUsize = AtomicUsize::new(0);

impl Repository {
    /// The catalog, opened again if it was put to rest.
    fn catalog(&mut self) -> Result<&mut Catalog, CatalogError> {
        let catalog = match self.catalog.take() {
            Some(catalog) => catalog,
            None => self.open_catalog()?,
        };
        Ok(self.catalog.insert(catalog))
    }

    /// Forgets what was prepared of pieces that are no longer where they were.
    fn forget_prepared(&mut self) {
        self.trails = Default::default();
        self.ready = Ready::default();
    }

    /// Seconds since the epoch.
    fn now(&self) -> u64 {
        (self.clock)().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs())
    }
}

/// A lock whose holder panicked is taken over: what it guards is checked or rebuilt by its next user.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
