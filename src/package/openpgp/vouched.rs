//! Which keys vouch for a package, kept so that it can be judged again by another keyring without its bytes.

use super::{BadSignature, Keyring};

/// One good signature of a package.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Vouched {
    /// The fingerprint of the certificate.
    pub certificate: String,
    /// The id of the key that signed: its primary key, or a subkey.
    pub key: [u8; 8],
    /// When it was made, in seconds since the epoch.
    pub made: u64,
    /// From when it no longer counts, by its own word.
    pub expires: Option<u64>,
    /// Whether it covers every byte of the package by itself.
    pub covers_all: bool,
}

impl Keyring {
    /// Whether these signatures, which were found good, still count: a key that is gone says nothing, one that was revoked
    /// counts against the package, and one at least must vouch for all of it.
    pub fn still_trusts(&self, vouched: &[Vouched]) -> Result<(), BadSignature> {
        let mut covered = false;
        let mut unknown = None;
        for one in vouched {
            let found = self.by_id.get(&one.key).into_iter().flatten().find_map(|(certificate, signer)| {
                let certificate = &self.certificates[*certificate];
                let signer = &certificate.signers[*signer];
                (certificate.fingerprint() == one.certificate).then_some((certificate, signer))
            });
            match found {
                Some((certificate, signer)) => {
                    self.judge_time(one.made, one.expires)?;
                    signer.judge(one.made, &certificate.describe())?;
                    covered |= one.covers_all;
                }
                None => {
                    let id = super::detached::spell(one.key);
                    unknown.get_or_insert(BadSignature::UnknownKey { id });
                }
            }
        }
        if covered { Ok(()) } else { Err(unknown.unwrap_or(BadSignature::Anonymous)) }
    }
}
