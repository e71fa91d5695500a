//! Notices that keys changed: those that sign, and those whose signatures are taken.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::news::{News, Teller};
use crate::config::{RepositoryConfig, SignConfig};

/// Several files make one change.
const QUIET: Duration = Duration::from_millis(300);

/// The files and directories of keys that a repository names.
pub fn of(config: &RepositoryConfig) -> Vec<&Path> {
    let mut named: Vec<&Path> = Vec::new();
    match &config.sign {
        None => {}
        Some(SignConfig::Key { key, passphrase }) => {
            named.push(key);
            named.extend(passphrase.as_deref());
        }
        Some(SignConfig::Command { public_key, .. }) => named.push(public_key),
    }
    named.extend(config.keyring.as_deref());
    named
}

/// Hears of changes to the keys of all repositories.
pub struct KeyWatch {
    /// There once there are keys: inotify has few instances for all programs of a user.
    watcher: Option<RecommendedWatcher>,
    tell: Teller,
    watched: BTreeSet<PathBuf>,
    news: News,
}

impl KeyWatch {
    /// Where they cannot be watched, SIGHUP still has them read again.
    pub fn start(repositories: &[RepositoryConfig]) -> Self {
        let (tell, news) = News::new();
        let mut this = Self { watcher: None, tell, watched: BTreeSet::new(), news };
        this.follow(repositories);
        this
    }

    /// Watches the keys of these repositories from now on.
    pub fn follow(&mut self, repositories: &[RepositoryConfig]) {
        let mut wanted = BTreeSet::new();
        for path in repositories.iter().flat_map(of) {
            // A file is replaced by another of its name, so its directory is what is watched.
            wanted.extend(path.parent().map(Path::to_owned));
            if path.is_dir() {
                wanted.insert(path.to_owned());
            }
        }
        wanted.retain(|directory| directory.is_dir());
        if self.watcher.is_none() && !wanted.is_empty() {
            self.watcher = self.watcher();
        }
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(&wanted) {
            // What is gone is not watched any more anyway.
            let _ = watcher.unwatch(gone);
        }
        for directory in wanted.difference(&self.watched) {
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                warn!("cannot watch {} ({error}); send SIGHUP after a change there", directory.display());
            }
        }
        self.watched = wanted;
    }

    fn watcher(&self) -> Option<RecommendedWatcher> {
        let tell = self.tell.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let read_only = |kind: &EventKind| {
                matches!(kind, EventKind::Access(access)
                    if *access != notify::event::AccessKind::Close(notify::event::AccessMode::Write))
            };
            if event.is_ok_and(|event| !read_only(&event.kind)) {
                // Nobody listens any more while the daemon stops.
                let _ = tell.send(());
            }
        });
        let warned = watcher.inspect_err(|error| {
            warn!("cannot watch the keys ({error}); send SIGHUP after a change");
        });
        warned.ok()
    }

    /// Ends when something changed and all has been quiet for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        self.news.quiet_for(QUIET).await;
    }
}
