//! The watch's thread: waits, sorts events to trees and places, and tells the sinks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use tracing::{debug, error};

use super::ground::{Ground, limit_reached};
use super::inotify::{Event, Inotify};
use super::links::Links;
use super::mounts::Mounts;
use super::place::{Full, is_link, place};
use super::table::{Table, TreeId};
use super::tree::Tree;
use super::{Command, Means, Pace, Seen};

pub(super) struct Worker {
    pace: Pace,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    /// Something was asked for.
    is_asked: bool,
    /// The watched directories, or why there can be none.
    pub table: Result<Table, String>,
    mounts: Mounts,
    pub trees: BTreeMap<TreeId, Tree>,
    next: TreeId,
    /// Events taken in and not handled yet.
    pub backlog: VecDeque<Event>,
    /// The last events told of nothing but writing.
    only_writing: bool,
}

/// How long events may gather while somebody does nothing but write: the kernel keeps equal ones in
/// a row as one, and each that wakes us costs more than the write it tells of.
const LULL: Duration = Duration::from_millis(10);

impl Worker {
    pub fn new(pace: Pace, commands: Receiver<Command>, wake: Arc<OwnedFd>) -> Self {
        let table = table(pace);
        let (mounts, trees, backlog) = (Mounts::new(), BTreeMap::new(), VecDeque::new());
        Self {
            pace,
            commands,
            wake,
            is_asked: true,
            table,
            mounts,
            trees,
            next: 0,
            backlog,
            only_writing: false,
        }
    }

    pub fn run(mut self) {
        loop {
            if !self.commands() {
                return;
            }
            if let Ok(table) = &mut self.table
                && let Err(error) = table.read(&mut self.backlog)
            {
                error!("cannot read what inotify has to say: {error}; every tree is watched anew");
                self.without_inotify(format!("inotify failed ({error})"));
            }
            self.only_writing = !self.backlog.is_empty();
            while let Some(event) = self.backlog.pop_front() {
                self.only_writing &= event.is_write();
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
        if !std::mem::take(&mut self.is_asked) {
            return true;
        }
        // Cleared before the queue is emptied: what is asked meanwhile wakes us again.
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        loop {
            let now = Instant::now();
            match self.commands.try_recv() {
                Ok(Command::Add { root, repodata, rules, sink }) => {
                    self.remove(&root);
                    self.next += 1;
                    let mut tree = Tree::new(root, repodata, rules, sink, self.pace, now);
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

    pub fn forget_tree(&mut self, id: TreeId) {
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
        if self.table.is_err() {
            // There may have been none for a moment only.
            self.table = table(self.pace);
        }
        let Some(tree) = self.trees.get_mut(&id) else { return };
        tree.replace = false;
        let mut is_whole = true;
        let means = tree.ground.stand(&self.mounts).and_then(|()| {
            is_whole = false;
            let table = self.table.as_mut().map_err(|why| Means::Polling { why: why.clone() })?;
            let before = table.take_paths(id);
            tree.links = Links::default();
            let placed = place(table, id, &tree.ground, "", &mut tree.links, &mut self.backlog);
            let beside = watch_repodata(table, id, &tree.ground) & watch_links(table, id, &tree.ground);
            table.sweep(id, before);
            is_whole = placed.map_err(|Full| limit_reached())? && beside && tree.ground.leads_as_before();
            Ok(())
        });
        tree.are_placed(is_whole, now);
        let means = match means {
            Ok(()) => tree.ground.means(),
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
        if let Ok(table) = &self.table
            && !self.only_writing
        {
            fds.push(PollFd::from_borrowed_fd(table.inotify.as_fd(), PollFlags::IN));
        }
        let mounts = self.mounts.changed_fd().map(|fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::PRI));
            fds.len() - 1
        });
        let longest = match (self.backlog.is_empty(), self.only_writing) {
            (false, _) => Duration::ZERO,
            (true, true) => LULL,
            (true, false) => Duration::MAX,
        };
        let timeout = self.trees.values().map(Tree::deadline).min().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now()).min(longest);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        // What cannot be waited for is looked at.
        self.is_asked = true;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        self.is_asked = !fds[0].revents().is_empty();
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

fn table(pace: Pace) -> Result<Table, String> {
    Inotify::new().map(|inotify| Table::new(inotify, pace.limit)).map_err(|error| {
        format!("inotify is not to be had ({error}); raise fs.inotify.max_user_instances with sysctl")
    })
}

/// Whether it is watched, or not there yet, which is heard of.
pub(super) fn watch_repodata(table: &mut Table, id: TreeId, ground: &Ground) -> bool {
    let path = &ground.repodata;
    let follow = is_link(path);
    table.add(id, "repodata", path, follow).map_or_else(|refused| !refused.is_passing(), |_| true)
}

/// Watches the directories in which the links to the root lie; whether all are watched.
fn watch_links(table: &mut Table, id: TreeId, ground: &Ground) -> bool {
    let mut all = true;
    for (index, (directory, _)) in ground.links.iter().enumerate() {
        all &= table.add(id, &format!("{LINK}{index}"), directory, true).is_ok();
    }
    all
}

/// Begins the path of a directory that a link to the root lies in: no place in the tree has it.
pub(super) const LINK: &str = "../";
