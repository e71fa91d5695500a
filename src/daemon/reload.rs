//! Notices that the configuration changed, and reads it again: all of it, or nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::news::News;
use crate::config::{Config, ServerConfig, TlsConfig};

/// Editors and package managers write several files, and each of them several times.
const QUIET: Duration = Duration::from_millis(300);

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
    directory: PathBuf,
    /// Certificates and keys.
    files: Arc<Mutex<Vec<PathBuf>>>,
    news: News,
}

impl ConfigWatch {
    /// `files` are certificates and keys. Where it cannot be watched, SIGHUP still reloads.
    pub fn start(directory: &Path, files: Vec<PathBuf>) -> Self {
        let files = Arc::new(Mutex::new(files));
        let counting = Arc::clone(&files);
        let (tell, news) = News::new();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event
                .is_ok_and(|event| concerns(&event, &counting.lock().unwrap_or_else(PoisonError::into_inner)))
            {
                // Nobody listens any more while the daemon stops.
                let _ = tell.send(());
            }
        });
        let watcher = watcher.inspect_err(|error| {
            warn!("cannot watch the configuration ({error}); send SIGHUP after a change");
        });
        let mut this = Self { watcher: watcher.ok(), directory: directory.to_owned(), files, news };
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
        self.news.quiet_for(QUIET).await;
        // `repos.d` may have been made, or made anew.
        self.watch_directories();
    }

    fn watch_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut elsewhere: Vec<_> =
            files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        elsewhere.sort();
        elsewhere.dedup();
        let ours = [self.directory.clone(), self.directory.join("repos.d")];
        for directory in ours.into_iter().chain(elsewhere) {
            if directory.is_dir()
                && let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive)
            {
                warn!("cannot watch {} ({error}); send SIGHUP after a change there", directory.display());
            }
        }
    }
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
        std::fs::write(place.path().join("createrepod.toml"), "").unwrap();
        tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        std::fs::create_dir(place.path().join("repos.d")).unwrap();
        tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        std::fs::write(place.path().join("repos.d/a.toml"), "").unwrap();
        tokio::time::timeout(SOON, watch.changed()).await.unwrap();
        std::fs::write(place.path().join("notes.txt"), "").unwrap();
        let quiet = tokio::time::timeout(Duration::from_millis(700), watch.changed()).await;
        assert!(quiet.is_err(), "other files are nobody's business");
    }
}
