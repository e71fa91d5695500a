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

/// How many packages are young at least, where there are as many.
///
/// More than one, so that removing the newest package and adding it again, or a few files with a time
/// in the far future, do not set the whole list in motion.
const FEWEST_YOUNG: usize = 16;

/// How many packages may be young before some of them settle.
const MOST_YOUNG: usize = 64;

/// How many of the newest packages decide about the frontier.
pub const DECIDING: usize = MOST_YOUNG + 1;

/// The longest time that a frontier is the beginning of: 2¹⁵ days, some 90 years.
const LONGEST: u32 = 15;

/// One of the two parts of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    Settled,
    Young,
}

/// Where settled packages end and young ones begin.
///
/// Days (UTC) are taken together by 2, 4, 8 … from 1970 on. The frontier is the beginning of the longest such
/// time that holds the sixteenth-newest file and of which no more than 64 files are, or later ones; or of the day of the
/// sixteenth-newest, however many there are. So in a repository that gets a package now and then, some dozens settle together,
/// and most additions settle none; in a busy one those of a day do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Frontier {
    /// File times (seconds) before this one are settled.
    pub since: i64,
}

impl Frontier {
    /// In a repository of no more than `MOST_YOUNG` packages all are young.
    pub const NONE: Self = Self { since: i64::MIN };

    /// `mtimes`: file times in seconds, at least of the [`DECIDING`] newest packages.
    pub fn of(mut mtimes: Vec<i64>) -> Self {
        if mtimes.len() < DECIDING {
            return Self::NONE;
        }
        let (newer, &mut settles, _) = mtimes.select_nth_unstable_by(DECIDING - 1, |a, b| b.cmp(a));
        let (_, &mut stays, _) = newer.select_nth_unstable_by(FEWEST_YOUNG - 1, |a, b| b.cmp(a));
        let begin = |power: u32| {
            let time = DAY << power;
            stays.div_euclid(time).saturating_mul(time)
        };
        let since = (1..=LONGEST).rev().map(begin).find(|since| settles < *since).unwrap_or_else(|| begin(0));
        Self { since }
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
    fn the_frontier_is_the_day_of_the_sixteenth_newest_where_many_are_of_that_day() {
        let mut times = vec![0; DECIDING];
        times.extend(vec![3 * DAY + 7; FEWEST_YOUNG - 2]);
        // From the future: one file alone does not move the frontier.
        times.push(i64::MAX);
        assert_eq!(Frontier::of(times.clone()).since, 0);
        times.push(3 * DAY + 1);
        assert_eq!(Frontier::of(times).since, 2 * DAY, "days two and three, of which few are");
        let day = [vec![3 * DAY; MOST_YOUNG], vec![2 * DAY + 5; DECIDING]].concat();
        assert_eq!(Frontier::of(day).since, 3 * DAY);
        let more = [vec![3 * DAY; 10 * DECIDING], vec![2 * DAY + 5; DECIDING]].concat();
        assert_eq!(Frontier::of(more).since, 3 * DAY);
        assert_eq!(Frontier::of(vec![i64::MIN; DECIDING]).since, i64::MIN);
        assert_eq!(Frontier::of(vec![-1; DECIDING]).since, -DAY);
    }

    #[test]
    fn in_a_repository_that_gets_few_packages_they_settle_in_dozens() {
        // Three packages in two days, as far as the eye can see.
        let mut times: Vec<i64> = (0..2000).map(|i| i * DAY * 2 / 3).collect();
        assert_eq!(Frontier::of(times[..MOST_YOUNG].to_vec()), Frontier::NONE);
        let mut moved = 0;
        let mut before = Frontier::of(times.clone());
        for i in 2000..3000 {
            times.push(i * DAY * 2 / 3);
            let now = Frontier::of(times.clone());
            assert!(now >= before, "what has settled stays so");
            moved += i32::from(now != before);
            let young = times.iter().filter(|time| now.generation(**time) == Generation::Young).count();
            assert!((FEWEST_YOUNG..=MOST_YOUNG).contains(&young), "{young}");
            before = now;
        }
        assert!((1000 / 48..=1000 / 16).contains(&moved), "{moved}");
    }
}
