//! OpenPGP certificates (public keys), and what they say about a signature made at some time.
//!
//! Format: RFC 9580, and RFC 4880 for what older programs write. The arithmetic is rPGP's; what follows
//! from a certificate's own signatures (who may sign, until when) is judged here.

pub mod detached;
mod material;
mod vouched;

use std::collections::HashMap;

use pgp::composed::{ArmorOptions, SignedPublicKey};
use pgp::packet::{RevocationCode, Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Tag};

use super::{Checksum, ChecksumType};
pub use detached::{BadSignature, Check};
pub use material::Material;
pub use vouched::Vouched;

/// The most bytes of one file of keys. Distributions' largest have some hundred kilobytes.
pub const MOST_KEY_BYTES: usize = 4 << 20;

/// One OpenPGP certificate, with those of its keys that can sign.
pub struct Certificate {
    key: SignedPublicKey,
    /// The primary key first.
    signers: Vec<SigningKey>,
}

/// A key of a certificate that its owner allows to sign data.
struct SigningKey {
    /// `None`: the primary key; else its place among the subkeys.
    subkey: Option<usize>,
    id: [u8; 8],
    /// Seconds since the epoch.
    created: u64,
    /// Seconds since the epoch; of the key itself or of the primary key above it, whichever is earlier.
    expires: Option<u64>,
    revoked: Option<Revoked>,
}

/// How far back a revocation reaches; the stricter first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Revoked {
    /// No signature ever counted: a thief writes any date into a signature. Why that is to be assumed.
    Always(&'static str),
    /// Signatures from this time on do not count.
    From(u64),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    #[error("it holds no OpenPGP public key")]
    None,
    #[error("it has more than {MOST_KEY_BYTES} bytes")]
    TooLarge,
    #[error("it is a secret key; give the public one (createrepod key export)")]
    Secret,
    #[error("it cannot be read as OpenPGP keys: {0}")]
    Unreadable(String),
    #[error("none of the keys of {0} may sign")]
    CannotSign(String),
    #[error("it revokes a key that is not in the keyring")]
    Stray,
}

impl Certificate {
    /// Reads every certificate in `bytes`: binary, or armored, also several blocks with text between them.
    pub fn read_all(bytes: &[u8]) -> Result<Vec<Self>, BadCertificate> {
        Material::read(bytes)?.into_certificates()
    }

    /// The certificate in `bytes`, which holds one.
    pub fn read(bytes: &[u8]) -> Result<Self, BadCertificate> {
        let mut all = Self::read_all(bytes)?;
        all.truncate(1);
        all.pop().ok_or(BadCertificate::None)
    }

    /// Judges what a certificate says of itself.
    pub fn new(key: SignedPublicKey) -> Result<Self, BadCertificate> {
        let signers = signing_keys(&key);
        if signers.is_empty() {
            return Err(BadCertificate::CannotSign(fingerprint(&key)));
        }
        Ok(Self { key, signers })
    }

    /// Of the primary key, in upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.key)
    }

    /// The first name on it; empty where there is none.
    pub fn user_id(&self) -> String {
        self.key.details.users.first().map_or_else(String::new, |user| {
            String::from_utf8_lossy(user.id.id()).chars().filter(|c| !c.is_control()).collect()
        })
    }

    /// As `repomd.xml.key` is published: an armored public key block with its checksum.
    pub fn armored(&self) -> Vec<u8> {
        // Writing to memory does not fail.
        self.key.to_armored_bytes(ArmorOptions::default()).unwrap_or_default()
    }

    /// Tells one state of a certificate from another: SHA-256 of its packets.
    pub fn digest(&self) -> Checksum {
        Checksum::of(ChecksumType::Sha256, &self.key.to_bytes().unwrap_or_default())
    }

    /// Whether data signed now (seconds since the epoch) by the key of this id counts; the reason when not.
    pub fn may_sign_at(&self, id: [u8; 8], now: u64) -> Result<(), BadSignature> {
        match self.signers.iter().find(|signer| signer.id == id) {
            Some(signer) => signer.judge(now, &self.describe()),
            None => Err(BadSignature::NotForSigning { key: self.describe() }),
        }
    }

    /// Ids of the keys that may sign, the primary key's first.
    pub fn signing_ids(&self) -> Vec<[u8; 8]> {
        self.signers.iter().map(|signer| signer.id).collect()
    }

    /// For messages: the end of the fingerprint people compare, and the name.
    fn describe(&self) -> String {
        let fingerprint = self.fingerprint();
        let short = &fingerprint[fingerprint.len().saturating_sub(16)..];
        match self.user_id() {
            name if name.is_empty() => short.to_owned(),
            name => format!("{short} ({name})"),
        }
    }
}

impl SigningKey {
    /// Whether a signature of `made` (seconds since the epoch) counts: expiry and revocation are
    /// judged at the time of signing.
    fn judge(&self, made: u64, key: &str) -> Result<(), BadSignature> {
        let key = key.to_owned();
        if made < self.created {
            return Err(BadSignature::BeforeKey { key });
        }
        match self.revoked {
            Some(Revoked::Always(why)) => return Err(BadSignature::Compromised { key, why }),
            Some(Revoked::From(at)) if at <= made => return Err(BadSignature::Revoked { key, at }),
            _ => {}
        }
        match self.expires {
            Some(at) if at <= made => Err(BadSignature::Expired { key, at }),
            _ => Ok(()),
        }
    }
}

/// The certificates whose signatures are taken.
#[derive(Default)]
pub struct Keyring {
    certificates: Vec<Certificate>,
    /// Certificate and signing key by key id. Ids of 64 bits can collide, so several may have one.
    by_id: HashMap<[u8; 8], Vec<(usize, usize)>>,
    /// Tells the time, in seconds since the epoch. Without it, signatures are not held against the present.
    clock: Option<fn() -> u64>,
}

/// How far ahead of our clock a signature may be, in seconds: clocks differ, and by no more than this.
const CLOCKS_DIFFER: u64 = 86_400;

impl Keyring {
    pub fn new(certificates: Vec<Certificate>) -> Self {
        let mut by_id: HashMap<_, Vec<_>> = HashMap::new();
        for (c, certificate) in certificates.iter().enumerate() {
            for (s, signer) in certificate.signers.iter().enumerate() {
                by_id.entry(signer.id).or_default().push((c, s));
            }
        }
        Self { certificates, by_id, clock: None }
    }

    /// The same keyring, which holds signatures against the present too: one that has expired by its own word does not
    /// count, nor does one from the future.
    pub fn with_clock(self, clock: fn() -> u64) -> Self {
        Self { clock: Some(clock), ..self }
    }

    /// Whether a signature of this time, which counts until `expires`, counts now.
    fn judge_time(&self, made: u64, expires: Option<u64>) -> Result<(), BadSignature> {
        let Some(now) = self.clock.map(|clock| clock()) else { return Ok(()) };
        match expires {
            Some(at) if at <= now => Err(BadSignature::OutOfDate { at }),
            _ if made > now.saturating_add(CLOCKS_DIFFER) => Err(BadSignature::FromTheFuture { at: made }),
            _ => Ok(()),
        }
    }

    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// What tells this keyring from another: the digests of its certificates, sorted.
    pub fn digests(&self) -> Vec<String> {
        let mut digests: Vec<_> = self.certificates.iter().map(|c| c.digest().to_hex()).collect();
        digests.sort();
        digests.dedup();
        digests
    }
}

fn fingerprint(key: &SignedPublicKey) -> String {
    format!("{:X}", key.primary_key.fingerprint())
}

/// Every key of the certificate that may sign, by the signatures its owner made about it.
fn signing_keys(key: &SignedPublicKey) -> Vec<SigningKey> {
    let primary = &key.primary_key;
    let details = &key.details;
    let direct = details
        .direct_signatures
        .iter()
        .filter(|s| s.typ() == Some(SignatureType::Key) && s.verify_key(primary).is_ok());
    let certifying = details.users.iter().flat_map(|user| {
        user.signatures.iter().filter(|s| {
            s.typ() != Some(SignatureType::CertRevocation)
                && s.verify_certification(primary, Tag::UserId, &user.id).is_ok()
        })
    });
    // What the owner said last is what holds, as gpg and rpm have it.
    let Some(own) = direct.chain(certifying).max_by_key(|s| made_at(s)) else { return Vec::new() };
    let revocations = || {
        details
            .revocation_signatures
            .iter()
            .filter(|s| s.typ() == Some(SignatureType::KeyRevocation) && s.verify_key(primary).is_ok())
    };
    let created = seconds(primary.created_at());
    let above = (expiry(own, created), revoked_at(revocations()));
    let mut keys = Vec::new();
    if may_sign(own) && primary.algorithm().can_sign() {
        keys.push(SigningKey {
            subkey: None,
            id: id_of(primary.legacy_key_id()),
            created,
            expires: above.0,
            revoked: above.1,
        });
    }
    for (place, subkey) in key.public_subkeys.iter().enumerate() {
        let bound = |kind| {
            subkey.signatures.iter().filter(move |s| {
                s.typ() == Some(kind) && s.verify_subkey_binding(primary, &subkey.key).is_ok()
            })
        };
        let Some(binding) = bound(SignatureType::SubkeyBinding).max_by_key(|s| made_at(s)) else { continue };
        // Without the subkey's own word, a stranger's key could be bound, and with it the stranger's signatures.
        let agreed = binding
            .embedded_signature()
            .is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
        if !agreed || !has_flag_to_sign(binding) || !subkey.key.algorithm().can_sign() {
            continue;
        }
        let created = seconds(subkey.key.created_at());
        keys.push(SigningKey {
            subkey: Some(place),
            id: id_of(subkey.key.legacy_key_id()),
            created,
            expires: earlier(expiry(binding, created), above.0),
            revoked: earlier(revoked_at(bound(SignatureType::SubkeyRevocation)), above.1),
        });
    }
    keys
}

pub(crate) fn id_of(id: pgp::types::KeyId) -> [u8; 8] {
    id.as_ref().first_chunk().copied().unwrap_or_default()
}

fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

fn seconds(time: pgp::types::Timestamp) -> u64 {
    u64::from(time.as_secs())
}

fn made_at(signature: &Signature) -> u64 {
    signature.created().map_or(0, seconds)
}

fn expiry(own: &Signature, created: u64) -> Option<u64> {
    let lifetime =
        own.key_expiration_time().map(|time| u64::from(time.as_secs())).filter(|&time| time > 0)?;
    Some(created + lifetime)
}

/// The strictest of the revocations. Only a key that was superseded or retired has signed well before; of every other,
/// also where nobody said why, the worst is assumed, as gpg and rpm have it.
fn revoked_at<'s>(revocations: impl Iterator<Item = &'s Signature>) -> Option<Revoked> {
    revocations
        .map(|s| match s.revocation_reason_code() {
            Some(RevocationCode::KeySuperseded | RevocationCode::KeyRetired) => Revoked::From(made_at(s)),
            Some(RevocationCode::KeyCompromised) => Revoked::Always("because it was stolen"),
            _ => Revoked::Always("and not only as superseded or retired"),
        })
        .min()
}

/// Keys from before there were flags may do everything.
fn may_sign(own: &Signature) -> bool {
    let flags = own.config().is_some_and(|config| {
        config.hashed_subpackets().any(|packet| matches!(packet.data, SubpacketData::KeyFlags(_)))
    });
    !flags || has_flag_to_sign(own)
}

fn has_flag_to_sign(own: &Signature) -> bool {
    own.key_flags().sign()
}
