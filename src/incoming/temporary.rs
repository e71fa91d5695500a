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
use crate::config::RepositoryConfig;

/// Where the staged bytes are; removes what has a name when dropped.
pub(super) struct Temporary {
    /// `.createrepod/incoming`
    incoming: PathBuf,
    /// Its name there; `None` when the file has no name at all.
    name: Option<PathBuf>,
}

impl Temporary {
    /// Makes a file on the file system of `directory`, which is where it will go.
    pub(super) fn create(private: &Path, directory: &OwnedFd) -> io::Result<(File, Self)> {
        let mut temporary = Self { incoming: private.join("incoming"), name: None };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, ".", flags, Mode::RUSR | Mode::WUSR) {
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
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.incoming)?;
        let name = self.incoming.join(unique());
        let file = File::options().read(true).write(true).create_new(true).open(&name)?;
        self.name = Some(name);
        Ok(file)
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
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.incoming)?;
        let renamed = link_unnamed(file, CWD, &passing)
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

/// The way open(2) names for unprivileged processes.
fn link_unnamed<Fd: std::os::fd::AsFd, P: rustix::path::Arg>(
    file: &File,
    directory: Fd,
    name: P,
) -> io::Result<()> {
    let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, unnamed, directory, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// A name no other upload of this process has; leftovers of another one are swept at start.
pub(super) fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{now:020}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Removes what a killed daemon left in `.createrepod/incoming/`; returns how many files that was.
/// To be called at start, before uploads are taken, by who holds the repository's lock.
pub fn sweep(config: &RepositoryConfig) -> io::Result<usize> {
    let entries = match std::fs::read_dir(config.private_dir().join("incoming")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        std::fs::remove_file(entry?.path())?;
        removed += 1;
    }
    Ok(removed)
}
