//! Notices that the configuration changed, and reads it again: all of it, or nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tracing::warn;

use super::news::News;
use crate::config::{Config, TlsConfig};

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
    /// Where certificates and keys lie.
    elsewhere: Vec<PathBuf>,
    news: News,
}

impl ConfigWatch {
    /// `files` are certificates and keys. Where it cannot be watched, SIGHUP still reloads.
    pub fn start(directory: &Path, files: Vec<PathBuf>) -> Self {
        let mut elsewhere: Vec<_> =
            files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        elsewhere.sort();
        elsewhere.dedup();
        let (tell, news) = News::new();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| concerns(&event, &files)) {
                // Nobody listens any more while the daemon stops.
                let _ = tell.send(());
            }
        });
        let watcher = watcher.inspect_err(|error| {
            warn!("cannot watch the configuration ({error}); send SIGHUP after a change");
        });
        let mut this = Self { watcher: watcher.ok(), directory: directory.to_owned(), elsewhere, news };
        this.watch_directories();
        this
    }

    /// Ends when something changed and all has been quiet for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        self.news.quiet_for(QUIET).await;
        // `repos.d` may have been made, or made anew.
        self.watch_directories();
    }

    fn watch_directories(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let ours = [self.directory.clone(), self.directory.join("repos.d")];
        for directory in ours.into_iter().chain(self.elsewhere.iter().cloned()) {
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
pub fn files(tls: &TlsConfig) -> impl Iterator<Item = PathBuf> + use<> {
    let TlsConfig { certificate, key, client_ca } = tls.clone();
    [Some(certificate), Some(key), client_ca].into_iter().flatten()
}

/// What a new configuration changes that only a restart can take up.
pub fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let (old, new) = (&old.server, &new.server);
    let differs = [
        ("listen", old.listen != new.listen),
        ("base_url", old.base_url != new.base_url),
        ("max_upload", old.max_upload != new.max_upload),
        ("control", old.control != new.control),
        ("access_log", old.access_log != new.access_log),
        ("tls", old.tls != new.tls),
        ("limits", old.limits != new.limits),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
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
