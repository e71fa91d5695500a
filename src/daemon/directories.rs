//! Hears of changes in some directories: told by inotify, or seen by a look now and then where that cannot be had.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::news::{News, Teller};

/// How often is looked where nobody tells of changes: inotify has few instances for all programs of a user.
const LOOK: Duration = Duration::from_secs(10);

/// Which changes count.
type Filter = Arc<dyn Fn(&Event) -> bool + Send + Sync>;

/// The watch over some directories, but not what is below them.
pub struct DirectoryWatch {
    /// What lies there, for the log.
    what: &'static str,
    counts: Filter,
    /// Several files make one change: they are told of together once all has been quiet for this long.
    quiet: Duration,
    /// There once there are directories.
    watcher: Option<RecommendedWatcher>,
    tell: Teller,
    news: News,
    wanted: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
    /// What was seen last, while some changes would not be heard of; else nobody looks.
    seen: Option<Vec<Stamp>>,
    next_look: Instant,
    every: Duration,
    /// Said already.
    told: Option<String>,
}

impl DirectoryWatch {
    /// Watches nothing yet. `counts` says which changes of a directory's entries are told.
    pub fn new(
        what: &'static str,
        quiet: Duration,
        counts: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (tell, news) = News::new();
        Self {
            what,
            counts: Arc::new(counts),
            quiet,
            watcher: None,
            tell,
            news,
            wanted: BTreeSet::new(),
            watched: BTreeSet::new(),
            seen: None,
            next_look: Instant::now(),
            every: LOOK,
            told: None,
        }
    }

    /// Watches these directories, and no others, from now on; those that are missing once they are there.
    pub fn follow(&mut self, wanted: BTreeSet<PathBuf>) {
        let wanted_before = std::mem::replace(&mut self.wanted, wanted);
        let watched_before = std::mem::take(&mut self.watched);
        for gone in watched_before.difference(&self.wanted) {
            if let Some(watcher) = &mut self.watcher {
                // A directory that was removed has lost its watch already.
                let _ = watcher.unwatch(gone);
            }
        }
        self.place();
        if !self.wanted.is_subset(&wanted_before) || !self.watched.is_subset(&watched_before) {
            // They were read before they were watched or looked at, and may have changed in between.
            let _ = self.tell.send(());
        }
    }

    /// Ends when something changed and all has been quiet for a moment. What is read after it is not older than the
    /// watches. May be dropped and called again.
    pub async fn changed(&mut self) {
        while let Some(seen) = &self.seen {
            let heard = timeout_at(self.next_look, self.news.quiet_for(self.quiet)).await;
            if heard.is_ok() || stamps(&self.wanted) != *seen {
                return self.place();
            }
            self.next_look = Instant::now() + self.every;
        }
        self.news.quiet_for(self.quiet).await;
        self.place();
    }

    /// Places a watch on every directory that is there. Placing one again costs nothing, and the directory may have
    /// been made anew.
    fn place(&mut self) {
        if self.watcher.is_none() && !self.wanted.is_empty() {
            self.watcher = self.watcher();
        }
        let mut trouble = None;
        self.watched.clear();
        for directory in self.wanted.iter().filter(|directory| directory.is_dir()) {
            let Some(watcher) = &mut self.watcher else { break };
            match watcher.watch(directory, RecursiveMode::NonRecursive) {
                Ok(()) => _ = self.watched.insert(directory.clone()),
                Err(error) => {
                    trouble = Some(format!("{} for {} ({error})", directory.display(), self.what));
                }
            }
        }
        // One that is missing is heard of by its parent.
        let is_heard = |directory: &PathBuf| {
            let watched = |directory: &Path| self.watched.contains(directory);
            watched(directory) || (!directory.is_dir() && directory.parent().is_some_and(watched))
        };
        let is_deaf = !self.wanted.iter().all(is_heard);
        self.seen = is_deaf.then(|| stamps(&self.wanted));
        self.next_look = Instant::now() + self.every;
        if self.watcher.is_some() {
            self.say(trouble);
        }
    }

    fn watcher(&mut self) -> Option<RecommendedWatcher> {
        let (tell, counts) = (self.tell.clone(), Arc::clone(&self.counts));
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let is_news = |event: Event| event.need_rescan() || (!is_read_only(event.kind) && counts(&event));
            if event.is_ok_and(is_news) {
                // Nobody listens any more while the daemon stops.
                let _ = tell.send(());
            }
        });
        watcher.inspect_err(|error| self.say(Some(format!("{} ({error})", self.what)))).ok()
    }

    /// Warns of what cannot be watched, once.
    fn say(&mut self, trouble: Option<String>) {
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != self.told) {
            warn!("cannot watch {trouble}; looked at every {} s instead", self.every.as_secs());
        }
        self.told = trouble;
    }
}

fn is_read_only(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// What tells one state of a file or directory from another.
type Stamp = (PathBuf, u64, i64, i64, u64);

/// The stamps of these directories and of all files in them.
fn stamps(directories: &BTreeSet<PathBuf>) -> Vec<Stamp> {
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let entries = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let stamp = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        Some((path, metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    };
    let mut stamps: Vec<Stamp> = directories.iter().cloned().chain(entries).filter_map(stamp).collect();
    stamps.sort();
    stamps
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(30);
    const QUIET: Duration = Duration::from_millis(20);

    fn watch() -> DirectoryWatch {
        DirectoryWatch::new("the files", QUIET, |_| true)
    }

    async fn is_told(watch: &mut DirectoryWatch) -> bool {
        timeout(10 * QUIET, watch.changed()).await.is_ok()
    }

    #[tokio::test]
    async fn where_nothing_can_be_watched_it_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        // As where no more instances of inotify are to be had: one that is not there, below one that is not watched.
        let directory = place.path().join("keys");
        let mut watch = watch();
        watch.every = QUIET;
        watch.follow([directory.clone()].into());
        // It may have changed since it was read, also where no watch can be placed.
        timeout(SOON, watch.changed()).await.unwrap();
        watch.follow([directory.clone()].into());
        assert!(!is_told(&mut watch).await, "nothing has changed");
        fs::create_dir(&directory).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        assert!(watch.seen.is_none(), "it can be watched now");
        watch.watcher = None;
        watch.watched.clear();
        watch.seen = Some(stamps(&watch.wanted));
        fs::write(directory.join("a.asc"), "").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        assert!(!is_told(&mut watch).await, "it is told once");
    }

    #[tokio::test]
    async fn a_directory_that_is_made_anew_is_watched_anew() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("keys");
        fs::create_dir(&directory).unwrap();
        let mut watch = watch();
        watch.follow([place.path().to_owned(), directory.clone()].into());
        // It may have changed since it was read.
        timeout(SOON, watch.changed()).await.unwrap();
        assert!(!is_told(&mut watch).await);
        fs::remove_dir(&directory).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::create_dir(&directory).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        while is_told(&mut watch).await {}
        fs::write(directory.join("a.asc"), "").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::read(directory.join("a.asc")).unwrap();
        while is_told(&mut watch).await {}
        fs::read(directory.join("a.asc")).unwrap();
        assert!(!is_told(&mut watch).await, "reading is no change");
    }
}
