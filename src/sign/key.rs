//! Secret keys in files: made, read, used.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use pgp::composed::{
    ArmorOptions, Deserializable as _, DetachedSignature, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    SubpacketConfig,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, SigningKey, Timestamp};
use rand::rngs::OsRng;

use super::SignError;
use crate::caught::caught;
use crate::package::openpgp::{BadSignature, Certificate, id_of};

/// Bits of an RSA key. What EL6 can read and nobody will break soon.
const RSA_BITS: u32 = 4096;
/// The most bytes of a file with a passphrase or a secret key.
const MOST: u64 = 1 << 20;

/// Which algorithm a new key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Read by everybody, EL6 included.
    Rsa,
    /// Small and fast; not read by EL7 and older.
    Ed25519,
}

/// A secret key, opened.
pub struct SecretKey {
    key: SignedSecretKey,
    /// Which of its keys signs: the primary one, or a subkey.
    subkey: Option<usize>,
}

impl SecretKey {
    /// Makes a key for `user_id`, able to sign and nothing else.
    pub fn generate(algorithm: Algorithm, user_id: &str) -> Result<Self, SignError> {
        let kind = match algorithm {
            Algorithm::Rsa => KeyType::Rsa(RSA_BITS),
            // The form that gpg knows since 2.1; the one of RFC 9580 is for gpg 2.5.
            Algorithm::Ed25519 => KeyType::Ed25519Legacy,
        };
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters
            .key_type(kind)
            .can_certify(true)
            .can_sign(true)
            .primary_user_id(user_id.to_owned())
            .preferred_hash_algorithms(
                vec![HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512].into(),
            );
        let parameters = parameters.build().map_err(|error| SignError::Arithmetic(error.to_string()))?;
        let key = parameters.generate(OsRng).map_err(|error| SignError::Arithmetic(error.to_string()))?;
        Ok(Self { key, subkey: None })
    }

    /// Reads a key file, armored or binary, as gpg or `createrepod key generate` write it, and opens it.
    pub fn read(path: &Path, passphrase: Option<&Path>) -> Result<Self, SignError> {
        let (mut key, certificate) = parse(path)?;
        let password = passphrase.map(read_passphrase).transpose()?;
        let subkey = choose(&mut key, &certificate, password.as_ref()).map_err(|trouble| match trouble {
            Trouble::Unusable(why) => SignError::Unusable { path: path.to_owned(), why },
            Trouble::Locked => match passphrase {
                Some(file) => {
                    SignError::WrongPassphrase { path: path.to_owned(), passphrase: file.to_owned() }
                }
                None => SignError::Locked { path: path.to_owned() },
            },
        })?;
        Ok(Self { key, subkey })
    }

    /// The public half of the key in a file, which need not be opened for it.
    pub fn public_half(path: &Path) -> Result<Certificate, SignError> {
        Ok(parse(path)?.1)
    }

    /// The public half.
    pub fn certificate(&self) -> Certificate {
        // Only keys of which this was made once before come here.
        Certificate::new(self.key.to_public_key())
            .unwrap_or_else(|error| unreachable!("the key has lost its signatures: {error}"))
    }

    /// Writes it to a new file that its owner alone can read. With a passphrase, the key is locked by it.
    pub fn write_new(mut self, path: &Path, passphrase: Option<&Path>) -> Result<(), SignError> {
        let failed = |source| SignError::Key { path: path.to_owned(), source };
        if let Some(file) = passphrase {
            let password = read_passphrase(file)?;
            let locked = self.key.primary_key.set_password(OsRng, &password);
            locked.map_err(|error| SignError::Arithmetic(error.to_string()))?;
        }
        let armored = self.key.to_armored_bytes(ArmorOptions::default());
        let armored = armored.map_err(|error| SignError::Arithmetic(error.to_string()))?;
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(&armored).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// An armored detached signature of `bytes`, made at `now`, over SHA-256.
    pub(super) fn sign(&self, bytes: &[u8], now: SystemTime) -> Result<Vec<u8>, SignError> {
        let signature = match self.subkey {
            None => detached(&self.key.primary_key, bytes, now),
            Some(place) => detached(&self.key.secret_subkeys[place].key, bytes, now),
        };
        signature.map_err(|error| SignError::Arithmetic(error.to_string()))
    }
}

fn parse(path: &Path) -> Result<(SignedSecretKey, Certificate), SignError> {
    let bytes = read_bounded(path).map_err(|source| SignError::Key { path: path.to_owned(), source })?;
    let no_key = |why: String| SignError::NoKey { path: path.to_owned(), why };
    if bytes.starts_with(b"-----BEGIN PGP PUBLIC") {
        return Err(no_key("it is the public half".into()));
    }
    let (key, _) = caught(|| SignedSecretKey::from_reader_single(&bytes[..]))
        .ok_or_else(|| no_key("it is malformed".into()))?
        .map_err(|error| no_key(error.to_string().lines().next().unwrap_or_default().to_owned()))?;
    let certificate = Certificate::new(key.to_public_key()).map_err(|why| no_key(why.to_string()))?;
    Ok((key, certificate))
}

fn detached(key: &impl SigningKey, bytes: &[u8], now: SystemTime) -> pgp::errors::Result<Vec<u8>> {
    let made = Timestamp::try_from(now).unwrap_or_else(|_| Timestamp::now());
    let hashed = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(made))?,
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint()))?,
    ];
    // Old gpg looks for the key by this one, and it needs no protection: it only says where to look.
    let unhashed = vec![Subpacket::regular(SubpacketData::IssuerKeyId(key.legacy_key_id()))?];
    let subpackets = SubpacketConfig::UserDefined { hashed, unhashed };
    let signature = DetachedSignature::sign_binary_data_with_subpackets(
        OsRng,
        key,
        &Password::empty(),
        HashAlgorithm::Sha256,
        bytes,
        subpackets,
    )?;
    signature.to_armored_bytes(ArmorOptions::default())
}

enum Trouble {
    Locked,
    Unusable(BadSignature),
}

/// Opens the key that is to sign: the first that may, that is there, and that the passphrase opens.
fn choose(
    key: &mut SignedSecretKey,
    certificate: &Certificate,
    password: Option<&Password>,
) -> Result<Option<usize>, Trouble> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let mut trouble = None;
    for id in certificate.signing_ids() {
        if let Err(why) = certificate.may_sign_at(id, now) {
            trouble.get_or_insert(Trouble::Unusable(why));
            continue;
        }
        let is_primary = id_of(key.primary_key.legacy_key_id()) == id;
        let subkey = key.secret_subkeys.iter().position(|sub| id_of(sub.key.legacy_key_id()) == id);
        let opened = match (is_primary, subkey) {
            (true, _) => {
                let locked = key.primary_key.secret_params().is_encrypted();
                if locked {
                    password.map(|word| key.primary_key.remove_password(word).is_ok())
                } else {
                    Some(true)
                }
            }
            (false, Some(place)) => {
                let sub = &mut key.secret_subkeys[place].key;
                let locked = sub.secret_params().is_encrypted();
                if locked { password.map(|word| sub.remove_password(word).is_ok()) } else { Some(true) }
            }
            (false, None) => continue,
        };
        match opened {
            Some(true) => return Ok(if is_primary { None } else { subkey }),
            _ => trouble = Some(Trouble::Locked),
        }
    }
    let none = || Trouble::Unusable(BadSignature::NotForSigning { key: certificate.fingerprint() });
    Err(trouble.unwrap_or_else(none))
}

/// The first line of a file.
fn read_passphrase(path: &Path) -> Result<Password, SignError> {
    let bytes =
        read_bounded(path).map_err(|source| SignError::Passphrase { path: path.to_owned(), source })?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Password::from(line))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
