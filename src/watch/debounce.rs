//! When to tell what was seen: a pure state machine, changes with their time in, [`Dirty`] out.
//!
//! The first change after a quiet time goes out almost at once. While a burst goes on, batches grow
//! with its age, so that ten thousand files copied in make a dozen batches and not hundreds.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::package::Location;
use crate::tree::Dirty;

/// A batch goes out once it was quiet for this long; a tenth of the burst's age, within these bounds.
const QUIET: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(250));
/// A batch waits no longer than this; half of the burst's age, within these bounds.
const LONGEST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The same of batches in which names have only vanished: where a whole tree is being removed, nothing is to be published into it.
const QUIET_GONE: Duration = Duration::from_millis(150);
const LONGEST_GONE: Duration = Duration::from_secs(10);
/// Changes further apart belong to different bursts.
const BURST_ENDS: Duration = Duration::from_millis(300);
/// Files being written are gone through no more often than this.
const CHECK_EVERY: Duration = Duration::from_millis(20);

/// One thing that happened in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A file is complete: closed, moved in, linked.
    Complete(Location),
    /// A name, with all below it, is no longer there.
    Vanished(Location),
    /// A file was created or written to, and its writer may go on.
    Writing(Location),
    /// Only what stat says of a file changed: rights, times, links.
    Touched(Location),
    /// A directory is there in which anything may lie already.
    Appeared(Location),
    /// Nobody knows what happened.
    Everything,
}

impl Change {
    /// Where it happened; `None` when that is not known.
    pub fn place(&self) -> Option<&Location> {
        match self {
            Self::Complete(place)
            | Self::Vanished(place)
            | Self::Writing(place)
            | Self::Touched(place)
            | Self::Appeared(place) => Some(place),
            Self::Everything => None,
        }
    }

    /// The same change, somewhere else.
    pub fn at(&self, place: Location) -> Self {
        match self {
            Self::Complete(_) => Self::Complete(place),
            Self::Vanished(_) => Self::Vanished(place),
            Self::Writing(_) => Self::Writing(place),
            Self::Touched(_) => Self::Touched(place),
            Self::Appeared(_) => Self::Appeared(place),
            Self::Everything => Self::Everything,
        }
    }
}

/// A file somebody is writing.
#[derive(Debug)]
struct Writing {
    since: Instant,
    last: Instant,
}

/// A batch in the making.
#[derive(Debug)]
struct Batch {
    dirty: Dirty,
    since: Instant,
    last: Instant,
    /// How long the burst had been going on when the batch began.
    age: Duration,
    /// Nothing has come or changed.
    only_gone: bool,
}

#[derive(Debug)]
pub(super) struct Debounce {
    settle: Duration,
    settle_max: Duration,
    writing: HashMap<Location, Writing>,
    /// No file in `writing` is due before this.
    check: Option<Instant>,
    batch: Option<Batch>,
    /// First and last change of the burst.
    burst: Option<(Instant, Instant)>,
}

impl Debounce {
    pub fn new(settle: Duration, settle_max: Duration) -> Self {
        Self { settle, settle_max, writing: HashMap::new(), check: None, batch: None, burst: None }
    }

    /// Takes note of a change. Times must not go back.
    pub fn note(&mut self, change: Change, now: Instant) {
        let is_gone = matches!(change, Change::Vanished(_));
        match change {
            Change::Complete(location) | Change::Vanished(location) => self.settled(location, now),
            Change::Touched(location) if !self.writing.contains_key(&location) => self.settled(location, now),
            Change::Writing(location) | Change::Touched(location) => self.written(location, now),
            Change::Appeared(location) => {
                self.batch(now).unsure.insert(location);
            }
            Change::Everything => self.batch(now).everything = true,
        }
        if let Some(batch) = &mut self.batch {
            batch.only_gone &= is_gone;
        }
    }

    /// When [`Self::take`] is to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let batch = self.batch.as_ref().map(Batch::deadline);
        [batch, self.check].into_iter().flatten().min()
    }

    /// The batch that is due at `now`.
    pub fn take(&mut self, now: Instant) -> Option<Dirty> {
        if self.check.is_some_and(|check| check <= now) {
            self.release(now);
        }
        let batch = self.batch.take_if(|batch| batch.deadline() <= now)?;
        let mut dirty = batch.dirty;
        if dirty.everything {
            dirty.unsure.clear();
        }
        Some(dirty)
    }

    fn settled(&mut self, location: Location, now: Instant) {
        self.writing.remove(&location);
        self.batch(now).settled.insert(location);
    }

    fn written(&mut self, location: Location, now: Instant) {
        // Closed and opened again before anybody was told: not complete after all.
        if let Some(batch) = &mut self.batch {
            batch.dirty.settled.remove(&location);
            if batch.dirty.is_empty() {
                self.batch = None;
            }
        }
        let due = now + self.settle.min(self.settle_max);
        self.check = Some(self.check.map_or(due, |check| check.min(due)));
        self.writing.entry(location).or_insert(Writing { since: now, last: now }).last = now;
    }

    /// Moves files into the batch that were quiet for long enough, or were written for too long.
    fn release(&mut self, now: Instant) {
        let (settle, settle_max) = (self.settle, self.settle_max);
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        self.writing.retain(|location, writing| {
            if writing.last + settle <= now {
                due.push(location.clone());
                return false;
            }
            if writing.since + settle_max <= now {
                due.push(location.clone());
                writing.since = now;
            }
            let then = (writing.last + settle).min(writing.since + settle_max);
            next = Some(next.map_or(then, |next| next.min(then)));
            true
        });
        self.check = next.map(|next| next.max(now + CHECK_EVERY));
        if !due.is_empty() {
            self.batch(now).unsure.extend(due);
            self.batch.iter_mut().for_each(|batch| batch.only_gone = false);
        }
    }

    fn batch(&mut self, now: Instant) -> &mut Dirty {
        let start = match self.burst {
            Some((start, last)) if now.saturating_duration_since(last) <= BURST_ENDS => start,
            _ => now,
        };
        self.burst = Some((start, now));
        let age = now.saturating_duration_since(start);
        let batch = self.batch.get_or_insert_with(|| Batch {
            dirty: Dirty::default(),
            since: now,
            last: now,
            age,
            only_gone: true,
        });
        batch.last = now;
        &mut batch.dirty
    }
}

impl Batch {
    fn deadline(&self) -> Instant {
        if self.only_gone {
            return (self.last + QUIET_GONE).min(self.since + LONGEST_GONE);
        }
        let quiet = (self.age / 10).clamp(QUIET.0, QUIET.1);
        let longest = (self.age / 2).clamp(LONGEST.0, LONGEST.1);
        (self.last + quiet).min(self.since + longest)
    }
}
