//! Where the list of packages is cut into chunks, so that a change touches one chunk of each file.
//!
//! Boundaries depend on the packages alone: whether a chunk ends after a package is told by its pkgid,
//! more likely after a usual package than after a tiny one, so that repositories of tiny packages have
//! no tiny chunks; and no more likely after a huge one, because the next version of it is often what
//! follows, and compresses to nothing beside it. In any case a chunk ends before it has much more than
//! [`LIMIT`]. What follows the last boundary is the *open run*. It is cut into groups that grow from its
//! end to its beginning, as the digits of a number do, so that an append compresses little and the
//! groups are few.

use std::io;

use super::compression::Effort;

/// Usual packages (see [`USUAL`]) in a chunk, on average.
pub const MEAN: u64 = 256;
/// Bytes of fragments, of all files together, from which on a package is a usual one.
pub const USUAL: u64 = 4 << 10;
/// Bytes of fragments after which a chunk ends in any case.
pub const LIMIT: u64 = 12 << 20;
/// Bytes of fragments by which groups of the open run are measured.
pub const UNIT: u64 = 64 << 10;
/// How many times as large as the next group's limit a group's limit is.
const BASE: usize = 8;

/// Says after which package a chunk ends.
#[derive(Debug, Clone, Default)]
pub struct Cutter {
    bytes: u64,
}

impl Cutter {
    /// Takes the next package of the list; `true` when a chunk ends behind it. `pkgid_end`: its last bytes.
    pub fn ends_after(&mut self, pkgid_end: [u8; 4], fragment_bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(fragment_bytes);
        let threshold = (fragment_bytes.min(USUAL) << 32) / (USUAL * MEAN);
        let ends = u64::from(u32::from_be_bytes(pkgid_end)) < threshold || self.bytes > LIMIT;
        if ends {
            self.bytes = 0;
        }
        ends
    }

    /// Ends the chunk, wherever it is.
    pub fn end(&mut self) {
        self.bytes = 0;
    }
}

/// A group of the open run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    pub packages: usize,
    pub effort: Effort,
}

/// Cuts the open run into groups. `lens`: bytes of each package's fragments, in order.
pub fn groups(lens: impl Iterator<Item = u64>) -> Vec<Group> {
    let mut units = Vec::new();
    let (mut packages, mut bytes) = (0, 0u64);
    for len in lens {
        packages += 1;
        bytes = bytes.saturating_add(len);
        if bytes >= UNIT {
            units.push(packages);
            (packages, bytes) = (0, 0);
        }
    }
    let mut groups = Vec::new();
    let mut rest = &units[..];
    // One group for each digit of the number of units; the last one has what makes no unit as well.
    let mut digit = BASE.pow(units.len().checked_ilog(BASE).unwrap_or(0));
    while digit >= BASE {
        let (group, after) = rest.split_at(rest.len() / digit * digit);
        if !group.is_empty() {
            groups.push(Group { packages: group.iter().sum(), effort: Effort::Thorough });
        }
        rest = after;
        digit /= BASE;
    }
    packages += rest.iter().sum::<usize>();
    if packages > 0 {
        groups.push(Group { packages, effort: Effort::Quick });
    }
    groups
}

/// A range of bytes in the file of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub offset: u64,
    pub len: u64,
}

impl Span {
    /// The place behind its last byte.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
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

/// What was read back is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("pieces of metadata are not as they were written")]
struct Damaged;

/// Says that what was read back is not what was written.
pub fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Damaged)
}

/// Whether it says so.
pub fn is_damaged(error: &io::Error) -> bool {
    matches!(error.get_ref(), Some(inner) if inner.is::<Damaged>())
}

/// Appends the span's bytes to `into`; `sum` is the CRC-32 that they must have.
pub fn read_checked(pieces: &dyn Pieces, span: Span, sum: u32, into: &mut Vec<u8>) -> io::Result<()> {
    let start = into.len();
    pieces.read(span, into)?;
    if crc32fast::hash(&into[start..]) == sum { Ok(()) } else { Err(damaged()) }
}

/// What reads spans back.
pub trait Pieces: Sync {
    /// Appends the span's bytes to `into`.
    fn read(&self, span: Span, into: &mut Vec<u8>) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_ends_by_pkgid_or_by_size_and_starts_afresh() {
        const NEVER: [u8; 4] = [255; 4];
        let mut cutter = Cutter::default();
        for _ in 0..4 {
            assert!(!cutter.ends_after(NEVER, LIMIT / 4));
        }
        assert!(cutter.ends_after(NEVER, 1), "over the limit");
        assert!(!cutter.ends_after(NEVER, LIMIT / 4), "the count starts again");
        assert!(cutter.ends_after([0; 4], 1));
        assert!(!cutter.ends_after([0; 4], 0), "what has no bytes ends nothing");
        assert!(cutter.ends_after([0, 255, 0, 0], USUAL));
        assert!(!cutter.ends_after([1, 1, 0, 0], USUAL));
        assert!(cutter.ends_after([0, 127, 0, 0], USUAL / 2));
        assert!(!cutter.ends_after([0, 129, 0, 0], USUAL / 2));
    }

    #[test]
    fn groups_are_the_digits_of_the_number_of_units() {
        let sizes = |n: usize| -> Vec<usize> {
            groups(std::iter::repeat_n(UNIT / 2, n)).iter().map(|group| group.packages).collect()
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(1), [1]);
        assert_eq!(sizes(2 * 3 + 1), [7]);
        assert_eq!(sizes(2 * 8), [16]);
        assert_eq!(sizes(2 * (2 * 64 + 3 * 8 + 1) + 1), [256, 48, 3]);
        assert_eq!(sizes(2 * (3 * 64 + 2)), [384, 4]);
        let efforts: Vec<Effort> = groups(std::iter::repeat_n(UNIT, 9)).iter().map(|g| g.effort).collect();
        assert_eq!(efforts, [Effort::Thorough, Effort::Quick], "only what the next append makes again");
    }
}
