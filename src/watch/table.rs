//! Which directory of which tree is watched under which descriptor.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::inotify::{Event, Inotify, Refused, Wd};

pub(super) type TreeId = u64;

/// One directory of one tree. Links make one directory lie at several places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub tree: TreeId,
    /// Relative to the tree's root, which is the empty text.
    pub path: Arc<str>,
}

/// The watched directories of one tree by their path.
pub(super) type Paths = BTreeMap<Arc<str>, Wd>;

pub(super) struct Table {
    pub inotify: Inotify,
    /// Most directories watched; below the system's own limit only in tests.
    limit: usize,
    by_wd: HashMap<Wd, Vec<Place>>,
    by_tree: HashMap<TreeId, Paths>,
}

/// What came of watching a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    New(Wd),
    /// This directory was watched at this place before.
    Already,
}

impl Table {
    pub fn new(inotify: Inotify, limit: usize) -> Self {
        Self { inotify, limit, by_wd: HashMap::new(), by_tree: HashMap::new() }
    }

    /// Watches the directory that lies at `path` of a tree, in the file system at `full`.
    pub fn add(&mut self, tree: TreeId, path: &str, full: &Path, follow: bool) -> Result<Watched, Refused> {
        let wd = self.inotify.add(full, follow)?;
        match self.by_tree.get(&tree).and_then(|paths| paths.get(path)) {
            Some(before) if *before == wd => return Ok(Watched::Already),
            Some(_) => self.forget(tree, path),
            None => {}
        }
        if !self.by_wd.contains_key(&wd) && self.by_wd.len() >= self.limit {
            self.inotify.remove(wd);
            return Err(Refused::Full);
        }
        let path: Arc<str> = path.into();
        self.by_tree.entry(tree).or_default().insert(path.clone(), wd);
        let (place, places) = (Place { tree, path }, self.by_wd.entry(wd).or_default());
        if !places.contains(&place) {
            places.push(place);
        }
        Ok(Watched::New(wd))
    }

    /// Where in which trees the directory lies.
    pub fn places(&self, wd: Wd) -> Vec<Place> {
        self.by_wd.get(&wd).cloned().unwrap_or_default()
    }

    pub fn has(&self, tree: TreeId, path: &str) -> bool {
        self.by_tree.get(&tree).is_some_and(|paths| paths.contains_key(path))
    }

    /// Whether the directory `wd` at `path` is also one of those that lead there.
    pub fn is_loop(&self, tree: TreeId, path: &str, wd: Wd) -> bool {
        let Some(paths) = self.by_tree.get(&tree) else { return false };
        let parents = path.match_indices('/').map(|(end, _)| &path[..end]).chain([""]);
        parents.filter(|parent| *parent != path).any(|parent| paths.get(parent) == Some(&wd))
    }

    /// Forgets the directory at `path` of a tree and all below it.
    pub fn forget(&mut self, tree: TreeId, path: &str) {
        let Some(paths) = self.by_tree.get_mut(&tree) else { return };
        let mut forgotten = Vec::new();
        forgotten.extend(paths.remove_entry(path));
        let below = format!("{path}/");
        while let Some((next, _)) =
            paths.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded)).next()
            && next.starts_with(&below)
        {
            let next = next.clone();
            forgotten.extend(paths.remove_entry(&next));
        }
        for (path, wd) in forgotten {
            self.leave(wd, &Place { tree, path });
        }
    }

    /// Takes out all paths of a tree, for [`Self::sweep`] to be given what is left of them.
    pub fn take_paths(&mut self, tree: TreeId) -> Paths {
        self.by_tree.remove(&tree).unwrap_or_default()
    }

    /// Forgets those of the paths taken out before that are not the tree's again.
    pub fn sweep(&mut self, tree: TreeId, before: Paths) {
        for (path, wd) in before {
            if self.by_tree.get(&tree).and_then(|paths| paths.get(&path)) != Some(&wd) {
                self.leave(wd, &Place { tree, path });
            }
        }
    }

    /// Takes note that the kernel watches this directory no longer.
    pub fn ignored(&mut self, wd: Wd) {
        for place in self.by_wd.remove(&wd).unwrap_or_default() {
            if let Some(paths) = self.by_tree.get_mut(&place.tree)
                && paths.get(&place.path) == Some(&wd)
            {
                paths.remove(&place.path);
            }
        }
    }

    pub fn read(&mut self, into: &mut VecDeque<Event>) -> io::Result<()> {
        self.inotify.read(into)
    }

    fn leave(&mut self, wd: Wd, place: &Place) {
        if let Some(places) = self.by_wd.get_mut(&wd) {
            places.retain(|other| other != place);
            if places.is_empty() {
                self.by_wd.remove(&wd);
                self.inotify.remove(wd);
            }
        }
    }
}
