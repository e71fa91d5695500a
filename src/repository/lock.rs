//! One writer a tree: flock on `.createrepod/lock`, which ends with the process, however it ends.
//!
//! The file is held open for reading only: one held for writing would keep administrators from remounting the
//! file system read-only.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::RepositoryError;
use crate::beneath::own::{Own, PRIVATE};

/// Held until dropped.
#[derive(Debug)]
pub struct TreeLock {
    file: File,
}

impl TreeLock {
    /// Whether nobody holds the lock of the tree whose private directory lies in `above`. Where that cannot be told, somebody may.
    pub fn is_free(above: &Path) -> bool {
        match Own::private(above).and_then(|own| own.read(LOCK)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        }
    }

    /// Locks the tree whose private directory lies in `above`, making that directory if it is missing, but not the tree.
    pub fn take(above: &Path) -> Result<Self, RepositoryError> {
        let private = above.join(PRIVATE);
        let own = Own::make_private(above)
            .map_err(|source| RepositoryError::Directory { path: private.clone(), source })?;
        let failed = |source| RepositoryError::Lock { path: private.join(LOCK), source };
        let mut file = match own.read(LOCK) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                own.lock_file(LOCK).map_err(failed)?;
                own.read(LOCK).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        let mut locked = file.try_lock();
        if matches!(&locked, Err(TryLockError::Error(error)) if error.raw_os_error() == Some(EBADF)) {
            // NFS locks only what is open for writing.
            file = own.lock_file(LOCK).map_err(failed)?;
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RepositoryError::Locked { path: private, holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        own.mark();
        match write_pid(&own) {
            // A tree that became read-only is served all the same.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            written => written.map_err(failed)?,
        }
        Ok(Self { file })
    }

    /// Whether what is locked still lies in `above`, and nothing was put in its place.
    pub fn is_in_place(&self, above: &Path) -> bool {
        let there = Own::private(above).and_then(|own| own.stat(LOCK));
        match (there, self.file.metadata()) {
            (Ok(there), Ok(here)) => {
                there.is_some_and(|there| (there.st_dev, there.st_ino) == (here.dev(), here.ino()))
            }
            (Err(error), _) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
            (_, Err(_)) => true,
        }
    }
}

const LOCK: &str = "lock";
const EBADF: i32 = rustix::io::Errno::BADF.raw_os_error();

fn write_pid(own: &Own) -> io::Result<()> {
    let mut file = own.lock_file(LOCK)?;
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

/// Who holds the lock, as far as its file and /proc tell.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    let Some(pid) = read.ok().and_then(|_| text.trim().parse::<u32>().ok()) else {
        return "process unknown".to_owned();
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    match command.trim() {
        "" => format!("process {pid}"),
        command => format!("process {pid}: {}", command.chars().take(200).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_name_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = TreeLock::take(dir.path()).unwrap();
        let error = TreeLock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        assert!(!TreeLock::is_free(dir.path()));
        drop(first);
        assert!(TreeLock::is_free(dir.path()) && TreeLock::is_free(&dir.path().join("gone")));
        TreeLock::take(dir.path()).unwrap();
    }
}
