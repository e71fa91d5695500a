//! A directory of packages, and the ways in which people change one.

use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::{PATIENCE, Rpm, eventually};

/// `<temporary>/rpm`, removed when dropped. What lies beside it is on the same file system.
pub struct Tree {
    home: TempDir,
    root: PathBuf,
}

impl Tree {
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("createrepod-test-").tempdir().unwrap();
        let root = home.path().join("rpm");
        fs::create_dir(&root).unwrap();
        Self { home, root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, location: impl AsRef<Path>) -> PathBuf {
        self.root.join(location)
    }

    /// A place outside the tree, on the same file system.
    pub fn beside(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(name)
    }

    /// Writes and closes a file in the tree, parents included.
    pub fn write(&self, location: impl AsRef<Path>, bytes: &[u8]) {
        write(&self.path(location), bytes);
    }

    /// Writes a file beside the tree and returns its path.
    pub fn write_beside(&self, name: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
        let path = self.beside(name);
        write(&path, bytes);
        path
    }

    /// Builds a package into the tree under its own name.
    pub fn add(&self, rpm: &Rpm) {
        self.write(rpm.file_name(), &rpm.build());
    }

    pub fn remove(&self, location: impl AsRef<Path>) {
        fs::remove_file(self.path(location)).unwrap();
    }

    /// Names below `directory` of the tree that are not the daemon's own, hidden ones included, sorted.
    pub fn names_in(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "repodata" && name != ".createrepod")
            .collect();
        names.sort();
        names
    }

    /// Waits until nothing half-written is in the tree: a publication that is being made has its own there.
    pub fn has_no_leftovers(&self) {
        eventually(PATIENCE, "nothing half-written in the tree", || {
            self.leftovers().is_empty().then_some(())
        });
    }

    /// Whatever uploads left behind in the staging directories: files anywhere that are no packages. The list of what a
    /// batch has just shown stays for a while.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        walk(&self.root, &mut found);
        found.retain(|path| {
            let inside = path.strip_prefix(&self.root).unwrap();
            let private = inside.starts_with(".createrepod/incoming");
            let known = inside.starts_with("repodata") || inside.starts_with(".createrepod");
            let listed = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".shown-"));
            (private && !listed) || (!known && path.extension().is_none_or(|extension| extension != "rpm"))
        });
        found
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The files below; a directory that the daemon removes meanwhile is as good as empty.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(why) if why.kind() == ErrorKind::NotFound => return,
        Err(why) => panic!("{}: {why}", directory.display()),
    };
    for entry in entries {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// `cp` with these arguments: the real one, as users run it.
pub fn cp<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(arguments: I) {
    let status = Command::new("cp").args(arguments).status().expect("cp runs");
    assert!(status.success(), "cp failed");
}

/// Sets the modification time in seconds since the epoch.
pub fn set_mtime(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().append(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// Builds packages on all processors; the order is that of `rpms`.
pub fn build_all(rpms: &[Rpm]) -> Vec<(String, Vec<u8>)> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let share = rpms.len().div_ceil(workers).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = rpms
            .chunks(share)
            .map(|part| {
                scope.spawn(move || part.iter().map(|rpm| (rpm.file_name(), rpm.build())).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}
