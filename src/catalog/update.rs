//! One change of the catalog, from the first package forgotten to the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use rusqlite::{OptionalExtension, Transaction, params};

use super::chunks::{self, Chunk, Key, Member};
use super::pieces::PieceFile;
use super::recut::{Item, Recut, Slot, Text};
use super::{CatalogError, Listing, meta};
use crate::package::Location;
use crate::repodata::{Compression, Effort, KINDS, Part, Pieces};
use crate::tree::{Rejected, Scanned};

/// A change in progress. Dropped without [`Update::commit`] it never happened.
///
/// It begins by forgetting whatever vanished or changed; then [`put`](Update::put) what is there now, in
/// order of publication; run the [`Job`]s this hands out, on any threads; commit.
pub struct Update<'c> {
    tx: Transaction<'c>,
    pieces: Arc<PieceFile>,
    compression: Compression,
    /// `None` once the list has ended.
    recut: Option<Recut>,
    /// First keys of the old chunks, to see which are no longer in the list.
    before: BTreeSet<Key>,
    /// The new list so far: kept chunks, and numbers of jobs.
    list: Vec<Result<Chunk, usize>>,
    jobs: usize,
    done: Arc<Done>,
    /// Packages put whose NEVRA another location has with other bytes: `(new, other)`.
    duplicates: Vec<(Location, String)>,
}

/// What jobs have made, by job number.
type Done = Mutex<BTreeMap<usize, io::Result<(Chunk, Vec<Member>)>>>;

impl<'c> Update<'c> {
    /// Takes every location in `forget` out, published or rejected; unknown ones are passed over.
    pub(super) fn begin<'l>(
        tx: Transaction<'c>,
        pieces: Arc<PieceFile>,
        compression: Compression,
        remake: bool,
        forget: impl Iterator<Item = &'l Location>,
    ) -> rusqlite::Result<Self> {
        let old = chunks::load(&tx)?;
        let mut removed = BTreeSet::new();
        for location in forget {
            removed.extend(forget_location(&tx, location)?);
        }
        Ok(Self {
            pieces,
            compression,
            before: old.iter().map(|c| c.first.clone()).collect(),
            recut: Some(Recut::new(old, removed, remake)),
            list: Vec::new(),
            jobs: 0,
            done: Arc::default(),
            duplicates: Vec::new(),
            tx,
        })
    }

    /// Takes packages in: their (mtime, location) must ascend, also from call to call, and their
    /// locations must have been forgotten.
    pub fn put(&mut self, packages: Vec<Scanned>) -> Result<Vec<Job>, CatalogError> {
        let Some(recut) = &mut self.recut else { return Ok(Vec::new()) };
        let mut slots = Vec::new();
        for package in packages {
            self.duplicates
                .extend(duplicate_of(&self.tx, &package)?.map(|other| (package.location.clone(), other)));
            insert_package(&self.tx, &package)?;
            let lens = package.fragments.texts().map(|t| u32::try_from(t.len()).unwrap_or(u32::MAX));
            let key = Key { mtime: package.stamp.mtime(), location: package.location };
            let member = Member { key, pkgid_low_byte: package.pkgid.low_byte(), lens };
            let item = Item { member, text: Text::Fresh(package.fragments) };
            slots.extend(recut.insert(item, &mut |chunk| chunks::members(&self.tx, chunk))?);
        }
        Ok(self.hand_out(slots))
    }

    /// Notes that a file cannot be published. Its location must have been forgotten.
    pub fn reject(&mut self, rejected: &Rejected) -> Result<(), CatalogError> {
        let stamp = &rejected.stamp;
        self.tx.prepare_cached("INSERT OR REPLACE INTO rejected VALUES (?, ?, ?, ?, ?, ?)")?.execute(
            params![
                rejected.location.as_str(),
                stamp.inode.cast_signed(),
                stamp.size.cast_signed(),
                stamp.mtime_ns,
                stamp.ctime_ns,
                rejected.reason
            ],
        )?;
        Ok(())
    }

    /// Ends the list: hands out the last jobs.
    pub fn finish(&mut self) -> Result<Vec<Job>, CatalogError> {
        let Some(recut) = self.recut.take() else { return Ok(Vec::new()) };
        let slots = recut.finish(&mut |chunk| chunks::members(&self.tx, chunk))?;
        Ok(self.hand_out(slots))
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
        for first in &self.before {
            chunks::delete(&self.tx, first)?;
        }
        for (chunk, members) in &made {
            chunks::insert(&self.tx, chunk, members)?;
        }
        meta::set(&self.tx, meta::COMPRESSION, self.compression.suffix())?;
        let changed = !made.is_empty() || !self.before.is_empty();
        if changed {
            // From here on what is published no longer shows what is listed: a crash must not hide that.
            meta::set(&self.tx, meta::PUBLISHED, "")?;
        }
        meta::set(&self.tx, meta::OPEN_SINCE_BOOT, super::boot_id())?;
        self.tx.commit()?;
        Ok(Listing { chunks, changed, duplicates: self.duplicates })
    }

    fn hand_out(&mut self, slots: Vec<Slot>) -> Vec<Job> {
        let mut jobs = Vec::new();
        for slot in slots {
            match slot {
                Slot::Kept(chunk) => self.list.push(Ok(chunk)),
                Slot::Made { items, closed } => {
                    self.list.push(Err(self.jobs));
                    jobs.push(Job {
                        number: self.jobs,
                        items,
                        closed,
                        compression: self.compression,
                        pieces: Arc::clone(&self.pieces),
                        done: Arc::clone(&self.done),
                    });
                    self.jobs += 1;
                }
            }
        }
        jobs
    }
}

/// Takes a location out of the tables; its key, if it was published.
fn forget_location(tx: &Transaction<'_>, location: &Location) -> rusqlite::Result<Option<Key>> {
    let text = location.as_str();
    tx.prepare_cached("DELETE FROM rejected WHERE location = ?")?.execute([text])?;
    let mtime_ns: Option<i64> = tx
        .prepare_cached("DELETE FROM package WHERE location = ? RETURNING mtime_ns")?
        .query_row([text], |row| row.get(0))
        .optional()?;
    Ok(mtime_ns.map(|ns| Key { mtime: ns.div_euclid(1_000_000_000), location: location.clone() }))
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
    tx.prepare_cached("INSERT INTO package VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute(params![
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

/// A chunk to be made: raw XML gathered, compressed, and stored as pieces.
pub struct Job {
    number: usize,
    items: Vec<Item>,
    closed: bool,
    compression: Compression,
    pieces: Arc<PieceFile>,
    done: Arc<Done>,
}

impl Job {
    /// Bytes of fragments it holds in memory.
    pub fn weight(&self) -> usize {
        self.items
            .iter()
            .map(|i| if let Text::Fresh(fragments) = &i.text { fragments.len() } else { 0 })
            .sum()
    }

    /// Does the work; the outcome is seen by [`Update::commit`].
    pub fn run(self) {
        let parts: io::Result<Vec<Part>> = (0..KINDS).into_par_iter().map(|kind| self.make(kind)).collect();
        let outcome = parts.map(|parts| {
            let members: Vec<Member> = self.items.into_iter().map(|item| item.member).collect();
            let key = |m: Option<&Member>| m.map(|m| m.key.clone()).expect("a run that ends has a package");
            let chunk = Chunk {
                first: key(members.first()),
                last: key(members.last()),
                packages: members.len() as u64,
                closed: self.closed,
                parts: std::array::from_fn(|kind| parts[kind]),
            };
            (chunk, members)
        });
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, outcome);
    }

    fn make(&self, kind: usize) -> io::Result<Part> {
        let len: u64 = self.items.iter().map(|i| u64::from(i.member.lens[kind])).sum();
        if len == 0 {
            // A file that this repository does not have.
            return Ok(Part::default());
        }
        let mut raw = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
        for item in &self.items {
            match &item.text {
                Text::Fresh(fragments) => raw.extend_from_slice(fragments.texts()[kind]),
                Text::Kept(spans) => self.pieces.read(spans[kind], &mut raw)?,
            }
        }
        let effort = if self.closed { Effort::Thorough } else { Effort::Quick };
        let packed = self.compression.piece(effort, &raw)?;
        Ok(Part {
            raw: self.pieces.append(&raw)?,
            raw_crc: crc32fast::hash(&raw),
            piece_crc: crc32fast::hash(&packed),
            piece: self.pieces.append(&packed)?,
        })
    }
}
