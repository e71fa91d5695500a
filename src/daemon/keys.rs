//! The keys of repositories: those that sign, and those whose signatures are taken.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::directories::DirectoryWatch;
use crate::config::{RepositoryConfig, SignConfig};

/// Several files make one change.
const QUIET: Duration = Duration::from_millis(300);

/// The files and directories of keys that a repository names.
pub fn of(config: &RepositoryConfig) -> Vec<&Path> {
    let mut named: Vec<&Path> = Vec::new();
    match &config.sign {
        None => {}
        Some(SignConfig::Key { key, passphrase }) => {
            named.push(key);
            named.extend(passphrase.as_deref());
        }
        Some(SignConfig::Command { public_key, .. }) => named.push(public_key),
    }
    named.extend(config.keyring.as_deref());
    named
}

/// Hears of changes to the keys of all repositories that [`directories`] was last asked for.
pub fn watch() -> DirectoryWatch {
    DirectoryWatch::new("the keys", QUIET, |_| true)
}

/// Where the keys of these repositories lie. A file is replaced by another of its name, so its directory is what is
/// watched; a directory may be, too.
pub fn directories(repositories: &[RepositoryConfig]) -> BTreeSet<PathBuf> {
    let above = repositories.iter().flat_map(of).filter_map(Path::parent);
    let keyrings = repositories.iter().filter_map(|repository| repository.keyring.as_deref());
    above.chain(keyrings).map(Path::to_owned).collect()
}
