//! The directory of public keys whose signatures are taken.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::package::openpgp::{BadCertificate, Keyring, MOST_KEY_BYTES, Material};

/// The most files of a keyring; more is a mistake in the configuration.
const MOST_FILES: usize = 1000;

#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("cannot read the keyring {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the keyring {} holds no key that can be used, so no package could ever be taken; put public keys (armored or \
             binary) there{found}", path.display())]
    Empty { path: PathBuf, found: String },
    #[error("the keyring {} has more than {MOST_FILES} files", path.display())]
    TooMany { path: PathBuf },
    #[error("cannot use the key {} any more: {why}; what it vouched for stays as it is, and nothing is taken, until the \
             file is mended or removed", path.display())]
    Lost { path: PathBuf, why: String },
}

/// What a keyring holds.
pub struct Read {
    pub keyring: Keyring,
    /// Files that are of no use, or not as a whole, with the reason. The other keys count.
    pub unusable: Vec<(PathBuf, String)>,
    /// Names of the files that could be used as a whole, sorted.
    pub files: Vec<String>,
}

/// Reads every file in `directory` but hidden ones. `known`: names of files that could be used before; one that cannot be by
/// now is an error, for it may be half-written, and its packages must not go for that.
pub fn read(directory: &Path, known: &[String]) -> Result<Read, KeyringError> {
    let mut materials = Vec::new();
    let mut unusable = Vec::new();
    let mut lost = None;
    let mut note = |path: PathBuf, why: String, is_loss: bool| {
        if is_loss && known.contains(&name(&path)) {
            lost.get_or_insert_with(|| KeyringError::Lost { path: path.clone(), why: why.clone() });
        }
        unusable.push((path, why));
    };
    let files = list(directory)?;
    for path in &files {
        match read_bounded(path).map_err(|error| error.to_string()) {
            Ok(bytes) => match Material::read(&bytes) {
                Ok(material) => materials.push((path.clone(), material)),
                Err(why) => note(path.clone(), why.to_string(), true),
            },
            Err(why) => note(path.clone(), why, true),
        }
    }
    let (keyring, wrong) = Keyring::gather(materials);
    for (path, why) in wrong {
        // A revocation has done its work once its key is gone.
        note(path, why.to_string(), why != BadCertificate::Stray);
    }
    if let Some(lost) = lost {
        return Err(lost);
    }
    if keyring.certificates().is_empty() {
        let found: Vec<_> = unusable.iter().map(|(path, why)| format!("; {}: {why}", name(path))).collect();
        return Err(KeyringError::Empty { path: directory.to_owned(), found: found.concat() });
    }
    let bad: BTreeSet<&PathBuf> = unusable.iter().map(|(path, _)| path).collect();
    let files = files.iter().filter(|path| !bad.contains(path)).map(|path| name(path)).collect();
    Ok(Read { keyring: keyring.with_clock(now), unusable, files })
}

/// Its files, sorted.
fn list(directory: &Path) -> Result<Vec<PathBuf>, KeyringError> {
    let failed = |source| KeyringError::Read { path: directory.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let is_file = match fs::metadata(&path) {
            Ok(metadata) => metadata.is_file(),
            // A link that leads nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            // Not a key less: packages would leave for it.
            Err(source) => return Err(KeyringError::Read { path, source }),
        };
        if !hidden && is_file {
            files.push(path);
        }
        if files.len() > MOST_FILES {
            return Err(KeyringError::TooMany { path: directory.to_owned() });
        }
    }
    files.sort();
    Ok(files)
}

/// A file's name, without what could not stand in a line.
fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().replace(|c: char| c.is_control(), "\u{fffd}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MOST_KEY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
