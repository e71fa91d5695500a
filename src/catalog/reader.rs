//! Questions to the catalog, asked over a read-only connection of their own.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::chunks::corrupt;
use super::{CatalogError, FILE, PieceFile, Recipe, ledger, meta};
use crate::package::{ChecksumType, Location, Nevra, PkgId};
use crate::tree::{Dirty, FileStamp, Rejected};

/// A package as the catalog lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub location: Location,
    pub stamp: FileStamp,
    pub pkgid: PkgId,
}

/// A read-only view, usable while the writer works.
pub struct Reader {
    db: Connection,
    directory: PathBuf,
    checksum: ChecksumType,
}

impl Reader {
    /// Opens the catalog in `directory`, which must exist; `checksum` is the repository's type of pkgid.
    pub fn open(directory: &Path, checksum: ChecksumType) -> Result<Self, CatalogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(directory.join(FILE), flags)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        db.pragma_update(None, "cache_size", -256)?;
        Ok(Self { db, directory: directory.to_owned(), checksum })
    }

    /// The package at this location.
    pub fn package(&self, location: &Location) -> Result<Option<Listed>, CatalogError> {
        let found = self
            .db
            .prepare_cached(
                "SELECT location, inode, size, mtime_ns, ctime_ns, pkgid FROM package WHERE location = ?",
            )?
            .query_row([location.as_str()], |row| self.package_row(row))
            .optional()?;
        Ok(found)
    }

    /// All packages of this name, epoch, version, release and architecture.
    pub fn packages_of(&self, nevra: &Nevra) -> Result<Vec<Listed>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location, inode, size, mtime_ns, ctime_ns, pkgid FROM package WHERE nevra = ?",
        )?;
        let rows = statement.query_map([nevra.to_string()], |row| self.package_row(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Every file that is not published, with its reason, by location.
    pub fn rejected(&self) -> Result<Vec<Rejected>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location, inode, size, mtime_ns, ctime_ns, reason FROM rejected ORDER BY location",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Rejected { location: location(row)?, stamp: stamp(row)?, reason: row.get(5)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Packages that share name, epoch, version, release and architecture with another, but not the bytes.
    pub fn duplicates(&self) -> Result<Vec<Location>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location FROM package WHERE nevra IN
                 (SELECT nevra FROM package GROUP BY nevra HAVING count(DISTINCT pkgid) > 1)
             ORDER BY nevra, location",
        )?;
        Ok(statement.query_map([], location)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The recipe of a superseded metadata file, with the pieces it names, and when it was superseded
    /// (seconds since the epoch); `None` where there is no recipe of that name.
    pub fn recipe(&self, name: &str) -> Result<Option<(Recipe, PieceFile, u64)>, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let Some((recipe, superseded_at)) = ledger::recipe(&tx, name)? else { return Ok(None) };
        let number = meta::get(&tx, meta::PIECES)?.unwrap_or(0);
        let pieces = PieceFile::open_existing(&self.directory, number).map_err(CatalogError::Pieces)?;
        Ok(Some((recipe, pieces, superseded_at)))
    }

    /// How many packages are listed.
    pub fn count_packages(&self) -> Result<u64, CatalogError> {
        Ok(self.db.prepare_cached("SELECT count(*) FROM package")?.query_row([], |row| row.get(0))?)
    }

    /// At most `limit` packages whose locations come after this one, by location. Those that are to be looked
    /// at again anyway are left out.
    pub fn packages_after(&self, location: &str, limit: usize) -> Result<Vec<Listed>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location, inode, size, mtime_ns, ctime_ns, pkgid FROM package
             WHERE location > ? ORDER BY location LIMIT ?",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![location, limit], |row| self.package_row(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Stamps of every known location, published or rejected.
    pub fn stamps(&self) -> Result<Vec<(Location, FileStamp)>, CatalogError> {
        stamps(&self.db, &Dirty::everything())
    }

    /// Whether this location is published or rejected.
    pub fn knows(&self, location: &Location) -> Result<bool, CatalogError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM package WHERE location = ?1)
                       OR EXISTS (SELECT 1 FROM rejected WHERE location = ?1)";
        Ok(self.db.prepare_cached(sql)?.query_row([location.as_str()], |row| row.get(0))?)
    }

    /// Names of the files in repodata/ that are ours.
    pub fn metadata_files(&self) -> Result<Vec<String>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT name FROM metadata_file")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// SHA-256 of the repomd.xml that was published last; `None` while a publication is due.
    pub fn published_sum(&self) -> Result<Option<String>, CatalogError> {
        Ok(meta::get::<String>(&self.db, meta::PUBLISHED)?.filter(|text| !text.is_empty()))
    }

    /// Whether every piece that the next publication would be made of is as it was written.
    pub fn pieces_are_whole(&self) -> Result<bool, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let chunks = super::chunks::load(&tx)?;
        let number = meta::get(&tx, meta::PIECES)?.unwrap_or(0);
        let pieces = match PieceFile::open_existing(&self.directory, number) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && chunks.is_empty() => {
                return Ok(true);
            }
            pieces => pieces.map_err(CatalogError::Pieces)?,
        };
        Ok(chunks.iter().flat_map(|chunk| chunk.parts).all(|part| super::part_is_whole(&pieces, &part)))
    }

    /// The publication of this number, if somebody may still ask for it.
    pub fn publication(&self, number: u64) -> Result<Option<super::Publication>, CatalogError> {
        Ok(super::publications::publication(&self.db, number)?)
    }

    fn package_row(&self, row: &Row<'_>) -> rusqlite::Result<Listed> {
        let bytes: Vec<u8> = row.get(5)?;
        let pkgid = PkgId::new(self.checksum, &bytes).ok_or_else(|| corrupt("pkgid"))?;
        Ok(Listed { location: location(row)?, stamp: stamp(row)?, pkgid })
    }
}

fn location(row: &Row<'_>) -> rusqlite::Result<Location> {
    Location::parse(row.get_ref(0)?.as_str()?).map_err(|_| corrupt("location"))
}

fn stamp(row: &Row<'_>) -> rusqlite::Result<FileStamp> {
    Ok(FileStamp {
        inode: row.get::<_, i64>(1)?.cast_unsigned(),
        size: row.get::<_, i64>(2)?.cast_unsigned(),
        mtime_ns: row.get(3)?,
        ctime_ns: row.get(4)?,
    })
}

/// Stamps of every known location that is one of `places` or lies below one of them.
pub fn stamps(db: &Connection, places: &Dirty) -> Result<Vec<(Location, FileStamp)>, CatalogError> {
    let mut found = Vec::new();
    for table in ["package", "rejected"] {
        let columns = format!("SELECT location, inode, size, mtime_ns, ctime_ns FROM {table}");
        let read = |row: &Row<'_>| Ok((location(row)?, stamp(row)?));
        if places.everything {
            for row in db.prepare_cached(&columns)?.query_map([], read)? {
                found.push(row?);
            }
            continue;
        }
        // Everything below `a` sorts from `a/` up to, and without, `a0`, the character after the slash.
        let mut exact = db.prepare_cached(&format!("{columns} WHERE location = ?"))?;
        let mut below = db.prepare_cached(&format!("{columns} WHERE location >= ? AND location < ?"))?;
        for place in places.settled.iter().chain(&places.unsure) {
            let text = place.as_str();
            for row in exact.query_map([text], read)? {
                found.push(row?);
            }
            for row in below.query_map(params![format!("{text}/"), format!("{text}0")], read)? {
                found.push(row?);
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}
