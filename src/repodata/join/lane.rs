//! Checksums on their way along the parts of a byte stream, one alone or two abreast.

use std::io;

use crate::package::{ChecksumType, Hasher};
use crate::repodata::chunk::damaged;
use crate::repodata::{Pieces, Span};

/// One of the two byte streams of a file: its hash so far, and how long it is.
#[derive(Clone)]
pub struct Side {
    pub hasher: Hasher,
    pub len: u64,
}

impl Side {
    /// What begins with these bytes.
    pub fn of(kind: ChecksumType, bytes: &[u8]) -> Self {
        let mut side = Self { hasher: Hasher::new(kind), len: 0 };
        side.take(bytes);
        side
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    fn take_both(one: &mut Self, other: &mut Self, bytes: &[u8]) {
        Hasher::update_both((&mut one.hasher, bytes), (&mut other.hasher, bytes));
        one.len += bytes.len() as u64;
        other.len += bytes.len() as u64;
    }
}

/// A checksum that has taken in so many parts of a stream already, and is to take in the others.
pub struct Lane {
    pub known: usize,
    pub side: Side,
    /// How it was behind each part that it has taken in here.
    pub behind: Vec<Side>,
}

impl Lane {
    pub fn new(known: usize, side: Side) -> Self {
        Self { known, side, behind: Vec::new() }
    }
}

/// Takes `parts`, each with the CRC-32 that it must have, into those of the lanes that do not have them. Bytes are read once; two lanes that both want them
/// get them in little more than the time of one. Lanes hold what was done before a failure.
pub fn walk(
    lanes: &mut [Lane],
    parts: impl Iterator<Item = (Span, u32)>,
    pieces: &dyn Pieces,
) -> io::Result<()> {
    let known = lanes.iter().map(|lane| lane.known).min().unwrap_or(0);
    let mut buffer = Vec::new();
    for (at, (part, sum)) in parts.enumerate().skip(known) {
        let mut crc = crc32fast::Hasher::new();
        let mut wanting: Vec<&mut Lane> = lanes.iter_mut().filter(|lane| lane.known <= at).collect();
        for block in blocks(part) {
            buffer.clear();
            pieces.read(block, &mut buffer)?;
            crc.update(&buffer);
            for pair in wanting.chunks_mut(2) {
                match pair {
                    [one, other] => Side::take_both(&mut one.side, &mut other.side, &buffer),
                    alone => alone.iter_mut().for_each(|lane| lane.side.take(&buffer)),
                }
            }
        }
        if crc.finalize() != sum {
            return Err(damaged());
        }
        for lane in wanting {
            lane.behind.push(lane.side.clone());
        }
    }
    Ok(())
}

/// Cuts a span into blocks that stay in the processor's cache between reading and hashing.
pub fn blocks(span: Span) -> impl Iterator<Item = Span> {
    const BLOCK: u64 = 128 << 10;
    (0..span.len.div_ceil(BLOCK))
        .map(move |i| Span { offset: span.offset + i * BLOCK, len: BLOCK.min(span.len - i * BLOCK) })
}
