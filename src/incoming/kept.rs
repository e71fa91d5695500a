//! Packages removed over HTTP, still fetchable at their old URL for the grace period.
//!
//! Each lies at `.createrepod/kept/<when>-…/<location>`: one rename moves it there, and its path is
//! the whole record, so nothing can disagree with it after a crash.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use crate::beneath::Root;
use crate::beneath::own::{self, Own, unique};
use crate::config::{RepositoryConfig, Space};
use crate::crash::{self, Point};
use crate::package::Location;

/// What is kept in one repository. Reads the disk once; the rest is memory.
pub struct Kept {
    /// The directory that holds `.createrepod`.
    above: PathBuf,
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
    /// It is gone: nothing is kept here, or there is no room for it.
    Gone,
}

impl Kept {
    /// Reads what earlier runs kept. A missing directory is an empty one.
    pub fn open(config: &RepositoryConfig) -> io::Result<Self> {
        let mut kept = Self { above: config.written().to_owned(), entries: BTreeMap::new() };
        let directory = match kept.directory() {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(kept),
            Err(error) => return Err(error),
        };
        for name in directory.names()? {
            let key = name.to_string_lossy().into_owned();
            if let Some((location, size)) = only_file(&directory, &key)? {
                kept.entries.insert(key, Entry { location, size });
            } else {
                // Killed between mkdir and rename; or nothing of ours.
                let _ = directory.remove_all(&name);
            }
        }
        Ok(kept)
    }

    fn directory(&self) -> io::Result<Own> {
        Own::private(&self.above)?.sub("kept")
    }

    /// Takes `location` out of the tree; keeps it if it should be kept and the grace period is not zero.
    pub fn remove(
        &mut self,
        config: &RepositoryConfig,
        location: &Location,
        keep: bool,
    ) -> io::Result<Removed> {
        let (directory, stat) = find(config, location)?;
        let name = location.file_name();
        let mut removed = Removed::Gone;
        // A link is not the package; what it points to belongs to somebody else.
        if own::is_file(&stat) && keep && !config.grace.is_zero() {
            let moved =
                self.take_in(location, &stat, |kept| Ok(rustix::fs::renameat(&directory, name, kept, name)?));
            removed = match moved {
                Ok(_) => {
                    crash::point(Point::RemovalMoved);
                    Removed::Kept
                }
                // On a file system mounted in the tree a copy is kept, where there is room for it.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
                    match self.take_in(location, &stat, |kept| copy(&directory, name, kept)) {
                        Ok(_) => {
                            rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
                            Removed::Kept
                        }
                        Err(error) if is_no_room(&error) => Removed::Gone,
                        Err(error) => return Err(error),
                    }
                }
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NAMETOOLONG) => Removed::Gone,
                Err(error) => return Err(error),
            };
        }
        if removed == Removed::Gone {
            rustix::fs::unlinkat(&directory, name, AtFlags::empty())?;
        }
        directory.sync_all()?;
        crash::point(Point::RemovalDone);
        Ok(removed)
    }

    /// Has `put` bring the file of `location` into a directory of its own, and makes that survive a power cut. Says under
    /// which key it is kept.
    fn take_in(
        &mut self,
        location: &Location,
        stat: &Stat,
        put: impl FnOnce(&Own) -> io::Result<()>,
    ) -> io::Result<String> {
        let key = unique();
        let directory = Own::make_private(&self.above)?.make("kept")?;
        let mut parents: Vec<&str> = location.as_str().split('/').collect();
        parents.pop();
        let names = std::iter::once(key.as_str()).chain(parents);
        let kept = directory.make_below(names).and_then(|below| {
            let below = below.as_ref().unwrap_or(&directory);
            put(below)?;
            below.sync()
        });
        if let Err(error) = kept {
            let _ = directory.remove_all(&key);
            return Err(error);
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.entries.insert(key.clone(), Entry { location: location.clone(), size });
        Ok(key)
    }

    /// Removes what is kept of this name; tells whether there was any.
    pub fn forget(&mut self, location: &Location) -> io::Result<bool> {
        let of_this_name = self.entries.iter().filter(|(_, entry)| entry.location == *location);
        let keys: Vec<String> = of_this_name.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.drop_entry(key)?;
        }
        Ok(!keys.is_empty())
    }

    /// Removes one file that is kept; one whose directory is gone is as good as removed.
    fn drop_entry(&mut self, key: &str) -> io::Result<()> {
        match self.directory().and_then(|directory| directory.remove_all(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.entries.remove(key);
        Ok(())
    }

    /// Keeps another name of the package at `location`, which is about to be renamed: clients that
    /// were told of the old name still find it. Says under which key, or `None` where nothing is kept.
    pub fn link(&mut self, config: &RepositoryConfig, location: &Location) -> io::Result<Option<String>> {
        if config.grace.is_zero() {
            return Ok(None);
        }
        let (directory, stat) = find(config, location)?;
        if !own::is_file(&stat) {
            return Ok(None);
        }
        let name = location.file_name();
        let mut linked = self.take_in(location, &stat, |kept| {
            Ok(rustix::fs::linkat(&directory, name, kept, name, AtFlags::empty())?)
        });
        let cannot = |error: &io::Error, errnos: &[Errno]| {
            Errno::from_io_error(error).is_some_and(|errno| errnos.contains(&errno))
        };
        // Another file system, or one without hard links: a copy does.
        let without_links = [Errno::XDEV, Errno::PERM, Errno::OPNOTSUPP, Errno::MLINK];
        if linked.as_ref().is_err_and(|error| cannot(error, &without_links)) {
            linked = self.take_in(location, &stat, |kept| copy(&directory, name, kept));
        }
        match linked {
            Ok(key) => {
                crash::point(Point::RenameKept);
                Ok(Some(key))
            }
            // The old name is simply gone.
            Err(error) if is_no_room(&error) || cannot(&error, &[Errno::NAMETOOLONG]) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes back what [`link`](Self::link) kept: the rename did not happen.
    pub fn unlink(&mut self, key: &str) {
        if self.entries.remove(key).is_some() {
            let _ = self.directory().and_then(|directory| directory.remove_all(key));
        }
    }

    /// The newest file kept for `location` whose grace period has not passed.
    pub fn read(&self, location: &Location, grace: Duration, now: SystemTime) -> io::Result<Option<File>> {
        let newest = self.entries.iter().rev().find(|(_, entry)| entry.location == *location);
        let Some((key, _)) = newest.filter(|(key, _)| !is_over(key, grace, now)) else { return Ok(None) };
        let parent = location.parent();
        let parents = parent.iter().flat_map(|parent| parent.as_str().split('/'));
        let found =
            self.directory().and_then(|kept| kept.below(std::iter::once(key.as_str()).chain(parents)));
        match found.and_then(|below| below.map(|below| below.read(location.file_name())).transpose()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read,
        }
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
                let disk = rustix::fs::statvfs(&self.above)?;
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
            total -= entry.size;
            let key = key.clone();
            self.drop_entry(&key)?;
        }
        Ok((for_age, for_space))
    }
}

/// The directory of a file in the tree, and what has its name there.
fn find(config: &RepositoryConfig, location: &Location) -> io::Result<(File, Stat)> {
    let root = Root::open(&config.path, config.symlinks)?;
    let parent = location.parent();
    let directory = root.read(parent.as_ref().map_or("", Location::as_str))?;
    let stat = rustix::fs::statat(&directory, location.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((directory, stat))
}

/// Copies a file of the tree, with its time, and waits until the disk has it.
fn copy(directory: &File, name: &str, kept: &Own) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let mut source = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(Errno::NOENT.into());
    }
    let mut target = kept.create(name, 0o600)?;
    io::copy(&mut source, &mut target)?;
    target.set_times(FileTimes::new().set_modified(metadata.modified()?))?;
    target.sync_all()
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG))
}

fn is_over(key: &str, grace: Duration, now: SystemTime) -> bool {
    let removed: u64 = key.split('-').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    let removed = SystemTime::UNIX_EPOCH + Duration::from_nanos(removed);
    match now.duration_since(removed) {
        Ok(age) => age >= grace,
        // A clock that stepped back makes nothing old, unless it was far ahead: nobody keeps anything for that long.
        Err(ahead) => ahead.duration() > grace,
    }
}

/// The one file somewhere below `key`, with its path there and its size. `None` where it is nothing that we would keep.
fn only_file(directory: &Own, key: &str) -> io::Result<Option<(Location, u64)>> {
    let (mut current, mut path) = (
        match directory.sub(key) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            found => found?,
        },
        PathBuf::new(),
    );
    loop {
        let Some(name) = current.names()?.into_iter().next() else { return Ok(None) };
        path.push(&name);
        let Some(stat) = current.stat(&name)? else { return Ok(None) };
        if own::is_file(&stat) {
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            return Ok(Location::from_path(&path).ok().map(|location| (location, size)));
        }
        current = match current.sub(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(None),
            found => found?,
        };
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
        std::os::unix::fs::symlink("../../deep", dir.path().join(".createrepod/kept/linked")).unwrap();
        let linked = dir.path().join(".createrepod/kept/09000000000000000000-1-1");
        std::fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", linked.join("passwd.rpm")).unwrap();
        let kept = Kept::open(&config).unwrap();
        assert_eq!(kept.entries.len(), 2);
        assert_eq!(std::fs::read_dir(dir.path().join(".createrepod/kept")).unwrap().count(), 2);
        assert!(dir.path().join("deep/er").is_dir(), "no link was followed");
        let mut found = kept.read(&deep, config.grace, SystemTime::now()).unwrap().unwrap();
        assert_eq!(io::read_to_string(&mut found).unwrap(), "newer");
        assert!(kept.read(&location("deep/er"), config.grace, SystemTime::now()).unwrap().is_none());
    }

    #[test]
    fn the_grace_period_ends_by_the_clock_that_is_given() {
        let (dir, config) = repository();
        std::fs::write(dir.path().join("a.rpm"), "a").unwrap();
        let mut kept = Kept::open(&config).unwrap();
        kept.remove(&config, &location("a.rpm"), true).unwrap();
        let now = SystemTime::now();
        let found = |kept: &Kept, at| kept.read(&location("a.rpm"), config.grace, at).unwrap().is_some();
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
