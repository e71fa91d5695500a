//! Batches: uploads that are stored, and shown together.
//!
//! What a batch holds is decided by the same rules as any upload ([`super::receive`]): against what is in
//! the tree, and against what else is in the batch; when it comes, and once more at the commit.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::receive::{Outcome, ReceiveError};
use super::{Handle, Known, Ticket, lock};
use crate::auth::Principal;
pub use crate::incoming::batch::BatchId;
use crate::incoming::batch::{self, BatchPlace, Move, Ready};
use crate::incoming::{CommitMode, IncomingError};
use crate::package::{Location, Nevra, PkgId};
use crate::tree::{Dirty, FileStamp};

/// Batches at a time, and files in one.
const MOST: usize = 1000;
const MOST_FILES: usize = 10_000;
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

type All = BTreeMap<BatchId, Arc<Mutex<Batch>>>;
type Done = (SystemTime, BatchId, Arc<Vec<Shown>>);

/// One batch. Whoever adds to it, commits it or drops it holds it.
pub struct Batch {
    place: BatchPlace,
    held: BTreeMap<Location, Held>,
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
    #[error("there are {MOST} batches in this repository; commit or drop some of them first")]
    TooMany,
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
            Self::Receive(error) => error,
            Self::Incoming(error) => error.into(),
            Self::Io { source, .. } => {
                ReceiveError::Io { attempt: "find the batch of", location: location.clone(), source }
            }
        }
    }
}

impl Handle {
    /// The batch of this name, made if it is missing. Blocking.
    pub(super) fn open_batch(&self, id: &BatchId) -> Result<Arc<Mutex<Batch>>, BatchError> {
        let mut waiting = self.waiting_batches()?;
        let all = waiting.get_or_insert_default();
        if !all.contains_key(id) && all.len() >= MOST {
            return Err(BatchError::TooMany);
        }
        let place = BatchPlace::of(self.config(), id);
        let made = || Batch { place, held: BTreeMap::new(), touched: SystemTime::now(), is_over: false };
        Ok(Arc::clone(all.entry(id.clone()).or_insert_with(|| Arc::new(Mutex::new(made())))))
    }

    fn find_batch(&self, id: &BatchId) -> Result<Arc<Mutex<Batch>>, BatchError> {
        let found = self.waiting_batches()?.as_ref().and_then(|all| all.get(id).cloned());
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
                all.insert(id, Arc::new(Mutex::new(batch)));
            }
            *waiting = Some(all);
        }
        Ok(waiting)
    }

    /// What waits. Blocking.
    pub fn batches(&self) -> Result<Vec<Waiting>, BatchError> {
        let all: Vec<_> = match &*self.waiting_batches()? {
            Some(all) => all.iter().map(|(id, batch)| (id.clone(), Arc::clone(batch))).collect(),
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
    /// Asked again for a batch that was committed lately, it says the same again.
    pub fn commit_batch(&self, id: &BatchId, by: &Principal) -> Result<Committed, BatchError> {
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
        let (moves, shown) = self.judge(&batch)?;
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
    fn judge(&self, batch: &Batch) -> Result<(Vec<Move>, Vec<Shown>), BatchError> {
        let (mut moves, mut shown, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
        for (location, held) in &batch.held {
            let package = held.package.as_ref().map(|(nevra, pkgid)| (nevra, pkgid));
            let outcome = match self.decide_about(location, package) {
                Ok(outcome) => outcome,
                Err(error) if error.is_conflict() => {
                    conflicts.push(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let mode = match outcome {
                Outcome::New => Some(CommitMode::New),
                Outcome::Replaced => Some(CommitMode::Replace),
                Outcome::Same => None,
            };
            moves.extend(mode.map(|mode| Move { location: location.clone(), mode }));
            let nevra = held.package.as_ref().map(|(nevra, _)| nevra.clone());
            shown.push(Shown { location: location.clone(), nevra, outcome });
        }
        if conflicts.is_empty() { Ok((moves, shown)) } else { Err(BatchError::Conflicts(conflicts)) }
    }

    /// Moves the files into the tree and tells the worker of all of them at once.
    fn show(&self, batch: &Batch, moves: &[Move]) -> Result<Option<Ticket>, BatchError> {
        if moves.is_empty() {
            batch.place.remove().map_err(|source| BatchError::Io { attempt: "clear away", source })?;
            return Ok(None);
        }
        // The worker has no turn while this is held: it cannot see, and publish, the first half.
        let turn = lock(&self.shared.repository);
        self.shared.batches.forgotten.store(false, Ordering::Relaxed);
        let scanned = match batch.place.commit(self.config(), moves) {
            Ok(scanned) => scanned,
            Err(IncomingError::Exists(location)) => {
                let why = format!("{location} was put there by somebody else meanwhile");
                return Err(BatchError::Conflicts(vec![why]));
            }
            Err(error) => return Err(error.into()),
        };
        // Packages are known already; other files may hold additional metadata.
        let others = moves.iter().filter(|one| !one.location.names_a_package());
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
                waiting.iter().flatten().map(|(id, batch)| (id.clone(), Arc::clone(batch))).collect()
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

impl Batch {
    /// A batch that an earlier run has left.
    fn read(handle: &Handle, place: BatchPlace) -> io::Result<Self> {
        let mut batch =
            Self { held: BTreeMap::new(), touched: SystemTime::UNIX_EPOCH, is_over: false, place };
        for (location, at, size) in batch.place.list()? {
            let Ready { package, .. } = batch.place.ready(handle.config(), &location)?;
            let package = package.map(|(nevra, pkgid, _)| (nevra, pkgid));
            batch.touched = batch.touched.max(at);
            batch.held.insert(location, Held { size, package });
        }
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
    pub(super) fn stored(&mut self, location: Location, size: u64, package: Option<(Nevra, PkgId)>) -> bool {
        self.touched = SystemTime::now();
        self.held.insert(location, Held { size, package }).is_some()
    }
}

/// How long a batch may still wait; for whoever lists them.
pub fn time_left(touched: SystemTime, life: Duration) -> Duration {
    let age = SystemTime::now().duration_since(touched).unwrap_or_default();
    life.saturating_sub(age)
}
