//! The keys whose signatures count: read by the worker, used by uploads too. When they change, what was
//! judged by the old ones is judged again.

use std::sync::{Arc, Mutex};

use tracing::info;

use super::{Repository, RepositoryError, lock};
use crate::package::openpgp::Keyring;
use crate::sign;

/// The keyring as it was read last; none where the repository does not ask, or it cannot be read.
#[derive(Clone, Default)]
pub struct Trusted(Arc<Mutex<Option<Arc<Keyring>>>>);

impl Trusted {
    pub fn now(&self) -> Option<Arc<Keyring>> {
        lock(&self.0).clone()
    }

    fn set(&self, keyring: Option<Arc<Keyring>>) {
        *lock(&self.0) = keyring;
    }
}

impl Repository {
    /// Has the keyring read again when it is next needed.
    pub(super) fn forget_keyring(&mut self) {
        self.trusted.set(None);
    }

    /// Reads the keyring where it was not. `true` when what is known must be looked at again, all of it:
    /// with more keys what was rejected, with others the packages too.
    pub(super) fn read_keyring(&mut self) -> Result<bool, RepositoryError> {
        let Some(directory) = self.config.keyring.clone() else { return Ok(false) };
        if self.trusted.now().is_some() {
            return Ok(false);
        }
        let keyring = sign::keyring::read(&directory)?;
        let now = keyring.digests();
        let before = self.catalog()?.keyring()?;
        let same = before == now;
        if !same {
            let only_more = before.iter().all(|digest| now.contains(digest));
            self.catalog()?.distrust_all(!only_more, &now)?;
            let (name, keys) = (&self.config.name, now.len());
            info!(repo.name = %name, keys, "{name} takes what {keys} keys have signed");
        }
        self.trusted.set(Some(Arc::new(keyring)));
        Ok(!same)
    }
}
