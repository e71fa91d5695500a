//! A tree that is being removed is left alone: what would be made in it meanwhile keeps `rm -r` from removing it.
//!
//! Clients miss nothing: repomd.xml is served from memory, and the files that it names are made of their pieces.

use std::time::{Duration, Instant};

use tracing::warn;

use super::lock::TreeLock;
use super::{Repository, RepositoryError};
use crate::publish;
use crate::scan;
use crate::tree::Dirty;

/// So long nothing else of ours and no package vanishes where somebody removed metadata only.
const QUIET: Duration = Duration::from_millis(250);
/// The same where packages are missing, too.
const QUIET_WITH_PACKAGES: Duration = Duration::from_secs(1);
/// Whoever still removes packages after this time does not remove the tree.
const LONGEST: Duration = Duration::from_secs(60);

/// Something of ours is missing in the tree.
#[derive(Debug, Clone, Copy)]
pub struct Vanished {
    since: Instant,
    /// When something more was found missing.
    last: Instant,
    /// Packages that are not there any more.
    missing: usize,
}

impl Vanished {
    /// How long to wait before anything is made; `None` when it is time.
    fn waits(&mut self, now: Instant, missing: usize, all_of_ours: bool) -> Option<Duration> {
        if missing > self.missing {
            (self.missing, self.last) = (missing, now);
        }
        let quiet = if missing > 0 || all_of_ours { QUIET_WITH_PACKAGES } else { QUIET };
        let until = (self.last + quiet).min(self.since + LONGEST);
        // It is looked at again before then: whether more is missing is what tells.
        until.checked_duration_since(now).filter(|rest| !rest.is_zero()).map(|rest| rest.min(QUIET))
    }
}

impl Repository {
    /// Whether the tree is perhaps being removed, and when to look again: metadata or the lock have vanished, and nothing is
    /// made before no more goes. What stays away after that is made again.
    ///
    /// `metadata`: whether all files that repomd.xml names are looked for.
    pub(super) fn is_being_removed(&mut self, metadata: bool) -> Result<Option<Duration>, RepositoryError> {
        if !self.has_its_root() {
            self.vanished = None;
            return Ok(None);
        }
        let is_locked = self.lock.as_ref().is_none_or(|lock| lock.is_in_place(self.config.written()));
        let is_shown = !self.is_metadata_missing(metadata || self.vanished.is_some());
        if is_locked && is_shown {
            self.vanished = None;
            return Ok(None);
        }
        let path = self.config.path.clone();
        let known = self.catalog()?.stamps(&Dirty::everything())?;
        let missing = known.iter().filter(|(place, _)| matches!(scan::stamp(&path, place), Ok(None))).count();
        let now = Instant::now();
        let vanished = self.vanished.get_or_insert(Vanished { since: now, last: now, missing: 0 });
        let waits = vanished.waits(now, missing, !is_locked && !is_shown);
        if waits.is_some() {
            return Ok(waits);
        }
        self.vanished = None;
        if !is_locked {
            let private = self.config.private_dir();
            warn!(repo.name = %self.config.name, "{} was taken away; it is made again", private.display());
            self.lock = Some(TreeLock::take(self.config.written())?);
        }
        Ok(None)
    }

    /// Whether the tree is the one that was looked at last. That it is gone, or another, is told where it is looked at.
    pub(super) fn has_its_root(&self) -> bool {
        scan::root_id(&self.config.path).ok() == Some(self.root)
    }

    /// Whether some of what was published is not there, and nothing else took its place. `all`: not only repomd.xml.
    fn is_metadata_missing(&self, all: bool) -> bool {
        let Some(published) = self.published.as_ref() else { return false };
        if !all {
            return !self.place.is_there();
        }
        match self.place.current() {
            Ok(None) => true,
            Ok(Some(bytes)) if bytes == *published.repomd => {
                let repomd = publish::parse(&published.repomd);
                repomd.is_ok_and(|repomd| !self.place.is_whole(&repomd))
            }
            Ok(Some(_)) | Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_while_packages_vanish_and_metadata_alone_come_back_soon() {
        let start = Instant::now();
        let begun = Vanished { since: start, last: start, missing: 0 };
        let mut alone = begun;
        assert_eq!(alone.waits(start, 0, false), Some(QUIET));
        assert_eq!(alone.waits(start + QUIET, 0, false), None);
        let mut tree = begun;
        let mut now = start;
        for missing in 1..20 {
            assert_eq!(tree.waits(now, missing, false), Some(QUIET), "one more is missing");
            now += QUIET_WITH_PACKAGES - QUIET / 2;
            assert_eq!(tree.waits(now, missing, false), Some(QUIET / 2));
        }
        assert_eq!(tree.waits(now + QUIET_WITH_PACKAGES, 19, false), None);
        let mut endless = begun;
        assert_eq!(endless.waits(start + LONGEST, 1_000_000, true), None);
    }
}
