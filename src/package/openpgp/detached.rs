//! One detached signature, checked while the bytes it covers pass by.

use pgp::armor::Dearmor;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType, SignatureVersion, SubpacketType};
use pgp::ser::Serialize as _;
use pgp::types::VerifyingKey as _;

use super::{Certificate, Keyring, Vouched};
use crate::caught::caught;
use crate::package::{ChecksumType, Hasher};

/// The most bytes of one signature. Today's largest (post-quantum) have some 50 kB.
pub const MOST_BYTES: usize = 128 << 10;

/// Signatures over SHA-1 count only if they were made before this time (2023-02-01), as rpm has it with
/// Sequoia: since then two packages can be made whose SHA-1 is the same.
const SHA1_UNTIL: u64 = 1_675_209_600;

/// Why a signature does not count. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    #[error("the signature cannot be read: {0}")]
    Unreadable(String),
    #[error("it is signed by {id}, which is not in the keyring")]
    UnknownKey { id: String },
    #[error("its signature does not say which key made it")]
    Anonymous,
    #[error("the signature by {key} is wrong: it was made for other bytes")]
    Wrong { key: String },
    #[error("the signature uses {algorithm}, which proves nothing any more; sign it again with SHA-256")]
    Weak { algorithm: String },
    #[error("{key} may not sign")]
    NotForSigning { key: String },
    #[error("the signature is older than the key {key}")]
    BeforeKey { key: String },
    #[error("the key {key} had expired when it signed (on {})", date(*at))]
    Expired { key: String, at: u64 },
    #[error("the key {key} had been revoked when it signed (on {})", date(*at))]
    Revoked { key: String, at: u64 },
    #[error("the key {key} was revoked {why}, so none of its signatures counts")]
    Compromised { key: String, why: &'static str },
    #[error("the signature counted only until {}; sign it again", date(*at))]
    OutOfDate { at: u64 },
    #[error("the signature is of {}, which is in the future; mend the clock of whoever signs, or of this machine", date(*at))]
    FromTheFuture { at: u64 },
}

impl BadSignature {
    /// Whether the signature only says nothing to us, rather than something false.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::UnknownKey { .. } | Self::Anonymous)
    }
}

fn date(seconds: u64) -> String {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split('T').next().unwrap_or_default().to_owned()
}

/// A signature by a key that is known, and the digest of the bytes seen so far.
pub struct Check {
    signature: Signature,
    hasher: Hasher,
    algorithm: HashAlgorithm,
    /// What is hashed after the data.
    suffix: Vec<u8>,
    /// Certificate and signing key.
    candidates: Vec<(usize, usize)>,
}

impl Check {
    /// `bytes`: one signature packet, as rpm keeps it. Nothing of a stranger's is believed yet.
    pub fn begin(bytes: &[u8], keyring: &Keyring) -> Result<Self, BadSignature> {
        caught(|| Self::start(bytes, keyring)).unwrap_or_else(|| Err(unreadable("it is malformed")))
    }

    fn start(bytes: &[u8], keyring: &Keyring) -> Result<Self, BadSignature> {
        let signature = parse(bytes)?;
        let config = signature.config().ok_or_else(|| unreadable("its version is not supported"))?;
        if config.typ() != SignatureType::Binary {
            return Err(unreadable("it does not sign a file"));
        }
        let kind = checksum_type(config.hash_alg)
            .ok_or_else(|| unreadable(&format!("it uses {}, which is not supported", config.hash_alg)))?;
        let made = config.created().map_or(0, |time| u64::from(time.as_secs()));
        if kind == ChecksumType::Md5 || (kind == ChecksumType::Sha1 && made >= SHA1_UNTIL) {
            return Err(BadSignature::Weak { algorithm: config.hash_alg.to_string() });
        }
        // Whoever calls something critical wants nobody to take the signature who does not know what it means; gpg and rpm
        // take none of the others either. There is no notation that is known here.
        let unknown = |packet: &pgp::packet::Subpacket| {
            let is_known = matches!(
                packet.typ(),
                SubpacketType::SignatureCreationTime
                    | SubpacketType::SignatureExpirationTime
                    | SubpacketType::IssuerKeyId
                    | SubpacketType::IssuerFingerprint
                    | SubpacketType::SignersUserID
                    | SubpacketType::PolicyURI
                    | SubpacketType::EmbeddedSignature
            );
            packet.is_critical && !is_known
        };
        if config.hashed_subpackets().any(unknown) {
            return Err(unreadable("it makes a condition that is not known here"));
        }
        let ids = issuers(&signature);
        let candidates: Vec<_> =
            ids.iter().filter_map(|id| keyring.by_id.get(id)).flatten().copied().collect();
        if candidates.is_empty() {
            return Err(match ids.first() {
                Some(id) => BadSignature::UnknownKey { id: spell(*id) },
                None => BadSignature::Anonymous,
            });
        }
        let suffix = suffix(&signature).ok_or_else(|| unreadable("its version is not supported"))?;
        let algorithm = config.hash_alg;
        Ok(Self { hasher: Hasher::new(kind), algorithm, suffix, candidates, signature })
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Whether one of the keyring's keys made this signature, for the bytes seen, when it was allowed to; and which.
    pub fn finish(self, keyring: &Keyring) -> Result<Vouched, BadSignature> {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.decide(keyring)));
        done.unwrap_or_else(|_| Err(unreadable("it is malformed")))
    }

    fn decide(mut self, keyring: &Keyring) -> Result<Vouched, BadSignature> {
        self.hasher.update(&self.suffix);
        let digest = self.hasher.finish();
        let made = self.signature.created().map_or(0, |time| u64::from(time.as_secs()));
        let lifetime = self.signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
        let expires = (lifetime > 0).then(|| made.saturating_add(lifetime));
        let bytes = self.signature.signature().ok_or_else(|| unreadable("it is empty"))?;
        let mut outcome = Err(unreadable("nobody can have made it"));
        for (certificate, signer) in self.candidates {
            let certificate = &keyring.certificates[certificate];
            let signer = &certificate.signers[signer];
            let right = match signer.subkey {
                None => certificate.key.primary_key.verify(self.algorithm, digest.as_bytes(), bytes),
                Some(place) => {
                    certificate.key.public_subkeys[place].key.verify(self.algorithm, digest.as_bytes(), bytes)
                }
            };
            outcome = match right {
                Ok(()) => {
                    signer.judge(made, &certificate.describe())?;
                    keyring.judge_time(made, expires)?;
                    let certificate = certificate.fingerprint();
                    return Ok(Vouched { certificate, key: signer.id, made, expires, covers_all: true });
                }
                Err(_) => Err(BadSignature::Wrong { key: certificate.describe() }),
            };
        }
        outcome
    }
}

impl Certificate {
    /// Checks an armored or binary detached signature of `data`, such as `repomd.xml.asc`.
    pub fn check(self, signature: &[u8], data: &[u8]) -> Result<Self, BadSignature> {
        let keyring = Keyring::new(vec![self]);
        keyring.check(signature, data)?;
        keyring.certificates.into_iter().next().ok_or(BadSignature::Anonymous)
    }
}

impl Keyring {
    /// Checks an armored or binary detached signature of `data` by one of these certificates.
    pub fn check(&self, signature: &[u8], data: &[u8]) -> Result<(), BadSignature> {
        let mut check = Check::begin(&dearmor(signature)?, self)?;
        check.update(data);
        check.finish(self).map(drop)
    }
}

/// The bytes in an armored block, or `text` itself where it is none.
pub fn dearmor(text: &[u8]) -> Result<Vec<u8>, BadSignature> {
    use std::io::Read as _;
    if text.len() > MOST_BYTES {
        return Err(unreadable("it is too long"));
    }
    if text.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(text.to_vec());
    }
    let mut bytes = Vec::new();
    match Dearmor::new(text).take(MOST_BYTES as u64).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(&error.to_string())),
    }
}

fn parse(bytes: &[u8]) -> Result<Signature, BadSignature> {
    if bytes.len() > MOST_BYTES {
        return Err(unreadable("it is too long"));
    }
    match PacketParser::new(bytes).next() {
        Some(Ok(Packet::Signature(signature))) => Ok(signature),
        Some(Ok(_)) => Err(unreadable("it is another thing")),
        Some(Err(error)) => Err(unreadable(&error.to_string())),
        None => Err(unreadable("it is empty")),
    }
}

fn unreadable(why: &str) -> BadSignature {
    BadSignature::Unreadable(why.lines().next().unwrap_or_default().to_owned())
}

/// Key ids that the signature names, by themselves or as the end of a fingerprint.
fn issuers(signature: &Signature) -> Vec<[u8; 8]> {
    let ids = signature.issuer_key_id().into_iter().map(|id| super::id_of(*id));
    let prints = signature.issuer_fingerprint();
    let prints = prints.iter().filter_map(|print| print.as_bytes().last_chunk::<8>().copied());
    let mut all: Vec<_> = ids.chain(prints).collect();
    all.sort_unstable();
    all.dedup();
    all
}

pub(super) fn spell(id: [u8; 8]) -> String {
    id.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// What a signature of this version hashes after the data (RFC 9580 section 5.2.4).
fn suffix(signature: &Signature) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    signature.to_writer(&mut body).ok()?;
    match signature.version() {
        // Version, length of what follows, then type and time, which are hashed.
        SignatureVersion::V2 | SignatureVersion::V3 => Some(body.get(2..7)?.to_vec()),
        SignatureVersion::V4 => {
            let hashed = usize::from(u16::from_be_bytes([*body.get(4)?, *body.get(5)?]));
            let mut suffix = body.get(..6 + hashed)?.to_vec();
            let len = u32::try_from(suffix.len()).ok()?;
            suffix.extend_from_slice(&[4, 0xff]);
            suffix.extend_from_slice(&len.to_be_bytes());
            Some(suffix)
        }
        _ => None,
    }
}

fn checksum_type(algorithm: HashAlgorithm) -> Option<ChecksumType> {
    Some(match algorithm {
        HashAlgorithm::Md5 => ChecksumType::Md5,
        HashAlgorithm::Sha1 => ChecksumType::Sha1,
        HashAlgorithm::Sha224 => ChecksumType::Sha224,
        HashAlgorithm::Sha256 => ChecksumType::Sha256,
        HashAlgorithm::Sha384 => ChecksumType::Sha384,
        HashAlgorithm::Sha512 => ChecksumType::Sha512,
        _ => return None,
    })
}
