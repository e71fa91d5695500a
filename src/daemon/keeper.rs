//! Keeps every repository open and watched. One that cannot be opened is tried again; the others go on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info};

use super::{keys, users};
use crate::config::RepositoryConfig;
use crate::logging;
use crate::repository::{Handle, RepositoryError};
use crate::serve::{Mount, Site};
use crate::tree::Dirty;
use crate::watch::{Watch, WatchRules};

/// Time between two attempts to open what is broken.
const RETRY: Duration = Duration::from_secs(30);
/// Whoever waits for a repository looks after so long whether it is still there.
const LONG: Duration = Duration::from_secs(5);

pub struct Keeper {
    shared: Arc<Shared>,
    retries: JoinHandle<()>,
}

struct Shared {
    watch: Watch,
    site: Arc<Site>,
    /// By name: 1,000 repositories, and the site is shown whole whenever one changes.
    mounts: Mutex<BTreeMap<String, Mount>>,
    retry_now: Notify,
}

impl Keeper {
    /// Opens all of them and shows them on `site`. Broken ones are logged, shown as such, and tried again.
    ///
    /// Fails when there is nothing to serve and nothing to hope for: all are held by other daemons.
    /// With `strict`, as long as none can be opened.
    pub async fn start(
        repositories: Vec<RepositoryConfig>,
        site: Arc<Site>,
        strict: bool,
    ) -> anyhow::Result<Self> {
        let wanted = repositories.len();
        let watch = Watch::start().context("cannot watch for changes")?;
        let mounts = Mutex::new(repositories.into_iter().map(closed).collect());
        let shared = Arc::new(Shared { watch, site, mounts, retry_now: Notify::new() });
        let mut failures = shared.clone().open_closed().await;
        let hopeless = failures.len() == wanted && (strict || failures.iter().all(|f| is_held(&f.cause)));
        if hopeless && let Some(first) = failures.pop() {
            return Err(first.cause);
        }
        failures.iter().for_each(Failed::log);
        let retries = tokio::spawn(shared.clone().keep_trying());
        Ok(Self { shared, retries })
    }

    /// Says that all is up, or what is not.
    pub fn announce(&self) {
        let (open, broken) = self.shared.counts();
        match broken {
            0 => info!(repositories = open, "ready: {open} {}", noun(open)),
            _ => error!(
                repositories = open,
                broken,
                "ready, but {broken} of {} {} cannot be served",
                open + broken,
                noun(open + broken)
            ),
        }
    }

    /// Compares every tree with what is known of it, and tries the broken ones at once.
    pub fn refresh_everything(&self) {
        let handles = self.shared.handles();
        let count = handles.len();
        info!("told to refresh: comparing {count} {} with what is known", noun(count));
        let begun = Instant::now();
        let asked: Vec<_> =
            handles.into_iter().map(|handle| (handle.submit(Dirty::everything()), handle)).collect();
        self.shared.retry_now.notify_one();
        let site = Arc::clone(&self.shared.site);
        // Ends with the runtime, or when the last of them is published or gone.
        tokio::spawn(async move {
            for (ticket, handle) in asked {
                let is_served = || {
                    let now = site.now();
                    let same = |mount: &Mount| mount.door.as_ref().is_ok_and(|open| open.is(&handle));
                    now.named(&handle.config().name).is_some_and(same)
                };
                while handle.wait(ticket, LONG).await.is_none() && is_served() {}
            }
            let took = begun.elapsed().as_secs_f64();
            info!("refreshed: {count} {} compared and up to date, {took:.1} s", noun(count));
        });
    }

    /// Has every repository read its keys again; they may have changed.
    pub fn check_keys(&self) {
        self.shared
            .handles()
            .iter()
            .filter(|handle| !keys::of(handle.config()).is_empty())
            .for_each(Handle::check_keys);
    }

    /// Makes the repositories those of a new configuration: what stays as it is goes on undisturbed, what
    /// is gone or changed finishes what it is doing, what is new or changed is opened.
    pub async fn apply(&self, wanted: Vec<RepositoryConfig>) {
        let (mut added, mut changed) = (0, 0);
        let mut leaving = Vec::new();
        {
            let mut mounts = self.shared.mounts();
            let mut left = BTreeMap::new();
            mounts.retain(|name, mount| {
                let stays = wanted.iter().any(|config| *config == *mount.config);
                if !stays {
                    left.insert(name.clone(), mount.clone());
                }
                stays
            });
            let missing: Vec<_> =
                wanted.into_iter().filter(|config| !mounts.contains_key(&config.name)).collect();
            for config in missing {
                match left.contains_key(&config.name) {
                    true => changed += 1,
                    false => added += 1,
                }
                let (name, mount) = closed(config);
                mounts.insert(name, mount);
            }
            leaving.extend(left.into_values());
        }
        let removed = leaving.len() - changed;
        let mut closing = JoinSet::new();
        for handle in leaving.into_iter().filter_map(|mount| mount.door.ok()) {
            self.shared.watch.remove(&handle.config().path);
            closing.spawn_blocking(move || handle.close());
        }
        closing.join_all().await;
        self.shared.clone().open_closed().await.iter().for_each(Failed::log);
        self.shared.show();
        info!(added, changed, removed, "repositories: {added} added, {changed} changed, {removed} removed");
    }

    /// Lets every repository finish what it is doing.
    pub async fn stop(self) {
        self.retries.abort();
        let mut closing = JoinSet::new();
        for handle in self.shared.handles() {
            self.shared.watch.remove(&handle.config().path);
            closing.spawn_blocking(move || handle.close());
        }
        closing.join_all().await;
    }
}

impl Shared {
    fn mounts(&self) -> MutexGuard<'_, BTreeMap<String, Mount>> {
        self.mounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> Vec<Handle> {
        self.mounts().values().filter_map(|mount| mount.door.clone().ok()).collect()
    }

    fn counts(&self) -> (usize, usize) {
        let mounts = self.mounts();
        let open = mounts.values().filter(|mount| mount.door.is_ok()).count();
        (open, mounts.len() - open)
    }

    /// Shows the repositories as they are now.
    fn show(&self) {
        let mounts = self.mounts().values().cloned().collect();
        self.site.replace(mounts);
    }

    async fn keep_trying(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.retry_now.notified() => {}
            }
            self.clone().open_closed().await.iter().for_each(Failed::log);
            for handle in self.handles() {
                // Many have none, and then it is a look into memory.
                let _ = tokio::task::spawn_blocking(move || handle.expire_batches()).await;
            }
        }
    }

    /// Tries every repository that is not open, a few at a time, then shows what came of it.
    async fn open_closed(self: Arc<Self>) -> Vec<Failed> {
        let closed: Vec<_> = self.mounts().values().filter(|m| m.door.is_err()).cloned().collect();
        if closed.is_empty() {
            return Vec::new();
        }
        let few = Arc::new(Semaphore::new(8));
        let mut opening = JoinSet::new();
        for mount in closed {
            let (few, this) = (few.clone(), self.clone());
            opening.spawn(async move {
                // The semaphore is never closed.
                let _turn = few.acquire_owned().await;
                let config = mount.config.clone();
                let opened = tokio::task::spawn_blocking(move || Handle::open((*config).clone())).await;
                let opened = opened.unwrap_or_else(|_| Err(anyhow::anyhow!("opening it ended by a bug")));
                this.came_of(mount, opened)
            });
        }
        let failures = opening.join_all().await.into_iter().flatten().collect();
        self.show();
        failures
    }

    fn came_of(self: &Arc<Self>, mount: Mount, opened: anyhow::Result<Handle>) -> Option<Failed> {
        let name = &mount.config.name;
        let (door, failure) = match opened {
            Ok(handle) => {
                let heard = handle.clone();
                let rules = WatchRules::from(&*mount.config);
                let sink = Arc::new(move |seen| heard.seen(seen));
                self.watch.add_apart(&mount.config.path, &mount.config.repodata_dir(), rules, sink);
                let (keeper, path) = (Arc::downgrade(self), mount.config.path.clone());
                handle.on_compared(move |took| {
                    if let Some(keeper) = keeper.upgrade() {
                        keeper.watch.compared(&path, took);
                    }
                });
                info!(repo.name = %name, "opened {name}: {} at {}", mount.config.path.display(), mount.config.url);
                (Ok(handle), None)
            }
            Err(cause) => {
                let mut why = logging::chain(cause.as_ref());
                if is_denied(&cause)
                    && let Some(hint) = users::cannot_write(&mount.config.path)
                {
                    why = format!("{why}; {hint}");
                }
                let why: Arc<str> = why.into();
                // The same trouble every half minute is said once.
                let news = mount.door.as_ref().err() != Some(&why);
                (Err(why.clone()), Some(Failed { name: name.clone(), why, cause, news }))
            }
        };
        self.mounts().insert(name.clone(), Mount { door, ..mount.clone() });
        failure
    }
}

/// A repository that is still to be opened, by its name.
fn closed(config: RepositoryConfig) -> (String, Mount) {
    let mount = Mount { config: Arc::new(config), door: Err("not opened yet".into()) };
    (mount.config.name.clone(), mount)
}

fn noun(count: usize) -> &'static str {
    if count == 1 { "repository" } else { "repositories" }
}

/// Whether the system forbade it.
fn is_denied(error: &anyhow::Error) -> bool {
    let denied = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::PermissionDenied;
    error.chain().filter_map(|cause| cause.downcast_ref()).any(denied)
}

/// A repository that could not be opened.
struct Failed {
    name: String,
    why: Arc<str>,
    cause: anyhow::Error,
    /// Whether it is another trouble than last time.
    news: bool,
}

impl Failed {
    fn log(&self) {
        if self.news {
            let (name, why) = (&self.name, &self.why);
            error!(repo.name = %name, "cannot serve {name}: {why}; trying again every {} s", RETRY.as_secs());
        }
    }
}

/// Whether another process serves this repository.
pub fn is_held(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RepositoryError::Locked { .. }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;

    fn repository(place: &Path, name: &str) -> RepositoryConfig {
        let state_dir = place.join("state").join(name);
        RepositoryConfig { state_dir, ..RepositoryConfig::new(name, place.join(name)) }
    }

    fn shown(site: &Site) -> Vec<(String, bool)> {
        site.now().all().iter().map(|mount| (mount.config.name.clone(), mount.door.is_ok())).collect()
    }

    /// Ends only by success: how long a thing takes decides nothing.
    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_broken_repository_takes_no_other_down_and_is_served_once_it_is_mended() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("good")).unwrap();
        let site = Arc::new(Site::default());
        let both = vec![repository(place.path(), "broken"), repository(place.path(), "good")];
        let keeper = Keeper::start(both, site.clone(), true).await.unwrap();
        assert_eq!(shown(&site), [("broken".into(), false), ("good".into(), true)]);
        let why = site.now().all()[0].door.as_ref().err().cloned().unwrap();
        assert!(why.contains("broken") && why.contains("does not exist"), "{why}");
        std::fs::create_dir(place.path().join("broken")).unwrap();
        keeper.refresh_everything();
        until(|| shown(&site).iter().all(|(_, open)| *open)).await;
        keeper.stop().await;
    }

    #[tokio::test]
    async fn where_nothing_can_be_served_a_start_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("rpm")).unwrap();
        let rpm = || vec![repository(place.path(), "rpm")];
        let first = Keeper::start(rpm(), Arc::default(), false).await.unwrap();
        // Another daemon has it: nothing to hope for, even where we are patient otherwise.
        let refused = Keeper::start(rpm(), Arc::default(), false).await.err().unwrap();
        assert!(is_held(&refused) && is_held(&refused.context("cannot start")));
        first.stop().await;

        let missing = || vec![repository(place.path(), "missing")];
        let refused = Keeper::start(missing(), Arc::default(), true).await.err().unwrap();
        assert!(!is_held(&refused));
        // A configured one may come: a file system that is mounted later.
        let patient = Keeper::start(missing(), Arc::default(), false).await.unwrap();
        patient.stop().await;
    }

    #[tokio::test]
    async fn the_watch_learns_how_long_a_comparison_took() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("rpm")).unwrap();
        let handle = Handle::open(repository(place.path(), "rpm")).unwrap();
        let (tell, told) = mpsc::channel();
        handle.on_compared(move |took| tell.send(took).unwrap());
        handle.submit(Dirty::everything());
        tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
        tokio::task::spawn_blocking(move || handle.close()).await.unwrap();
    }
}
