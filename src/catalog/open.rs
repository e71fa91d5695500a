//! Opening a catalog: whose it is, what made it, and whether what it names is still there.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::pieces::PieceFile;
use super::{Catalog, CatalogError, FILE, Settings, meta, schema};
use crate::repodata::{Part, Pieces as _};

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
}

/// Whether a part's bytes are those that were written.
pub(super) fn part_is_whole(pieces: &PieceFile, part: &Part) -> bool {
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
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
