//! Takes a package's bytes as they stream by: checksum, header and digests in one pass.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::cost::{Budget, too_much};
use super::digests::{self, PayloadCheck};
use super::header::{self, Header, Index, PREAMBLE, Section};
use super::openpgp::{Keyring, Vouched};
use super::signatures::Signatures;
use super::turn::{self, MEMORY, Turn};
use super::{ChecksumType, Hasher, HeaderRange, Package, PkgId, Verify, read};

const LEAD: usize = 96;
const LEAD_MAGIC: [u8; 4] = [0xed, 0xab, 0xee, 0xdb];
/// Least the buffer grows by, so that small blocks do not move it again and again.
const GROWTH: usize = 16 << 10;

/// Reads one package from a stream of blocks: scan feeds it from a file, an upload from the network.
///
/// Keeps the lead and the two headers in memory (within the bounds of product.md rule 7), hashes the
/// rest as it passes.
pub struct Intake {
    verify: Verify,
    /// Over the payload as it passes, and before it over all of `head`, once that is complete.
    pkgid: Hasher,
    /// Bytes seen.
    size: u64,
    /// Lead and headers as far as they came.
    head: Vec<u8>,
    stage: Stage,
    /// The length of `head` with which the stage is complete.
    goal: usize,
    signature: Option<Part>,
    main: Option<Part>,
    payload: Option<PayloadCheck>,
    keyring: Option<Arc<Keyring>>,
    signatures: Option<Signatures>,
    failed: Option<BadPackage>,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Magic,
    Lead,
    SignaturePreamble,
    Signature,
    MainPreamble,
    Main,
    Payload,
}

/// One of the two headers: where it lies in `head`, and its index.
struct Part {
    at: Range<usize>,
    index: Index,
}

impl Part {
    fn header<'h>(&'h self, head: &'h [u8]) -> Header<'h> {
        self.index.header(&head[self.at.clone()])
    }
}

/// Why a package could not be read now.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Bad(#[from] BadPackage),
    /// Others take all the memory there is for packages.
    #[error("too many packages are read at the moment")]
    Busy,
}

/// A whole package, read and checked.
pub struct Taken {
    pub pkgid: PkgId,
    /// Length of the file in bytes.
    pub size: u64,
    pub header_range: HeaderRange,
    /// The signatures that were found good; none where they were not asked for.
    pub vouched: Vec<Vouched>,
    head: Vec<u8>,
    signature: Part,
    main: Part,
}

impl Intake {
    pub fn new(pkgid: ChecksumType, verify: Verify) -> Self {
        Self {
            verify,
            pkgid: Hasher::new(pkgid),
            size: 0,
            head: Vec::new(),
            stage: Stage::Magic,
            goal: LEAD_MAGIC.len(),
            signature: None,
            main: None,
            payload: None,
            keyring: None,
            signatures: None,
            failed: None,
        }
    }

    /// Whose signatures count; needed for [`Verify::Signature`], without effect otherwise.
    pub fn trusting(mut self, keyring: Option<Arc<Keyring>>) -> Self {
        self.keyring = keyring;
        self
    }

    /// Takes the next block. The error is final: the package is bad whatever follows, and the
    /// reader may stop.
    pub fn feed(&mut self, block: &[u8]) -> Result<(), BadPackage> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.size += block.len() as u64;
        let payload = self.collect(block).inspect_err(|bad| self.failed = Some(bad.clone()))?;
        // What comes before the payload is taken by `main_complete`.
        match &mut self.payload {
            Some(check) => check.update(payload, (&mut self.pkgid, payload)),
            None => self.pkgid.update(payload),
        }
        if let Some(signatures) = &mut self.signatures {
            signatures.update(payload);
        }
        Ok(())
    }

    /// Keeps what belongs to lead and headers; the rest is payload.
    fn collect<'b>(&mut self, mut block: &'b [u8]) -> Result<&'b [u8], BadPackage> {
        while self.stage != Stage::Payload {
            let missing = self.goal - self.head.len();
            let (now, later) = block.split_at(missing.min(block.len()));
            // The goal is a stranger's claim: the buffer grows with what came, never with the claim.
            if self.head.capacity() - self.head.len() < now.len() {
                let wanted = self.head.len().max(GROWTH).min(missing).max(now.len());
                self.head.reserve_exact(wanted);
            }
            self.head.extend_from_slice(now);
            block = later;
            if self.head.len() < self.goal {
                return Ok(block);
            }
            self.advance()?;
        }
        Ok(block)
    }

    /// Enters the next stage: this one's bytes are complete.
    fn advance(&mut self) -> Result<(), BadPackage> {
        let (stage, more) = match self.stage {
            Stage::Magic => {
                check_magic(&self.head)?;
                (Stage::Lead, LEAD - LEAD_MAGIC.len())
            }
            Stage::Lead => {
                check_lead(&self.head)?;
                (Stage::SignaturePreamble, PREAMBLE)
            }
            Stage::SignaturePreamble => {
                let len = header::claimed_len(Section::Signature, self.preamble())?;
                // The signature header is padded so that the main header begins at a multiple of eight.
                (Stage::Signature, len.next_multiple_of(8))
            }
            Stage::Signature => {
                let len = header::claimed_len(Section::Signature, header_preamble(&self.head[LEAD..]))?;
                self.signature = Some(self.parse(Section::Signature, LEAD..LEAD + PREAMBLE + len)?);
                (Stage::MainPreamble, PREAMBLE)
            }
            Stage::MainPreamble => {
                let len = header::claimed_len(Section::Main, self.preamble())?;
                if len as u64 > MEMORY / 2 {
                    return Err(too_much());
                }
                (Stage::Main, len)
            }
            Stage::Main | Stage::Payload => {
                self.main_complete()?;
                (Stage::Payload, 0)
            }
        };
        self.stage = stage;
        self.goal = self.head.len() + more;
        Ok(())
    }

    /// The last bytes of `head`, when they are a preamble.
    fn preamble(&self) -> &[u8; PREAMBLE] {
        header_preamble(&self.head[self.head.len() - PREAMBLE..])
    }

    fn parse(&self, section: Section, at: Range<usize>) -> Result<Part, BadPackage> {
        let index = Index::parse(section, &self.head[at.clone()])?;
        Ok(Part { at, index })
    }

    /// Checks what can be checked before the payload comes.
    fn main_complete(&mut self) -> Result<(), BadPackage> {
        let Some(signature) = &self.signature else { return Ok(()) };
        let start = LEAD + (signature.at.len()).next_multiple_of(8);
        let main = self.parse(Section::Main, start..self.head.len())?;
        main.index.check_against(&signature.index)?;
        let bytes = &self.head[start..];
        if self.verify >= Verify::Header {
            let whole = (&mut self.pkgid, &self.head[..]);
            digests::check_header(signature.header(&self.head), bytes, whole)?;
        } else {
            self.pkgid.update(&self.head);
        }
        if self.verify >= Verify::Digest {
            let (signature, main) = (signature.header(&self.head), main.header(&self.head));
            self.payload = PayloadCheck::choose(signature, main, bytes)?;
        }
        if self.verify >= Verify::Signature {
            let Some(keyring) = &self.keyring else {
                return Err(BadPackage::Signature(
                    "there is no keyring to hold its signature against".into(),
                ));
            };
            let (signature, main) = (signature.header(&self.head), main.header(&self.head));
            let payload = self.payload.as_ref();
            self.signatures = Some(Signatures::begin(keyring, signature, main, bytes, payload)?);
        }
        self.main = Some(main);
        Ok(())
    }

    /// Bytes of lead and headers that are held, and how many there will be as far as they say.
    pub fn head_len(&self) -> (usize, usize) {
        (self.head.capacity(), if self.stage == Stage::Payload { self.head.len() } else { self.goal })
    }

    /// Lead and headers, once all of them came.
    pub fn head(&self) -> Option<&[u8]> {
        (self.stage == Stage::Payload && self.failed.is_none()).then_some(&self.head[..])
    }

    /// Ends the stream: checks length and digests as far as `verify` asks.
    pub fn finish(self) -> Result<Taken, BadPackage> {
        if let Some(failed) = self.failed {
            return Err(failed);
        }
        let (Some(signature), Some(main)) = (self.signature, self.main) else {
            return Err(ended_early(self.stage, self.size));
        };
        let header_range = HeaderRange { start: main.at.start as u64, end: main.at.end as u64 };
        if self.verify >= Verify::Header {
            let (signature, main) = (signature.header(&self.head), main.header(&self.head));
            let expected = digests::expected_len(signature, main, header_range.start, header_range.end);
            match expected {
                Some(len) if self.size < len => {
                    return Err(BadPackage::Truncated(format!(
                        "it has {} bytes of {len}; fetch or build it again",
                        self.size
                    )));
                }
                Some(len) if self.size > len && self.verify >= Verify::Digest => {
                    return Err(BadPackage::Damaged(format!(
                        "{} bytes follow the end of the package; fetch or build it again",
                        self.size - len
                    )));
                }
                _ => {}
            }
        }
        if let Some(check) = self.payload {
            check.finish()?;
        }
        let vouched = self.signatures.map_or(Ok(Vec::new()), Signatures::finish)?;
        Ok(Taken {
            vouched,
            pkgid: self.pkgid.finish(),
            size: self.size,
            header_range,
            head: self.head,
            signature,
            main,
        })
    }
}

impl Taken {
    /// What the header says. Cheap enough to call once; borrows from `self`.
    ///
    /// Fails with [`BadPackage::Malformed`] when package and metadata would take more memory than
    /// product.md's rule 7 allows.
    pub fn package(&self) -> Result<Package<'_>, BadPackage> {
        self.within(&mut Budget::new(self.head.len(), MEMORY))
    }

    fn within(&self, budget: &mut Budget) -> Result<Package<'_>, BadPackage> {
        read::package(self.main.header(&self.head), self.signature.header(&self.head), budget)
    }

    /// Does something with what the header says, in its turn: all packages that are read in this process share
    /// their memory (see [`turn`]). `turn`: one that is there already; it is given back for a larger one where that is
    /// needed. `patience`: how long to wait for one; `None` waits until it comes. Blocking.
    pub fn read<T>(
        &self,
        turn: Option<Turn>,
        patience: Option<Duration>,
        act: impl Fn(&Package<'_>) -> T,
    ) -> Result<T, Unread> {
        let least = 6 * self.head.len() as u64;
        let mut turn = turn;
        for part in turn::PARTS.into_iter().filter(|part| *part >= least.min(MEMORY)) {
            // One that turned out too small goes before another is waited for.
            let fitting = turn.take().filter(|turn| turn.bytes() >= part);
            let turn = match fitting {
                Some(turn) => turn,
                None => turn::take(part, patience).ok_or(Unread::Busy)?,
            };
            let mut budget = Budget::new(self.head.len(), turn.bytes());
            match self.within(&mut budget) {
                Ok(package) => return Ok(act(&package)),
                Err(_) if budget.is_over() && turn.bytes() < MEMORY => {}
                Err(bad) => return Err(bad.into()),
            }
        }
        Err(Unread::Busy)
    }
}

fn header_preamble(bytes: &[u8]) -> &[u8; PREAMBLE] {
    const NONE: [u8; PREAMBLE] = [0; PREAMBLE];
    bytes.first_chunk().unwrap_or(&NONE)
}

fn check_magic(bytes: &[u8]) -> Result<(), BadPackage> {
    if bytes.starts_with(&LEAD_MAGIC) {
        return Ok(());
    }
    let looks = match bytes {
        [b'<', ..] => "it begins like an HTML or XML page",
        [0x1f, 0x8b, ..] => "it begins like a gzip file",
        [b'P', b'K', ..] => "it begins like a zip file",
        b"!<ar" => "it begins like a Debian package",
        b"drpm" => "it begins like a delta RPM",
        [0, 0, 0, 0] => "it begins with zeros",
        _ => "it does not begin with the RPM magic edabeedb",
    };
    Err(BadPackage::NotRpm(looks.into()))
}

/// Checks the lead's version and signature type; its other fields mean nothing any more.
fn check_lead(lead: &[u8]) -> Result<(), BadPackage> {
    let (major, signature_type) = (lead[4], u16::from_be_bytes([lead[78], lead[79]]));
    if !(3..=4).contains(&major) {
        return Err(BadPackage::Malformed(format!(
            "RPM format version {major} is not supported (3 and 4 are)"
        )));
    }
    if signature_type != 5 {
        return Err(BadPackage::Malformed(format!(
            "signature type {signature_type} is not supported (5 is)"
        )));
    }
    Ok(())
}

fn ended_early(stage: Stage, size: u64) -> BadPackage {
    let inside = match stage {
        Stage::Magic if size == 0 => return BadPackage::NotRpm("it is empty".into()),
        Stage::Magic => return BadPackage::NotRpm(format!("it has only {size} bytes")),
        Stage::Lead => "lead",
        Stage::SignaturePreamble | Stage::Signature => "signature header",
        Stage::MainPreamble | Stage::Main | Stage::Payload => "main header",
    };
    BadPackage::Truncated(format!("it ends after {size} bytes, inside its {inside}; fetch or build it again"))
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
    /// Not signed, or not by a key that is trusted, or not all of it. (HTTP 422)
    #[error("signature: {0}")]
    Signature(String),
}

#[cfg(test)]
mod tests;
