//! Joins kept pieces into a metadata file, and takes both of its checksums, hashing only what no
//! earlier run over the same pieces has hashed.

use std::io::{self, Write};

use super::chunk::{Part, Pieces};
use super::compression::{Compression, Effort};
use super::repomd::MetadataType;
use crate::package::{Checksum, ChecksumType, Hasher};

/// What repomd.xml says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    pub checksum: Checksum,
    pub open_checksum: Checksum,
    /// Bytes as written.
    pub size: u64,
    /// Bytes uncompressed.
    pub open_size: u64,
    /// What stands before the first piece and after the last: with the pieces, all there is to make
    /// the file again.
    pub frame: Frame,
}

/// The bytes of a file that are not pieces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

/// Everything a file consists of.
#[derive(Clone, Copy)]
pub struct Recipe<'a> {
    pub kind: MetadataType,
    pub compression: Compression,
    pub checksum: ChecksumType,
    /// How many packages the parts hold.
    pub packages: u64,
    pub parts: &'a [Part],
}

/// The checksum states of one file behind each of its parts: the way an earlier run took.
///
/// Valid for a file that announces the same number of packages and begins with the same parts;
/// pieces never move while a trail lives, so a part is known by where its bytes lie. The two sides
/// may be walked at different times: uncompressed bytes are there before the compressed ones.
#[derive(Clone, Default)]
pub struct Trail {
    packages: u64,
    open: Vec<OpenMark>,
    packed: Vec<PackedMark>,
}

#[derive(Clone)]
struct OpenMark {
    raw_offset: u64,
    side: Side,
}

#[derive(Clone)]
struct PackedMark {
    piece_offset: u64,
    side: Side,
    /// Of the uncompressed bytes.
    crc: crc32fast::Hasher,
}

/// One of the two byte streams of a file: its hash so far, and how long it is.
#[derive(Clone)]
struct Side {
    hasher: Hasher,
    len: u64,
}

impl Side {
    fn new(kind: ChecksumType) -> Self {
        Self { hasher: Hasher::new(kind), len: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl Trail {
    /// How many of `recipe`'s parts need not be hashed again, uncompressed.
    fn known_open(&self, recipe: &Recipe<'_>) -> usize {
        let same = |(mark, part): &(&OpenMark, &Part)| mark.raw_offset == part.raw.offset;
        if self.packages != recipe.packages {
            return 0;
        }
        self.open.iter().zip(recipe.parts).take_while(same).count()
    }

    /// The same, compressed.
    fn known_packed(&self, recipe: &Recipe<'_>) -> usize {
        let same = |(mark, part): &(&PackedMark, &Part)| mark.piece_offset == part.piece.offset;
        if self.packages != recipe.packages {
            return 0;
        }
        self.packed.iter().zip(recipe.parts).take_while(same).count()
    }

    /// The number of packages this trail's file announces.
    pub fn packages(&self) -> u64 {
        self.packages
    }

    /// Whether nothing of this file need be hashed but its end.
    pub fn covers(&self, recipe: &Recipe<'_>) -> bool {
        let all = recipe.parts.len();
        self.packages == recipe.packages && self.known_open(recipe) == all && self.known_packed(recipe) == all
    }
}

/// Of the marks of all trails, those that save most.
fn longest<'t, M>(
    trails: &[&'t Trail],
    known: impl Fn(&Trail) -> usize,
    marks: impl Fn(&'t Trail) -> &'t [M],
) -> &'t [M] {
    let best = trails.iter().map(|trail| (known(trail), *trail)).max_by_key(|(known, _)| *known);
    best.map_or(&[], |(known, trail)| &marks(trail)[..known])
}

/// Writes the file to `sink` and returns its checksums with the trail that was walked.
///
/// `trails` may hold any number of earlier trails of the same kind of file; of each side the one that
/// saves most is used.
pub fn join(
    recipe: Recipe<'_>,
    pieces: &dyn Pieces,
    trails: &[&Trail],
    sink: &mut (dyn Write + Send),
) -> io::Result<(Joined, Trail)> {
    let known = longest(trails, |trail| trail.known_packed(&recipe), |trail| &trail.packed);
    let preamble = recipe.kind.preamble(recipe.packages);
    let closing = recipe.kind.closing();

    let start = known.last();
    let (open, packed) = rayon::join(
        || open_side(&recipe, pieces, trails, &preamble),
        || packed_side(&recipe, pieces, known.len(), start.map(|m| m.side.clone()), &preamble, sink),
    );
    let (mut open, open_marks) = open?;
    let (mut packed, packed_sides, head, sink) = packed?;

    // CRC-32 of the whole, combined from the parts': cheap enough to do every time for what is new.
    let mut crc = match start {
        Some(mark) => mark.crc.clone(),
        None => {
            let mut crc = crc32fast::Hasher::new();
            crc.update(preamble.as_bytes());
            crc
        }
    };
    let mut trail = Trail { packages: recipe.packages, open: open_marks, packed: known.to_vec() };
    for (part, side) in recipe.parts[known.len()..].iter().zip(packed_sides) {
        crc.combine(&crc32fast::Hasher::new_with_initial_len(part.raw_crc, part.raw.len));
        trail.packed.push(PackedMark { piece_offset: part.piece.offset, side, crc: crc.clone() });
    }
    crc.update(closing.as_bytes());

    open.take(closing.as_bytes());
    let mut end = recipe.compression.piece(Effort::Quick, closing.as_bytes())?;
    end.extend(recipe.compression.tail(crc.finalize(), open.len));
    packed.take(&end);
    sink.write_all(&end)?;
    let joined = Joined {
        checksum: packed.hasher.finish(),
        open_checksum: open.hasher.finish(),
        size: packed.len,
        open_size: open.len,
        frame: Frame { head, tail: end },
    };
    Ok((joined, trail))
}

/// Walks the uncompressed side alone, while what it consists of is still being compressed.
pub fn walk_open(recipe: Recipe<'_>, pieces: &dyn Pieces, trails: &[&Trail]) -> io::Result<Trail> {
    let preamble = recipe.kind.preamble(recipe.packages);
    let (_, open) = open_side(&recipe, pieces, trails, &preamble)?;
    Ok(Trail { packages: recipe.packages, open, packed: Vec::new() })
}

/// Walks the trail of a file that announces `recipe.packages` without writing it anywhere; goes on
/// where one of `trails` leaves off.
pub fn walk(recipe: Recipe<'_>, pieces: &dyn Pieces, trails: &[&Trail]) -> io::Result<Trail> {
    join(recipe, pieces, trails, &mut io::sink()).map(|(_, trail)| trail)
}

fn open_side(
    recipe: &Recipe<'_>,
    pieces: &dyn Pieces,
    trails: &[&Trail],
    preamble: &str,
) -> io::Result<(Side, Vec<OpenMark>)> {
    let mut marks = longest(trails, |trail| trail.known_open(recipe), |trail| &trail.open).to_vec();
    let mut side = match marks.last() {
        Some(mark) => mark.side.clone(),
        None => {
            let mut side = Side::new(recipe.checksum);
            side.take(preamble.as_bytes());
            side
        }
    };
    let mut buffer = Vec::new();
    for part in &recipe.parts[marks.len()..] {
        for block in blocks(part.raw) {
            buffer.clear();
            pieces.read(block, &mut buffer)?;
            side.take(&buffer);
        }
        marks.push(OpenMark { raw_offset: part.raw.offset, side: side.clone() });
    }
    Ok((side, marks))
}

/// The stream, its marks, the bytes before the first piece, and the sink given back.
type PackedSide<'s> = (Side, Vec<Side>, Vec<u8>, &'s mut (dyn Write + Send));

fn packed_side<'s>(
    recipe: &Recipe<'_>,
    pieces: &dyn Pieces,
    known: usize,
    start: Option<Side>,
    preamble: &str,
    sink: &'s mut (dyn Write + Send),
) -> io::Result<PackedSide<'s>> {
    let mut head = recipe.compression.head().to_vec();
    head.extend(recipe.compression.piece(Effort::Quick, preamble.as_bytes())?);
    sink.write_all(&head)?;
    let mut side = start.unwrap_or_else(|| {
        let mut side = Side::new(recipe.checksum);
        side.take(&head);
        side
    });
    let mut marks = Vec::with_capacity(recipe.parts.len() - known);
    let mut buffer = Vec::new();
    for (i, part) in recipe.parts.iter().enumerate() {
        for block in blocks(part.piece) {
            buffer.clear();
            pieces.read(block, &mut buffer)?;
            sink.write_all(&buffer)?;
            if i >= known {
                side.take(&buffer);
            }
        }
        if i >= known {
            marks.push(side.clone());
        }
    }
    Ok((side, marks, head, sink))
}

/// Cuts a span into blocks that stay in the processor's cache between reading and hashing.
fn blocks(span: super::chunk::Span) -> impl Iterator<Item = super::chunk::Span> {
    const BLOCK: u64 = 128 << 10;
    (0..span.len.div_ceil(BLOCK)).map(move |i| super::chunk::Span {
        offset: span.offset + i * BLOCK,
        len: BLOCK.min(span.len - i * BLOCK),
    })
}
