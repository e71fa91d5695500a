//! Notices what happens in the trees: one thread and one inotify instance for the whole process.
//!
//! ```text
//! inotify ─> worker: which tree, which place, what kind of change ─> debounce: when to tell ─> Sink
//! ```
//!
//! Every directory of a tree has a watch of its own. A directory that appears is watched first and
//! then reported as unsure, so that whatever lay in it already is found by the look at it. At rest
//! the thread sleeps.

mod debounce;
mod events;
mod ground;
mod inotify;
mod links;
mod mounts;
mod place;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod worker;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use crate::config::{AdditionalMetadata, RepositoryConfig, Symlinks};
use crate::tree::Dirty;

/// The watch over all trees. Dropping it ends it, after the sinks have returned.
pub struct Watch {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// Hears what was seen in one tree. Called from the watch's own thread: it must not block.
pub type Sink = Arc<dyn Fn(Seen) + Send + Sync>;

/// What a [`Sink`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Places to look at. The first one after [`Watch::add`] is `Dirty::everything()`, sent when all
    /// watches stand: a look taken for it misses nothing that happens later.
    Dirty(Dirty),
    /// `repodata/repomd.xml` was written, replaced or removed, by us or by somebody else.
    Metadata,
    /// How the tree is watched from now on.
    Watching(Means),
}

/// How a tree is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Means {
    /// Changes are heard of at once.
    Inotify,
    /// Everything is compared every now and then, because inotify cannot see all: why, and what to do.
    Polling { why: String },
    /// The root is not there (or is not a directory): tried again every few seconds.
    Missing { why: String },
}

/// How one tree is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRules {
    pub symlinks: Symlinks,
    /// Which files are told of besides packages.
    pub additional: AdditionalMetadata,
    /// A file nobody closes is reported when it was quiet for this long …
    pub settle: Duration,
    /// … or, at the latest, after this.
    pub settle_max: Duration,
    /// Time between two full comparisons.
    pub rescan: Duration,
}

impl From<&RepositoryConfig> for WatchRules {
    fn from(config: &RepositoryConfig) -> Self {
        Self {
            symlinks: config.symlinks,
            additional: config.additional_metadata.clone(),
            settle: config.settle,
            settle_max: config.settle_max,
            rescan: config.rescan,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot start the thread that watches the trees")]
    Thread(#[source] io::Error),
    #[error("cannot prepare to watch directories")]
    Prepare(#[source] io::Error),
}

/// What the worker is asked for.
enum Command {
    Add { root: PathBuf, repodata: PathBuf, rules: WatchRules, sink: Sink },
    Remove { root: PathBuf },
    Compared { root: PathBuf, took: Duration },
    Stop,
}

/// Times and bounds that tests shorten.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Shortest time between two full comparisons where inotify does not see all.
    poll: Duration,
    /// How often a root that is missing is looked for.
    retry: Duration,
    /// Most directories watched.
    limit: usize,
}

const PACE: Pace = Pace { poll: Duration::from_secs(30), retry: Duration::from_secs(5), limit: usize::MAX };

impl Watch {
    /// Starts the thread. Where inotify cannot be had, every tree is polled.
    pub fn start() -> Result<Self, WatchError> {
        Self::start_at(PACE)
    }

    fn start_at(pace: Pace) -> Result<Self, WatchError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| WatchError::Prepare(errno.into()))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = mpsc::channel();
        let worker = worker::Worker::new(pace, receiver, wake.clone());
        let thread = std::thread::Builder::new()
            .name("watch".into())
            .spawn(move || worker.run())
            .map_err(WatchError::Thread)?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Watches the directory `root` (absolute) from now on; a second call for it replaces rules and
    /// sink. Returns at once: a root that is missing, or cannot be watched, is told to the sink.
    pub fn add(&self, root: &Path, rules: WatchRules, sink: Sink) {
        self.add_apart(root, &root.join("repodata"), rules, sink);
    }

    /// Like [`Self::add`], for a tree whose metadata lies elsewhere: at `repodata` (absolute).
    pub fn add_apart(&self, root: &Path, repodata: &Path, rules: WatchRules, sink: Sink) {
        self.ask(Command::Add { root: root.into(), repodata: repodata.into(), rules, sink });
    }

    /// Forgets a tree. The sink may be in a last call while this returns.
    pub fn remove(&self, root: &Path) {
        self.ask(Command::Remove { root: root.into() });
    }

    /// Tells how long a full comparison of this tree took, so that polling leaves it in peace long enough.
    pub fn compared(&self, root: &Path, took: Duration) {
        self.ask(Command::Compared { root: root.into(), took });
    }

    fn ask(&self, command: Command) {
        // The thread lives as long as we do.
        let _ = self.commands.send(command);
        // Full only when it is to wake up anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ask(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
