//! zchunk files: read from their beginning, as a stream; written frame by frame.
//!
//! The format: <https://github.com/zchunk/zchunk/blob/main/zchunk_format.txt>. Chunks are zstd frames
//! (or plain), all made with the dictionary in the first chunk, if it has one. Checksums of chunks are
//! for fetching parts; whoever reads a whole file holds repomd.xml's checksum of it.

mod join;
mod write;

use std::io::{self, BufRead, Read};

pub use join::join;
pub use write::{Header, Index, Writer};

const MAGIC: &[u8; 5] = b"\0ZCK1";
/// Bytes: no repository's chunk list comes near.
const LONGEST_HEADER: u64 = 64 << 20;
const LONGEST_DICTIONARY: u64 = 16 << 20;
const FLAG_NONE: u64 = 0;
const FLAG_STREAMS: u64 = 1;
const FLAG_OPTIONAL: u64 = 2;
const FLAG_UNCOMPRESSED: u64 = 4;

/// Reads the header, and gives the text behind it.
pub(super) fn open<'r>(mut source: impl BufRead + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut magic = [0; 5];
    source.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(bad("it does not begin with the zchunk magic"));
    }
    let mut lead = Integers(&mut source);
    let digest = digest_len(lead.next()?)?;
    let header_len = lead.next()?;
    if header_len > LONGEST_HEADER {
        return Err(bad("its header is too long"));
    }
    skip(&mut source, digest)?;
    let mut header = Vec::new();
    source.by_ref().take(header_len).read_to_end(&mut header)?;
    if header.len() as u64 != header_len {
        return Err(bad("it ends inside its header"));
    }
    let dictionary = read_header(&header, digest)?;
    let Preface { compression, dictionary: dictionary_len } = dictionary;
    match compression {
        0 => {
            skip(&mut source, dictionary_len)?;
            Ok(Box::new(source))
        }
        2 => {
            let mut packed = Vec::new();
            source.by_ref().take(dictionary_len).read_to_end(&mut packed)?;
            let mut dictionary = Vec::new();
            if !packed.is_empty() {
                zstd::stream::read::Decoder::with_buffer(&packed[..])?
                    .take(LONGEST_DICTIONARY)
                    .read_to_end(&mut dictionary)?;
            }
            if source.fill_buf()?.is_empty() {
                // A decoder would miss a frame.
                return Ok(Box::new(io::empty()));
            }
            let mut decoder = zstd::stream::read::Decoder::with_dictionary(source, &dictionary)?;
            decoder.window_log_max(27)?;
            Ok(Box::new(decoder))
        }
        other => Err(bad(&format!("its compression {other} is not known"))),
    }
}

struct Preface {
    compression: u64,
    /// Bytes of the first chunk, which holds the dictionary.
    dictionary: u64,
}

fn read_header(mut header: &[u8], digest: u64) -> io::Result<Preface> {
    let header = &mut header;
    skip(header, digest)?;
    let flags = Integers(header).next()?;
    if flags & FLAG_STREAMS != 0 {
        return Err(bad("it holds several streams, which is not supported"));
    }
    let compression = Integers(header).next()?;
    if flags & FLAG_OPTIONAL != 0 {
        for _ in 0..Integers(header).next()? {
            Integers(header).next()?;
            let len = Integers(header).next()?;
            skip(header, len)?;
        }
    }
    // Index: its length, the chunks' checksum type, how many chunks; then the dictionary's chunk.
    Integers(header).next()?;
    let digest = digest_len(Integers(header).next()?)?;
    Integers(header).next()?;
    skip(header, digest)?;
    if flags & FLAG_UNCOMPRESSED != 0 {
        skip(header, digest)?;
    }
    Ok(Preface { compression, dictionary: Integers(header).next()? })
}

fn digest_len(kind: u64) -> io::Result<u64> {
    Ok(match kind {
        0 => 20,
        1 => 32,
        2 => 64,
        3 => 16,
        other => return Err(bad(&format!("its checksum type {other} is not known"))),
    })
}

/// Compressed integers: seven bits a byte, the lowest first, the last byte with its highest bit set.
struct Integers<'a, R>(&'a mut R);

impl<R: Read> Integers<'_, R> {
    fn next(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 != 0 {
                return Ok(value);
            }
        }
        Err(bad("it has a number that is too large"))
    }
}

fn skip(source: &mut impl Read, len: u64) -> io::Result<()> {
    match io::copy(&mut source.take(len), &mut io::sink())? {
        skipped if skipped == len => Ok(()),
        _ => Err(bad("it ends inside its header")),
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed zchunk file: {why}"))
}
