//! What the last whole verification found, kept beside the catalog: a restart must not forget that the disk loses bytes.
//! Not precious: without it the repository is verified once more than needed.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::Report;

const FILE: &str = "verified.json";

/// The most findings that are kept by name.
const MOST: usize = 1000;

/// A [`Report`] in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub packages: u64,
    pub metadata_files: u64,
    pub bytes: u64,
    /// How many findings there are, also those that are not named.
    pub found: usize,
    pub findings: Vec<Named>,
}

/// One thing that is not as it was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub kind: String,
    pub what: String,
}

/// When everything was read again, and what was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub at: SystemTime,
    pub told: Told,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    /// Seconds since the epoch: of the verification, or of the first look at the repository.
    at: u64,
    told: Option<Told>,
}

impl From<&Report> for Told {
    fn from(report: &Report) -> Self {
        let named =
            |finding: &super::Finding| Named { kind: finding.kind().to_owned(), what: finding.to_string() };
        Self {
            packages: report.packages,
            metadata_files: report.metadata_files,
            bytes: report.bytes,
            found: report.findings.len(),
            findings: report.findings.iter().map(named).collect(),
        }
    }
}

impl Verified {
    pub fn new(at: SystemTime, report: &Report) -> Self {
        let mut told = Told::from(report);
        told.findings.truncate(MOST);
        Self { at, told }
    }

    /// What was kept of the last one; `None` where there was none.
    pub fn read(state_dir: &Path) -> Option<Self> {
        let kept = read(state_dir)?;
        Some(Self { at: SystemTime::UNIX_EPOCH + Duration::from_secs(kept.at), told: kept.told? })
    }

    pub fn keep(&self, state_dir: &Path) {
        write(state_dir, &Kept { at: seconds(self.at), told: Some(self.told.clone()) });
    }
}

/// When it was last verified, or else first seen, which is noted to be now if nobody has.
pub(super) fn last(state_dir: &Path, now: SystemTime) -> SystemTime {
    let at = read(state_dir).map(|kept| kept.at).unwrap_or_else(|| {
        write(state_dir, &Kept { at: seconds(now), told: None });
        seconds(now)
    });
    SystemTime::UNIX_EPOCH + Duration::from_secs(at)
}

fn read(state_dir: &Path) -> Option<Kept> {
    serde_json::from_slice(&std::fs::read(state_dir.join(FILE)).ok()?).ok()
}

fn write(state_dir: &Path, kept: &Kept) {
    // In one step, for a daemon may read it while a command writes.
    let passing = state_dir.join(format!("{FILE}.new"));
    let text = serde_json::to_vec(kept).unwrap_or_default();
    let _ = std::fs::write(&passing, text).and_then(|()| std::fs::rename(&passing, state_dir.join(FILE)));
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Location;
    use crate::repository::verify::Finding;

    #[test]
    fn findings_outlive_the_process_and_the_first_look_is_none() {
        let place = tempfile::tempdir().unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(Verified::read(place.path()), None);
        assert_eq!(last(place.path(), at(100)), at(100));
        assert_eq!(last(place.path(), at(200)), at(100), "noted once");
        assert_eq!(Verified::read(place.path()), None);
        let location = Location::parse("a.rpm").unwrap();
        let report = Report { findings: vec![Finding::Rotten { location }; MOST + 5], ..Report::default() };
        let verified = Verified::new(at(300), &report);
        verified.keep(place.path());
        assert_eq!(Verified::read(place.path()), Some(verified.clone()));
        assert_eq!((verified.told.found, verified.told.findings.len()), (MOST + 5, MOST));
        assert_eq!(last(place.path(), at(400)), at(300));
        std::fs::write(place.path().join(FILE), "damaged").unwrap();
        assert_eq!((Verified::read(place.path()), last(place.path(), at(400))), (None, at(400)));
    }
}
