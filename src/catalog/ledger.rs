//! Which files in repodata/ are ours: those of the current publication, and superseded ones; and how
//! to make a superseded one again when only its recipe is left.

use std::io::{self, Write};

use rusqlite::{Connection, OptionalExtension, params};

use super::chunks::corrupt;
use super::{Catalog, CatalogError, meta};

use crate::repodata::join::Frame;
use crate::repodata::{Pieces, Span, Superseded};

/// A metadata file and all there is to make it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// In `repodata/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub frame: Frame,
    /// Its pieces, in order.
    pub spans: Vec<Span>,
}

impl Recipe {
    /// Makes the file again.
    pub fn write(&self, pieces: &dyn Pieces, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(&self.frame.head)?;
        let mut buffer = Vec::new();
        for span in &self.spans {
            buffer.clear();
            pieces.read(*span, &mut buffer)?;
            sink.write_all(&buffer)?;
        }
        sink.write_all(&self.frame.tail)
    }
}

impl Catalog {
    /// Superseded files that lie in repodata/ still and can be made again; those superseded first stand first.
    pub fn superseded_whole(&self) -> Result<Vec<Superseded>, CatalogError> {
        self.superseded(
            "WHERE whole AND superseded_at IS NOT NULL AND length(head) + length(spans) > 0 ORDER BY superseded_at, name",
            i64::MAX,
        )
    }

    /// Superseded files, whole or not, whose grace ended at `limit` (seconds since the epoch) or before.
    pub fn superseded_by(&self, limit: u64) -> Result<Vec<Superseded>, CatalogError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.superseded("WHERE superseded_at <= ? ORDER BY superseded_at, name", limit)
    }

    fn superseded(&self, condition: &str, limit: i64) -> Result<Vec<Superseded>, CatalogError> {
        let sql = format!("SELECT name, size, superseded_at FROM metadata_file {condition}");
        let mut statement = self.db.prepare_cached(&sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Superseded { name: row.get(0)?, size: row.get(1)?, superseded_at: row.get(2)? })
        };
        let rows = if statement.parameter_count() == 0 {
            statement.query_map([], read)?.collect::<rusqlite::Result<_>>()
        } else {
            statement.query_map([limit], read)?.collect()
        };
        Ok(rows?)
    }

    /// Notes files about to be written, so that a crash cannot leave ours unrecognised.
    pub fn note_metadata_files(&self, files: &[Recipe]) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for file in files {
            tx.prepare_cached("INSERT OR REPLACE INTO metadata_file VALUES (?, ?, NULL, 1, ?, ?, ?)")?
                .execute(params![
                    file.name,
                    file.size,
                    file.frame.head,
                    encode(&file.spans),
                    file.frame.tail
                ])?;
        }
        Ok(tx.commit()?)
    }

    /// Notes files of ours whose recipe is not known: those of `repomd.xml` with `superseded_at` = `None`, others with the
    /// time from which their grace counts. What is known already stays as it is.
    pub fn take_back(&self, files: &[(String, u64)], superseded_at: Option<u64>) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for (name, size) in files {
            tx.prepare_cached("INSERT OR IGNORE INTO metadata_file VALUES (?, ?, ?, 1, x'', x'', x'')")?
                .execute(params![name, size, superseded_at])?;
        }
        Ok(tx.commit()?)
    }

    /// Whether this is the first look since the machine started; the next one is not.
    pub fn is_first_since_boot(&self) -> Result<bool, CatalogError> {
        let boot = super::open::boot_id();
        let last = meta::get::<String>(&self.db, meta::LOOKED_SINCE_BOOT)?;
        if last.as_deref() == Some(&*boot) {
            return Ok(false);
        }
        meta::set(&self.db, meta::LOOKED_SINCE_BOOT, boot)?;
        Ok(true)
    }

    /// Marks every file but `current` as superseded at `now`, where it was not before.
    pub fn supersede_metadata_files(&self, current: &[String], now: u64) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        let names: Vec<String> = tx
            .prepare_cached("SELECT name FROM metadata_file WHERE superseded_at IS NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in names.iter().filter(|name| !current.contains(name)) {
            tx.prepare_cached("UPDATE metadata_file SET superseded_at = ? WHERE name = ?")?
                .execute(params![now, name])?;
        }
        Ok(tx.commit()?)
    }

    /// Where the pieces of a file lie that is current or was; `None` when it is not known.
    pub fn spans_of(&self, name: &str) -> Result<Option<Vec<Span>>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT spans FROM metadata_file WHERE name = ?")?;
        let blob: Option<Vec<u8>> = statement.query_row([name], |row| row.get(0)).optional()?;
        Ok(blob.map(|blob| decode(&blob).ok_or_else(|| corrupt("spans"))).transpose()?)
    }

    /// Notes that only the recipes of these files are left.
    pub fn fold_metadata_files(&self, names: &[String]) -> Result<(), CatalogError> {
        self.each(names, "UPDATE metadata_file SET whole = 0 WHERE name = ?")
    }

    /// Forgets files that were removed, recipes and all.
    pub fn forget_metadata_files(&self, names: &[String]) -> Result<(), CatalogError> {
        self.each(names, "DELETE FROM metadata_file WHERE name = ?")
    }

    fn each(&self, names: &[String], sql: &str) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for name in names {
            tx.prepare_cached(sql)?.execute([name])?;
        }
        Ok(tx.commit()?)
    }
}

/// The recipe of a superseded file, and when it was superseded; `None` for current and unknown ones, and for those
/// that were taken back without one.
pub fn recipe(db: &Connection, name: &str) -> rusqlite::Result<Option<(Recipe, u64)>> {
    db.prepare_cached(
        "SELECT size, head, spans, tail, superseded_at FROM metadata_file WHERE name = ? AND superseded_at IS NOT NULL
         AND length(head) + length(spans) > 0",
    )?
    .query_row([name], |row| {
        let spans: Vec<u8> = row.get(2)?;
        let recipe = Recipe {
            name: name.to_owned(),
            size: row.get(0)?,
            frame: Frame { head: row.get(1)?, tail: row.get(3)? },
            spans: decode(&spans).ok_or_else(|| corrupt("spans"))?,
        };
        Ok((recipe, row.get(4)?))
    })
    .optional()
}

/// The spans of each file that is current.
pub fn current_spans(db: &Connection) -> rusqlite::Result<Vec<Vec<Span>>> {
    let mut statement = db.prepare("SELECT spans FROM metadata_file WHERE superseded_at IS NULL")?;
    let read = |row: &rusqlite::Row<'_>| decode(&row.get::<_, Vec<u8>>(0)?).ok_or_else(|| corrupt("spans"));
    statement.query_map([], read)?.collect()
}

/// Hands every recipe's spans to `each`, which may move them.
pub fn for_all_spans(
    db: &Connection,
    mut each: impl FnMut(&mut Vec<Span>) -> Result<bool, CatalogError>,
) -> Result<(), CatalogError> {
    let mut statement = db.prepare("SELECT name, spans FROM metadata_file")?;
    let mut rows = statement.query([])?;
    let mut moved = Vec::new();
    while let Some(row) = rows.next()? {
        let blob: Vec<u8> = row.get(1)?;
        let mut spans = decode(&blob).ok_or_else(|| corrupt("spans"))?;
        if each(&mut spans)? {
            moved.push((row.get::<_, String>(0)?, encode(&spans)));
        }
    }
    for (name, blob) in moved {
        db.prepare_cached("UPDATE metadata_file SET spans = ? WHERE name = ?")?
            .execute(params![blob, name])?;
    }
    Ok(())
}

fn encode(spans: &[Span]) -> Vec<u8> {
    spans.iter().flat_map(|span| [span.offset, span.len]).flat_map(u64::to_le_bytes).collect()
}

fn decode(bytes: &[u8]) -> Option<Vec<Span>> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|n| u64::from_le_bytes(*n)).collect();
    let (pairs, odd) = numbers.as_chunks::<2>();
    let spans = pairs.iter().map(|&[offset, len]| Span { offset, len }).collect();
    (rest.is_empty() && odd.is_empty()).then_some(spans)
}
