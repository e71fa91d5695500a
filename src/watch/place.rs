//! Places watches on the directories of a tree.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::ground::Ground;
use super::inotify::{Event, Refused};
use super::links::Links;
use super::table::{Table, TreeId, Watched};
use crate::config::{Leads, Symlinks};
use crate::package::Location;

/// Directories below links that are watched in one go; links that branch at every level name
/// exponentially many.
const MOST_LINKED: usize = 100_000;

/// Directories watched before what happened meanwhile is taken in, lest the kernel's queue overflow.
const BETWEEN_READS: usize = 512;

/// The limit on watches is reached.
#[derive(Debug)]
pub(super) struct Full;

/// Watches the directory at `path` of the tree, and all below it. What is no directory (any more),
/// or may not be read, is passed over: a look at the tree reports it. Links to files go into `links`. Says whether all of
/// it could be seen; else it has to be done again.
pub(super) fn place(
    table: &mut Table,
    tree: TreeId,
    ground: &Ground,
    path: &str,
    links: &mut Links,
    backlog: &mut VecDeque<Event>,
) -> Result<bool, Full> {
    let mut is_whole = true;
    let mut to_do = vec![(path.to_owned(), is_link(&ground.root.join(path)))];
    let (mut done, mut linked) = (0_usize, 0);
    while let Some((path, is_link)) = to_do.pop() {
        let full = ground.root.join(&path);
        let wd = match table.add(tree, &path, &full, is_link || path.is_empty()) {
            Ok(Watched::New(wd)) => wd,
            // What appeared in it since was, or will be, heard of by itself.
            Ok(Watched::Already) => continue,
            Err(Refused::Full) => return Err(Full),
            Err(refused) => {
                is_whole &= !refused.is_passing();
                continue;
            }
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
        match directories(ground, &path, &full, links) {
            Ok(below) => to_do.extend(below),
            // Gone again, which is heard of.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => is_whole &= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    Ok(is_whole)
}

/// The directories, and links to directories, that are to be watched in a directory.
fn directories(
    ground: &Ground,
    path: &str,
    full: &Path,
    links: &mut Links,
) -> io::Result<Vec<(String, bool)>> {
    let mut directories = Vec::new();
    for entry in fs::read_dir(full)? {
        let entry = entry?;
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
        } else if kind.is_symlink()
            && let Some(target) = target(ground, &entry.path())
        {
            let is_directory = target.is_directory;
            links.remember(target, &below);
            if is_directory {
                directories.push((below, true));
            }
        }
    }
    Ok(directories)
}

/// What a link in the tree leads to.
pub(super) struct Target {
    pub is_directory: bool,
    /// Where in the tree its text says it lies, and where it does lie.
    pub at: [Option<Location>; 2],
}

/// What a link leads to, if that is inside the tree and links are followed. What is outside is left
/// to the periodic comparison.
pub(super) fn target(ground: &Ground, link: &Path) -> Option<Target> {
    if ground.symlinks == Symlinks::Never {
        return None;
    }
    // By its text first: a file server that a link leads to may be down, and stat(2) would hang.
    let text = normal(&link.parent()?.join(fs::read_link(link).ok()?));
    let inside = text.strip_prefix(&ground.root).or_else(|_| text.strip_prefix(&ground.real)).ok()?;
    let named = Location::from_path(inside).ok();
    let Ok(target) = fs::canonicalize(link) else {
        // Dangling: what it names may come yet.
        return Some(Target { is_directory: false, at: [named, None] });
    };
    let inside = target.strip_prefix(&ground.real).ok()?;
    if ground.symlinks.leads(&ground.real, &target) != Leads::Followed {
        return None;
    }
    let is_directory = fs::metadata(&target).ok()?.is_dir();
    Some(Target { is_directory, at: [named, Location::from_path(inside).ok()] })
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
