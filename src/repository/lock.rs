//! One writer a tree: flock on `.createrepod/lock`, which ends with the process, however it ends.
//!
//! The file is held open for reading only: one held for writing would keep administrators from remounting the
//! file system read-only.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::RepositoryError;

/// Held until dropped.
#[derive(Debug)]
pub struct TreeLock {
    _file: File,
}

impl TreeLock {
    /// Locks the tree whose private directory is `private`, making that directory if it is missing, but not the tree.
    pub fn take(private: &Path) -> Result<Self, RepositoryError> {
        match fs::DirBuilder::new().mode(0o700).create(private) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => made.map_err(|source| RepositoryError::Directory { path: private.to_owned(), source })?,
        }
        let path = private.join("lock");
        let failed = |source| RepositoryError::Lock { path: path.clone(), source };
        let mut file = open(&path).map_err(failed)?;
        let mut locked = file.try_lock();
        if matches!(&locked, Err(TryLockError::Error(error)) if error.raw_os_error() == Some(EBADF)) {
            // NFS locks only what is open for writing.
            file = for_writing(&path).map_err(failed)?;
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RepositoryError::Locked { path: private.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        match write_pid(&path) {
            // A tree that became read-only is served all the same.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {}
            written => written.map_err(failed)?,
        }
        Ok(Self { _file: file })
    }
}

const EBADF: i32 = rustix::io::Errno::BADF.raw_os_error();

fn open(path: &Path) -> io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            for_writing(path)?;
            File::open(path)
        }
        opened => opened,
    }
}

fn for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn write_pid(path: &Path) -> io::Result<()> {
    let mut file = for_writing(path)?;
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
        drop(first);
        TreeLock::take(dir.path()).unwrap();
    }
}
