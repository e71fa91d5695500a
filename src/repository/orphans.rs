//! Metadata files that a power cut or a lost catalog made nobody's.
//!
//! A file gets its name in `repodata/` after the catalog has noted it, but the catalog does not wait for the disk: a power
//! cut may take the note and leave the file, and nobody would ever remove it. The same becomes of all that was superseded
//! before a catalog was lost. So the first start after the machine's, and the first one with a new catalog, take back what can
//! only be ours: it has a name as we give them, repomd.xml does not name it, and
//!
//! - it is no older than the last publication we know of; or
//! - it carries our mark ([`publish::Place::is_marked`]) with its own name, and repomd.xml carries it, too: where somebody else published
//!   last, what lies beside is theirs to judge.
//!
//! createrepo_c gives names of the same form, so without a mark an older file may be anybody's, and stays.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use tracing::info;

use super::{Repository, RepositoryError};
use crate::publish::{self, PublishError};
use crate::repodata::Repomd;

/// Digits of the shortest checksum that we name files by.
const SHORTEST: usize = 40;

impl Repository {
    /// Has them removed once their grace has passed: somebody may have been told of them just before the cut.
    pub(super) fn take_back_orphans(&mut self) -> Result<(), RepositoryError> {
        let now = self.now();
        let (place, repodata) = (self.place.clone(), self.place.repodata.clone());
        let current = self.place.current()?.and_then(|bytes| publish::parse(&bytes).ok());
        let catalog = self.catalog()?;
        if !catalog.is_first_since_boot()? {
            return Ok(());
        }
        let last = catalog.last_repomd()?.and_then(|bytes| publish::parse(&bytes).ok());
        let since = last.map(|repomd| repomd.revision_number());
        let are_marked = current.is_some() && place.is_marked("repomd.xml");
        let named: BTreeSet<String> = current.iter().flat_map(names).collect();
        let listed = match fs::read_dir(&repodata) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            listed => listed.map_err(|source| PublishError::Read { path: repodata, source })?,
        };
        let mut orphans = Vec::new();
        for entry in listed.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() || !is_as_ours(&name) || named.contains(&name) {
                continue;
            }
            let mtime = u64::try_from(metadata.mtime()).ok();
            let is_young = since.zip(mtime).is_some_and(|(since, mtime)| mtime >= since);
            if is_young || are_marked && place.is_marked(&name) {
                orphans.push((name, metadata.len()));
            }
        }
        // Those that the catalog does know stay as they are.
        catalog.take_back(&orphans, Some(now))?;
        if !orphans.is_empty() {
            let name = &self.config.name;
            info!(repo.name = %name, files = orphans.len(),
                  "{} metadata files of {name} that nothing names go when their grace has ended", orphans.len());
        }
        Ok(())
    }
}

/// The names of the files in `repodata/` that it names.
pub(super) fn names(repomd: &Repomd) -> impl Iterator<Item = String> + '_ {
    let name =
        |href: &str| href.strip_prefix("repodata/").filter(|name| !name.contains('/')).map(str::to_owned);
    repomd.records.iter().filter_map(move |record| name(&record.href))
}

/// `<checksum>-primary.xml.zst`
pub(super) fn is_as_ours(name: &str) -> bool {
    let digits = name.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
    digits >= SHORTEST && name.as_bytes().get(digits) == Some(&b'-')
}
