//! Whether a package is signed by a key that is trusted, and whether that covers every byte of it.
//!
//! A signature of the header alone covers the payload only through the digest of the payload that the header
//! holds. Older packages have a second signature over header and payload together.

use std::sync::Arc;

use base64::Engine as _;
use rpm::IndexSignatureTag;

use super::digests::{self, PayloadCheck};
use super::header::Header;
use super::openpgp::{BadSignature, Check, Keyring, Vouched};
use super::{BadPackage, ChecksumType};

/// The most signatures of one package that are looked at.
const MOST: usize = 16;

/// Signatures of header and payload together, being checked.
pub struct Signatures {
    keyring: Arc<Keyring>,
    whole: Vec<Check>,
    /// The signatures that are found good.
    vouched: Vec<Vouched>,
}

impl Signatures {
    /// Judges the signatures of the header, and begins with those of the whole. `header_bytes`: the main
    /// header with its magic. `payload`: the digest that will be taken of the payload.
    pub fn begin(
        keyring: &Arc<Keyring>,
        signature: Header<'_>,
        main: Header<'_>,
        header_bytes: &[u8],
        payload: Option<&PayloadCheck>,
    ) -> Result<Self, BadPackage> {
        let mut unknown: Option<BadSignature> = None;
        // A digest that stands beside the header and not in it is nobody's word.
        let covered = payload.is_some() && digests::payload_digest(main).is_some_and(is_strong);
        let mut vouched = Vec::new();
        for bytes in of_header(signature)? {
            match Check::begin(&bytes, keyring) {
                Ok(mut check) => {
                    check.update(header_bytes);
                    let found = check.finish(keyring).map_err(|why| refused(&why))?;
                    vouched.push(Vouched { covers_all: covered, ..found });
                }
                Err(why) if why.is_unknown() => _ = unknown.get_or_insert(why),
                Err(why) => return Err(refused(&why)),
            }
        }
        let mut whole = Vec::new();
        for bytes in of_whole(signature) {
            match Check::begin(bytes, keyring) {
                Ok(mut check) => {
                    check.update(header_bytes);
                    whole.push(check);
                }
                Err(why) if why.is_unknown() => _ = unknown.get_or_insert(why),
                Err(why) => return Err(refused(&why)),
            }
        }
        if whole.is_empty() && vouched.is_empty() {
            return Err(match unknown {
                Some(why) => refused(&why),
                None => BadPackage::Signature("it is not signed; sign it with rpmsign --addsign".into()),
            });
        }
        if whole.is_empty() && !covered {
            return Err(BadPackage::Signature(
                "its signature covers the header only, and the header holds no digest of the payload, which could \
                 be anything; build it with rpm 4.14 or later, or sign header and payload together"
                    .into(),
            ));
        }
        Ok(Self { keyring: Arc::clone(keyring), whole, vouched })
    }

    pub fn update(&mut self, payload: &[u8]) {
        self.whole.iter_mut().for_each(|check| check.update(payload));
    }

    /// The signatures that vouch for the package.
    pub fn finish(self) -> Result<Vec<Vouched>, BadPackage> {
        let Self { keyring, whole, mut vouched } = self;
        for check in whole {
            vouched.push(check.finish(&keyring).map_err(|why| refused(&why))?);
        }
        Ok(vouched)
    }
}

fn refused(why: &BadSignature) -> BadPackage {
    BadPackage::Signature(why.to_string())
}

fn is_strong(kind: ChecksumType) -> bool {
    !matches!(kind, ChecksumType::Md5 | ChecksumType::Sha1)
}

/// Signatures of the main header, each one packet: RSA, DSA and EdDSA of rpm 4, and the list of rpm 6.
fn of_header(signature: Header<'_>) -> Result<Vec<Vec<u8>>, BadPackage> {
    let old = [IndexSignatureTag::RPMSIGTAG_RSA, IndexSignatureTag::RPMSIGTAG_DSA];
    let mut found: Vec<Vec<u8>> =
        old.iter().filter_map(|tag| signature.binary(*tag as u32)).map(<[u8]>::to_vec).collect();
    for text in signature.strings(IndexSignatureTag::RPMSIGTAG_OPENPGP as u32).take(MOST) {
        let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text);
        found.push(
            bytes.map_err(|_| {
                BadPackage::Signature("one of its signatures is not written in base64".into())
            })?,
        );
    }
    Ok(found)
}

/// Signatures of the main header and the payload together, as rpm made them before 4.14.
fn of_whole(signature: Header<'_>) -> impl Iterator<Item = &[u8]> {
    let tags = [IndexSignatureTag::RPMSIGTAG_PGP, IndexSignatureTag::RPMSIGTAG_GPG];
    tags.into_iter().filter_map(move |tag| signature.binary(tag as u32))
}
