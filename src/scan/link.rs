//! Where a symbolic link leads, and whether `symlinks` lets us go there.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::config::Symlinks;

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

/// What the rule says of a link whose target's real path is `target`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leads {
    Followed,
    /// Left out without a word: links are not followed here, or it leads to what is reserved.
    Nowhere,
    /// It leaves the tree, which the administrator may not have meant.
    Outside,
}

/// `root` is the tree's real path.
pub(super) fn leads(rule: Symlinks, root: &Path, target: &Path) -> Leads {
    match (rule, target.strip_prefix(root)) {
        (Symlinks::Never, _) => Leads::Nowhere,
        // Through a link nobody sees staged uploads, kept packages or metadata as packages either.
        (_, Ok(inside)) if inside.starts_with(".createrepod") || inside.starts_with("repodata") => {
            Leads::Nowhere
        }
        (_, Ok(_)) | (Symlinks::Anywhere, Err(_)) => Leads::Followed,
        (Symlinks::Inside, Err(_)) => Leads::Outside,
    }
}

pub(super) const LEAVES: &str = "it is a symbolic link that leads out of the repository; \
     replace it by the file itself, or set symlinks = \"anywhere\"";
