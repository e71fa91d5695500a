//! Which files in repodata/ are ours: those of the current publication, and superseded ones.

use rusqlite::params;

use super::{Catalog, CatalogError};

/// A metadata file this daemon wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFile {
    /// In `repodata/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch at which a newer publication took its place; `None` while it is current.
    pub superseded_at: Option<u64>,
}

impl Catalog {
    /// All files this daemon wrote and has not removed; those superseded first stand first.
    pub fn metadata_files(&self) -> Result<Vec<MetadataFile>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT name, size, superseded_at FROM metadata_file ORDER BY superseded_at IS NULL, superseded_at, name",
        )?;
        let files = statement.query_map([], |row| {
            Ok(MetadataFile { name: row.get(0)?, size: row.get(1)?, superseded_at: row.get(2)? })
        })?;
        Ok(files.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes files about to be written, so that a crash cannot leave ours unrecognised.
    pub fn note_metadata_files(&self, files: &[(String, u64)]) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for (name, size) in files {
            tx.prepare_cached(
                "INSERT INTO metadata_file VALUES (?, ?, NULL) ON CONFLICT (name) DO UPDATE SET superseded_at = NULL",
            )?
            .execute(params![name, size])?;
        }
        Ok(tx.commit()?)
    }

    /// Marks every file but `current` as superseded at `now`, where it was not before.
    pub fn supersede_metadata_files(&self, current: &[String], now: u64) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for file in self.metadata_files()? {
            if file.superseded_at.is_none() && !current.contains(&file.name) {
                tx.prepare_cached("UPDATE metadata_file SET superseded_at = ? WHERE name = ?")?
                    .execute(params![now, file.name])?;
            }
        }
        Ok(tx.commit()?)
    }

    /// Forgets a file that was removed.
    pub fn forget_metadata_file(&self, name: &str) -> Result<(), CatalogError> {
        self.db.prepare_cached("DELETE FROM metadata_file WHERE name = ?")?.execute([name])?;
        Ok(())
    }
}
