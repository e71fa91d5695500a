//! What is remembered is not believed: whether the catalog is the one that was left, and what follows where it is not,
//! or where something in it turns out to be damaged. Whatever is in doubt is compared with the tree, or made anew from
//! it, before anything is published.

use std::sync::atomic::Ordering;

use tracing::warn;

use super::inbox::Batch;
use super::refresh::Remains;
use super::{OPEN_CATALOGS, Progress, Repository, RepositoryError, recover};
use crate::catalog::{self, Before, Catalog, CatalogError, Identity, Opened, is_unreadable};
use crate::databases::DatabaseError;
use crate::tree::Dirty;

/// How often one batch may find something damaged and have it made anew.
const CURES: usize = 3;

/// What is known of the catalog beyond the catalog.
pub(super) struct Remembered {
    /// As it was when it was closed last; `None` where that is not known.
    left: Option<Identity>,
    /// Whether this process has had it open.
    had: bool,
    /// Whether everything in the tree must be compared before anything is published.
    pub(super) in_doubt: bool,
    /// Whether that is because the catalog was made anew, or is another: what it says counts for nothing until then.
    lost: bool,
    /// Whether the catalog was opened anew, or made anew, since somebody asked.
    renewed: bool,
}

impl Default for Remembered {
    fn default() -> Self {
        // Nobody knows what became of tree and catalog while nobody looked.
        Self { left: None, had: false, in_doubt: true, lost: false, renewed: false }
    }
}

impl Remembered {
    pub(super) fn left(&self) -> Option<Identity> {
        self.left.clone()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.in_doubt && self.lost
    }

    /// Everything was compared.
    pub(super) fn is_sure(&mut self) {
        self.in_doubt = false;
        self.lost = false;
    }

    /// Whether those who have the catalog open must open it again; asked once.
    pub(super) fn take_renewed(&mut self) -> bool {
        std::mem::take(&mut self.renewed)
    }
}

impl RepositoryError {
    /// Whether pieces that metadata is made of are not what was written.
    fn is_about_pieces(&self) -> bool {
        match self {
            Self::Catalog(CatalogError::Pieces(source))
            | Self::Join { source, .. }
            | Self::Database(DatabaseError::Packages { source, .. }) => catalog::pieces::is_damage(source),
            _ => false,
        }
    }
}

impl Repository {
    /// Opens the catalog, and finds out whether it is the one that was left.
    pub(super) fn open_catalog(&mut self) -> Result<Catalog, CatalogError> {
        let before = match &self.remembered.left {
            Some(left) if left.still_holds() => Before::AsLeft,
            None if !self.remembered.had => Before::Unknown,
            _ => Before::Changed,
        };
        let opened = match self.try_open(before) {
            // Asked again, so that one failed read is no reason.
            Err(error) if error.is_of_the_system() && is_unreadable(&self.config.state_dir) => {
                catalog::set_aside(&self.config.state_dir)?;
                let opened = self.try_open(before)?;
                Opened { renewed: opened.renewed.or(Some(error)), ..opened }
            }
            opened => opened?,
        };
        OPEN_CATALOGS.fetch_add(1, Ordering::Relaxed);
        self.remembered.had = true;
        if before == Before::AsLeft && opened.renewed.is_none() {
            return Ok(opened.catalog);
        }
        self.distrust();
        self.remembered.lost |= before == Before::Changed || opened.renewed.is_some();
        if before == Before::Changed {
            // Files in repodata/ may be ours without its knowing.
            opened.catalog.forget_look()?;
        }
        let name = &self.config.name;
        match &opened.renewed {
            Some(error) => {
                warn!(repo.name = %name, "what is remembered of {name} is of no use ({}); it is made anew from the \
                      tree, and nothing needs to be done", super::worker::chain(error));
            }
            None if self.remembered.left.is_some() => {
                warn!(repo.name = %name, "the catalog of {name} in {} is not the one that was left there; all packages \
                      are compared before anything is published, and nothing needs to be done",
                      self.config.state_dir.display());
            }
            None => {}
        }
        Ok(opened.catalog)
    }

    fn try_open(&self, before: Before) -> Result<Opened, CatalogError> {
        let settings = recover::settings(&self.config);
        let open = || Catalog::open(&self.config.state_dir, &self.config.path, &settings, before);
        match open() {
            Err(CatalogError::OtherTree { remembered, .. }) if self.take_over(&remembered)? => open(),
            opened => opened,
        }
    }

    /// Has everything compared before anything is published.
    fn distrust(&mut self) {
        self.forget_prepared();
        self.databases.rest();
        self.remembered.in_doubt = true;
        self.remembered.renewed = true;
    }

    /// Lets go of the catalog as it is. It is looked at as a whole when it is opened next.
    pub(super) fn drop_catalog(&mut self) {
        if self.catalog.take().is_some() {
            OPEN_CATALOGS.fetch_sub(1, Ordering::Relaxed);
        }
        self.remembered.left = None;
        self.distrust();
    }

    /// Closes the catalog until there is something to do; the publication stays.
    pub fn rest(&mut self) {
        self.databases.rest();
        let Some(catalog) = self.catalog.take() else { return };
        OPEN_CATALOGS.fetch_sub(1, Ordering::Relaxed);
        self.remembered.left = match catalog.close() {
            Ok(left) => Some(left),
            Err(error) => {
                warn!(repo.name = %self.config.name, "cannot close the catalog of {}: {error}", self.config.name);
                None
            }
        };
    }

    /// Does what a failure asks for: what is damaged is made anew. What has to be looked at then; `None` where nothing
    /// that is remembered is to blame.
    pub(super) fn cure(&mut self, trouble: &RepositoryError) -> Option<Dirty> {
        match trouble {
            RepositoryError::Catalog(error) if error.is_damage() => self.renew(error),
            RepositoryError::Catalog(error) if error.is_of_the_system() && !error.is_no_room() => {
                // Whatever the connection remembers of the failure goes with it.
                self.drop_catalog();
                None
            }
            _ if trouble.is_about_pieces() => match self.read_damaged_again() {
                Ok(places) => places,
                Err(error) if error.is_damage() => self.renew(&error),
                Err(_) => None,
            },
            _ => None,
        }
    }

    /// Makes the catalog anew.
    fn renew(&mut self, error: &CatalogError) -> Option<Dirty> {
        self.drop_catalog();
        let name = &self.config.name;
        match catalog::set_aside(&self.config.state_dir) {
            Ok(()) => {
                warn!(repo.name = %name, "the catalog of {name} is damaged ({}); it is made anew from the tree, and \
                      nothing needs to be done", super::worker::chain(error));
                Some(Dirty::everything())
            }
            // The attempt that follows says why.
            Err(_) => None,
        }
    }

    /// Has the packages read again whose pieces are damaged; `None` where all are whole.
    pub(super) fn read_damaged_again(&mut self) -> Result<Option<Dirty>, CatalogError> {
        let catalog = self.catalog()?;
        let damaged = catalog.damaged_packages()?;
        if damaged.is_empty() {
            return Ok(None);
        }
        for location in &damaged {
            catalog.distrust(location)?;
        }
        catalog.set_published(None)?;
        self.forget_prepared();
        let name = &self.config.name;
        warn!(repo.name = %name, packages = damaged.len(), "pieces that the metadata of {name} is made of are damaged in {}; \
              {} packages are read again, and nothing needs to be done",
              self.config.state_dir.display(), damaged.len());
        Ok(Some(Dirty::all_settled(damaged)))
    }

    /// [`Repository::refresh`], once more where something remembered was damaged. `again`: the places in `batch`.
    pub(super) fn refresh_cured(
        &mut self,
        batch: Batch,
        mut again: Dirty,
        progress: &dyn Progress,
    ) -> Result<Remains, RepositoryError> {
        let mut outcome = self.refresh(batch, progress);
        for _ in 0..CURES {
            let Err(trouble) = &outcome else { break };
            let Some(places) = self.cure(trouble) else { break };
            again.merge(places);
            outcome = self.refresh(Batch { dirty: again.clone(), ..Batch::default() }, progress);
        }
        outcome
    }

    /// [`Repository::refresh_all`], once more where something remembered was damaged.
    pub(super) fn refresh_all_cured(&mut self, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        let mut outcome = self.refresh_all(progress);
        for _ in 0..CURES {
            let Err(trouble) = &outcome else { break };
            if self.cure(trouble).is_none() {
                break;
            }
            outcome = self.refresh_all(progress);
        }
        outcome
    }
}
