//! One change of the catalog, from the first package forgotten to the commit.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io;
use std::iter::Peekable;
use std::sync::{Arc, PoisonError};
use std::vec;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::chunks::{self, Chunk, Member, corrupt};
use super::job::{Done, Job};
use super::order::{DECIDING, Frontier, Generation, Key};
use super::pieces::PieceFile;
use super::ready::{Ready, made_of};
use super::recut::{Item, Recut, Slot, Text, open};
use super::{CatalogError, Listing, meta, sums};
use crate::crash::{self, Point};
use crate::package::Location;
use crate::repodata::{Compression, KINDS, Part};
use crate::tree::{Rejected, Scanned};

/// A change in progress. Dropped without [`Update::commit`] it never happened.
///
/// It begins by forgetting whatever vanished or changed; then [`put`](Update::put) what is there now, in
/// order of publication; run the [`Job`]s this hands out, on any threads; commit.
pub struct Update<'c> {
    tx: Transaction<'c>,
    pieces: Arc<PieceFile>,
    compression: Compression,
    /// Where settled packages end in the new list.
    frontier: Frontier,
    /// `None` once the list has ended.
    recut: Option<Recut>,
    /// Packages that change their generation and nothing else, in order of the new list.
    moving: Peekable<vec::IntoIter<Item>>,
    /// First keys of the old chunks, to see which are no longer in the list.
    before: BTreeSet<Key>,
    /// The new list so far: kept chunks, and numbers of jobs.
    list: Vec<Result<Chunk, usize>>,
    jobs: usize,
    done: Arc<Done>,
    /// Chunks that need not be made, and those of them that the list has.
    ready: &'c Ready,
    used: Ready,
    /// How many packages the list must have in the end.
    packages: u64,
    /// Packages put whose NEVRA another location has with other bytes: `(new, other)`.
    duplicates: Vec<(Location, String)>,
}

impl<'c> Update<'c> {
    /// Takes every location in `forget` out, published or rejected; unknown ones are passed over.
    /// `coming`: file times (seconds) of what may be put.
    pub(super) fn begin<'l>(
        tx: Transaction<'c>,
        pieces: Arc<PieceFile>,
        compression: Compression,
        remake: bool,
        forget: impl Iterator<Item = &'l Location>,
        coming: impl Iterator<Item = i64>,
        ready: &'c Ready,
    ) -> rusqlite::Result<Self> {
        let old = chunks::load(&tx)?;
        let before = frontier_of_list(&tx)?;
        let mut removed = BTreeSet::new();
        let listed: u64 = old.iter().map(|chunk| chunk.packages).sum();
        for location in forget {
            removed.extend(forget_location(&tx, location, before)?);
        }
        let packages = listed.checked_sub(removed.len() as u64).ok_or_else(|| corrupt("list"))?;
        let mut times = newest(&tx)?;
        times.extend(coming);
        let frontier = Frontier::of(times);
        let moving = take_moving(&tx, &old, before, frontier, &mut removed)?;
        Ok(Self {
            pieces,
            compression,
            frontier,
            before: old.iter().map(|c| c.first.clone()).collect(),
            recut: Some(Recut::new(old, removed, remake)),
            moving: moving.into_iter().peekable(),
            list: Vec::new(),
            jobs: 0,
            done: Arc::default(),
            ready,
            used: Ready::default(),
            packages,
            duplicates: Vec::new(),
            tx,
        })
    }

    /// Where packages stand in the list being made.
    pub fn frontier(&self) -> Frontier {
        self.frontier
    }

    /// Takes packages in: their keys must ascend, also from call to call, and their locations must
    /// have been forgotten.
    pub fn put(&mut self, packages: Vec<Scanned>) -> Result<Vec<Job>, CatalogError> {
        let mut slots = Vec::new();
        for package in packages {
            self.duplicates
                .extend(duplicate_of(&self.tx, &package)?.map(|other| (package.location.clone(), other)));
            insert_package(&self.tx, &package)?;
            let lens = package.fragments.texts().map(|t| u32::try_from(t.len()).unwrap_or(u32::MAX));
            let key = self.frontier.key(package.stamp.mtime(), package.location);
            // The sums are taken where the fragments are gathered, on many threads.
            let member = Member { key, pkgid_end: package.pkgid.end(), lens, sums: [0; KINDS] };
            self.packages += 1;
            self.insert_moving(Some(&member.key), &mut slots)?;
            self.insert(Item { member, text: Text::Fresh(package.fragments) }, &mut slots)?;
        }
        Ok(self.hand_out(slots))
    }

    /// Inserts what changes its generation and stands before `key`.
    fn insert_moving(&mut self, key: Option<&Key>, slots: &mut Vec<Slot>) -> rusqlite::Result<()> {
        while let Some(item) = self.moving.next_if(|item| key.is_none_or(|key| item.member.key < *key)) {
            self.insert(item, slots)?;
        }
        Ok(())
    }

    fn insert(&mut self, item: Item, slots: &mut Vec<Slot>) -> rusqlite::Result<()> {
        if let Some(recut) = &mut self.recut {
            slots.extend(recut.insert(item, &mut |chunk| chunks::members(&self.tx, chunk))?);
        }
        Ok(())
    }

    /// Notes that a file cannot be published. Its location must have been forgotten.
    pub fn reject(&mut self, rejected: &Rejected) -> Result<(), CatalogError> {
        Ok(reject(&self.tx, rejected)?)
    }

    /// Ends the list: hands out the last jobs.
    pub fn finish(&mut self) -> Result<Vec<Job>, CatalogError> {
        let mut slots = Vec::new();
        self.insert_moving(None, &mut slots)?;
        if let Some(recut) = self.recut.take() {
            slots.extend(recut.finish(&mut |chunk| chunks::members(&self.tx, chunk))?);
        }
        Ok(self.hand_out(slots))
    }

    /// What the files will consist of, once all jobs have run but `jobs`, of which only what was gathered is
    /// told, and nothing compressed. By chunk, in order, with its number of packages.
    pub fn outline(&self, jobs: &[Job]) -> Vec<(u64, [Part; KINDS])> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |number: &usize| match done.get(number) {
            Some(Ok((chunk, _))) => Some((chunk.packages, chunk.parts)),
            Some(Err(_)) => None,
            None => jobs.iter().find(|job| job.number == *number).map(Job::outline),
        };
        let slots = self.list.iter().map(|slot| match slot {
            Ok(kept) => Some((kept.packages, kept.parts)),
            Err(number) => of(number),
        });
        // A job that failed fails the commit, too.
        slots.collect::<Option<_>>().unwrap_or_default()
    }

    /// Runs `jobs` for an update that will need what they make, and not for this one, which is dropped then. Gives up
    /// as soon as `stop` says so. What is ready now, and whether all of it is.
    pub fn make_ready(&mut self, jobs: Vec<Job>, stop: &dyn Fn() -> bool) -> (Ready, bool) {
        let mut ready = std::mem::take(&mut self.used);
        for job in jobs {
            if stop() {
                return (ready, false);
            }
            let made_of = made_of(&job.items, job.compression, job.effort);
            let number = job.number;
            job.run();
            let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            // What cannot be stored now fails again when it is needed, and is reported then.
            if let (Some(made_of), Some(Ok((chunk, _)))) = (made_of, done.get(&number)) {
                ready.insert(made_of, chunk.parts);
            }
        }
        (ready, true)
    }

    /// Makes the change last, once every job has run. The listing is what is to be published now.
    pub fn commit(mut self) -> Result<Listing, CatalogError> {
        debug_assert!(self.recut.is_none(), "finish comes before commit");
        let mut done = std::mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        let mut made = Vec::new();
        let mut chunks = Vec::with_capacity(self.list.len());
        for slot in std::mem::take(&mut self.list) {
            match slot {
                Ok(kept) => {
                    self.before.remove(&kept.first);
                    chunks.push(kept);
                }
                Err(job) => {
                    let result =
                        done.remove(&job).unwrap_or_else(|| Err(io::Error::other("a job did not run")));
                    let (chunk, members) = result.map_err(CatalogError::Pieces)?;
                    chunks.push(chunk.clone());
                    made.push((chunk, members));
                }
            }
        }
        if chunks.iter().map(|chunk| chunk.packages).sum::<u64>() != self.packages {
            // What went was not where it should have been.
            return Err(corrupt("list").into());
        }
        crash::point(Point::CatalogPieces);
        for first in &self.before {
            chunks::delete(&self.tx, first)?;
        }
        for (chunk, members) in &made {
            chunks::insert(&self.tx, chunk, members)?;
        }
        meta::set(&self.tx, meta::COMPRESSION, self.compression.suffix())?;
        meta::set(&self.tx, meta::FRONTIER, self.frontier.since)?;
        // What was to come may have been rejected.
        let misplaced = Frontier::of(newest(&self.tx)?) != self.frontier;
        let changed = !made.is_empty() || !self.before.is_empty();
        if changed {
            // From here on what is published no longer shows what is listed: a crash must not hide that.
            meta::set(&self.tx, meta::PUBLISHED, "")?;
        }
        meta::set(&self.tx, meta::OPEN_SINCE_BOOT, super::open::boot_id())?;
        crash::point(Point::CatalogWritten);
        self.tx.commit()?;
        crash::point(Point::CatalogCommitted);
        Ok(Listing { chunks, changed, misplaced, duplicates: self.duplicates })
    }

    fn hand_out(&mut self, slots: Vec<Slot>) -> Vec<Job> {
        let mut jobs = Vec::new();
        for slot in slots {
            match slot {
                Slot::Kept(chunk) => self.list.push(Ok(chunk)),
                Slot::Made { items, ending, effort } => {
                    self.list.push(Err(self.jobs));
                    let made_of = made_of(&items, self.compression, effort);
                    let ready = made_of.as_ref().and_then(|made_of| self.ready.find(made_of));
                    let job = Job {
                        number: self.jobs,
                        items,
                        ending,
                        effort,
                        raw: Default::default(),
                        compression: self.compression,
                        pieces: Arc::clone(&self.pieces),
                        done: Arc::clone(&self.done),
                    };
                    self.jobs += 1;
                    match (made_of, ready) {
                        (Some(made_of), Some(parts)) => {
                            self.used.insert(made_of, parts);
                            job.end(Ok(parts));
                        }
                        _ => jobs.push(job),
                    }
                }
            }
        }
        jobs
    }
}

pub(super) fn reject(tx: &Transaction<'_>, rejected: &Rejected) -> rusqlite::Result<()> {
    let stamp = &rejected.stamp;
    let sql = "INSERT OR REPLACE INTO rejected VALUES (?1, ?2, ?3, ?4, ?5, ?6, sum_of(?1, ?6))";
    tx.prepare_cached(sql)?.execute(params![
        rejected.location.as_str(),
        stamp.inode.cast_signed(),
        stamp.size.cast_signed(),
        stamp.mtime_ns,
        stamp.ctime_ns,
        rejected.reason
    ])?;
    Ok(())
}

/// Takes a location out of the tables; its key, if it was published.
fn forget_location(
    tx: &Transaction<'_>,
    location: &Location,
    frontier: Frontier,
) -> rusqlite::Result<Option<Key>> {
    let text = location.as_str();
    tx.prepare_cached("DELETE FROM rejected WHERE location = ?")?.execute([text])?;
    let sql = format!("DELETE FROM package WHERE location = ? RETURNING mtime_ns, sum IS {}", sums::PACKAGE);
    let found: Option<(i64, bool)> =
        tx.prepare_cached(&sql)?.query_row([text], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match found {
        None => Ok(None),
        Some((_, false)) => Err(corrupt("package")),
        Some((ns, true)) => Ok(Some(frontier.key(ns.div_euclid(1_000_000_000), location.clone()))),
    }
}

/// The frontier of the list as it is stored.
pub(super) fn frontier_of_list(tx: &Connection) -> rusqlite::Result<Frontier> {
    Ok(meta::get(tx, meta::FRONTIER)?.map_or(Frontier::NONE, |since| Frontier { since }))
}

/// File times, in seconds, of as many of the newest packages as decide about the frontier.
pub(super) fn newest(tx: &Connection) -> rusqlite::Result<Vec<i64>> {
    tx.prepare_cached("SELECT mtime_ns FROM package ORDER BY mtime_ns DESC LIMIT ?")?
        .query_map([DECIDING as u64], |row| Ok(row.get::<_, i64>(0)?.div_euclid(1_000_000_000)))?
        .collect()
}

/// Takes the packages out of the old list whose generation changes with the frontier; `removed` has
/// those that go, and afterwards these as well.
fn take_moving(
    tx: &Transaction<'_>,
    old: &[Chunk],
    before: Frontier,
    after: Frontier,
    removed: &mut BTreeSet<Key>,
) -> rusqlite::Result<Vec<Item>> {
    let mut moving = Vec::new();
    let loses = match before.since.cmp(&after.since) {
        Ordering::Equal => return Ok(moving),
        Ordering::Less => Generation::Young,
        Ordering::Greater => Generation::Settled,
    };
    for chunk in old.iter().filter(|chunk| chunk.first.generation == loses) {
        for mut item in open(chunk, &mut |chunk| chunks::members(tx, chunk))? {
            let Key { mtime, location, .. } = &item.member.key;
            let key = after.key(*mtime, location.clone());
            if key.generation == loses || removed.contains(&item.member.key) {
                continue;
            }
            removed.insert(std::mem::replace(&mut item.member.key, key));
            moving.push(item);
        }
    }
    moving.sort_by(|a, b| a.member.key.cmp(&b.member.key));
    Ok(moving)
}

/// Another location that has this package's NEVRA with other bytes. All of them are published, as
/// createrepo_c does; somebody should know.
fn duplicate_of(tx: &Transaction<'_>, package: &Scanned) -> rusqlite::Result<Option<String>> {
    tx.prepare_cached("SELECT location FROM package WHERE nevra = ? AND pkgid <> ? LIMIT 1")?
        .query_row(params![package.nevra.to_string(), package.pkgid.as_bytes()], |row| row.get(0))
        .optional()
}

fn insert_package(tx: &Transaction<'_>, package: &Scanned) -> rusqlite::Result<()> {
    let stamp = &package.stamp;
    let sql = "INSERT INTO package VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, sum_of(?1, ?4, ?6, ?7))";
    tx.prepare_cached(sql)?.execute(params![
        package.location.as_str(),
        stamp.inode.cast_signed(),
        stamp.size.cast_signed(),
        stamp.mtime_ns,
        stamp.ctime_ns,
        package.pkgid.as_bytes(),
        package.nevra.to_string()
    ])?;
    Ok(())
}
