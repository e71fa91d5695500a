//! Takes a package's bytes as they stream by: checksum, header and digests in one pass.

use super::{ChecksumType, HeaderRange, Package, PkgId, Verify};

/// Reads one package from a stream of blocks: scan feeds it from a file, an upload from the network.
///
/// Keeps the lead and the two headers in memory (within the bounds of product.md rule 7), hashes the
/// rest as it passes.
pub struct Intake {}

/// A whole package, read and checked.
pub struct Taken {
    pub pkgid: PkgId,
    /// Length of the file in bytes.
    pub size: u64,
    pub header_range: HeaderRange,
}

impl Intake {
    pub fn new(_pkgid: ChecksumType, _verify: Verify) -> Self {
        todo!()
    }

    /// Takes the next block. The error is final: the package is bad whatever follows, and the
    /// reader may stop.
    pub fn feed(&mut self, _block: &[u8]) -> Result<(), BadPackage> {
        todo!()
    }

    /// Ends the stream: checks length and digests as far as `verify` asks.
    pub fn finish(self) -> Result<Taken, BadPackage> {
        todo!()
    }
}

impl Taken {
    /// What the header says. Cheap enough to call once; borrows from `self`.
    pub fn package(&self) -> Result<Package<'_>, BadPackage> {
        todo!()
    }
}

/// Why a file is not taken as a package. Displays as one line a person can act on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPackage {
    /// No RPM at all: wrong magic, empty, an HTML page. (HTTP 415)
    #[error("not an RPM: {0}")]
    NotRpm(String),
    /// An RPM whose header cannot be trusted to mean anything. (HTTP 400)
    #[error("malformed header: {0}")]
    Malformed(String),
    /// Shorter than it says it is. (HTTP 422)
    #[error("truncated: {0}")]
    Truncated(String),
    /// Bytes that do not match what the package says of them. (HTTP 422)
    #[error("damaged: {0}")]
    Damaged(String),
}
