//! How much of the file of pieces is dead, and the file without it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;

use super::chunks::{self, Chunk};
use super::pieces::PieceFile;
use super::{Catalog, CatalogError, LOG, ledger, meta};
use crate::crash::{self, Point};
use crate::repodata::{Pieces as _, Span};

impl Catalog {
    /// Bytes of pieces that only recipes of superseded files name.
    pub fn held_bytes(&self) -> Result<u64, CatalogError> {
        Ok(self.recipe_bytes()?.1)
    }

    /// Bytes of pieces that no chunk names: those of current files, and those of superseded ones only.
    fn recipe_bytes(&self) -> Result<(u64, u64), CatalogError> {
        let chunks = self.chunks()?.into_iter().flat_map(|c| c.parts).map(|p| p.piece.offset);
        let mut seen: HashSet<u64> = chunks.collect();
        let mut new = |spans: Vec<Span>| -> u64 {
            spans.iter().filter(|span| seen.insert(span.offset)).map(|span| span.len).sum()
        };
        let current = ledger::current_spans(&self.db)?.into_iter().map(&mut new).sum();
        let mut held = 0;
        ledger::for_all_spans(&self.db, |spans| {
            held += new(spans.clone());
            Ok(false)
        })?;
        Ok((current, held))
    }

    /// Bytes of the file of pieces that neither a chunk nor a recipe names.
    pub fn dead_bytes(&self) -> Result<u64, CatalogError> {
        let live: u64 = self.chunks()?.iter().map(Chunk::stored_bytes).sum();
        let (current, held) = self.recipe_bytes()?;
        Ok(self.pieces.len().saturating_sub(live + current + held))
    }

    /// Copies the living pieces into a new file. Trails over the old one are worthless afterwards.
    pub fn compact(&mut self) -> Result<(), CatalogError> {
        let next =
            PieceFile::open(&self.directory, self.pieces.number() + 1).map_err(CatalogError::Pieces)?;
        let mut chunks = self.chunks()?;
        // A power cut must not bring a catalog back that names the file which is removed below.
        self.db.pragma_update(None, "synchronous", "full")?;
        let tx = self.db.transaction()?;
        let mut moved: HashMap<u64, u64> = HashMap::new();
        let mut buffer = Vec::new();
        let pieces = &self.pieces;
        let mut move_span = |span: &mut Span| -> Result<(), CatalogError> {
            let offset = match moved.get(&span.offset) {
                Some(&offset) => offset,
                None => {
                    buffer.clear();
                    pieces.read(*span, &mut buffer).map_err(CatalogError::Pieces)?;
                    next.append(&buffer).map_err(CatalogError::Pieces)?.offset
                }
            };
            moved.insert(span.offset, offset);
            span.offset = offset;
            Ok(())
        };
        for chunk in &mut chunks {
            for part in &mut chunk.parts {
                // An empty span lies where another begins.
                for span in [&mut part.raw, &mut part.piece].into_iter().filter(|span| span.len > 0) {
                    move_span(span)?;
                }
            }
            chunks::move_parts(&tx, chunk)?;
        }
        ledger::for_all_spans(&tx, |spans| {
            spans.iter_mut().filter(|span| span.len > 0).try_for_each(&mut move_span)?;
            Ok(true)
        })?;
        let synced = next.sync().and_then(|()| fs::File::open(&self.directory)?.sync_all());
        synced.map_err(CatalogError::Pieces)?;
        crash::point(Point::CompactionCopied);
        meta::set(&tx, meta::PIECES, next.number())?;
        tx.commit()?;
        crash::point(Point::CompactionNamed);
        self.db.pragma_update(None, "synchronous", "normal")?;
        self.pieces = Arc::new(next);
        self.remove_other_piece_files();
        Ok(())
    }

    /// Moves what is in the write-ahead log into the database when it has grown, so that no commit has to.
    pub fn checkpoint(&self) -> Result<(), CatalogError> {
        const WORTH_IT: u64 = 1 << 20;
        let log = fs::metadata(self.directory.join(LOG)).map_or(0, |meta| meta.len());
        if log > WORTH_IT {
            // Readers may hold some of it back; the next time will do.
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Removes what an interrupted compaction left.
    pub(super) fn remove_other_piece_files(&self) {
        let current = PieceFile::path(&self.directory, self.pieces.number());
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b"pieces.") && entry.path() != current {
                // A leftover costs disk only; the next start tries again.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
