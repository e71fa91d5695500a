//! Reads the tree: looks at what is dirty, and reads packages. Rejects without failing.

mod compare;
mod read;
#[cfg(test)]
mod tests;
mod thing;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::config::{AdditionalMetadata, Covered, Symlinks};
use crate::package::Location;
use crate::tree::{Differences, Dirty, FileStamp};

pub use read::{is_unchanged, open_additional, open_outside, read};

/// How a look is taken.
#[derive(Debug, Clone)]
pub struct LookRules {
    pub symlinks: Symlinks,
    /// Which files are looked at besides packages.
    pub additional: AdditionalMetadata,
    /// Directories whose URLs belong to other repositories.
    pub covered: Vec<Covered>,
    /// Age below which an unsure file is left for later; `None` takes all (`createrepod index`).
    pub settle: Option<Duration>,
    /// Now, in nanoseconds since the epoch.
    pub now_ns: i64,
    /// The directory the root is expected to be, from [`root_id`]; `None` accepts any.
    pub root: Option<RootId>,
}

/// Which directory the root is: an unmounted file system leaves another one, empty, at the same path.
///
/// Stable while the file system stays mounted; network file systems may get another device number
/// with the next mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId {
    pub device: u64,
    pub inode: u64,
}

/// Why nothing can be said about the tree: what is published has to stay as it is.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    #[error(
        "{} does not exist; mount or create it (what is published stays as it is until then)",
        root.display()
    )]
    RootMissing { root: PathBuf },
    #[error("{} is not a directory", root.display())]
    RootNotADirectory { root: PathBuf },
    /// The path leads to another directory than before: unmounted, mounted over, or made anew.
    #[error(
        "{} is no longer the directory it was: something was mounted, unmounted or replaced there",
        root.display()
    )]
    RootReplaced { root: PathBuf },
    #[error("cannot read the directory {}{}", root.display(), what_to_do(source))]
    Root { root: PathBuf, source: io::Error },
}

impl LookError {
    fn from_errno(root: &Path, errno: Errno) -> Self {
        let root = root.to_path_buf();
        match errno {
            Errno::NOENT => Self::RootMissing { root },
            Errno::NOTDIR => Self::RootNotADirectory { root },
            errno => Self::Root { root, source: errno.into() },
        }
    }
}

fn what_to_do(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; give the daemon's user the right to read and enter it (chmod a+rX, setfacl)"
        }
        _ => "",
    }
}

/// Says which directory `root` is now.
pub fn root_id(root: &Path) -> Result<RootId, LookError> {
    let open = || {
        let fd = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::fstat(&fd)
    };
    open().map(|stat| thing::id(&stat)).map_err(|errno| LookError::from_errno(root, errno))
}

/// Looks at every dirty place and holds it against `known`.
///
/// What cannot be seen (no right to read a directory, an i/o error) is told with a reason, and what is known
/// below it stays as it is: only a name that is certainly not there removes a package.
pub fn look(
    root: &Path,
    dirty: &Dirty,
    known: &[(Location, FileStamp)],
    rules: &LookRules,
) -> Result<Differences, LookError> {
    let eye = walk::Eye::open(root, rules)?;
    let sighted = if dirty.everything { eye.everything() } else { eye.places(dirty) };
    // A tree that was removed, or whose mount went away, while it was walked looks empty.
    if root_id(root)? != eye.root_id() {
        return Err(LookError::RootReplaced { root: root.to_path_buf() });
    }
    Ok(compare::compare(dirty, sighted, known, rules))
}

/// The stamp of a package file now; `None` where there is no such file.
pub fn stamp(root: &Path, location: &Location) -> io::Result<Option<FileStamp>> {
    stamp_of(&location.under(root))
}

/// The stamp of a file anywhere; `None` where there is no such file.
pub fn stamp_of(path: &Path) -> io::Result<Option<FileStamp>> {
    match rustix::fs::stat(path) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
            Ok(Some(thing::stamp(&stat)))
        }
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
