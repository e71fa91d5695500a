//! What clients were told about before the current publication: kept as long as promised, and no longer.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tracing::warn;

use super::{Handle, Repository, RepositoryError};
use crate::crash::{self, Point};
use crate::package::Location;
use crate::publish::PublishError;
use crate::publish::retire::{self, Limits};
use crate::tree::FileStamp;

/// For so long superseded files lie whole in repodata/, where other programs may serve them.
const WHOLE_FOR: Duration = Duration::from_secs(600);
/// … as long as they take no more room than so many current publications,
const WHOLE_TIMES: u64 = 2;
/// … or than this: what is small need not be folded before a reader of the disk had time to read it.
const WHOLE_AT_LEAST: u64 = 16 << 20;

impl Repository {
    /// Removes what is past its grace; folds what is old into its recipe.
    pub(super) fn retire(&mut self) -> Result<(), RepositoryError> {
        let now = self.now();
        let repodata = self.place.repodata.clone();
        let grace = self.config.grace.as_secs();
        let room = self.room()?;
        let current = self.current_size;
        let catalog = self.catalog()?;
        let over: Vec<String> =
            catalog.superseded_by(now.saturating_sub(grace))?.into_iter().map(|f| f.name).collect();
        let over = removed(&repodata, over);
        if !over.is_empty() {
            crash::point(Point::OldRemoved);
        }
        catalog.forget_metadata_files(&over)?;
        if !over.is_empty() {
            crash::point(Point::OldForgotten);
        }
        catalog.forget_publications(now.saturating_sub(grace))?;
        let limits = Limits {
            whole_for: WHOLE_FOR,
            whole_room: room.min((current * WHOLE_TIMES).max(WHOLE_AT_LEAST)),
        };
        let fold = retire::to_fold(&catalog.superseded_whole()?, now, limits);
        let fold = removed(&repodata, fold);
        catalog.fold_metadata_files(&fold)?;
        Ok(())
    }

    /// Forgets the oldest recipes when their pieces take more room than they may. Costs a look at all
    /// recipes: for idle times.
    pub(super) fn forget_recipes_for_room(&mut self) -> Result<(), RepositoryError> {
        let room = self.room()?;
        let name = self.config.name.clone();
        let catalog = self.catalog()?;
        let held = catalog.held_bytes()?;
        if held <= room {
            return Ok(());
        }
        let all = catalog.superseded_by(u64::MAX)?;
        let oldest: Vec<String> = all.iter().take(all.len() / 4 + 1).map(|f| f.name.clone()).collect();
        warn!(repo.name = %name, files = oldest.len(),
              "superseded metadata of {name} takes more than grace_space allows; {} files go before their grace has ended",
              oldest.len());
        let oldest = removed(&self.place.repodata, oldest);
        Ok(self.catalog()?.forget_metadata_files(&oldest)?)
    }

    fn room(&self) -> Result<u64, RepositoryError> {
        let path = self.config.path.clone();
        let room = retire::room(&path, self.config.grace_space);
        Ok(room.map_err(|source| PublishError::Read { path, source })?)
    }
}

/// Those of `names` that are no longer in `repodata`.
fn removed(repodata: &std::path::Path, names: Vec<String>) -> Vec<String> {
    let gone = |name: &String| match retire::remove(repodata, name) {
        Ok(()) => true,
        Err(error) => {
            warn!("cannot remove {}: {error}", repodata.join(name).display());
            false
        }
    };
    names.into_iter().filter(gone).collect()
}

impl Handle {
    /// A superseded metadata file, made again from its recipe. Blocking.
    pub(super) fn superseded_file(&self, location: &Location) -> io::Result<Option<(File, FileStamp)>> {
        let Some(name) = location.as_str().strip_prefix("repodata/") else { return Ok(None) };
        let found = self.with_reader(|reader| reader.recipe(name)).map_err(io::Error::other)?;
        let Some((recipe, pieces, superseded_at)) = found else { return Ok(None) };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let mut file = match rustix::fs::open(self.config().private_dir(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(fd) => File::from(fd),
            // Where the file system has no unnamed files, memory has.
            Err(_) => File::from(rustix::fs::memfd_create("superseded", rustix::fs::MemfdFlags::CLOEXEC)?),
        };
        let mut sink = io::BufWriter::new(&file);
        recipe.write(&pieces, &mut sink)?;
        sink.flush()?;
        drop(sink);
        file.rewind()?;
        // The same recipe always makes the same bytes, so every answer may have the same stamp.
        let mtime_ns = i64::try_from(superseded_at).unwrap_or(0).saturating_mul(1_000_000_000);
        let size = file.metadata()?.len();
        Ok(Some((file, FileStamp { inode: 0, size, mtime_ns, ctime_ns: mtime_ns })))
    }
}
