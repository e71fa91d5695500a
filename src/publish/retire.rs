//! What becomes of superseded metadata files: they lie in repodata/ for a while, then only their
//! recipes are kept, and after the grace period they are gone.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::config::Space;
use crate::repodata::Superseded;

/// How long, and on how much room, superseded files stay.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For so long they stay whole …
    pub whole_for: Duration,
    /// … as long as they take no more than this many bytes.
    pub whole_room: u64,
}

/// The files whose recipes are enough from now on. `whole`: those superseded first stand first.
pub fn to_fold(whole: &[Superseded], now: u64, limits: Limits) -> Vec<String> {
    let mut used: u64 = whole.iter().map(|file| file.size).sum();
    let mut fold = Vec::new();
    for file in whole {
        let young = file.superseded_at.saturating_add(limits.whole_for.as_secs()) > now;
        if young && used <= limits.whole_room {
            break;
        }
        used -= file.size;
        fold.push(file.name.clone());
    }
    fold
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_fold_when_they_are_old_or_for_want_of_room_oldest_first() {
        let old = |name: &str, superseded_at| Superseded { name: name.into(), size: 10, superseded_at };
        let files = [old("a", 100), old("b", 200), old("c", 300)];
        let limits = |whole_room| Limits { whole_for: Duration::from_secs(600), whole_room };
        assert!(to_fold(&files, 400, limits(30)).is_empty());
        assert_eq!(to_fold(&files, 800, limits(30)), ["a", "b"]);
        assert_eq!(to_fold(&files, 400, limits(29)), ["a"]);
        assert_eq!(to_fold(&files, 400, limits(0)), ["a", "b", "c"]);
    }
}
