//! What cannot be rebuilt from the trees, in `history.sqlite` in the state directory: tokens.
//!
//! The daemon and the command line use it at the same time (each change is one transaction). Nothing of it is kept in memory, so what one of them changes is true for the other at once.

mod schema;
mod tokens;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// The file, opened when it is first needed. Everything here blocks.
pub struct History {
    path: PathBuf,
    open: Mutex<Option<Open>>,
}

struct Open {
    db: Connection,
    /// Which file it is: one put in its place (a backup that was restored) is opened instead.
    identity: (u64, u64),
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("{} was written by a newer createrepod (version {found}, this one knows {}); \
             install the newer createrepod", path.display(), schema::VERSION)]
    Newer { path: PathBuf, found: u32 },
    #[error("cannot open {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot use {}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    /// Nobody is let in by what may say anything.
    #[error("{} is damaged ({why}), so no token counts; put a backup of it in its place, or move it away and make \
             new tokens with `createrepod token add`", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("there is a token named {0:?} already")]
    NameTaken(String),
    #[error("there is no token named {0:?}")]
    NoToken(String),
}

/// How long to wait for another process's change to end.
const BUSY: Duration = Duration::from_secs(5);

impl History {
    /// The history in `state_dir`. Nothing is opened or made yet.
    pub fn at(state_dir: &Path) -> Self {
        Self { path: state_dir.join("history.sqlite"), open: Mutex::new(None) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Asks the file, if there is one.
    fn ask<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, HistoryError> {
        let mut open = self.lock();
        match self.identity()? {
            None => {
                *open = None;
                Ok(None)
            }
            // Tokens were in it, or it was never finished: nobody knows.
            Some(_) if std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() == 0) => {
                *open = None;
                Err(self.failed(corrupt("it is empty")))
            }
            Some(identity) => {
                let db = self.opened(&mut open, identity)?;
                ask(db).map(Some).map_err(|source| self.failed(source))
            }
        }
    }

    /// Changes the file in one transaction, making it first if it is missing.
    fn change<T>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, HistoryError>,
    ) -> Result<T, HistoryError> {
        let mut open = self.lock();
        self.make().map_err(|source| HistoryError::File { path: self.path.clone(), source })?;
        let identity = self.identity()?.unwrap_or_default();
        let transaction = self
            .opened(&mut open, identity)?
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|source| self.failed(source))?;
        let outcome = change(&transaction)?;
        transaction.commit().map_err(|source| self.failed(source))?;
        Ok(outcome)
    }

    /// The connection to this very file.
    fn opened<'o>(
        &self,
        open: &'o mut Option<Open>,
        identity: (u64, u64),
    ) -> Result<&'o mut Connection, HistoryError> {
        let connected = match open.take_if(|open| open.identity == identity) {
            Some(connected) => connected,
            None => self.connect(identity)?,
        };
        Ok(&mut open.insert(connected).db)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, source: rusqlite::Error) -> HistoryError {
        let path = self.path.clone();
        match is_damage(&source) {
            true => HistoryError::Damaged { path, why: source.to_string() },
            false => HistoryError::Sqlite { path, source },
        }
    }

    /// Says what is wrong with it, before somebody needs it.
    pub fn check(&self) -> Result<(), HistoryError> {
        self.tokens().map(drop)
    }

    /// Device and inode; `None` when there is no file.
    fn identity(&self) -> Result<Option<(u64, u64)>, HistoryError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some((metadata.dev(), metadata.ino()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HistoryError::File { path: self.path.clone(), source }),
        }
    }

    fn connect(&self, identity: (u64, u64)) -> Result<Open, HistoryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let prepare = |db: &mut Connection| -> rusqlite::Result<u32> {
            db.busy_timeout(BUSY)?;
            db.pragma_update(None, "mmap_size", 0)?;
            // No write-ahead log, whose index is a mapped file: on a full disk to touch it ends the process. One that an
            // older version made is opened alone, so that nothing is mapped, and given up.
            db.pragma_update(None, "locking_mode", "exclusive")?;
            db.pragma_update(None, "journal_mode", "truncate")?;
            db.pragma_update(None, "locking_mode", "normal")?;
            // A token that was shown must be there after a power cut, and one that was revoked must not.
            db.pragma_update(None, "synchronous", "full")?;
            let version = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
            if found != "ok" {
                return Err(corrupt(&found));
            }
            if version < schema::VERSION {
                let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
                // Another process may have been first.
                let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
                if version < schema::VERSION {
                    if version == 0 {
                        transaction.execute_batch(schema::CREATE)?;
                    } else {
                        tokens::add_sums(&transaction)?;
                    }
                    transaction.pragma_update(None, "user_version", schema::VERSION)?;
                }
                transaction.commit()?;
            }
            Ok(version)
        };
        let mut db = Connection::open_with_flags(&self.path, flags).map_err(|source| self.failed(source))?;
        match prepare(&mut db) {
            Ok(found) if found > schema::VERSION => {
                Err(HistoryError::Newer { path: self.path.clone(), found })
            }
            Ok(_) => Ok(Open { db, identity }),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Makes an empty file if there is none, for the owner of the state directory: root makes tokens, and
    /// the daemon must be able to read them. (SQLite gives its other files the owner of this one.)
    fn make(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o750).create(directory)?;
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(file) => {
                let (owner, ours) = (std::fs::metadata(directory)?, file.metadata()?);
                if (owner.uid(), owner.gid()) != (ours.uid(), ours.gid()) && ours.uid() == 0 {
                    fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
                }
                file.sync_all()?;
                File::open(directory)?.sync_all()
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What is in the file is not what was written.
fn corrupt(why: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(why.lines().collect::<Vec<_>>().join(" ")))
}

/// Whether this says so; otherwise the system failed.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    match error {
        // Unknown: a table or a column that is not there.
        rusqlite::Error::SqliteFailure(error, _) => {
            matches!(error.code, DatabaseCorrupt | NotADatabase | Unknown)
        }
        _ => true,
    }
}
