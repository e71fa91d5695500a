//! Notices that the configuration changed, and reads it again: all of it, or nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::Event;

use super::directories::DirectoryWatch;
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
    watch: DirectoryWatch,
    directory: PathBuf,
    /// Certificates and keys.
    files: Arc<Mutex<Vec<PathBuf>>>,
}

impl ConfigWatch {
    /// `files` are certificates and keys. The first change is told at once: all was read before it is watched.
    pub fn start(directory: &Path, files: Vec<PathBuf>) -> Self {
        let counting = Arc::new(Mutex::new(Vec::new()));
        let files_now = Arc::clone(&counting);
        let watch = DirectoryWatch::new("the configuration", QUIET, move |event| {
            concerns(event, &counting.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let mut this = Self { watch, directory: directory.to_owned(), files: files_now };
        this.follow(files);
        this
    }

    /// Certificates and keys lie there now.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let mut places: BTreeSet<_> =
            files.iter().filter_map(|file| file.parent().map(Path::to_owned)).collect();
        places.extend([self.directory.clone(), self.directory.join("repos.d")]);
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        self.watch.follow(places);
    }

    /// Ends when something changed and all has been quiet for a moment. May be dropped and called again.
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }
}

/// Whether a file that counts was changed.
fn concerns(event: &Event, files: &[PathBuf]) -> bool {
    let counts = |path: &PathBuf| {
        path.ends_with("repos.d")
            || path.extension().is_some_and(|e| e == "toml")
            // certbot and Kubernetes switch links and directories that the files lie behind.
            || files.iter().any(|file| file.parent() == path.parent())
    };
    event.paths.iter().any(counts)
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
    use std::fs;

    use tokio::time::timeout;

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
}
