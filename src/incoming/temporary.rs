//! The file an upload is written to before it has a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::CommitMode;
use crate::crash::{self, Point};

/// Where the staged bytes are; removes what has a name when dropped.
pub(super) struct Temporary {
    /// `.createrepod/incoming`
    incoming: PathBuf,
    /// Its name there; `None` when the file has no name at all.
    name: Option<PathBuf>,
}

impl Temporary {
    /// Makes a file on the file system of `directory`, which is where it will go.
    pub(super) fn create(private: &Path, directory: &OwnedFd, mode: Mode) -> io::Result<(File, Self)> {
        let mut temporary = Self { incoming: private.join("incoming"), name: None };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, ".", flags, mode) {
            Ok(file) => return Ok((File::from(file), temporary)),
            // No O_TMPFILE here: NFS, FUSE and other file systems, each in its own words.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let file = temporary.create_named()?;
        let same = rustix::fs::fstat(directory)?.st_dev == file.metadata()?.dev();
        if same {
            return Ok((file, temporary));
        }
        Err(io::Error::other(
            "it lies on a file system of its own that cannot hold unnamed files; make it a repository of its own",
        ))
    }

    fn create_named(&mut self) -> io::Result<File> {
        make_private(&self.incoming)?;
        let name = self.incoming.join(unique());
        let file = File::options().read(true).write(true).create_new(true).open(&name)?;
        self.name = Some(name);
        Ok(file)
    }

    /// Whether it has a name, as on network file systems.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// Names the file `name` in `directory`, in one step.
    pub(super) fn link(&self, file: &File, directory: &File, name: &str, mode: CommitMode) -> io::Result<()> {
        match (&self.name, mode) {
            (None, CommitMode::New) => link_unnamed(file, directory, name),
            (None, CommitMode::Replace) => self.replace(file, directory, name),
            (Some(staged), CommitMode::New) => {
                match rustix::fs::renameat_with(CWD, staged, directory, name, RenameFlags::NOREPLACE) {
                    // Not every file system knows NOREPLACE; a hard link does not replace either.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        rustix::fs::linkat(CWD, staged, directory, name, AtFlags::empty())?;
                        Ok(rustix::fs::unlink(staged)?)
                    }
                    other => Ok(other?),
                }
            }
            (Some(staged), CommitMode::Replace) => Ok(rustix::fs::renameat(CWD, staged, directory, name)?),
        }
    }

    /// `linkat` cannot replace, so the file takes a passing name where a restart would clear it away.
    fn replace(&self, file: &File, directory: &File, name: &str) -> io::Result<()> {
        let passing = self.incoming.join(unique());
        make_private(&self.incoming)?;
        let renamed = link_unnamed(file, CWD, &passing)
            .inspect(|()| crash::point(Point::UploadPassing))
            .and_then(|()| Ok(rustix::fs::renameat(CWD, &passing, directory, name)?));
        if renamed.is_err() {
            let _ = rustix::fs::unlink(&passing);
        }
        match renamed {
            // A file system mounted inside the repository: the passing name must lie there.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
                let passing = format!(".createrepod-{}", unique());
                link_unnamed(file, directory, &passing)?;
                let renamed = rustix::fs::renameat(directory, &passing, directory, name);
                if renamed.is_err() {
                    let _ = rustix::fs::unlinkat(directory, &passing, AtFlags::empty());
                }
                Ok(renamed?)
            }
            other => other,
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Gone already once it was renamed into place.
            let _ = std::fs::remove_file(name);
        }
    }
}

/// By its descriptor where the kernel lets us (Linux 6.10, or with a capability), else the way open(2) names for
/// unprivileged processes.
fn link_unnamed<Fd: std::os::fd::AsFd, P: rustix::path::Arg + Copy>(
    file: &File,
    directory: Fd,
    name: P,
) -> io::Result<()> {
    // What this one says of a failure may be about the right to do it.
    if let Ok(()) = rustix::fs::linkat(file, c"", &directory, name, AtFlags::EMPTY_PATH) {
        return Ok(());
    }
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, unnamed, directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// A name no other upload has; what a killed daemon leaves is removed when the repository is opened.
pub(super) fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{now:020}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes `.createrepod/incoming` where it is missing, but not the tree: one that was moved away stays away.
fn make_private(incoming: &Path) -> io::Result<()> {
    for directory in [incoming.parent().unwrap_or(incoming), incoming] {
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Both ways of staging must behave alike; only one is what this file system would choose.
    fn staged(root: &Path, named: bool) -> (File, Temporary) {
        let mut temporary = Temporary { incoming: root.join(".createrepod/incoming"), name: None };
        let directory = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut file = match named {
            true => temporary.create_named().unwrap(),
            false => {
                Temporary::create(&root.join(".createrepod"), &directory, Mode::RUSR | Mode::WUSR).unwrap().0
            }
        };
        file.write_all(b"new").unwrap();
        (file, temporary)
    }

    #[test]
    fn a_staged_file_gets_its_name_in_one_step() {
        for named in [true, false] {
            let root = tempfile::tempdir().unwrap();
            let directory = File::open(root.path()).unwrap();
            let target = root.path().join("a.rpm");
            let (file, temporary) = staged(root.path(), named);
            assert!(!target.exists());
            temporary.link(&file, &directory, "a.rpm", CommitMode::New).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"new");

            std::fs::write(&target, "old").unwrap();
            let (file, temporary) = staged(root.path(), named);
            let taken = temporary.link(&file, &directory, "a.rpm", CommitMode::New).unwrap_err();
            assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&target).unwrap(), b"old");
            temporary.link(&file, &directory, "a.rpm", CommitMode::Replace).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), b"new");
            let left = std::fs::read_dir(root.path().join(".createrepod/incoming")).unwrap().count();
            assert_eq!(left, 0, "named: {named}");

            std::fs::create_dir(root.path().join("folder")).unwrap();
            let (file, temporary) = staged(root.path(), named);
            for mode in [CommitMode::New, CommitMode::Replace] {
                assert!(temporary.link(&file, &directory, "folder", mode).is_err());
            }
            drop(temporary);
            let left = std::fs::read_dir(root.path().join(".createrepod/incoming")).unwrap().count();
            assert_eq!(left, 0, "named: {named}");
        }
    }
}
