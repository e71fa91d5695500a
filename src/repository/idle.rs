//! What a repository does when nobody asks for anything: read again what may have changed unseen,
//! prepare the checksums of the next append, tidy the file of pieces, and at last rest.

use std::io;
use std::time::Instant;

use rayon::prelude::*;
use tracing::{debug, warn};

use super::refresh::nanoseconds;
use super::{Repository, RepositoryError, adopt, press};
use crate::catalog::{PieceFile, Ready};
use crate::repodata::join::{Trail, walk_ahead};
use crate::repodata::{KINDS, Part, Pieces, Span, compression};
use crate::scan;
use crate::tree::{Dirty, Found, NotTaken, Scanned};

/// Dead bytes below which the file of pieces is left as it is.
const WORTH_COMPACTING: u64 = 16 << 20;
/// How many files are read again between two looks at the inbox.
const RECHECK_AT_ONCE: usize = 32;

/// How many packages a chunk has, and where its pieces lie.
type Outline = (u64, [Part; KINDS]);

impl Repository {
    /// Reads files again of which all but inode and ctime is as it was. Returns those whose bytes
    /// have changed after all.
    pub fn recheck(&mut self, waiting: &mut Vec<Found>) -> Result<Dirty, RepositoryError> {
        let mut changed = Dirty::default();
        let (mut same, mut unreadable) = (Vec::new(), Vec::new());
        self.read_keyring()?;
        let config = self.config.clone();
        let keyring = self.trusted.now();
        for found in waiting.split_off(waiting.len().saturating_sub(RECHECK_AT_ONCE)) {
            let known = self.catalog()?.pkgid(&found.location)?;
            match scan::read(&config, keyring.as_ref(), &found) {
                Ok(scanned)
                    if known.as_deref() == Some(scanned.pkgid.as_bytes())
                        && self.is_listed_as(&scanned)? =>
                {
                    same.push((scanned.location, scanned.stamp));
                }
                // A look at it finds that it is still to be read again.
                Err(NotTaken::Unread(unread)) => unreadable.push(unread),
                _ => {
                    self.catalog()?.distrust(&found.location)?;
                    changed.settled.insert(found.location);
                }
            }
        }
        self.catalog()?.restamp(&same)?;
        let read = same.into_iter().map(|(location, _)| location).chain(changed.settled.iter().cloned());
        let read = Dirty::all_settled(read);
        self.unread.note(&self.config.name, &read, unreadable, &[], Instant::now());
        Ok(changed)
    }

    /// Whether a package's entries are what reading it gives: those taken over from others may not be.
    fn is_listed_as(&mut self, scanned: &Scanned) -> Result<bool, RepositoryError> {
        let catalog = self.catalog()?;
        let stamp = catalog.stamp(&scanned.location)?;
        if stamp.is_none_or(|stamp| stamp != adopt::unverified(&stamp)) {
            return Ok(true);
        }
        let listed = catalog.fragments(&scanned.location, scanned.stamp.mtime())?;
        Ok(listed.is_some_and(|listed| listed == scanned.fragments))
    }

    /// Hashes the metadata files as they will be with a few packages more or one less, so that the next
    /// publications hash only from the chunk on that changes. Gives up as soon as `stop` says so, and keeps
    /// what it has. Whether it is done.
    pub fn prepare(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Result<bool, RepositoryError> {
        let Some(settling) = self.make_ready(stop)? else { return Ok(false) };
        let listing = self.catalog()?.listing()?;
        let packages = listing.packages();
        let now: Vec<_> = listing.chunks.iter().map(|chunk| (chunk.packages, chunk.parts)).collect();
        let (more, less): (Vec<u64>, Vec<u64>) = expected(packages).partition(|count| *count > packages);
        let done = if settling.is_empty() {
            self.walk_ahead(&now, &expected(packages).collect::<Vec<_>>(), stop)?
        } else {
            // With one package more others stand elsewhere, too; with one less they do not.
            self.walk_ahead(&settling, &more, stop)? && self.walk_ahead(&now, &less, stop)?
        };
        if done {
            debug!(repo.name = %self.config.name, "prepared the next publications of {}", self.config.name);
        }
        Ok(done)
    }

    /// Makes the chunks that change because packages settle with the next one, but for those it is in. What the list
    /// is then, without it; empty where none settles, `None` after a `stop`.
    fn make_ready(
        &mut self,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<Outline>>, RepositoryError> {
        let coming = nanoseconds((self.clock)()).div_euclid(1_000_000_000);
        self.catalog()?;
        let Self { catalog: Some(catalog), ready, .. } = self else { return Ok(None) };
        let (made, outline) = match catalog.update_ahead(coming, ready)? {
            None => (Ready::default(), Some(Vec::new())),
            Some(mut update) => {
                let jobs = update.finish()?;
                let (made, done) = update.make_ready(jobs, stop);
                compression::release_memory();
                (made, done.then(|| update.outline(&[])))
            }
        };
        self.ready = made;
        Ok(outline)
    }

    /// Walks the ways of the files that consist of these chunks and announce `counts` packages. Whether it is done.
    fn walk_ahead(
        &mut self,
        outline: &[Outline],
        counts: &[u64],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool, RepositoryError> {
        let pieces = self.catalog()?.pieces();
        let patient = Patient { pieces: &pieces, stop };
        let Self { config, trails, .. } = self;
        let kinds = config.kinds();
        let parts = |i: usize| outline.iter().map(|(_, parts)| parts[i]).collect::<Vec<Part>>();
        let parts: Vec<Vec<Part>> = (0..kinds.len()).map(parts).collect();
        let recipe = |i: usize, packages| press::recipe(config, kinds[i], packages, &parts[i]);
        let is_known = |packages: u64| {
            let known = |i: usize| trails[i].iter().any(|trail| trail.covers(&recipe(i, packages)));
            (0..kinds.len()).all(known)
        };
        let lacking: Vec<u64> = counts.iter().copied().filter(|count| !is_known(*count)).collect();
        // All kinds of the likeliest come first: one alone is of no use.
        for counts in lacking.chunks(2) {
            let walk = |(i, trails): (usize, &mut Vec<Trail>)| {
                let known: Vec<&Trail> = trails.iter().collect();
                let (walked, ended) = walk_ahead(recipe(i, 0), counts, &patient, &known);
                trails.retain(|old| !counts.contains(&old.packages()));
                trails.extend(walked);
                ended
            };
            let trails = trails[..kinds.len()].par_iter_mut().enumerate();
            match trails.map(walk).collect::<io::Result<()>>() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(source) => return Err(press::failed(config, source)),
            }
        }
        Ok(true)
    }

    /// Keeps the trails of a publication, and of earlier ones those that may still be of use.
    pub(super) fn keep_trails(&mut self, packages: u64, walked: Vec<Trail>) {
        let useful: Vec<u64> = expected(packages).collect();
        for (kept, trail) in self.trails.iter_mut().zip(walked) {
            kept.retain(|old| useful.contains(&old.packages()));
            kept.push(trail);
        }
    }

    /// Makes the file of pieces small again when more than half of it is dead.
    pub fn tidy(&mut self) {
        let name = self.config.name.clone();
        let ready = self.ready.bytes();
        let outcome = self.catalog().and_then(|catalog| {
            catalog.checkpoint()?;
            let dead = catalog.dead_bytes()?.saturating_sub(ready);
            let all = catalog.pieces().len();
            if dead < WORTH_COMPACTING || dead * 2 < all {
                return Ok(false);
            }
            catalog.compact().map(|()| true)
        });
        if let Err(error) = self.forget_recipes_for_room() {
            warn!(repo.name = %name, "cannot make room among superseded metadata of {name}: {error}");
        }
        match outcome {
            Ok(true) => self.forget_prepared(),
            Ok(false) => {}
            Err(error) => warn!(repo.name = %name, "cannot compact the pieces of {name}: {error}"),
        }
        if let Err(error) = self.databases.tidy() {
            warn!(repo.name = %name, "cannot make the databases of {name} smaller: {error}");
        }
        compression::release_memory();
    }
}

/// How many packages the next publications may have, the likeliest first. What was prepared for the
/// second of a row of appends is still of use after the first.
///
/// Two are hashed in the time of one, so in a row of appends every second one gets two more, and none one.
fn expected(packages: u64) -> impl Iterator<Item = u64> {
    let last = packages.is_multiple_of(2).then_some(5);
    [1, 2, -1, 3, 4].into_iter().chain(last).filter_map(move |step| packages.checked_add_signed(step))
}

/// Pieces that can no longer be read once there is something better to do.
struct Patient<'a> {
    pieces: &'a PieceFile,
    stop: &'a (dyn Fn() -> bool + Sync),
}

impl Pieces for Patient<'_> {
    fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
        if (self.stop)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.pieces.read(span, into)
    }
}
