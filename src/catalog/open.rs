//! Opening a catalog: whose it is, what made it, and whether what it names is still there.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::pieces::PieceFile;
use super::{Catalog, CatalogError, FILE, LOG, Settings, check, connect, meta, schema};

/// What is known of a catalog before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// Nothing: this process has not had it yet.
    Unknown,
    /// It is as this process left it.
    AsLeft,
    /// This process had one here, and it is not as it was left.
    Changed,
}

/// A catalog that was opened.
pub struct Opened {
    pub catalog: Catalog,
    /// Why it was made anew; `None` where it is the one that lay there.
    pub renewed: Option<CatalogError>,
}

impl Catalog {
    /// Opens the catalog in `directory`, or makes an empty one. One that is not what was written is set aside and made
    /// anew.
    pub fn open(
        directory: &Path,
        tree: &Path,
        settings: &Settings,
        before: Before,
    ) -> Result<Opened, CatalogError> {
        let failed = |source| CatalogError::Directory { directory: directory.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let path = directory.join(FILE);
        match Self::open_file(directory, &path, tree, settings, before) {
            Err(error)
                if error.is_damage()
                    || error.is_of_another() && before == Before::Changed
                    || error.is_read_only() && fs::File::options().write(true).open(&path).is_ok() =>
            {
                set_aside(directory)?;
                let catalog = Self::open_file(directory, &path, tree, settings, before)?;
                Ok(Opened { catalog, renewed: Some(error) })
            }
            outcome => outcome.map(|catalog| Opened { catalog, renewed: None }),
        }
    }

    /// Makes the catalog in `directory`, which was another tree's, the one of `tree`. Nothing is published of it there.
    pub fn give_to(directory: &Path, tree: &Path) -> Result<(), CatalogError> {
        let db = connect(&directory.join(FILE))?;
        let tx = db.unchecked_transaction()?;
        meta::set(&tx, meta::PATH, &*tree.to_string_lossy())?;
        meta::set(&tx, meta::PUBLISHED, "")?;
        meta::set(&tx, meta::LOOKED_SINCE_BOOT, "")?;
        Ok(tx.commit()?)
    }

    fn open_file(
        directory: &Path,
        path: &Path,
        tree: &Path,
        settings: &Settings,
        before: Before,
    ) -> Result<Self, CatalogError> {
        refuse_newer(path)?;
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
        if before != Before::AsLeft
            && let Some(why) = check::unsound(&db, pieces.len())?
        {
            return Err(CatalogError::Unsound { path: path.to_owned(), why });
        }
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
        if !self.chunks()?.iter().all(|chunk| self.pieces.holds(chunk)) {
            forget_packages(&self.db, settings)?;
        }
        Ok(())
    }
}

/// Whether what lies in `directory` cannot be read to its end, whoever asks.
pub fn is_unreadable(directory: &Path) -> bool {
    let read = |name: &str| {
        fs::File::open(directory.join(name)).and_then(|mut file| io::copy(&mut file, &mut io::sink()))
    };
    [FILE, LOG].into_iter().any(|name| match read(name) {
        Ok(_) => false,
        Err(error) => {
            let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
            matches!(
                code,
                Some(
                    rustix::io::Errno::IO
                        | rustix::io::Errno::ACCESS
                        | rustix::io::Errno::PERM
                        | rustix::io::Errno::ISDIR
                )
            )
        }
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

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut db = connect::writer(path)?;
    let version: u32 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version < schema::VERSION {
        // Before WAL is on, so that the version stands in the file's own header at once.
        let tx = db.transaction()?;
        if version > 0 {
            // Files in repodata/ stay ours; their recipes name pieces that stay as well.
            tx.execute_batch(schema::FORGET)?;
            add_sums(&tx)?;
        }
        tx.execute_batch(schema::CREATE)?;
        tx.pragma_update(None, "user_version", schema::VERSION)?;
        tx.commit()?;
    }
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(schema::ADD)?;
    // A power cut may lose the last commits, never consistency; a rescan finds again what was lost.
    db.pragma_update(None, "synchronous", "normal")?;
    Ok(db)
}

/// Gives the rows that an older version left their sums.
fn add_sums(tx: &Connection) -> rusqlite::Result<()> {
    for (table, sum) in schema::KEPT {
        let lacks = "SELECT EXISTS (SELECT 1 FROM pragma_table_info(?1))
                         AND NOT EXISTS (SELECT 1 FROM pragma_table_info(?1) WHERE name = 'sum')";
        if tx.query_row(lacks, [table], |row| row.get(0))? {
            tx.execute_batch(&format!(
                "ALTER TABLE {table} ADD COLUMN sum INTEGER; UPDATE {table} SET sum = {sum};"
            ))?;
        }
    }
    Ok(())
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

/// Clears the way for a new catalog where the old one is of no use. It stays there under another name.
pub fn set_aside(directory: &Path) -> Result<(), CatalogError> {
    for name in [FILE, LOG, "catalog.sqlite-shm"] {
        match fs::rename(directory.join(name), directory.join(format!("{name}.damaged"))) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(CatalogError::Directory { directory: directory.to_owned(), source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells one boot of the machine from another; empty where the kernel does not say.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}
