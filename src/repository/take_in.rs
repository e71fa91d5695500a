//! Takes packages into the catalog: read on many threads ahead of it, put in order by one, compressed behind it.

use std::collections::VecDeque;
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
use crate::tree::{Found, Rejected, Scanned};

/// Packages that one thread reads in one go, unless they are large.
const READ_AT_ONCE: usize = 8;
/// Bytes of packages that one thread reads in one go.
const LARGE: u64 = 4 << 20;
/// How many times as much is read ahead of what the catalog takes in. Half of it is given out at a time, in the order in
/// which it lies on the disk. Bounds memory, not the result.
const READ_AHEAD: usize = 64;
/// Bytes of fragments that may wait to be compressed.
const BACKLOG: usize = 48 << 20;
/// How many packages of the same NEVRA are named in the log after one change; the status names all.
const DUPLICATES_NAMED: usize = 20;
/// Trails kept of each file: what `expected` prepares, the current one, and the one just walked.
const TRAILS: usize = 8;

impl Repository {
    /// Reads what is new, and makes the chunks that change; everything in order of publication.
    pub(super) fn take_in(
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
            let read = |group: Vec<Work>, done: mpsc::SyncSender<Vec<Outcome>>| {
                let (config, keyring) = (&config, keyring.as_ref());
                scope.spawn(move |_| {
                    let read = |work: Work| work.read(config, keyring, adopted, progress);
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
        let ready = Ready::default();
        let mut update = self.catalog()?.update(std::iter::empty(), std::iter::empty(), &ready)?;
        update.finish()?.into_par_iter().for_each(Job::run);
        Ok(Listing { changed: true, ..update.commit()? })
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
