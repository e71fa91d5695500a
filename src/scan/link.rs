//! Where a symbolic link leads.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

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

pub(super) const LEAVES: &str = "it is a symbolic link that leads out of the repository; \
     replace it by the file itself, or set symlinks = \"anywhere\"";
