//! From what is dirty to what is published: the one story, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant, SystemTime};

use rayon::prelude::*;
use tracing::{debug, warn};

use super::adopt::Adopted;
use super::inbox::Batch;
use super::lock::TreeLock;
use super::{Progress, Repository, RepositoryError, lock, press};
use crate::catalog::{CatalogError, Frontier, Job, Key, Listing, PieceFile, Update};
use crate::config::RepositoryConfig;
use crate::package::openpgp::Keyring;
use crate::package::{Location, Verify};
use crate::repodata::join::{Recipe, Trail, walk, walk_open};
use crate::repodata::{KINDS, MetadataType, Part, Pieces};
use crate::scan;
use crate::tree::{Dirty, FileStamp, Found, Rejected, Scanned};

/// Packages that one thread reads in one go, unless they are large.
const READ_AT_ONCE: usize = 8;
/// Bytes of packages that one thread reads in one go.
const LARGE: u64 = 4 << 20;
/// How many times as much is read ahead of what the catalog takes in. Bounds memory, not the result.
const READ_AHEAD: usize = 32;
/// Bytes of fragments that may wait to be compressed.
const BACKLOG: usize = 48 << 20;
/// How many packages of the same NEVRA are named in the log after one change; the status names all.
const DUPLICATES_NAMED: usize = 20;
/// Trails kept of each file: what `expected` prepares, the current one, and the one just walked.
const TRAILS: usize = 8;
/// Changes of no more packages, and of no more chunks, are hurried.
const FEW: usize = 8;
/// A file whose mtime is this close to the moment it was read is looked at once more.
const TOO_YOUNG: Duration = Duration::from_secs(2);

/// What a refresh leaves to do.
#[derive(Default)]
pub struct Remains {
    /// How many packages were read.
    pub read: u64,
    /// To be looked at again once `settle` has passed.
    pub unsettled: Vec<Location>,
    /// To be looked at again soon: the clock was too coarse to tell whether they changed again.
    pub young: Vec<Location>,
    /// To be read again when there is time: all but ctime and inode is as it was.
    pub recheck: Vec<Found>,
    /// Names that cannot be published; told anew after every look at everything.
    pub refused: Option<Vec<(String, String)>>,
    /// The same of files outside of the tree; always told.
    pub outside: Vec<(String, String)>,
    /// How many files the catalog lists as rejected now.
    pub rejected: usize,
}

/// What a look found, and what arrived: everything one change of the catalog takes in.
#[derive(Default)]
struct Changes {
    read: Vec<Found>,
    arrived: Vec<Scanned>,
    gone: Vec<Location>,
    unfinished: Vec<Rejected>,
    /// What of `read` somebody else has read.
    adopted: Option<Adopted>,
    /// Whether nothing follows, so that the file of pieces is synced now rather than at rest.
    last: bool,
}

/// Files that somebody keeps writing to: since when, and whether they were rejected for it.
#[derive(Default)]
pub struct Unfinished(BTreeMap<Location, (Instant, bool)>);

impl Unfinished {
    /// Those of the files found unsettled that have been so for `limit`; each is told once.
    fn overdue(&mut self, unsettled: &[Found], limit: Duration) -> Vec<Rejected> {
        let now = Instant::now();
        // Whoever has not been seen for that long has settled or gone.
        self.0.retain(|_, (since, _)| now.duration_since(*since) < limit.saturating_mul(3));
        let mut overdue = Vec::new();
        for found in unsettled {
            let (since, told) = self.0.entry(found.location.clone()).or_insert((now, false));
            if !*told && now.duration_since(*since) >= limit {
                *told = true;
                overdue.push(Rejected {
                    location: found.location.clone(),
                    // No file has this size: the next look finds a difference, whatever happened.
                    stamp: FileStamp { size: u64::MAX, ..found.stamp },
                    reason: format!(
                        "unfinished: it has been written to for {} s; it is taken once it is left alone",
                        limit.as_secs()
                    ),
                });
            }
        }
        overdue
    }
}

impl Repository {
    /// Takes up everything in `batch`. On failure nothing is lost: the same batch can be tried again
    /// with its arrivals as dirty places.
    pub fn refresh(&mut self, batch: Batch, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        self.accept_root()?;
        let judge_again = self.read_keyring()?;
        let Batch { mut dirty, mut arrived, .. } = batch;
        if judge_again {
            // What arrived was judged by the keys of before, too.
            dirty.merge(Dirty::everything());
            arrived.clear();
        }
        let arrived = self.still_there(arrived, &mut dirty);
        let mut known = self.catalog()?.stamps(&dirty)?;
        // What arrived was read on its way in and need not be found here.
        let stamps: BTreeMap<_, _> = arrived.iter().map(|s| (s.location.clone(), s.stamp)).collect();
        known.retain(|(location, _)| !stamps.contains_key(location));
        known.extend(stamps);
        known.sort_by(|a, b| a.0.cmp(&b.0));

        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
            settle: Some(self.config.settle),
            now_ns: nanoseconds((self.clock)()),
            root: Some(self.root),
        };
        let mut found = scan::look(&self.config.path, &dirty, &known, &rules)?;
        // First, while the catalog knows of nothing: what is rejected below would be known.
        let adopted = if dirty.everything { self.adopt(&found.read)? } else { None };
        let (additional, read) = self.look_at_additional(&mut found)?;
        for (path, reason) in &found.refused {
            warn!(repo.name = %self.config.name, "{} leaves out {path:?}: {reason}", self.config.name);
        }
        let unfinished = self.unfinished.overdue(&found.unsettled, self.config.settle_max);
        let mut remains = Remains {
            unsettled: found.unsettled.into_iter().map(|f| f.location).collect(),
            recheck: found.recheck,
            refused: dirty.everything.then_some(found.refused),
            outside: self.additional_trouble(),
            young: self.young(read),
            read: 0,
            rejected: 0,
        };
        let changes =
            Changes { read: found.read, arrived, gone: found.gone, unfinished, adopted, last: false };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
        remains.rejected = self.catalog()?.count_rejected()?;
        Ok(remains)
    }

    /// Takes every package of the tree there is, whatever its age; for a one-shot run.
    pub fn refresh_all(&mut self, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        self.read_keyring()?;
        let known = self.catalog()?.stamps(&Dirty::everything())?;
        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
            settle: None,
            now_ns: nanoseconds((self.clock)()),
            root: Some(self.root),
        };
        let mut found = scan::look(&self.config.path, &Dirty::everything(), &known, &rules)?;
        let (additional, _) = self.look_at_additional(&mut found)?;
        // There is no later in which to look at these again.
        let mut read = found.read;
        read.extend(found.recheck);
        let mut refused = found.refused;
        refused.extend(self.additional_trouble());
        let mut remains = Remains { refused: Some(refused), ..Remains::default() };
        let changes = Changes { read, gone: found.gone, last: true, ..Changes::default() };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
        Ok(remains)
    }

    /// Brings packages into the catalog, and publishes if anything is new, `additional` metadata included.
    fn take_up(
        &mut self,
        changes: Changes,
        additional: bool,
        remains: &mut Remains,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let last = changes.last;
        let (listing, changed) = if self.is_due(&changes)? {
            let listing = self.take_in(changes, remains, progress)?;
            let changed = listing.changed || self.catalog()?.published()?.is_none();
            (listing, changed)
        } else if additional {
            (self.catalog()?.listing()?, false)
        } else {
            return Ok(());
        };
        if !changed && !additional {
            return Ok(());
        }
        let pieces = self.catalog()?.pieces();
        let (synced, published) = std::thread::scope(|scope| {
            let syncing = last.then(|| scope.spawn(|| pieces.sync()));
            let published = self.publish(&listing);
            (syncing.map(std::thread::ScopedJoinHandle::join), published)
        });
        match synced {
            None | Some(Ok(Ok(()))) => published,
            Some(Ok(Err(source))) => published.and(Err(CatalogError::Pieces(source).into())),
            Some(Err(_)) => Err(RepositoryError::Panicked { name: self.config.name.clone() }),
        }
    }

    /// Those of the files read just now that may have changed again without a sign.
    fn young(&self, read: Vec<Found>) -> Vec<Location> {
        let young = nanoseconds((self.clock)()) - i64::try_from(TOO_YOUNG.as_nanos()).unwrap_or(i64::MAX);
        read.into_iter().filter(|found| found.stamp.mtime_ns >= young).map(|found| found.location).collect()
    }

    /// Whether there is anything to do at all.
    fn is_due(&mut self, changes: &Changes) -> Result<bool, RepositoryError> {
        let Changes { read, arrived, gone, unfinished, adopted: _, last: _ } = changes;
        let nothing_new = read.is_empty() && arrived.is_empty() && gone.is_empty() && unfinished.is_empty();
        let catalog = self.catalog()?;
        Ok(!nothing_new || catalog.must_remake() || catalog.published()?.is_none())
    }

    /// Arrivals whose file is still the one that was committed; the others are dirty like any file.
    fn still_there(&self, arrived: Vec<Scanned>, dirty: &mut Dirty) -> Vec<Scanned> {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::with_capacity(arrived.len());
        // The last arrival at a place is what lies there now.
        for scanned in arrived.into_iter().rev() {
            if !seen.insert(scanned.location.clone()) {
                continue;
            }
            if scan::stamp(&self.config.path, &scanned.location)
                .is_ok_and(|stamp| stamp == Some(scanned.stamp))
            {
                kept.push(scanned);
            } else {
                dirty.settled.insert(scanned.location);
            }
        }
        kept
    }

    /// Reads what is new, and makes the chunks that change; everything in order of publication.
    fn take_in(
        &mut self,
        changes: Changes,
        remains: &mut Remains,
        progress: &dyn Progress,
    ) -> Result<Listing, RepositoryError> {
        let Changes { read, arrived, gone, unfinished, adopted, last: _ } = changes;
        let config = self.config.clone();
        let keyring = self.trusted.now();
        let young = nanoseconds((self.clock)()) - i64::try_from(TOO_YOUNG.as_nanos()).unwrap_or(i64::MAX);
        progress.to_read(read.len() as u64);
        remains.read = read.len() as u64;
        let adopted = adopted.as_ref();
        remains.recheck.extend(read.iter().filter(|f| adopted.is_some_and(|a| a.has(&f.location))).cloned());
        let mut work: Vec<Work> =
            read.into_iter().map(Work::Read).chain(arrived.into_iter().map(Work::Ready)).collect();
        let unfinished_at = unfinished.iter().map(|rejected| &rejected.location);
        let forget = gone.iter().chain(work.iter().map(Work::location)).chain(unfinished_at);
        let pieces = self.catalog()?.pieces();
        let Self { catalog: Some(catalog), trails, .. } = self else {
            return Err(RepositoryError::Panicked { name: config.name.clone() });
        };
        let mut update = catalog.update(forget, work.iter().map(Work::mtime))?;
        for rejected in &unfinished {
            warn!(repo.name = %config.name, location = %rejected.location,
                  "{} rejects {}: {}", config.name, rejected.location, rejected.reason);
            update.reject(rejected)?;
        }
        let frontier = update.frontier();
        work.sort_by_cached_key(|work| work.key(frontier));

        let backlog = Backlog::default();
        let few = work.len() <= FEW;
        let mut held = Vec::new();
        let mut work = work.into_iter().peekable();
        rayon::in_place_scope(|scope| {
            let run = |jobs: Vec<Job>| {
                for job in jobs {
                    let weight = job.weight();
                    backlog.add(weight);
                    let backlog = &backlog;
                    scope.spawn(move |_| {
                        job.run();
                        backlog.remove(weight);
                    });
                }
            };
            let read = |group: Vec<Work>| {
                let (done, outcomes) = mpsc::sync_channel(1);
                let (config, keyring) = (&config, keyring.as_ref());
                scope.spawn(move |_| {
                    let read = |work: Work| work.read(config, keyring, adopted, progress);
                    // Nobody waits for it any more after a failure of the catalog.
                    let _ = done.send(group.into_iter().map(read).collect::<Vec<_>>());
                });
                outcomes
            };
            // Reading goes on while the catalog takes in what was read, in order.
            let mut ahead = VecDeque::new();
            loop {
                while ahead.len() < READ_AHEAD && work.peek().is_some() {
                    ahead.push_back(read(next_group(&mut work)));
                }
                let Some(outcomes) = ahead.pop_front() else { break };
                // A reader that panicked sends nothing; the scope passes its panic on.
                let Ok(outcomes) = outcomes.recv() else { break };
                let mut packages = Vec::with_capacity(outcomes.len());
                for outcome in outcomes {
                    match outcome {
                        Outcome::Package(package) => {
                            if package.stamp.mtime_ns >= young {
                                remains.young.push(package.location.clone());
                            }
                            packages.push(package);
                        }
                        // Between the look and the reading it became another file: its place in the order is another.
                        Outcome::Moved(location) => remains.young.push(location),
                        Outcome::Bad(rejected) => {
                            warn!(repo.name = %config.name, location = %rejected.location,
                                  "{} rejects {}: {}", config.name, rejected.location, rejected.reason);
                            update.reject(&rejected)?;
                        }
                    }
                }
                let jobs = update.put(packages)?;
                if few {
                    held.extend(jobs);
                } else {
                    run(jobs);
                    backlog.wait_below(BACKLOG);
                }
            }
            let jobs = update.finish()?;
            if !few {
                run(jobs);
                return Ok(());
            }
            held.extend(jobs);
            Ok::<_, RepositoryError>(())
        })?;
        let walked = if few { hurry(&update, held, &config, &pieces, trails) } else { Vec::new() };
        // Committing keeps one thread busy, hashing the others.
        let outline = if few { Vec::new() } else { update.outline(&[]) };
        let (mut listing, walked) = rayon::in_place_scope(|scope| {
            let (done, more) = mpsc::sync_channel(1);
            let (config, pieces, trails) = (&config, &pieces, &*trails);
            scope.spawn(move |_| {
                let walked = if few { walked } else { hash(&outline, config, pieces, trails, walk) };
                let _ = done.send(walked);
            });
            let listing = update.commit()?;
            // A walk that panicked sends nothing; the scope passes its panic on.
            Ok::<_, RepositoryError>((listing, more.recv().unwrap_or_default()))
        })?;
        for (kept, walked) in trails.iter_mut().zip(walked) {
            kept.push(walked);
            // A publication that keeps failing must not gather one at each attempt.
            if kept.len() > TRAILS {
                kept.remove(0);
            }
        }
        if listing.misplaced {
            listing = Listing { duplicates: listing.duplicates, ..self.put_in_place()? };
        }
        for (new, other) in listing.duplicates.iter().take(DUPLICATES_NAMED) {
            warn!(repo.name = %config.name, location = %new,
                  "{new} and {other} in {} have the same NEVRA and other bytes; both are published", config.name);
        }
        debug!(repo.name = %config.name, chunks = listing.chunks.len(), "catalog of {} changed", config.name);
        Ok(listing)
    }

    /// Mends the order of publication after packages that decide about it turned out to be rejected.
    fn put_in_place(&mut self) -> Result<Listing, RepositoryError> {
        let mut update = self.catalog()?.update(std::iter::empty(), std::iter::empty())?;
        update.finish()?.into_par_iter().for_each(Job::run);
        Ok(Listing { changed: true, ..update.commit()? })
    }

    /// Refuses a root that is another directory than before, unless it was made anew in its place.
    fn accept_root(&mut self) -> Result<(), RepositoryError> {
        let root = scan::root_id(&self.config.path)?;
        if root != self.root && root.device == self.root.device {
            warn!(repo.name = %self.config.name, "{} was made anew; starting over there", self.config.path.display());
            self.lock = Some(TreeLock::take(&self.config.private_dir())?);
            self.root = root;
            self.trails = Default::default();
            self.catalog()?.set_published(None)?;
        }
        Ok(())
    }
}

/// One package on its way into the catalog.
enum Work {
    Read(Found),
    Ready(Scanned),
}

enum Outcome {
    Package(Scanned),
    Moved(Location),
    Bad(Rejected),
}

impl Work {
    fn mtime(&self) -> i64 {
        match self {
            Self::Read(found) => found.stamp.mtime(),
            Self::Ready(scanned) => scanned.stamp.mtime(),
        }
    }

    fn location(&self) -> &Location {
        match self {
            Self::Read(found) => &found.location,
            Self::Ready(scanned) => &scanned.location,
        }
    }

    /// Bytes to be read for it.
    fn size(&self) -> u64 {
        match self {
            Self::Read(found) => found.stamp.size,
            Self::Ready(_) => 0,
        }
    }

    fn key(&self, frontier: Frontier) -> Key {
        frontier.key(self.mtime(), self.location().clone())
    }

    fn read(
        self,
        config: &RepositoryConfig,
        keyring: Option<&Arc<Keyring>>,
        adopted: Option<&Adopted>,
        progress: &dyn Progress,
    ) -> Outcome {
        if let (Self::Read(found), Some(adopted)) = (&self, adopted)
            // Whoever made that metadata checked no signature.
            && config.verify != Verify::Signature
            // What cannot be read back from the spool is read from the package.
            && let Ok(Some(scanned)) = adopted.take(found)
        {
            progress.one_read();
            return Outcome::Package(scanned);
        }
        match self {
            Self::Ready(scanned) => Outcome::Package(scanned),
            Self::Read(found) => {
                let outcome = match scan::read(config, keyring, &found) {
                    Ok(scanned) if scanned.stamp.mtime() == found.stamp.mtime() => Outcome::Package(scanned),
                    Ok(scanned) => Outcome::Moved(scanned.location),
                    Err(rejected) => Outcome::Bad(rejected),
                };
                progress.one_read();
                outcome
            }
        }
    }
}

/// Runs the jobs of a small change, and beside them hashes what the files will consist of: of a change far
/// from the end, both take long, and neither needs what the other makes. The ways walked, by kind.
fn hurry(
    update: &Update<'_>,
    mut jobs: Vec<Job>,
    config: &RepositoryConfig,
    pieces: &PieceFile,
    trails: &[Vec<Trail>],
) -> Vec<Trail> {
    // What cannot be stored now fails again when the job runs, and is reported then.
    let gathered = jobs.len() <= FEW && jobs.par_iter_mut().try_for_each(Job::gather).is_ok();
    let outline = if gathered { update.outline(&jobs) } else { Vec::new() };
    let run = || jobs.into_par_iter().for_each(Job::run);
    rayon::join(|| hash(&outline, config, pieces, trails, walk_open), run).0
}

/// Walks the way through each file of these chunks, as far as `walk` goes.
fn hash(
    outline: &[(u64, [Part; KINDS])],
    config: &RepositoryConfig,
    pieces: &PieceFile,
    trails: &[Vec<Trail>],
    walk: fn(Recipe<'_>, &dyn Pieces, &[&Trail]) -> io::Result<Trail>,
) -> Vec<Trail> {
    if outline.is_empty() {
        return Vec::new();
    }
    let packages = outline.iter().map(|(packages, _)| packages).sum();
    let of_kind = |(i, &kind): (usize, &MetadataType)| {
        let parts: Vec<Part> = outline.iter().map(|(_, parts)| parts[i]).collect();
        let trails: Vec<&Trail> = trails[i].iter().collect();
        // Whoever joins the pieces hashes what could not be hashed here.
        walk(press::recipe(config, kind, packages, &parts), pieces, &trails).unwrap_or_default()
    };
    config.kinds().par_iter().enumerate().map(of_kind).collect()
}

/// What one thread reads in one go: a few packages, or one that is large.
fn next_group(work: &mut impl Iterator<Item = Work>) -> Vec<Work> {
    let mut bytes = 0;
    let mut group = Vec::with_capacity(READ_AT_ONCE);
    while bytes < LARGE
        && group.len() < READ_AT_ONCE
        && let Some(next) = work.next()
    {
        bytes += next.size();
        group.push(next);
    }
    group
}

/// Bytes of fragments that wait to be compressed.
#[derive(Default)]
struct Backlog {
    bytes: Mutex<usize>,
    less: Condvar,
}

impl Backlog {
    fn add(&self, bytes: usize) {
        *lock(&self.bytes) += bytes;
    }

    fn remove(&self, bytes: usize) {
        *lock(&self.bytes) -= bytes;
        self.less.notify_one();
    }

    fn wait_below(&self, limit: usize) {
        let mut bytes = lock(&self.bytes);
        while *bytes > limit {
            bytes = self.less.wait(bytes).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}

fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

/// Makes arrivals that could not be taken up into dirty places, so that they are not lost.
pub fn as_dirty(batch: &Batch) -> Dirty {
    let mut dirty = batch.dirty.clone();
    dirty.settled.extend(batch.arrived.iter().map(|scanned| scanned.location.clone()));
    dirty
}
