//! A memory of one tree, in SQLite: which packages are in it, and the pieces their metadata is made of.
//!
//! Rebuildable: delete it, and a full scan restores the same metadata. One writer, many readers.

pub mod additional;
mod beside;
mod check;
pub mod chunks;
mod compact;
mod connect;
pub mod identity;
mod job;
pub mod ledger;
mod meta;
mod open;
pub mod order;
pub mod pieces;
pub mod properties;
pub mod publications;
pub mod reader;
pub mod ready;
mod recut;
mod schema;
mod sums;
mod trust;
pub mod update;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};

pub use chunks::Chunk;
pub use identity::Identity;
pub use job::Job;
pub use ledger::Recipe;
pub use open::{Before, Opened, is_unreadable, set_aside};
pub use order::{Frontier, Generation, Key};
pub use pieces::PieceFile;
pub use publications::Publication;
pub use reader::Reader;
pub use ready::Ready;
pub use trust::HeldAgainst;
pub use update::Update;

use crate::package::{ChecksumType, Location, Verify};
use crate::repodata::chunk::damaged;
use crate::repodata::{Compression, Fragments, KINDS, Part, Pieces as _, RenderOptions};
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
    #[error("{} is the catalog of {remembered}, which is served now, not of {}; give each repository a state directory of \
             its own", path.display(), tree.display())]
    OtherTree { path: PathBuf, remembered: String, tree: PathBuf },
    #[error("cannot prepare the catalog in {}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error("{} is not as it was written: {why}", path.display())]
    Unsound { path: PathBuf, why: String },
    #[error("{} is not the one that was left there; it is looked at again", path.display())]
    NotAsLeft { path: PathBuf },
    #[error("cannot copy {} to read it", path.display())]
    Copy { path: PathBuf, source: io::Error },
    #[error("cannot keep pieces of metadata in the catalog")]
    Pieces(#[source] io::Error),
    #[error("cannot use the catalog")]
    Sqlite(#[from] rusqlite::Error),
}

impl CatalogError {
    /// Whether the catalog itself is damaged, so that making it anew is the cure.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Unsound { .. } => true,
            Self::Sqlite(error) => is_damage(error),
            Self::Pieces(_)
            | Self::NotAsLeft { .. }
            | Self::Copy { .. }
            | Self::Newer { .. }
            | Self::OtherTree { .. }
            | Self::Directory { .. } => false,
        }
    }

    /// Whether the system failed, and the same may work at another time.
    pub fn is_of_the_system(&self) -> bool {
        matches!(self, Self::Sqlite(error) if !is_damage(error))
    }

    /// Whether a disk is full.
    pub fn is_no_room(&self) -> bool {
        let code = match self {
            Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) => error.code,
            Self::Pieces(source) | Self::Directory { source, .. } | Self::Copy { source, .. } => {
                return source.kind() == io::ErrorKind::StorageFull;
            }
            _ => return false,
        };
        code == ErrorCode::DiskFull
    }

    /// Whether it is a good catalog, and none for us.
    fn is_of_another(&self) -> bool {
        matches!(self, Self::OtherTree { .. } | Self::Newer { .. })
    }

    /// Whether SQLite says that the database must not be written to.
    fn is_read_only(&self) -> bool {
        matches!(self, Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ReadOnly)
    }
}

/// Whether this says that the database holds what nobody has written; otherwise the system failed.
fn is_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationAborted,
        OperationInterrupted, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    match error {
        rusqlite::Error::SqliteFailure(error, _) => !matches!(
            error.code,
            CannotOpen
                | DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | OperationAborted
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        ),
        // A value that is none of ours, a row that is missing, a table or a column.
        _ => true,
    }
}

pub const FILE: &str = "catalog.sqlite";
/// Its write-ahead log.
const LOG: &str = "catalog.sqlite-wal";

impl Catalog {
    /// What reads the pieces that a [`Listing`] names.
    pub fn pieces(&self) -> Arc<PieceFile> {
        Arc::clone(&self.pieces)
    }

    /// Whether nothing was ever listed or published from here.
    pub fn is_new(&self) -> Result<bool, CatalogError> {
        // Files that were there before this catalog was made, and were taken back, have no recipe and say nothing of what it knows.
        let any = "SELECT EXISTS (SELECT 1 FROM package) OR EXISTS (SELECT 1 FROM rejected)
                   OR EXISTS (SELECT 1 FROM metadata_file WHERE length(head) + length(spans) > 0)";
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
            for ((text, span), sum) in texts.iter_mut().zip(spans).zip(item.member.sums) {
                self.pieces.read(span, text).map_err(CatalogError::Pieces)?;
                if crc32fast::hash(text) != sum {
                    return Err(CatalogError::Pieces(damaged()));
                }
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
        let listing = Listing { chunks: self.chunks()?, ..Listing::default() };
        match check::count(&self.db)? == listing.packages() {
            true => Ok(listing),
            false => Err(chunks::corrupt("list").into()),
        }
    }

    /// Packages of chunks whose bytes are not all as they were written. Reads all of them.
    pub fn damaged_packages(&self) -> Result<Vec<Location>, CatalogError> {
        let mut damaged = Vec::new();
        for chunk in self.chunks()?.iter().filter(|chunk| !self.pieces.holds(chunk)) {
            damaged.extend(chunks::members(&self.db, chunk)?.into_iter().map(|member| member.key.location));
        }
        Ok(damaged)
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

    /// SHA-256 of our repomd.xml.asc and repomd.xml.key in repodata/; `None` where we have none there.
    pub fn signed(&self) -> Result<Option<String>, CatalogError> {
        Ok(meta::get::<String>(&self.db, meta::SIGNED)?.filter(|text| !text.is_empty()))
    }

    /// Remembers which signature and key in repodata/ are ours.
    pub fn set_signed(&self, sums: Option<&str>) -> Result<(), CatalogError> {
        Ok(meta::set(&self.db, meta::SIGNED, sums.unwrap_or_default())?)
    }

    /// Closes in order: everything synced, so that the next start need not distrust it. What is left is what is to be
    /// found when it is opened again.
    pub fn close(self) -> Result<Identity, CatalogError> {
        // Set by the first change; a catalog that was only read costs no write.
        if meta::get::<String>(&self.db, meta::OPEN_SINCE_BOOT)?.is_some_and(|boot| !boot.is_empty()) {
            self.pieces.sync().map_err(CatalogError::Pieces)?;
            meta::set(&self.db, meta::OPEN_SINCE_BOOT, "")?;
        }
        self.db.close().map_err(|(_, error)| CatalogError::Sqlite(error))?;
        Identity::of(&self.directory, self.pieces.number())
            .map_err(|source| CatalogError::Directory { directory: self.directory, source })
    }
}
