//! What can be told of a repository that no daemon serves.

use std::io;
use std::time::SystemTime;

use crate::catalog::Reader;
use crate::config::RepositoryConfig;
use crate::package::Location;
use crate::publish::{self, Place};
use crate::tree::Rejected;

use super::verify::Verified;

/// As of the last time somebody looked; the tree may have changed since.
#[derive(Debug, Clone, Default)]
pub struct AtRest {
    /// `<revision>` of repomd.xml; `None` when nothing is published.
    pub revision: Option<u64>,
    pub published_at: Option<SystemTime>,
    /// `None`: nothing is remembered of this tree.
    pub packages: Option<u64>,
    pub rejected: Vec<Rejected>,
    pub duplicates: Vec<Location>,
    pub verified: Option<Verified>,
}

/// Reads repomd.xml and the catalog, and changes neither. Blocking.
pub fn at_rest(config: &RepositoryConfig) -> anyhow::Result<AtRest> {
    let mut found = AtRest::default();
    let place = Place::new(config.written(), config.umask);
    match place.read("repomd.xml") {
        Ok(bytes) => {
            found.revision = Some(publish::parse(&bytes)?.revision_number());
            found.published_at = place.modified("repomd.xml").ok();
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return Err(anyhow::Error::new(error)
                .context(format!("cannot read {}", place.repodata().join("repomd.xml").display())));
        }
    }
    if config.state_dir.join(crate::catalog::FILE).exists() {
        let reader = Reader::beside(&config.state_dir, config.checksum)?;
        found.packages = Some(reader.packages()?);
        found.rejected = reader.rejected()?;
        found.duplicates = reader.duplicates()?;
        found.verified = Verified::read(&config.state_dir);
    }
    Ok(found)
}
