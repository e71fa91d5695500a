//! Names in the tree that change without bytes coming in: directories made and removed, files and
//! directories renamed. Each in one step, beneath the root, and synced.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::{CommitMode, IncomingError, leads_out};
use crate::beneath::{Root, settle_mode};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::package::Location;

/// Makes a directory whose parent exists. [`IncomingError::Exists`] where something has the name.
pub fn make_directory(config: &RepositoryConfig, location: &Location) -> Result<(), IncomingError> {
    let parent = open_parent(config, location)?;
    let failed = |source: io::Error| failed(config, location, "make the directory", source);
    let (name, mode) = (location.file_name(), 0o777 & !config.umask);
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(mode)).map_err(|errno| failed(errno.into()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())
        .map_err(io::Error::from)
        .and_then(|made| settle_mode(&parent, &File::from(made), mode));
    crash::point(Point::FolderMade);
    made.and_then(|()| parent.sync_all()).map_err(|error| {
        // What could not be made right is not there. It is empty, or somebody else's by now.
        let _ = rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR);
        failed(error)
    })
}

/// Removes an empty directory.
pub fn remove_directory(config: &RepositoryConfig, location: &Location) -> Result<(), IncomingError> {
    let parent = open_parent(config, location)?;
    rustix::fs::unlinkat(&parent, location.file_name(), AtFlags::REMOVEDIR)
        .map_err(io::Error::from)
        .and_then(|()| parent.sync_all())
        .map_err(|source| failed(config, location, "remove the directory", source))
}

/// A rename that has happened; [`sync`](Renamed::sync) makes it survive a power cut.
#[must_use]
pub struct Renamed {
    from: File,
    to: File,
}

/// Gives what is at `from` the name `to`, in one step; a link is renamed, not what it leads to.
pub fn rename(
    config: &RepositoryConfig,
    from: &Location,
    to: &Location,
    mode: CommitMode,
) -> Result<Renamed, IncomingError> {
    let parents = Renamed { from: open_parent(config, from)?, to: open_parent(config, to)? };
    let failed = |errno: Errno| failed(config, to, "rename to", errno.into());
    let (old, new) = (from.file_name(), to.file_name());
    let renamed = match mode {
        CommitMode::Replace => rustix::fs::renameat(&parents.from, old, &parents.to, new),
        CommitMode::New => {
            let flags = RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&parents.from, old, &parents.to, new, flags) {
                // Not every file system knows NOREPLACE. Uploads are held back by the caller's reservation.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    match rustix::fs::statat(&parents.to, new, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(_) => Err(Errno::EXIST),
                        Err(Errno::NOENT) => rustix::fs::renameat(&parents.from, old, &parents.to, new),
                        Err(error) => Err(error),
                    }
                }
                other => other,
            }
        }
    };
    renamed.map_err(|errno| match errno {
        Errno::XDEV => IncomingError::OtherFileSystem(to.clone()),
        errno => failed(errno),
    })?;
    crash::point(Point::RenameDone);
    Ok(parents)
}

impl Renamed {
    /// The new name first: a crash in between may show the file twice, never not at all.
    pub fn sync(&self) -> io::Result<()> {
        self.to.sync_all()?;
        crash::point(Point::RenameNewSynced);
        self.from.sync_all()
    }
}

/// Whether a rename leads from one place to the other: both lie on one mount of one file system.
pub fn may_be_renamed(
    config: &RepositoryConfig,
    from: &Location,
    to: &Location,
) -> Result<bool, IncomingError> {
    let mount = |location: &Location| -> Result<_, IncomingError> {
        let parent = open_parent(config, location)?;
        let stat = statx(&parent, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
            .map_err(|errno| failed(config, location, "look at the directory of", errno.into()))?;
        // Linux before 5.8 does not tell mounts apart, and leaves zero here for both.
        Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_mnt_id))
    };
    Ok(mount(from)? == mount(to)?)
}

fn open_parent(config: &RepositoryConfig, location: &Location) -> Result<File, IncomingError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            IncomingError::NoDirectory(location.clone())
        }
        _ => failed(config, location, "open the directory of", source),
    };
    let root = Root::open(&config.path, config.symlinks).map_err(failed)?;
    let parent = location.parent();
    let parent = parent.as_ref().map_or("", Location::as_str);
    Ok(File::from(root.open_at(parent, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?))
}

fn failed(
    config: &RepositoryConfig,
    location: &Location,
    attempt: &'static str,
    source: io::Error,
) -> IncomingError {
    match Errno::from_io_error(&source) {
        Some(Errno::EXIST) => IncomingError::Exists(location.clone()),
        Some(Errno::NOTEMPTY) => IncomingError::NotEmpty(location.clone()),
        Some(Errno::ISDIR) => IncomingError::IsDirectory(location.clone()),
        Some(Errno::NOTDIR) => IncomingError::NoDirectory(location.clone()),
        _ if leads_out(&source) => IncomingError::NoDirectory(location.clone()),
        _ => IncomingError::Io { attempt, path: location.under(&config.path), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    fn repository() -> (tempfile::TempDir, RepositoryConfig) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("root")).unwrap();
        let config = RepositoryConfig::new("r", dir.path().join("root"));
        (dir, config)
    }

    #[test]
    fn directories_are_made_and_removed_one_at_a_time() {
        let (_dir, config) = repository();
        assert!(matches!(make_directory(&config, &location("a/b")), Err(IncomingError::NoDirectory(_))));
        make_directory(&config, &location("a")).unwrap();
        assert!(matches!(make_directory(&config, &location("a")), Err(IncomingError::Exists(_))));
        make_directory(&config, &location("a/b")).unwrap();
        assert!(matches!(remove_directory(&config, &location("a")), Err(IncomingError::NotEmpty(_))));
        remove_directory(&config, &location("a/b")).unwrap();
        remove_directory(&config, &location("a")).unwrap();
        assert_eq!(std::fs::read_dir(&config.path).unwrap().count(), 0);
    }

    #[test]
    fn a_rename_replaces_only_when_told_to() {
        let (_dir, config) = repository();
        for name in ["a", "b"] {
            std::fs::write(config.path.join(name), name).unwrap();
        }
        let (a, b) = (location("a"), location("b"));
        assert!(matches!(rename(&config, &a, &b, CommitMode::New), Err(IncomingError::Exists(_))));
        assert_eq!(std::fs::read(config.path.join("b")).unwrap(), b"b");
        rename(&config, &a, &b, CommitMode::Replace).unwrap().sync().unwrap();
        assert_eq!(std::fs::read(config.path.join("b")).unwrap(), b"a");
        assert!(!config.path.join("a").exists());
    }

    #[test]
    fn nothing_is_made_removed_or_renamed_outside_the_tree() {
        let (dir, config) = repository();
        std::fs::create_dir(dir.path().join("outside")).unwrap();
        std::fs::write(config.path.join("a"), "a").unwrap();
        std::os::unix::fs::symlink("../outside", config.path.join("out")).unwrap();
        assert!(make_directory(&config, &location("out/x")).is_err());
        assert!(rename(&config, &location("a"), &location("out/a"), CommitMode::New).is_err());
        std::fs::create_dir(dir.path().join("outside/victim")).unwrap();
        assert!(remove_directory(&config, &location("out/victim")).is_err());
        assert!(dir.path().join("outside/victim").exists() && config.path.join("a").exists());
        // The link itself is the tree's, and can be renamed.
        rename(&config, &location("out"), &location("elsewhere"), CommitMode::New).unwrap().sync().unwrap();
        assert!(config.path.join("elsewhere").is_symlink() && dir.path().join("outside").is_dir());
    }
}
