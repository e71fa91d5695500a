//! Single values the catalog remembers.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql};

use super::chunks::corrupt;
use super::sums;

/// Absolute path of the tree this catalog is a memory of.
pub const PATH: &str = "path";
/// What fragments were rendered with; see `RenderSettings`.
pub const RENDERING: &str = "rendering";
/// Suffix of the compression that pieces were made with.
pub const COMPRESSION: &str = "compression";
/// File time (seconds) at which the young packages of the list begin.
pub const FRONTIER: &str = "frontier";
/// Number of the current file of pieces.
pub const PIECES: &str = "pieces";
/// SHA-256 of the repomd.xml that shows exactly what this catalog lists; absent while a publication is due.
pub const PUBLISHED: &str = "published";
/// Number of the last publication.
pub const LAST_PUBLICATION: &str = "last_publication";
/// SHA-256 of the repomd.xml.asc and repomd.xml.key that we wrote; absent where they are not ours.
pub const SIGNED: &str = "signed";
/// What packages were held against, a line each: digests of keys, and the files they came from.
pub const KEYRING: &str = "keyring";
/// Boot during which the catalog was last changed; empty once it was closed in order, all synced.
pub const OPEN_SINCE_BOOT: &str = "open_since_boot";

/// Boot during which `repodata/` was last looked through for files that a power cut made nobody's.
pub const LOOKED_SINCE_BOOT: &str = "looked_since_boot";

/// Whether what additional metadata there is was ever published from here.
pub const ADDITIONAL: &str = "additional";

pub fn get<T: FromSql>(db: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    db.prepare_cached(&format!("SELECT value, sum IS {} FROM meta WHERE key = ?", sums::META))?
        .query_row([key], |row| if row.get(1)? { row.get(0) } else { Err(corrupt("meta")) })
        .optional()
}

pub fn set(db: &Connection, key: &str, value: impl ToSql) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2, sum_of(?1, ?2))")?
        .execute((key, value))?;
    Ok(())
}
