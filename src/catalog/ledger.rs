//! Which files in repodata/ are ours: those of the current publication, and superseded ones; and how
//! to make a superseded one again when only its recipe is left.

use std::io::{self, Write};

use rusqlite::{Connection, OptionalExtension, params};

use super::chunks::corrupt;
use super::{Catalog, CatalogError, meta, sums};

use crate::package::{Checksum, ChecksumType, Hasher};
use crate::repodata::chunk::damaged;
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
    /// Makes the file again. Fails when what was written is not what its name says.
    pub fn write(&self, pieces: &dyn Pieces, sink: &mut dyn Write) -> io::Result<()> {
        let stated = self.checksum();
        let mut hasher = stated.as_ref().map(|stated| Hasher::new(stated.kind));
        let mut size = 0;
        let mut put = |bytes: &[u8]| {
            size += bytes.len() as u64;
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
            sink.write_all(bytes)
        };
        put(&self.frame.head)?;
        let mut buffer = Vec::new();
        for span in &self.spans {
            buffer.clear();
            pieces.read(*span, &mut buffer)?;
            put(&buffer)?;
        }
        put(&self.frame.tail)?;
        let is_the_same = size == self.size && hasher.map(Hasher::finish) == stated;
        if is_the_same { Ok(()) } else { Err(damaged()) }
    }

    /// The checksum in its name.
    fn checksum(&self) -> Option<Checksum> {
        let digits = self.name.bytes().take_while(u8::is_ascii_hexdigit).count();
        ChecksumType::ALL.into_iter().find_map(|kind| Checksum::from_hex(kind, &self.name[..digits]))
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
        let sql = format!("SELECT name, size, superseded_at, {} FROM metadata_file {condition}", intact());
        let mut statement = self.db.prepare_cached(&sql)?;
        let read = |row: &rusqlite::Row<'_>| {
            is_intact(row, 3)?;
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
            let sql = "INSERT OR REPLACE INTO metadata_file
                       VALUES (?1, ?2, NULL, 1, ?3, ?4, ?5, sum_of(?1, ?2, NULL, 1, ?3, ?4, ?5))";
            tx.prepare_cached(sql)?.execute(params![
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
            let sql = "INSERT OR IGNORE INTO metadata_file
                       VALUES (?1, ?2, ?3, 1, x'', x'', x'', sum_of(?1, ?2, ?3, 1, x'', x'', x''))";
            tx.prepare_cached(sql)?.execute(params![name, size, superseded_at])?;
        }
        Ok(tx.commit()?)
    }

    /// Whether no look was done since the machine started.
    pub fn is_first_since_boot(&self) -> Result<bool, CatalogError> {
        let last = meta::get::<String>(&self.db, meta::LOOKED_SINCE_BOOT)?;
        Ok(last.as_deref() != Some(&*super::open::boot_id()))
    }

    /// One is done.
    pub fn note_look_since_boot(&self) -> Result<(), CatalogError> {
        if self.is_first_since_boot()? {
            meta::set(&self.db, meta::LOOKED_SINCE_BOOT, super::open::boot_id())?;
        }
        Ok(())
    }

    /// Names of the files in repodata/ that are ours.
    pub fn metadata_files(&self) -> Result<Vec<String>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT name FROM metadata_file")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// Brings what was superseded by a clock that stood ahead to now, so that it is not kept until that time comes.
    pub fn bring_from_the_future(&self, now: u64) -> Result<(), CatalogError> {
        let sum = sums::METADATA_FILE.replace("superseded_at", "?1");
        let files =
            format!("UPDATE metadata_file SET superseded_at = ?1, sum = {sum} WHERE superseded_at > ?1");
        self.db.prepare_cached(&files)?.execute([now])?;
        // When one was superseded is not in its sum.
        let publications = "UPDATE publication SET superseded_at = ?1 WHERE superseded_at > ?1";
        self.db.prepare_cached(publications)?.execute([now])?;
        Ok(())
    }

    /// Has the next look be the first one.
    pub fn forget_look(&self) -> Result<(), CatalogError> {
        Ok(meta::set(&self.db, meta::LOOKED_SINCE_BOOT, "")?)
    }

    /// Marks every file but `current` as superseded at `now`, where it was not before.
    pub fn supersede_metadata_files(&self, current: &[String], now: u64) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        let names: Vec<String> = tx
            .prepare_cached("SELECT name FROM metadata_file WHERE superseded_at IS NULL")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in names.iter().filter(|name| !current.contains(name)) {
            tx.prepare_cached(&changed("superseded_at", "?2"))?.execute(params![name, now])?;
        }
        Ok(tx.commit()?)
    }

    /// Where the pieces of a file lie that is current or was; `None` when it is not known.
    pub fn spans_of(&self, name: &str) -> Result<Option<Vec<Span>>, CatalogError> {
        let sql = format!("SELECT spans, {} FROM metadata_file WHERE name = ?", intact());
        let read = |row: &rusqlite::Row<'_>| is_intact(row, 1).and_then(|()| row.get(0));
        let blob: Option<Vec<u8>> = self.db.prepare_cached(&sql)?.query_row([name], read).optional()?;
        Ok(blob.map(|blob| decode(&blob).ok_or_else(|| corrupt("spans"))).transpose()?)
    }

    /// How to make this file again, whether it is current or superseded; `None` where nobody knows.
    pub fn recipe(&self, name: &str) -> Result<Option<Recipe>, CatalogError> {
        Ok(recipe(&self.db, name)?.map(|(recipe, _)| recipe))
    }

    /// Notes that only the recipes of these files are left.
    pub fn fold_metadata_files(&self, names: &[String]) -> Result<(), CatalogError> {
        self.each(names, &changed("whole", "0"))
    }

    /// Forgets files that were removed, recipes and all.
    pub fn forget_metadata_files(&self, names: &[String]) -> Result<(), CatalogError> {
        self.each(names, "DELETE FROM metadata_file WHERE name = ?1")
    }

    fn each(&self, names: &[String], sql: &str) -> Result<(), CatalogError> {
        let tx = self.db.unchecked_transaction()?;
        for name in names {
            tx.prepare_cached(sql)?.execute([name])?;
        }
        Ok(tx.commit()?)
    }
}

/// The recipe of a file, and when it was superseded, if it was; `None` for unknown ones, and for those that were taken back
/// without one.
pub fn recipe(db: &Connection, name: &str) -> rusqlite::Result<Option<(Recipe, Option<u64>)>> {
    let sql = format!(
        "SELECT size, head, spans, tail, superseded_at, {} FROM metadata_file
         WHERE name = ? AND length(head) + length(spans) > 0",
        intact()
    );
    db.prepare_cached(&sql)?
        .query_row([name], |row| {
            is_intact(row, 5)?;
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
    let sql = format!("SELECT spans, {} FROM metadata_file WHERE superseded_at IS NULL", intact());
    let mut statement = db.prepare(&sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        is_intact(row, 1)?;
        decode(&row.get::<_, Vec<u8>>(0)?).ok_or_else(|| corrupt("spans"))
    };
    statement.query_map([], read)?.collect()
}

/// Hands every recipe's spans to `each`, which may move them.
pub fn for_all_spans(
    db: &Connection,
    mut each: impl FnMut(&mut Vec<Span>) -> Result<bool, CatalogError>,
) -> Result<(), CatalogError> {
    let mut statement = db.prepare(&format!("SELECT name, spans, {} FROM metadata_file", intact()))?;
    let mut rows = statement.query([])?;
    let mut moved = Vec::new();
    while let Some(row) = rows.next()? {
        is_intact(row, 2)?;
        let blob: Vec<u8> = row.get(1)?;
        let mut spans = decode(&blob).ok_or_else(|| corrupt("spans"))?;
        if each(&mut spans)? {
            moved.push((row.get::<_, String>(0)?, encode(&spans)));
        }
    }
    for (name, blob) in moved {
        db.prepare_cached(&changed("spans", "?2"))?.execute(params![name, blob])?;
    }
    Ok(())
}

/// Sets one column of the row whose name is `?1`, and its sum.
fn changed(column: &str, value: &str) -> String {
    let sum = sums::METADATA_FILE.replace(column, value);
    format!("UPDATE metadata_file SET {column} = {value}, sum = {sum} WHERE name = ?1")
}

fn is_intact(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<()> {
    if row.get(column)? { Ok(()) } else { Err(corrupt("metadata_file")) }
}

/// The condition that a row of the table is as it was written.
fn intact() -> String {
    format!("sum IS {}", sums::METADATA_FILE)
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
