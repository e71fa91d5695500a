//! The SQLite databases that yum on EL6 and EL7 reads instead of XML: createrepo_c's schema, dbversion 10.
//!
//! A database is made from the packages' XML, whoever wrote that, so its rows say exactly what the XML says.

pub mod kept;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

pub use kept::Kept;

use crate::package::Checksum;
use crate::repodata::MetadataType;
use crate::repodata::element::{Step, attribute, visit};
use crate::repodata::read::pkgid_of;

/// As in `<database_version>`.
pub const VERSION: u32 = 10;

const LISTS: [&str; 8] =
    ["requires", "provides", "conflicts", "obsoletes", "suggests", "enhances", "recommends", "supplements"];

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

/// Why a package's entry gives no rows.
enum Bad {
    Sqlite(rusqlite::Error),
    Entry(String),
}

impl From<rusqlite::Error> for Bad {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
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

fn tables(kind: MetadataType) -> String {
    let mut sql = String::new();
    match kind {
        MetadataType::Primary => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT,  name TEXT,  arch TEXT,  \
                    version TEXT,  epoch TEXT,  release TEXT,  summary TEXT,  description TEXT,  url TEXT,  \
                    time_file INTEGER,  time_build INTEGER,  rpm_license TEXT,  rpm_vendor TEXT,  rpm_group TEXT,  \
                    rpm_buildhost TEXT,  rpm_sourcerpm TEXT,  rpm_header_start INTEGER,  rpm_header_end INTEGER,  \
                    rpm_packager TEXT,  size_package INTEGER,  size_installed INTEGER,  size_archive INTEGER,  \
                    location_href TEXT,  location_base TEXT,  checksum_type TEXT);\
                    CREATE TABLE files (  name TEXT,  type TEXT,  pkgKey INTEGER);";
            for list in LISTS {
                let pre = if list == "requires" { ", pre BOOLEAN DEFAULT FALSE" } else { "" };
                sql += &format!(
                    "CREATE TABLE {list} (  name TEXT,  flags TEXT,  epoch TEXT,  version TEXT,  release TEXT,  \
                     pkgKey INTEGER {pre});"
                );
            }
            sql += "CREATE TRIGGER removals AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM files WHERE pkgKey = old.pkgKey;";
            for list in LISTS {
                sql += &format!("    DELETE FROM {list} WHERE pkgKey = old.pkgKey;");
            }
            sql += "  END;";
        }
        MetadataType::Filelists | MetadataType::FilelistsExt => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT);\
                    CREATE TABLE filelist (  pkgKey INTEGER,  dirname TEXT,  filenames TEXT,  filetypes TEXT);\
                    CREATE TRIGGER remove_filelist AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM filelist WHERE pkgKey = old.pkgKey;  END;";
        }
        MetadataType::Other => {
            sql += "CREATE TABLE packages (  pkgKey INTEGER PRIMARY KEY,  pkgId TEXT);\
                    CREATE TABLE changelog (  pkgKey INTEGER,  author TEXT,  date INTEGER,  changelog TEXT);\
                    CREATE TRIGGER remove_changelogs AFTER DELETE ON packages  BEGIN    \
                    DELETE FROM changelog WHERE pkgKey = old.pkgKey;  END;";
        }
    }
    sql
}

/// Made last: filling a table that has an index costs several times as much.
fn indexes(kind: MetadataType) -> String {
    match kind {
        MetadataType::Primary => {
            let mut sql = "CREATE INDEX packagename ON packages (name);\
                           CREATE INDEX packageId ON packages (pkgId);\
                           CREATE INDEX filenames ON files (name);\
                           CREATE INDEX pkgfiles ON files (pkgKey);"
                .to_owned();
            for list in LISTS {
                sql += &format!("CREATE INDEX pkg{list} on {list} (pkgKey);");
                if matches!(list, "requires" | "provides") {
                    sql += &format!("CREATE INDEX {list}name ON {list} (name);");
                }
            }
            sql
        }
        MetadataType::Filelists | MetadataType::FilelistsExt => "CREATE INDEX keyfile ON filelist (pkgKey);\
                                    CREATE INDEX pkgId ON packages (pkgId);\
                                    CREATE INDEX dirnames ON filelist (dirname);"
            .into(),
        MetadataType::Other => "CREATE INDEX keychange ON changelog (pkgKey);\
                                CREATE INDEX pkgId ON packages (pkgId);"
            .into(),
    }
}

/// Texts of primary.xml by the names of their columns.
#[derive(Default)]
struct Row(BTreeMap<&'static str, String>);

impl Row {
    fn set(&mut self, column: &'static str, value: Option<String>) {
        self.0.insert(column, value.unwrap_or_default());
    }

    fn text(&self, column: &str) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    /// Where createrepo_c has NULL for what is empty.
    fn nullable(&self, column: &str) -> Option<&str> {
        Some(self.text(column)).filter(|text| !text.is_empty())
    }

    fn number(&self, column: &str) -> i64 {
        self.text(column).trim().parse().unwrap_or(0)
    }
}

fn add_primary(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    let mut row = Row::default();
    let mut list: Option<&'static str> = None;
    let mut file_type = String::new();
    let mut trouble = None;
    let visited = visit(element, |step| {
        let done = match step {
            Step::Open { name, depth: 1, tag, .. } => note_attributes(&mut row, name, tag),
            Step::Open { name, depth: 2, tag, .. } => {
                list = LISTS.into_iter().find(|list| *list == name);
                match name {
                    "header-range" => attribute(tag, "start").and_then(|start| {
                        row.set("header_start", start);
                        row.set("header_end", attribute(tag, "end")?);
                        Ok(())
                    }),
                    "file" => {
                        attribute(tag, "type").map(|kind| file_type = kind.unwrap_or_else(|| "file".into()))
                    }
                    _ => Ok(()),
                }
            }
            Step::Open { name: "entry", depth: 3, tag, .. } => match list {
                Some(list) => {
                    let values = Relation::of(tag)?;
                    trouble = values.insert(connection, list, key).err();
                    Ok(())
                }
                None => Ok(()),
            },
            Step::Close { name: "file", depth: 2, text } => {
                let insert = connection
                    .prepare_cached("INSERT INTO files (name, type, pkgKey) VALUES (?, ?, ?)")
                    .and_then(|mut insert| insert.execute(params![text, file_type, key]));
                trouble = insert.err();
                Ok(())
            }
            Step::Close { name, depth: 1 | 2, text } => {
                note_text(&mut row, name, text);
                Ok(())
            }
            _ => Ok(()),
        };
        match (&trouble, done) {
            (None, done) => done,
            // It is told below, in its own type.
            (Some(_), _) => Err(String::new()),
        }
    });
    if let Some(error) = trouble {
        return Err(error.into());
    }
    visited.map_err(Bad::Entry)?;
    insert_package(connection, key, &row)?;
    Ok(())
}

fn note_attributes(row: &mut Row, name: &str, tag: &quick_xml::events::BytesStart<'_>) -> Result<(), String> {
    let columns: &[(&str, &'static str)] = match name {
        "version" => &[("epoch", "epoch"), ("ver", "version"), ("rel", "release")],
        "checksum" => &[("type", "checksum_type")],
        "time" => &[("file", "time_file"), ("build", "time_build")],
        "size" => {
            &[("package", "size_package"), ("installed", "size_installed"), ("archive", "size_archive")]
        }
        "location" => &[("href", "href"), ("base", "base")],
        _ => &[],
    };
    for (from, column) in columns {
        row.set(column, attribute(tag, from)?);
    }
    Ok(())
}

fn note_text(row: &mut Row, name: &str, text: &str) {
    let column = match name {
        "name" => "name",
        "arch" => "arch",
        "checksum" => "pkgid",
        "summary" => "summary",
        "description" => "description",
        "packager" => "packager",
        "url" => "url",
        "license" => "license",
        "vendor" => "vendor",
        "group" => "group",
        "buildhost" => "buildhost",
        "sourcerpm" => "sourcerpm",
        _ => return,
    };
    row.set(column, Some(text.to_owned()));
}

fn insert_package(connection: &Connection, key: i64, row: &Row) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO packages (pkgKey, pkgId, name, arch, version, epoch, release, summary, description, url, \
         time_file, time_build, rpm_license, rpm_vendor, rpm_group, rpm_buildhost, rpm_sourcerpm, \
         rpm_header_start, rpm_header_end, rpm_packager, size_package, size_installed, size_archive, \
         location_href, location_base, checksum_type) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    insert.execute(params![
        key,
        row.text("pkgid").trim(),
        row.text("name"),
        row.text("arch"),
        row.nullable("version"),
        row.nullable("epoch"),
        row.nullable("release"),
        row.nullable("summary"),
        row.nullable("description"),
        row.nullable("url"),
        row.number("time_file"),
        row.number("time_build"),
        row.text("license"),
        row.text("vendor"),
        row.text("group"),
        row.text("buildhost"),
        row.text("sourcerpm"),
        row.number("header_start"),
        row.number("header_end"),
        row.nullable("packager"),
        row.number("size_package"),
        row.number("size_installed"),
        row.number("size_archive"),
        row.nullable("href"),
        row.nullable("base"),
        row.text("checksum_type"),
    ])?;
    Ok(())
}

/// `<rpm:entry …/>`
struct Relation {
    name: Option<String>,
    flags: Option<String>,
    epoch: Option<String>,
    version: Option<String>,
    release: Option<String>,
    pre: bool,
}

impl Relation {
    fn of(tag: &quick_xml::events::BytesStart<'_>) -> Result<Self, String> {
        let value = |name| Ok::<_, String>(attribute(tag, name)?.filter(|value| !value.is_empty()));
        Ok(Self {
            name: value("name")?,
            flags: value("flags")?,
            epoch: value("epoch")?,
            version: value("ver")?,
            release: value("rel")?,
            pre: value("pre")?.is_some_and(|pre| pre != "0"),
        })
    }

    fn insert(&self, connection: &Connection, list: &str, key: i64) -> rusqlite::Result<()> {
        let Self { name, flags, epoch, version, release, pre } = self;
        let (column, place) = if list == "requires" { (", pre", ", ?") } else { ("", "") };
        let mut insert = connection.prepare_cached(&format!(
            "INSERT INTO {list} (name, flags, epoch, version, release, pkgKey{column}) VALUES (?, ?, ?, ?, ?, ?{place})"
        ))?;
        if list == "requires" {
            let pre = if *pre { "TRUE" } else { "FALSE" };
            insert.execute(params![name, flags, epoch, version, release, key, pre])?;
        } else {
            insert.execute(params![name, flags, epoch, version, release, key])?;
        }
        Ok(())
    }
}

fn add_id(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    let pkgid = pkgid_of(element).map_err(Bad::Entry)?;
    let mut insert = connection.prepare_cached("INSERT INTO packages (pkgKey, pkgId) VALUES (?, ?)")?;
    insert.execute(params![key, pkgid])?;
    Ok(())
}

fn add_filelists(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    add_id(connection, key, element)?;
    // One row a directory: the names in it, and what each of them is.
    let mut directories: BTreeMap<String, (String, String)> = BTreeMap::new();
    let mut letter = 'f';
    let visited = visit(element, |step| {
        match step {
            Step::Open { name: "file", depth: 1, tag, .. } => {
                letter = match attribute(tag, "type")?.as_deref() {
                    Some("dir") => 'd',
                    Some("ghost") => 'g',
                    _ => 'f',
                };
            }
            Step::Close { name: "file", depth: 1, text } => {
                let (directory, name) = match text.rsplit_once('/') {
                    None => (".", text),
                    Some(("", name)) => ("/", name),
                    Some((directory, name)) => (directory.trim_end_matches('/'), name),
                };
                let (names, letters) = directories.entry(directory.to_owned()).or_default();
                if !letters.is_empty() {
                    names.push('/');
                }
                names.push_str(name);
                letters.push(letter);
            }
            _ => {}
        }
        Ok(())
    });
    visited.map_err(Bad::Entry)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO filelist (pkgKey, dirname, filenames, filetypes) VALUES (?, ?, ?, ?)")?;
    for (directory, (names, letters)) in directories {
        insert.execute(params![key, directory, names, letters])?;
    }
    Ok(())
}

fn add_other(connection: &Connection, key: i64, element: &str) -> Result<(), Bad> {
    add_id(connection, key, element)?;
    let mut entries = Vec::new();
    let (mut author, mut date) = (None, 0i64);
    let visited = visit(element, |step| {
        match step {
            Step::Open { name: "changelog", depth: 1, tag, .. } => {
                author = attribute(tag, "author")?.filter(|author| !author.is_empty());
                date = attribute(tag, "date")?.and_then(|date| date.trim().parse().ok()).unwrap_or(0);
            }
            Step::Close { name: "changelog", depth: 1, text } => {
                entries.push((author.take(), date, text.to_owned()));
            }
            _ => {}
        }
        Ok(())
    });
    visited.map_err(Bad::Entry)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO changelog (pkgKey, author, date, changelog) VALUES (?, ?, ?, ?)")?;
    for (author, date, text) in entries {
        insert.execute(params![key, author, date, text])?;
    }
    Ok(())
}
