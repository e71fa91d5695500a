//! The door to a repository: what others ask of it, while its worker works.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::watch;

use super::inbox::Inbox;
use super::signing::{PUBLIC_KEY, SIGNATURE};
use super::{
    Clock, Known, Progressed, Published, Repository, RepositoryError, Signed, Status, Ticket, aftermath,
    batches, figures, keyring, lock, pool, receive, verify,
};
use crate::beneath::own::Own;
use crate::catalog::{self, CatalogError, Identity, Reader};
use crate::config::RepositoryConfig;
use crate::package::openpgp::Certificate;
use crate::package::{Location, Nevra};
use crate::publish;
use crate::tree::{Dirty, Scanned};
use crate::watch::Seen;

/// The door to one repository, cheap to clone. Everything that changes goes through its one worker.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: RepositoryConfig,
    /// What is asked of the worker.
    pub(super) inbox: Inbox,
    /// Held by the worker while it works.
    pub(super) repository: Mutex<Repository>,
    pub(super) progress: watch::Sender<Progressed>,
    /// What was rejected when it was opened.
    pub(super) rejected_before: BTreeMap<String, String>,
    pub(super) reader: Mutex<Option<Reader>>,
    /// The catalog as it was left, while it rests.
    pub(super) left: Mutex<Option<Identity>>,
    /// Whether a door found the catalog to be none, so that the worker has to look at all of it.
    pub(super) suspect: AtomicBool,
    /// Whether the catalog was made anew, or is another, and the tree was not compared with it yet.
    pub(super) is_lost: AtomicBool,
    /// Whether the repository was busy lately, so that its catalog stays open.
    pub(super) awake: AtomicBool,
    /// Names and NEVRAs that uploads are about to take; see `receive`.
    pub(super) receiving: receive::Reservations,
    pub(super) batches: batches::Batches,
    /// The keys whose signatures count; shared with the worker, which reads them.
    pub(super) trusted: keyring::Trusted,
    /// What the last verification found.
    pub(super) verified: Mutex<Option<verify::Verified>>,
    /// Hears how long a full comparison took.
    pub(super) compared: OnceLock<OnCompared>,
    pub(super) figures: figures::Figures,
    /// What was seen of superseded files.
    pub(super) remade: aftermath::Remade,
}

type OnCompared = Box<dyn Fn(Duration) + Send + Sync>;

const REPOMD: &str = "repomd.xml";

/// How long the publication in progress may take to end once the repository is closed.
const STOP: Duration = Duration::from_secs(20);
/// How long an upload waits for a catalog that is being looked at, or made anew.
const MADE_ANEW: Duration = Duration::from_secs(5);

impl Shared {
    /// Closes the catalog until there is something to do.
    pub(super) fn close_catalog(&self, repository: &mut Repository) {
        self.awake.store(false, Ordering::Relaxed);
        // The writer goes last: only it can empty the write-ahead log.
        *lock(&self.reader) = None;
        repository.rest();
        *lock(&self.left) = repository.remembered.left();
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
        let (left, is_lost) = (repository.remembered.left(), repository.remembered.is_lost());
        let progress = Progressed { published: repository.published.clone(), ..Progressed::default() };
        let shared = Shared {
            trusted: repository.trusted.clone(),
            rejected_before,
            receiving: receive::Reservations::default(),
            batches: batches::Batches::default(),
            verified: Mutex::new(verify::Verified::read(&config.state_dir)),
            compared: OnceLock::new(),
            figures: figures::Figures::new(&config.name),
            remade: aftermath::Remade::default(),
            inbox: Inbox::default(),
            repository: Mutex::new(repository),
            progress: watch::Sender::new(progress),
            reader: Mutex::new(None),
            left: Mutex::new(left),
            suspect: AtomicBool::new(false),
            is_lost: AtomicBool::new(is_lost),
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

    /// Whether both are doors to the same opened repository.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
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
    pub(super) fn moved(&self, arrived: Vec<Scanned>, dirty: Dirty) -> Ticket {
        let (ticket, ask) = self.shared.inbox.arrived(arrived, dirty);
        self.ask_for_turn(ask);
        ticket
    }

    pub(super) fn ask_for_turn(&self, ask: bool) {
        if ask {
            pool::push(Arc::clone(&self.shared));
        }
    }

    /// The packages of this NEVRA: the catalog's, and those that arrived and wait for publication. Blocking.
    pub fn find_nevra(&self, nevra: &Nevra) -> anyhow::Result<Vec<Known>> {
        // Waiting ones first: one that is published between the two questions is then found twice, not missed.
        let mut found = self.shared.inbox.waiting_of(nevra);
        let listed = self.ask_for_sure(|reader| reader.packages_of(nevra))?;
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
            None => Ok(self.ask_for_sure(|reader| reader.package(location))?.map(Known::from)),
        }
    }

    pub(super) fn with_reader<T>(
        &self,
        ask: impl Fn(&Reader) -> Result<T, CatalogError>,
    ) -> Result<T, CatalogError> {
        let mut kept = lock(&self.shared.reader);
        let answer = match &*kept {
            Some(reader) => ask(reader),
            None => self.open_reader().and_then(|reader| ask(kept.insert(reader))),
        };
        if !self.shared.awake.load(Ordering::Relaxed) || answer.is_err() {
            // Nothing will close it when the repository goes to rest: it rests already.
            *kept = None;
        }
        if let Err(error) = &answer
            && (error.is_damage()
                || error.is_of_the_system()
                || matches!(error, CatalogError::NotAsLeft { .. }))
        {
            // The worker finds out what became of it.
            self.shared.suspect.fetch_or(error.is_damage(), Ordering::Relaxed);
            self.submit(Dirty::everything());
        }
        answer
    }

    fn open_reader(&self) -> Result<Reader, CatalogError> {
        let config = &self.shared.config;
        let is_another = || lock(&self.shared.left).as_ref().is_some_and(|left| !left.still_holds());
        if !self.shared.awake.load(Ordering::Relaxed) && is_another() {
            return Err(CatalogError::NotAsLeft { path: config.state_dir.join(catalog::FILE) });
        }
        Reader::open(&config.state_dir, config.checksum)
    }

    /// Asks the catalog for what decides about a change. One that has to be looked at first, or made anew, is waited for
    /// a little.
    fn ask_for_sure<T>(&self, ask: impl Fn(&Reader) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        let is_lost = || self.shared.is_lost.load(Ordering::Acquire);
        let answer = self.with_reader(&ask);
        if answer.is_ok() && !is_lost() {
            return answer;
        }
        let (since, asked) = (Instant::now(), self.shared.inbox.last());
        while (is_lost() || self.passed() < asked) && since.elapsed() < MADE_ANEW {
            std::thread::sleep(Duration::from_millis(20));
        }
        if is_lost() {
            return Err(CatalogError::NotAsLeft { path: self.config().state_dir.join(catalog::FILE) });
        }
        self.with_reader(ask).map_err(|error| match rustix::fs::statvfs(&self.config().state_dir) {
            // SQLite does not say of all its failures that they are this one.
            Ok(room) if error.is_of_the_system() && room.f_bavail == 0 => CatalogError::Directory {
                directory: self.config().state_dir.clone(),
                source: rustix::io::Errno::NOSPC.into(),
            },
            _ => error,
        })
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

    /// What an earlier process left published, with what signs it; `None` where it is not signed. Of use until there is a
    /// publication of this one. Blocking.
    pub fn left_behind(&self) -> io::Result<Option<Arc<Published>>> {
        let repodata = match Own::repodata(self.config().written()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let read = |name: &str| match repodata.bytes(name) {
            Ok(bytes) => Ok(Some(Bytes::from(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let found = (read(REPOMD)?, read(SIGNATURE)?, read(PUBLIC_KEY)?);
        let (Some(repomd), Some(signature), Some(public_key)) = found else { return Ok(None) };
        // Not when one replaced the other in between: the next request finds both.
        if read(REPOMD)?.as_ref() != Some(&repomd) {
            return Ok(None);
        }
        let revision = publish::parse(&repomd).map_or(0, |parsed| parsed.revision_number());
        let at = repodata.read(REPOMD).and_then(|file| file.metadata()?.modified());
        Ok(Some(Arc::new(Published {
            revision,
            repomd,
            packages: 0,
            at: at.unwrap_or(SystemTime::UNIX_EPOCH),
            // Before every other.
            number: 0,
            signed: Some(Signed { signature, public_key }),
            given: Arc::new(AtomicBool::new(true)),
        })))
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

    /// Files and directories that cannot be read for now: `(path, reason)`.
    pub fn unread(&self) -> Vec<(String, String)> {
        self.shared.progress.borrow().unread.clone()
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
            unread: progress.unread,
            watching: progress.watching,
            pending: self.shared.inbox.pending(),
            took: self.shared.figures.last_publication(),
            verified: lock(&self.shared.verified).clone(),
            warnings: self.shared.trusted.unusable(),
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
