//! Metadata files that a power cut or a lost catalog made nobody's.
//!
//! A file gets its name in `repodata/` after the catalog has noted it, but the catalog does not wait for the disk: a power
//! cut may take the note and leave the file, and nobody would ever remove it. The same becomes of all that was superseded
//! before a catalog was lost. So every start takes back what can only be ours: it has a name as we give them, the catalog does
//! not know it, and
//!
//! - it carries our mark ([`publish::Place::is_marked`]) with its own name, and repomd.xml carries it, too: where somebody else
//!   published last, what lies beside is theirs to judge; or
//! - it is no older than the last publication we know of, this is the first start after the machine's, and repomd.xml does not
//!   name it.
//!
//! createrepo_c gives names of the same form, so without a mark an older file may be anybody's, and stays. What repomd.xml
//! names is noted as current, so that it goes once it is superseded.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use tracing::info;

use super::{Repository, RepositoryError};
use crate::publish;
use crate::repodata::Repomd;

/// Digits of the shortest checksum that we name files by.
const SHORTEST: usize = 40;

impl Repository {
    /// Has them removed once their grace has passed: somebody may have been told of them just before the cut.
    pub(super) fn take_back_orphans(&mut self) -> Result<(), RepositoryError> {
        let now = self.now();
        let place = self.place.clone();
        let current = self.place.current()?.and_then(|bytes| publish::parse(&bytes).ok());
        let catalog = self.catalog()?;
        let is_first = catalog.is_first_since_boot()?;
        let known: BTreeSet<String> = catalog.metadata_files()?.into_iter().collect();
        let last = catalog.last_repomd()?.and_then(|bytes| publish::parse(&bytes).ok());
        let since = last.map(|repomd| repomd.revision_number());
        let are_marked = current.is_some() && place.is_marked("repomd.xml");
        let named: BTreeSet<String> = current.iter().flat_map(names).collect();
        let (mut orphans, mut current) = (Vec::new(), Vec::new());
        for name in place.names()? {
            let Ok(name) = name.into_string() else { continue };
            if !is_as_ours(&name) || known.contains(&name) {
                continue;
            }
            let Ok(metadata) = place.open_named(&name).and_then(|file| file.metadata()) else { continue };
            let is_named = named.contains(&name);
            let mtime = u64::try_from(metadata.mtime()).ok();
            let is_young = is_first && since.zip(mtime).is_some_and(|(since, mtime)| mtime >= since);
            if is_young && !is_named || are_marked && place.is_marked(&name) {
                let taken = if is_named { &mut current } else { &mut orphans };
                taken.push((name, metadata.len()));
            }
        }
        catalog.take_back(&current, None)?;
        catalog.take_back(&orphans, Some(now))?;
        catalog.note_look_since_boot()?;
        if !orphans.is_empty() {
            let name = &self.config.name;
            info!(repo.name = %name, files = orphans.len(),
                  "{} metadata files of {name} that nothing names go when their grace has ended", orphans.len());
        }
        Ok(())
    }
}

/// The name of a file in `repodata/` that a record names.
pub(super) fn name(href: &str) -> Option<&str> {
    href.strip_prefix("repodata/").filter(|name| !name.contains('/'))
}

/// The names of the files in `repodata/` that it names.
fn names(repomd: &Repomd) -> impl Iterator<Item = String> + '_ {
    repomd.records.iter().filter_map(|record| name(&record.href).map(str::to_owned))
}

/// `<checksum>-primary.xml.zst`
pub(super) fn is_as_ours(name: &str) -> bool {
    let digits = name.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
    digits >= SHORTEST && name.as_bytes().get(digits) == Some(&b'-')
}
