//! Notices that the configuration changed, and reads it again: all of it, or nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::time::timeout;
use tracing::warn;

use super::news::News;
use crate::config::{Config, ServerConfig, TlsConfig};

/// Editors and package managers write several files, and each of them several times.
const QUIET: Duration = Duration::from_millis(300);
/// How often is looked where nobody tells of changes: inotify has few instances for all programs of a user.
const LOOK: Duration = Duration::from_secs(10);

/// Where the configuration comes from; `None` in [`super::run`] where there is none to come back to.
pub struct Source {
    /// The main file and `repos.d` beside it lie here.
    pub directory: PathBuf,
    /// Reads everything; the error is the text a person reads.
    pub load: Arc<dyn Fn() -> Result<Config, String> + Send + Sync>,
}

impl Source {
    /// Reads the configuration on a thread that may wait for the disk.
    pub async fn read(&self) -> Result<Config, String> {
        let load = Arc::clone(&self.load);
        match tokio::task::spawn_blocking(move || load()).await {
            Ok(read) => read,
            Err(_) => Err("reading the configuration ended by a bug; the log says where".into()),
        }
    }
}

/// Hears of changes to the files of the configuration.
pub struct ConfigWatch {
    watcher: Option<RecommendedWatcher>,
    /// What was seen last; where all is watched, nobody looks.
    seen: Option<Vec<Stamp>>,
    /// How often is looked.
    every: Duration,
    directory: PathBuf,
    /// Certificates and keys.
    files: Arc<Mutex<Vec<PathBuf>>>,
    news: News,
}

impl ConfigWatch {
    /// `files` are certificates and keys. Where it cannot be watched, it is looked at now and then.
    pub fn start(directory: &Path, files: Vec<PathBuf>) -> Self {
        let files = Arc::new(Mutex::new(files));
        let counting = Arc::clone(&files);
        let (tell, news) = News::new();
        // It was read before it is watched, and may have changed in between.
        let _ = tell.send(());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event
                .is_ok_and(|event| concerns(&event, &counting.lock().unwrap_or_else(PoisonError::into_inner)))
            {
                // Nobody listens any more while the daemon stops.
                let _ = tell.send(());
            }
        });
        let watcher = watcher.inspect_err(|error| {
            warn!("cannot watch the configuration ({error}); it is looked at every {} s", LOOK.as_secs());
        });
        let directory = directory.to_owned();
        let mut this = Self { watcher: watcher.ok(), seen: None, every: LOOK, directory, files, news };
        this.watch_directories();
        this
    }

    /// Certificates and keys lie elsewhere now.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        self.watch_directories();
    }

    /// Ends when something changed and all has been quiet for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        while let Some(seen) = &self.seen {
            let heard = timeout(self.every, self.news.quiet_for(QUIET)).await;
            let now = stamps(&self.places());
            if heard.is_ok() || now != *seen {
                // `repos.d` may have been made, or made anew.
                return self.watch_directories();
            }
        }
        self.news.quiet_for(QUIET).await;
        self.watch_directories();
    }

    /// The directories that the files lie in, each once.
    fn places(&self) -> Vec<PathBuf> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places: Vec<_> = files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        places.extend([self.directory.clone(), self.directory.join("repos.d")]);
        places.sort();
        places.dedup();
        places
    }

    fn watch_directories(&mut self) {
        let places = self.places();
        let mut is_watched = self.watcher.is_some();
        for directory in places.iter().filter(|directory| directory.is_dir()) {
            let Some(watcher) = &mut self.watcher else { break };
            if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
                is_watched = false;
                if self.seen.is_none() {
                    let (directory, every) = (directory.display(), self.every.as_secs());
                    warn!("cannot watch {directory} ({error}); it is looked at every {every} s");
                }
            }
        }
        self.seen = (!is_watched).then(|| stamps(&places));
    }
}

/// What tells one state of a file from another.
type Stamp = (PathBuf, u64, i64, i64, u64);

/// The stamps of all files in these directories.
fn stamps(directories: &[PathBuf]) -> Vec<Stamp> {
    let entries = directories.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let stamp = |path: PathBuf| {
        let metadata = fs::metadata(&path).ok()?;
        let is_file = metadata.is_file();
        is_file.then(|| (path, metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    };
    let mut stamps: Vec<Stamp> = entries.flatten().filter_map(|entry| stamp(entry.path())).collect();
    stamps.sort();
    stamps
}

/// Whether a file that counts was changed, and not only read.
fn concerns(event: &notify::Event, files: &[PathBuf]) -> bool {
    let changes = match event.kind {
        EventKind::Access(access) => {
            access == notify::event::AccessKind::Close(notify::event::AccessMode::Write)
        }
        EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Any
        | EventKind::Other => true,
    };
    let counts = |path: &PathBuf| {
        path.ends_with("repos.d")
            || path.extension().is_some_and(|e| e == "toml")
            // certbot and Kubernetes switch links and directories that the files lie behind.
            || files.iter().any(|file| file.parent() == path.parent())
    };
    changes && (event.need_rescan() || event.paths.iter().any(counts))
}

/// The files that TLS is spoken with.
pub fn files(server: &ServerConfig) -> Vec<PathBuf> {
    let Some(TlsConfig { certificate, key, client_ca }) = server.tls.clone() else { return vec![] };
    [Some(certificate), Some(key), client_ca].into_iter().flatten().collect()
}

/// What a new configuration changes that only a restart can take up.
pub fn needs_restart(old: &ServerConfig, new: &ServerConfig) -> Vec<&'static str> {
    let differs = [
        ("listen", old.listen != new.listen),
        ("control", old.control != new.control),
        // Its listeners would have to become others.
        ("tls", old.tls.is_some() != new.tls.is_some()),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

/// The new `[server]`, with what waits for a restart as it was.
pub fn live(old: &ServerConfig, new: ServerConfig) -> ServerConfig {
    ServerConfig {
        listen: old.listen.clone(),
        control: old.control.clone(),
        tls: old.tls.as_ref().map(|old| new.tls.unwrap_or_else(|| old.clone())),
        ..new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_changed_file_is_heard_of_also_in_a_directory_made_later() {
        let place = tempfile::tempdir().unwrap();
        let mut watch = ConfigWatch::start(place.path(), vec![]);
        // What changed between the reading and the watch.
        timeout(SOON, watch.changed()).await.unwrap();
        fs::write(place.path().join("createrepod.toml"), "").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::create_dir(place.path().join("repos.d")).unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::write(place.path().join("repos.d/a.toml"), "").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        fs::write(place.path().join("notes.txt"), "").unwrap();
        let quiet = timeout(Duration::from_millis(700), watch.changed()).await;
        assert!(quiet.is_err(), "other files are nobody's business");
    }

    #[tokio::test]
    async fn where_nothing_can_be_watched_it_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let mut watch = ConfigWatch::start(place.path(), vec![]);
        watch.changed().await;
        // As where no more instances of inotify are to be had.
        watch.watcher = None;
        watch.every = Duration::from_millis(20);
        watch.watch_directories();
        let quiet = timeout(10 * watch.every, watch.changed()).await;
        assert!(quiet.is_err(), "nothing has changed");
        fs::write(place.path().join("createrepod.toml"), "").unwrap();
        timeout(SOON, watch.changed()).await.unwrap();
        let quiet = timeout(10 * watch.every, watch.changed()).await;
        assert!(quiet.is_err(), "it is told once");
    }
}
