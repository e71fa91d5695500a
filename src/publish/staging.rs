//! Where metadata wait until they are shown: a rename crosses no mount point, so they wait where they will be.

use std::io;

use rustix::fs::{AtFlags, StatxFlags, statx};
use tracing::warn;

use super::Place;
use crate::beneath::own::{Own, PRIVATE};

/// The directory from which a rename leads into `repodata`: `incoming`, or where that lies on another mount a hidden one in
/// `repodata` itself.
pub(super) fn between(incoming: Own, repodata: &Own) -> io::Result<Own> {
    if one_mount(&incoming, repodata)? { Ok(incoming) } else { repodata.make(PRIVATE) }
}

impl Place {
    /// Removes what a killed process had staged in either directory.
    pub fn remove_leftovers(&self) {
        let incoming = Own::private(&self.above).and_then(|private| private.sub("incoming"));
        let repodata = Own::repodata(&self.above);
        let inside = repodata.as_ref().ok().and_then(|repodata| repodata.sub(PRIVATE).ok());
        // Batches wait for their commit, also through a restart.
        let names = |directory: &Own| {
            let names = directory.names().unwrap_or_default();
            names.into_iter().filter(|name| name != "batches").collect::<Vec<_>>()
        };
        for directory in incoming.iter().chain(&inside) {
            for name in names(directory) {
                if let Err(error) = directory.remove(&name) {
                    warn!("cannot remove the leftover {}: {error}", directory.path().join(&name).display());
                }
            }
        }
        if let (Ok(repodata), Some(_)) = (repodata, inside) {
            // It is made again where it is needed.
            let _ = repodata.remove_directory(PRIVATE);
        }
    }
}

/// Whether both lie on one mount of one file system. A bind mount of the same file system is another mount.
fn one_mount(one: &Own, other: &Own) -> io::Result<bool> {
    let of = |directory: &Own| {
        let stat = statx(directory, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        // Linux before 5.8 does not tell mounts apart, and leaves zero here for both.
        Ok::<_, io::Error>((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id))
    };
    Ok(of(one)? == of(other)?)
}
