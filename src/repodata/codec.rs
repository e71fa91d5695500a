//! Whole files in every compression that repodata comes in: read from anybody, written in one stream.
//!
//! What the daemon writes in pieces is `compression`'s; this is for files that are written once, and
//! for those others have written.

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::zchunk;

/// How a whole file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
    /// Read only.
    Zchunk,
}

/// How much a stranger's file may swell.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes, uncompressed: what repomd.xml states, where it does.
    pub open_size: Option<u64>,
}

/// The longest file read when nobody states a length, in bytes uncompressed.
const LONGEST: u64 = 64 << 30;
/// A file may always swell to this many bytes …
const HARMLESS: u64 = 64 << 20;
/// … and beyond only by this factor. Metadata reaches 50.
const RATIO: u64 = 1000;
/// Bytes: what a decoder may allocate for its window or dictionary. As `xz -9` and `zstd --ultra -21` need.
const DECODER_MEMORY: u64 = 72 << 20;
const WINDOW_LOG: u32 = 26;
const BUFFER: usize = 64 << 10;

impl Codec {
    const ALL: [Self; 6] = [Self::None, Self::Gzip, Self::Bzip2, Self::Xz, Self::Zstd, Self::Zchunk];

    /// What a file's name ends in, dot included; nothing for [`Codec::None`].
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
            Self::Zchunk => ".zck",
        }
    }

    /// Judges by a file's name.
    pub fn of_name(name: &str) -> Self {
        let found = Self::ALL.into_iter().find(|c| *c != Self::None && name.ends_with(c.suffix()));
        found.unwrap_or(Self::None)
    }

    /// Judges by a file's first bytes, which tell the truth where names do not.
    pub fn of_bytes(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0, b'Z', b'C', b'K', b'1', ..] => Self::Zchunk,
            _ => Self::None,
        }
    }

    /// Opens a file of any compression. Reading fails rather than going beyond `limits`.
    pub fn open<'r>(
        source: impl Read + Send + 'r,
        limits: Limits,
    ) -> io::Result<Box<dyn BufRead + Send + 'r>> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut source = Metered { inner: source, taken: Arc::clone(&taken) };
        let mut start = Vec::with_capacity(6);
        source.by_ref().take(6).read_to_end(&mut start)?;
        let codec = Self::of_bytes(&start);
        let source = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(source));
        let plain: Box<dyn Read + Send + 'r> = match codec {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
            Self::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    DECODER_MEMORY,
                    liblzma::stream::CONCATENATED,
                );
                Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream.map_err(io::Error::other)?))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(WINDOW_LOG)?;
                Box::new(decoder)
            }
            Self::Zchunk => zchunk::open(source)?,
        };
        let limit = limits.open_size.unwrap_or(LONGEST);
        Ok(Box::new(BufReader::with_capacity(BUFFER, Bounded { inner: plain, limit, given: 0, taken })))
    }

    /// Starts a file of this compression; zchunk files are not made this way.
    pub fn create<'w>(self, sink: impl Write + 'w) -> io::Result<Encoder<'w>> {
        let sink: Box<dyn Write + 'w> = Box::new(sink);
        Ok(match self {
            Self::None => Encoder::None(sink),
            Self::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(sink, flate2::Compression::new(6))),
            Self::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(sink, bzip2::Compression::best())),
            Self::Xz => {
                // CRC-32: the check that every xz decoder knows.
                let stream = liblzma::stream::Stream::new_easy_encoder(5, liblzma::stream::Check::Crc32);
                Encoder::Xz(liblzma::write::XzEncoder::new_stream(sink, stream.map_err(io::Error::other)?))
            }
            Self::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(sink, 10)?),
            Self::Zchunk => return Err(io::Error::other("zchunk files are not written in one stream")),
        })
    }
}

/// A compressed file being written; not complete before [`Encoder::finish`].
pub enum Encoder<'w> {
    None(Box<dyn Write + 'w>),
    Gzip(flate2::write::GzEncoder<Box<dyn Write + 'w>>),
    Bzip2(bzip2::write::BzEncoder<Box<dyn Write + 'w>>),
    Xz(liblzma::write::XzEncoder<Box<dyn Write + 'w>>),
    Zstd(zstd::stream::write::Encoder<'static, Box<dyn Write + 'w>>),
}

impl Encoder<'_> {
    /// Writes what is left and the end.
    pub fn finish(self) -> io::Result<()> {
        let mut sink = match self {
            Self::None(sink) => sink,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Bzip2(encoder) => encoder.finish()?,
            Self::Xz(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        sink.flush()
    }

    fn inner(&mut self) -> &mut dyn Write {
        match self {
            Self::None(sink) => sink,
            Self::Gzip(encoder) => encoder,
            Self::Bzip2(encoder) => encoder,
            Self::Xz(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        }
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner().flush()
    }
}

/// Counts what is read of the compressed file.
struct Metered<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Stops a file that swells beyond what was stated, or beyond reason.
struct Bounded<R> {
    inner: R,
    limit: u64,
    given: u64,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.given += read as u64;
        if self.given > self.limit {
            return Err(io::Error::other(format!(
                "it is longer than {} bytes uncompressed, which is more than it may be",
                self.limit
            )));
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if self.given > HARMLESS && self.given / RATIO > taken {
            return Err(io::Error::other(format!(
                "{taken} bytes swell to more than {} uncompressed; that is no metadata",
                self.given
            )));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITABLE: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Bzip2, Codec::Xz, Codec::Zstd];

    fn packed(codec: Codec, text: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = codec.create(&mut file).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap();
        file
    }

    fn read(file: &[u8], open_size: Option<u64>) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        Codec::open(file, Limits { open_size })?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn every_compression_reads_back_whatever_the_name_says() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|i| (i % 977).to_le_bytes()).collect();
        for codec in WRITABLE {
            let file = packed(codec, &text);
            assert_eq!(Codec::of_bytes(&file), codec);
            assert!(read(&file, None).unwrap() == text, "{codec:?}");
        }
        assert_eq!(Codec::of_name("x-primary.xml.zst"), Codec::Zstd);
        assert_eq!(Codec::of_name("x-primary.xml"), Codec::None);
        assert_eq!(read(b"", None).unwrap(), b"");
    }

    #[test]
    fn members_in_a_row_are_one_text() {
        for codec in WRITABLE {
            let file = [packed(codec, b"<a>"), packed(codec, b"</a>")].concat();
            assert_eq!(read(&file, None).unwrap(), b"<a></a>", "{codec:?}");
        }
    }

    #[test]
    fn a_file_that_swells_too_far_is_given_up() {
        let zeros = vec![0; 100 << 20];
        // Gzip cannot swell that far by itself.
        for codec in [Codec::Bzip2, Codec::Xz, Codec::Zstd] {
            let error = read(&packed(codec, &zeros), None).unwrap_err().to_string();
            assert!(error.contains("swell"), "{codec:?}: {error}");
        }
        for codec in WRITABLE {
            let error = read(&packed(codec, &zeros[..100_000]), Some(99_999)).unwrap_err().to_string();
            assert!(error.contains("99999 bytes"), "{codec:?}: {error}");
        }
    }

    #[test]
    fn what_needs_much_memory_to_unpack_is_given_up() {
        let xz = |preset| {
            let stream =
                liblzma::stream::Stream::new_easy_encoder(preset, liblzma::stream::Check::Crc32).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
            encoder.write_all(b"text").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read(&xz(9), None).unwrap(), b"text");
        // The dictionary's size stands in the block's header: 1.5 GiB, with a checksum that fits.
        let mut hungry = xz(9);
        let size = hungry[12..24].iter().position(|byte| *byte == 0x21).unwrap() + 12 + 2;
        hungry[size] = 37;
        let header = 12..12 + (usize::from(hungry[12]) + 1) * 4 - 4;
        let sum = crc32fast::hash(&hungry[header.clone()]).to_le_bytes();
        hungry[header.end..header.end + 4].copy_from_slice(&sum);
        assert!(read(&hungry, None).is_err());

        let zstd = |window| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(window).unwrap();
            encoder.write_all(b"text").unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(read(&zstd(WINDOW_LOG), None).unwrap(), b"text");
        assert!(read(&zstd(WINDOW_LOG + 1), None).is_err());
    }

    #[test]
    fn a_file_cut_short_is_an_error() {
        let text: Vec<u8> =
            (0..100_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        for codec in [Codec::Gzip, Codec::Bzip2, Codec::Xz, Codec::Zstd] {
            let file = packed(codec, &text);
            assert!(read(&file[..file.len() / 2], None).is_err(), "{codec:?}");
            assert!(read(&file[..file.len() - 1], None).is_err(), "{codec:?}");
        }
    }
}
