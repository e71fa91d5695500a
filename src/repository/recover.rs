//! At start: take the lock, open the catalog, and see whether what is published is ours and whole.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::{Clock, OPEN_CATALOGS, Published, Repository, RepositoryError, lock::TreeLock};
use super::{additional, databases, press};
use crate::catalog::{Ready, Settings};
use crate::config::RepositoryConfig;
use crate::incoming::batch;
use crate::package::{Checksum, ChecksumType};
use crate::publish::{self, Place};
use crate::scan::root_id;
use crate::tree::Dirty;

/// What the configuration means for the catalog.
pub fn settings(config: &RepositoryConfig) -> Settings {
    Settings {
        compression: config.metadata.compression(),
        checksum: config.checksum,
        verify: config.verify,
        render: config.render_options(),
    }
}

impl Repository {
    /// Opens a repository whose tree exists.
    pub fn open(config: RepositoryConfig, clock: Clock) -> Result<Self, RepositoryError> {
        let root = root_id(&config.path)?;
        if config.metadata_dir.is_some() {
            // Nobody else makes it, and it can be watched only once it is there.
            let path = config.repodata_dir();
            fs::create_dir_all(&path).map_err(|source| RepositoryError::Directory { path, source })?;
        }
        let lock = TreeLock::take(&config.private_dir())?;
        let place = Place {
            repodata: config.repodata_dir(),
            incoming: config.private_dir().join("incoming"),
            umask: config.umask,
        };
        place.remove_leftovers();
        // Before anything looks at the tree: what was being shown together is seen together.
        let recovered = batch::recover(&config)
            .map_err(|source| RepositoryError::Directory { path: place.incoming.join("batches"), source })?;
        if !config.metadata.has_databases() {
            databases::forget(&config.state_dir)?;
        }
        let mut repository = Self {
            config,
            clock,
            place,
            lock: Some(lock),
            root,
            catalog: None,
            trails: Default::default(),
            ready: Ready::default(),
            databases: databases::State::default(),
            published: None,
            signer: None,
            trusted: super::keyring::Trusted::default(),
            superseded: None,
            current_size: 0,
            restored: Vec::new(),
            contested: false,
            unfinished: super::refresh::Unfinished::default(),
            settling: None,
            additional: additional::Additional::default(),
            later: super::worker::Later::default(),
        };
        if !recovered.shown.is_empty() {
            repository.later.put_off(Duration::ZERO, Dirty::all_settled(recovered.shown));
        }
        repository.confirm()?;
        repository.take_back_orphans()?;
        // Uploads come before the first refresh, which reports what is wrong with it.
        _ = repository.read_keyring();
        Ok(repository)
    }

    /// Recognises what is published as ours and whole; otherwise a publication is due.
    fn confirm(&mut self) -> Result<(), RepositoryError> {
        let name = self.config.name.clone();
        let current = self.place.current()?;
        let place = self.place.clone();
        let catalog = self.catalog()?;
        let Some(remembered) = catalog.published()? else { return Ok(()) };
        let ours = current.filter(|bytes| sha256(bytes) == remembered);
        let parsed = ours
            .as_ref()
            .and_then(|bytes| publish::parse(bytes).ok())
            .filter(|repomd| place.is_whole(repomd));
        let (Some(bytes), Some(repomd)) = (ours, parsed) else {
            warn!(repo.name = %name, "repodata/ of {name} is not what was published last; it will be published again");
            return Ok(catalog.set_published(None)?);
        };
        if !databases::as_configured(&repomd, self.config.metadata)
            || !press::has_zchunk_as_configured(&repomd, &self.config)
            || !additional::as_configured(&repomd, &self.config)
        {
            // The setting has changed since.
            return Ok(self.catalog()?.set_published(None)?);
        }
        let packages = self.catalog()?.listing()?.packages();
        let at = fs::metadata(place.repodata.join("repomd.xml")).and_then(|m| m.modified());
        info!(repo.name = %name, packages, "{name} is published with {packages} packages");
        self.current_size = repomd.records.iter().filter_map(|r| r.size).sum();
        let revision = repomd.revision_number();
        // What cannot be signed is reported by the first refresh.
        let signed = self.sign(&bytes).unwrap_or_default();
        let number = self.number_of(&bytes, signed.as_ref(), revision)?;
        self.published = Some(Arc::new(Published {
            revision,
            repomd: bytes.into(),
            packages,
            at: at.unwrap_or(SystemTime::UNIX_EPOCH),
            number,
            signed,
            // Nobody knows what the last process was asked for.
            given: Arc::new(AtomicBool::new(true)),
        }));
        Ok(())
    }

    /// Closes the catalog until there is something to do; the publication stays.
    pub fn rest(&mut self) {
        self.databases.rest();
        let Some(catalog) = self.catalog.take() else { return };
        OPEN_CATALOGS.fetch_sub(1, Ordering::Relaxed);
        if let Err(error) = catalog.close() {
            warn!(repo.name = %self.config.name, "cannot close the catalog of {}: {error}", self.config.name);
        }
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Checksum::of(ChecksumType::Sha256, bytes).to_hex()
}
