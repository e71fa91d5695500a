//! At start: take the lock, open the catalog, and see whether what is published is ours and whole.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::refresh::real_path;
use super::{Clock, Published, Repository, RepositoryError, lock::TreeLock};
use super::{additional, databases, press};
use crate::beneath::own::Own;
use crate::catalog::{Catalog, CatalogError, Ready, Settings};
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
        let (root, real) = (root_id(&config.path)?, real_path(&config.path));
        if config.metadata_dir.is_some() {
            // Nobody else makes it, and it can be watched only once it is there.
            let path = config.repodata_dir();
            let made = fs::create_dir_all(config.written())
                .and_then(|()| Own::make_repodata(config.written(), 0o777 & !config.umask));
            made.map_err(|source| RepositoryError::Directory { path, source })?;
        }
        let lock = TreeLock::take(config.written())?;
        let place = Place::new(config.written(), config.umask);
        if let Ok(inside) = config.state_dir.strip_prefix(config.private_dir()) {
            // Whose it is counts for the state, too.
            let made = Own::private(config.written())
                .and_then(|private| private.make_below(inside.iter().filter_map(|name| name.to_str())));
            let path = config.state_dir.clone();
            made.map_err(|source| RepositoryError::Directory { path, source })?;
        }
        place.remove_leftovers();
        // Before anything looks at the tree: what was being shown together is seen together.
        let recovered = batch::recover(&config).map_err(|source| RepositoryError::Directory {
            path: config.private_dir().join("incoming/batches"),
            source,
        })?;
        if !config.metadata.has_databases() {
            databases::forget(&config.state_dir)?;
        }
        let mut repository = Self {
            config,
            clock,
            place,
            lock: Some(lock),
            root,
            real,
            catalog: None,
            remembered: super::remembered::Remembered::default(),
            trails: Default::default(),
            ready: Ready::default(),
            databases: databases::State::default(),
            published: None,
            signer: None,
            trusted: super::keyring::Trusted::default(),
            superseded: None,
            current_size: 0,
            contest: super::heal::Contest::default(),
            vanished: None,
            unfinished: super::refresh::Unfinished::default(),
            settling: None,
            additional: additional::Additional::default(),
            unread: super::unread::Waiting::default(),
            later: super::worker::Later::default(),
        };
        if !recovered.shown.is_empty() {
            repository.later.put_off(Duration::ZERO, Dirty::all_settled(recovered.shown));
        }
        repository.confirm_cured()?;
        repository.take_back_orphans()?;
        // Uploads come before the first refresh, which reports what is wrong with it.
        _ = repository.read_keyring();
        Ok(repository)
    }

    fn confirm_cured(&mut self) -> Result<(), RepositoryError> {
        match self.confirm() {
            Err(trouble) if self.cure(&trouble).is_some() => self.confirm(),
            confirmed => confirmed,
        }
    }

    /// Takes over the catalog of another tree, unless that tree is served by somebody now: whether it did. What it knows of
    /// files that are not here is found gone by the first look; what is here and has a stamp it knows was moved.
    pub(super) fn take_over(&self, remembered: &str) -> Result<bool, CatalogError> {
        let (state, tree) = (&self.config.state_dir, &self.config.path);
        let before = PathBuf::from(remembered);
        let is_same = real_path(&before) == self.real;
        let there = RepositoryConfig { path: before, metadata_dir: None, ..self.config.clone() };
        if !is_same && !TreeLock::is_free(there.written()) {
            return Ok(false);
        }
        if !is_same {
            let name = &self.config.name;
            warn!(repo.name = %name, "the state of {name} was that of {remembered}; it is held against {} now. \
                  WebDAV properties stay with their paths", tree.display());
        }
        Catalog::give_to(state, tree)?;
        Ok(true)
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
        let at = place.modified("repomd.xml");
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
}

pub fn sha256(bytes: &[u8]) -> String {
    Checksum::of(ChecksumType::Sha256, bytes).to_hex()
}
