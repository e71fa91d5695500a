//! Connections to the catalog's database.
//!
//! It has a write-ahead log, whose index SQLite maps into memory as a file of its own: on a full disk, to touch such a
//! page ends the process (SIGBUS). So the database belongs to this process alone as long as a connection is open, and
//! the index lies on the heap, shared by all of its connections. Other processes read a copy (`beside`).

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::sums;

/// SQLite's own name for it: one lock for the whole process, and no mapped file.
const VFS: &str = "unix-excl";
/// How long to wait for another connection's change to end.
const BUSY: Duration = Duration::from_secs(10);

/// A connection that changes the database, or makes it.
pub fn writer(path: &Path) -> rusqlite::Result<Connection> {
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    db.pragma_update(None, "cache_size", -1024)?;
    db.set_prepared_statement_cache_capacity(32);
    Ok(db)
}

/// A connection that changes nothing. The file must be there.
pub fn reader(path: &Path) -> rusqlite::Result<Connection> {
    // One opened for reading only would map the index of the log.
    let db = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -256)?;
    // What the writer left is not to change behind its back.
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(db)
}

fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags_and_vfs(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX, VFS)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "mmap_size", 0)?;
    sums::register(&db)?;
    Ok(db)
}
