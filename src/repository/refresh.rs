//! From what is dirty to what is published: the one story, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::adopt::Adopted;
use super::inbox::Batch;
use super::lock::TreeLock;
use super::{Progress, Repository, RepositoryError};
use crate::catalog::CatalogError;
use crate::package::Location;
use crate::scan;
use crate::tree::{Dirty, FileStamp, Found, Rejected, Scanned};

/// A file whose mtime is this close to the moment it was read is looked at once more.
pub(super) const TOO_YOUNG: Duration = Duration::from_secs(2);

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
        self.accept_root()?;
        let judge_again = self.read_keyring()?;
        let Batch { mut dirty, mut arrived, .. } = batch;
        if judge_again {
            // What arrived was judged by the keys of before, too.
            dirty.merge(Dirty::everything());
            arrived.clear();
        }
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
            settle: Some(self.config.settle),
            now_ns: nanoseconds((self.clock)()),
            root: Some(self.root),
        };
        let mut found = scan::look(&self.config.path, &dirty, &known, &rules)?;
        if self.must_settle_first(&found.unsettled)? {
            return Ok(Remains { put_off: true, ..Remains::default() });
        }
        // First, while the catalog knows of nothing: what is rejected below would be known.
        let adopted = if dirty.everything { self.adopt(&found.read)? } else { None };
        let (additional, read) = self.look_at_additional(&mut found)?;
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
            ..Remains::default()
        };
        let changes =
            Changes { read: found.read, arrived, gone: found.gone, unfinished, adopted, last: false };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
        remains.rejected = self.catalog()?.count_rejected()?;
        Ok(remains)
    }

    /// Takes every package of the tree there is, whatever its age; for a one-shot run.
    pub fn refresh_all(&mut self, progress: &dyn Progress) -> Result<Remains, RepositoryError> {
        self.read_keyring()?;
        let known = self.catalog()?.stamps(&Dirty::everything())?;
        let rules = scan::LookRules {
            symlinks: self.config.symlinks,
            additional: self.config.additional_metadata.clone(),
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
        let mut remains = Remains { refused: Some(refused), ..Remains::default() };
        let changes = Changes { read, gone: found.gone, last: true, ..Changes::default() };
        self.take_up(changes, additional, &mut remains, progress)?;
        self.keep_signed()?;
        self.retire()?;
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
            if scan::stamp(&self.config.path, &scanned.location)
                .is_ok_and(|stamp| stamp == Some(scanned.stamp))
            {
                kept.push(scanned);
            } else {
                dirty.settled.insert(scanned.location);
            }
        }
        kept
    }

    /// Refuses a root that is another directory than before, unless it was made anew in its place.
    fn accept_root(&mut self) -> Result<(), RepositoryError> {
        let root = scan::root_id(&self.config.path)?;
        if root != self.root && root.device == self.root.device {
            warn!(repo.name = %self.config.name, "{} was made anew; starting over there", self.config.path.display());
            self.lock = Some(TreeLock::take(&self.config.private_dir())?);
            self.root = root;
            self.forget_prepared();
            self.catalog()?.set_published(None)?;
        }
        Ok(())
    }
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
