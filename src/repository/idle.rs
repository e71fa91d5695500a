//! What a repository does when nobody asks for anything: read again what may have changed unseen,
//! prepare the checksums of the next append, tidy the file of pieces, and at last rest.

use std::io;

use tracing::{debug, warn};

use super::{Repository, RepositoryError, press};
use crate::catalog::PieceFile;
use crate::repodata::join::walk;
use crate::repodata::{Pieces, Span, compression};
use crate::scan;
use crate::tree::{Dirty, Found};

/// Dead bytes below which the file of pieces is left as it is.
const WORTH_COMPACTING: u64 = 16 << 20;
/// How many files are read again between two looks at the inbox.
const RECHECK_AT_ONCE: usize = 32;

impl Repository {
    /// Reads files again of which all but inode and ctime is as it was. Returns those whose bytes
    /// have changed after all.
    pub fn recheck(&mut self, waiting: &mut Vec<Found>) -> Result<Dirty, RepositoryError> {
        let mut changed = Dirty::default();
        let mut same = Vec::new();
        self.read_keyring()?;
        let config = self.config.clone();
        let keyring = self.trusted.now();
        for found in waiting.split_off(waiting.len().saturating_sub(RECHECK_AT_ONCE)) {
            let known = self.catalog()?.pkgid(&found.location)?;
            match scan::read(&config, keyring.as_ref(), &found) {
                Ok(scanned) if known.as_deref() == Some(scanned.pkgid.as_bytes()) => {
                    same.push((scanned.location, scanned.stamp));
                }
                _ => {
                    self.catalog()?.distrust(&found.location)?;
                    changed.settled.insert(found.location);
                }
            }
        }
        self.catalog()?.restamp(&same)?;
        Ok(changed)
    }

    /// Hashes the metadata files as they will be with one package more, up to their last chunk.
    /// Gives up as soon as `stop` says so.
    pub fn prepare(&mut self, stop: &(dyn Fn() -> bool + Sync)) -> Result<(), RepositoryError> {
        let listing = self.catalog()?.listing()?;
        let next = listing.packages() + 1;
        if self.trails[..self.config.kinds().len()]
            .iter()
            .all(|trails| trails.iter().any(|t| t.packages() == next))
        {
            return Ok(());
        }
        let pieces = self.catalog()?.pieces();
        let patient = Patient { pieces: &pieces, stop };
        let mut walked = Vec::new();
        for (i, &kind) in self.config.kinds().iter().enumerate() {
            let parts = listing.parts(i);
            match walk(press::recipe(&self.config, kind, next, &parts), &patient) {
                Ok(trail) => walked.push(trail),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(source) => return Err(press::failed(&self.config, source)),
            }
        }
        for (kept, trail) in self.trails.iter_mut().zip(walked) {
            kept.retain(|t| t.packages() != next);
            kept.push(trail);
        }
        debug!(repo.name = %self.config.name, "prepared the next publication of {}", self.config.name);
        Ok(())
    }

    /// Makes the file of pieces small again when more than half of it is dead.
    pub fn tidy(&mut self) {
        let name = self.config.name.clone();
        let outcome = self.catalog().and_then(|catalog| {
            catalog.checkpoint()?;
            let (dead, all) = (catalog.dead_bytes()?, catalog.pieces().len());
            if dead < WORTH_COMPACTING || dead * 2 < all {
                return Ok(false);
            }
            catalog.compact().map(|()| true)
        });
        if let Err(error) = self.forget_recipes_for_room() {
            warn!(repo.name = %name, "cannot make room among superseded metadata of {name}: {error}");
        }
        match outcome {
            // Trails know parts by where their pieces lay.
            Ok(true) => self.trails = Default::default(),
            Ok(false) => {}
            Err(error) => warn!(repo.name = %name, "cannot compact the pieces of {name}: {error}"),
        }
        if let Err(error) = self.databases.tidy() {
            warn!(repo.name = %name, "cannot make the databases of {name} smaller: {error}");
        }
        compression::release_memory();
    }
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
