//! A repository: a tree, its catalog, its settings; and the worker that keeps its metadata true.

mod additional;
mod adopt;
mod aftermath;
mod at_rest;
pub mod batches;
pub mod browse;
mod databases;
pub mod figures;
pub mod folders;
mod hurry;
mod idle;
mod inbox;
mod index;
mod keyring;
mod lock;
mod orphans;
mod pool;
mod press;
pub mod properties;
mod publication;
pub mod receive;
mod recover;
mod refresh;
mod rename;
mod signing;
mod take_in;
#[cfg(test)]
mod tests;
pub mod verify;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::catalog::{self, Catalog, CatalogError, Reader, Ready};
use crate::config::RepositoryConfig;
use crate::databases::DatabaseError;
use crate::package::openpgp::Certificate;
use crate::package::{Location, Nevra, PkgId};
use crate::publish::{Place, PublishError};
use crate::repodata::KINDS;
use crate::repodata::join::Trail;
use crate::scan::{LookError, RootId};
use crate::sign::keyring::KeyringError;
use crate::sign::{SignError, Signer};
use crate::tree::{Dirty, FileStamp, Rejected, Scanned};
use crate::watch::Seen;

use inbox::Inbox;

pub use crate::watch::Means;
pub use at_rest::{AtRest, at_rest};
pub use index::{Progress, Summary, index};

/// The door to one repository, cheap to clone. Everything that changes goes through its one worker.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    config: RepositoryConfig,
    /// What is asked of the worker.
    inbox: Inbox,
    /// Held by the worker while it works.
    repository: Mutex<Repository>,
    progress: watch::Sender<Progressed>,
    /// What was rejected when it was opened.
    rejected_before: BTreeMap<String, String>,
    reader: Mutex<Option<Reader>>,
    /// Whether the repository was busy lately, so that its catalog stays open.
    awake: AtomicBool,
    /// Names and NEVRAs that uploads are about to take; see `receive`.
    receiving: receive::Reservations,
    batches: batches::Batches,
    /// The keys whose signatures count; shared with the worker, which reads them.
    trusted: keyring::Trusted,
    /// What the last verification found.
    verified: Mutex<Option<verify::Verified>>,
    /// Hears how long a full comparison took.
    compared: OnceLock<OnCompared>,
    figures: figures::Figures,
}

type OnCompared = Box<dyn Fn(Duration) + Send + Sync>;

/// How long the publication in progress may take to end once the repository is closed.
const STOP: Duration = Duration::from_secs(20);

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
        "something else keeps replacing {}: it was restored three times in ten minutes; \
         stop createrepo_c or whatever writes there, then restart", path.display()
    )]
    Contested { path: PathBuf },
    #[error("the worker of {name} broke down; this is a bug, please report it")]
    Panicked { name: String },
}

/// The tree, its catalog, and what is known of the last publication: what the worker owns.
struct Repository {
    config: RepositoryConfig,
    clock: Clock,
    place: Place,
    /// Held until this is closed: no second daemon may write here.
    lock: Option<lock::TreeLock>,
    root: RootId,
    /// Closed while nothing happens; see [`Repository::catalog`].
    catalog: Option<Catalog>,
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
    /// When a repomd.xml that was not ours was replaced, lately.
    restored: Vec<std::time::Instant>,
    /// Whether publication has stopped because something else keeps replacing repomd.xml.
    contested: bool,
    unfinished: refresh::Unfinished,
    /// Since when the first publication waits; see [`Repository::must_settle_first`].
    settling: Option<std::time::Instant>,
    additional: additional::Additional,
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
            None => {
                let settings = recover::settings(&self.config);
                let catalog = Catalog::open(&self.config.state_dir, &self.config.path, &settings)?;
                OPEN_CATALOGS.fetch_add(1, Ordering::Relaxed);
                if catalog.is_empty()? {
                    // It may have been made anew.
                    self.forget_prepared();
                }
                catalog
            }
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

impl Shared {
    /// Closes the catalog until there is something to do.
    fn close_catalog(&self, repository: &mut Repository) {
        self.awake.store(false, Ordering::Relaxed);
        // The writer goes last: only it can empty the write-ahead log.
        *lock(&self.reader) = None;
        repository.rest();
    }
}

impl Handle {
    /// Locks the tree, opens its catalog, and confirms what is published. Blocking. The first look
    /// at the tree is the caller's to ask for, by [`Handle::submit`].
    pub fn open(config: RepositoryConfig) -> anyhow::Result<Self> {
        Ok(Self::open_at(config, Arc::new(SystemTime::now))?)
    }

    /// The same with another clock than the machine's.
    pub fn open_at(config: RepositoryConfig, clock: Clock) -> Result<Self, RepositoryError> {
        let mut repository = Repository::open(config.clone(), clock)?;
        let before = repository.catalog()?.rejected_locations()?;
        let rejected_before = before.into_iter().map(|at| (at.to_string(), String::new())).collect();
        // A thousand repositories must not hold a thousand databases open.
        repository.rest();
        let progress = Progressed { published: repository.published.clone(), ..Progressed::default() };
        let shared = Shared {
            trusted: repository.trusted.clone(),
            rejected_before,
            receiving: receive::Reservations::default(),
            batches: batches::Batches::default(),
            verified: Mutex::new(verify::Verified::read(&config.state_dir)),
            compared: OnceLock::new(),
            figures: figures::Figures::new(&config.name),
            inbox: Inbox::default(),
            repository: Mutex::new(repository),
            progress: watch::Sender::new(progress),
            reader: Mutex::new(None),
            awake: AtomicBool::new(false),
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Has `tell` hear how long each comparison of the whole tree took, from the worker's thread. Once.
    pub fn on_compared(&self, tell: impl Fn(Duration) + Send + Sync + 'static) {
        let _ = self.shared.compared.set(Box::new(tell));
    }

    /// Takes what the watch saw. Does not block.
    pub fn seen(&self, seen: Seen) {
        match seen {
            Seen::Dirty(dirty) => _ = self.submit(dirty),
            Seen::Metadata => self.ask_for_turn(self.shared.inbox.check_metadata()),
            Seen::Watching(means) => {
                self.shared.progress.send_modify(|progress| progress.watching = Some(means));
            }
        }
    }

    /// Has the signing key and the keyring read again; they may have changed. Does not block.
    pub fn check_keys(&self) {
        self.ask_for_turn(self.shared.inbox.check_keys());
    }

    pub fn config(&self) -> &RepositoryConfig {
        &self.shared.config
    }

    /// The public keys of the keyring, armored one after the other; none where there is no keyring, or it cannot be read.
    pub fn package_keys(&self) -> Option<String> {
        let keyring = self.shared.trusted.now()?;
        let armored = keyring.certificates().iter().map(Certificate::armored);
        Some(armored.map(|key| String::from_utf8_lossy(&key).trim_end().to_owned() + "\n").collect())
    }

    /// Asks for a look at these places; returns at once.
    pub fn submit(&self, dirty: Dirty) -> Ticket {
        let (ticket, ask) = self.shared.inbox.submit(dirty);
        self.ask_for_turn(ask);
        ticket
    }

    /// Hands over a package that was read on its way in and is in the tree already.
    pub fn arrived(&self, scanned: Scanned) -> Ticket {
        self.moved(vec![scanned], Dirty::default())
    }

    /// The same for packages that come together with changes elsewhere: one publication shows all of it.
    fn moved(&self, arrived: Vec<Scanned>, dirty: Dirty) -> Ticket {
        let (ticket, ask) = self.shared.inbox.arrived(arrived, dirty);
        self.ask_for_turn(ask);
        ticket
    }

    fn ask_for_turn(&self, ask: bool) {
        if ask {
            pool::push(Arc::clone(&self.shared));
        }
    }

    /// The packages of this NEVRA: the catalog's, and those that arrived and wait for publication. Blocking.
    pub fn find_nevra(&self, nevra: &Nevra) -> anyhow::Result<Vec<Known>> {
        // Waiting ones first: one that is published between the two questions is then found twice, not missed.
        let mut found = self.shared.inbox.waiting_of(nevra);
        let listed = self.with_reader(|reader| reader.packages_of(nevra))?;
        for listed in listed.into_iter().map(Known::from) {
            if !found.iter().any(|known| known.location == listed.location) {
                found.push(listed);
            }
        }
        Ok(found)
    }

    /// What is known of this location. Blocking.
    pub fn find_location(&self, location: &Location) -> anyhow::Result<Option<Known>> {
        match self.shared.inbox.waiting_at(location) {
            Some(known) => Ok(Some(known)),
            None => Ok(self.with_reader(|reader| reader.package(location))?.map(Known::from)),
        }
    }

    fn with_reader<T>(&self, ask: impl Fn(&Reader) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let mut kept = lock(&self.shared.reader);
        let reader = match &*kept {
            Some(reader) => reader,
            None => kept.insert(Reader::open(&self.shared.config.state_dir, self.shared.config.checksum)?),
        };
        let answer = ask(reader);
        if !self.shared.awake.load(Ordering::Relaxed) {
            // Nothing will close it when the repository goes to rest: it rests already.
            *kept = None;
        }
        answer
    }

    /// The publication of this number, as long as it may be asked for. Blocking.
    pub fn publication(&self, number: u64) -> anyhow::Result<Option<Arc<Published>>> {
        if let Some(current) = self.published().filter(|published| published.number == number) {
            current.given.store(true, Ordering::Release);
            return Ok(Some(current));
        }
        let found = self.with_reader(|reader| reader.publication(number))?;
        Ok(found.map(|found| {
            let signed = found.signed.map(|(signature, public_key)| Signed {
                signature: signature.into(),
                public_key: public_key.into(),
            });
            Arc::new(Published {
                revision: number,
                repomd: found.repomd.into(),
                packages: 0,
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
                number,
                signed,
                given: Arc::new(AtomicBool::new(true)),
            })
        }))
    }

    pub fn published(&self) -> Option<Arc<Published>> {
        self.shared.progress.borrow().published.clone()
    }

    /// Every change up to this one is in what is published.
    pub fn passed(&self) -> Ticket {
        self.shared.progress.borrow().passed
    }

    /// What was done so far.
    pub fn figures(&self) -> &figures::Figures {
        &self.shared.figures
    }

    /// Why nothing can be published now; [`Handle::status`] without asking the catalog.
    pub fn trouble(&self) -> Option<String> {
        self.shared.progress.borrow().trouble.clone()
    }

    /// Waits until a publication has passed `ticket`; `None` when `limit` ran out first.
    pub async fn wait(&self, ticket: Ticket, limit: Duration) -> Option<Arc<Published>> {
        if limit.is_zero() {
            // Not through the timer, whose shortest time is a whole millisecond.
            let progress = self.shared.progress.borrow();
            return progress.published.clone().filter(|_| progress.passed >= ticket);
        }
        self.ask_for_turn(self.shared.inbox.begin_wait());
        let _waiting = Waiting(&self.shared.inbox);
        let mut progress = self.shared.progress.subscribe();
        let passed = tokio::time::timeout(limit, progress.wait_for(|p| p.passed >= ticket)).await;
        let progress = passed.ok()?.ok()?;
        progress.published.clone()
    }

    /// Changes that wait for the next publication.
    pub fn pending(&self) -> u64 {
        self.shared.inbox.pending()
    }

    /// The files that were rejected when this was opened, without their reasons.
    pub fn rejected_before(&self) -> &BTreeMap<String, String> {
        &self.shared.rejected_before
    }

    /// How many files of the tree are not published, for whatever reason; see [`Handle::status`].
    pub fn left_out(&self) -> usize {
        self.shared.progress.borrow().left_out
    }

    /// How many findings the last verification had; `None` before the first one.
    pub fn findings(&self) -> Option<usize> {
        lock(&self.shared.verified).as_ref().map(|verified| verified.told.found)
    }

    /// Blocking: asks the catalog for what was rejected.
    pub fn status(&self) -> Status {
        let progress = self.shared.progress.borrow().clone();
        let rejected = self.with_reader(Reader::rejected);
        let duplicates = self.with_reader(Reader::duplicates);
        Status {
            published: progress.published,
            trouble: progress.trouble.or_else(|| rejected.as_ref().err().map(ToString::to_string)),
            rejected: rejected.unwrap_or_default(),
            duplicates: duplicates.unwrap_or_default(),
            refused: [progress.refused, progress.refused_outside].concat(),
            watching: progress.watching,
            pending: self.shared.inbox.pending(),
            took: self.shared.figures.last_publication(),
            verified: lock(&self.shared.verified).clone(),
        }
    }

    /// Lets the worker finish what it was given, and closes the catalog. Blocking.
    pub fn close(&self) {
        self.ask_for_turn(self.shared.inbox.begin_close());
        self.shared.inbox.close(STOP);
        let mut repository = lock(&self.shared.repository);
        self.shared.close_catalog(&mut repository);
        // Another may open the tree from now on, although requests in flight still hold this.
        repository.lock = None;
    }
}

/// One that waits for a publication.
struct Waiting<'i>(&'i Inbox);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.end_wait();
    }
}

/// A lock whose holder panicked is taken over: what it guards is checked or rebuilt by its next user.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
