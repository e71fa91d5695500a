//! Detached OpenPGP signatures for repomd.xml: by a key in a file, or by a command that has the key.
//!
//! Whoever signs, what comes of it is checked against the public key before it is published.

mod command;
pub mod key;
pub mod keyring;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::SignConfig;
use crate::package::openpgp::{BadCertificate, BadSignature, Certificate, Keyring};
use key::SecretKey;

/// Makes signatures by one key.
pub struct Signer {
    means: Means,
    /// The one certificate whose signatures are ours.
    ours: Keyring,
    /// Armored, as it is published.
    public_key: Vec<u8>,
}

enum Means {
    Key(Box<SecretKey>),
    Command { command: Vec<String>, timeout: Duration },
}

/// Why nothing can be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("cannot read the signing key {}", path.display())]
    Key { path: PathBuf, source: io::Error },
    #[error("{} is no secret OpenPGP key ({why}); make one with createrepod key generate", path.display())]
    NoKey { path: PathBuf, why: String },
    #[error("the signing key {} is protected by a passphrase; name the file that holds it: \
             sign = {{ key = …, passphrase = \"/path\" }}", path.display())]
    Locked { path: PathBuf },
    #[error("cannot read the passphrase in {}", path.display())]
    Passphrase { path: PathBuf, source: io::Error },
    #[error("the passphrase in {} does not open the signing key {}", passphrase.display(), path.display())]
    WrongPassphrase { path: PathBuf, passphrase: PathBuf },
    #[error("the signing key {} cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: BadSignature },
    #[error("cannot read the public key {}", path.display())]
    PublicKey { path: PathBuf, source: io::Error },
    #[error("the public key {} cannot be used: {why}", path.display())]
    BadPublicKey { path: PathBuf, why: BadCertificate },
    #[error("cannot make a signature: {0}")]
    Arithmetic(String),
    #[error("cannot run the signing command {command}")]
    Start { command: String, source: io::Error },
    #[error("the signing command {command} ended with {status}{said}")]
    Status { command: String, status: String, said: String },
    #[error("the signing command {command} gave no signature within {} s", limit.as_secs())]
    TooSlow { command: String, limit: Duration },
    #[error("what the signing command {command} gave is not a signature of repomd.xml by public_key: {why}")]
    Refused { command: String, why: BadSignature },
    #[error("the signature that was made does not hold: {0}")]
    Broken(BadSignature),
}

impl Signer {
    /// Reads and opens the key, or the public key of the command.
    pub fn load(config: &SignConfig) -> Result<Self, SignError> {
        let (means, certificate) = match config {
            SignConfig::Key { key, passphrase } => {
                let secret = SecretKey::read(key, passphrase.as_deref())?;
                let certificate = secret.certificate();
                (Means::Key(Box::new(secret)), certificate)
            }
            SignConfig::Command { command, public_key, timeout } => {
                let certificate = read_public(public_key)?;
                (Means::Command { command: command.clone(), timeout: *timeout }, certificate)
            }
        };
        let public_key = certificate.armored();
        Ok(Self { means, ours: Keyring::new(vec![certificate]), public_key })
    }

    /// The armored public key, for `repomd.xml.key`.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// An armored detached signature of exactly these bytes. Blocking.
    pub fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.means {
            Means::Key(secret) => {
                let signature = secret.sign(bytes, SystemTime::now())?;
                self.ours.check(&signature, bytes).map_err(SignError::Broken)?;
                Ok(signature)
            }
            Means::Command { command, timeout } => {
                let signature = command::run(command, bytes, *timeout)?;
                let refused = |why| SignError::Refused { command: command::name(command), why };
                if !signature.starts_with(b"-----BEGIN PGP SIGNATURE-----") {
                    let why = "it is not armored (gpg --armor)".to_owned();
                    return Err(refused(BadSignature::Unreadable(why)));
                }
                self.ours.check(&signature, bytes).map_err(refused)?;
                Ok(signature)
            }
        }
    }

    /// Whether `signature` is one of ours for these bytes.
    pub fn made(&self, signature: &[u8], bytes: &[u8]) -> bool {
        self.ours.check(signature, bytes).is_ok()
    }
}

fn read_public(path: &Path) -> Result<Certificate, SignError> {
    let path = path.to_owned();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(SignError::PublicKey { path, source }),
    };
    Certificate::read(&bytes).map_err(|why| SignError::BadPublicKey { path, why })
}
