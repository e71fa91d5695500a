//! Reads the tree: looks at what is dirty, and reads packages. Rejects without failing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{RepositoryConfig, Symlinks};
use crate::package::Location;
use crate::tree::{Differences, Dirty, FileStamp, Found, Rejected, Scanned};

/// What the catalog remembers of the places that are dirty: every known location that is one of
/// them or lies below one of them, rejected ones too.
pub trait Stamps {
    fn below(&self, places: &Dirty) -> Result<Vec<(Location, FileStamp)>, anyhow::Error>;
}

/// How a look is taken.
#[derive(Debug, Clone, Copy)]
pub struct LookRules {
    pub symlinks: Symlinks,
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
    #[error("{} is no longer the directory it was: something was mounted, unmounted or replaced there", root.display())]
    RootReplaced { root: PathBuf },
    #[error("cannot read the directory {}", root.display())]
    Root { root: PathBuf, source: std::io::Error },
}

/// Says which directory `root` is now.
pub fn root_id(_root: &Path) -> Result<RootId, LookError> {
    todo!()
}

/// Looks at every dirty place and holds it against `known`.
///
/// What cannot be seen (no right to read a directory, an i/o error) is refused with a reason, and
/// what is known below it stays as it is: an `ENOENT` removes packages, a `chmod` does not.
pub fn look(
    _root: &Path,
    _dirty: &Dirty,
    _known: &[(Location, FileStamp)],
    _rules: &LookRules,
) -> Result<Differences, LookError> {
    todo!()
}

/// Reads one package: digest, header, fragments. Its stamp is the one before the first byte was
/// read; a file that changed while it was read is rejected as unfinished. Blocking, one thread.
pub fn read(_config: &RepositoryConfig, _found: &Found) -> Result<Scanned, Rejected> {
    todo!()
}
