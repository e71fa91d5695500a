//! Users from an htpasswd file: `name:hash`, one a line, as Apache reads it.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{error, info, warn};

use super::hash::PasswordHash;

/// The file, read again when it has changed.
pub struct Htpasswd {
    path: PathBuf,
    read: Mutex<Read>,
}

#[derive(Default)]
struct Read {
    /// Which file, and which state of it; `None` when it could not be read.
    stamp: Option<Stamp>,
    users: Arc<Users>,
    costliest: Option<PasswordHash>,
    /// What was wrong with it last time, so that it is said once.
    trouble: Option<String>,
}

type Users = HashMap<String, PasswordHash>;
/// Device, inode, size, mtime and ctime in seconds and nanoseconds.
type Stamp = (u64, u64, u64, [i64; 4]);

/// A file larger than this is no htpasswd file.
const LARGEST: u64 = 64 << 20;

impl Htpasswd {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user's hash as the file has it now. A file that cannot be read has no users. Blocking.
    pub fn hash_of(&self, user: &str) -> Option<PasswordHash> {
        self.users().get(user).cloned()
    }

    /// The hash of the file that takes longest: whoever is wrong waits as long, so that nobody learns from the time
    /// whether there is such a user. Blocking.
    pub fn costliest(&self) -> Option<PasswordHash> {
        self.users();
        self.read.lock().unwrap_or_else(PoisonError::into_inner).costliest.clone()
    }

    /// Blocking; cheap when nothing has changed.
    pub fn users(&self) -> Arc<Users> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match self.refresh(&mut read) {
            Ok(()) => read.trouble = None,
            Err(why) => {
                // Better nobody than those who may have been struck out.
                *read = Read { trouble: read.trouble.take(), ..Read::default() };
                let why = why.to_string();
                if read.trouble.as_ref() != Some(&why) {
                    error!("nobody can log in with a password: cannot read {}: {why}", self.path.display());
                    read.trouble = Some(why);
                }
            }
        }
        Arc::clone(&read.users)
    }

    fn refresh(&self, read: &mut Read) -> std::io::Result<()> {
        if read.stamp == Some(stamp(&std::fs::metadata(&self.path)?)) {
            return Ok(());
        }
        let file = File::open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(std::io::Error::other("it is no htpasswd file"));
        }
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let (users, problems) = parse(&String::from_utf8_lossy(&text));
        for (line, why) in problems {
            warn!("{}:{line}: this user cannot log in: {why}", self.path.display());
        }
        info!(users = users.len(), "read {}: {} users", self.path.display(), users.len());
        // The stamp of what was opened, before it was read: a change meanwhile is another stamp.
        let costliest = users.values().max_by_key(|hash| hash.cost()).cloned();
        *read = Read { stamp: Some(stamp(&metadata)), users: Arc::new(users), costliest, trouble: None };
        Ok(())
    }
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    (metadata.dev(), metadata.ino(), metadata.len(), times)
}

/// The users, and the lines that are of no use with the reason. A name that comes twice: the first
/// counts, as for Apache.
pub(super) fn parse(text: &str) -> (Users, Vec<(usize, String)>) {
    let (mut users, mut problems) = (Users::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, hash)) = line.split_once(':') else {
            problems.push((number + 1, "it has no colon".to_owned()));
            continue;
        };
        // Apache lets a comment follow behind another colon.
        let hash = hash.split(':').next().unwrap_or_default().trim_end();
        match PasswordHash::parse(hash) {
            Ok(hash) => _ = users.entry(name.to_owned()).or_insert(hash),
            // The hash itself is not told.
            Err(why) => problems.push((number + 1, why)),
        }
    }
    (users, problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";
    const BOB: &str = "bob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=";

    #[test]
    fn lines_are_read_as_apache_reads_them() {
        let text =
            format!("# users\n\n{ALICE}:a comment\r\n{BOB}\nbob:{{SHA}}other\nplain:secret\nnothing\n");
        let (users, problems) = parse(&text);
        assert_eq!(users.len(), 2);
        assert!(users["alice"].is_of(b"password") && users["bob"].is_of(b"test"));
        let lines: Vec<_> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [6, 7]);
        assert!(!problems.iter().any(|(_, why)| why.contains("secret")));
    }

    #[test]
    fn a_change_counts_at_once_and_a_missing_file_lets_nobody_in() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("htpasswd");
        let file = Htpasswd::new(&path);
        assert!(file.hash_of("alice").is_none());
        std::fs::write(&path, ALICE).unwrap();
        assert!(file.hash_of("alice").is_some() && file.costliest().is_some());
        // htpasswd renames a new file into place.
        std::fs::write(place.path().join("new"), BOB).unwrap();
        std::fs::rename(place.path().join("new"), &path).unwrap();
        assert!(file.hash_of("alice").is_none() && file.hash_of("bob").is_some());
        std::fs::write(&path, format!("{BOB}\n{ALICE}\n")).unwrap();
        assert!(file.hash_of("alice").is_some());
        std::fs::remove_file(&path).unwrap();
        assert!(file.hash_of("bob").is_none());
    }
}
