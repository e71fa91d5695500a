//! Where the list of packages is cut into chunks, so that a change touches one chunk of each file.
//!
//! Boundaries depend on the packages alone: a chunk ends after a package whose pkgid ends in so many
//! zero bits ([`MEAN`]), or when its fragments together pass [`SIZE_LIMIT`]. What follows the last boundary is the
//! *open run*; it is cut every [`GROUP`] packages and compressed quickly, so that an append
//! compresses at most so many. See design note "How a publication stays cheap" in ARCHITECTURE.md.

/// Bytes of fragments (three files together) after which a chunk ends in any case.
pub const SIZE_LIMIT: u64 = 4 << 20;
/// Packages in a chunk, on average; a power of two.
pub const MEAN: u16 = 256;
/// Packages in a piece of the open run.
pub const GROUP: usize = 16;

/// Says after which package a chunk ends.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    bytes: u64,
}

impl Cutter {
    /// Takes the next package of the list; `true` when a chunk ends behind it. `pkgid_end`: its last bytes.
    pub fn ends_after(&mut self, pkgid_end: [u8; 2], fragment_bytes: u64) -> bool {
        self.bytes += fragment_bytes;
        let ends = u16::from_be_bytes(pkgid_end).is_multiple_of(MEAN) || self.bytes > SIZE_LIMIT;
        if ends {
            self.bytes = 0;
        }
        ends
    }

    /// Passes over packages of the open run that are known to hold no boundary.
    pub fn skip(&mut self, fragment_bytes: u64) {
        self.bytes += fragment_bytes;
    }

    /// Ends the chunk, wherever it is.
    pub fn end(&mut self) {
        self.bytes = 0;
    }
}

/// A range of bytes in the file of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub offset: u64,
    pub len: u64,
}

/// One chunk's share of one metadata file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Uncompressed XML.
    pub raw: Span,
    /// CRC-32 of the uncompressed XML.
    pub raw_crc: u32,
    /// The same, compressed.
    pub piece: Span,
    /// CRC-32 of the compressed bytes: a power cut can lose what was not synced.
    pub piece_crc: u32,
}

/// What reads spans back.
pub trait Pieces: Sync {
    /// Appends the span's bytes to `into`.
    fn read(&self, span: Span, into: &mut Vec<u8>) -> std::io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_ends_by_pkgid_or_by_size_and_starts_afresh() {
        let mut cutter = Cutter::default();
        assert!(!cutter.ends_after([0, 1], SIZE_LIMIT));
        assert!(cutter.ends_after([0, 1], 1), "over the limit");
        assert!(!cutter.ends_after([0, 9], SIZE_LIMIT), "the count starts again");
        assert!(cutter.ends_after([0, 0], 0));
        assert!(!cutter.ends_after([0, 2], SIZE_LIMIT));
    }
}
