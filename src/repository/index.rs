//! Metadata once, without a daemon.

use std::sync::Arc;
use std::time::SystemTime;

use super::refresh::Remains;
use super::{Repository, RepositoryError};
use crate::catalog::Reader;
use crate::config::RepositoryConfig;
use crate::tree::Rejected;

/// Hears how far [`index`] is; called from several threads.
pub trait Progress: Sync {
    /// This many packages are to be read.
    fn to_read(&self, packages: u64);
    /// One more was read, or rejected.
    fn one_read(&self);
}

/// For those who do not watch.
impl Progress for () {
    fn to_read(&self, _packages: u64) {}
    fn one_read(&self) {}
}

/// What came of [`index`].
#[derive(Debug, Clone)]
pub struct Summary {
    pub packages: u64,
    /// How many of them were read now; the others were known.
    pub read: u64,
    pub rejected: Vec<Rejected>,
    /// Names that could not be looked at: `(path, reason)`.
    pub refused: Vec<(String, String)>,
    /// Whether the metadata had to be made anew.
    pub changed: bool,
    /// `<revision>` of repomd.xml.
    pub revision: u64,
}

/// Makes the metadata of a tree once, as it is now. Blocking. Fails when another process holds the repository.
pub fn index(config: RepositoryConfig, progress: &dyn Progress) -> anyhow::Result<Summary> {
    let (state_dir, checksum, name) = (config.state_dir.clone(), config.checksum, config.name.clone());
    let mut repository = Repository::open(config, Arc::new(SystemTime::now))?;
    let before = repository.place.current()?;
    let Remains { read, refused, .. } = repository.refresh_all_cured(progress)?;
    let published = repository.published.clone().ok_or(RepositoryError::Panicked { name })?;
    repository.rest();
    Ok(Summary {
        packages: published.packages,
        read,
        rejected: Reader::open(&state_dir, checksum)?.rejected()?,
        refused: refused.unwrap_or_default(),
        changed: before.as_deref() != Some(&*published.repomd),
        revision: published.revision,
    })
}
