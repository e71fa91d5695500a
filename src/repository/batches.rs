//! Batches: uploads that are stored, and shown together.
//!
//! What a batch holds is decided by the same rules as any upload ([`super::receive`]): against what is in
//! the tree, and against what else is in the batch; when it comes, and once more at the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::receive::{Outcome, ReceiveError};
use super::{Handle, Known, Ticket, lock};
use crate::auth::{Holder, Principal};
pub use crate::incoming::batch::BatchId;
use crate::incoming::batch::{self, BatchPlace, Move, Ready};
use crate::incoming::{CommitMode, IncomingError};
use crate::package::openpgp::Vouched;
use crate::package::{Location, Nevra, PkgId, Verify};
use crate::tree::{Dirty, FileStamp};

/// Batches at a time, and of these of one holder.
const MOST: usize = 1000;
const OF_ONE: usize = 100;
/// Files in one batch, in all batches of one holder, and of one repository.
const MOST_FILES: usize = 10_000;
const FILES_OF_ONE: usize = 20_000;
const FILES_OF_REPOSITORY: usize = 50_000;
/// Files and batches together, of all repositories.
const IN_ALL: usize = 100_000;
/// Commits whose answer is remembered, for a client that did not hear it.
const ANSWERED: usize = 1000;

/// The batches of one repository.
#[derive(Default)]
pub struct Batches {
    /// `None` until first asked for.
    waiting: Mutex<Option<All>>,
    /// What was committed lately, with when.
    done: Mutex<Vec<Done>>,
    /// No commit is noted any more as having just shown something.
    forgotten: AtomicBool,
}

type All = BTreeMap<BatchId, Slot>;

/// A batch, and what is known of it without waiting for it.
struct Slot {
    /// Who began it; `None` where an earlier run has left it.
    holder: Option<Holder>,
    files: Arc<Count>,
    batch: Arc<Mutex<Batch>>,
}

/// What all repositories hold back now.
static HELD_BACK: AtomicUsize = AtomicUsize::new(0);

/// How many files a batch has. Each counts for all repositories as well, and the batch itself like one more, as long as it is there.
struct Count(AtomicUsize);

impl Count {
    fn begin() -> Arc<Self> {
        HELD_BACK.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(AtomicUsize::new(0)))
    }

    fn is_now(&self, files: usize) {
        let before = self.0.swap(files, Ordering::Relaxed);
        HELD_BACK.fetch_add(files.wrapping_sub(before), Ordering::Relaxed);
    }

    fn files(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        HELD_BACK.fetch_sub(self.files() + 1, Ordering::Relaxed);
    }
}

type Done = (SystemTime, BatchId, Arc<Vec<Shown>>);

/// One batch. Whoever adds to it, commits it or drops it holds it.
pub struct Batch {
    place: BatchPlace,
    held: BTreeMap<Location, Held>,
    /// How many these are, for those who do not wait.
    files: Arc<Count>,
    /// When something was last added.
    touched: SystemTime,
    /// It was committed or dropped while somebody waited for it.
    is_over: bool,
}

#[derive(Clone)]
struct Held {
    size: u64,
    /// `None` for files that are no packages.
    package: Option<(Nevra, PkgId)>,
    /// Whose signatures were found good; none where nobody asked.
    vouched: Vec<Vouched>,
}

/// A file that a commit has shown, or found there already.
#[derive(Debug, Clone)]
pub struct Shown {
    pub location: Location,
    pub nevra: Option<Nevra>,
    pub outcome: Outcome,
}

/// A batch that was committed.
pub struct Committed {
    pub shown: Arc<Vec<Shown>>,
    /// When the metadata will show it; `None` when it does already.
    pub ticket: Option<Ticket>,
}

/// A batch that waits.
#[derive(Debug, Clone)]
pub struct Waiting {
    pub id: BatchId,
    /// Each file with its size in bytes and, for packages, what it is.
    pub files: Vec<(Location, u64, Option<Nevra>)>,
    pub touched: SystemTime,
}

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error("there is no batch {0:?} in this repository; it may have been committed, dropped or forgotten")]
    NotFound(String),
    /// Nothing of it is visible.
    #[error("the batch cannot be committed, and nothing of it is visible: {}", .0.join("; "))]
    Conflicts(Vec<String>),
    #[error(
        "there are {MOST} batches in this repository, or {OF_ONE} of yours; commit or drop some of them first"
    )]
    TooMany,
    /// Somebody else's lock forbids to show it.
    #[error("{0} is locked")]
    Locked(Location),
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    #[error("cannot {attempt} the batch")]
    Io { attempt: &'static str, source: io::Error },
}

impl BatchError {
    /// What it means for an upload to `location`.
    pub(super) fn of(self, location: &Location) -> ReceiveError {
        match self {
            Self::TooMany | Self::NotFound(_) | Self::Conflicts(_) => ReceiveError::BatchFull,
            Self::Locked(location) => ReceiveError::Condition(location),
            Self::Receive(error) => error,
            Self::Incoming(error) => error.into(),
            Self::Io { source, .. } => {
                ReceiveError::Io { attempt: "find the batch of", location: location.clone(), source }
            }
        }
    }
}

impl Handle {
    /// Refuses a batch for which there is no place, and one more file where there are too many. Takes no place: an upload may
    /// still be refused. Blocking.
    pub(super) fn may_hold_back(&self, id: &BatchId, holder: &Holder) -> Result<(), BatchError> {
        let waiting = self.waiting_batches()?;
        let Some(all) = &*waiting else { return Ok(()) };
        let theirs = || all.values().filter(|slot| slot.holder.as_ref() == Some(holder));
        let is_new = !all.contains_key(id);
        if is_new && (all.len() >= MOST || theirs().count() >= OF_ONE) {
            return Err(BatchError::TooMany);
        }
        let files = |slot: &Slot| slot.files.files();
        let full = HELD_BACK.load(Ordering::Relaxed) >= IN_ALL
            || all.values().map(files).sum::<usize>() >= FILES_OF_REPOSITORY
            || theirs().map(files).sum::<usize>() >= FILES_OF_ONE;
        if full { Err(ReceiveError::BatchFull.into()) } else { Ok(()) }
    }

    /// The batch of this name, made if it is missing. Blocking.
    pub(super) fn open_batch(&self, id: &BatchId, holder: &Holder) -> Result<Arc<Mutex<Batch>>, BatchError> {
        self.may_hold_back(id, holder)?;
        let mut waiting = self.waiting_batches()?;
        let all = waiting.get_or_insert_default();
        let place = BatchPlace::of(self.config(), id);
        let made = || Slot::new(Some(holder.clone()), Batch::new(place));
        Ok(Arc::clone(&all.entry(id.clone()).or_insert_with(made).batch))
    }

    /// Gives up the place of a batch that holds nothing: what was to come into it was refused.
    pub(super) fn give_up_empty(&self, id: &BatchId, batch: &mut Batch) {
        if batch.held.is_empty()
            && !batch.is_over
            && let Err(error) = self.end_batch(id, batch)
        {
            let (repo, name) = (&self.config().name, id.as_str());
            warn!(repo.name = %repo, batch = name, "cannot clear the empty batch {name} of {repo} away: {error}");
        }
    }

    /// Whether this batch is not known to be begun by this holder: somebody else did, or a run before this one left it. Blocking.
    pub fn is_batch_of_another(&self, id: &BatchId, holder: &Holder) -> Result<bool, BatchError> {
        let waiting = self.waiting_batches()?;
        let found = waiting.as_ref().and_then(|all| all.get(id));
        Ok(found.is_some_and(|slot| slot.holder.as_ref() != Some(holder)))
    }

    fn find_batch(&self, id: &BatchId) -> Result<Arc<Mutex<Batch>>, BatchError> {
        let found = self.waiting_batches()?.as_ref().and_then(|all| Some(Arc::clone(&all.get(id)?.batch)));
        found.ok_or_else(|| BatchError::NotFound(id.as_str().to_owned()))
    }

    /// All that wait; reads the disk when first asked.
    fn waiting_batches(&self) -> Result<MutexGuard<'_, Option<All>>, BatchError> {
        let mut waiting = lock(&self.shared.batches.waiting);
        if waiting.is_none() {
            let failed = |source| BatchError::Io { attempt: "look at", source };
            let mut all = BTreeMap::new();
            // Commits that a crash interrupted were ended when the repository was opened.
            for (id, place) in batch::recover(self.config()).map_err(failed)?.waiting {
                let batch = Batch::read(self, place).map_err(failed)?;
                all.insert(id, Slot::new(None, batch));
            }
            *waiting = Some(all);
        }
        Ok(waiting)
    }

    /// What waits. Blocking.
    pub fn batches(&self) -> Result<Vec<Waiting>, BatchError> {
        let all: Vec<_> = match &*self.waiting_batches()? {
            Some(all) => all.iter().map(|(id, slot)| (id.clone(), Arc::clone(&slot.batch))).collect(),
            None => Vec::new(),
        };
        let told = all.into_iter().map(|(id, batch)| {
            let batch = lock(&batch);
            let file = |(location, held): (&Location, &Held)| {
                (location.clone(), held.size, held.package.as_ref().map(|(nevra, _)| nevra.clone()))
            };
            Waiting { id, files: batch.held.iter().map(file).collect(), touched: batch.touched }
        });
        Ok(told.filter(|waiting| !waiting.files.is_empty()).collect())
    }

    /// Makes all of a batch visible, in one publication, or nothing of it. Blocking.
    ///
    /// Asked again for a batch that was committed lately, it says the same again. `unlocked` says whether locks let a file change,
    /// given whether something has its name; `replaces`, whether files that are no packages may be replaced with other content.
    pub fn commit_batch(
        &self,
        id: &BatchId,
        by: &Principal,
        replaces: bool,
        unlocked: &dyn Fn(&Location, bool) -> bool,
    ) -> Result<Committed, BatchError> {
        let batch = match self.find_batch(id) {
            Ok(batch) => batch,
            Err(error) => return self.committed_before(id).ok_or(error),
        };
        let mut batch = lock(&batch);
        if batch.is_over || batch.held.is_empty() {
            let none = || BatchError::NotFound(id.as_str().to_owned());
            return self.committed_before(id).ok_or_else(none);
        }
        let nevras: Vec<Nevra> =
            batch.held.values().filter_map(|held| Some(held.package.as_ref()?.0.clone())).collect();
        let locations: Vec<Location> = batch.held.keys().cloned().collect();
        let _turn = self.shared.receiving.hold_all(&locations, &nevras);
        let (moves, shown) = self.judge(&batch, replaces, unlocked)?;
        let ticket = self.show(&batch, &moves)?;
        let shown = Arc::new(shown);
        batch.is_over = true;
        if let Some(all) = &mut *self.waiting_batches()? {
            all.remove(id);
        }
        {
            let mut done = lock(&self.shared.batches.done);
            done.retain(|(_, other, _)| other != id);
            if done.len() >= ANSWERED {
                done.remove(0);
            }
            done.push((SystemTime::now(), id.clone(), Arc::clone(&shown)));
        }
        let (repo, name) = (&self.config().name, id.as_str());
        info!(repo.name = %repo, batch = name, files = shown.len(), by = by.name(),
              "committed the batch {name} with {} files to {repo}{}", shown.len(), by.in_a_sentence());
        Ok(Committed { shown, ticket })
    }

    /// What becomes of each file: what is to be moved, and what is to be said. Nothing is done yet.
    fn judge(
        &self,
        batch: &Batch,
        replaces: bool,
        unlocked: &dyn Fn(&Location, bool) -> bool,
    ) -> Result<(Vec<Move>, Vec<Shown>), BatchError> {
        let (mut moves, mut shown, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
        for (location, held) in &batch.held {
            if let Err(why) = self.still_vouched(batch, location, held) {
                conflicts.push(why);
                continue;
            }
            let package = held.package.as_ref().map(|(nevra, pkgid)| (nevra, pkgid));
            let outcome = match self.decide_about(location, package) {
                Ok(outcome) => outcome,
                Err(error) if error.is_conflict() => {
                    conflicts.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if outcome == Outcome::Replaced && !replaces && !self.write_replaces(location) {
                let failed = |source| BatchError::Io { attempt: "look at", source };
                let there = self.opened_at(location)?;
                let is_same = there.map(|there| batch.place.has_the_bytes_of(location, &there)).transpose();
                if is_same.map_err(failed)? == Some(false) {
                    return Err(ReceiveError::Protected(location.clone()).into());
                }
            }
            let mode = match outcome {
                Outcome::New => Some(CommitMode::New),
                Outcome::Replaced => Some(CommitMode::Replace),
                Outcome::Same => None,
            };
            if mode.is_some_and(|mode| !unlocked(location, mode == CommitMode::Replace)) {
                return Err(BatchError::Locked(location.clone()));
            }
            moves.extend(mode.map(|mode| Move { location: location.clone(), mode }));
            let nevra = held.package.as_ref().map(|(nevra, _)| nevra.clone());
            shown.push(Shown { location: location.clone(), nevra, outcome });
        }
        if conflicts.is_empty() { Ok((moves, shown)) } else { Err(BatchError::Conflicts(conflicts)) }
    }

    /// Whether today's keyring vouches for a package of the batch, where the repository asks for that: what was said when it
    /// came may be over.
    fn still_vouched(&self, batch: &Batch, location: &Location, held: &Held) -> Result<(), String> {
        if held.package.is_none() || self.config().verify != Verify::Signature {
            return Ok(());
        }
        let Some(keyring) = self.shared.trusted.now() else {
            return Err(ReceiveError::Keyring(self.config().name.clone()).to_string());
        };
        if keyring.still_trusts(&held.vouched).is_ok() {
            return Ok(());
        }
        let read = batch.place.ready(self.config(), location, Some(&keyring));
        read.map(drop).map_err(|why| format!("{location}: {why}"))
    }

    /// Moves the files into the tree and tells the worker of all of them at once.
    fn show(&self, batch: &Batch, moves: &[Move]) -> Result<Option<Ticket>, BatchError> {
        if moves.is_empty() {
            // All of it is visible, whatever becomes of what was held back.
            if let Err(error) = batch.place.remove() {
                let repo = &self.config().name;
                warn!(repo.name = %repo, "cannot clear a batch of {repo} away that was there already: {error}");
            }
            return Ok(None);
        }
        // The worker has no turn while this is held: it cannot see, and publish, the first half.
        let turn = lock(&self.shared.repository);
        self.shared.batches.forgotten.store(false, Ordering::Relaxed);
        let keyring = self.shared.trusted.now();
        let scanned = match batch.place.commit(self.config(), moves, keyring.as_ref()) {
            Ok(scanned) => scanned,
            Err(IncomingError::Exists(location)) => {
                let why = format!("{location} was put there by somebody else meanwhile");
                return Err(BatchError::Conflicts(vec![why]));
            }
            Err(error) => return Err(error.into()),
        };
        // Packages are known already; other files may hold additional metadata.
        let known: BTreeSet<&Location> = scanned.iter().map(|scanned| &scanned.location).collect();
        let others = moves.iter().filter(|one| !known.contains(&one.location));
        let dirty = Dirty::all_settled(others.map(|one| one.location.clone()));
        let (ticket, ask) = self.shared.inbox.arrived(scanned, dirty);
        drop(turn);
        self.ask_for_turn(ask);
        Ok(Some(ticket))
    }

    fn committed_before(&self, id: &BatchId) -> Option<Committed> {
        let done = lock(&self.shared.batches.done);
        let (_, _, shown) = done.iter().find(|(_, other, _)| other == id)?;
        // Whatever is under way counts for it too.
        Some(Committed { shown: Arc::clone(shown), ticket: Some(self.shared.inbox.last()) })
    }

    /// Drops a batch with all it holds. Blocking.
    pub fn drop_batch(&self, id: &BatchId, by: &Principal) -> Result<(), BatchError> {
        let batch = self.find_batch(id)?;
        self.end_batch(id, &mut lock(&batch))?;
        let (repo, name) = (&self.config().name, id.as_str());
        info!(repo.name = %repo, batch = name, "dropped the batch {name} of {repo}{}", by.in_a_sentence());
        Ok(())
    }

    fn end_batch(&self, id: &BatchId, batch: &mut Batch) -> Result<(), BatchError> {
        batch.place.remove().map_err(|source| BatchError::Io { attempt: "remove", source })?;
        batch.is_over = true;
        if let Some(all) = &mut *self.waiting_batches()? {
            all.remove(id);
        }
        Ok(())
    }

    /// Drops the batches whose time is over. Blocking; to be called now and then, and cheap when there are none.
    pub fn expire_batches(&self) {
        let forgotten = &self.shared.batches.forgotten;
        if !forgotten.swap(true, Ordering::Relaxed) {
            // One that is being committed now says otherwise by itself.
            match batch::forget_shown(self.config()) {
                Ok(false) => {}
                Ok(true) => forgotten.store(false, Ordering::Relaxed),
                Err(error) => {
                    warn!("cannot forget what batches of {} have shown: {error}", self.config().name);
                }
            }
        }
        let now = SystemTime::now();
        let life = self.config().batch_life;
        let is_old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age >= life);
        lock(&self.shared.batches.done).retain(|(at, _, _)| !is_old(*at));
        let all: Vec<_> = match self.waiting_batches() {
            Ok(waiting) => {
                waiting.iter().flatten().map(|(id, slot)| (id.clone(), Arc::clone(&slot.batch))).collect()
            }
            Err(_) => return,
        };
        let repo = &self.config().name;
        for (id, batch) in all {
            // Whoever holds it is adding to it or ending it.
            let Ok(mut batch) = batch.try_lock() else { continue };
            if !is_old(batch.touched) || batch.is_over {
                continue;
            }
            let (name, files) = (id.as_str(), batch.held.len());
            match self.end_batch(&id, &mut batch) {
                Ok(()) if files == 0 => {}
                Ok(()) => warn!(repo.name = %repo, batch = name,
                    "dropped the batch {name} of {repo} with {files} files: nothing was added to it for {}",
                    humantime::format_duration(life)),
                Err(error) => warn!(repo.name = %repo, "cannot drop the batch {name} of {repo}: {error}"),
            }
        }
    }
}

impl Slot {
    fn new(holder: Option<Holder>, batch: Batch) -> Self {
        Self { holder, files: Arc::clone(&batch.files), batch: Arc::new(Mutex::new(batch)) }
    }
}

impl Batch {
    fn new(place: BatchPlace) -> Self {
        Self {
            place,
            held: BTreeMap::new(),
            files: Count::begin(),
            touched: SystemTime::now(),
            is_over: false,
        }
    }

    /// A batch that an earlier run has left.
    fn read(handle: &Handle, place: BatchPlace) -> io::Result<Self> {
        let mut batch = Self { touched: SystemTime::UNIX_EPOCH, ..Self::new(place) };
        for (location, at, size) in batch.place.list()? {
            // Who vouches for it is asked at the commit.
            let Ready { package, vouched, .. } = batch.place.ready(handle.config(), &location, None)?;
            let package = package.map(|(nevra, pkgid, _)| (nevra, pkgid));
            batch.touched = batch.touched.max(at);
            batch.held.insert(location, Held { size, package, vouched });
        }
        batch.files.is_now(batch.held.len());
        Ok(batch)
    }

    pub(super) fn place(&self) -> &BatchPlace {
        &self.place
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// What else the batch has of this NEVRA, and what it has under this name.
    pub(super) fn known(&self, location: &Location, nevra: &Nevra) -> (Option<PkgId>, Vec<Known>) {
        let here = self.held.get(location).and_then(|held| Some(held.package.as_ref()?.1.clone()));
        let elsewhere = self.held.iter().filter(|(other, _)| *other != location);
        let same = elsewhere.filter_map(|(other, held)| {
            let (theirs, pkgid) = held.package.as_ref()?;
            // Nobody asks for its stamp.
            let stamp = FileStamp { inode: 0, size: held.size, mtime_ns: 0, ctime_ns: 0 };
            (theirs == nevra).then(|| Known { location: other.clone(), stamp, pkgid: pkgid.clone() })
        });
        (here, same.collect())
    }

    pub(super) fn has_room_for(&self, location: &Location) -> bool {
        self.held.len() < MOST_FILES || self.held.contains_key(location)
    }

    /// Notes what was stored; tells whether something had this name.
    pub(super) fn stored(
        &mut self,
        location: Location,
        size: u64,
        package: Option<(Nevra, PkgId)>,
        vouched: Vec<Vouched>,
    ) -> bool {
        self.touched = SystemTime::now();
        let replaced = self.held.insert(location, Held { size, package, vouched }).is_some();
        self.files.is_now(self.held.len());
        replaced
    }
}

/// How long a batch may still wait; for whoever lists them.
pub fn time_left(touched: SystemTime, life: Duration) -> Duration {
    let age = SystemTime::now().duration_since(touched).unwrap_or_default();
    life.saturating_sub(age)
}
