//! The one order in which packages are published, in all three files.
//!
//! First the *settled* packages by file name, so that versions of one package and the packages of one
//! build stand side by side and compress well; then the *young* ones by file time, so that a package
//! that has just arrived stands last and an append costs an append. Which are young is a function of
//! the tree alone: see [`Frontier`].

use std::cmp::Ordering;

use crate::package::Location;

/// Seconds.
const DAY: i64 = 86_400;

/// How many packages must have come on a day before those of earlier days settle.
///
/// More than one, so that removing the newest package and adding it again, or a few files with a time
/// in the far future, do not set the whole list in motion.
pub const TO_SETTLE: usize = 16;

/// One of the two parts of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    Settled,
    Young,
}

/// Where settled packages end and young ones begin: the start of the day (UTC) of the sixteenth-newest file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontier {
    /// File times (seconds) before this one are settled.
    pub since: i64,
}

impl Frontier {
    /// In a repository of fewer than [`TO_SETTLE`] packages all are young.
    pub const NONE: Self = Self { since: i64::MIN };

    /// `mtimes`: file times in seconds, at least of the [`TO_SETTLE`] newest packages.
    pub fn of(mut mtimes: Vec<i64>) -> Self {
        if mtimes.len() < TO_SETTLE {
            return Self::NONE;
        }
        let (_, nth, _) = mtimes.select_nth_unstable_by(TO_SETTLE - 1, |a, b| b.cmp(a));
        Self { since: nth.div_euclid(DAY).saturating_mul(DAY) }
    }

    pub fn generation(self, mtime: i64) -> Generation {
        if mtime < self.since { Generation::Settled } else { Generation::Young }
    }

    pub fn key(self, mtime: i64, location: Location) -> Key {
        Key { generation: self.generation(mtime), mtime, location }
    }
}

/// A package's place in the order of publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub generation: Generation,
    /// mtime in whole seconds.
    pub mtime: i64,
    pub location: Location,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_name = || self.location.file_name().cmp(other.location.file_name());
        let by_time = || self.mtime.cmp(&other.mtime);
        let by_location = || self.location.cmp(&other.location);
        self.generation.cmp(&other.generation).then_with(|| match self.generation {
            Generation::Settled => by_name().then_with(by_location).then_with(by_time),
            // What was copied in one go has few different times, and stands by name almost as if it were settled.
            Generation::Young => by_time().then_with(by_name).then_with(by_location),
        })
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_packages_stand_by_name_and_young_ones_by_time() {
        let frontier = Frontier { since: 100 };
        let key = |mtime, text: &str| frontier.key(mtime, Location::parse(text).unwrap());
        let order = [
            key(99, "z/a-1.rpm"),
            key(3, "a/b-1.rpm"),
            key(5, "b/b-1.rpm"),
            key(100, "x.rpm"),
            key(101, "a.rpm"),
        ];
        assert!(order.is_sorted());
    }

    #[test]
    fn the_frontier_is_the_day_of_the_sixteenth_newest() {
        assert_eq!(Frontier::of(vec![1; TO_SETTLE - 1]), Frontier::NONE);
        let mut times: Vec<i64> = (0..40).collect();
        times.extend(vec![3 * DAY + 7; TO_SETTLE - 2]);
        // From the future: one file alone does not move the frontier.
        times.push(i64::MAX);
        assert_eq!(Frontier::of(times.clone()).since, 0);
        times.push(3 * DAY + 1);
        assert_eq!(Frontier::of(times).since, 3 * DAY);
        assert_eq!(Frontier::of(vec![i64::MIN; TO_SETTLE]).since, i64::MIN);
        assert_eq!(Frontier::of(vec![-1; TO_SETTLE]).since, -DAY);
    }
}
