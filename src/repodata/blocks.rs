//! A file that changes in place, compressed in blocks as one gzip member: only blocks that changed are
//! compressed again.

use std::hash::{BuildHasher, Hasher as _};
use std::io::{self, Read, Write};

use rayon::prelude::*;

use super::chunk::{Pieces, Span};
use super::compression::{Compression, Effort};
use super::join::{Frame, Joined};
use crate::package::{ChecksumType, Hasher};

/// Bytes, uncompressed. Smaller ones compress worse (64 KiB: a SQLite database grows by 4 to 17 %), in
/// larger ones a change costs more.
pub const BLOCK: usize = 256 << 10;
/// Blocks compressed side by side; bounds memory.
const AT_ONCE: usize = 16;

/// How a block is recognised: 96 bits, of which nobody outside has a say where they matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    crc: u32,
    hash: u64,
}

/// The blocks of an earlier state of the file.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub marks: Vec<Mark>,
    /// Where their pieces lie, in the same order.
    pub spans: Vec<Span>,
}

/// A file as written.
#[derive(Debug)]
pub struct Pressed {
    pub joined: Joined,
    pub blocks: Known,
}

impl Mark {
    const LEN: usize = 12;

    fn of(block: &[u8]) -> Self {
        let mut hasher = foldhash::quality::FixedState::with_seed(BLOCK as u64).build_hasher();
        hasher.write(block);
        Self { crc: crc32fast::hash(block), hash: hasher.finish() }
    }

    /// Marks as bytes to be kept.
    pub fn encode(marks: &[Self]) -> Vec<u8> {
        marks.iter().flat_map(|m| [&m.crc.to_le_bytes()[..], &m.hash.to_le_bytes()].concat()).collect()
    }

    /// Reads what [`Mark::encode`] made; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        let (marks, rest) = bytes.as_chunks::<{ Self::LEN }>();
        let read = |mark: &[u8; Self::LEN]| {
            let (crc, hash) = mark.split_first_chunk::<4>()?;
            Some(Self { crc: u32::from_le_bytes(*crc), hash: u64::from_le_bytes(hash.try_into().ok()?) })
        };
        marks.iter().map(read).collect::<Option<_>>().filter(|_| rest.is_empty())
    }
}

/// Writes `source` to `sink` as a gzip file. Blocks in `known` are read from `pieces`, others are
/// compressed and given to `store`, which says where `pieces` will find them.
pub fn press(
    mut source: impl Read,
    known: &Known,
    checksum: ChecksumType,
    pieces: &dyn Pieces,
    store: &(dyn Fn(&[u8]) -> io::Result<Span> + Sync),
    sink: &mut dyn Write,
) -> io::Result<Pressed> {
    let format = Compression::Gzip;
    let mut open = Hasher::new(checksum);
    let mut packed = Packed { hasher: Hasher::new(checksum), len: 0, sink };
    let (mut crc, mut open_size) = (crc32fast::Hasher::new(), 0);
    let mut blocks = Known::default();
    packed.write(format.head())?;
    let mut buffers: [Vec<u8>; AT_ONCE] = Default::default();
    let mut piece = Vec::new();
    loop {
        let mut filled = 0;
        for buffer in &mut buffers {
            buffer.clear();
            source.by_ref().take(BLOCK as u64).read_to_end(buffer)?;
            if buffer.is_empty() {
                break;
            }
            open.update(buffer);
            open_size += buffer.len() as u64;
            filled += 1;
        }
        let first = blocks.marks.len();
        let made: Vec<(Mark, Span)> = buffers[..filled]
            .par_iter()
            .enumerate()
            .map(|(i, raw)| {
                let mark = Mark::of(raw);
                match (known.marks.get(first + i), known.spans.get(first + i)) {
                    (Some(old), Some(span)) if *old == mark => Ok((mark, *span)),
                    _ => Ok((mark, store(&format.piece(Effort::Thorough, raw)?)?)),
                }
            })
            .collect::<io::Result<_>>()?;
        for ((mark, span), raw) in made.into_iter().zip(&buffers) {
            crc.combine(&crc32fast::Hasher::new_with_initial_len(mark.crc, raw.len() as u64));
            piece.clear();
            pieces.read(span, &mut piece)?;
            packed.write(&piece)?;
            blocks.marks.push(mark);
            blocks.spans.push(span);
        }
        if filled < AT_ONCE {
            break;
        }
    }
    let tail = format.tail(crc.finalize(), open_size);
    packed.write(&tail)?;
    let joined = Joined {
        checksum: packed.hasher.finish(),
        open_checksum: open.finish(),
        size: packed.len,
        open_size,
        frame: Frame { head: format.head().to_vec(), tail },
    };
    Ok(Pressed { joined, blocks })
}

/// The compressed side of the file.
struct Packed<'s> {
    hasher: Hasher,
    len: u64,
    sink: &'s mut dyn Write,
}

impl Packed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.sink.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::package::Checksum;

    /// Pieces on the heap.
    #[derive(Default)]
    struct Heap(Mutex<Vec<u8>>);

    impl Heap {
        fn store(&self, bytes: &[u8]) -> io::Result<Span> {
            let mut heap = self.0.lock().unwrap();
            let span = Span { offset: heap.len() as u64, len: bytes.len() as u64 };
            heap.extend_from_slice(bytes);
            Ok(span)
        }
    }

    impl Pieces for Heap {
        fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()> {
            let (start, len) = (span.offset as usize, span.len as usize);
            into.extend_from_slice(&self.0.lock().unwrap()[start..start + len]);
            Ok(())
        }
    }

    fn run(raw: &[u8], known: &Known, heap: &Heap) -> (Pressed, Vec<u8>) {
        let mut file = Vec::new();
        let pressed =
            press(raw, known, ChecksumType::Sha256, heap, &|bytes| heap.store(bytes), &mut file).unwrap();
        assert_eq!(pressed.joined.checksum, Checksum::of(ChecksumType::Sha256, &file));
        assert_eq!(pressed.joined.open_checksum, Checksum::of(ChecksumType::Sha256, raw));
        assert_eq!((pressed.joined.size, pressed.joined.open_size), (file.len() as u64, raw.len() as u64));
        let mut text = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(&file[..]);
        decoder.read_to_end(&mut text).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member only");
        assert!(text == raw);
        (pressed, file)
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
    }

    #[test]
    fn a_changed_file_costs_its_changed_blocks() {
        let heap = Heap::default();
        let mut raw = sample(BLOCK * 40 + 77);
        let (first, _) = run(&raw, &Known::default(), &heap);
        assert_eq!(first.blocks.marks.len(), 41);
        let (_, again) = run(&raw, &first.blocks, &heap);
        assert_eq!(run(&raw, &Known::default(), &Heap::default()).1, again, "the past leaves no trace");

        raw[BLOCK * 17 + 5] ^= 1;
        raw.extend_from_slice(b"more");
        let before = heap.0.lock().unwrap().len() as u64;
        let (second, _) = run(&raw, &first.blocks, &heap);
        let made = second.blocks.spans.iter().filter(|span| span.offset >= before).count();
        assert_eq!(made, 2);
        raw.truncate(BLOCK * 3);
        run(&raw, &second.blocks, &heap);
        run(b"", &second.blocks, &heap);
    }

    #[test]
    fn marks_read_back_and_others_are_refused() {
        let marks = [Mark::of(b"a"), Mark::of(b"b")];
        assert_eq!(Mark::decode(&Mark::encode(&marks)).unwrap(), marks);
        assert!(Mark::decode(&[0; 13]).is_none());
    }
}
