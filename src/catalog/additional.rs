//! Files with additional metadata that were taken in: their stamps, and of modules what they last said.

use rusqlite::{Row, params};

use super::chunks::corrupt;
use super::{Catalog, CatalogError, meta, sums};
use crate::package::Location;
use crate::tree::{FileStamp, Rejected};

/// A file whose content is published, or whose last good content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A [`Location`], or the absolute path of a file outside of the tree, or [`ADOPTED`] and a type.
    pub path: String,
    /// The type of its record.
    pub kind: String,
    pub stamp: FileStamp,
    /// What it says, compressed with zstd: of modules only, which are merged from many files.
    pub text: Option<Vec<u8>>,
}

/// Begins the path of a [`Source`] that is no file: metadata found in repodata/, whose origin nobody knows.
pub const ADOPTED: &str = "repodata/";

impl Source {
    /// Its place in the tree; `None` where it lies elsewhere.
    pub fn location(&self) -> Option<Location> {
        Location::parse(&self.path).ok().filter(|location| !location.is_reserved())
    }
}

const COLUMNS: &str = "path, inode, size, mtime_ns, ctime_ns, kind, text";

impl Catalog {
    /// All sources, by path.
    pub fn additional(&self) -> Result<Vec<Source>, CatalogError> {
        let sql = format!("SELECT {COLUMNS}, sum IS {} FROM additional ORDER BY path", sums::ADDITIONAL);
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_map([], source)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Remembers sources as published, in place of those `gone`.
    pub fn set_additional(&mut self, sources: &[Source], gone: &[String]) -> Result<(), CatalogError> {
        let tx = self.db.transaction()?;
        for path in gone {
            tx.prepare_cached("DELETE FROM additional WHERE path = ?")?.execute([path])?;
        }
        for Source { path, kind, stamp, text } in sources {
            let sql =
                "INSERT OR REPLACE INTO additional VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, sum_of(?1, ?6, ?7))";
            tx.prepare_cached(sql)?.execute(params![
                path,
                stamp.inode.cast_signed(),
                stamp.size.cast_signed(),
                stamp.mtime_ns,
                stamp.ctime_ns,
                kind,
                text
            ])?;
        }
        Ok(tx.commit()?)
    }

    /// Whether a publication was made since this catalog began: until then nobody knows where the additional
    /// metadata in repodata/ came from.
    pub fn knows_additional(&self) -> Result<bool, CatalogError> {
        Ok(meta::get::<bool>(&self.db, meta::ADDITIONAL)?.unwrap_or(false))
    }

    pub fn set_knows_additional(&self) -> Result<(), CatalogError> {
        Ok(meta::set(&self.db, meta::ADDITIONAL, true)?)
    }

    /// Lists files as rejected, and `settled` ones no longer.
    pub fn reject_files(&mut self, rejected: &[Rejected], settled: &[Location]) -> Result<(), CatalogError> {
        let tx = self.db.transaction()?;
        for location in settled {
            tx.prepare_cached("DELETE FROM rejected WHERE location = ?")?.execute([location.as_str()])?;
        }
        for rejected in rejected {
            super::update::reject(&tx, rejected)?;
        }
        Ok(tx.commit()?)
    }

    /// Locations of every rejected file.
    pub fn rejected_locations(&self) -> Result<Vec<Location>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT location FROM rejected")?;
        Ok(statement.query_map([], super::reader::location)?.collect::<rusqlite::Result<_>>()?)
    }
}

fn source(row: &Row<'_>) -> rusqlite::Result<Source> {
    if !row.get::<_, bool>(7)? {
        return Err(corrupt("additional"));
    }
    Ok(Source { path: row.get(0)?, stamp: super::reader::stamp(row)?, kind: row.get(5)?, text: row.get(6)? })
}
