//! Compressing one piece of a metadata file: same input, same bytes, on every machine.

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, PoisonError};

use flate2::{Compress, FlushCompress, Status};

/// How the metadata files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// One frame a piece: a row of frames is a valid file (RFC 8878, section 3.1).
    Zstd,
    /// One member in all, each piece ended by a full flush. Never one member a piece: libxml2's own
    /// file reader stops at the second member.
    Gzip,
}

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For pieces that are soon written again: the open run, the first and last words of a file.
    Quick,
    /// For closed chunks, compressed once and kept.
    Thorough,
}

const ZSTD_QUICK: i32 = 6;
const ZSTD_THOROUGH: i32 = 8;
const GZIP_LEVEL: u32 = 6;

impl Compression {
    /// What the file's name ends in, dot included.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// The bytes before the first piece.
    pub fn head(self) -> &'static [u8] {
        match self {
            Self::Zstd => &[],
            // RFC 1952: magic, deflate, no flags, no time, no extra flags, Unix.
            Self::Gzip => &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3],
        }
    }

    /// The bytes after the last piece, given CRC-32 and length of everything uncompressed.
    pub fn tail(self, crc: u32, len: u64) -> Vec<u8> {
        match self {
            Self::Zstd => Vec::new(),
            Self::Gzip => {
                // An empty final block with fixed codes, then CRC-32 and length modulo 2^32.
                let mut tail = vec![3, 0];
                tail.extend(crc.to_le_bytes());
                tail.extend((len as u32).to_le_bytes());
                tail
            }
        }
    }

    /// Compresses one piece so that it can stand behind any other.
    pub fn piece(self, effort: Effort, raw: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd_frame(effort, raw),
            Self::Gzip => deflate_flushed(raw),
        }
    }
}

/// Contexts for [`Effort::Thorough`]: making one costs a millisecond, keeping one costs megabytes.
static THOROUGH: Mutex<Vec<zstd::bulk::Compressor<'static>>> = Mutex::new(Vec::new());

/// Gives back the memory kept for the next thorough compression. For when there is nothing to do.
pub fn release_memory() {
    THOROUGH.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

fn zstd_frame(effort: Effort, raw: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static QUICK: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    }
    match effort {
        Effort::Quick => QUICK.with_borrow_mut(|kept| match kept {
            Some(compressor) => compressor.compress(raw),
            None => kept.insert(zstd::bulk::Compressor::new(ZSTD_QUICK)?).compress(raw),
        }),
        Effort::Thorough => {
            let kept = THOROUGH.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut compressor = match kept {
                Some(compressor) => compressor,
                None => zstd::bulk::Compressor::new(ZSTD_THOROUGH)?,
            };
            let frame = compressor.compress(raw);
            THOROUGH.lock().unwrap_or_else(PoisonError::into_inner).push(compressor);
            frame
        }
    }
}

fn deflate_flushed(raw: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static KEPT: RefCell<Compress> = RefCell::new(Compress::new(flate2::Compression::new(GZIP_LEVEL), false));
    }
    KEPT.with_borrow_mut(|compress| {
        compress.reset();
        let mut out = Vec::with_capacity(raw.len() / 4 + 64);
        loop {
            if out.capacity() - out.len() < 64 {
                out.reserve(out.capacity().max(4096));
            }
            let taken = usize::try_from(compress.total_in()).map_err(io::Error::other)?;
            let status = compress
                .compress_vec(&raw[taken..], &mut out, FlushCompress::Full)
                .map_err(io::Error::other)?;
            let all_in = compress.total_in() == raw.len() as u64;
            // zlib's contract: the flush is complete once a call leaves room behind it.
            if all_in && status != Status::StreamEnd && out.len() < out.capacity() {
                return Ok(out);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 % 61 + i / 100 % 13) as u8 + b' ').collect()
    }

    fn file(compression: Compression, pieces: &[&[u8]]) -> Vec<u8> {
        let raw = pieces.concat();
        let mut file = compression.head().to_vec();
        for (i, piece) in pieces.iter().enumerate() {
            let effort = if i % 2 == 0 { Effort::Thorough } else { Effort::Quick };
            file.extend(compression.piece(effort, piece).unwrap());
        }
        file.extend(compression.tail(crc32fast::hash(&raw), raw.len() as u64));
        file
    }

    #[test]
    fn joined_pieces_read_back_as_one_file() {
        let (a, b, c) = (sample(100_000), sample(1), sample(70_001));
        for pieces in [vec![&a[..], &b, &c], vec![&b[..]], vec![&b[..], &[], &a]] {
            let raw = pieces.concat();
            assert_eq!(zstd::decode_all(&file(Compression::Zstd, &pieces)[..]).unwrap(), raw);
            // GzDecoder reads one member only, which is the point.
            let mut text = Vec::new();
            let gzip = file(Compression::Gzip, &pieces);
            let mut decoder = flate2::bufread::GzDecoder::new(&gzip[..]);
            decoder.read_to_end(&mut text).unwrap();
            assert_eq!(text, raw);
            assert!(decoder.into_inner().is_empty(), "nothing may follow the one member");
        }
    }

    #[test]
    fn random_bytes_grow_without_harm() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 56) as u8
        })
        .take(300_000)
        .collect();
        let gzip = file(Compression::Gzip, &[&noise]);
        let mut text = Vec::new();
        flate2::bufread::GzDecoder::new(&gzip[..]).read_to_end(&mut text).unwrap();
        assert!(text == noise);
    }

    #[test]
    fn the_same_piece_is_always_the_same_bytes() {
        let raw = sample(50_000);
        for compression in [Compression::Zstd, Compression::Gzip] {
            for effort in [Effort::Quick, Effort::Thorough] {
                let first = compression.piece(effort, &raw).unwrap();
                compression.piece(effort, b"something else in between").unwrap();
                assert_eq!(compression.piece(effort, &raw).unwrap(), first);
            }
        }
    }
}
