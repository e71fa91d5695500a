//! Reads back what is published and remembered: every package against the catalog, every metadata file
//! against repomd.xml. Reads only, so it works beside the daemon that serves the repository; repairing is apart.

mod finding;
mod metadata;
mod record;
pub mod repair;

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Advice, fadvise};
use tracing::{info, warn};

use super::{Handle, Progress, lock};
use crate::beneath::{Root, stamp};
use crate::catalog::reader::Listed;
use crate::catalog::{CatalogError, Reader};
use crate::config::RepositoryConfig;
use crate::package::openpgp::Keyring;
use crate::package::{BadPackage, Hasher, Intake, Location, PkgId, Verify};
use crate::scan;
use crate::sign;
use crate::tree::{Dirty, FileStamp};
pub use finding::Finding;
pub use record::{Named, Told, Verified};

/// Packages asked of the catalog at a time, so that no transaction lasts.
const AT_ONCE: usize = 512;
/// Bytes read in one go.
const BLOCK: usize = 256 * 1024;
/// How many findings the log names; the status has all of them.
const MOST_NAMED: usize = 100;
/// How long a daemon takes to notice what changes in its tree, and to remember it.
const NOTICE: Duration = Duration::from_secs(3);
/// A file that changed within this time may be about to be taken up.
const TOO_YOUNG: Duration = Duration::from_secs(30);

/// What was looked at, and what is wrong.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub packages: u64,
    pub metadata_files: u64,
    /// Bytes read.
    pub bytes: u64,
    pub findings: Vec<Finding>,
    /// Whether it was broken off.
    pub is_partial: bool,
}

impl Report {
    fn of_catalog(why: String) -> Self {
        Self { findings: vec![Finding::Catalog { why }], ..Self::default() }
    }
}

/// How far and how fast.
pub struct Verifying<'a> {
    config: &'a RepositoryConfig,
    reader: Reader,
    progress: &'a dyn Progress,
    stop: &'a (dyn Fn() -> bool + Sync),
    /// Rest as long as was worked: for a daemon that has better things to do.
    gentle: bool,
    /// Whose signatures count, where that is asked for.
    keyring: Option<Arc<Keyring>>,
    report: Report,
}

/// Verifies one repository that another process may have. Blocking. `stop` breaks it off; with `gentle` it takes half of
/// the time at most.
pub fn verify(
    config: &RepositoryConfig,
    progress: &dyn Progress,
    stop: &(dyn Fn() -> bool + Sync),
    gentle: bool,
) -> anyhow::Result<Report> {
    let reader = Reader::beside(&config.state_dir, config.checksum);
    verify_by(reader, config, progress, stop, gentle)
}

fn verify_by(
    reader: Result<Reader, CatalogError>,
    config: &RepositoryConfig,
    progress: &dyn Progress,
    stop: &(dyn Fn() -> bool + Sync),
    gentle: bool,
) -> anyhow::Result<Report> {
    let reader = match reader {
        Err(error) if error.is_damage() => return Ok(Report::of_catalog(error.to_string())),
        reader => reader?,
    };
    let report = Report::default();
    let directory = config.keyring.as_ref().filter(|_| config.verify == Verify::Signature);
    let keyring = directory.map(|directory| sign::keyring::read(directory, &[])).transpose()?;
    let keyring = keyring.map(|read| Arc::new(read.keyring));
    let mut verifying = Verifying { config, reader, progress, stop, gentle, keyring, report };
    // What it says of the rest is worth nothing if it is damaged itself.
    match verifying.reader.unsound() {
        Ok(None) => {}
        Ok(Some(why)) => return Ok(Report::of_catalog(why)),
        Err(error) if error.is_damage() => return Ok(Report::of_catalog(error.to_string())),
        Err(error) => return Err(error.into()),
    }
    progress.to_read(verifying.reader.count_packages()?);
    verifying.metadata()?;
    verifying.packages()?;
    verifying.strangers()?;
    verifying.report.is_partial = stop();
    Ok(verifying.report)
}

impl Verifying<'_> {
    fn packages(&mut self) -> anyhow::Result<()> {
        let root = Root::open(&self.config.path, self.config.symlinks)?;
        let mut suspects = Vec::new();
        let mut after = String::new();
        loop {
            let listed = self.reader.packages_after(&after, AT_ONCE)?;
            let Some(last) = listed.last() else { break };
            after = last.location.as_str().to_owned();
            for package in listed {
                if (self.stop)() {
                    return Ok(());
                }
                let found = self.look(&root, &package.location, &package.stamp, &package.pkgid);
                self.progress.one_read();
                self.report.packages += 1;
                suspects.extend(found.map(|found| (package, found)));
            }
        }
        if !suspects.is_empty() {
            // What changed just now is the daemon's to notice, and it is about to.
            std::thread::sleep(NOTICE);
            self.reader.renew()?;
        }
        for (package, _) in suspects {
            let same = |now: &Listed| now.stamp == package.stamp && now.pkgid == package.pkgid;
            if !self.reader.package(&package.location)?.as_ref().is_some_and(same) {
                continue;
            }
            let found = self.look(&root, &package.location, &package.stamp, &package.pkgid);
            self.report.findings.extend(found);
        }
        Ok(())
    }

    fn look(
        &mut self,
        root: &Root,
        location: &Location,
        known: &FileStamp,
        pkgid: &PkgId,
    ) -> Option<Finding> {
        let location = location.clone();
        let read = root.read(location.as_str()).and_then(|file| {
            let before = stamp(&file.metadata()?);
            let mut intake = self.keyring.as_ref().map(|keyring| {
                Intake::new(pkgid.kind, Verify::Signature).trusting(Some(Arc::clone(keyring)))
            });
            let found = self.digest(&file, Hasher::new(pkgid.kind), &mut |block| {
                // What is wrong with it is told at the end.
                intake.iter_mut().for_each(|intake| drop(intake.feed(block)));
            })?;
            let trust = intake.map_or(Ok(()), |intake| intake.finish().map(drop));
            Ok((before, stamp(&file.metadata()?), found, trust))
        });
        match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Some(Finding::Missing { location })
            }
            Err(error) => Some(Finding::Unreadable { location, why: error.to_string() }),
            Ok((_, _, found, Err(BadPackage::Signature(why)))) if found == *pkgid => {
                Some(Finding::Untrusted { location, why })
            }
            Ok((_, _, found, _)) if found == *pkgid => None,
            // Somebody writes to it right now.
            Ok((before, after, ..)) if before != after => None,
            Ok((before, ..)) if before.same_content_likely(known) => Some(Finding::Rotten { location }),
            // It is looked at when it has settled.
            Ok((before, ..)) if before.ctime_ns > self.young() => None,
            Ok(_) => Some(Finding::Changed { location }),
        }
    }

    /// Files that changed after this time (nanoseconds since the epoch) may be about to be taken up.
    fn young(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.saturating_sub(TOO_YOUNG).as_nanos()).unwrap_or(i64::MAX)
    }

    /// The checksum of a file as it lies on the disk, not as it is remembered in memory.
    /// `pass` sees every block of it.
    fn digest(&mut self, file: &File, mut hasher: Hasher, pass: &mut dyn FnMut(&[u8])) -> io::Result<PkgId> {
        // Only advice; memory that holds writes which are not on the disk yet is kept.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        let mut block = vec![0; BLOCK];
        let mut at = 0;
        loop {
            let begun = std::time::Instant::now();
            let n = match file.read_at(&mut block, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            hasher.update(&block[..n]);
            pass(&block[..n]);
            at += n as u64;
            if n == 0 {
                self.report.bytes += at;
                let _ = fadvise(file, 0, None, Advice::DontNeed);
                return Ok(hasher.finish());
            }
            if self.gentle {
                std::thread::sleep(begun.elapsed().min(Duration::from_secs(1)));
            }
        }
    }

    /// Packages in the tree that nobody has taken up.
    fn strangers(&mut self) -> anyhow::Result<()> {
        if (self.stop)() {
            return Ok(());
        }
        self.reader.renew()?;
        let known = self.reader.stamps()?;
        let young = self.young();
        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
            covered: self.config.covered.clone(),
            settle: None,
            now_ns: young,
            root: None,
        };
        let found = scan::look(&self.config.path, &Dirty::everything(), &known, &rules)?;
        let before: BTreeSet<&Location> = known.iter().map(|(location, _)| location).collect();
        self.reader.renew()?;
        for found in found.read {
            let settled = found.stamp.ctime_ns < young && found.stamp.mtime_ns < young;
            if !before.contains(&found.location) && settled && !self.reader.knows(&found.location)? {
                self.report.findings.push(Finding::NotIndexed { location: found.location });
            }
        }
        Ok(())
    }
}

impl Handle {
    /// Verifies the repository while it is served, at low priority. Blocking, for long. Logs what it finds and keeps it
    /// for the status. `stop` breaks it off; see [`verify`] for `gentle`.
    pub fn verify(
        &self,
        progress: &dyn Progress,
        stop: &(dyn Fn() -> bool + Sync),
        gentle: bool,
    ) -> anyhow::Result<Arc<Report>> {
        // A niceness is the thread's own, and none of ours is needed by others afterwards.
        let done = std::thread::scope(|scope| {
            let verifying = scope.spawn(|| {
                let _ = rustix::process::nice(19);
                let config = self.config();
                let reader = Reader::open(&config.state_dir, config.checksum);
                verify_by(reader, config, progress, stop, gentle)
            });
            verifying.join().unwrap_or_else(|_| Err(anyhow::anyhow!("verifying ended by a bug")))
        });
        let report = Arc::new(done?);
        let (name, findings) = (&self.config().name, report.findings.len());
        for finding in report.findings.iter().take(MOST_NAMED) {
            warn!(repo.name = %name, kind = finding.kind(), "{name} is not as it was published: {finding}");
        }
        if !report.is_partial {
            let at = SystemTime::now();
            info!(repo.name = %name, packages = report.packages, bytes = report.bytes, findings,
                  "verified {name}: {} packages read, {findings} findings", report.packages);
            let verified = Verified::new(at, &report);
            verified.keep(&self.config().state_dir);
            *lock(&self.shared.verified) = Some(verified);
        }
        Ok(report)
    }

    /// How long until the next verification is due; `None`: never. The first is due one period after
    /// the repository was first seen.
    pub fn verify_due(&self, now: SystemTime) -> Option<Duration> {
        let every = self.config().verify_every?;
        let last = record::last(&self.config().state_dir, now);
        // A clock that was set back must not put it off for years.
        let age = now.duration_since(last).unwrap_or(every);
        Some(every.saturating_sub(age))
    }
}
