//! Files and directories that could not be read for now, for what the system said: told, and tried again until it works.
//!
//! Nothing of it is remembered beyond this process: the catalog has what was known before, or nothing, so that the first
//! look of the next one tries again anyway.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::package::Location;
use crate::tree::{Dirty, Found, Unread};

/// Waits between two attempts, doubled each time.
const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(60);
/// After so many attempts what was on the move is worth a line in the log.
const ATTEMPTS_UNSAID: u32 = 4;
/// The most places that are known by name; with more, everything is looked at again.
const MOST: usize = 10_000;
/// The most lines in the log about one look.
const MOST_SAID: usize = 20;

/// What waits for another attempt.
#[derive(Debug, Default)]
pub struct Waiting {
    places: BTreeMap<String, Place>,
    /// When everything is looked at, for there were more; and how often that was.
    everything: Option<(Instant, u32)>,
}

#[derive(Debug)]
struct Place {
    reason: String,
    attempts: u32,
    at: Instant,
    was_said: bool,
}

impl Waiting {
    /// What is due at `now`. It stays until a look has settled it.
    pub fn due(&mut self, now: Instant) -> Dirty {
        let mut dirty = Dirty::default();
        for (path, place) in self.places.iter_mut().filter(|(_, place)| place.at <= now) {
            dirty.merge(place_of(path));
            // Should that look fail, this is its next attempt.
            place.at = now + LAST;
        }
        if let Some((at, _)) = self.everything.as_mut().filter(|(at, _)| *at <= now) {
            dirty.everything = true;
            *at = now + LAST;
        }
        dirty
    }

    /// When something is due next.
    pub fn next(&self) -> Option<Instant> {
        self.places.values().map(|place| place.at).chain(self.everything.map(|(at, _)| at)).min()
    }

    /// Takes note of a look at `looked` after which `failed` could not be read. `open`: what the look found to be read
    /// still.
    pub fn note(
        &mut self,
        repository: &str,
        looked: &Dirty,
        failed: Vec<Unread>,
        open: &[Found],
        now: Instant,
    ) {
        if self.places.is_empty() && self.everything.is_none() && failed.is_empty() {
            return;
        }
        let mut before = std::mem::take(&mut self.places);
        let mut said = 0;
        let more = failed.len().saturating_sub(MOST);
        for Unread { path, reason, moving } in failed.into_iter().take(MOST) {
            let attempts = before.remove(&path).map_or((0, false), |place| (place.attempts, place.was_said));
            let (attempts, mut was_said) = (attempts.0 + 1, attempts.1);
            if !was_said && (!moving || attempts > ATTEMPTS_UNSAID) {
                was_said = true;
                said += 1;
                if said <= MOST_SAID {
                    warn!(repo.name = %repository, location = %path,
                          "{repository} cannot read {path:?} for now: {reason}; it is tried again");
                }
            } else {
                debug!(repo.name = %repository, location = %path, attempts, "{repository} cannot read {path:?}: {reason}");
            }
            self.places.insert(path, Place { reason, attempts, at: now + wait(attempts), was_said });
        }
        if said > MOST_SAID {
            let more = said - MOST_SAID;
            warn!(repo.name = %repository, "{repository} cannot read {more} further files; the status names them");
        }
        if looked.everything {
            let attempts = self.everything.take().map_or(0, |(_, attempts)| attempts) + 1;
            self.everything = (more > 0).then(|| (now + wait(attempts), attempts));
        } else if more > 0 && self.everything.is_none() {
            self.everything = Some((now + FIRST, 0));
        }
        let mut read_again = 0;
        for (path, place) in before {
            if !covers(looked, &path) || open.iter().any(|found| found.location.as_str() == path) {
                self.places.insert(path, place);
            } else if place.was_said {
                read_again += 1;
                if read_again <= MOST_SAID {
                    info!(repo.name = %repository, location = %path,
                          "nothing keeps {repository} from reading {path:?} any more");
                }
            }
        }
    }

    /// What waits: `(path, reason)`.
    pub fn list(&self) -> Vec<(String, String)> {
        self.places.iter().map(|(path, place)| (path.clone(), place.reason.clone())).collect()
    }
}

fn wait(attempts: u32) -> Duration {
    (FIRST * 2u32.saturating_pow(attempts.saturating_sub(1).min(20))).min(LAST)
}

/// What is to be looked at for a path: itself, or what lies nearest above it and can be named. A file there may be
/// written to still.
fn place_of(path: &str) -> Dirty {
    upwards(path).next().map_or_else(Dirty::everything, Dirty::unsure)
}

/// The path, and those above it, the nearest first.
fn upwards(path: &str) -> impl Iterator<Item = Location> {
    let above = std::iter::successors(Some(path), |path| path.rsplit_once('/').map(|(above, _)| above));
    above.filter_map(|path| Location::parse(path).ok())
}

fn covers(looked: &Dirty, path: &str) -> bool {
    looked.everything || upwards(path).any(|at| looked.settled.contains(&at) || looked.unsure.contains(&at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unread(path: &str) -> Unread {
        Unread { path: path.into(), reason: "I/O error".into(), moving: false }
    }

    fn paths(dirty: &Dirty) -> Vec<&str> {
        dirty.unsure.iter().map(Location::as_str).collect()
    }

    #[test]
    fn what_cannot_be_read_is_tried_sooner_and_later_until_it_works() {
        let (mut waiting, mut now) = (Waiting::default(), Instant::now());
        let mut looked = Dirty::everything();
        let mut waits = Vec::new();
        for _ in 0..12 {
            waiting.note("rpm", &looked, vec![unread("a/b.rpm")], &[], now);
            assert!(waiting.due(now).is_empty(), "not at once");
            let next = waiting.next().unwrap();
            waits.push(next - now);
            now = next;
            looked = waiting.due(now);
            assert_eq!(paths(&looked), ["a/b.rpm"]);
            // The look at it may fail as a whole.
            assert_eq!(waiting.next(), Some(now + LAST));
        }
        assert_eq!((waits[0], waits[1], waits[11]), (FIRST, FIRST * 2, LAST));
        waiting.note("rpm", &Dirty::unsure(Location::parse("c").unwrap()), Vec::new(), &[], now);
        assert_eq!(waiting.list(), [("a/b.rpm".to_owned(), "I/O error".to_owned())], "nobody looked there");
        waiting.note("rpm", &Dirty::unsure(Location::parse("a").unwrap()), Vec::new(), &[], now);
        assert_eq!((waiting.list().len(), waiting.next()), (0, None));
    }

    #[test]
    fn the_root_and_what_has_no_name_is_looked_at_from_above() {
        assert_eq!(place_of(""), Dirty::everything());
        assert_eq!(place_of("a/../b"), Dirty::unsure(Location::parse("a").unwrap()));
    }

    #[test]
    fn what_is_known_by_name_is_bounded() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let many = |count: usize| (0..count).map(|i| unread(&format!("{i}.rpm"))).collect();
        waiting.note("rpm", &Dirty::everything(), many(MOST + 1), &[], now);
        assert_eq!(waiting.list().len(), MOST);
        assert!(waiting.due(waiting.next().unwrap()).everything);
        waiting.note("rpm", &Dirty::everything(), Vec::new(), &[], now);
        assert_eq!(waiting.next(), None);
    }
}
