//! The keys whose signatures count: read by the worker, used by uploads too. When they change, what was
//! judged by the old ones is judged again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tracing::{info, warn};

use super::{Repository, RepositoryError, lock};
use crate::catalog::HeldAgainst;
use crate::package::Verify;
use crate::package::openpgp::Keyring;
use crate::sign;
use crate::tree::{Dirty, Scanned};

/// The keyring as it was read last; none where the repository does not ask, or it cannot be read.
#[derive(Clone, Default)]
pub struct Trusted(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    keyring: Option<Arc<Keyring>>,
    /// Files of it that are of no use, with the reason.
    unusable: Vec<(PathBuf, String)>,
    /// Whether it is to be read again before the worker goes by it.
    is_stale: bool,
}

impl Trusted {
    pub fn now(&self) -> Option<Arc<Keyring>> {
        lock(&self.0).keyring.clone()
    }

    /// The files of the keyring that are of no use, each in a line.
    pub fn unusable(&self) -> Vec<String> {
        let state = lock(&self.0);
        state
            .unusable
            .iter()
            .map(|(path, why)| format!("cannot use the key {}: {why}", path.display()))
            .collect()
    }

    fn is_current(&self) -> bool {
        let state = lock(&self.0);
        state.keyring.is_some() && !state.is_stale
    }
}

impl Repository {
    /// Has the keyring read again when it is next needed.
    pub(super) fn forget_keyring(&mut self) {
        lock(&self.trusted.0).is_stale = true;
    }

    /// Reads the keyring where it was not. `true` when what is known must be looked at again, all of it:
    /// with more keys what was rejected, with others the packages too.
    pub(super) fn read_keyring(&mut self) -> Result<bool, RepositoryError> {
        let Some(directory) = self.config.keyring.clone() else { return Ok(false) };
        if self.trusted.is_current() {
            return Ok(false);
        }
        let before = self.catalog()?.keyring()?;
        let read = match sign::keyring::read(&directory, &before.files) {
            Ok(read) => read,
            Err(error) => {
                lock(&self.trusted.0).keyring = None;
                return Err(error.into());
            }
        };
        let sign::keyring::Read { keyring, unusable, files } = read;
        let now = HeldAgainst { keys: keyring.digests(), files };
        let same = before.keys == now.keys;
        let name = &self.config.name;
        if !same {
            let keys = now.keys.len();
            let noun = if keys == 1 { "key has" } else { "keys have" };
            info!(repo.name = %name, keys, "{name} takes what {keys} {noun} signed");
        }
        for (path, why) in &unusable {
            if !lock(&self.trusted.0).unusable.contains(&(path.clone(), why.clone())) {
                warn!(repo.name = %name, "{name} does without {}: {why}; the other keys of its keyring count", path.display());
            }
        }
        if !same {
            let only_more = before.keys.iter().all(|digest| now.keys.contains(digest));
            self.catalog()?.distrust_all(!only_more)?;
        }
        if before != now {
            self.catalog()?.set_keyring(&now)?;
        }
        *lock(&self.trusted.0) = State { keyring: Some(Arc::new(keyring)), unusable, is_stale: false };
        Ok(!same)
    }

    /// Those that arrived and for which the keyring of now vouches, where that is asked for; the others are read again, by
    /// these keys: they were judged by those of before.
    pub(super) fn still_trusted(&self, arrived: Vec<Scanned>, dirty: &mut Dirty) -> Vec<Scanned> {
        let keyring = self.trusted.now().filter(|_| self.config.verify == Verify::Signature);
        let Some(keyring) = keyring else { return arrived };
        let (trusted, others): (Vec<_>, Vec<_>) =
            arrived.into_iter().partition(|scanned| keyring.still_trusts(&scanned.vouched).is_ok());
        dirty.settled.extend(others.into_iter().map(|scanned| scanned.location));
        trusted
    }
}
