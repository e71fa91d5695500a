//! The SQLite databases that yum on EL6 and EL7 reads instead of XML: createrepo_c's schema, dbversion 10.
//!
//! A database is made from the packages' XML, whoever wrote that, so its rows say exactly what the XML says.

pub mod kept;
mod rows;
mod schema;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

pub use kept::Kept;

use crate::package::Checksum;
use crate::repodata::MetadataType;
use rows::{Bad, add_filelists, add_other, add_primary};
use schema::{indexes, tables};

/// As in `<database_version>`.
pub const VERSION: u32 = 10;

/// One database being made.
pub struct Database {
    kind: MetadataType,
    path: PathBuf,
    connection: Connection,
    /// Of the last package.
    key: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    #[error("cannot write the database {}", path.display())]
    Write { path: PathBuf, source: rusqlite::Error },
    #[error("cannot put a package into the database {}: {why}", path.display())]
    Package { path: PathBuf, why: String },
    #[error("cannot read the packages that the database {} is to hold", path.display())]
    Packages { path: PathBuf, source: io::Error },
    #[error("cannot keep databases in {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
}

impl Database {
    /// Makes an empty database; there must be no file at `path`.
    pub fn create(kind: MetadataType, path: &Path) -> Result<Self, DatabaseError> {
        let make = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(path)?;
            // Nobody sees the file before it is whole.
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;",
            )?;
            connection.execute_batch(&tables(kind))?;
            connection.execute_batch("BEGIN")?;
            Ok(connection)
        };
        let connection = make().map_err(|source| DatabaseError::Write { path: path.to_owned(), source })?;
        Ok(Self { kind, path: path.to_owned(), connection, key: 0 })
    }

    /// Puts in the next package: its element of primary.xml, filelists.xml (or filelists-ext.xml) or other.xml.
    pub fn add(&mut self, element: &str) -> Result<(), DatabaseError> {
        self.key += 1;
        self.add_as(self.key, element)
    }

    /// The same under a `pkgKey` that no package has.
    pub fn add_as(&self, key: i64, element: &str) -> Result<(), DatabaseError> {
        let added = match self.kind {
            MetadataType::Primary => add_primary(&self.connection, key, element),
            MetadataType::Filelists | MetadataType::FilelistsExt => {
                add_filelists(&self.connection, key, element)
            }
            MetadataType::Other => add_other(&self.connection, key, element),
        };
        added.map_err(|bad| match bad {
            Bad::Sqlite(source) => self.failed(source),
            Bad::Entry(why) => DatabaseError::Package { path: self.path.clone(), why },
        })
    }

    /// Ends the database. `xml` is the checksum of the compressed XML file that says the same.
    pub fn finish(self, xml: &Checksum) -> Result<(), DatabaseError> {
        let finish = || -> rusqlite::Result<()> {
            self.connection.execute_batch("COMMIT")?;
            self.connection.execute_batch(&indexes(self.kind))?;
            // It changes with every publication. At the end of the file it leaves what stands in front of it, and
            // its hash, as they were.
            self.connection.execute_batch("CREATE TABLE db_info (dbversion INTEGER, checksum TEXT)")?;
            self.connection.execute(
                "INSERT INTO db_info (dbversion, checksum) VALUES (?, ?)",
                params![VERSION, xml.to_hex()],
            )?;
            Ok(())
        };
        finish().map_err(|source| self.failed(source))
    }

    /// Opens a finished database to change it. Whoever is killed between [`Database::begin`] and the end of
    /// [`Database::commit`] leaves a damaged file: nothing is written twice to be safe from that.
    pub fn open(kind: MetadataType, path: &Path) -> Result<Self, DatabaseError> {
        let open = || -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            // What was taken out must not be published on in free pages.
            connection.execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE; \
                 PRAGMA secure_delete = ON;",
            )?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        };
        let connection = open().map_err(|source| DatabaseError::Write { path: path.to_owned(), source })?;
        Ok(Self { kind, path: path.to_owned(), connection, key: 0 })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a change.
    pub fn begin(&self) -> Result<(), DatabaseError> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(|source| self.failed(source))
    }

    /// A `pkgKey` above all that are taken.
    pub fn next_key(&self) -> Result<i64, DatabaseError> {
        let ask = "SELECT coalesce(max(pkgKey), 0) + 1 FROM packages";
        self.connection.query_row(ask, [], |row| row.get(0)).map_err(|source| self.failed(source))
    }

    /// How many packages it holds.
    pub fn count(&self) -> Result<u64, DatabaseError> {
        let ask = "SELECT count(*) FROM packages";
        self.connection.query_row(ask, [], |row| row.get(0)).map_err(|source| self.failed(source))
    }

    /// Takes a package out with all that belongs to it.
    pub fn remove(&self, key: i64) -> Result<(), DatabaseError> {
        let remove =
            || self.connection.prepare_cached("DELETE FROM packages WHERE pkgKey = ?")?.execute([key]);
        remove().map(|_| ()).map_err(|source| self.failed(source))
    }

    /// Ends a change. `xml` is the checksum of the compressed XML file that says the same now.
    pub fn commit(&self, xml: &Checksum) -> Result<(), DatabaseError> {
        let commit = || -> rusqlite::Result<()> {
            let sum = xml.to_hex();
            self.connection.execute("UPDATE db_info SET checksum = ?1 WHERE checksum <> ?1", [sum])?;
            self.connection.execute_batch("COMMIT")
        };
        commit().map_err(|source| self.failed(source))
    }

    /// Makes the file small again when more than half of it, and more than `worth_it` bytes, are free.
    pub fn shrink(&self, worth_it: i64) -> Result<bool, DatabaseError> {
        let number = |pragma: &str| {
            self.connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0))
        };
        let shrink = || -> rusqlite::Result<bool> {
            let (free, all, size) = (number("freelist_count")?, number("page_count")?, number("page_size")?);
            let due = free * 2 > all && free * size > worth_it;
            if due {
                self.connection.execute_batch("VACUUM")?;
            }
            Ok(due)
        };
        shrink().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> DatabaseError {
        DatabaseError::Write { path: self.path.clone(), source }
    }
}

/// Opens a database as it is to be published.
///
/// What SQLite counts in the first page with every change is left out, so that the first block of a file stays as it was:
/// the change counter, and the length, which is the file's own where the counter beside it ("version-valid-for") tells
/// that it was not kept up to date. <https://www.sqlite.org/fileformat2.html#in_header_database_size>
pub fn published(path: &Path) -> io::Result<impl Read + use<>> {
    let mut file = File::open(path)?;
    let mut header = [0; 100];
    file.read_exact(&mut header)?;
    let mut set = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_be_bytes());
    // The change counter, the length in pages, the counter that this length belongs to.
    set(24, 1);
    set(28, 0);
    set(92, 0);
    Ok(io::Cursor::new(header).chain(file))
}
