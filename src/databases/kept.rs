//! The three databases of a repository, kept uncompressed between publications, so that a change costs
//! the packages that changed.
//!
//! Beside them lies an index of ours: which packages they hold, under which keys, and the open checksum
//! each file had when it was last published. A file that does not have it any more (a kill in the middle of a
//! change, a power cut, a hand that meddled) tells that all three must be made anew; nothing is synced or
//! written twice to avoid that.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::{Database, DatabaseError, published};
use crate::crash::{self, Point};
use crate::package::{Checksum, ChecksumType, Hasher};
use crate::repodata::MetadataType;
use crate::repodata::blocks::Mark;
use crate::tree::FileStamp;

/// Raise it when rows would look otherwise: databases are then made anew.
const FORMAT: u32 = 3;
const INDEX: &str = "index.sqlite";
/// Free bytes below which a database is left as it is.
const WORTH_SHRINKING: i64 = 256 << 10;

/// A run of packages that follow each other in the listing. Equal ids: equal entries of all packages in it.
pub type RunId = [u8; 16];

/// Says what one package's entry says, in 16 bytes.
type Digest = [u8; 16];

/// What the databases are to hold.
pub trait Packages: Sync {
    /// Every run, in order.
    fn runs(&self) -> &[RunId];
    /// How many packages are in one run.
    fn count(&self, run: usize) -> usize;
    /// The entries of the packages in one run, in one file.
    fn entries(&self, run: usize, kind: MetadataType) -> io::Result<Vec<String>>;
}

/// The databases, open.
pub struct Kept {
    directory: PathBuf,
    index: Connection,
    databases: [Database; 3],
}

/// How a database was last published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Of the compressed file, in `repodata/`.
    pub name: String,
    /// Of the uncompressed file.
    pub open_checksum: Checksum,
    /// Of its blocks.
    pub marks: Vec<Mark>,
}

impl Kept {
    /// Opens what is kept in `directory`; `None` when there is nothing of use. `verify` reads every byte: for where nobody
    /// knows what became of the files.
    pub fn open(directory: &Path, verify: bool) -> Option<Self> {
        let path = directory.join(INDEX);
        if !path.is_file() {
            return None;
        }
        let index = connect(&path).ok()?;
        let format: u32 = index.query_row("PRAGMA user_version", [], |row| row.get(0)).ok()?;
        let is_whole = || {
            let found: String = index.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).ok()?;
            (found == "ok").then_some(())
        };
        if format != FORMAT || verify && is_whole().is_none() {
            return None;
        }
        let databases = open_all(directory).ok()?;
        let kept = Self { directory: directory.to_owned(), index, databases };
        let sound = MetadataType::ALL.into_iter().zip(&kept.databases).all(|(kind, database)| {
            let Some(shown) = kept.shown(kind) else { return false };
            let sum = &shown.open_checksum;
            !verify || checksum_of(database.path(), sum.kind).is_ok_and(|found| found == *sum)
        });
        sound.then_some(kept)
    }

    /// Makes all three anew. `xml`: the checksums of the compressed files that say the same.
    pub fn build(
        directory: &Path,
        packages: &dyn Packages,
        xml: [&Checksum; 3],
    ) -> Result<Self, DatabaseError> {
        discard(directory)?;
        fs::create_dir_all(directory).map_err(cannot_keep(directory))?;
        let made = each_kind(|i, kind| {
            let mut database = Database::create(kind, &directory.join(file_name(kind)))?;
            let mut digests = Vec::new();
            for run in 0..packages.runs().len() {
                let entries = packages.entries(run, kind).map_err(cannot_read(database.path()))?;
                for entry in &entries {
                    database.add(entry)?;
                    digests.push(digest(entry.as_bytes()));
                }
            }
            database.finish(xml[i])?;
            Ok(digests)
        })?;
        crash::point(Point::DatabasesBuilt);
        let path = directory.join(INDEX);
        let mut index = connect(&path).map_err(failed(&path))?;
        let mut fill = || -> Result<(), DatabaseError> {
            let tx = index.transaction().map_err(failed(&path))?;
            tx.execute_batch(
                "CREATE TABLE run (id BLOB PRIMARY KEY, packages BLOB NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
                 CREATE TABLE shown (kind TEXT PRIMARY KEY, name TEXT, checksum_type TEXT, open_checksum TEXT, marks BLOB,
                                     sum INTEGER);",
            )
            .map_err(failed(&path))?;
            let [primary, filelists, other] = &made;
            let digests =
                primary.iter().zip(filelists).zip(other).map(|((p, f), o)| package_digest([p, f, o]));
            let mut held = (1..).zip(digests);
            for (run, id) in packages.runs().iter().enumerate() {
                let held: Vec<_> = held.by_ref().take(packages.count(run)).collect();
                insert_run(&tx, id, &held).map_err(failed(&path))?;
            }
            tx.pragma_update(None, "user_version", FORMAT).map_err(failed(&path))?;
            tx.commit().map_err(failed(&path))
        };
        fill()?;
        let databases = open_all(directory)?;
        Ok(Self { directory: directory.to_owned(), index, databases })
    }

    /// Which of these runs are not held yet, by their place.
    pub fn unknown(&self, runs: &[RunId]) -> Result<Vec<usize>, DatabaseError> {
        let held = self.held_runs()?;
        Ok(runs.iter().enumerate().filter(|(_, id)| !held.contains(*id)).map(|(i, _)| i).collect())
    }

    /// Takes in and out what makes the difference. Entries are asked of runs in [`Kept::unknown`] only.
    ///
    /// After an error nothing kept here is of use.
    pub fn bring_to(&mut self, packages: &dyn Packages, xml: [&Checksum; 3]) -> Result<(), DatabaseError> {
        let path = self.directory.join(INDEX);
        let wanted: HashSet<&RunId> = packages.runs().iter().collect();
        let held = self.held_runs()?;
        let gone: Vec<&RunId> = held.iter().filter(|id| !wanted.contains(*id)).collect();
        let mut leaving: HashMap<Digest, Vec<i64>> = HashMap::new();
        for id in &gone {
            for (key, digest) in self.members(id)? {
                leaving.entry(digest).or_default().push(key);
            }
        }
        let mut next: i64 = self.databases[0].next_key()?;
        let mut added: Vec<(i64, [String; 3])> = Vec::new();
        let mut runs: Vec<(RunId, Vec<(i64, Digest)>)> = Vec::new();
        for (run, id) in packages.runs().iter().enumerate().filter(|(_, id)| !held.contains(*id)) {
            let entries = |kind| packages.entries(run, kind).map_err(cannot_read(&path));
            let [primary, filelists, other] = MetadataType::ALL.map(entries);
            let texts = primary?.into_iter().zip(filelists?).zip(other?).map(|((p, f), o)| [p, f, o]);
            let members = texts.map(|texts| {
                let sums = texts.each_ref().map(|text| digest(text.as_bytes()));
                let digest = package_digest(sums.each_ref());
                let key = leaving.get_mut(&digest).and_then(Vec::pop).unwrap_or_else(|| {
                    added.push((next, texts));
                    next += 1;
                    next - 1
                });
                (key, digest)
            });
            runs.push((*id, members.collect()));
        }

        self.forget_shown_checksums()?;
        crash::point(Point::DatabasesForgotten);
        for (i, database) in self.databases.iter().enumerate() {
            database.begin()?;
            for key in leaving.values().flatten() {
                database.remove(*key)?;
            }
            for (key, texts) in &added {
                database.add_as(*key, &texts[i])?;
            }
            database.commit(xml[i])?;
            crash::point(Point::DatabasesChangedOne);
        }
        crash::point(Point::DatabasesChanged);
        let note = || -> rusqlite::Result<()> {
            let tx = self.index.unchecked_transaction()?;
            for id in gone {
                tx.prepare_cached("DELETE FROM run WHERE id = ?")?.execute([&id[..]])?;
            }
            for (id, members) in &runs {
                insert_run(&tx, id, members)?;
            }
            tx.commit()
        };
        note().map_err(failed(&path))?;
        crash::point(Point::DatabasesIndexed);
        Ok(())
    }

    /// Gives back the room that packages have left, when it is more than half of a file. Whether there was any.
    pub fn shrink(&mut self) -> Result<bool, DatabaseError> {
        let mut any = false;
        for (i, kind) in MetadataType::ALL.into_iter().enumerate() {
            let Some(shown) = self.shown(kind) else { continue };
            if self.databases[i].shrink(WORTH_SHRINKING)? {
                let path = self.databases[i].path();
                let open_checksum = checksum_of(path, shown.open_checksum.kind).map_err(cannot_keep(path))?;
                self.note_shown(kind, &Shown { open_checksum, ..shown })?;
                any = true;
            }
        }
        Ok(any)
    }

    /// The files as they are now.
    pub fn files(&self) -> Files {
        Files::of(&self.directory)
    }

    /// Whether each of the three holds so many packages.
    pub fn hold(&self, packages: u64) -> bool {
        self.databases.iter().all(|database| database.count().is_ok_and(|count| count == packages))
    }

    /// Where a database lies, uncompressed.
    pub fn path(&self, kind: MetadataType) -> PathBuf {
        self.directory.join(file_name(kind))
    }

    /// How a database was last published; its blocks may have changed since.
    pub fn last_shown(&self, kind: MetadataType) -> Option<(String, Vec<Mark>)> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?, row.get(2)?));
        let sql = "SELECT name, marks, sum FROM shown WHERE kind = ?";
        let found = self.index.prepare_cached(sql).ok()?.query_row([kind.as_str()], row);
        let (name, marks, sum): (String, _, u32) = found.optional().ok()??;
        if sum_of([kind.as_str().as_bytes(), name.as_bytes(), &marks]) != sum {
            return None;
        }
        Some((name, Mark::decode(&marks)?))
    }

    fn shown(&self, kind: MetadataType) -> Option<Shown> {
        let (name, marks) = self.last_shown(kind)?;
        let sql = "SELECT checksum_type, open_checksum FROM shown WHERE kind = ?";
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let (sum_kind, hex) = self.index.query_row(sql, [kind.as_str()], row).ok()?;
        let open_checksum = Checksum::from_hex(sum_kind.parse::<ChecksumType>().ok()?, &hex)?;
        Some(Shown { name, open_checksum, marks })
    }

    /// Remembers how a database was published. From now on it counts as whole.
    pub fn note_shown(&self, kind: MetadataType, shown: &Shown) -> Result<(), DatabaseError> {
        let marks = Mark::encode(&shown.marks);
        let note = || {
            let mut insert =
                self.index.prepare_cached("INSERT OR REPLACE INTO shown VALUES (?, ?, ?, ?, ?, ?)")?;
            insert.execute(params![
                kind.as_str(),
                shown.name,
                shown.open_checksum.kind.as_str(),
                shown.open_checksum.to_hex(),
                marks,
                sum_of([kind.as_str().as_bytes(), shown.name.as_bytes(), &marks])
            ])
        };
        note().map(|_| ()).map_err(failed(&self.directory.join(INDEX)))
    }

    fn forget_shown_checksums(&self) -> Result<(), DatabaseError> {
        self.index
            .execute("UPDATE shown SET open_checksum = ''", [])
            .map(|_| ())
            .map_err(failed(&self.directory.join(INDEX)))
    }

    fn held_runs(&self) -> Result<HashSet<RunId>, DatabaseError> {
        let read = || -> rusqlite::Result<_> {
            let mut statement = self.index.prepare_cached("SELECT id FROM run")?;
            statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
        };
        read().map_err(failed(&self.directory.join(INDEX)))
    }

    fn members(&self, id: &RunId) -> Result<Vec<(i64, Digest)>, DatabaseError> {
        let read = || {
            let mut statement = self.index.prepare_cached("SELECT packages, sum FROM run WHERE id = ?")?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?));
            let (packages, sum) = statement.query_row([&id[..]], row)?;
            if sum_of([&id[..], &packages]) == sum {
                Ok(packages)
            } else {
                Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                    Some("a run of packages is not as it was written".to_owned()),
                ))
            }
        };
        let blob = read().map_err(failed(&self.directory.join(INDEX)))?;
        let (members, _) = blob.as_chunks::<24>();
        let member = |bytes: &[u8; 24]| {
            let (key, digest) = bytes.split_first_chunk::<8>()?;
            Some((i64::from_le_bytes(*key), digest.try_into().ok()?))
        };
        Ok(members.iter().filter_map(member).collect())
    }
}

/// The files in a directory as they are now: whoever replaces one, or writes to one, leaves others.
#[derive(Debug, PartialEq, Eq)]
pub struct Files([Option<FileStamp>; 4]);

impl Files {
    pub fn of(directory: &Path) -> Self {
        let [primary, filelists, other] = MetadataType::ALL.map(file_name);
        let stamp = |name: String| {
            let meta = fs::symlink_metadata(directory.join(name)).ok()?;
            Some(FileStamp {
                inode: meta.ino(),
                size: meta.size(),
                mtime_ns: meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec()),
                ctime_ns: meta.ctime().wrapping_mul(1_000_000_000).wrapping_add(meta.ctime_nsec()),
            })
        };
        Self([primary, filelists, other, INDEX.to_owned()].map(stamp))
    }
}

/// Removes what is kept in `directory`, the index first: without it the rest counts for nothing.
pub fn discard(directory: &Path) -> Result<(), DatabaseError> {
    let remove = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let removed =
        remove(fs::remove_file(directory.join(INDEX))).and_then(|()| remove(fs::remove_dir_all(directory)));
    removed.map_err(cannot_keep(directory))
}

/// Does something for each of the three, side by side.
pub fn each_kind<T: Send>(
    work: impl Fn(usize, MetadataType) -> Result<T, DatabaseError> + Sync,
) -> Result<[T; 3], DatabaseError> {
    let [a, b, c] = std::thread::scope(|scope| {
        let work = &work;
        let threads = [0, 1, 2].map(|i| scope.spawn(move || work(i, MetadataType::ALL[i])));
        threads.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok([a?, b?, c?])
}

fn file_name(kind: MetadataType) -> String {
    format!("{}.sqlite", kind.as_str())
}

fn open_all(directory: &Path) -> Result<[Database; 3], DatabaseError> {
    let [a, b, c] = MetadataType::ALL.map(|kind| Database::open(kind, &directory.join(file_name(kind))));
    Ok([a?, b?, c?])
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open(path)?;
    db.execute_batch(
        "PRAGMA journal_mode = TRUNCATE; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;",
    )?;
    Ok(db)
}

fn insert_run(db: &Connection, id: &RunId, members: &[(i64, Digest)]) -> rusqlite::Result<()> {
    let blob: Vec<u8> =
        members.iter().flat_map(|(key, digest)| [&key.to_le_bytes()[..], digest].concat()).collect();
    db.prepare_cached("INSERT OR REPLACE INTO run VALUES (?, ?, ?)")?.execute(params![
        &id[..],
        blob,
        sum_of([&id[..], &blob])
    ])?;
    Ok(())
}

/// CRC-32 of a row's values and their lengths.
fn sum_of<const N: usize>(values: [&[u8]; N]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for value in values {
        sum.update(&(value.len() as u64).to_le_bytes());
        sum.update(value);
    }
    sum.finalize()
}

fn digest(text: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&Checksum::of(ChecksumType::Sha256, text).as_bytes()[..16]);
    digest
}

fn package_digest(parts: [&Digest; 3]) -> Digest {
    digest(&parts.map(|part| &part[..]).concat())
}

fn checksum_of(path: &Path, kind: ChecksumType) -> io::Result<Checksum> {
    let mut file = published(path)?;
    let mut hasher = Hasher::new(kind);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(rusqlite::Error) -> DatabaseError + use<> {
    let path = path.to_owned();
    move |source| DatabaseError::Write { path, source }
}

fn cannot_keep(path: &Path) -> impl FnOnce(io::Error) -> DatabaseError + use<> {
    let path = path.to_owned();
    move |source| DatabaseError::Directory { path, source }
}

fn cannot_read(path: &Path) -> impl FnOnce(io::Error) -> DatabaseError + use<> {
    let path = path.to_owned();
    move |source| DatabaseError::Packages { path, source }
}
