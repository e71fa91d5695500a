//! Reading the tree for those outside: one file, or what a directory holds. Never through a link
//! that `symlinks` does not allow, never a hidden name.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use super::aftermath::Superseded;
use super::{Handle, Means};
use crate::beneath::{Root, own, stamp, stat_stamp};
use crate::catalog::{self, CatalogError, Reader};
use crate::config::Symlinks;
use crate::package::Location;
use crate::repodata::element::Facts;
use crate::tree::FileStamp;

/// What a name in the tree is.
pub enum Opened {
    File {
        file: File,
        stamp: FileStamp,
    },
    /// A superseded metadata file, which lies in pieces.
    Superseded {
        superseded: Superseded,
        stamp: FileStamp,
    },
    Directory,
}

/// One line of a directory's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Empty for the top of the repository.
    pub name: String,
    pub is_directory: bool,
    pub stamp: FileStamp,
}

/// What is known of a package file in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Neighbour {
    pub name: String,
    /// `[epoch:]version-release`
    pub version: String,
    pub arch: String,
    /// Why it is not published; the rest is empty then.
    pub rejected: Option<String>,
}

/// One of the packages that came last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    pub location: Location,
    pub name: String,
    /// `[epoch:]version-release`
    pub version: String,
    pub arch: String,
    pub summary: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub modified: u64,
}

/// Bytes of metadata read for the newest packages.
const FOR_NEWEST: usize = 8 << 20;

impl Listed {
    /// Directories first, then files, each by name.
    pub fn sort(listed: &mut [Self]) {
        listed.sort_by(|a, b| b.is_directory.cmp(&a.is_directory).then_with(|| a.name.cmp(&b.name)));
    }

    /// Bytes; 0 for directories.
    pub fn size(&self) -> u64 {
        if self.is_directory { 0 } else { self.stamp.size }
    }

    /// Seconds since the epoch; times before it count as it.
    pub fn modified(&self) -> u64 {
        u64::try_from(self.stamp.mtime()).unwrap_or(0)
    }
}

impl Handle {
    /// Opens a file of the tree, or one removed over HTTP or superseded whose grace period still runs. What is
    /// neither a file nor a directory, or behind a link that may not be followed, is not found.
    /// Blocking.
    pub fn open_file(&self, location: &Location) -> io::Result<Opened> {
        let root = self.root_of(Some(location))?;
        match opened(root.read(location.as_str())) {
            Ok(Opened::Directory) if location.file_name().starts_with('.') => {
                Err(io::ErrorKind::NotFound.into())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && location.is_repodata() => {
                match self.missing_file(location)? {
                    Some((superseded, stamp)) => Ok(Opened::Superseded { superseded, stamp }),
                    None => Err(error),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && location.names_a_package() => {
                match self.kept_file(location)? {
                    Some(file) => opened(Ok(file)),
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
        let file =
            Root::open_cached(&config.path, config.symlinks.for_readers())?.read_cached(location.as_str())?;
        let metadata = file.metadata().ok()?;
        metadata.is_file().then(|| (file, stamp(&metadata)))
    }

    /// What is at `location` (`None`: the top); `None` for what is not there or may not be shown. Blocking.
    pub fn stat(&self, location: Option<&Location>) -> io::Result<Option<Listed>> {
        let relative = location.map_or("", Location::as_str);
        let found = self.root_of(location)?.open_at(relative, OFlags::PATH);
        let stat = match found.map_err(plain).and_then(|found| Ok(rustix::fs::fstat(found)?)) {
            Ok(stat) => stat,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let name = location.map_or("", Location::file_name).to_owned();
        let shown = kind.is_file() || kind.is_dir();
        Ok(shown.then(|| Listed { name, is_directory: kind.is_dir(), stamp: stat_stamp(&stat) }))
    }

    /// Bytes in use and bytes free for the daemon on the file system of the tree. Blocking.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let disk = rustix::fs::statvfs(&self.config().path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Ok((bytes(disk.f_blocks.saturating_sub(disk.f_bfree)), bytes(disk.f_bavail)))
    }

    /// Lists a directory (`None`: the top): directories first, then files, each by name. Hidden directories, private
    /// names, names that are not UTF-8 and what cannot be opened are left out. Blocking.
    pub fn list_directory(&self, directory: Option<&Location>) -> io::Result<Vec<Listed>> {
        let mut listed = self.entries_of(directory)?.collect::<io::Result<Vec<_>>>()?;
        Listed::sort(&mut listed);
        Ok(listed)
    }

    /// The same as they come, in no order and without holding all of them. Blocking.
    pub fn entries_of(&self, directory: Option<&Location>) -> io::Result<Entries> {
        let root = self.root_of(directory)?;
        let relative = directory.map_or("", Location::as_str).to_owned();
        let fd = root.read(&relative).map_err(plain)?;
        let entries = Dir::read_from(&fd)?;
        let apart = self.config().metadata_dir.clone();
        let is_top = directory.is_none();
        // The tree's own metadata is not what is served when ours lies elsewhere.
        let passed_over = (is_top && apart.is_some()).then_some("repodata");
        Ok(Entries { root, relative, fd, entries, passed_over, apart: apart.filter(|_| is_top) })
    }
}

/// What a directory holds, as the system tells it.
pub struct Entries {
    root: Root,
    relative: String,
    fd: File,
    entries: Dir,
    passed_over: Option<&'static str>,
    /// Where the metadata lies that is shown at the end.
    apart: Option<PathBuf>,
}

impl Iterator for Entries {
    type Item = io::Result<Listed>;

    fn next(&mut self) -> Option<io::Result<Listed>> {
        loop {
            let entry = match self.entries.next() {
                Some(Ok(entry)) => entry,
                Some(Err(error)) => return Some(Err(error.into())),
                None => {
                    let dir = self.apart.take()?;
                    let metadata = Root::open(&dir, Symlinks::Never)
                        .and_then(|root| Ok(look(&root, "", &root.read("").map_err(plain)?, "repodata")));
                    return metadata.transpose();
                }
            };
            let Ok(name) = entry.file_name().to_str() else { continue };
            let is_private = Location::parse(name).is_ok_and(|name| name.is_private());
            if is_private || self.passed_over == Some(name) {
                continue;
            }
            if let Some(line) = look(&self.root, &self.relative, &self.fd, name)
                && !(line.is_directory && name.starts_with('.'))
            {
                return Some(Ok(line));
            }
        }
    }
}

impl Handle {
    /// What is known of the packages in a directory (`None`: the top), by file name; nothing when the
    /// catalog cannot be asked. Blocking.
    pub fn neighbours(&self, directory: Option<&Location>) -> HashMap<String, Neighbour> {
        let packages = self.with_reader(|reader| reader.packages_in(directory, false)).unwrap_or_default();
        let named = |(listed, nevra): (catalog::reader::Listed, String)| {
            let (name, version, arch) = parts(&nevra);
            let neighbour = Neighbour { name, version, arch, rejected: None };
            (listed.location.file_name().to_owned(), neighbour)
        };
        let mut found: HashMap<String, Neighbour> = packages.into_iter().map(named).collect();
        let rejected = self.with_reader(Reader::rejected).unwrap_or_default();
        for rejected in rejected.into_iter().filter(|it| it.location.parent().as_ref() == directory) {
            let neighbour = Neighbour { rejected: Some(rejected.reason), ..Neighbour::default() };
            found.insert(rejected.location.file_name().to_owned(), neighbour);
        }
        found
    }

    /// The `count` packages that came last, the last first; nothing when the catalog cannot be asked. Blocking.
    pub fn newest(&self, count: usize) -> Vec<Newest> {
        let read = |reader: &Reader| -> Result<_, CatalogError> {
            let listed = reader.newest(count)?;
            let fragments = reader.fragments(&listed, FOR_NEWEST)?;
            Ok(listed.into_iter().zip(fragments).collect::<Vec<_>>())
        };
        let found = self.with_reader(read).unwrap_or_default();
        found
            .into_iter()
            .filter_map(|(listed, fragments)| {
                let facts = Facts::of(std::str::from_utf8(&fragments?.primary).ok()?).ok()?;
                let epoch = match facts.epoch.as_str() {
                    "" | "0" => String::new(),
                    epoch => format!("{epoch}:"),
                };
                Some(Newest {
                    version: format!("{epoch}{}-{}", facts.version, facts.release),
                    name: facts.name,
                    arch: facts.arch,
                    summary: facts.summary,
                    size: listed.stamp.size,
                    modified: u64::try_from(listed.stamp.mtime()).unwrap_or(0),
                    location: listed.location,
                })
            })
            .collect()
    }
}

/// Name, `[epoch:]version-release` and architecture of what [`Nevra`](crate::package::Nevra) displays as.
fn parts(nevra: &str) -> (String, String, String) {
    let (rest, arch) = nevra.rsplit_once('.').unwrap_or((nevra, ""));
    let (rest, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    let (name, version) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (name.to_owned(), format!("{version}-{release}"), arch.to_owned())
}

impl Handle {
    /// Where a location is looked for: in the tree, or where its metadata lies apart from it.
    pub(super) fn root_of(&self, location: Option<&Location>) -> io::Result<Root> {
        let config = self.config();
        match &config.metadata_dir {
            Some(dir) if location.is_some_and(Location::is_repodata) => Root::open(dir, Symlinks::Never),
            _ => Root::open(&config.path, config.symlinks.for_readers()),
        }
    }
}

fn look(root: &Root, relative: &str, directory: &File, name: &str) -> Option<Listed> {
    let mut stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(stat.st_mode).is_symlink() {
        let path = if relative.is_empty() { name.to_owned() } else { format!("{relative}/{name}") };
        stat = rustix::fs::fstat(root.open_at(&path, OFlags::PATH).ok()?).ok()?;
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_ours = kind.is_dir() && own::is_any_astray() && own::is_marked(directory, name);
    (kind.is_file() || kind.is_dir() && !is_ours).then(|| Listed {
        name: name.to_owned(),
        is_directory: kind.is_dir(),
        stamp: stat_stamp(&stat),
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
