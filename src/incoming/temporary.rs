//! The file an upload is written to before it has a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::CommitMode;
use crate::beneath::own::{Own, unique};
use crate::crash::{self, Point};

/// Where the staged bytes are; removes what has a name when dropped.
pub(super) struct Temporary {
    /// The directory that holds `.createrepod`.
    above: PathBuf,
    /// `.createrepod/incoming` and its name there; `None` when the file has no name at all.
    named: Option<(Own, String)>,
}

impl Temporary {
    /// Makes a file on the file system of `directory`, which is where it will go. `above` holds `.createrepod`.
    pub(super) fn create(above: &Path, directory: &OwnedFd, mode: Mode) -> io::Result<(File, Self)> {
        let mut temporary = Self { above: above.to_owned(), named: None };
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
        let incoming = self.incoming()?;
        let name = unique();
        let file = incoming.create(&name, 0o600)?;
        self.named = Some((incoming, name));
        Ok(file)
    }

    /// `.createrepod/incoming`, made where it is missing, but not the tree: one that was moved away stays away.
    fn incoming(&self) -> io::Result<Own> {
        Own::make_private(&self.above)?.make("incoming")
    }

    /// Whether it has a name, as on network file systems.
    pub(super) fn is_named(&self) -> bool {
        self.named.is_some()
    }

    /// Names the file `name` in `directory`, in one step.
    pub(super) fn link(
        &self,
        file: &File,
        directory: impl AsFd,
        name: &str,
        mode: CommitMode,
    ) -> io::Result<()> {
        let directory = directory.as_fd();
        match (&self.named, mode) {
            (None, CommitMode::New) => link_unnamed(file, directory, name),
            (None, CommitMode::Replace) => self.replace(file, directory, name),
            (Some((incoming, staged)), CommitMode::New) => {
                match rustix::fs::renameat_with(incoming, staged, directory, name, RenameFlags::NOREPLACE) {
                    // Not every file system knows NOREPLACE; a hard link does not replace either.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        rustix::fs::linkat(incoming, staged, directory, name, AtFlags::empty())?;
                        incoming.remove(staged)
                    }
                    other => Ok(other?),
                }
            }
            (Some((incoming, staged)), CommitMode::Replace) => {
                Ok(rustix::fs::renameat(incoming, staged, directory, name)?)
            }
        }
    }

    /// `linkat` cannot replace, so the file takes a passing name where a restart would clear it away.
    fn replace(&self, file: &File, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let (incoming, passing) = (self.incoming()?, unique());
        let renamed = link_unnamed(file, incoming.as_fd(), &passing)
            .inspect(|()| crash::point(Point::UploadPassing))
            .and_then(|()| Ok(rustix::fs::renameat(&incoming, &passing, directory, name)?));
        if renamed.is_err() {
            let _ = incoming.remove(&passing);
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
        if let Some((incoming, name)) = &self.named {
            // Gone already once it was renamed into place.
            let _ = incoming.remove(name);
        }
    }
}

/// By its descriptor where the kernel lets us (Linux 6.10, or with a capability), else the way open(2) names for
/// unprivileged processes.
fn link_unnamed(file: &File, directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    // What this one says of a failure may be about the right to do it.
    if let Ok(()) = rustix::fs::linkat(file, c"", directory, name, AtFlags::EMPTY_PATH) {
        return Ok(());
    }
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, unnamed, directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// Both ways of staging must behave alike; only one is what this file system would choose.
    fn staged(root: &Path, named: bool) -> (File, Temporary) {
        let mut temporary = Temporary { above: root.to_owned(), named: None };
        let directory = rustix::fs::open(root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let mut file = match named {
            true => temporary.create_named().unwrap(),
            false => Temporary::create(root, &directory, Mode::RUSR | Mode::WUSR).unwrap().0,
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
