//! Which superseded metadata files go, and when: after the grace period, or earlier when they take
//! more room than they may.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::Space;

/// A superseded file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Old {
    /// In `repodata/`.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Seconds since the epoch.
    pub superseded_at: u64,
}

/// What is to be removed now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Retirement {
    pub remove: Vec<String>,
    /// How many of them go before their grace has ended, for want of room.
    pub early: usize,
    /// Seconds until the next file's grace ends.
    pub next_in: Option<u64>,
}

/// Decides; `old` must stand in the order in which the files were superseded.
pub fn plan(old: &[Old], now: u64, grace: Duration, room: u64) -> Retirement {
    let mut plan = Retirement::default();
    let mut used: u64 = old.iter().map(|file| file.size).sum();
    for file in old {
        let ends = file.superseded_at.saturating_add(grace.as_secs());
        let over = ends <= now;
        if !over && used <= room {
            plan.next_in = Some(ends - now);
            break;
        }
        plan.early += usize::from(!over);
        used -= file.size;
        plan.remove.push(file.name.clone());
    }
    plan
}

/// How many bytes superseded files may take on the file system that holds `path`.
pub fn room(path: &Path, limit: Space) -> io::Result<u64> {
    match limit {
        Space::Bytes(bytes) => Ok(bytes),
        Space::Percent(percent) => {
            let stat = rustix::fs::statvfs(path)?;
            Ok(stat.f_blocks.saturating_mul(stat.f_frsize) / 100 * u64::from(percent))
        }
    }
}

/// Removes a file; one that is gone already is as good as removed.
pub fn remove(repodata: &Path, name: &str) -> io::Result<()> {
    match fs::remove_file(repodata.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(name: &str, size: u64, superseded_at: u64) -> Old {
        Old { name: name.into(), size, superseded_at }
    }

    #[test]
    fn files_go_after_their_grace_or_oldest_first_for_want_of_room() {
        let files = [old("a", 10, 100), old("b", 10, 200), old("c", 10, 300)];
        let hour = Duration::from_secs(3600);
        let within = plan(&files, 400, hour, 1000);
        assert_eq!(within, Retirement { remove: vec![], early: 0, next_in: Some(100 + 3600 - 400) });
        let later = plan(&files, 200 + 3600, hour, 1000);
        assert_eq!(later, Retirement { remove: vec!["a".into(), "b".into()], early: 0, next_in: Some(100) });
        let cramped = plan(&files, 400, hour, 15);
        assert_eq!((cramped.remove, cramped.early), (vec!["a".to_owned(), "b".to_owned()], 2));
        assert_eq!(plan(&files, 1_000_000, hour, 0).remove.len(), 3);
    }
}
