//! Where a list is cut, and joining kept pieces into a file: afresh, and with the states of the last run.

use std::io;

use createrepod::package::{ChecksumType, Verify};
use createrepod::repodata::chunk::Cutter;
use createrepod::repodata::join::{self, Recipe, Trail};
use createrepod::repodata::{Compression, Effort, MetadataType, Part, Pieces, Span};
use divan::Bencher;

use crate::{packages, render, take};

#[divan::bench]
fn cut_100_000(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let mut cutter = Cutter::default();
        // Any well-mixed bytes stand for the pkgid's last ones.
        let ends = |at: u32| cutter.ends_after(at.wrapping_mul(0x9e37_79b9).to_be_bytes(), 8000);
        (0..100_000).map(ends).filter(|ended| *ended).count()
    });
}

/// A repository's primary.xml in memory: the same piece of 256 packages again and again.
struct Memory {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

impl Memory {
    fn new(packages_in_it: usize) -> Self {
        let raw: Vec<u8> =
            packages(256).iter().flat_map(|bytes| render(&take(bytes, Verify::Header)).primary).collect();
        let piece = Compression::Zstd.piece(Effort::Thorough, &raw).unwrap();
        let (raw_len, piece_len) = (raw.len() as u64, piece.len() as u64);
        let part = Part {
            raw: Span { offset: 0, len: raw_len },
            raw_crc: crc32fast::hash(&raw),
            piece: Span { offset: raw_len, len: piece_len },
            piece_crc: crc32fast::hash(&piece),
        };
        Self { bytes: [raw, piece].concat(), parts: vec![part; packages_in_it / 256] }
    }

    fn recipe(&self) -> Recipe<'_> {
        Recipe {
            kind: MetadataType::Primary,
            compression: Compression::Zstd,
            checksum: ChecksumType::Sha256,
            packages: self.parts.len() as u64 * 256,
            parts: &self.parts,
        }
    }

    fn join(&self, trails: &[&Trail]) -> Trail {
        join::join(self.recipe(), self, trails, &mut io::sink()).unwrap().1
    }
}

impl Pieces for Memory {
    fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
        let start = span.offset as usize;
        into.extend_from_slice(&self.bytes[start..start + span.len as usize]);
        Ok(())
    }
}

/// Every checksum computed.
#[divan::bench(args = [10_000, 50_000])]
fn afresh(bencher: Bencher<'_, '_>, packages: usize) {
    let memory = Memory::new(packages);
    bencher.bench(|| memory.join(&[]));
}

/// All but the end is known.
#[divan::bench(args = [10_000, 50_000])]
fn with_a_trail(bencher: Bencher<'_, '_>, packages: usize) {
    let memory = Memory::new(packages);
    let trail = memory.join(&[]);
    bencher.bench(|| memory.join(&[&trail]));
}
