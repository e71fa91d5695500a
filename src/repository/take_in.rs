//! Takes packages into the catalog: read on many threads ahead of it, put in order by one, compressed behind it.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};

use rayon::prelude::*;
use tracing::{debug, warn};

use super::adopt::Adopted;
use super::hurry::{FEW, hash, hurry};
use super::refresh::{Changes, Remains, TOO_YOUNG, nanoseconds};
use super::{Progress, Repository, RepositoryError, lock};
use crate::catalog::{Frontier, Job, Key, Listing, Ready};
use crate::config::RepositoryConfig;
use crate::package::openpgp::Keyring;
use crate::package::{Location, Verify};
use crate::repodata::join::walk;
use crate::scan;
use crate::tree::{Found, NotTaken, Rejected, Scanned, Unread};

/// Packages that one thread reads in one go, unless they are large.
const READ_AT_ONCE: usize = 8;
/// Bytes of packages that one thread reads in one go.
const LARGE: u64 = 4 << 20;
/// How many times as much is read ahead of what the catalog takes in. Half of it is given out at a time, in the order in
/// which it lies on the disk. Bounds memory, not the result.
const READ_AHEAD: usize = 64;
/// Bytes of fragments that may wait to be compressed.
const BACKLOG: usize = 48 << 20;
/// Bytes of fragments that may be read ahead of their turn; small ones count and are always taken.
const AHEAD: usize = 32 << 20;
const SMALL: usize = 64 << 10;
/// Bytes of fragments that the chunks of a small change may hold until all are there.
const HELD: u64 = 16 << 20;
/// How many packages of the same NEVRA are named in the log after one change; the status names all.
const DUPLICATES_NAMED: usize = 20;
/// Trails kept of each file: what `expected` prepares, the current one, and the one just walked.
const TRAILS: usize = 8;

/// How often a change is begun again without what is listed and cannot be read; then it leaves all of that for later.
const ATTEMPTS: usize = 3;

impl Repository {
    /// Takes in what is new. What is listed stays so, as it is, where its file has changed and cannot be read for now: a
    /// change takes out first what it puts anew, so it is begun again without that.
    pub(super) fn take_in(
        &mut self,
        changes: Changes,
        remains: &mut Remains,
        progress: &dyn Progress,
    ) -> Result<Listing, RepositoryError> {
        let listed = self.listed(&changes.read)?;
        if listed.is_empty() {
            let read = self.read_and_take_in(changes, &listed, remains, progress)?;
            return read.map_err(|_| RepositoryError::Panicked { name: self.config.name.clone() });
        }
        let Changes { read, arrived, gone, unfinished, adopted: _, last } = changes;
        let mut held = BTreeMap::new();
        for attempt in 0.. {
            let is_last = attempt == ATTEMPTS;
            let may_be_read = |found: &&Found| {
                !(held.contains_key(&found.location) || is_last && listed.contains(&found.location))
            };
            let changes = Changes {
                read: read.iter().filter(may_be_read).cloned().collect(),
                arrived: arrived.clone(),
                gone: gone.clone(),
                unfinished: unfinished.clone(),
                adopted: None,
                last,
            };
            let mut outcome = Remains::default();
            match self.read_and_take_in(changes, &listed, &mut outcome, progress)? {
                Ok(listing) => {
                    remains.read = outcome.read;
                    remains.recheck.extend(outcome.recheck);
                    remains.young.extend(outcome.young);
                    remains.unread.extend(outcome.unread);
                    if is_last {
                        for found in read.into_iter().filter(|found| listed.contains(&found.location)) {
                            held.entry(found.location).or_insert_with_key(put_off);
                        }
                    }
                    remains.unread.extend(held.into_values());
                    return Ok(listing);
                }
                Err(unread) => held.extend(unread),
            }
        }
        Err(RepositoryError::Panicked { name: self.config.name.clone() })
    }

    /// Those of the files that are listed as something else now.
    fn listed(&mut self, read: &[Found]) -> Result<HashSet<Location>, RepositoryError> {
        let mut listed = HashSet::new();
        let catalog = self.catalog()?;
        if read.is_empty() || catalog.is_empty()? {
            return Ok(listed);
        }
        for found in read {
            if catalog.pkgid(&found.location)?.is_some() {
                listed.insert(found.location.clone());
            }
        }
        Ok(listed)
    }

    /// Reads what is new, and makes the chunks that change; everything in order of publication. Does nothing where some of
    /// `listed` cannot be read, which are returned.
    fn read_and_take_in(
        &mut self,
        changes: Changes,
        listed: &HashSet<Location>,
        remains: &mut Remains,
        progress: &dyn Progress,
    ) -> Result<Result<Listing, BTreeMap<Location, Unread>>, RepositoryError> {
        let Changes { read, arrived, gone, unfinished, adopted, last: _ } = changes;
        let config = self.config.clone();
        let keyring = self.trusted.now();
        let young = nanoseconds((self.clock)()) - i64::try_from(TOO_YOUNG.as_nanos()).unwrap_or(i64::MAX);
        progress.to_read(read.len() as u64);
        remains.read = read.len() as u64;
        let adopted = adopted.as_ref();
        remains.recheck.extend(read.iter().filter(|f| adopted.is_some_and(|a| a.has(&f.location))).cloned());
        let mut work: Vec<Work> = read
            .into_iter()
            .map(Work::Read)
            .chain(arrived.into_iter().map(|one| Work::Ready(Box::new(one))))
            .collect();
        let unfinished_at = unfinished.iter().map(|rejected| &rejected.location);
        let forget = gone.iter().chain(work.iter().map(Work::location)).chain(unfinished_at);
        let pieces = self.catalog()?.pieces();
        let Self { catalog: Some(catalog), trails, ready, .. } = self else {
            return Err(RepositoryError::Panicked { name: config.name.clone() });
        };
        let mut update = catalog.update(forget, work.iter().map(Work::mtime), ready)?;
        for rejected in &unfinished {
            warn!(repo.name = %config.name, location = %rejected.location,
                  "{} rejects {}: {}", config.name, rejected.location, rejected.reason);
            update.reject(rejected)?;
        }
        let frontier = update.frontier();
        work.sort_by_cached_key(|work| work.key(frontier));

        let backlog = Backlog::default();
        let mut few = work.len() <= FEW;
        let mut held = Vec::new();
        let mut lost = BTreeMap::new();
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
            let read = |group: Vec<Work>, done: mpsc::SyncSender<Vec<Outcome>>| {
                let (config, keyring, backlog) = (&config, keyring.as_ref(), &backlog);
                scope.spawn(move |_| {
                    let read = |work: Work| backlog.ahead(work.read(config, keyring, adopted, progress));
                    // Nobody waits for it any more after a failure of the catalog.
                    let _ = done.send(in_disk_order(group, read));
                });
            };
            // Reading goes on while the catalog takes in what was read, in order.
            let mut ahead = VecDeque::new();
            loop {
                if ahead.len() <= READ_AHEAD / 2 {
                    let groups = std::iter::from_fn(|| work.peek().is_some().then(|| next_group(&mut work)));
                    let mut window: Vec<_> = groups
                        .take(READ_AHEAD / 2)
                        .map(|group| {
                            let (done, outcomes) = mpsc::sync_channel(1);
                            ahead.push_back(outcomes);
                            (group, done)
                        })
                        .collect();
                    // A disk's head goes over the window once.
                    window.sort_by_key(|(group, _)| group.first().map(Work::inode));
                    window.into_iter().for_each(|(group, done)| read(group, done));
                }
                let Some(outcomes) = ahead.pop_front() else { break };
                // A reader that panicked sends nothing; the scope passes its panic on.
                let Ok(outcomes) = outcomes.recv() else { break };
                let mut packages = Vec::with_capacity(outcomes.len());
                let mut jobs = Vec::new();
                for outcome in outcomes {
                    // What did not fit into memory ahead of its turn is read now, and put in alone.
                    let (outcome, is_large) = match outcome {
                        Outcome::Later(found) => {
                            jobs.extend(update.put(std::mem::take(&mut packages))?);
                            (read_found(&found, &config, keyring.as_ref()), true)
                        }
                        outcome => (outcome, false),
                    };
                    match outcome {
                        // It has just been read.
                        Outcome::Later(_) => {}
                        Outcome::Package(package) => {
                            if !is_large {
                                backlog.taken(package.fragments.len());
                            }
                            if package.stamp.mtime_ns >= young {
                                remains.young.push(package.location.clone());
                            }
                            packages.push(package);
                            if is_large {
                                jobs.extend(update.put(std::mem::take(&mut packages))?);
                            }
                        }
                        // Between the look and the reading it became another file: its place in the order is another.
                        Outcome::Moved(location) if listed.contains(&location) => {
                            let unread = moved(&location);
                            lost.insert(location, unread);
                        }
                        Outcome::Moved(location) => remains.young.push(location),
                        Outcome::Unread(location, unread) if listed.contains(&location) => {
                            lost.insert(location, unread);
                        }
                        Outcome::Unread(_, unread) => remains.unread.push(unread),
                        Outcome::Bad(rejected) => {
                            warn!(repo.name = %config.name, location = %rejected.location,
                                  "{} rejects {}: {}", config.name, rejected.location, rejected.reason);
                            update.reject(&rejected)?;
                        }
                    }
                }
                jobs.extend(update.put(packages)?);
                if few && is_much(held.iter().chain(&jobs)) {
                    few = false;
                    run(std::mem::take(&mut held));
                }
                if few {
                    held.extend(jobs);
                } else {
                    run(jobs);
                    backlog.wait_below(BACKLOG);
                }
            }
            if !lost.is_empty() {
                return Ok(());
            }
            let jobs = update.finish()?;
            if few && is_much(held.iter().chain(&jobs)) {
                few = false;
                run(std::mem::take(&mut held));
            }
            if !few {
                run(jobs);
                return Ok(());
            }
            held.extend(jobs);
            Ok::<_, RepositoryError>(())
        })?;
        if !lost.is_empty() {
            return Ok(Err(lost));
        }
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
        Ok(Ok(listing))
    }

    /// Mends the order of publication after packages that decide about it turned out to be rejected.
    fn put_in_place(&mut self) -> Result<Listing, RepositoryError> {
        let ready = Ready::default();
        let mut update = self.catalog()?.update(std::iter::empty(), std::iter::empty(), &ready)?;
        update.finish()?.into_par_iter().for_each(Job::run);
        Ok(Listing { changed: true, ..update.commit()? })
    }
}

/// One package on its way into the catalog.
enum Work {
    Read(Found),
    Ready(Box<Scanned>),
}

enum Outcome {
    Package(Scanned),
    /// Its metadata is large, and much is in memory already.
    Later(Found),
    Moved(Location),
    Bad(Rejected),
    Unread(Location, Unread),
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

    /// A hint where on the disk it lies: files made one after the other mostly lie so, and have inodes that ascend.
    fn inode(&self) -> u64 {
        match self {
            Self::Read(found) => found.stamp.inode,
            Self::Ready(_) => 0,
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
            Self::Ready(scanned) => Outcome::Package(*scanned),
            Self::Read(found) => {
                let outcome = read_found(&found, config, keyring);
                progress.one_read();
                outcome
            }
        }
    }
}

/// Whether these take too much memory to be held until all are there.
fn is_much<'j>(jobs: impl Iterator<Item = &'j Job>) -> bool {
    jobs.map(Job::bytes).sum::<u64>() > HELD
}

/// Reads a package where the look found it.
fn read_found(found: &Found, config: &RepositoryConfig, keyring: Option<&Arc<Keyring>>) -> Outcome {
    match scan::read(config, keyring, found) {
        Ok(scanned) if scanned.stamp.mtime() == found.stamp.mtime() => Outcome::Package(scanned),
        Ok(scanned) => Outcome::Moved(scanned.location),
        Err(NotTaken::Rejected(rejected)) => Outcome::Bad(rejected),
        Err(NotTaken::Unread(unread)) => Outcome::Unread(found.location.clone(), unread),
    }
}

/// What became another file since it was looked at.
fn moved(location: &Location) -> Unread {
    let reason = "another file took its place while it was read".to_owned();
    Unread { path: location.to_string(), reason, moving: true }
}

/// What is left for later although nobody tried to read it now.
fn put_off(location: &Location) -> Unread {
    let reason = "others that changed with it could not be read, several times over".to_owned();
    Unread { path: location.to_string(), reason, moving: true }
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

/// Does it to each in the order in which they lie on the disk; the outcomes are in the order given.
fn in_disk_order(group: Vec<Work>, mut act: impl FnMut(Work) -> Outcome) -> Vec<Outcome> {
    let mut turns: Vec<(usize, Work)> = group.into_iter().enumerate().collect();
    turns.sort_by_key(|(_, work)| work.inode());
    let mut outcomes: Vec<(usize, Outcome)> = turns.into_iter().map(|(at, work)| (at, act(work))).collect();
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Bytes of fragments that wait to be compressed, and of those that were read ahead of their turn.
#[derive(Default)]
struct Backlog {
    bytes: Mutex<usize>,
    less: Condvar,
    ahead: AtomicUsize,
}

impl Backlog {
    /// Counts what was read ahead of its turn; what is large and does not fit is let go of, and read again in its turn.
    fn ahead(&self, outcome: Outcome) -> Outcome {
        let Outcome::Package(scanned) = &outcome else { return outcome };
        let bytes = scanned.fragments.len();
        if self.ahead.fetch_add(bytes, Ordering::Relaxed) + bytes > AHEAD && bytes > SMALL {
            self.ahead.fetch_sub(bytes, Ordering::Relaxed);
            return Outcome::Later(Found { location: scanned.location.clone(), stamp: scanned.stamp });
        }
        outcome
    }

    /// It is its turn.
    fn taken(&self, bytes: usize) {
        self.ahead.fetch_sub(bytes, Ordering::Relaxed);
    }

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
