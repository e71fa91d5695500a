//! What is at one place of the tree, and where links lead.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::RootId;
use super::walk::Eye;
use crate::beneath::own;
use crate::config::{Leads, Symlinks};
use crate::package::Location;
use crate::tree::FileStamp;

pub(super) const LEAVES: &str = "it is a symbolic link that leads out of the repository; \
     replace it by the file itself, or set symlinks = \"anywhere\"";

pub(super) const OURS: &str = "it is the daemon's own directory .createrepod, or a copy of it, under another name; \
     nothing in it is published: remove it";

/// What is at a place.
pub(super) enum Thing {
    File(FileStamp),
    Directory {
        id: RootId,
        linked: bool,
    },
    /// Nothing that could be a package or hold one.
    Nothing,
    Refused(&'static str),
    Unseen(Errno),
}

/// A directory that is being walked.
pub(super) struct Directory {
    /// Relative to the root, which is the empty text.
    pub path: String,
    pub id: RootId,
    /// Whether a link leads here.
    pub linked: bool,
    pub parent: Option<Arc<Directory>>,
}

impl Directory {
    pub fn child(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}/{name}", self.path) }
    }

    /// Whether `id` is this directory or one of those that lead here: then entering it is a loop.
    fn is_below(&self, id: RootId) -> bool {
        std::iter::successors(Some(self), |directory| directory.parent.as_deref()).any(|d| d.id == id)
    }
}

impl Eye<'_> {
    /// What `name` in the open directory `at` is. `path` is the same place, seen from the root.
    pub fn thing(&self, at: BorrowedFd<'_>, name: impl Arg + Copy, parent: &Directory, path: &str) -> Thing {
        let stat = match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => return Thing::Nothing,
            Err(errno) => return Thing::Unseen(errno),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Thing::File(stamp(&stat)),
            FileType::Directory if own::is_any_astray() && self.is_marked(path) => Thing::Refused(OURS),
            FileType::Directory => Thing::Directory { id: id(&stat), linked: false },
            FileType::Symlink if self.symlinks != Symlinks::Never => self.target(at, name, parent, path),
            _ => Thing::Nothing,
        }
    }

    /// What the link `name` leads to.
    fn target(&self, at: BorrowedFd<'_>, name: impl Arg, parent: &Directory, path: &str) -> Thing {
        let target = match rustix::fs::openat(at, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Thing::Nothing,
            Err(errno) => return Thing::Unseen(errno),
        };
        let stat = match rustix::fs::fstat(&target) {
            Ok(stat) => stat,
            Err(errno) => return Thing::Unseen(errno),
        };
        let thing = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if self.wants(path) => Thing::File(stamp(&stat)),
            FileType::Directory if !parent.is_below(id(&stat)) => {
                Thing::Directory { id: id(&stat), linked: true }
            }
            _ => return Thing::Nothing,
        };
        match real_path(&target, &self.root.join(path)) {
            Ok(real) => match self.symlinks.leads(&self.real, &real) {
                // `hello-latest.rpm -> hello-1.0-1.noarch.rpm`: the package is listed under the name it has.
                Leads::Followed if matches!(thing, Thing::File(_)) && self.is_listed_anyway(&real) => {
                    Thing::Nothing
                }
                Leads::Followed => thing,
                Leads::Nowhere => Thing::Nothing,
                Leads::Outside => Thing::Refused(LEAVES),
            },
            Err(errno) => Thing::Unseen(errno),
        }
    }

    /// Whether a file at `real`, free of links, is seen by a walk without any link.
    fn is_listed_anyway(&self, real: &Path) -> bool {
        let location = real.strip_prefix(&self.real).ok().and_then(|path| Location::from_path(path).ok());
        location.is_some_and(|location| {
            !location.is_reserved() && self.wants(location.as_str()) && self.out_of_reach(&location).is_none()
        })
    }
}

/// The path of an open file, free of links. `path` is how it was opened.
pub(super) fn real_path(file: impl AsFd, path: &Path) -> Result<PathBuf, Errno> {
    let proc = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    match rustix::fs::readlink(proc, Vec::new()) {
        Ok(real) => Ok(PathBuf::from(OsString::from_vec(real.into_bytes()))),
        // No /proc, as in a bare chroot.
        Err(_) => {
            std::fs::canonicalize(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        }
    }
}

#[allow(clippy::unnecessary_cast)] // the fields' widths differ between architectures
pub(super) fn id(stat: &Stat) -> RootId {
    RootId { device: stat.st_dev as u64, inode: stat.st_ino as u64 }
}

#[allow(clippy::unnecessary_cast)]
pub(super) fn stamp(stat: &Stat) -> FileStamp {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    FileStamp {
        inode: stat.st_ino as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}
