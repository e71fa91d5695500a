//! What files of keys hold, before it is judged: certificates, and revocations that came without their certificate.
//!
//! The same certificate may lie in several files: an old copy beside the one that was revoked. What all of them say of it
//! is put together before anything is judged, so that a revocation counts whatever its file is called.

use std::collections::{BTreeSet, HashMap};

use pgp::armor::{BlockType, Dearmor};
use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::ser::Serialize as _;
use pgp::types::KeyDetails as _;

use super::{BadCertificate, Certificate, Keyring, MOST_KEY_BYTES};

/// What one file holds.
#[derive(Default)]
pub struct Material {
    keys: Vec<SignedPublicKey>,
    /// Revocations of keys that are not in the same file, as `gpg --gen-revoke` writes them.
    revocations: Vec<Signature>,
    /// Why something of it could not be read; what could be read counts all the same.
    unreadable: Option<BadCertificate>,
}

impl Material {
    /// Reads everything in `bytes`: binary, or armored, also several blocks with text between them.
    pub fn read(bytes: &[u8]) -> Result<Self, BadCertificate> {
        if bytes.len() > MOST_KEY_BYTES {
            return Err(BadCertificate::TooLarge);
        }
        // Strangers' bytes go no further than this, but a typing error of an administrator might.
        let read = std::panic::catch_unwind(|| Self::parse(bytes));
        read.unwrap_or_else(|_| Err(BadCertificate::Unreadable("it is malformed".into())))
    }

    fn parse(bytes: &[u8]) -> Result<Self, BadCertificate> {
        let mut this = Self::default();
        if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
            this.packets(bytes);
        } else {
            let text = String::from_utf8_lossy(bytes);
            if text.contains(&format!("-----BEGIN {}", BlockType::PrivateKey)) {
                return Err(BadCertificate::Secret);
            }
            for block in armored_blocks(&text) {
                this.armored(&block);
            }
        }
        if this.keys.is_empty() && this.revocations.is_empty() {
            return Err(this.unreadable.unwrap_or(BadCertificate::None));
        }
        Ok(this)
    }

    fn armored(&mut self, block: &str) {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        match Dearmor::new(block.as_bytes()).take(MOST_KEY_BYTES as u64).read_to_end(&mut bytes) {
            Ok(_) => self.packets(&bytes),
            Err(error) => self.cannot(&error),
        }
    }

    fn packets(&mut self, bytes: &[u8]) {
        if let Some(revocations) = only_revocations(bytes) {
            self.revocations.extend(revocations);
            return;
        }
        match SignedPublicKey::from_bytes_many(bytes) {
            Ok(keys) => {
                for key in keys {
                    match key {
                        Ok(key) => self.keys.push(key),
                        Err(error) => self.cannot(&error),
                    }
                }
            }
            Err(error) => self.cannot(&error),
        }
    }

    fn cannot(&mut self, error: &dyn std::fmt::Display) {
        self.unreadable.get_or_insert_with(|| BadCertificate::Unreadable(error.to_string()));
    }

    /// Its certificates, each judged by what this file alone says of it. An error where one cannot be used.
    pub fn into_certificates(self) -> Result<Vec<Certificate>, BadCertificate> {
        match self.unreadable {
            Some(why) => Err(why),
            None if self.keys.is_empty() => Err(BadCertificate::None),
            None => self.keys.into_iter().map(Certificate::new).collect(),
        }
    }
}

impl Keyring {
    /// The keyring of all that the files hold, each named by whatever the caller calls it; and for each file that is of no
    /// use, or not as a whole, why.
    pub fn gather<N: Clone>(files: Vec<(N, Material)>) -> (Self, Vec<(N, BadCertificate)>) {
        let mut wrong = Vec::new();
        let mut order = Vec::new();
        let mut merged: HashMap<String, (SignedPublicKey, Vec<N>)> = HashMap::new();
        let mut loose = Vec::new();
        for (name, material) in files {
            wrong.extend(material.unreadable.map(|why| (name.clone(), why)));
            for key in material.keys {
                let fingerprint = super::fingerprint(&key);
                match merged.get_mut(&fingerprint) {
                    Some((known, names)) => {
                        merge(known, key);
                        names.push(name.clone());
                    }
                    None => {
                        order.push(fingerprint.clone());
                        merged.insert(fingerprint, (key, vec![name.clone()]));
                    }
                }
            }
            loose.extend(material.revocations.into_iter().map(|revocation| (name.clone(), revocation)));
        }
        for (name, revocation) in loose {
            let mut is_for = false;
            for (key, _) in merged.values_mut() {
                let right = std::panic::AssertUnwindSafe(|| revocation.verify_key(&key.primary_key).is_ok());
                if std::panic::catch_unwind(right).unwrap_or(false) {
                    key.details.revocation_signatures.push(revocation.clone());
                    is_for = true;
                }
            }
            if !is_for {
                wrong.push((name, BadCertificate::Stray));
            }
        }
        let mut certificates = Vec::new();
        for fingerprint in order {
            let Some((key, names)) = merged.remove(&fingerprint) else { continue };
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Certificate::new(key)));
            match judged.unwrap_or_else(|_| Err(BadCertificate::Unreadable("it is malformed".into()))) {
                Ok(certificate) => certificates.push(certificate),
                Err(why) => wrong.extend(names.into_iter().map(|name| (name, why.clone()))),
            }
        }
        (Self::new(certificates), wrong)
    }
}

/// The revocations in `bytes`, where they hold nothing else.
fn only_revocations(bytes: &[u8]) -> Option<Vec<Signature>> {
    let mut found = Vec::new();
    for packet in PacketParser::new(bytes) {
        match packet {
            Ok(Packet::Signature(signature)) if signature.typ() == Some(SignatureType::KeyRevocation) => {
                found.push(signature);
            }
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Adds to a certificate what another copy of it says.
fn merge(known: &mut SignedPublicKey, other: SignedPublicKey) {
    union(&mut known.details.revocation_signatures, other.details.revocation_signatures);
    union(&mut known.details.direct_signatures, other.details.direct_signatures);
    for user in other.details.users {
        match known.details.users.iter_mut().find(|same| same.id.id() == user.id.id()) {
            Some(same) => union(&mut same.signatures, user.signatures),
            None => known.details.users.push(user),
        }
    }
    for subkey in other.public_subkeys {
        let fingerprint = subkey.key.fingerprint();
        match known.public_subkeys.iter_mut().find(|same| same.key.fingerprint() == fingerprint) {
            Some(same) => union(&mut same.signatures, subkey.signatures),
            None => known.public_subkeys.push(subkey),
        }
    }
}

fn union(known: &mut Vec<Signature>, more: Vec<Signature>) {
    let bytes = |signature: &Signature| signature.to_bytes().unwrap_or_default();
    let mut seen: BTreeSet<Vec<u8>> = known.iter().map(bytes).collect();
    known.extend(more.into_iter().filter(|signature| seen.insert(bytes(signature))));
}

/// Each armored block of `text`, from its first to its last line.
fn armored_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN PGP") {
            block = Some(String::new());
        }
        if let Some(lines) = &mut block {
            lines.push_str(line);
            lines.push('\n');
            if line.starts_with("-----END PGP") {
                blocks.extend(block.take());
            }
        }
    }
    blocks
}
