//! Reading the tree for those outside: one file, or what a directory holds. Never through a link
//! that `symlinks` does not allow, never a hidden name.

use std::fs::File;
use std::io;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType};

use super::{Handle, Means};
use crate::config::Symlinks;
use crate::incoming::beneath::{Root, stamp};
use crate::package::Location;
use crate::tree::FileStamp;

/// What a name in the tree is.
pub enum Opened {
    File { file: File, stamp: FileStamp },
    Directory,
}

/// One line of a directory's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub is_directory: bool,
    /// Bytes; 0 for directories.
    pub size: u64,
    pub modified: SystemTime,
}

impl Handle {
    /// Opens a file of the tree, or one removed over HTTP or superseded whose grace period still runs. What is
    /// neither a file nor a directory, or behind a link that may not be followed, is not found.
    /// Blocking.
    pub fn open_file(&self, location: &Location) -> io::Result<Opened> {
        let root = self.root_of(Some(location))?;
        match opened(root.read(location.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && location.is_repodata() => {
                match self.superseded_file(location)? {
                    Some((file, stamp)) => Ok(Opened::File { file, stamp }),
                    None => Err(error),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && location.names_a_package() => {
                match self.kept_file(location)? {
                    Some(path) => opened(File::open(path)),
                    None => Err(error),
                }
            }
            other => other,
        }
    }

    /// Opens a file of the tree if that takes no look at a disk or across a network: all of its path is in
    /// the kernel's memory, and on one local file system. `None` says nothing of whether it is there.
    pub fn open_cached(&self, location: &Location) -> Option<(File, FileStamp)> {
        let config = self.config();
        let apart = config.metadata_dir.is_some() && location.is_repodata();
        // Inotify is good enough for local file systems only, so whoever watches has looked.
        if apart || !matches!(self.shared.progress.borrow().watching, Some(Means::Inotify)) {
            return None;
        }
        let file = Root::open_cached(&config.path, config.symlinks)?.read_cached(location.as_str())?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| (file, stamp(&metadata)))
    }

    /// Lists a directory (`None`: the top): directories first, then files, each by name. Hidden
    /// names, names that are not UTF-8 and what cannot be opened are left out. Blocking.
    pub fn list_directory(&self, directory: Option<&Location>) -> io::Result<Vec<Listed>> {
        let root = self.root_of(directory)?;
        let relative = directory.map_or("", Location::as_str);
        let fd = root.read(relative).map_err(plain)?;
        let apart = self.config().metadata_dir.as_ref();
        let mut listed = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // The tree's own metadata is not what is served when ours lies elsewhere.
            if name.starts_with('.') || (apart.is_some() && directory.is_none() && name == "repodata") {
                continue;
            }
            if let Some(line) = look(&root, relative, &fd, name) {
                listed.push(line);
            }
        }
        if let (None, Some(dir)) = (directory, apart) {
            let root = Root::open(dir, Symlinks::Never)?;
            listed.extend(look(&root, "", &root.read("").map_err(plain)?, "repodata"));
        }
        listed.sort_by(|a, b| b.is_directory.cmp(&a.is_directory).then_with(|| a.name.cmp(&b.name)));
        Ok(listed)
    }
}

impl Handle {
    /// Where a location is looked for: in the tree, or where its metadata lies apart from it.
    fn root_of(&self, location: Option<&Location>) -> io::Result<Root> {
        let config = self.config();
        match &config.metadata_dir {
            Some(dir) if location.is_some_and(Location::is_repodata) => Root::open(dir, Symlinks::Never),
            _ => Root::open(&config.path, config.symlinks),
        }
    }
}

fn look(root: &Root, relative: &str, directory: &File, name: &str) -> Option<Listed> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let (kind, size, seconds) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            let path = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
            let stat = rustix::fs::fstat(root.open_at(&path, rustix::fs::OFlags::PATH).ok()?).ok()?;
            (FileType::from_raw_mode(stat.st_mode), stat.st_size, stat.st_mtime)
        }
        kind => (kind, stat.st_size, stat.st_mtime),
    };
    if !kind.is_file() && !kind.is_dir() {
        return None;
    }
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(Listed {
        name: name.to_owned(),
        is_directory: kind.is_dir(),
        size: if kind.is_dir() { 0 } else { u64::try_from(size).unwrap_or(0) },
        modified: SystemTime::UNIX_EPOCH + since,
    })
}

fn opened(file: io::Result<File>) -> io::Result<Opened> {
    let file = file.map_err(plain)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        Ok(Opened::Directory)
    } else if metadata.is_file() {
        Ok(Opened::File { stamp: stamp(&metadata), file })
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// All the ways in which a name can lead to nothing we serve are one.
fn plain(error: io::Error) -> io::Error {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::INVAL) => {
            io::ErrorKind::NotFound.into()
        }
        _ => error,
    }
}
