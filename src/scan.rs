//! Reads the tree: looks at what is dirty, and reads packages in parallel. Rejects without failing.

use std::path::Path;

use crate::config::{RepositoryConfig, Symlinks};
use crate::package::Location;
use crate::tree::{Differences, Dirty, FileStamp, Found, Rejected, Scanned};

/// What the catalog remembers of the places that are dirty: every known location that is one of
/// them or lies below one of them, rejected ones too.
pub trait Stamps {
    fn below(&self, places: &Dirty) -> Result<Vec<(Location, FileStamp)>, anyhow::Error>;
}

/// Looks at every dirty place and holds it against `known`.
pub fn look(
    _root: &Path,
    _dirty: &Dirty,
    _known: &[(Location, FileStamp)],
    _rules: &LookRules,
) -> Differences {
    todo!()
}

#[derive(Debug, Clone, Copy)]
pub struct LookRules {
    pub symlinks: Symlinks,
    /// Age in nanoseconds below which an unsure file is left for later; `None` takes all (`createrepod index`).
    pub settle: Option<std::time::Duration>,
    /// Now, in nanoseconds since the epoch.
    pub now_ns: i64,
}

/// Reads one package: digest, header, fragments. Its stamp is the one before the first byte was
/// read; a file that changed while it was read is rejected as unfinished.
pub fn read(_config: &RepositoryConfig, _found: &Found) -> Result<Scanned, Rejected> {
    todo!()
}
