//! What a restart finds of batches: some that wait, commits that were interrupted, and what commits have just shown.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use super::commit::read_moves;
use super::{BatchId, BatchPlace, entries};
use crate::config::RepositoryConfig;
use crate::incoming::temporary::unique;
use crate::package::Location;

/// How the names of lists of what was made visible begin.
pub(super) const SHOWN: &str = ".shown-";

impl BatchPlace {
    /// Keeps the list of what was made visible after the batch is gone. It need not survive a power cut: no machine starts
    /// before all has settled.
    pub(super) fn keep_shown(&self) -> io::Result<()> {
        let shown = self.directory.with_file_name(format!("{SHOWN}{}", unique()));
        fs::copy(self.directory.join("commit"), shown).map(drop)
    }
}

/// Forgets what commits have shown once all of it has settled; whether any is left.
pub fn forget_shown(config: &RepositoryConfig) -> io::Result<bool> {
    let mut left = false;
    for entry in entries(config)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(SHOWN) {
            continue;
        }
        // A second more, for file systems that round times.
        let settled = entry.metadata()?.modified()? + config.settle + Duration::from_secs(1);
        if settled < SystemTime::now() {
            fs::remove_file(entry.path())?;
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
    for entry in entries(config)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = BatchId::parse(&name) else {
            if name.starts_with(".gone-") {
                fs::remove_dir_all(&path)?;
            } else if name.starts_with(SHOWN) {
                // One that is cut short is followed by the end of its commit.
                let moves = read_moves(&path).ok().flatten().unwrap_or_default();
                found.shown.extend(moves.into_iter().map(|step| step.location));
            }
            continue;
        };
        let place = BatchPlace { directory: path };
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
            None => waiting.push((id, place)),
        }
    }
    Ok(found)
}
