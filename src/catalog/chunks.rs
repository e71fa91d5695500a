//! Rows of the chunk table: where a chunk's pieces lie, and which packages are in it.

use rusqlite::{Connection, Row, params};

use super::order::{Generation, Key};
use super::sums;
use crate::package::Location;
use crate::repodata::{KINDS, Part, Span};

/// Why a chunk ends where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is a group of the open run, which ends nowhere yet.
    Open,
    /// At a boundary.
    Boundary,
    /// With the last settled package: no chunk holds packages of both generations.
    Settled,
}

impl Ending {
    fn from_number(number: i64) -> Option<Self> {
        [Self::Open, Self::Boundary, Self::Settled].into_iter().find(|&ending| ending as i64 == number)
    }
}

/// A chunk as the table holds it, without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub first: Key,
    pub last: Key,
    pub packages: u64,
    pub ending: Ending,
    /// In the order of [`MetadataType::EVERY`](crate::repodata::MetadataType::EVERY).
    pub parts: [Part; KINDS],
}

impl Chunk {
    pub fn raw_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.raw.len).sum()
    }

    /// Bytes this chunk occupies in the file of pieces.
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|p| p.raw.len + p.piece.len).sum()
    }
}

/// So much of a pkgid as every checksum type has.
pub type PkgIdEnd = [u8; 16];

/// One package of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub key: Key,
    /// The last bytes of its pkgid.
    pub pkgid_end: PkgIdEnd,
    /// Lengths of its fragments, in the order of [`Chunk::parts`].
    pub lens: [u32; KINDS],
    /// Their CRC-32, in the same order; of no meaning before they are stored.
    pub sums: [u32; KINDS],
}

/// All chunks in order of publication.
pub fn load(db: &Connection) -> rusqlite::Result<Vec<Chunk>> {
    let mut chunks: Vec<Chunk> = db
        .prepare_cached(&format!(
            "SELECT young, first_mtime, first_location, last_mtime, last_location, packages, ending, parts,
                    sum IS {} FROM chunk",
            sums::CHUNK
        ))?
        .query_map([], from_row)?
        .collect::<rusqlite::Result<_>>()?;
    chunks.sort_by(|a, b| a.first.cmp(&b.first));
    Ok(chunks)
}

pub fn members(db: &Connection, chunk: &Chunk) -> rusqlite::Result<Vec<Member>> {
    let blob: Vec<u8> = db
        .prepare_cached("SELECT members FROM chunk WHERE first_location = ?")?
        .query_row([chunk.first.location.as_str()], |row| row.get(0))?;
    decode_members(&blob, chunk.first.generation).ok_or_else(|| corrupt("members"))
}

pub fn insert(db: &Connection, chunk: &Chunk, members: &[Member]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, sum_of(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8), ?9)";
    db.prepare_cached(sql)?.execute(params![
        chunk.first.location.as_str(),
        chunk.first.generation == Generation::Young,
        chunk.first.mtime,
        chunk.last.location.as_str(),
        chunk.last.mtime,
        chunk.packages,
        chunk.ending as i64,
        encode_parts(&chunk.parts),
        encode_members(members),
    ])?;
    Ok(())
}

pub fn delete(db: &Connection, first: &Key) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM chunk WHERE first_location = ?")?.execute([first.location.as_str()])?;
    Ok(())
}

/// Replaces where a chunk's bytes lie, after a compaction.
pub fn move_parts(db: &Connection, chunk: &Chunk) -> rusqlite::Result<()> {
    let sum = sums::CHUNK.replace("parts", "?1");
    db.prepare_cached(&format!("UPDATE chunk SET parts = ?1, sum = {sum} WHERE first_location = ?2"))?
        .execute(params![encode_parts(&chunk.parts), chunk.first.location.as_str()])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Chunk> {
    if !row.get::<_, bool>(8)? {
        return Err(corrupt("chunk"));
    }
    let generation = if row.get(0)? { Generation::Young } else { Generation::Settled };
    let key = |mtime: usize, location: usize| -> rusqlite::Result<Key> {
        let text: String = row.get(location)?;
        let location = Location::parse(&text).map_err(|_| corrupt("location"))?;
        Ok(Key { generation, mtime: row.get(mtime)?, location })
    };
    let parts: Vec<u8> = row.get(7)?;
    Ok(Chunk {
        first: key(1, 2)?,
        last: key(3, 4)?,
        packages: row.get(5)?,
        ending: Ending::from_number(row.get(6)?).ok_or_else(|| corrupt("ending"))?,
        parts: decode_parts(&parts).ok_or_else(|| corrupt("parts"))?,
    })
}

/// A value in our own table that we did not write: the catalog is damaged.
pub fn corrupt(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(format!("a {what} value cannot be read")),
    )
}

fn encode_parts(parts: &[Part; KINDS]) -> Vec<u8> {
    let mut out = Vec::with_capacity(KINDS * PART_LEN);
    for part in parts {
        for number in [part.raw.offset, part.raw.len, part.piece.offset, part.piece.len] {
            out.extend(number.to_le_bytes());
        }
        out.extend(part.raw_crc.to_le_bytes());
        out.extend(part.piece_crc.to_le_bytes());
    }
    out
}

const PART_LEN: usize = 4 * 8 + 2 * 4;

fn decode_parts(bytes: &[u8]) -> Option<[Part; KINDS]> {
    let mut rest = Bytes(bytes);
    let mut parts = [Part::default(); KINDS];
    for part in &mut parts {
        part.raw = Span { offset: rest.u64()?, len: rest.u64()? };
        part.piece = Span { offset: rest.u64()?, len: rest.u64()? };
        part.raw_crc = rest.u32()?;
        part.piece_crc = rest.u32()?;
    }
    rest.0.is_empty().then_some(parts)
}

fn encode_members(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::with_capacity(members.len() * 128);
    for member in members {
        let location = member.key.location.as_str();
        out.extend(member.key.mtime.to_le_bytes());
        // Location::MAX_LEN fits.
        out.extend((location.len() as u32).to_le_bytes());
        out.extend(location.as_bytes());
        out.extend(member.pkgid_end);
        for number in member.lens.into_iter().chain(member.sums) {
            out.extend(number.to_le_bytes());
        }
    }
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

fn decode_members(bytes: &[u8], generation: Generation) -> Option<Vec<Member>> {
    let (bytes, sum) = bytes.split_last_chunk()?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = Bytes(bytes);
    let mut members = Vec::new();
    while !rest.0.is_empty() {
        let mtime = i64::from_le_bytes(rest.array()?);
        let len = rest.u32()? as usize;
        let location = Location::parse(std::str::from_utf8(rest.take(len)?).ok()?).ok()?;
        let pkgid_end = rest.array()?;
        let lens = [rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?];
        let sums = [rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?];
        members.push(Member { key: Key { generation, mtime, location }, pkgid_end, lens, sums });
    }
    Some(members)
}

/// What is left of a value being decoded.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_parts_read_back_equal_and_cut_ones_are_refused() {
        let member = |mtime, name: &str| Member {
            key: Key { generation: Generation::Young, mtime, location: Location::parse(name).unwrap() },
            pkgid_end: [7; 16],
            lens: [1, 2, u32::MAX, 0],
            sums: [9, 0, 8, u32::MAX],
        };
        let members = vec![member(-5, "a.rpm"), member(i64::MAX, "Packages/ü b.rpm")];
        let bytes = encode_members(&members);
        assert_eq!(decode_members(&bytes, Generation::Young).unwrap(), members);
        for at in 0..bytes.len() {
            assert!(decode_members(&bytes[..at], Generation::Young).is_none());
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(decode_members(&damaged, Generation::Young).is_none());
        }

        let span = |offset| Span { offset, len: offset + 1 };
        let part = |n| Part { raw: span(n), raw_crc: 3, piece: span(n * 2), piece_crc: 4 };
        let parts = [part(1), part(u64::MAX / 4), part(3), Part::default()];
        assert_eq!(decode_parts(&encode_parts(&parts)).unwrap(), parts);
        assert!(decode_parts(&[0; 7]).is_none());
    }
}
