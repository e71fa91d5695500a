//! A memory of one tree, in SQLite: which packages are in it, and the pieces their metadata is made of.
//!
//! Rebuildable: delete it, and a full scan restores the same metadata. One writer, many readers.

pub mod additional;
pub mod chunks;
pub mod ledger;
mod meta;
pub mod order;
pub mod pieces;
pub mod properties;
pub mod publications;
pub mod reader;
pub mod ready;
mod recut;
mod schema;
pub mod update;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

pub use chunks::Chunk;
pub use ledger::Recipe;
pub use order::{Frontier, Generation, Key};
pub use pieces::PieceFile;
pub use publications::Publication;
pub use reader::Reader;
pub use ready::Ready;
pub use update::{Job, Update};

use crate::crash::{self, Point};
use crate::package::{ChecksumType, Location, Verify};
use crate::repodata::{Compression, Fragments, KINDS, Part, Pieces, RenderOptions, Span};
use crate::tree::{Dirty, FileStamp};

/// The catalog of one repository, open for writing.
pub struct Catalog {
    db: Connection,
    directory: PathBuf,
    pieces: Arc<PieceFile>,
    compression: Compression,
    /// Whether every piece must be made again because the compression changed.
    remake: bool,
}

/// What the catalog must have been made with to be of use; other settings empty it.
#[derive(Debug, Clone)]
pub struct Settings {
    pub compression: Compression,
    pub checksum: ChecksumType,
    pub verify: Verify,
    pub render: RenderOptions,
}

impl Settings {
    fn rendering(&self) -> String {
        let Self { checksum, verify, render, compression: _ } = self;
        format!("{} {checksum} {verify:?} {render:?}", schema::RENDERING)
    }
}

/// What is to be published: all chunks, in order.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub chunks: Vec<Chunk>,
    /// Whether a chunk was made or dropped by the change that this is the listing of.
    pub changed: bool,
    /// Whether packages stand where they would not if what came had been known from the start: an update
    /// without a change is due.
    pub misplaced: bool,
    /// Packages that came while another location has their NEVRA with other bytes: `(new, other)`.
    pub duplicates: Vec<(Location, String)>,
}

impl Listing {
    pub fn packages(&self) -> u64 {
        self.chunks.iter().map(|c| c.packages).sum()
    }

    /// The parts of one file, by its place in [`MetadataType::EVERY`](crate::repodata::MetadataType::EVERY).
    pub fn parts(&self, kind: usize) -> Vec<Part> {
        self.chunks.iter().map(|c| c.parts[kind]).collect()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{} was written by a newer createrepod (catalog version {found}, this one knows {}); it was left untouched: \
             install the newer createrepod, or move the file away to have it made anew", path.display(), schema::VERSION)]
    Newer { path: PathBuf, found: u32 },
    #[error("{} is the catalog of {remembered}, not of {}; give each repository a state directory of its own, \
             or delete the catalog if the tree has moved", path.display(), tree.display())]
    OtherTree { path: PathBuf, remembered: String, tree: PathBuf },
    #[error("cannot prepare the catalog in {}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error("cannot keep pieces of metadata in the catalog")]
    Pieces(#[source] io::Error),
    #[error("cannot use the catalog")]
    Sqlite(#[from] rusqlite::Error),
}

impl CatalogError {
    /// Whether the catalog itself is damaged, so that making it anew is the cure.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => {
                matches!(error.code, rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            }
            Self::Sqlite(_)
            | Self::Pieces(_)
            | Self::Newer { .. }
            | Self::OtherTree { .. }
            | Self::Directory { .. } => false,
        }
    }
}

pub const FILE: &str = "catalog.sqlite";

impl Catalog {
    /// Opens the catalog in `directory`, or makes an empty one. A damaged one is set aside and made anew.
    pub fn open(directory: &Path, tree: &Path, settings: &Settings) -> Result<Self, CatalogError> {
        let failed = |source| CatalogError::Directory { directory: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let path = directory.join(FILE);
        refuse_newer(&path)?;
        match Self::open_file(directory, &path, tree, settings) {
            Err(error) if error.is_damage() => {
                remove_all(directory).map_err(failed)?;
                Self::open_file(directory, &path, tree, settings)
            }
            outcome => outcome,
        }
    }

    fn open_file(
        directory: &Path,
        path: &Path,
        tree: &Path,
        settings: &Settings,
    ) -> Result<Self, CatalogError> {
        let db = connect(path)?;
        let tree_text = tree.to_string_lossy();
        match meta::get::<String>(&db, meta::PATH)? {
            Some(remembered) if remembered != tree_text => {
                return Err(CatalogError::OtherTree {
                    path: path.to_owned(),
                    remembered,
                    tree: tree.to_owned(),
                });
            }
            Some(_) => {}
            None => meta::set(&db, meta::PATH, &*tree_text)?,
        }
        if meta::get::<String>(&db, meta::RENDERING)?.is_none_or(|text| text != settings.rendering()) {
            forget_packages(&db, settings)?;
        }
        let number = meta::get::<u64>(&db, meta::PIECES)?.unwrap_or(0);
        let pieces = PieceFile::open(directory, number).map_err(CatalogError::Pieces)?;
        let suffix = settings.compression.suffix();
        let remake = meta::get::<String>(&db, meta::COMPRESSION)?.is_some_and(|text| text != suffix);
        let catalog = Self {
            db,
            directory: directory.to_owned(),
            pieces: Arc::new(pieces),
            compression: settings.compression,
            remake,
        };
        catalog.distrust_lost_writes(settings)?;
        catalog.remove_other_piece_files();
        Ok(catalog)
    }

    /// After a power cut, pieces that were never synced may be gone while the rows that name them are there.
    fn distrust_lost_writes(&self, settings: &Settings) -> Result<(), CatalogError> {
        let open_since: String = meta::get(&self.db, meta::OPEN_SINCE_BOOT)?.unwrap_or_default();
        if open_since.is_empty() || open_since == boot_id() {
            return Ok(());
        }
        let whole =
            self.chunks()?.iter().flat_map(|c| c.parts).all(|part| part_is_whole(&self.pieces, &part));
        if !whole {
            forget_packages(&self.db, settings)?;
        }
        Ok(())
    }

    /// What reads the pieces that a [`Listing`] names.
    pub fn pieces(&self) -> Arc<PieceFile> {
        Arc::clone(&self.pieces)
    }

    /// Whether nothing was ever listed or published from here.
    pub fn is_new(&self) -> Result<bool, CatalogError> {
        // What was superseded before this catalog was made, and taken back, says nothing of what is there now.
        let any = "SELECT EXISTS (SELECT 1 FROM package) OR EXISTS (SELECT 1 FROM rejected)
                   OR EXISTS (SELECT 1 FROM metadata_file WHERE superseded_at IS NULL OR length(head) + length(spans) > 0)";
        Ok(!self.db.query_row(any, [], |row| row.get::<_, bool>(0))?)
    }

    /// The fragments of a package as they are listed; `mtime` in seconds. For a few packages at a time.
    pub fn fragments(&self, location: &Location, mtime: i64) -> Result<Option<Fragments>, CatalogError> {
        let keys = [Generation::Settled, Generation::Young].map(|generation| Key {
            generation,
            mtime,
            location: location.clone(),
        });
        for chunk in self.chunks()? {
            let Some(key) = keys.iter().find(|key| chunk.first <= **key && **key <= chunk.last) else {
                continue;
            };
            let items = recut::open(&chunk, &mut |chunk| chunks::members(&self.db, chunk))?;
            let Some(item) = items.into_iter().find(|item| item.member.key == *key) else { continue };
            let recut::Text::Kept(spans) = item.text else { continue };
            let mut texts = <[Vec<u8>; KINDS]>::default();
            for (text, span) in texts.iter_mut().zip(spans) {
                self.pieces.read(span, text).map_err(CatalogError::Pieces)?;
            }
            let [primary, filelists, other, filelists_ext] = texts;
            return Ok(Some(Fragments { primary, filelists, other, filelists_ext }));
        }
        Ok(None)
    }

    /// All chunks as last committed.
    pub fn chunks(&self) -> Result<Vec<Chunk>, CatalogError> {
        Ok(chunks::load(&self.db)?)
    }

    /// How long each fragment in a chunk is, package by package, in order.
    pub fn fragment_lens(&self, chunk: &Chunk) -> Result<Vec<[u32; KINDS]>, CatalogError> {
        Ok(chunks::members(&self.db, chunk)?.into_iter().map(|member| member.lens).collect())
    }

    /// The listing as last committed.
    pub fn listing(&self) -> Result<Listing, CatalogError> {
        Ok(Listing { chunks: self.chunks()?, ..Listing::default() })
    }

    /// Whether the pieces were made for another compression, so that an update is due without any change.
    pub fn must_remake(&self) -> bool {
        self.remake
    }

    /// Begins a change by forgetting these locations. `coming`: file times (seconds) of what may be put.
    pub fn update<'c, 'l>(
        &'c mut self,
        forget: impl Iterator<Item = &'l Location>,
        coming: impl Iterator<Item = i64>,
        ready: &'c Ready,
    ) -> Result<Update<'c>, CatalogError> {
        let tx = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let remake = std::mem::take(&mut self.remake);
        let pieces = Arc::clone(&self.pieces);
        Ok(Update::begin(tx, pieces, self.compression, remake, forget, coming, ready)?)
    }

    /// The change that a package of this file time (seconds) would bring with it, without the package: `None` where
    /// none moves because of it.
    pub fn update_ahead<'c>(
        &'c mut self,
        coming: i64,
        ready: &'c Ready,
    ) -> Result<Option<Update<'c>>, CatalogError> {
        let times = update::newest(&self.db)?.into_iter().chain([coming]).collect();
        if self.remake || Frontier::of(times) == update::frontier_of_list(&self.db)? {
            return Ok(None);
        }
        self.update(std::iter::empty(), [coming].into_iter(), ready).map(Some)
    }

    /// Whether nothing is listed: where what was known of an older catalog is worth nothing.
    pub fn is_empty(&self) -> Result<bool, CatalogError> {
        Ok(!self.db.query_row("SELECT EXISTS (SELECT 1 FROM chunk)", [], |row| row.get::<_, bool>(0))?)
    }

    /// Stamps of every known location, published or rejected, that is one of `places` or lies below one.
    pub fn stamps(&self, places: &Dirty) -> Result<Vec<(Location, FileStamp)>, CatalogError> {
        reader::stamps(&self.db, places)
    }

    /// The stamp of the package at this location.
    pub fn stamp(&self, location: &Location) -> Result<Option<FileStamp>, CatalogError> {
        let found = self.stamps(&Dirty::settled(location.clone()))?;
        Ok(found.into_iter().find(|(at, _)| at == location).map(|(_, stamp)| stamp))
    }

    /// How many files are listed as rejected.
    pub fn count_rejected(&self) -> Result<usize, CatalogError> {
        Ok(self.db.prepare_cached("SELECT count(*) FROM rejected")?.query_row([], |row| row.get(0))?)
    }

    /// The pkgid of the package at this location.
    pub fn pkgid(&self, location: &Location) -> Result<Option<Vec<u8>>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT pkgid FROM package WHERE location = ?")?;
        Ok(statement.query_row([location.as_str()], |row| row.get(0)).optional()?)
    }

    /// Renews stamps of files whose bytes were found unchanged, and whose size and mtime are as they were.
    pub fn restamp(&mut self, files: &[(Location, FileStamp)]) -> Result<(), CatalogError> {
        let tx = self.db.transaction()?;
        for (location, stamp) in files {
            tx.prepare_cached("UPDATE package SET inode = ?, ctime_ns = ? WHERE location = ?")?
                .execute(rusqlite::params![stamp.inode.cast_signed(), stamp.ctime_ns, location.as_str()])?;
        }
        Ok(tx.commit()?)
    }

    /// Makes the next look at this location find a difference, whatever the file's stamp.
    pub fn distrust(&self, location: &Location) -> Result<(), CatalogError> {
        for table in ["package", "rejected"] {
            // No file has this size. The mtime stays: it is the package's place in the order.
            self.db
                .execute(&format!("UPDATE {table} SET size = -1 WHERE location = ?"), [location.as_str()])?;
        }
        Ok(())
    }

    /// SHA-256 (hexadecimal) of the repomd.xml that shows what is listed; `None` while a publication is due.
    pub fn published(&self) -> Result<Option<String>, CatalogError> {
        Ok(meta::get::<String>(&self.db, meta::PUBLISHED)?.filter(|text| !text.is_empty()))
    }

    /// Remembers which repomd.xml shows what is listed now; `None` before one is replaced.
    pub fn set_published(&self, sha256: Option<&str>) -> Result<(), CatalogError> {
        Ok(meta::set(&self.db, meta::PUBLISHED, sha256.unwrap_or_default())?)
    }

    /// Digests of the keys that the packages were held against, sorted.
    pub fn keyring(&self) -> Result<Vec<String>, CatalogError> {
        let text = meta::get::<String>(&self.db, meta::KEYRING)?.unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Makes the next look find a difference in everything that was rejected, and with `packages` in every
    /// package too, and remembers the keys (their digests) that they are held against from now on.
    pub fn distrust_all(&self, packages: bool, keyring: &[String]) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        tx.execute("UPDATE rejected SET size = -1", [])?;
        if packages {
            tx.execute("UPDATE package SET size = -1", [])?;
        }
        meta::set(&tx, meta::KEYRING, keyring.join("\n"))?;
        Ok(tx.commit()?)
    }

    /// SHA-256 of our repomd.xml.asc and repomd.xml.key in repodata/; `None` where we have none there.
    pub fn signed(&self) -> Result<Option<String>, CatalogError> {
        Ok(meta::get::<String>(&self.db, meta::SIGNED)?.filter(|text| !text.is_empty()))
    }

    /// Remembers which signature and key in repodata/ are ours.
    pub fn set_signed(&self, sums: Option<&str>) -> Result<(), CatalogError> {
        Ok(meta::set(&self.db, meta::SIGNED, sums.unwrap_or_default())?)
    }

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
        let log = fs::metadata(self.directory.join(format!("{FILE}-wal"))).map_or(0, |meta| meta.len());
        if log > WORTH_IT {
            // Readers may hold some of it back; the next time will do.
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Closes in order: everything synced, so that the next start need not distrust it.
    pub fn close(self) -> Result<(), CatalogError> {
        // Set by the first change; a catalog that was only read costs no write.
        if meta::get::<String>(&self.db, meta::OPEN_SINCE_BOOT)?.is_some_and(|boot| !boot.is_empty()) {
            self.pieces.sync().map_err(CatalogError::Pieces)?;
            meta::set(&self.db, meta::OPEN_SINCE_BOOT, "")?;
        }
        self.db.close().map_err(|(_, error)| CatalogError::Sqlite(error))
    }

    /// Removes what an interrupted compaction left.
    fn remove_other_piece_files(&self) {
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

/// Whether a part's bytes are those that were written.
fn part_is_whole(pieces: &PieceFile, part: &Part) -> bool {
    [(part.raw, part.raw_crc), (part.piece, part.piece_crc)].into_iter().all(|(span, crc)| {
        let mut bytes = Vec::new();
        span.offset.checked_add(span.len).is_some_and(|end| end <= pieces.len())
            && pieces.read(span, &mut bytes).is_ok()
            && crc32fast::hash(&bytes) == crc
    })
}

/// Looks at the version in the database header without opening the database, so that nothing is touched.
fn refuse_newer(path: &Path) -> Result<(), CatalogError> {
    let mut header = [0; 64];
    let read = fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut header));
    if read.is_ok() && header.starts_with(b"SQLite format 3\0") {
        let found = u32::from_be_bytes([header[60], header[61], header[62], header[63]]);
        if found > schema::VERSION {
            return Err(CatalogError::Newer { path: path.to_owned(), found });
        }
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, CatalogError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version < schema::VERSION {
        // Before WAL is on, so that the version stands in the file's own header at once.
        let tx = db.transaction()?;
        if version > 0 {
            // Files in repodata/ stay ours; their recipes name pieces that stay as well.
            tx.execute_batch(schema::FORGET)?;
        }
        tx.execute_batch(schema::CREATE)?;
        tx.pragma_update(None, "user_version", schema::VERSION)?;
        tx.commit()?;
    }
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(schema::ADD)?;
    // A power cut may lose the last commits, never consistency; a rescan finds again what was lost.
    db.pragma_update(None, "synchronous", "normal")?;
    db.pragma_update(None, "cache_size", -1024)?;
    db.busy_timeout(std::time::Duration::from_secs(10))?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// Empties the catalog except for what concerns files in repodata/, which stay ours.
fn forget_packages(db: &Connection, settings: &Settings) -> rusqlite::Result<()> {
    let tx = db.unchecked_transaction()?;
    tx.execute_batch("DELETE FROM package; DELETE FROM rejected; DELETE FROM chunk;")?;
    meta::set(&tx, meta::PUBLISHED, "")?;
    meta::set(&tx, meta::RENDERING, settings.rendering())?;
    meta::set(&tx, meta::COMPRESSION, settings.compression.suffix())?;
    tx.commit()
}

/// Clears the way for a new catalog where the old one is damaged.
fn remove_all(directory: &Path) -> io::Result<()> {
    for name in [FILE, "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        match fs::rename(directory.join(name), directory.join(format!("{name}.damaged"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Tells one boot of the machine from another; empty where the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
