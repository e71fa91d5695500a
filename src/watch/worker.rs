//! The watch's thread: waits, sorts events to trees and places, and tells the sinks.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::ReadFlags;
use rustix::io::Errno;
use tracing::{debug, error, warn};

use super::debounce::Change;
use super::inotify::{Event, Inotify};
use super::mounts::Mounts;
use super::place::{Full, Ground, is_left_out, is_link, join, leads_to_directory, place};
use super::table::{Place, Table, TreeId};
use super::tree::Tree;
use super::{Command, Means, Pace, Seen};
use crate::config::Symlinks;
use crate::package::Location;

pub(super) struct Worker {
    pace: Pace,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    /// The watched directories, or why there can be none.
    table: Result<Table, String>,
    mounts: Mounts,
    trees: BTreeMap<TreeId, Tree>,
    next: TreeId,
    /// Events taken in and not handled yet.
    backlog: VecDeque<Event>,
}

impl Worker {
    pub fn new(pace: Pace, commands: Receiver<Command>, wake: Arc<OwnedFd>) -> Self {
        let table = Inotify::new().map(|inotify| Table::new(inotify, pace.limit)).map_err(|error| {
            format!(
                "inotify is not to be had ({error}); \
                 raise fs.inotify.max_user_instances with sysctl and restart"
            )
        });
        let (mounts, trees, backlog) = (Mounts::new(), BTreeMap::new(), VecDeque::new());
        Self { pace, commands, wake, table, mounts, trees, next: 0, backlog }
    }

    pub fn run(mut self) {
        loop {
            if !self.commands() {
                return;
            }
            if let Ok(table) = &mut self.table
                && let Err(error) = table.read(&mut self.backlog)
            {
                error!("cannot read what inotify has to say: {error}; every tree is polled from now on");
                self.without_inotify(format!("inotify failed ({error}); restart the daemon"));
            }
            while let Some(event) = self.backlog.pop_front() {
                self.event(&event, Instant::now());
            }
            self.deliver(Instant::now());
            if let Err(errno) = self.wait() {
                // Nothing else wakes us then but time.
                error!("cannot wait for events: {}", io::Error::from(errno));
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }

    /// Does what was asked; `false` ends the thread.
    fn commands(&mut self) -> bool {
        // Cleared before the queue is emptied: what is asked meanwhile wakes us again.
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        loop {
            let now = Instant::now();
            match self.commands.try_recv() {
                Ok(Command::Add { root, rules, sink }) => {
                    self.remove(&root);
                    self.next += 1;
                    let mut tree = Tree::new(root, rules, sink, self.pace, now);
                    tree.start_over(now);
                    self.trees.insert(self.next, tree);
                    self.replace(self.next, now);
                }
                Ok(Command::Remove { root }) => self.remove(&root),
                Ok(Command::Compared { root, took }) => {
                    if let Some(tree) = self.trees.values_mut().find(|tree| tree.root() == root) {
                        tree.compared(took, now);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn remove(&mut self, root: &Path) {
        let ids: Vec<_> =
            self.trees.iter().filter(|(_, tree)| tree.root() == root).map(|(id, _)| *id).collect();
        for id in ids {
            self.trees.remove(&id);
            self.forget_tree(id);
        }
    }

    fn forget_tree(&mut self, id: TreeId) {
        if let Ok(table) = &mut self.table {
            let paths = table.take_paths(id);
            table.sweep(id, paths);
        }
    }

    fn without_inotify(&mut self, why: String) {
        self.table = Err(why);
        self.backlog.clear();
        let now = Instant::now();
        self.trees.values_mut().for_each(|tree| tree.start_over(now));
    }

    /// Places all watches of a tree anew, and says by what means it is watched now.
    fn replace(&mut self, id: TreeId, now: Instant) {
        let Some(tree) = self.trees.get_mut(&id) else { return };
        tree.replace = false;
        let means = stand(&mut tree.ground, &self.mounts).and_then(|()| {
            let table = self.table.as_mut().map_err(|why| Means::Polling { why: why.clone() })?;
            let before = table.take_paths(id);
            let placed = place(table, id, &tree.ground, "", &mut self.backlog);
            watch_repodata(table, id, &tree.ground);
            table.sweep(id, before);
            placed.map_err(|Full| limit_reached())
        });
        let means = match means {
            Ok(()) => means_with(&tree.ground),
            Err(means) => {
                // It leaves its watches to those that can do with what there is.
                self.forget_tree(id);
                means
            }
        };
        if let Some(tree) = self.trees.get_mut(&id) {
            tree.set_means(means, now);
        }
    }

    fn event(&mut self, event: &Event, now: Instant) {
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            warn!(
                "more happened than inotify could hold (fs.inotify.max_queued_events); comparing everything"
            );
            self.trees.values_mut().for_each(|tree| tree.start_over(now));
            return;
        }
        let Ok(table) = &mut self.table else { return };
        let places = table.places(event.wd);
        if event.flags.contains(ReadFlags::IGNORED) {
            table.ignored(event.wd);
        }
        for place in places {
            match &event.name {
                Some(name) => self.entry(&place, name, event.flags, now),
                None => self.directory_itself(&place, event.flags, now),
            }
        }
    }

    /// Something happened to a watched directory itself.
    fn directory_itself(&mut self, place: &Place, flags: ReadFlags, now: Instant) {
        let left = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED;
        let Some(tree) = self.trees.get_mut(&place.tree) else { return };
        if !flags.intersects(left) {
            return;
        }
        if place.path.is_empty() {
            tree.start_over(now);
        } else if &*place.path == "repodata" {
            tree.metadata = true;
        } else if let Ok(location) = Location::parse(&place.path) {
            // The directory above tells of it, too, unless this is the target of a link.
            self.appeared(place.tree, location, now);
        }
    }

    /// Something happened to `name` in the directory at `place`.
    fn entry(&mut self, place: &Place, name: &[u8], flags: ReadFlags, now: Instant) {
        let Some(tree) = self.trees.get_mut(&place.tree) else { return };
        let came = flags.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        let left = flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
        if &*place.path == "repodata" {
            tree.metadata |=
                name == b"repomd.xml" && (came || left || flags.contains(ReadFlags::CLOSE_WRITE));
            return;
        }
        if place.path.is_empty() && name == b"repodata" {
            if (came || left)
                && let Ok(table) = &mut self.table
            {
                table.forget(place.tree, "repodata");
                watch_repodata(table, place.tree, &tree.ground);
                tree.metadata = true;
            }
            return;
        }
        let is_directory = flags.contains(ReadFlags::ISDIR);
        // Later issues take more files than packages: this is where they are let in.
        let is_package = !is_directory && name.ends_with(b".rpm");
        if !is_directory && !is_package && !(came || left) {
            return;
        }
        let Ok(name) = std::str::from_utf8(name) else {
            // Cannot be named: the directory is looked at, and the look reports it.
            let is_reported = (is_directory || is_package) && (came || left) && !name.starts_with(b".");
            if is_reported {
                tree.note(Location::parse(&place.path).map_or(Change::Everything, Change::Appeared), now);
            }
            return;
        };
        if is_left_out(&place.path, name) {
            return;
        }
        let Ok(location) = Location::parse(&join(&place.path, name)) else { return };
        if left {
            self.vanished(place.tree, location, is_directory || is_package, now);
        } else if is_directory {
            if came || flags.contains(ReadFlags::ATTRIB) {
                self.appeared(place.tree, location, now);
            }
        } else if came {
            self.came(place.tree, location, flags, now);
        } else if flags.contains(ReadFlags::CLOSE_WRITE) {
            tree.note(Change::Complete(location), now);
        } else if flags.contains(ReadFlags::MODIFY) {
            tree.note(Change::Writing(location), now);
        } else if flags.contains(ReadFlags::ATTRIB) {
            tree.note(Change::Touched(location), now);
        }
    }

    /// A directory is there, or may be.
    fn appeared(&mut self, id: TreeId, location: Location, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let ground = &tree.ground;
        let path = location.under(&ground.root);
        let is_there = fs::symlink_metadata(&path)
            .is_ok_and(|it| it.is_dir() || it.is_symlink() && leads_to_directory(ground, &path));
        if !is_there {
            table.forget(id, location.as_str());
            tree.note(Change::Vanished(location), now);
            return;
        }
        let is_far = !ground.networks.is_empty() && ground.networks.contains(&location.under(&ground.real));
        if !is_far && place(table, id, ground, location.as_str(), &mut self.backlog).is_err() {
            self.forget_tree(id);
            if let Some(tree) = self.trees.get_mut(&id) {
                tree.set_means(limit_reached(), now);
                tree.note(Change::Everything, now);
            }
            return;
        }
        tree.note(Change::Appeared(location), now);
    }

    fn vanished(&mut self, id: TreeId, location: Location, is_certain: bool, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let was_watched = table.has(id, location.as_str());
        if was_watched {
            table.forget(id, location.as_str());
        }
        // A name that is neither may have been a link to a directory outside.
        if is_certain || was_watched || tree.rules.symlinks == Symlinks::Anywhere {
            tree.note(Change::Vanished(location), now);
        }
    }

    /// A name that is no directory was created or moved in.
    fn came(&mut self, id: TreeId, location: Location, flags: ReadFlags, now: Instant) {
        let (Ok(table), Some(tree)) = (&mut self.table, self.trees.get_mut(&id)) else { return };
        let path = location.under(&tree.ground.root);
        let is_package = location.names_a_package();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            // Gone again; another event tells of it, unless it replaced something.
            if is_package {
                tree.note(Change::Vanished(location), now);
            }
            return;
        };
        if metadata.is_symlink() && tree.rules.symlinks != Symlinks::Never {
            if leads_to_directory(&tree.ground, &path) {
                return self.appeared(id, location, now);
            }
            // What lies outside is only looked at, and only the look knows whether it may be.
            tree.note(Change::Complete(location), now);
            return;
        }
        // It may have taken the place of a link to a directory.
        let was_watched = table.has(id, location.as_str());
        table.forget(id, location.as_str());
        if !is_package {
            if was_watched {
                tree.note(Change::Vanished(location), now);
            }
            return;
        }
        let is_written = metadata.is_file() && flags.contains(ReadFlags::CREATE) && metadata.nlink() == 1;
        tree.note(if is_written { Change::Writing(location) } else { Change::Complete(location) }, now);
    }

    /// Tells what is due, and lets timers run out.
    fn deliver(&mut self, now: Instant) {
        let due: Vec<TreeId> = self
            .trees
            .iter()
            .filter(|(_, tree)| tree.metadata || tree.deadline() <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(tree) = self.trees.get_mut(&id) else { continue };
            if std::mem::take(&mut tree.metadata) {
                tree.tell(Seen::Metadata);
            }
            tree.tick(now);
            let Some(dirty) = tree.debounce.take(now) else { continue };
            if dirty.everything && tree.replace {
                self.replace(id, now);
            }
            if let Some(tree) = self.trees.get(&id) {
                debug!(
                    everything = dirty.everything,
                    settled = dirty.settled.len(),
                    unsure = dirty.unsure.len(),
                    "noticed changes in {}",
                    tree.root().display()
                );
                tree.tell(Seen::Dirty(dirty));
            }
        }
    }

    /// Sleeps until something happens, is asked for, or is due.
    fn wait(&mut self) -> Result<(), Errno> {
        let mut fds = vec![PollFd::new(&*self.wake, PollFlags::IN)];
        if let Ok(table) = &self.table {
            fds.push(PollFd::from_borrowed_fd(table.inotify.as_fd(), PollFlags::IN));
        }
        let mounts = self.mounts.changed_fd().map(|fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::PRI));
            fds.len() - 1
        });
        let idle = self.backlog.is_empty();
        let timeout = self.trees.values().map(Tree::deadline).min().map(|deadline| {
            let left = if idle { deadline.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        let remounted = mounts.is_some_and(|i| fds[i].revents().intersects(PollFlags::PRI | PollFlags::ERR));
        drop(fds);
        if remounted {
            self.remounted(Instant::now());
        }
        Ok(())
    }

    /// Something was mounted or unmounted.
    fn remounted(&mut self, now: Instant) {
        let changed = self.mounts.update();
        for tree in self.trees.values_mut() {
            let ground = &tree.ground;
            let concerns = |point: &Path| {
                [&ground.root, &ground.real]
                    .iter()
                    .any(|root| root.starts_with(point) || point.starts_with(root))
            };
            if changed.iter().any(|point| concerns(point)) {
                tree.start_over(now);
            }
        }
    }
}

/// Finds out where a tree stands now, and whether that can be watched.
fn stand(ground: &mut Ground, mounts: &Mounts) -> Result<(), Means> {
    let missing = |error: io::Error| Means::Missing {
        why: format!("{error}; it is looked for every few seconds: mount or create it"),
    };
    let far = |kind: &str| Means::Polling {
        why: format!(
            "it is on a network file system ({kind}), where inotify does not see what other hosts do"
        ),
    };
    if let Some(kind) = mounts.network(&ground.root) {
        return Err(far(kind));
    }
    ground.real = fs::canonicalize(&ground.root).map_err(missing)?;
    if let Some(kind) = mounts.network(&ground.real) {
        return Err(far(kind));
    }
    if !fs::metadata(&ground.real).map_err(missing)?.is_dir() {
        return Err(missing(io::ErrorKind::NotADirectory.into()));
    }
    ground.networks = mounts.networks_below(&ground.real);
    Ok(())
}

fn means_with(ground: &Ground) -> Means {
    match ground.networks.iter().next() {
        Some(point) => Means::Polling {
            why: format!(
                "a network file system is mounted in it, at {}, where inotify does not see what other hosts do",
                point.display()
            ),
        },
        None => Means::Inotify,
    }
}

fn watch_repodata(table: &mut Table, id: TreeId, ground: &Ground) {
    let path = ground.root.join("repodata");
    let follow = is_link(&path);
    // Not there yet, or not to be watched: then nobody tells of foreign metadata but the comparison.
    let _ = table.add(id, "repodata", &path, follow);
}

fn limit_reached() -> Means {
    let now = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap_or_default();
    let now: u64 = now.trim().parse().unwrap_or(0);
    let more = now.saturating_mul(2).max(524_288);
    let why = format!(
        "the limit on watched directories is reached (fs.inotify.max_user_watches is {now}); \
         raise it: sysctl fs.inotify.max_user_watches={more}, and a line in /etc/sysctl.d to keep it"
    );
    Means::Polling { why }
}
