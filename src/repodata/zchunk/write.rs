//! Writes zchunk files: zstd frames behind a header that lists them, so that clients fetch only those they lack.

use std::io::{self, Write};

use super::{FLAG_NONE, MAGIC};
use crate::package::{Checksum, ChecksumType, Hasher};

const SHA256: u64 = 1;
/// SHA-512, the first 128 bits of it: what libzck takes for chunks.
const SHA512_128: u64 = 3;
const ZSTD: u64 = 2;
const LEVEL: i32 = 10;
/// Bytes uncompressed: a chunk is not cut before …
const SHORTEST: usize = 32 << 10;
/// … and is cut in any case.
const LONGEST: usize = 256 << 10;
/// A chunk ends behind a line whose CRC-32 has none of these bits, one in 64: the same lines everywhere, wherever
/// they stand in the file.
const CUT: u32 = 0x3f;

/// The list of a file's frames, taken as they come.
pub struct Index {
    entries: Vec<u8>,
    count: u64,
    data: Hasher,
    packed: u64,
    open: u64,
}

/// What stands before the frames.
pub struct Header {
    pub bytes: Vec<u8>,
    /// What repomd.xml calls `header-checksum`; `header-size` is the length of `bytes`.
    pub checksum: Checksum,
}

impl Index {
    /// For frames made with this dictionary, given compressed and with its length; empty for none.
    pub fn new(dictionary: &[u8], open_len: u64) -> Self {
        let mut index = Self {
            entries: Vec::new(),
            count: 0,
            data: Hasher::new(ChecksumType::Sha256),
            packed: 0,
            open: 0,
        };
        if dictionary.is_empty() {
            // The first chunk is the dictionary's, also where there is none.
            index.entry(&[0; 16], 0, 0);
        } else {
            index.add(dictionary, open_len);
            index.open = 0;
        }
        index
    }

    /// Adds a frame, and the length of its text in bytes.
    pub fn add(&mut self, frame: &[u8], open_len: u64) {
        let digest = Checksum::of(ChecksumType::Sha512, frame);
        self.entry(&digest.as_bytes()[..16], frame.len() as u64, open_len);
        self.data.update(frame);
        self.packed += frame.len() as u64;
        self.open += open_len;
    }

    fn entry(&mut self, digest: &[u8], len: u64, open_len: u64) {
        self.entries.extend_from_slice(digest);
        number(&mut self.entries, len);
        number(&mut self.entries, open_len);
        self.count += 1;
    }

    /// Bytes of all frames, the dictionary's among them.
    pub fn packed_len(&self) -> u64 {
        self.packed
    }

    /// Bytes of the text.
    pub fn open_len(&self) -> u64 {
        self.open
    }

    /// Makes the header; nothing can be added after.
    pub fn into_header(self) -> Header {
        let mut index = Vec::with_capacity(self.entries.len() + 16);
        number(&mut index, SHA512_128);
        number(&mut index, self.count);
        index.extend_from_slice(&self.entries);

        let mut rest = self.data.finish().as_bytes().to_vec();
        number(&mut rest, FLAG_NONE);
        number(&mut rest, ZSTD);
        number(&mut rest, index.len() as u64);
        rest.extend_from_slice(&index);
        // No signatures.
        number(&mut rest, 0);

        let mut bytes = MAGIC.to_vec();
        number(&mut bytes, SHA256);
        number(&mut bytes, rest.len() as u64);
        let mut hasher = Hasher::new(ChecksumType::Sha256);
        hasher.update(&bytes);
        hasher.update(&rest);
        let checksum = hasher.finish();
        bytes.extend_from_slice(checksum.as_bytes());
        bytes.extend_from_slice(&rest);
        Header { bytes, checksum }
    }
}

/// See [`super::Integers`].
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8);
        value >>= 7;
    }
    out.push(value as u8 | 0x80);
}

/// Takes a text, cuts it into chunks by its lines, and writes their frames to `body`, which stands behind the header.
pub struct Writer<W: Write> {
    body: W,
    index: Index,
    compressor: zstd::bulk::Compressor<'static>,
    chunk: Vec<u8>,
    line: crc32fast::Hasher,
    /// Where the line begins in `chunk`.
    line_start: usize,
}

impl<W: Write> Writer<W> {
    /// `dictionary` as it lies in a `.zdict` file; empty for none.
    pub fn new(mut body: W, dictionary: &[u8]) -> io::Result<Self> {
        let mut packed = Vec::new();
        if !dictionary.is_empty() {
            packed = zstd::bulk::Compressor::new(LEVEL)?.compress(dictionary)?;
        }
        body.write_all(&packed)?;
        Ok(Self {
            body,
            index: Index::new(&packed, dictionary.len() as u64),
            compressor: zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary)?,
            chunk: Vec::with_capacity(LONGEST),
            line: crc32fast::Hasher::new(),
            line_start: 0,
        })
    }

    /// Writes what is left; returns the header and `body`.
    pub fn finish(mut self) -> io::Result<(Header, W)> {
        self.cut()?;
        self.body.flush()?;
        Ok((self.index.into_header(), self.body))
    }

    /// Decides at the end of each line.
    fn end_of_line(&mut self) -> io::Result<()> {
        let crc = std::mem::take(&mut self.line).finalize();
        let line = &self.chunk[self.line_start..];
        // The number of packages changes with every package, and must not drag others along.
        let counts = memchr::memmem::find(line, b" packages=\"").is_some() && line.len() < 1024;
        self.line_start = self.chunk.len();
        if counts || (self.chunk.len() >= SHORTEST && crc & CUT == 0) {
            self.cut()?;
        }
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        if !self.chunk.is_empty() {
            let frame = self.compressor.compress(&self.chunk)?;
            self.index.add(&frame, self.chunk.len() as u64);
            self.body.write_all(&frame)?;
            self.chunk.clear();
            self.line_start = 0;
        }
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LONGEST - self.chunk.len();
        let block = &bytes[..bytes.len().min(room)];
        let (block, ends) = match memchr::memchr(b'\n', block) {
            Some(at) => (&block[..=at], true),
            None => (block, false),
        };
        self.chunk.extend_from_slice(block);
        self.line.update(block);
        if ends {
            self.end_of_line()?;
        }
        if self.chunk.len() == LONGEST {
            self.cut()?;
        }
        Ok(block.len())
    }

    /// Does not end a chunk: where chunks end depends on the text alone.
    fn flush(&mut self) -> io::Result<()> {
        self.body.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Read as _;

    use super::super::Integers;
    use super::*;

    fn file(text: &[u8], dictionary: &[u8], step: usize) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), dictionary).unwrap();
        for block in text.chunks(step) {
            writer.write_all(block).unwrap();
        }
        let (header, body) = writer.finish().unwrap();
        [header.bytes, body].concat()
    }

    fn sample(lines: usize) -> Vec<u8> {
        let line = |i: usize| format!("<line>{}</line>\n", i.wrapping_mul(2_654_435_761) % 1_000_003);
        let head = format!("<?xml?>\n<metadata packages=\"{lines}\">\n");
        std::iter::once(head).chain((0..lines).map(line)).collect::<String>().into_bytes()
    }

    fn read(file: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        super::super::open(file).unwrap().read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_written_reads_back_with_and_without_dictionary() {
        let dictionary: Vec<u8> = sample(300);
        for lines in [0, 1, 20_000] {
            let text = sample(lines);
            assert_eq!(read(&file(&text, &[], 7000)), text);
            assert_eq!(read(&file(&text, &dictionary, 7000)), text);
        }
        assert_eq!(read(&file(b"", &[], 1)), b"");
        let long_line = vec![b'x'; 3 * LONGEST + 5];
        assert_eq!(read(&file(&long_line, &[], 1 << 20)), long_line);
    }

    #[test]
    fn how_a_text_comes_does_not_matter() {
        let text = sample(20_000);
        assert_eq!(file(&text, &[], 1), file(&text, &[], text.len()));
    }

    /// The digests in a file's index.
    fn chunks(file: &[u8]) -> HashSet<Vec<u8>> {
        let mut rest = &file[MAGIC.len()..];
        let mut integer = |skip: usize| {
            rest = &rest[skip..];
            Integers(&mut rest).next().unwrap()
        };
        // Type and length; two digests, flags, compression, the index's length, the digests' type, their number.
        integer(0);
        integer(0);
        let [_, _, _, _, count] = [64, 0, 0, 0, 0].map(&mut integer);
        let mut found = HashSet::new();
        for _ in 0..count {
            found.insert(rest[..16].to_vec());
            rest = &rest[16..];
            Integers(&mut rest).next().unwrap();
            Integers(&mut rest).next().unwrap();
        }
        found
    }

    #[test]
    fn a_line_more_leaves_nearly_all_chunks_as_they_were() {
        let text = String::from_utf8(sample(60_000)).unwrap();
        let more = text.replacen("\n<line>", "\n<line>new</line>\n<line>", 1).replace("60000", "60001");
        let (before, after) =
            (chunks(&file(text.as_bytes(), &[], 999)), chunks(&file(more.as_bytes(), &[], 999)));
        assert!(before.len() > 20, "{}", before.len());
        let changed = after.difference(&before).count();
        assert!(changed <= 4, "{changed} of {} chunks changed", after.len());
    }
}
