//! One watched tree: its rules, its timers, and what is to be told of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::debounce::{Change, Debounce};
use super::ground::Ground;
use super::links::Links;
use super::place::target;
use super::{Means, Pace, Seen, Sink, WatchRules};
use crate::package::Location;

/// A poll takes at most this part of the time.
const POLL_SHARE: u32 = 20;

/// The longest wait before watches are placed again, in times of [`Pace::retry`].
const MOST_WAITS: u32 = 120;

/// Longer than any daemon runs, and short enough to be added to a time.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

pub(super) struct Tree {
    pub ground: Ground,
    pub rules: WatchRules,
    pub links: Links,
    pub debounce: Debounce,
    /// Watches are to be placed anew before the next full comparison is asked for.
    pub replace: bool,
    /// repomd.xml changed and the sink does not know.
    pub metadata: bool,
    sink: Sink,
    pace: Pace,
    means: Option<Means>,
    /// How long a full comparison takes.
    took: Duration,
    rescan: Instant,
    /// When to compare everything because of [`Means::Polling`], or to look for a missing root.
    again: Option<Instant>,
    /// When watches are placed again that could not be placed, and how often that was.
    place_again: Option<Instant>,
    attempts: u32,
}

impl Tree {
    pub fn new(
        root: PathBuf,
        repodata: PathBuf,
        mut rules: WatchRules,
        sink: Sink,
        pace: Pace,
        now: Instant,
    ) -> Self {
        rules.settle = rules.settle.min(FOREVER);
        rules.settle_max = rules.settle_max.min(FOREVER);
        rules.rescan = rules.rescan.clamp(pace.poll.min(FOREVER), FOREVER);
        // Trees added in one second must not all be compared in the same second of every hour.
        let mut hasher = DefaultHasher::new();
        root.hash(&mut hasher);
        let part = f64::from(hasher.finish() as u32) / f64::from(u32::MAX);
        let rescan = now + rules.rescan.mul_f64(0.5 + 0.5 * part);
        Self {
            ground: Ground::new(root, repodata, rules.symlinks),
            debounce: Debounce::new(rules.settle, rules.settle_max),
            rules,
            links: Links::default(),
            replace: true,
            metadata: false,
            sink,
            pace,
            means: None,
            took: Duration::ZERO,
            rescan,
            again: None,
            place_again: None,
            attempts: 0,
        }
    }

    /// Takes note of whether all watches stand; has them placed again soon where they do not, later each time.
    pub fn are_placed(&mut self, all: bool, now: Instant) {
        if all {
            (self.place_again, self.attempts) = (None, 0);
        } else {
            let wait = (self.pace.retry / 4).saturating_mul(2u32.saturating_pow(self.attempts));
            self.attempts = (self.attempts + 1).min(20);
            self.place_again = Some(now + wait.min(self.pace.retry.saturating_mul(MOST_WAITS)));
        }
    }

    pub fn root(&self) -> &Path {
        &self.ground.root
    }

    /// Whether what happens to a file of this name concerns a package or additional metadata.
    pub fn matters(&self, location: &Location) -> bool {
        location.names_a_package()
            || self.links.lead_to(location)
            || self.rules.additional.kind_of(location).is_some()
    }

    /// Takes note of a change, also for the links that lead to it.
    pub fn note(&mut self, change: Change, now: Instant) {
        if let Some(place) = change.place() {
            for link in self.links.to(place) {
                // Through what changed it may lead somewhere else than before.
                if !matches!(change, Change::Writing(_) | Change::Touched(_))
                    && let Some(target) = target(&self.ground, &link.under(&self.ground.root))
                {
                    self.links.remember(target, link.as_str());
                }
                self.debounce.note(change.at(link), now);
            }
        }
        self.debounce.note(change, now);
    }

    /// Everything is to be compared, and the watches placed anew before.
    pub fn start_over(&mut self, now: Instant) {
        self.replace = true;
        self.note(Change::Everything, now);
    }

    /// When this tree wants something done next.
    pub fn deadline(&self) -> Instant {
        let debounce = self.debounce.deadline().unwrap_or(self.rescan);
        let later = [self.again, self.place_again].into_iter().flatten().min();
        self.rescan.min(debounce).min(later.unwrap_or(self.rescan))
    }

    /// Lets the timers run out that are due.
    pub fn tick(&mut self, now: Instant) {
        if self.rescan <= now {
            // Not from the due time on: after a suspend there is nothing to catch up on.
            self.rescan = now + self.rules.rescan;
            self.start_over(now);
        }
        if self.place_again.take_if(|at| *at <= now).is_some() {
            self.start_over(now);
        }
        if self.again.is_some_and(|again| again <= now) {
            match self.means {
                Some(Means::Missing { .. }) if !self.root().is_dir() => {
                    self.again = Some(now + self.pace.retry);
                }
                Some(Means::Missing { .. }) => {
                    self.again = Some(now + self.pace.retry);
                    self.start_over(now);
                }
                _ => {
                    self.again = Some(now + self.poll_interval());
                    self.note(Change::Everything, now);
                }
            }
        }
    }

    /// Says how long a full comparison took.
    pub fn compared(&mut self, took: Duration, now: Instant) {
        self.took = took;
        if let Some(Means::Polling { .. }) = self.means {
            self.again = Some(now + self.poll_interval());
        }
    }

    pub fn set_means(&mut self, means: Means, now: Instant) {
        self.again = match means {
            Means::Inotify => None,
            Means::Polling { .. } => Some(now + self.poll_interval()),
            Means::Missing { .. } => Some(now + self.pace.retry),
        };
        if self.means.as_ref() == Some(&means) {
            return;
        }
        let root = self.root().display();
        match &means {
            Means::Inotify if self.means.is_some() => info!("{root} is watched again"),
            Means::Inotify => {}
            // Where the tree lies is somebody's choice; that watches ran out is not.
            Means::Polling { why } if self.ground.is_far() => {
                info!("{root} is compared every {:?} or so: {why}", self.poll_interval());
            }
            Means::Polling { why } => {
                warn!("{root} is compared every {:?} or so: {why}", self.poll_interval());
            }
            Means::Missing { why } => warn!("{root} cannot be watched: {why}"),
        }
        self.means = Some(means.clone());
        self.tell(Seen::Watching(means));
    }

    pub fn tell(&self, seen: Seen) {
        // One repository's bug must not end the watch over all.
        if catch_unwind(AssertUnwindSafe(|| (self.sink)(seen))).is_err() {
            error!(
                "the repository at {} failed to hear what was seen in it; this is a bug",
                self.root().display()
            );
        }
    }

    fn poll_interval(&self) -> Duration {
        self.took.saturating_mul(POLL_SHARE).clamp(self.pace.poll, FOREVER)
    }
}
