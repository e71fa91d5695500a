//! What clients were told about before the current publication: kept as long as promised, and no longer.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;
use std::time::Duration;

use tracing::warn;

use super::{Handle, Repository, RepositoryError, lock};
use crate::catalog::{PieceFile, Recipe};
use crate::crash::{self, Point};
use crate::package::{Checksum, Hasher, Location};
use crate::publish::retire::{self, Limits};
use crate::publish::{Place, PublishError};
use crate::repodata::Span;
use crate::tree::FileStamp;

/// For so long superseded files lie whole in repodata/, where other programs may serve them.
const WHOLE_FOR: Duration = Duration::from_secs(600);
/// … as long as they take no more room than so many current publications,
const WHOLE_TIMES: u64 = 2;
/// … or than this: what is small need not be folded before a reader of the disk had time to read it.
const WHOLE_AT_LEAST: u64 = 16 << 20;

impl Repository {
    /// Removes what is past its grace; folds what is old into its recipe.
    pub(super) fn retire(&mut self) -> Result<(), RepositoryError> {
        let now = self.now();
        let place = self.place.clone();
        let grace = self.config.grace.as_secs();
        let room = self.room()?;
        let current = self.current_size;
        let catalog = self.catalog()?;
        catalog.bring_from_the_future(now)?;
        let over: Vec<String> =
            catalog.superseded_by(now.saturating_sub(grace))?.into_iter().map(|f| f.name).collect();
        let over = removed(&place, over);
        if !over.is_empty() {
            crash::point(Point::OldRemoved);
        }
        catalog.forget_metadata_files(&over)?;
        if !over.is_empty() {
            crash::point(Point::OldForgotten);
        }
        catalog.forget_publications(now.saturating_sub(grace))?;
        let limits = Limits {
            whole_for: WHOLE_FOR,
            whole_room: room.min((current * WHOLE_TIMES).max(WHOLE_AT_LEAST)),
        };
        let fold = retire::to_fold(&catalog.superseded_whole()?, now, limits);
        let fold = removed(&place, fold);
        catalog.fold_metadata_files(&fold)?;
        Ok(())
    }

    /// Forgets the oldest recipes when their pieces take more room than they may. Costs a look at all
    /// recipes: for idle times.
    pub(super) fn forget_recipes_for_room(&mut self) -> Result<(), RepositoryError> {
        let room = self.room()?;
        let name = self.config.name.clone();
        let catalog = self.catalog()?;
        let held = catalog.held_bytes()?;
        if held <= room {
            return Ok(());
        }
        let all = catalog.superseded_by(u64::MAX)?;
        let oldest: Vec<String> = all.iter().take(all.len() / 4 + 1).map(|f| f.name.clone()).collect();
        warn!(repo.name = %name, files = oldest.len(),
              "superseded metadata of {name} takes more than grace_space allows; {} files go before their grace has ended",
              oldest.len());
        let oldest = removed(&self.place, oldest);
        Ok(self.catalog()?.forget_metadata_files(&oldest)?)
    }

    fn room(&self) -> Result<u64, RepositoryError> {
        let path = self.config.path.clone();
        let room = retire::room(&path, self.config.grace_space);
        Ok(room.map_err(|source| PublishError::Read { path, source })?)
    }
}

/// Those of `names` that are no longer in `repodata`.
fn removed(place: &Place, names: Vec<String>) -> Vec<String> {
    let gone = |name: &String| match place.remove(name) {
        Ok(()) => true,
        Err(error) => {
            warn!("cannot remove {}: {error}", place.repodata().join(name).display());
            false
        }
    };
    names.into_iter().filter(gone).collect()
}

/// A superseded metadata file: where its bytes lie. Nothing is written to answer with it.
pub struct Superseded {
    /// The file of pieces, which stays as it is also when a compaction makes another one.
    pub pieces: File,
    /// What stands before the pieces, and behind them.
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
    /// Where the pieces lie, in order; neighbours in one.
    pub spans: Vec<Span>,
}

impl Superseded {
    fn of(recipe: Recipe, pieces: PieceFile) -> Self {
        let mut spans: Vec<Span> = Vec::new();
        for span in recipe.spans.into_iter().filter(|span| span.len > 0) {
            match spans.last_mut() {
                Some(last) if last.end() == span.offset => last.len += span.len,
                _ => spans.push(span),
            }
        }
        Self { pieces: pieces.into_file(), head: recipe.frame.head, tail: recipe.frame.tail, spans }
    }

    /// Whether its bytes have this checksum still.
    fn is(&self, checksum: &Checksum) -> io::Result<bool> {
        let mut hasher = Hasher::new(checksum.kind);
        hasher.update(&self.head);
        let mut block = vec![0; 128 << 10];
        for span in &self.spans {
            let mut at = span.offset;
            while at < span.end() {
                let len = block.len().min(usize::try_from(span.end() - at).unwrap_or(usize::MAX));
                self.pieces.read_exact_at(&mut block[..len], at)?;
                hasher.update(&block[..len]);
                at += len as u64;
            }
        }
        hasher.update(&self.tail);
        Ok(hasher.finish() == *checksum)
    }
}

/// Superseded files whose bytes were held against the checksum in their name, with the file of pieces they were read from.
#[derive(Default)]
pub(super) struct Remade(Mutex<HashSet<(u64, String)>>);

/// How many names are remembered.
const REMADE: usize = 10_000;

impl Handle {
    /// A metadata file that is not in repodata/ and of which the recipe is left: superseded, or current and removed by somebody
    /// else. It is read once, to see whether it is what its name says. Blocking.
    pub(super) fn missing_file(&self, location: &Location) -> io::Result<Option<(Superseded, FileStamp)>> {
        let Some(name) = location.as_str().strip_prefix("repodata/") else { return Ok(None) };
        let found = self.with_reader(|reader| reader.recipe(name)).map_err(io::Error::other)?;
        let Some((recipe, pieces, superseded_at)) = found else { return Ok(None) };
        // The same recipe always makes the same bytes, so every answer may have the same stamp.
        let since = superseded_at.or_else(|| Some(self.published()?.revision)).unwrap_or(0);
        let mtime_ns = i64::try_from(since).unwrap_or(0).saturating_mul(1_000_000_000);
        let stamp = FileStamp { inode: 0, size: recipe.size, mtime_ns, ctime_ns: mtime_ns };
        let key = (pieces.number(), name.to_owned());
        let superseded = Superseded::of(recipe, pieces);
        let mut remade = lock(&self.shared.remade.0);
        if !remade.contains(&key) {
            // Held meanwhile: whoever asks for the same waits, and reads nothing.
            let digits = name.split('-').next().unwrap_or_default();
            if let Some(checksum) = Checksum::from_hex(self.config().checksum, digits)
                && !superseded.is(&checksum)?
            {
                warn!(repo.name = %self.config().name, "the superseded {name} is not what it was; it is not served");
                return Ok(None);
            }
            if remade.len() >= REMADE {
                remade.clear();
            }
            remade.insert(key);
        }
        Ok(Some((superseded, stamp)))
    }
}
