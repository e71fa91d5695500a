//! The directory of public keys whose signatures are taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::package::openpgp::{BadCertificate, Certificate, Keyring, MOST_KEY_BYTES};

/// The most files of a keyring; more is a mistake in the configuration.
const MOST_FILES: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("cannot read the keyring {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the keyring {} holds no key, so no package could ever be taken; put public keys (armored or binary) \
             there", path.display())]
    Empty { path: PathBuf },
    #[error("the keyring {} has more than {MOST_FILES} files", path.display())]
    TooMany { path: PathBuf },
    #[error("cannot use the key {}: {why}", path.display())]
    Bad { path: PathBuf, why: BadCertificate },
}

/// Reads every file in `directory` but hidden ones. One that is no key is an error: it was meant to be one.
pub fn read(directory: &Path) -> Result<Keyring, KeyringError> {
    let failed = |source| KeyringError::Read { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(KeyringError::TooMany { path: directory.to_owned() });
        }
    }
    files.sort();
    let mut certificates = Vec::new();
    for path in files {
        let bytes =
            read_bounded(&path).map_err(|source| KeyringError::Read { path: path.clone(), source })?;
        let read = Certificate::read_all(&bytes);
        certificates.extend(read.map_err(|why| KeyringError::Bad { path, why })?);
    }
    if certificates.is_empty() {
        return Err(KeyringError::Empty { path: directory.to_owned() });
    }
    Ok(Keyring::new(certificates))
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
