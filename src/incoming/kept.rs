//! Packages removed over HTTP, still fetchable at their old URL for the grace period.
//!
//! Each lies at `.createrepod/kept/<when>-…/<location>`: one rename moves it there, and its path is
//! the whole record, so nothing can disagree with it after a crash.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD};
use rustix::io::Errno;

use super::beneath::Root;
use super::temporary::unique;
use crate::config::{RepositoryConfig, Space};
use crate::crash::{self, Point};
use crate::package::Location;

/// What is kept in one repository. Reads the disk once; the rest is memory.
pub struct Kept {
    directory: PathBuf,
    /// By age, the oldest first: the key begins with the time of removal in nanoseconds.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    location: Location,
    size: u64,
}

/// What became of a removed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    Kept,
    /// It is gone: nothing is kept here, or it lies on another file system.
    Gone,
}

impl Kept {
    /// Reads what earlier runs kept. A missing directory is an empty one.
    pub fn open(config: &RepositoryConfig) -> io::Result<Self> {
        let directory = config.private_dir().join("kept");
        let mut entries = BTreeMap::new();
        let found = match std::fs::read_dir(&directory) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { directory, entries }),
            Err(error) => return Err(error),
        };
        for entry in found {
            let entry = entry?;
            let key = entry.file_name().to_string_lossy().into_owned();
            if let Some((location, size)) = only_file(&entry.path())? {
                entries.insert(key, Entry { location, size });
            } else {
                // Killed between mkdir and rename.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { directory, entries })
    }

    /// Takes `location` out of the tree; keeps it if it should be kept and the grace period is not zero.
    pub fn remove(
        &mut self,
        config: &RepositoryConfig,
        location: &Location,
        keep: bool,
    ) -> io::Result<Removed> {
        let root = Root::open(&config.path, config.symlinks)?;
        let parent = location.parent();
        let directory = root.read(parent.as_ref().map_or("", Location::as_str))?;
        let name = location.file_name();
        let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        let mut removed = Removed::Gone;
        // A link is not the package; what it points to belongs to somebody else.
        if regular && keep && !config.grace.is_zero() {
            let key = unique();
            let own = self.directory.join(&key);
            let kept = location.under(&own);
            match move_to(&directory, name, &kept) {
                Ok(()) => {
                    crash::point(Point::RemovalMoved);
                    sync_directories(&kept, &self.directory)?;
                    let size = u64::try_from(stat.st_size).unwrap_or(0);
                    self.entries.insert(key, Entry { location: location.clone(), size });
                    removed = Removed::Kept;
                }
                Err(error) => {
                    let _ = std::fs::remove_dir_all(own);
                    let other =
                        matches!(Errno::from_io_error(&error), Some(Errno::XDEV | Errno::NAMETOOLONG));
                    if !other {
                        return Err(error);
                    }
                }
            }
        }
        if removed == Removed::Gone {
            rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
        }
        directory.sync_all()?;
        crash::point(Point::RemovalDone);
        Ok(removed)
    }

    /// Removes what is kept of this name; tells whether there was any.
    pub fn forget(&mut self, location: &Location) -> io::Result<bool> {
        let of_this_name = self.entries.iter().filter(|(_, entry)| entry.location == *location);
        let keys: Vec<String> = of_this_name.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            std::fs::remove_dir_all(self.directory.join(key))?;
            self.entries.remove(key);
        }
        Ok(!keys.is_empty())
    }

    /// Keeps another name of the package at `location`, which is about to be renamed: clients that
    /// were told of the old name still find it. Says under which key, or `None` where nothing is kept.
    pub fn link(&mut self, config: &RepositoryConfig, location: &Location) -> io::Result<Option<String>> {
        if config.grace.is_zero() {
            return Ok(None);
        }
        let root = Root::open(&config.path, config.symlinks)?;
        let parent = location.parent();
        let directory = root.read(parent.as_ref().map_or("", Location::as_str))?;
        let stat = rustix::fs::statat(&directory, location.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Ok(None);
        }
        let key = unique();
        let kept = location.under(&self.directory.join(&key));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(kept.parent().unwrap_or(&kept))?;
        match rustix::fs::linkat(&directory, location.file_name(), CWD, &kept, AtFlags::empty()) {
            Ok(()) => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.entries.insert(key.clone(), Entry { location: location.clone(), size });
                crash::point(Point::RenameKept);
                Ok(Some(key))
            }
            Err(error) => {
                let _ = std::fs::remove_dir_all(self.directory.join(key));
                match error {
                    // Another file system, or one without hard links: the old name is simply gone.
                    Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::NAMETOOLONG => {
                        Ok(None)
                    }
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// Takes back what [`link`](Self::link) kept: the rename did not happen.
    pub fn unlink(&mut self, key: &str) {
        if self.entries.remove(key).is_some() {
            let _ = std::fs::remove_dir_all(self.directory.join(key));
        }
    }

    /// The newest file kept for `location` whose grace period has not passed.
    pub fn find(&self, location: &Location, grace: Duration, now: SystemTime) -> Option<PathBuf> {
        let (key, _) = self.entries.iter().rev().find(|(_, entry)| entry.location == *location)?;
        (!is_over(key, grace, now)).then(|| location.under(&self.directory.join(key)))
    }

    /// Removes what is older than the grace period, then the oldest until the rest fits into
    /// `grace_space`. Returns how many went for age and how many for space.
    pub fn expire(&mut self, config: &RepositoryConfig, now: SystemTime) -> io::Result<(usize, usize)> {
        if self.entries.is_empty() {
            return Ok((0, 0));
        }
        let limit = match config.grace_space {
            Space::Bytes(bytes) => bytes,
            Space::Percent(percent) => {
                let disk = rustix::fs::statvfs(&self.directory)?;
                disk.f_blocks.saturating_mul(disk.f_frsize) / 100 * u64::from(percent)
            }
        };
        let (mut for_age, mut for_space) = (0, 0);
        let mut total: u64 = self.entries.values().map(|entry| entry.size).sum();
        while let Some((key, entry)) = self.entries.first_key_value() {
            if is_over(key, config.grace, now) {
                for_age += 1;
            } else if total > limit {
                for_space += 1;
            } else {
                break;
            }
            std::fs::remove_dir_all(self.directory.join(key))?;
            total -= entry.size;
            self.entries.pop_first();
        }
        Ok((for_age, for_space))
    }
}

fn is_over(key: &str, grace: Duration, now: SystemTime) -> bool {
    let removed: u64 = key.split('-').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    let removed = SystemTime::UNIX_EPOCH + Duration::from_nanos(removed);
    // A clock that stepped back makes nothing old.
    now.duration_since(removed).is_ok_and(|age| age >= grace)
}

fn move_to(directory: &std::fs::File, name: &str, kept: &Path) -> io::Result<()> {
    let parent = kept.parent().unwrap_or(kept);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    Ok(rustix::fs::renameat(directory, name, CWD, kept)?)
}

/// Syncs the directories from the kept file up to `top`.
fn sync_directories(kept: &Path, top: &Path) -> io::Result<()> {
    for directory in kept.ancestors().skip(1) {
        std::fs::File::open(directory)?.sync_all()?;
        if directory == top {
            break;
        }
    }
    Ok(())
}

/// The one file somewhere below `directory`, with its path there and its size.
fn only_file(directory: &Path) -> io::Result<Option<(Location, u64)>> {
    let mut current = directory.to_path_buf();
    loop {
        let metadata = std::fs::symlink_metadata(&current)?;
        if !metadata.is_dir() {
            let relative = current.strip_prefix(directory).unwrap_or(&current);
            return Ok(Location::from_path(relative).ok().map(|location| (location, metadata.size())));
        }
        match std::fs::read_dir(&current)?.next() {
            Some(entry) => current = entry?.path(),
            None => return Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> (tempfile::TempDir, RepositoryConfig) {
        let dir = tempfile::tempdir().unwrap();
        let config = RepositoryConfig::new("r", dir.path());
        (dir, config)
    }

    fn location(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_again_after_a_restart() {
        let (dir, config) = repository();
        std::fs::create_dir_all(dir.path().join("deep/er")).unwrap();
        let deep = location("deep/er/a b.rpm");
        for content in ["older", "newer"] {
            std::fs::write(deep.under(dir.path()), content).unwrap();
            let mut kept = Kept::open(&config).unwrap();
            assert_eq!(kept.remove(&config, &deep, true).unwrap(), Removed::Kept);
            assert!(!deep.under(dir.path()).exists());
        }
        // A kill between mkdir and rename.
        std::fs::create_dir_all(dir.path().join(".createrepod/kept/00000000000000000001-1-1/deep")).unwrap();
        let kept = Kept::open(&config).unwrap();
        assert_eq!(kept.entries.len(), 2);
        assert!(!dir.path().join(".createrepod/kept/00000000000000000001-1-1").exists());
        let found = kept.find(&deep, config.grace, SystemTime::now()).unwrap();
        assert_eq!(std::fs::read(found).unwrap(), b"newer");
        assert!(kept.find(&location("deep/er"), config.grace, SystemTime::now()).is_none());
    }

    #[test]
    fn the_grace_period_ends_by_the_clock_that_is_given() {
        let (dir, config) = repository();
        std::fs::write(dir.path().join("a.rpm"), "a").unwrap();
        let mut kept = Kept::open(&config).unwrap();
        kept.remove(&config, &location("a.rpm"), true).unwrap();
        let now = SystemTime::now();
        let found = |kept: &Kept, at| kept.find(&location("a.rpm"), config.grace, at).is_some();
        assert!(found(&kept, now) && found(&kept, now - Duration::from_secs(86_400)));
        assert!(!found(&kept, now + config.grace));
        assert_eq!(kept.expire(&config, now).unwrap(), (0, 0));
        assert_eq!(kept.expire(&config, now + config.grace).unwrap(), (1, 0));
        assert_eq!(std::fs::read_dir(dir.path().join(".createrepod/kept")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_removed_and_what_it_leads_to_stays() {
        let (dir, config) = repository();
        std::fs::write(dir.path().join("a.rpm"), "a").unwrap();
        std::os::unix::fs::symlink("a.rpm", dir.path().join("link.rpm")).unwrap();
        let mut kept = Kept::open(&config).unwrap();
        assert_eq!(kept.remove(&config, &location("link.rpm"), true).unwrap(), Removed::Gone);
        assert!(dir.path().join("a.rpm").exists() && !dir.path().join("link.rpm").is_symlink());
    }
}
