//! A file that changes in place, compressed in blocks as one gzip member: only blocks that changed are
//! compressed again, and only what follows the first of them is hashed again.

use std::hash::{BuildHasher, Hasher as _};
use std::io::{self, Read, Write};

use rayon::prelude::*;

use super::chunk::{Pieces, Span, read_checked};
use super::compression::{Compression, Effort};
use super::join::{Frame, Joined};
use crate::package::{ChecksumType, Hasher};

/// Bytes, uncompressed. A package touches some fifty places of a repository's databases: with blocks of
/// 256 KiB 10 MiB were compressed for it at ten thousand packages and 2 MB of pieces kept, with these 3 MiB and
/// 0.7 MB; the databases are 4 % larger than in one stream, instead of 1 %.
pub const BLOCK: usize = 64 << 10;
/// Blocks compressed side by side; bounds memory.
const AT_ONCE: usize = 64;

/// How a block is recognised, its CRC-32, and that of its piece. Nobody outside has a say where a collision would matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    crc: u32,
    packed: u32,
    hash: u64,
}

/// The blocks of an earlier state of the file.
#[derive(Clone, Default)]
pub struct Known {
    pub marks: Vec<Mark>,
    /// Where their pieces lie, in the same order.
    pub spans: Vec<Span>,
    /// The checksums in front of each block, as far as they were kept in memory.
    pub states: Vec<State>,
}

/// The checksums of both sides of a file up to some place.
#[derive(Clone)]
pub struct State {
    open: Hasher,
    packed: Hasher,
    crc: crc32fast::Hasher,
}

/// A file as written.
pub struct Pressed {
    pub joined: Joined,
    pub blocks: Known,
}

impl Mark {
    const LEN: usize = 16;

    fn hash(block: &[u8]) -> u64 {
        let mut hasher = foldhash::quality::FixedState::with_seed(BLOCK as u64).build_hasher();
        hasher.write(block);
        hasher.finish()
    }

    fn of(block: &[u8], piece: &[u8]) -> Self {
        Self { crc: crc32fast::hash(block), packed: crc32fast::hash(piece), hash: Self::hash(block) }
    }

    /// Marks as bytes to be kept.
    pub fn encode(marks: &[Self]) -> Vec<u8> {
        let bytes = |mark: &Self| {
            [&mark.crc.to_le_bytes()[..], &mark.packed.to_le_bytes(), &mark.hash.to_le_bytes()].concat()
        };
        marks.iter().flat_map(bytes).collect()
    }

    /// Reads what [`Mark::encode`] made; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        let (marks, rest) = bytes.as_chunks::<{ Self::LEN }>();
        let read = |mark: &[u8; Self::LEN]| {
            let (crc, rest) = mark.split_first_chunk::<4>()?;
            let (packed, hash) = rest.split_first_chunk::<4>()?;
            let [crc, packed] = [crc, packed].map(|bytes| u32::from_le_bytes(*bytes));
            Some(Self { crc, packed, hash: u64::from_le_bytes(hash.try_into().ok()?) })
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
    let start =
        State { open: Hasher::new(checksum), packed: Hasher::new(checksum), crc: crc32fast::Hasher::new() };
    let mut sums = Sums { state: start, same: true, size: 0, open_size: 0, sink };
    sums.state.packed.update(format.head());
    sums.sink.write_all(format.head())?;
    sums.size = format.head().len() as u64;
    let mut blocks = Known::default();
    let mut buffers: [Vec<u8>; AT_ONCE] = std::array::from_fn(|_| Vec::new());
    let mut piece = Vec::new();
    let make = |raw: &[u8]| {
        let piece = format.piece(Effort::Thorough, raw)?;
        Ok::<_, io::Error>((Mark::of(raw, &piece), store(&piece)?))
    };
    loop {
        let mut filled = 0;
        for buffer in &mut buffers {
            buffer.clear();
            source.by_ref().take(BLOCK as u64).read_to_end(buffer)?;
            if buffer.is_empty() {
                break;
            }
            filled += 1;
        }
        let first = blocks.marks.len();
        let made: Vec<(Mark, Span)> = buffers[..filled]
            .par_iter()
            .enumerate()
            .map(|(i, raw)| {
                let old = known.marks.get(first + i).zip(known.spans.get(first + i));
                match old {
                    Some((old, span)) if old.hash == Mark::hash(raw) => Ok((*old, *span)),
                    _ => make(raw),
                }
            })
            .collect::<io::Result<_>>()?;
        for ((mut mark, mut span), raw) in made.into_iter().zip(&buffers) {
            let at = blocks.marks.len();
            piece.clear();
            if read_checked(pieces, span, mark.packed, &mut piece).is_err() {
                // It is not what was kept, or cannot be read any more: the block is here.
                (mark, span) = make(raw)?;
                piece.clear();
                read_checked(pieces, span, mark.packed, &mut piece)?;
            }
            let unchanged = known.spans.get(at) == Some(&span);
            let behind = known.states.get(at + 1).filter(|_| unchanged);
            blocks.states.push(sums.take(raw, &piece, mark.crc, behind)?);
            blocks.marks.push(mark);
            blocks.spans.push(span);
        }
        if filled < AT_ONCE {
            break;
        }
    }
    blocks.states.push(sums.state.clone());
    let tail = format.tail(sums.state.crc.clone().finalize(), sums.open_size);
    sums.state.packed.update(&tail);
    sums.sink.write_all(&tail)?;
    let joined = Joined {
        checksum: sums.state.packed.finish(),
        open_checksum: sums.state.open.finish(),
        size: sums.size + tail.len() as u64,
        open_size: sums.open_size,
        frame: Frame { head: format.head().to_vec(), tail },
    };
    Ok(Pressed { joined, blocks })
}

/// The file so far.
struct Sums<'s> {
    state: State,
    /// Whether every block so far is as it was, so that the state behind it is known.
    same: bool,
    size: u64,
    open_size: u64,
    sink: &'s mut dyn Write,
}

impl Sums<'_> {
    /// Takes a block and gives the state in front of it. `behind`: the state behind it, if it and all before are known.
    fn take(&mut self, raw: &[u8], piece: &[u8], crc: u32, behind: Option<&State>) -> io::Result<State> {
        self.sink.write_all(piece)?;
        self.size += piece.len() as u64;
        self.open_size += raw.len() as u64;
        let before = self.state.clone();
        match behind.filter(|_| self.same) {
            Some(behind) => self.state.clone_from(behind),
            None => {
                self.same = false;
                self.state.open.update(raw);
                self.state.packed.update(piece);
                self.state.crc.combine(&crc32fast::Hasher::new_with_initial_len(crc, raw.len() as u64));
            }
        }
        Ok(before)
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
            let heap = self.0.lock().unwrap();
            let bytes = heap.get(start..start + len).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.extend_from_slice(bytes);
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
        let forgetful = Known { states: Vec::new(), ..first.blocks.clone() };
        assert_eq!(run(&raw, &forgetful, &heap).0.joined, second.joined, "kept states change nothing");
        raw.truncate(BLOCK * 3);
        run(&raw, &second.blocks, &heap);
        run(b"", &second.blocks, &heap);
    }

    #[test]
    fn marks_read_back_and_others_are_refused() {
        let marks = [Mark::of(b"a", b"A"), Mark::of(b"b", b"B")];
        assert_eq!(Mark::decode(&Mark::encode(&marks)).unwrap(), marks);
        assert!(Mark::decode(&[0; 17]).is_none());
    }

    #[test]
    fn a_kept_piece_that_is_damaged_or_gone_is_made_again() {
        let heap = Heap::default();
        let raw = sample(BLOCK * 5);
        let (first, file) = run(&raw, &Known::default(), &heap);
        let damaged = first.blocks.spans[2];
        heap.0.lock().unwrap()[damaged.offset as usize + 9] ^= 16;
        let (second, again) = run(&raw, &first.blocks, &heap);
        assert!(again == file);
        assert_eq!(second.joined, first.joined);
        let moved: Vec<usize> =
            (0..5).filter(|at| second.blocks.spans[*at] != first.blocks.spans[*at]).collect();
        assert_eq!(moved, [2]);
        let mut elsewhere = second.blocks.clone();
        elsewhere.spans[1].len = heap.0.lock().unwrap().len() as u64 * 2;
        assert!(run(&raw, &elsewhere, &heap).1 == file);
    }
}
