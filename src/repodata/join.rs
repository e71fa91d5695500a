//! Joins kept pieces into a metadata file, and takes both of its checksums, hashing only what no
//! earlier run over the same pieces has hashed.

mod ahead;
mod lane;

use std::io::{self, Write};

use super::chunk::{Part, Pieces, damaged};
use super::compression::{Compression, Effort};
use super::repomd::MetadataType;
use crate::package::{Checksum, ChecksumType};
use lane::{Lane, Side};

pub use ahead::walk_ahead;

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

impl Recipe<'_> {
    fn preamble(&self) -> String {
        self.kind.preamble(self.packages)
    }

    /// The bytes before the first piece.
    fn head(&self) -> io::Result<Vec<u8>> {
        let preamble = self.compression.piece(Effort::Quick, self.preamble().as_bytes())?;
        Ok([self.compression.head(), &preamble].concat())
    }

    fn open_lane(&self, known: &[OpenMark]) -> Lane {
        let start = known.last().map(|mark| mark.side.clone());
        Lane::new(known.len(), start.unwrap_or_else(|| Side::of(self.checksum, self.preamble().as_bytes())))
    }

    fn packed_lane(&self, known: &[PackedMark], head: &[u8]) -> Lane {
        let start = known.last().map(|mark| mark.side.clone());
        Lane::new(known.len(), start.unwrap_or_else(|| Side::of(self.checksum, head)))
    }

    /// `known`, and what was walked from there.
    fn open_marks(&self, known: &[OpenMark], walked: Vec<Side>) -> Vec<OpenMark> {
        let new = self.parts[known.len()..].iter().zip(walked);
        let new = new.map(|(part, side)| OpenMark { raw_offset: part.raw.offset, side });
        known.iter().cloned().chain(new).collect()
    }

    /// The same of the compressed side.
    fn packed_marks(&self, known: &[PackedMark], walked: Vec<Side>) -> Vec<PackedMark> {
        let mut crc = self.crc_behind(known);
        let new = self.parts[known.len()..].iter().zip(walked).map(|(part, side)| {
            // Combined from the parts': cheap enough to do every time for what is new.
            crc.combine(&crc32fast::Hasher::new_with_initial_len(part.raw_crc, part.raw.len));
            PackedMark { piece_offset: part.piece.offset, side, crc: crc.clone() }
        });
        known.iter().cloned().chain(new).collect()
    }

    /// CRC-32 of the uncompressed bytes up to here.
    fn crc_behind(&self, marks: &[PackedMark]) -> crc32fast::Hasher {
        let start = marks.last().map(|mark| mark.crc.clone());
        start.unwrap_or_else(|| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(self.preamble().as_bytes());
            crc
        })
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

fn known_open<'t>(recipe: &Recipe<'_>, trails: &[&'t Trail]) -> &'t [OpenMark] {
    longest(trails, |trail| trail.known_open(recipe), |trail| &trail.open)
}

fn known_packed<'t>(recipe: &Recipe<'_>, trails: &[&'t Trail]) -> &'t [PackedMark] {
    longest(trails, |trail| trail.known_packed(recipe), |trail| &trail.packed)
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
    let head = recipe.head()?;
    let (open, packed) = rayon::join(
        || open_side(&recipe, pieces, trails),
        || packed_side(&recipe, pieces, trails, &head, sink),
    );
    let (mut open, open_marks) = open?;
    let (mut packed, packed_marks, sink) = packed?;

    let closing = recipe.kind.closing();
    open.take(closing.as_bytes());
    let mut crc = recipe.crc_behind(&packed_marks);
    crc.update(closing.as_bytes());
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
    Ok((joined, Trail { packages: recipe.packages, open: open_marks, packed: packed_marks }))
}

/// Walks the uncompressed side alone, while what it consists of is still being compressed.
pub fn walk_open(recipe: Recipe<'_>, pieces: &dyn Pieces, trails: &[&Trail]) -> io::Result<Trail> {
    let (_, open) = open_side(&recipe, pieces, trails)?;
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
) -> io::Result<(Side, Vec<OpenMark>)> {
    let known = known_open(recipe, trails);
    let mut lane = recipe.open_lane(known);
    lane::walk(
        std::slice::from_mut(&mut lane),
        recipe.parts.iter().map(|part| (part.raw, part.raw_crc)),
        pieces,
    )?;
    Ok((lane.side, recipe.open_marks(known, lane.behind)))
}

/// The stream, its marks, and the sink given back.
type PackedSide<'s> = (Side, Vec<PackedMark>, &'s mut (dyn Write + Send));

fn packed_side<'s>(
    recipe: &Recipe<'_>,
    pieces: &dyn Pieces,
    trails: &[&Trail],
    head: &[u8],
    sink: &'s mut (dyn Write + Send),
) -> io::Result<PackedSide<'s>> {
    sink.write_all(head)?;
    let known = known_packed(recipe, trails);
    let mut lane = recipe.packed_lane(known, head);
    let mut buffer = Vec::new();
    for (at, part) in recipe.parts.iter().enumerate() {
        let mut crc = crc32fast::Hasher::new();
        for block in lane::blocks(part.piece) {
            buffer.clear();
            pieces.read(block, &mut buffer)?;
            // Also of what need not be hashed again: it is what is published.
            crc.update(&buffer);
            sink.write_all(&buffer)?;
            if at >= lane.known {
                lane.side.take(&buffer);
            }
        }
        if crc.finalize() != part.piece_crc {
            return Err(damaged());
        }
        if at >= lane.known {
            lane.behind.push(lane.side.clone());
        }
    }
    Ok((lane.side, recipe.packed_marks(known, lane.behind), sink))
}
