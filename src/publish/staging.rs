//! Where metadata wait until they are shown: a rename crosses no mount point, so they wait where they will be.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use tracing::warn;

use super::{Place, PublishError};

/// In `repodata/`, where that is mounted: hidden and private, as the other one is.
const INSIDE: &str = ".createrepod";

impl Place {
    /// The directory from which a rename leads into `repodata/`.
    pub(super) fn staging(&self) -> Result<PathBuf, PublishError> {
        let same = one_mount(&self.incoming, &self.repodata).map_err(PublishError::write(&self.repodata))?;
        if same {
            return Ok(self.incoming.clone());
        }
        let inside = self.repodata.join(INSIDE);
        match fs::DirBuilder::new().mode(0o700).create(&inside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(PublishError::Write { path: inside, source: error })
            }
            _ => Ok(inside),
        }
    }

    /// Removes what a killed process had staged in either directory.
    pub fn remove_leftovers(&self) {
        let inside = self.repodata.join(INSIDE);
        for directory in [&self.incoming, &inside] {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                // Batches wait for their commit, also through a restart.
                if *directory == self.incoming && entry.file_name() == "batches" {
                    continue;
                }
                if let Err(error) = fs::remove_file(entry.path()) {
                    warn!("cannot remove the leftover {}: {error}", entry.path().display());
                }
            }
        }
        // It is made again where it is needed.
        let _ = fs::remove_dir(inside);
    }
}

/// Whether both lie on one mount of one file system. A bind mount of the same file system is another mount.
fn one_mount(one: &Path, other: &Path) -> io::Result<bool> {
    let of = |path: &Path| {
        let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
        // Linux before 5.8 does not tell mounts apart, and leaves zero here for both.
        Ok::<_, io::Error>((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id))
    };
    Ok(of(one)? == of(other)?)
}
