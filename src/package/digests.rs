//! What a package says about its own bytes, and whether it is so.

use rpm::{IndexSignatureTag, IndexTag};

use super::header::{Header, Section};
use super::{BadPackage, Checksum, ChecksumType, Hasher};

/// Checks the main header's bytes (magic included) against the digests in the signature header.
/// Packages older than rpm 4.0 have none; those pass. `other`: a sum that takes these bytes beside it.
pub fn check_header(
    signature: Header<'_>,
    header_bytes: &[u8],
    other: (&mut Hasher, &[u8]),
) -> Result<(), BadPackage> {
    match signature.string(IndexSignatureTag::RPMSIGTAG_SHA256 as u32) {
        Some(text) => {
            let mut hasher = Hasher::new(ChecksumType::Sha256);
            Hasher::update_both((&mut hasher, header_bytes), other);
            check_header_digest(text, &hasher.finish())?;
        }
        None => other.0.update(other.1),
    }
    match signature.string(IndexSignatureTag::RPMSIGTAG_SHA1 as u32) {
        Some(text) => check_header_digest(text, &Checksum::of(ChecksumType::Sha1, header_bytes)),
        None => Ok(()),
    }
}

/// `text`: what the signature header says.
fn check_header_digest(text: &[u8], found: &Checksum) -> Result<(), BadPackage> {
    let kind = found.kind;
    let expected = read_hex(kind, text)
        .ok_or_else(|| Section::Signature.bad(format!("its {kind} of the header is no {kind}")))?;
    if *found != expected {
        return Err(BadPackage::Damaged(format!(
            "the {kind} of its header is not the one it was built with; fetch or build it again"
        )));
    }
    Ok(())
}

/// Length of the whole file, by the signature header or (rpm 6) the payload's size; `None` when nothing says.
pub fn expected_len(signature: Header<'_>, main: Header<'_>, start: u64, end: u64) -> Option<u64> {
    let from_header = signature
        .number(IndexSignatureTag::RPMSIGTAG_LONGSIZE as u32)
        .or_else(|| signature.number(IndexSignatureTag::RPMSIGTAG_SIZE as u32))
        .map(|len| start.saturating_add(len));
    let payload = || main.number(IndexTag::RPMTAG_PAYLOADSIZE as u32).map(|len| end.saturating_add(len));
    from_header.or_else(payload)
}

/// The algorithm of the payload's digest in the main header, if it has one that we can compute.
pub fn payload_digest(main: Header<'_>) -> Option<ChecksumType> {
    main.strings(IndexTag::RPMTAG_PAYLOADSHA256 as u32).next()?;
    digest_algorithm(main.numbers(IndexTag::RPMTAG_PAYLOADSHA256ALGO as u32).get(0).unwrap_or(8))
}

/// A digest being taken over the payload.
pub struct PayloadCheck {
    hasher: Hasher,
    expected: Checksum,
}

impl PayloadCheck {
    /// The cheapest digest that covers the payload: its own, else the MD5 over header and payload
    /// of packages before rpm 4.14. `None` when there is neither.
    pub fn choose(
        signature: Header<'_>,
        main: Header<'_>,
        header_bytes: &[u8],
    ) -> Result<Option<Self>, BadPackage> {
        let algorithm = main.numbers(IndexTag::RPMTAG_PAYLOADSHA256ALGO as u32).get(0);
        let own = main.strings(IndexTag::RPMTAG_PAYLOADSHA256 as u32).next();
        if let (Some(text), Some(kind)) = (own, digest_algorithm(algorithm.unwrap_or(8))) {
            let expected = read_hex(kind, text)
                .ok_or_else(|| Section::Main.bad(format!("its {kind} of the payload is no {kind}")))?;
            return Ok(Some(Self { hasher: Hasher::new(kind), expected }));
        }
        let md5 = signature.binary(IndexSignatureTag::RPMSIGTAG_MD5 as u32);
        Ok(md5.and_then(|bytes| Checksum::new(ChecksumType::Md5, bytes)).map(|expected| {
            let mut hasher = Hasher::new(ChecksumType::Md5);
            hasher.update(header_bytes);
            Self { hasher, expected }
        }))
    }

    /// Takes the next bytes of the payload, and beside it another sum of others.
    pub fn update(&mut self, payload: &[u8], other: (&mut Hasher, &[u8])) {
        Hasher::update_both((&mut self.hasher, payload), other);
    }

    pub fn finish(self) -> Result<(), BadPackage> {
        let kind = self.expected.kind;
        if self.hasher.finish() == self.expected {
            return Ok(());
        }
        Err(BadPackage::Damaged(format!(
            "the {kind} of its payload is not the one it was built with; fetch or build it again"
        )))
    }
}

/// A hash algorithm by its OpenPGP number, as rpm writes it; `None` for those we cannot compute.
pub fn digest_algorithm(number: u64) -> Option<ChecksumType> {
    Some(match number {
        1 => ChecksumType::Md5,
        2 => ChecksumType::Sha1,
        8 => ChecksumType::Sha256,
        9 => ChecksumType::Sha384,
        10 => ChecksumType::Sha512,
        11 => ChecksumType::Sha224,
        _ => return None,
    })
}

fn read_hex(kind: ChecksumType, text: &[u8]) -> Option<Checksum> {
    Checksum::from_hex(kind, std::str::from_utf8(text).ok()?)
}
