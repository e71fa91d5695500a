//! Walks the ways of files that are expected but not there yet.
//!
//! They consist of the same parts, and differ in how many packages they announce: in their first line, and so in
//! every state behind it. Of two such files each byte is read once, and both sums are taken in the time of one.

use std::io;

use super::lane::{Lane, walk};
use super::{OpenMark, PackedMark, Recipe, Trail, known_open, known_packed};
use crate::repodata::{Part, Pieces};

/// Walks the ways of files that announce `counts` packages instead of `recipe.packages`; goes on where `trails`
/// leave off. Where reading fails the trails end, and are good for others to go on.
pub fn walk_ahead(
    recipe: Recipe<'_>,
    counts: &[u64],
    pieces: &dyn Pieces,
    trails: &[&Trail],
) -> (Vec<Trail>, io::Result<()>) {
    let files: Vec<Recipe<'_>> = counts.iter().map(|&packages| Recipe { packages, ..recipe }).collect();
    let ((open, open_ended), (packed, packed_ended)) = rayon::join(
        || open_sides(&files, recipe.parts, pieces, trails),
        || packed_sides(&files, recipe.parts, pieces, trails),
    );
    let walked = counts.iter().zip(open).zip(packed);
    let walked = walked.map(|((&packages, open), packed)| Trail { packages, open, packed });
    (walked.collect(), open_ended.and(packed_ended))
}

fn open_sides(
    files: &[Recipe<'_>],
    parts: &[Part],
    pieces: &dyn Pieces,
    trails: &[&Trail],
) -> (Vec<Vec<OpenMark>>, io::Result<()>) {
    let mut lanes: Vec<Lane> = files.iter().map(|file| file.open_lane(known_open(file, trails))).collect();
    let ended = walk(&mut lanes, parts.iter().map(|part| (part.raw, part.raw_crc)), pieces);
    let marks = files.iter().zip(lanes);
    let marks = marks.map(|(file, lane)| file.open_marks(known_open(file, trails), lane.behind));
    (marks.collect(), ended)
}

fn packed_sides(
    files: &[Recipe<'_>],
    parts: &[Part],
    pieces: &dyn Pieces,
    trails: &[&Trail],
) -> (Vec<Vec<PackedMark>>, io::Result<()>) {
    let lane = |file: &Recipe<'_>| Ok(file.packed_lane(known_packed(file, trails), &file.head()?));
    let mut lanes: Vec<Lane> = match files.iter().map(lane).collect() {
        Ok(lanes) => lanes,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let ended = walk(&mut lanes, parts.iter().map(|part| (part.piece, part.piece_crc)), pieces);
    let marks = files.iter().zip(lanes);
    let marks = marks.map(|(file, lane)| file.packed_marks(known_packed(file, trails), lane.behind));
    (marks.collect(), ended)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::package::ChecksumType;
    use crate::repodata::join::{Joined, join};
    use crate::repodata::{Compression, Effort, MetadataType, Span};

    /// Pieces in memory, of which only so many blocks can be read.
    struct Memory {
        bytes: Vec<u8>,
        parts: Vec<Part>,
        left: AtomicUsize,
    }

    impl Memory {
        fn new(packages: usize) -> Self {
            let mut memory =
                Self { bytes: Vec::new(), parts: Vec::new(), left: AtomicUsize::new(usize::MAX) };
            for number in 0..packages {
                let raw = format!("<package>{}</package>", "x".repeat(number * 37)).into_bytes();
                let piece = Compression::Zstd.piece(Effort::Quick, &raw).unwrap();
                let mut append = |bytes: &[u8]| {
                    let offset = memory.bytes.len() as u64;
                    memory.bytes.extend(bytes);
                    Span { offset, len: bytes.len() as u64 }
                };
                let (raw_crc, piece_crc) = (crc32fast::hash(&raw), crc32fast::hash(&piece));
                let part = Part { raw: append(&raw), raw_crc, piece: append(&piece), piece_crc };
                memory.parts.push(part);
            }
            memory
        }

        fn recipe(&self, checksum: ChecksumType, packages: u64) -> Recipe<'_> {
            let (kind, compression) = (MetadataType::Other, Compression::Zstd);
            Recipe { kind, compression, checksum, packages, parts: &self.parts }
        }

        fn join(&self, checksum: ChecksumType, packages: u64, trails: &[&Trail]) -> Joined {
            join(self.recipe(checksum, packages), self, trails, &mut io::sink()).unwrap().0
        }
    }

    impl Pieces for Memory {
        fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
            let take = |left: usize| left.checked_sub(1);
            if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            into.extend_from_slice(&self.bytes[span.offset as usize..span.end() as usize]);
            Ok(())
        }
    }

    #[test]
    fn what_was_walked_ahead_is_not_hashed_again_and_gives_the_same_sums() {
        let memory = Memory::new(20);
        for checksum in [ChecksumType::Sha256, ChecksumType::Sha1] {
            let (trails, ended) = walk_ahead(memory.recipe(checksum, 20), &[21, 100], &memory, &[]);
            ended.unwrap();
            for (trail, count) in trails.iter().zip([21, 100]) {
                assert!(trail.covers(&memory.recipe(checksum, count)));
                assert_eq!(memory.join(checksum, count, &[trail]), memory.join(checksum, count, &[]));
            }
        }
    }

    #[test]
    fn an_interrupted_walk_is_gone_on_with_wherever_it_ended() {
        let memory = Memory::new(12);
        let recipe = memory.recipe(ChecksumType::Sha256, 12);
        for interrupted_after in 0..24 {
            memory.left.store(interrupted_after, Ordering::Relaxed);
            let (some, ended) = walk_ahead(recipe, &[13], &memory, &[]);
            assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::Interrupted);
            memory.left.store(usize::MAX, Ordering::Relaxed);
            // One of the two begins farther behind than the other.
            let (more, ended) = walk_ahead(recipe, &[13, 14], &memory, &some.iter().collect::<Vec<_>>());
            ended.unwrap();
            assert!(usize::MAX - memory.left.load(Ordering::Relaxed) <= 24, "each block is read once");
            for (trail, count) in more.iter().zip([13, 14]) {
                assert!(trail.covers(&memory.recipe(ChecksumType::Sha256, count)));
                let afresh = memory.join(ChecksumType::Sha256, count, &[]);
                assert_eq!(memory.join(ChecksumType::Sha256, count, &[trail]), afresh);
            }
            memory.left.store(usize::MAX - interrupted_after, Ordering::Relaxed);
        }
    }
}
