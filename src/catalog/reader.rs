//! Questions to the catalog, asked over a read-only connection of their own.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::chunks::{self, Chunk, Member, corrupt};
use super::order::{Generation, Key};
use super::{CatalogError, FILE, PieceFile, Recipe, beside, check, connect, ledger, meta, sums};
use crate::package::{ChecksumType, Location, Nevra, PkgId};
use crate::repodata::chunk::damaged;
use crate::repodata::{Fragments, KINDS, Pieces, Span};
use crate::tree::{Dirty, FileStamp, Rejected};

/// A package as the catalog lists it.
#[derive(Debug, Clone)]
pub struct Listed {
    pub location: Location,
    pub stamp: FileStamp,
    pub pkgid: PkgId,
}

/// A read-only view, usable while the writer works.
pub struct Reader {
    db: Connection,
    directory: PathBuf,
    checksum: ChecksumType,
    /// Whether this is a copy, which does not change.
    is_beside: bool,
}

/// Columns that [`Reader::package_row`] reads.
fn listed() -> String {
    format!("location, inode, size, mtime_ns, ctime_ns, pkgid, sum IS {}", sums::PACKAGE)
}

impl Reader {
    /// Opens the catalog in `directory`, which must exist; `checksum` is the repository's type of pkgid.
    pub fn open(directory: &Path, checksum: ChecksumType) -> Result<Self, CatalogError> {
        let db = connect::reader(&directory.join(FILE))?;
        Ok(Self { db, directory: directory.to_owned(), checksum, is_beside: false })
    }

    /// The same for a process that does not own the catalog: what it was at one moment.
    pub fn beside(directory: &Path, checksum: ChecksumType) -> Result<Self, CatalogError> {
        let db = beside::copy(directory)?;
        Ok(Self { db, directory: directory.to_owned(), checksum, is_beside: true })
    }

    /// From here on it is asked as it is now.
    pub fn renew(&mut self) -> Result<(), CatalogError> {
        if self.is_beside {
            self.db = beside::copy(&self.directory)?;
        }
        Ok(())
    }

    /// What is wrong with the catalog as a whole, in a few words; `None` where nothing is.
    pub fn unsound(&self) -> Result<Option<String>, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let pieces = match self.open_pieces(&tx) {
            Ok(pieces) => pieces.len(),
            Err(CatalogError::Pieces(error)) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        Ok(check::unsound(&tx, pieces)?)
    }

    fn open_pieces(&self, tx: &Connection) -> Result<PieceFile, CatalogError> {
        let number = meta::get(tx, meta::PIECES)?.unwrap_or(0);
        PieceFile::open_existing(&self.directory, number).map_err(CatalogError::Pieces)
    }

    /// How many packages there are.
    pub fn packages(&self) -> Result<u64, CatalogError> {
        Ok(self.db.query_row("SELECT count(*) FROM package", [], |row| row.get(0))?)
    }

    /// The package at this location.
    pub fn package(&self, location: &Location) -> Result<Option<Listed>, CatalogError> {
        let found = self
            .db
            .prepare_cached(&format!("SELECT {} FROM package WHERE location = ?", listed()))?
            .query_row([location.as_str()], |row| self.package_row(row))
            .optional()?;
        Ok(found)
    }

    /// All packages of this name, epoch, version, release and architecture.
    pub fn packages_of(&self, nevra: &Nevra) -> Result<Vec<Listed>, CatalogError> {
        let mut statement =
            self.db.prepare_cached(&format!("SELECT {} FROM package WHERE nevra = ?", listed()))?;
        let rows = statement.query_map([nevra.to_string()], |row| self.package_row(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Packages that lie directly in `directory` (`None`: the top), or with `deep` anywhere below it, by
    /// location, each with its `name-epoch:version-release.arch`.
    pub fn packages_in(
        &self,
        directory: Option<&Location>,
        deep: bool,
    ) -> Result<Vec<(Listed, String)>, CatalogError> {
        // Everything below `a` sorts from `a/` up to, and without, `a0`, the character after the slash.
        let (from, to) = match directory {
            Some(directory) => (format!("{directory}/"), format!("{directory}0")),
            None => (String::new(), "\u{10ffff}".to_owned()),
        };
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {}, nevra FROM package
             WHERE location >= ?1 AND location < ?2 AND (?3 OR instr(substr(location, ?4), '/') = 0)
             ORDER BY location",
            listed()
        ))?;
        // SQLite counts characters, from one.
        let begin = from.chars().count() + 1;
        let rows = statement
            .query_map(params![from, to, deep, begin], |row| Ok((self.package_row(row)?, row.get(7)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The `count` packages whose files are the newest, the newest first.
    pub fn newest(&self, count: usize) -> Result<Vec<Listed>, CatalogError> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {} FROM package ORDER BY mtime_ns DESC, location LIMIT ?",
            listed()
        ))?;
        let rows = statement.query_map([count], |row| self.package_row(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What the metadata says of these packages, as it was rendered, in their order; `None` for those that
    /// are not known, and for all once `limit` bytes are gathered.
    pub fn fragments(
        &self,
        packages: &[Listed],
        limit: usize,
    ) -> Result<Vec<Option<Fragments>>, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let chunks = chunks::load(&tx)?;
        let pieces = self.open_pieces(&tx)?;
        let mut last: Option<(usize, Vec<Member>)> = None;
        let mut gathered = 0;
        let mut found = Vec::with_capacity(packages.len());
        for package in packages {
            let mut fragments = None;
            for generation in [Generation::Settled, Generation::Young] {
                let key =
                    Key { generation, mtime: package.stamp.mtime(), location: package.location.clone() };
                let at = chunks.partition_point(|chunk| chunk.first <= key);
                let Some(at) = at.checked_sub(1).filter(|_| gathered < limit) else { continue };
                let members = match last.take() {
                    Some((of, members)) if of == at => members,
                    _ => chunks::members(&tx, &chunks[at])?,
                };
                fragments = fragment(&pieces, &chunks[at], &members, &key).map_err(CatalogError::Pieces)?;
                last = Some((at, members));
                if fragments.is_some() {
                    break;
                }
            }
            gathered += fragments.as_ref().map_or(0, Fragments::len);
            found.push(fragments);
        }
        Ok(found)
    }

    /// Every file that is not published, with its reason, by location.
    pub fn rejected(&self) -> Result<Vec<Rejected>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location, inode, size, mtime_ns, ctime_ns, reason FROM rejected ORDER BY location",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(Rejected { location: location(row)?, stamp: stamp(row)?, reason: row.get(5)? })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Packages that share name, epoch, version, release and architecture with another, but not the bytes.
    pub fn duplicates(&self) -> Result<Vec<Location>, CatalogError> {
        let mut statement = self.db.prepare_cached(
            "SELECT location FROM package WHERE nevra IN
                 (SELECT nevra FROM package GROUP BY nevra HAVING count(DISTINCT pkgid) > 1)
             ORDER BY nevra, location",
        )?;
        Ok(statement.query_map([], location)?.collect::<rusqlite::Result<_>>()?)
    }

    /// The recipe of a metadata file, with the pieces it names, and when it was superseded (seconds since the epoch), if it
    /// was; `None` where there is no recipe of that name.
    pub fn recipe(&self, name: &str) -> Result<Option<(Recipe, PieceFile, Option<u64>)>, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let Some((recipe, superseded_at)) = ledger::recipe(&tx, name)? else { return Ok(None) };
        let pieces = self.open_pieces(&tx)?;
        Ok(Some((recipe, pieces, superseded_at)))
    }

    /// How many packages are listed.
    pub fn count_packages(&self) -> Result<u64, CatalogError> {
        Ok(self.db.prepare_cached("SELECT count(*) FROM package")?.query_row([], |row| row.get(0))?)
    }

    /// At most `limit` packages whose locations come after this one, by location. Those that are to be looked
    /// at again anyway are left out.
    pub fn packages_after(&self, location: &str, limit: usize) -> Result<Vec<Listed>, CatalogError> {
        let mut statement = self.db.prepare_cached(&format!(
            "SELECT {} FROM package WHERE location > ? ORDER BY location LIMIT ?",
            listed()
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![location, limit], |row| self.package_row(row))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Stamps of every known location, published or rejected.
    pub fn stamps(&self) -> Result<Vec<(Location, FileStamp)>, CatalogError> {
        stamps(&self.db, &Dirty::everything())
    }

    /// Whether this location is published or rejected.
    pub fn knows(&self, location: &Location) -> Result<bool, CatalogError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM package WHERE location = ?1)
                       OR EXISTS (SELECT 1 FROM rejected WHERE location = ?1)";
        Ok(self.db.prepare_cached(sql)?.query_row([location.as_str()], |row| row.get(0))?)
    }

    /// Names of the files in repodata/ that are ours.
    pub fn metadata_files(&self) -> Result<Vec<String>, CatalogError> {
        let mut statement = self.db.prepare_cached("SELECT name FROM metadata_file")?;
        Ok(statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
    }

    /// SHA-256 of the repomd.xml that was published last; `None` while a publication is due.
    pub fn published_sum(&self) -> Result<Option<String>, CatalogError> {
        Ok(meta::get::<String>(&self.db, meta::PUBLISHED)?.filter(|text| !text.is_empty()))
    }

    /// Whether every piece that the next publication would be made of is as it was written.
    pub fn pieces_are_whole(&self) -> Result<bool, CatalogError> {
        // One transaction: a compaction in between would move the pieces.
        let tx = self.db.unchecked_transaction()?;
        let chunks = chunks::load(&tx)?;
        let pieces = match self.open_pieces(&tx) {
            Err(CatalogError::Pieces(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(chunks.is_empty());
            }
            pieces => pieces?,
        };
        Ok(chunks.iter().all(|chunk| pieces.holds(chunk)))
    }

    /// The publication of this number, if somebody may still ask for it.
    pub fn publication(&self, number: u64) -> Result<Option<super::Publication>, CatalogError> {
        Ok(super::publications::publication(&self.db, number)?)
    }

    fn package_row(&self, row: &Row<'_>) -> rusqlite::Result<Listed> {
        if !row.get::<_, bool>(6)? {
            return Err(corrupt("package"));
        }
        let bytes: Vec<u8> = row.get(5)?;
        let pkgid = PkgId::new(self.checksum, &bytes).ok_or_else(|| corrupt("pkgid"))?;
        Ok(Listed { location: location(row)?, stamp: stamp(row)?, pkgid })
    }
}

/// One member's share of a chunk, if it is a member.
fn fragment(
    pieces: &PieceFile,
    chunk: &Chunk,
    members: &[Member],
    key: &Key,
) -> io::Result<Option<Fragments>> {
    let Some(at) = members.iter().position(|member| member.key == *key) else { return Ok(None) };
    let mut texts: [Vec<u8>; KINDS] = Default::default();
    for (kind, text) in texts.iter_mut().enumerate() {
        let before: u64 = members[..at].iter().map(|member| u64::from(member.lens[kind])).sum();
        let span = Span { offset: chunk.parts[kind].raw.offset + before, len: members[at].lens[kind].into() };
        pieces.read(span, text)?;
        if crc32fast::hash(text) != members[at].sums[kind] {
            return Err(damaged());
        }
    }
    let [primary, filelists, other, filelists_ext] = texts;
    Ok(Some(Fragments { primary, filelists, other, filelists_ext }))
}

pub(super) fn location(row: &Row<'_>) -> rusqlite::Result<Location> {
    Location::parse(row.get_ref(0)?.as_str()?).map_err(|_| corrupt("location"))
}

pub(super) fn stamp(row: &Row<'_>) -> rusqlite::Result<FileStamp> {
    Ok(FileStamp {
        inode: row.get::<_, i64>(1)?.cast_unsigned(),
        size: row.get::<_, i64>(2)?.cast_unsigned(),
        mtime_ns: row.get(3)?,
        ctime_ns: row.get(4)?,
    })
}

/// Stamps of every known location that is one of `places` or lies below one of them.
pub fn stamps(db: &Connection, places: &Dirty) -> Result<Vec<(Location, FileStamp)>, CatalogError> {
    let mut found = Vec::new();
    // Of a file that was published and is rejected now, the rejected one's stamp is what it has.
    for (table, place) in [("package", "location"), ("rejected", "location"), ("additional", "path")] {
        let columns = format!("SELECT {place}, inode, size, mtime_ns, ctime_ns FROM {table}");
        let read = |row: &Row<'_>| Ok((location(row)?, stamp(row)?));
        if places.everything {
            // What lies outside of the tree is no place in it.
            let inside = format!("{columns} WHERE {place} NOT LIKE '/%' AND {place} NOT LIKE 'repodata/%'");
            for row in db.prepare_cached(&inside)?.query_map([], read)? {
                found.push(row?);
            }
            continue;
        }
        // Everything below `a` sorts from `a/` up to, and without, `a0`, the character after the slash.
        let mut exact = db.prepare_cached(&format!("{columns} WHERE {place} = ?"))?;
        let mut below = db.prepare_cached(&format!("{columns} WHERE {place} >= ? AND {place} < ?"))?;
        for place in places.settled.iter().chain(&places.unsure) {
            let text = place.as_str();
            for row in exact.query_map([text], read)? {
                found.push(row?);
            }
            for row in below.query_map(params![format!("{text}/"), format!("{text}0")], read)? {
                found.push(row?);
            }
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found.dedup_by(|a, b| a.0 == b.0);
    Ok(found)
}
