//! Places watches on the directories of a tree.

use std::collections::{HashSet, VecDeque};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::inotify::{Event, Refused};
use super::table::{Table, TreeId, Watched};
use crate::config::{Leads, Symlinks};

/// Directories below links that are watched in one go; links that branch at every level name
/// exponentially many.
const MOST_LINKED: usize = 100_000;

/// Directories watched before what happened meanwhile is taken in, lest the kernel's queue overflow.
const BETWEEN_READS: usize = 512;

/// The ground a tree stands on.
pub(super) struct Ground {
    pub root: PathBuf,
    /// The root, free of links.
    pub real: PathBuf,
    pub symlinks: Symlinks,
    /// Where network file systems are mounted in the tree; they are not entered.
    pub networks: HashSet<PathBuf>,
}

/// The limit on watches is reached.
#[derive(Debug)]
pub(super) struct Full;

/// Watches the directory at `path` of the tree, and all below it. What is no directory (any more),
/// or may not be read, is passed over: a look at the tree reports it.
pub(super) fn place(
    table: &mut Table,
    tree: TreeId,
    ground: &Ground,
    path: &str,
    backlog: &mut VecDeque<Event>,
) -> Result<(), Full> {
    let mut to_do = vec![(path.to_owned(), is_link(&ground.root.join(path)))];
    let (mut done, mut linked) = (0_usize, 0);
    while let Some((path, is_link)) = to_do.pop() {
        let full = ground.root.join(&path);
        let wd = match table.add(tree, &path, &full, is_link || path.is_empty()) {
            Ok(Watched::New(wd)) => wd,
            // What appeared in it since was, or will be, heard of by itself.
            Ok(Watched::Already) => continue,
            Err(Refused::Full) => return Err(Full),
            Err(Refused::Other(_)) => continue,
        };
        if is_link {
            linked += 1;
            if linked > MOST_LINKED || table.is_loop(tree, &path, wd) {
                table.forget(tree, &path);
                continue;
            }
        }
        done += 1;
        if done.is_multiple_of(BETWEEN_READS) {
            // An error here shows again when the events are waited for.
            let _ = table.read(backlog);
        }
        to_do.extend(directories(ground, &path, &full));
    }
    Ok(())
}

/// The directories, and links to directories, that are to be watched in a directory.
fn directories(ground: &Ground, path: &str, full: &Path) -> Vec<(String, bool)> {
    let Ok(entries) = fs::read_dir(full) else { return Vec::new() };
    let mut directories = Vec::new();
    for entry in entries.flatten() {
        let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
        let Some(name) = name.to_str() else { continue };
        if kind.is_file() || is_left_out(path, name) {
            continue;
        }
        let below = join(path, name);
        if kind.is_dir() {
            if ground.networks.is_empty() || !ground.networks.contains(&ground.real.join(&below)) {
                directories.push((below, false));
            }
        } else if kind.is_symlink() && leads_to_directory(ground, &entry.path()) {
            directories.push((below, true));
        }
    }
    directories
}

/// Whether a link is to be watched as the directory it leads to. Only inside the tree: what is
/// outside is left to the periodic comparison.
pub(super) fn leads_to_directory(ground: &Ground, link: &Path) -> bool {
    if ground.symlinks == Symlinks::Never {
        return false;
    }
    // By its text first: a file server that a link leads to may be down, and stat(2) would hang.
    let Ok(target) = fs::read_link(link) else { return false };
    let target = normal(&link.parent().unwrap_or(link).join(target));
    if !target.starts_with(&ground.root) && !target.starts_with(&ground.real) {
        return false;
    }
    fs::metadata(link).is_ok_and(|target| target.is_dir())
        && fs::canonicalize(link).is_ok_and(|target| {
            target.starts_with(&ground.real)
                && ground.symlinks.leads(&ground.real, &target) == Leads::Followed
        })
}

/// Resolves `.` and `..` by the path's text alone.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

pub(super) fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink())
}

/// Hidden names anywhere, and `repodata` at the top.
pub(super) fn is_left_out(directory: &str, name: &str) -> bool {
    name.starts_with('.') || directory.is_empty() && name == "repodata"
}

pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.into() } else { format!("{directory}/{name}") }
}
