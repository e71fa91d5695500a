//! What a restart finds of batches: some that wait, commits that were interrupted, and what commits have just shown.

use std::io;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::commit::read_moves;
use super::{BatchId, BatchPlace, all};
use crate::beneath::own::unique;
use crate::config::RepositoryConfig;
use crate::package::Location;

/// How the names of lists of what was made visible begin.
pub(super) const SHOWN: &str = ".shown-";

impl BatchPlace {
    /// Ends the commit, and keeps the list of what was made visible after the batch is gone. A rename, for which there is room
    /// on a full disk, too. It need not survive a power cut: no machine starts before all has settled.
    pub(super) fn keep_shown(&self) -> io::Result<()> {
        let Some(all) = all(&self.above)? else { return Ok(()) };
        let batch = self.opened()?;
        // What was shown settles from now on, not from when the commit began.
        batch.read("commit")?.set_modified(SystemTime::now())?;
        batch.rename("commit", &all, format!("{SHOWN}{}", unique()))
    }
}

/// Forgets what commits have shown once all of it has settled; whether any is left.
pub fn forget_shown(config: &RepositoryConfig) -> io::Result<bool> {
    let Some(all) = all(config.written())? else { return Ok(false) };
    let mut left = false;
    for name in all.names()? {
        if !name.to_string_lossy().starts_with(SHOWN) {
            continue;
        }
        // A second more, for file systems that round times.
        let written = all.read(&name)?.metadata()?.modified()?;
        let settled = written + config.settle + Duration::from_secs(1);
        if settled < SystemTime::now() {
            all.remove(&name)?;
        } else {
            left = true;
        }
    }
    Ok(left)
}

/// What was found of batches.
#[derive(Default)]
pub struct Recovered {
    pub waiting: Vec<(BatchId, BatchPlace)>,
    /// What commits have shown that were finished now, or just before the crash. All of it is whole, and is to be taken up
    /// together, however young.
    pub shown: Vec<Location>,
}

/// The batches that wait, after finishing or undoing commits that a crash interrupted and clearing away
/// what is left of those that ended. To be asked before anything looks at the tree.
pub fn recover(config: &RepositoryConfig) -> io::Result<Recovered> {
    let mut found = Recovered::default();
    let waiting = &mut found.waiting;
    let Some(all) = all(config.written())? else { return Ok(found) };
    for name in all.names()? {
        let name = name.to_string_lossy().into_owned();
        let Some(id) = BatchId::parse(&name) else {
            if name.starts_with(".gone-") {
                all.remove_all(&name)?;
            } else if name.starts_with(SHOWN) {
                // One that is cut short is followed by the end of its commit.
                let moves = read_moves(&all, &name).ok().flatten().unwrap_or_default();
                found.shown.extend(moves.into_iter().map(|step| step.location));
            }
            continue;
        };
        let place = BatchPlace::of(config, &id);
        match place.journal()? {
            Some(moves) => {
                let finished = place.finish(config, &moves);
                let repo = &config.name;
                match &finished {
                    Ok(()) => {
                        found.shown.extend(moves.into_iter().map(|step| step.location));
                        info!(repo.name = %repo, batch = %name, "finished the commit of batch {name} in {repo}");
                    }
                    Err(error) => warn!(repo.name = %repo, batch = %name,
                        "the commit of batch {name} in {repo} was interrupted and is undone: {error}"),
                }
                if finished.is_err() {
                    waiting.push((id, place));
                }
            }
            // Uploads that were refused, or a commit that was not cleared away, have left it.
            None if place.list()?.is_empty() => {
                if let Err(error) = place.remove() {
                    let repo = &config.name;
                    warn!(repo.name = %repo, batch = %name, "cannot clear the empty batch {name} of {repo} away: {error}");
                }
            }
            None => waiting.push((id, place)),
        }
    }
    Ok(found)
}
