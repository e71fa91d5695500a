//! Tells whether what lies in the state directory is what was left there.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{FILE, LOG, PieceFile};

/// The catalog's files as they were when it was closed. Whoever replaces one, or writes to one, leaves another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    directory: PathBuf,
    /// Of the file of pieces.
    number: u64,
    /// The database, its log where it is not empty, the pieces.
    files: [Option<FileId>; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Identity {
    /// As it is now.
    pub(super) fn of(directory: &Path, number: u64) -> io::Result<Self> {
        let database = id(&directory.join(FILE))?;
        let log = id(&directory.join(LOG))?.filter(|log| log.size > 0);
        let pieces = id(&PieceFile::path(directory, number))?;
        Ok(Self { directory: directory.to_owned(), number, files: [database, log, pieces] })
    }

    /// Whether all is as it was.
    pub fn still_holds(&self) -> bool {
        Self::of(&self.directory, self.number).is_ok_and(|now| now == *self)
    }
}

/// Which file has this name, and when it was changed last; `None` where there is none.
pub(super) fn id(path: &Path) -> io::Result<Option<FileId>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(FileId {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_replaced_or_gone_is_another() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        let of = || Identity::of(directory, 3).unwrap();
        assert_eq!(Identity::of(&directory.join("missing"), 3).unwrap().files, [None; 3]);
        fs::write(directory.join(FILE), "database").unwrap();
        fs::write(directory.join("pieces.3"), "pieces").unwrap();
        let left = of();
        assert!(left.still_holds());
        fs::write(directory.join("catalog.sqlite-wal"), "").unwrap();
        assert!(left.still_holds(), "an empty log says nothing");
        fs::write(directory.join("catalog.sqlite-wal"), "log").unwrap();
        assert!(!left.still_holds());
        fs::remove_file(directory.join("catalog.sqlite-wal")).unwrap();
        // The same bytes in another file.
        fs::write(directory.join("other"), "database").unwrap();
        fs::rename(directory.join("other"), directory.join(FILE)).unwrap();
        assert!(!left.still_holds());
        let left = of();
        fs::remove_file(directory.join("pieces.3")).unwrap();
        assert!(!left.still_holds());
    }
}
