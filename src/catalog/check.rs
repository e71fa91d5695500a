//! Whether a catalog as a whole can be what was written: looked at when it is opened and nobody knows what became of
//! it meanwhile, and when it is verified.

use rusqlite::{Connection, OptionalExtension};

use super::chunks::{self, PkgIdEnd};
use super::order::Key;
use super::{meta, sums};

/// Says what is wrong, in a few words; `None` where nothing is. `pieces`: bytes in the file of pieces.
pub fn unsound(db: &Connection, pieces: u64) -> rusqlite::Result<Option<String>> {
    let found: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        // SQLite's words may go over several lines.
        return Ok(Some(found.lines().collect::<Vec<_>>().join(" ")));
    }
    for (table, sum) in sums::TABLES {
        let any = format!("SELECT EXISTS (SELECT 1 FROM {table} WHERE sum IS NOT {sum})");
        if db.query_row(&any, [], |row| row.get(0))? {
            return Ok(Some(format!("a row of the table {table} is not as it was written")));
        }
    }
    list(db, pieces).map(|why| why.map(str::to_owned))
}

/// Holds the list of chunks against the packages.
fn list(db: &Connection, pieces: u64) -> rusqlite::Result<Option<&'static str>> {
    const DIFFERENT: Option<&str> = Some("the list of packages and what it was made of differ");
    let mut packages = db.prepare_cached("SELECT mtime_ns, pkgid FROM package WHERE location = ?")?;
    let mut listed = 0;
    let mut last: Option<Key> = None;
    let chunks = chunks::load(db)?;
    if !chunks.is_empty() && meta::get::<i64>(db, meta::FRONTIER)?.is_none() {
        return Ok(DIFFERENT);
    }
    for chunk in &chunks {
        if chunk.parts.iter().any(|part| part.raw.end().max(part.piece.end()) > pieces) {
            return Ok(Some("the file of pieces is missing or too short"));
        }
        let members = chunks::members(db, chunk)?;
        let ends = members.first().zip(members.last()).map(|(first, last)| (&first.key, &last.key));
        let raw: [u64; _] =
            std::array::from_fn(|i| members.iter().map(|member| u64::from(member.lens[i])).sum());
        if members.len() as u64 != chunk.packages
            || ends != Some((&chunk.first, &chunk.last))
            || raw != chunk.parts.map(|part| part.raw.len)
        {
            return Ok(DIFFERENT);
        }
        for member in members {
            let row = |row: &rusqlite::Row<'_>| {
                let (mtime_ns, pkgid): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok((
                    mtime_ns.div_euclid(1_000_000_000),
                    pkgid.last_chunk::<{ size_of::<PkgIdEnd>() }>().copied(),
                ))
            };
            let known = packages.query_row([member.key.location.as_str()], row).optional()?;
            if known != Some((member.key.mtime, Some(member.pkgid_end)))
                || last.is_some_and(|last| last >= member.key)
            {
                return Ok(DIFFERENT);
            }
            last = Some(member.key);
            listed += 1;
        }
    }
    Ok(if listed == count(db)? { None } else { DIFFERENT })
}

/// How many packages there are.
pub fn count(db: &Connection) -> rusqlite::Result<u64> {
    db.prepare_cached("SELECT count(*) FROM package")?.query_row([], |row| row.get(0))
}
