//! Mends what can be mended: what is remembered is read again, and metadata is made anew.

use std::sync::Arc;
use std::time::SystemTime;

use tracing::info;

use super::{Finding, Report, verify};
use crate::config::RepositoryConfig;
use crate::package::Location;
use crate::repository::{Handle, Progress, Repository, RepositoryError, Ticket};

/// Mends what `report` found in a repository that nobody else holds, and verifies again. Blocking.
///
/// A package whose bytes have rotted cannot be mended: it leaves the metadata, if its own digests say
/// that it is damaged. Foreign files stay.
pub fn repair(config: &RepositoryConfig, report: &Report, progress: &dyn Progress) -> anyhow::Result<Report> {
    let mut repository = Repository::open(config.clone(), Arc::new(SystemTime::now))?;
    repository.mend(&report.findings)?;
    repository.refresh_all_cured(progress)?;
    repository.rest();
    drop(repository);
    verify(config, &(), &|| false, false)
}

impl Handle {
    /// Has the worker mend what `report` found, while the repository is served; done once the ticket has passed.
    pub fn mend(&self, report: &Report) -> Ticket {
        let (ticket, ask) = self.shared.inbox.mend(report.findings.clone());
        self.ask_for_turn(ask);
        ticket
    }
}

impl Repository {
    /// Makes the next refresh read and write again what is wrong. The places it has to read, however young their files are:
    /// what stands for them now is worth nothing.
    pub fn mend(&mut self, findings: &[Finding]) -> Result<Vec<Location>, RepositoryError> {
        if findings.is_empty() {
            return Ok(Vec::new());
        }
        // What is known of the files of before is known of damaged ones.
        self.forget_prepared();
        self.databases.rest();
        if findings.iter().any(|finding| matches!(finding, Finding::Catalog { .. })) {
            // Opened again it is looked at as a whole, and made anew if that is what it needs.
            self.drop_catalog();
        }
        let mut places: Vec<Location> = findings.iter().filter_map(Finding::location).cloned().collect();
        for location in &places {
            self.catalog()?.distrust(location)?;
        }
        let damaged = findings.iter().filter_map(|finding| match finding {
            Finding::Metadata { name, .. } => Some(name.as_str()),
            _ => None,
        });
        let mut any = false;
        for name in damaged {
            any = true;
            // The file's bytes are worth nothing, and in its place a publication puts a good one.
            if name != "repomd.xml" {
                let path = self.place.repodata().join(name);
                let removed = self.place.remove(name);
                removed.map_err(|source| crate::publish::PublishError::Write { path, source })?;
            }
        }
        if any || findings.contains(&Finding::Pieces) {
            let name = &self.config.name;
            info!(repo.name = %name, "making the metadata of {name} anew");
            self.catalog()?.set_published(None)?;
        }
        if findings.contains(&Finding::Pieces)
            && let Some(damaged) = self.read_damaged_again()?
        {
            places.extend(damaged.settled);
        }
        Ok(places)
    }
}
