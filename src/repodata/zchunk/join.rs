//! The zchunk file of kept frames: the same frames as in the .zst file, behind their list.

use std::io::{self, Write};

use super::Index;
use crate::package::{Checksum, Hasher};
use crate::repodata::Compression;
use crate::repodata::chunk::{Part, Pieces, read_checked};
use crate::repodata::join::{Frame, Joined, Recipe};

/// Writes the file to `sink` that says the same as `zstd`, which was joined by the same `recipe`. Returns what
/// repomd.xml says of it, and its header's checksum and length in bytes.
pub fn join(
    recipe: Recipe<'_>,
    zstd: &Joined,
    pieces: &dyn Pieces,
    sink: &mut dyn Write,
) -> io::Result<(Joined, (Checksum, u64))> {
    if recipe.compression != Compression::Zstd {
        return Err(io::Error::other("zchunk files are made of zstd frames"));
    }
    let mut index = Index::new(&[], 0);
    index.add(&zstd.frame.head, recipe.kind.preamble(recipe.packages).len() as u64);
    let mut frame = Vec::new();
    let read = |part: &Part, frame: &mut Vec<u8>| {
        frame.clear();
        read_checked(pieces, part.piece, part.piece_crc, frame)
    };
    for part in recipe.parts {
        read(part, &mut frame)?;
        index.add(&frame, part.raw.len);
    }
    index.add(&zstd.frame.tail, recipe.kind.closing().len() as u64);
    let header = index.into_header();

    let mut head = header.bytes;
    let header_len = head.len() as u64;
    head.extend_from_slice(&zstd.frame.head);
    let (mut hasher, mut size) = (Hasher::new(recipe.checksum), 0);
    let mut put = |bytes: &[u8]| {
        hasher.update(bytes);
        size += bytes.len() as u64;
        sink.write_all(bytes)
    };
    put(&head)?;
    for part in recipe.parts {
        read(part, &mut frame)?;
        put(&frame)?;
    }
    put(&zstd.frame.tail)?;
    let joined = Joined {
        checksum: hasher.finish(),
        open_checksum: zstd.open_checksum.clone(),
        size,
        open_size: zstd.open_size,
        frame: Frame { head, tail: zstd.frame.tail.clone() },
    };
    Ok((joined, (header.checksum, header_len)))
}
