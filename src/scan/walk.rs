//! Sees what lies in the tree: whole directories in parallel, or single places.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::thing::{Directory, OURS, Thing, id, real_path};
use super::{LookError, LookRules, RootId};
use crate::beneath::own;
use crate::config::{AdditionalMetadata, Covered, Symlinks};
use crate::package::Location;
use crate::tree::{Dirty, FileStamp, Found, Unread};

/// Directories entered below links in one look. Links that branch at every level name exponentially
/// many paths without ever forming a loop.
const MOST_LINKED: u32 = 100_000;
const TOO_MANY_LINKED: &str = "symbolic links lead to more than 100000 directories; \
     remove links that point at directories full of links";

const OWN_URL: &str = "it cannot be fetched: at the top of a repository, - and names that begin with @ are the server's own URLs; \
     rename it";

/// Entries of one directory that one thread looks at.
const AT_ONCE: usize = 1024;

/// What a look saw.
#[derive(Debug, Default)]
pub(super) struct Sighted {
    /// Unsorted; a place asked for twice may be here twice.
    pub files: Vec<Found>,
    /// Paths at and below which nothing could be seen; the empty text is the root.
    pub unseen: Vec<String>,
    /// `(path, reason)`
    pub refused: Vec<(String, String)>,
    /// Those of `unseen` that the system would not show.
    pub unread: Vec<Unread>,
}

impl Sighted {
    fn refuse(&mut self, path: &str, why: impl Into<String>) {
        self.refused.push((path.into(), why.into()));
    }

    fn unseen(&mut self, path: &str, errno: Errno) {
        self.unseen.push(path.into());
        let error = std::io::Error::from(errno);
        let then = super::what_to_do(&error);
        let reason = format!("cannot look at it: {error}{then}; what was known of it stays as it is");
        if errno == Errno::NAMETOOLONG {
            // It will be tomorrow.
            return self.refuse(path, reason);
        }
        self.unread.push(Unread { path: path.into(), reason, moving: false });
    }

    fn file(&mut self, path: &str, stamp: FileStamp) {
        match Location::parse(path) {
            Ok(location) => self.files.push(Found { location, stamp }),
            Err(error) => self.refuse(path, error.to_string()),
        }
    }

    fn append(&mut self, mut other: Self) {
        self.files.append(&mut other.files);
        self.unseen.append(&mut other.unseen);
        self.refused.append(&mut other.refused);
        self.unread.append(&mut other.unread);
    }
}

/// The tree under one look.
pub(super) struct Eye<'a> {
    pub root: &'a Path,
    fd: OwnedFd,
    id: RootId,
    /// The root, free of links.
    pub real: PathBuf,
    pub symlinks: Symlinks,
    additional: AdditionalMetadata,
    covered: Vec<Covered>,
    linked: AtomicU32,
    sighted: Mutex<Sighted>,
}

impl<'a> Eye<'a> {
    pub fn open(root: &'a Path, rules: &LookRules) -> Result<Self, LookError> {
        let failed = |errno| LookError::from_errno(root, errno);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(failed)?;
        let id = id(&rustix::fs::fstat(&fd).map_err(failed)?);
        if rules.root.is_some_and(|expected| expected != id) {
            return Err(LookError::RootReplaced { root: root.to_path_buf() });
        }
        let real = real_path(&fd, root).map_err(failed)?;
        let (linked, sighted) = (AtomicU32::new(0), Mutex::default());
        let (additional, covered) = (rules.additional.clone(), rules.covered.clone());
        Ok(Self { root, fd, id, real, symlinks: rules.symlinks, additional, covered, linked, sighted })
    }

    pub fn root_id(&self) -> RootId {
        self.id
    }

    /// Walks the whole tree.
    pub fn everything(&self) -> Sighted {
        rayon::scope(|scope| self.walk(scope, String::new(), None, None));
        self.take()
    }

    /// Looks at single places; walks those that are directories.
    pub fn places(&self, dirty: &Dirty) -> Sighted {
        let mut entered = HashMap::new();
        let mut walked = HashSet::new();
        let mut sighted = Sighted::default();
        for place in dirty.settled.union(&dirty.unsure).filter(|place| !place.is_reserved()) {
            let path = place.as_str();
            if let Some((place, why)) = self.out_of_reach(place) {
                sighted.refuse(place, why);
                continue;
            }
            // The set is sorted: a directory comes before what is in it.
            if parents(path).any(|parent| walked.contains(parent)) {
                continue;
            }
            let Some(parent) = self.enter_parents(path, &mut entered, &mut sighted) else { continue };
            match self.thing(self.fd.as_fd(), path, &parent, path) {
                Thing::File(stamp) if self.wants(path) => sighted.file(path, stamp),
                Thing::File(_) | Thing::Nothing => {}
                Thing::Directory { id, linked } => {
                    walked.insert(path);
                    let expected = linked.then_some(id);
                    rayon::scope(|scope| self.walk(scope, path.into(), Some(parent), expected));
                }
                Thing::Refused(why) => sighted.refuse(path, why),
                Thing::Unseen(errno) => sighted.unseen(path, errno),
            }
        }
        sighted.append(self.take());
        sighted
    }

    fn take(&self) -> Sighted {
        std::mem::take(&mut *self.sighted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, sighted: Sighted) {
        self.sighted.lock().unwrap_or_else(PoisonError::into_inner).append(sighted);
    }

    /// The directory `path` lies in, if a walk from the root would reach it.
    fn enter_parents<'p>(
        &self,
        path: &'p str,
        entered: &mut HashMap<&'p str, Option<Arc<Directory>>>,
        sighted: &mut Sighted,
    ) -> Option<Arc<Directory>> {
        let top =
            || Some(Arc::new(Directory { path: String::new(), id: self.id, linked: false, parent: None }));
        let mut directory = entered.entry("").or_insert_with(top).clone()?;
        for path in parents(path) {
            let next = entered.entry(path).or_insert_with(|| {
                match self.thing(self.fd.as_fd(), path, &directory, path) {
                    Thing::Directory { id, linked } => {
                        let linked = linked || directory.linked;
                        Some(Arc::new(Directory {
                            path: path.into(),
                            id,
                            linked,
                            parent: Some(directory.clone()),
                        }))
                    }
                    Thing::File(_) | Thing::Nothing => None,
                    Thing::Refused(why) => {
                        sighted.refuse(path, why);
                        None
                    }
                    Thing::Unseen(errno) => {
                        sighted.unseen(path, errno);
                        None
                    }
                }
            });
            directory = next.clone()?;
        }
        Some(directory)
    }

    /// Walks the directory at `path`. `expected` is what the link at `path` was seen to lead to.
    fn walk<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        path: String,
        parent: Option<Arc<Directory>>,
        expected: Option<RootId>,
    ) {
        let linked = expected.is_some() || parent.as_ref().is_some_and(|parent| parent.linked);
        let mut sighted = Sighted::default();
        if linked {
            let before = self.linked.fetch_add(1, Ordering::Relaxed);
            if before == MOST_LINKED {
                sighted.refuse(&path, TOO_MANY_LINKED);
            }
            if before >= MOST_LINKED {
                // Which paths were first is chance: nothing may come and go with it.
                sighted.unseen.push(path);
                return self.add(sighted);
            }
        }
        let (id, entries) = match self.entries(&path, expected.is_some()) {
            Ok(read) => read,
            // Removed, or replaced by something else, since it was seen.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(errno) => {
                sighted.unseen(&path, errno);
                return self.add(sighted);
            }
        };
        if expected.is_some_and(|expected| expected != id) {
            return;
        }
        if entries.is_ours {
            own::is_seen_astray();
            sighted.refuse(&path, OURS);
            return self.add(sighted);
        }
        let directory = Arc::new(Directory { path, id, linked, parent });
        if let Some(errno) = entries.broken_off {
            sighted.unseen(&directory.path, errno);
            self.add(sighted);
        }
        let entries = Arc::new(entries);
        for start in (AT_ONCE..entries.names.len()).step_by(AT_ONCE) {
            let (directory, entries) = (directory.clone(), entries.clone());
            scope.spawn(move |scope| self.look_at(scope, &directory, &entries, start));
        }
        self.look_at(scope, &directory, &entries, 0);
    }

    /// Looks at the entries from `start` on, as many as are taken in one go.
    fn look_at<'s>(
        &'s self,
        scope: &rayon::Scope<'s>,
        directory: &Arc<Directory>,
        entries: &Entries,
        start: usize,
    ) {
        let mut sighted = Sighted::default();
        for (name, kind) in entries.names.iter().skip(start).take(AT_ONCE) {
            if let Some((path, expected)) = self.entry(&entries.fd, directory, name, *kind, &mut sighted) {
                let parent = Some(directory.clone());
                scope.spawn(move |scope| self.walk(scope, path, parent, expected));
            }
        }
        self.add(sighted);
    }

    /// Reads the names of one directory that are not left out.
    fn entries(&self, path: &str, is_link: bool) -> Result<(RootId, Entries), Errno> {
        let mut flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if !is_link {
            flags |= OFlags::NOFOLLOW;
        }
        let fd =
            rustix::fs::openat(&self.fd, if path.is_empty() { "." } else { path }, flags, Mode::empty())?;
        let id = id(&rustix::fs::fstat(&fd)?);
        let mut names = Vec::new();
        let (mut broken_off, mut is_ours) = (None, false);
        for entry in Dir::read_from(&fd)? {
            match entry {
                Ok(entry) => {
                    let (name, kind) = (entry.file_name(), entry.file_type());
                    is_ours |= name.to_bytes() == own::MARK.as_bytes() && self.is_marked(path);
                    if self.may_matter(path, name, kind) {
                        names.push((name.to_owned(), kind));
                    }
                }
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    broken_off = Some(errno);
                    break;
                }
            }
        }
        Ok((id, Entries { fd, names, broken_off, is_ours }))
    }

    /// Whether the directory at `path` is the daemon's own, under another name.
    pub fn is_marked(&self, path: &str) -> bool {
        !path.is_empty() && own::is_marked(&self.fd, path)
    }

    /// Looks at one entry; returns the path of a directory to walk, and what it is when it is a link.
    fn entry(
        &self,
        fd: &OwnedFd,
        directory: &Directory,
        name: &CStr,
        kind: FileType,
        sighted: &mut Sighted,
    ) -> Option<(String, Option<RootId>)> {
        let Ok(text) = name.to_str() else {
            let path = directory.child(&name.to_string_lossy());
            if kind == FileType::Directory || name.to_bytes().ends_with(b".rpm") {
                sighted.refuse(&path, "its name is not UTF-8, which metadata cannot express; rename it");
            }
            return None;
        };
        let path = directory.child(text);
        if let Some(why) = self.is_out_of_reach(&path) {
            // A link or a file that nobody would publish is no news.
            if kind == FileType::Directory || self.wants(&path) {
                sighted.refuse(&path, why);
            }
            return None;
        }
        if kind == FileType::Directory {
            return Some((path, None));
        }
        match self.thing(fd.as_fd(), name, directory, &path) {
            Thing::File(stamp) if self.wants(&path) => sighted.file(&path, stamp),
            Thing::File(_) | Thing::Nothing => {}
            Thing::Directory { id, linked } => return Some((path, linked.then_some(id))),
            Thing::Refused(why) => sighted.refuse(&path, why),
            Thing::Unseen(errno) => sighted.unseen(&path, errno),
        }
        None
    }
}

struct Entries {
    fd: OwnedFd,
    names: Vec<(CString, FileType)>,
    /// Why not all names could be read.
    broken_off: Option<Errno>,
    /// Whether it is the daemon's own directory, under another name.
    is_ours: bool,
}

impl Eye<'_> {
    /// Whether a name in the directory at `path` is not hidden, not `repodata/` at the top, and may be
    /// a package, additional metadata, a directory, or a link to one.
    fn may_matter(&self, path: &str, name: &CStr, kind: FileType) -> bool {
        let bytes = name.to_bytes();
        if bytes.starts_with(b".") || path.is_empty() && bytes == b"repodata" {
            return false;
        }
        match kind {
            FileType::RegularFile if bytes.ends_with(b".rpm") => true,
            FileType::RegularFile => name.to_str().is_ok_and(|name| match path {
                "" => self.wants(name),
                path => self.wants(&format!("{path}/{name}")),
            }),
            FileType::Directory | FileType::Symlink | FileType::Unknown => true,
            _ => false,
        }
    }

    /// Why nothing at `path` can be fetched over HTTP, whatever lies there.
    fn is_out_of_reach(&self, path: &str) -> Option<String> {
        if path == "-" || path.starts_with('@') {
            return Some(OWN_URL.to_owned());
        }
        let covered = self.covered.iter().find(|covered| covered.directory.as_str() == path)?;
        Some(format!(
            "it cannot be fetched: its URL belongs to repository {:?}; give one of the two repositories another url, \
             or move what lies here",
            covered.by
        ))
    }

    /// The place at or above `location` from which on [nothing can be fetched](Self::is_out_of_reach), and why.
    pub fn out_of_reach<'p>(&self, location: &'p Location) -> Option<(&'p str, String)> {
        let path = location.as_str();
        parents(path).chain([path]).find_map(|place| Some((place, self.is_out_of_reach(place)?)))
    }

    /// Whether a file at `path` is a package, or holds additional metadata.
    pub fn wants(&self, path: &str) -> bool {
        path.ends_with(".rpm")
            || Location::parse(path).is_ok_and(|location| self.additional.kind_of(&location).is_some())
    }
}

/// `a` and `a/b` of `a/b/c`.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}
