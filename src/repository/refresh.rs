//! From what is dirty to what is published: the one story, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::adopt::Adopted;
use super::inbox::Batch;
use super::lock::TreeLock;
use super::{Progress, Repository, RepositoryError};
use crate::catalog::CatalogError;
use crate::package::Location;
use crate::scan;
use crate::tree::{Differences, Dirty, FileStamp, Found, Rejected, Scanned, Unread};

/// A file whose mtime is this close to the moment it was read is looked at once more.
pub(super) const TOO_YOUNG: Duration = Duration::from_secs(2);

/// Waits between the attempts of a one-shot run to read what could not be read.
const ATTEMPTS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
    Duration::from_millis(3000),
];

/// What a refresh leaves to do.
#[derive(Default)]
pub struct Remains {
    /// How many packages were read.
    pub read: u64,
    /// To be looked at again once `settle` has passed.
    pub unsettled: Vec<Location>,
    /// To be looked at again soon: the clock was too coarse to tell whether they changed again.
    pub young: Vec<Location>,
    /// To be read again when there is time: all but ctime and inode is as it was.
    pub recheck: Vec<Found>,
    /// Names that cannot be published; told anew after every look at everything.
    pub refused: Option<Vec<(String, String)>>,
    /// The same of files outside of the tree; always told.
    pub outside: Vec<(String, String)>,
    /// What could not be read for now.
    pub unread: Vec<Unread>,
    /// How many files the catalog lists as rejected now.
    pub rejected: usize,
    /// Whether nothing was taken up: all of it is to be asked for again once `settle` has passed.
    pub put_off: bool,
}

/// What a look found, and what arrived: everything one change of the catalog takes in.
#[derive(Default)]
pub(super) struct Changes {
    pub read: Vec<Found>,
    pub arrived: Vec<Scanned>,
    pub gone: Vec<Location>,
    pub unfinished: Vec<Rejected>,
    /// What of `read` somebody else has read.
    pub adopted: Option<Adopted>,
    /// Whether nothing follows, so that the file of pieces is synced now rather than at rest.
    pub last: bool,
}

/// Files that somebody keeps writing to: since when, and whether they were rejected for it.
#[derive(Default)]
pub struct Unfinished(BTreeMap<Location, (Instant, bool)>);

impl Unfinished {
    /// Those of the files found unsettled that have been so for `limit`; each is told once.
    fn overdue(&mut self, unsettled: &[Found], limit: Duration) -> Vec<Rejected> {
        let now = Instant::now();
        // Whoever has not been seen for that long has settled or gone.
        self.0.retain(|_, (since, _)| now.duration_since(*since) < limit.saturating_mul(3));
        let mut overdue = Vec::new();
        for found in unsettled {
            let (since, told) = self.0.entry(found.location.clone()).or_insert((now, false));
            if !*told && now.duration_since(*since) >= limit {
                *told = true;
                overdue.push(Rejected {
                    location: found.location.clone(),
                    // No file has this size: the next look finds a difference, whatever happened.
                    stamp: FileStamp { size: u64::MAX, ..found.stamp },
                    reason: format!(
                        "unfinished: it has been written to for {} s; it is taken once it is left alone",
                        limit.as_secs()
                    ),
                });
            }
        }
        overdue
    }
}

impl Repository {
    /// Takes up everything in `batch`. On failure nothing is lost: the same batch can be tried again
    /// with its arrivals as dirty places.
    pub fn refresh(&mut self, batch: Batch, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        let Batch { mut dirty, mut arrived, .. } = batch;
        let root = self.accept_root()?;
        if root != Root::AsBefore {
            dirty.merge(Dirty::everything());
        }
        let judge_again = self.read_keyring()?;
        if judge_again {
            // What arrived was judged by the keys of before, too.
            dirty.merge(Dirty::everything());
            arrived.clear();
        }
        self.catalog()?;
        if self.remembered.in_doubt {
            self.take_back_orphans()?;
            dirty.merge(Dirty::everything());
        }
        let arrived = self.still_trusted(arrived, &mut dirty);
        let arrived = self.still_there(arrived, &mut dirty);
        let mut known = self.catalog()?.stamps(&dirty)?;
        // What arrived was read on its way in and need not be found here.
        let stamps: BTreeMap<_, _> = arrived.iter().map(|s| (s.location.clone(), s.stamp)).collect();
        known.retain(|(location, _)| !stamps.contains_key(location));
        known.extend(stamps);
        known.sort_by(|a, b| a.0.cmp(&b.0));

        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
            covered: self.config.covered.clone(),
            // Whoever switches a link to a tree says that it is complete.
            settle: (root != Root::Switched).then_some(self.config.settle),
            now_ns: nanoseconds((self.clock)()),
            root: Some(self.root),
        };
        let mut found = scan::look(&self.config.path, &dirty, &known, &rules)?;
        let arrived = still_the_last(arrived, &found);
        if self.must_settle_first(&found.unsettled)? {
            return Ok(Remains { put_off: true, ..Remains::default() });
        }
        // First, while the catalog knows of nothing: what is rejected below would be known.
        let adopted = if dirty.everything { self.adopt(&found.read)? } else { None };
        let (additional, read) = self.look_at_additional(&mut found)?;
        found.unread.extend(self.additional_unread());
        for (path, reason) in &found.refused {
            warn!(repo.name = %self.config.name, "{} leaves out {path:?}: {reason}", self.config.name);
        }
        let unfinished = self.unfinished.overdue(&found.unsettled, self.config.settle_max);
        let mut remains = Remains {
            unsettled: found.unsettled.into_iter().map(|f| f.location).collect(),
            recheck: found.recheck,
            refused: dirty.everything.then_some(found.refused),
            outside: self.additional_trouble(),
            young: self.young(read),
            unread: found.unread,
            ..Remains::default()
        };
        let changes =
            Changes { read: found.read, arrived, gone: found.gone, unfinished, adopted, last: false };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
        remains.rejected = self.catalog()?.count_rejected()?;
        if dirty.everything {
            self.remembered.is_sure();
        }
        let unread = std::mem::take(&mut remains.unread);
        self.unread.note(&self.config.name, &dirty, unread, &remains.recheck, Instant::now());
        Ok(remains)
    }

    /// Takes every package of the tree there is, whatever its age; for a one-shot run. What cannot be read is tried again
    /// a few times.
    pub fn refresh_all(&mut self, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        let mut remains = self.refresh_once(progress)?;
        for wait in ATTEMPTS {
            if remains.unread.is_empty() {
                break;
            }
            std::thread::sleep(wait);
            let read = remains.read;
            remains = self.refresh_once(progress)?;
            remains.read += read;
        }
        let unread = std::mem::take(&mut remains.unread);
        let refused = remains.refused.get_or_insert_default();
        refused.extend(unread.into_iter().map(|unread| (unread.path, unread.reason)));
        Ok(remains)
    }

    fn refresh_once(&mut self, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        self.read_keyring()?;
        let known = self.catalog()?.stamps(&Dirty::everything())?;
        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
            covered: self.config.covered.clone(),
            settle: None,
            now_ns: nanoseconds((self.clock)()),
            root: Some(self.root),
        };
        let mut found = scan::look(&self.config.path, &Dirty::everything(), &known, &rules)?;
        let (additional, _) = self.look_at_additional(&mut found)?;
        // There is no later in which to look at these again.
        let mut read = found.read;
        read.extend(found.recheck);
        let mut refused = found.refused;
        refused.extend(self.additional_trouble());
        found.unread.extend(self.additional_unread());
        let mut remains = Remains { refused: Some(refused), unread: found.unread, ..Remains::default() };
        let changes = Changes { read, gone: found.gone, last: true, ..Changes::default() };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
        self.remembered.is_sure();
        Ok(remains)
    }

    /// Brings packages into the catalog, and publishes if anything is new, `additional` metadata included.
    fn take_up(
        &mut self,
        changes: Changes,
        additional: bool,
        remains: &mut Remains,
        progress: &dyn Progress,
    ) -> Result<(), RepositoryError> {
        let last = changes.last;
        let (listing, changed) = if self.is_due(&changes)? {
            let listing = self.take_in(changes, remains, progress)?;
            let changed = listing.changed || self.catalog()?.published()?.is_none();
            (listing, changed)
        } else if additional {
            (self.catalog()?.listing()?, false)
        } else {
            return Ok(());
        };
        if !changed && !additional {
            return Ok(());
        }
        let pieces = self.catalog()?.pieces();
        let (synced, published) = std::thread::scope(|scope| {
            let syncing = last.then(|| scope.spawn(|| pieces.sync()));
            let published = self.publish(&listing);
            (syncing.map(std::thread::ScopedJoinHandle::join), published)
        });
        match synced {
            None | Some(Ok(Ok(()))) => published,
            Some(Ok(Err(source))) => published.and(Err(CatalogError::Pieces(source).into())),
            Some(Err(_)) => Err(RepositoryError::Panicked { name: self.config.name.clone() }),
        }
    }

    /// Those of the files read just now that may have changed again without a sign.
    fn young(&self, read: Vec<Found>) -> Vec<Location> {
        let young = nanoseconds((self.clock)()) - i64::try_from(TOO_YOUNG.as_nanos()).unwrap_or(i64::MAX);
        read.into_iter().filter(|found| found.stamp.mtime_ns >= young).map(|found| found.location).collect()
    }

    /// Whether there is anything to do at all.
    fn is_due(&mut self, changes: &Changes) -> Result<bool, RepositoryError> {
        let Changes { read, arrived, gone, unfinished, adopted: _, last: _ } = changes;
        let nothing_new = read.is_empty() && arrived.is_empty() && gone.is_empty() && unfinished.is_empty();
        let catalog = self.catalog()?;
        Ok(!nothing_new || catalog.must_remake() || catalog.published()?.is_none())
    }

    /// Arrivals whose file is still the one that was committed; the others are dirty like any file.
    fn still_there(&self, arrived: Vec<Scanned>, dirty: &mut Dirty) -> Vec<Scanned> {
        let mut seen = BTreeSet::new();
        let mut kept = Vec::with_capacity(arrived.len());
        // The last arrival at a place is what lies there now.
        for scanned in arrived.into_iter().rev() {
            if !seen.insert(scanned.location.clone()) {
                continue;
            }
            match scan::stamp(&self.config.path, &scanned.location) {
                Ok(stamp) if stamp != Some(scanned.stamp) => _ = dirty.settled.insert(scanned.location),
                // That it cannot be told now is no reason to doubt what was committed and synced.
                Ok(_) | Err(_) => kept.push(scanned),
            }
        }
        kept
    }

    /// Refuses a root that is another directory than before, unless it was made anew in its place, or a link on the way to it
    /// was switched. What is published stays whole until the new tree is.
    fn accept_root(&mut self) -> Result<Root, RepositoryError> {
        let (root, real) = (scan::root_id(&self.config.path)?, real_path(&self.config.path));
        if root == self.root {
            return Ok(Root::AsBefore);
        }
        let is_switched = real != self.real;
        if !is_switched && root.device != self.root.device {
            // Mounted over, or unmounted: the look says so.
            return Ok(Root::AsBefore);
        }
        let path = self.config.path.display();
        match is_switched {
            true => {
                warn!(repo.name = %self.config.name, "{path} leads to {} now; starting over there", real.display());
            }
            false => warn!(repo.name = %self.config.name, "{path} was made anew; starting over there"),
        }
        if self.config.metadata_dir.is_none() {
            self.lock = Some(TreeLock::take(self.config.written())?);
            self.place.remove_leftovers();
        }
        self.forget_prepared();
        self.catalog()?.set_published(None)?;
        (self.root, self.real) = (root, real);
        Ok(if is_switched { Root::Switched } else { Root::MadeAnew })
    }
}

/// Arrivals without those in whose places the look, which came later, found something else, or nothing.
fn still_the_last(mut arrived: Vec<Scanned>, found: &Differences) -> Vec<Scanned> {
    if !arrived.is_empty() {
        let newer = found.read.iter().chain(&found.unsettled).map(|found| &found.location);
        let newer: BTreeSet<&Location> = newer.chain(&found.gone).collect();
        arrived.retain(|scanned| !newer.contains(&scanned.location));
    }
    arrived
}

/// What became of the root since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    AsBefore,
    MadeAnew,
    Switched,
}

/// The path without links, or as it is where that cannot be told.
pub(super) fn real_path(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

/// Makes arrivals that could not be taken up into dirty places, so that they are not lost.
pub fn as_dirty(batch: &Batch) -> Dirty {
    let mut dirty = batch.dirty.clone();
    dirty.settled.extend(batch.arrived.iter().map(|scanned| scanned.location.clone()));
    dirty
}
