//! A chunk being made. Jobs run on any threads; what they have made the update takes in.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::chunks::{Chunk, Ending, Member};
use super::pieces::PieceFile;
use super::recut::{Item, Text};
use crate::package::turn::{self, MEMORY};
use crate::repodata::chunk::damaged;
use crate::repodata::{Compression, Effort, KINDS, Part, Pieces, Span};

/// Chunks of more bytes are made in turn with packages that are read: they share their memory.
const LARGE: u64 = 24 << 20;

/// What jobs have made, by job number.
pub(super) type Done = Mutex<BTreeMap<usize, io::Result<(Chunk, Vec<Member>)>>>;

/// A chunk to be made: raw XML gathered, compressed, and stored as pieces.
pub struct Job {
    pub(super) number: usize,
    pub(super) items: Vec<Item>,
    pub(super) ending: Ending,
    pub(super) effort: Effort,
    pub(super) raw: [Raw; KINDS],
    pub(super) compression: Compression,
    pub(super) pieces: Arc<PieceFile>,
    pub(super) done: Arc<Done>,
}

/// One file's share of a chunk, before it is compressed.
#[derive(Default)]
pub(super) struct Raw {
    text: Vec<u8>,
    /// CRC-32 of each package's fragment.
    sums: Vec<u32>,
    /// Where it lies, once it is gathered; its piece is not there yet.
    part: Part,
}

impl Job {
    /// Bytes of fragments of which it makes a chunk.
    pub fn bytes(&self) -> u64 {
        self.items.iter().map(Item::bytes).sum()
    }

    /// Bytes of fragments it holds in memory, before anything is gathered.
    pub fn weight(&self) -> usize {
        self.items
            .iter()
            .map(|i| if let Text::Fresh(fragments) = &i.text { fragments.len() } else { 0 })
            .sum()
    }

    /// Stores the uncompressed bytes, so that they can be hashed while [`run`](Self::run) compresses them.
    pub fn gather(&mut self) -> io::Result<()> {
        let (items, pieces) = (&self.items, &self.pieces);
        self.raw.par_iter_mut().enumerate().try_for_each(|(kind, raw)| raw.gather(kind, items, pieces))
    }

    /// How many packages it has, and what was gathered of them.
    pub(super) fn outline(&self) -> (u64, [Part; KINDS]) {
        (self.items.len() as u64, self.raw.each_ref().map(|raw| raw.part))
    }

    /// Does the work; the outcome is seen by [`super::Update::commit`].
    pub fn run(mut self) {
        let (items, pieces, compression, effort) = (&self.items, &self.pieces, self.compression, self.effort);
        let make = |(kind, raw): (usize, &mut Raw)| {
            raw.gather(kind, items, pieces)?;
            raw.compress(compression, effort, pieces)
        };
        let bytes: u64 = items.iter().map(Item::bytes).sum();
        let parts: io::Result<Vec<Part>> = match bytes > LARGE {
            false => self.raw.par_iter_mut().enumerate().map(make).collect(),
            // One file at a time, in its turn: a thread that holds one must not begin another job beside it.
            true => {
                let _turn = turn::take(bytes.min(MEMORY), None);
                self.raw.iter_mut().enumerate().map(make).collect()
            }
        };
        self.end(parts.map(|parts| std::array::from_fn(|kind| parts[kind])));
    }

    /// The chunk is made, of these parts.
    pub(super) fn end(self, parts: io::Result<[Part; KINDS]>) {
        let outcome = parts.map(|parts| {
            let mut members: Vec<Member> = self.items.into_iter().map(|item| item.member).collect();
            for (kind, raw) in self.raw.iter().enumerate() {
                for (member, sum) in members.iter_mut().zip(&raw.sums) {
                    member.sums[kind] = *sum;
                }
            }
            let key = |m: Option<&Member>| m.map(|m| m.key.clone()).expect("a run that ends has a package");
            let chunk = Chunk {
                first: key(members.first()),
                last: key(members.last()),
                packages: members.len() as u64,
                ending: self.ending,
                parts,
            };
            (chunk, members)
        });
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, outcome);
    }
}

impl Raw {
    /// Takes the items' fragments of this kind together, unless that was done already. A file that the
    /// repository does not have stays empty.
    fn gather(&mut self, kind: usize, items: &[Item], pieces: &PieceFile) -> io::Result<()> {
        let len: u64 = items.iter().map(|item| u64::from(item.member.lens[kind])).sum();
        if len == self.part.raw.len {
            return Ok(());
        }
        // An attempt that failed may have left some of it.
        self.text.clear();
        self.text.reserve_exact(usize::try_from(len).map_err(io::Error::other)?);
        // Packages that were neighbours before lie side by side: they are read in one go.
        let mut ahead = Span::default();
        for item in items {
            match &item.text {
                Text::Kept(spans) if spans[kind].offset == ahead.end() => ahead.len += spans[kind].len,
                Text::Kept(spans) => {
                    pieces.read(ahead, &mut self.text)?;
                    ahead = spans[kind];
                }
                Text::Fresh(fragments) => {
                    pieces.read(std::mem::take(&mut ahead), &mut self.text)?;
                    self.text.extend_from_slice(fragments.texts()[kind]);
                }
            }
        }
        pieces.read(ahead, &mut self.text)?;
        self.sums = sums(kind, items, &self.text)?;
        self.part.raw_crc = crc32fast::hash(&self.text);
        self.part.raw = pieces.append(&self.text)?;
        Ok(())
    }

    fn compress(&mut self, compression: Compression, effort: Effort, pieces: &PieceFile) -> io::Result<Part> {
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return Ok(Part::default());
        }
        let packed = compression.piece(effort, &text)?;
        Ok(Part { piece_crc: crc32fast::hash(&packed), piece: pieces.append(&packed)?, ..self.part })
    }
}

/// CRC-32 of each item's fragment in `text`, which holds them in a row. Fails where one that was kept is another.
fn sums(kind: usize, items: &[Item], text: &[u8]) -> io::Result<Vec<u32>> {
    let mut rest = text;
    let sum = |item: &Item| {
        let (fragment, behind) =
            rest.split_at_checked(item.member.lens[kind] as usize).ok_or_else(damaged)?;
        rest = behind;
        let sum = crc32fast::hash(fragment);
        match item.text {
            Text::Kept(_) if sum != item.member.sums[kind] => Err(damaged()),
            Text::Kept(_) | Text::Fresh(_) => Ok(sum),
        }
    };
    items.iter().map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::order::Frontier;
    use crate::package::Location;
    use crate::repodata::Fragments;

    #[test]
    fn what_could_not_be_stored_is_stored_by_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let pieces = PieceFile::open(dir.path(), 1).unwrap();
        // Refuses to be written, as a full disk does.
        let full = PieceFile::open_existing(dir.path(), 1).unwrap();
        let key = Frontier::NONE.key(7, Location::parse("a.rpm").unwrap());
        let fragments = Fragments { primary: b"<package/>".to_vec(), ..Fragments::default() };
        let member = Member {
            key,
            pkgid_end: [1; 16],
            lens: fragments.texts().map(|t| t.len() as u32),
            sums: [0; KINDS],
        };
        let items = [Item { member, text: Text::Fresh(fragments) }];

        let mut raw = Raw::default();
        raw.gather(0, &items, &full).unwrap_err();
        raw.gather(0, &items, &pieces).unwrap();
        let stored = raw.part.raw;
        raw.gather(0, &items, &pieces).unwrap();
        assert_eq!(raw.part.raw, stored, "once is enough");
        let part = raw.compress(Compression::Zstd, Effort::Quick, &pieces).unwrap();
        assert_eq!((part.raw, part.raw_crc), (stored, crc32fast::hash(b"<package/>")));
        let mut text = Vec::new();
        pieces.read(part.raw, &mut text).unwrap();
        assert_eq!(text, b"<package/>");

        let mut none = Raw::default();
        none.gather(1, &items, &full).unwrap();
        assert_eq!(none.compress(Compression::Zstd, Effort::Quick, &full).unwrap().raw, Span::default());
    }
}
