//! The only way in and out over the network: stage, check, decide, commit, tell the worker.
//!
//! What decides between two uploads of one name or one NEVRA is who holds both [`Reservations`]
//! when the bytes are complete, not who began first: a stalled upload stands in nobody's way.

mod reservations;

use std::io;
use std::time::SystemTime;

use tracing::{info, warn};

use super::batches::BatchId;
use super::{Handle, Known, Ticket, lock};
use crate::auth::Principal;
use crate::config::{Accept, Overwrite};
use crate::crash::{self, Point};
pub use crate::incoming::IncomingError;
use crate::incoming::batch::BatchPlace;
use crate::incoming::kept::Removed;
use crate::incoming::{self, Checked, CommitMode, Staged, beneath};
use crate::package::{Checksum, Hasher, Location, Nevra, PkgId, Verify};
use crate::tree::{Dirty, FileStamp};
pub use reservations::Reservations;

impl ReceiveError {
    /// Whether it is about what is in the tree, so that another time or name may do.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::NameTaken { .. } | Self::NevraTaken { .. } | Self::Folder(_) => true,
            Self::Incoming(error) => matches!(
                error,
                IncomingError::Exists(_) | IncomingError::NoDirectory(_) | IncomingError::IsDirectory(_)
            ),
            _ => false,
        }
    }
}

/// What somebody wants to put into the repository.
pub struct Offer {
    pub location: Location,
    /// The condition the request made on what has the name now (`If-Match`, `If-None-Match`).
    pub condition: Condition,
    /// Checksums the sender stated; the bytes must have them.
    pub stated: Vec<Checksum>,
    /// Who sends it, for the log.
    pub by: Principal,
    /// The batch it is held back in; `None`: it is shown at once.
    pub batch: Option<BatchId>,
}

/// Says whether the request may go on, given what has the name now.
pub type Condition = Box<dyn Fn(Option<&FileStamp>) -> bool + Send>;

/// Why an upload or a removal is refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    /// Hidden names and `repodata/` are the daemon's own.
    #[error("{0} is a name this server keeps for itself")]
    Reserved(Location),
    /// `accept = "packages"`.
    #[error("this repository takes packages only, and {0} does not end in .rpm")]
    NotAPackageName(Location),
    #[error("{0} is a folder")]
    Folder(Location),
    #[error("the request's condition on {0} is not met")]
    Condition(Location),
    /// `overwrite` forbids it.
    #[error("{location} exists with other content")]
    NameTaken { location: Location, identical: bool },
    /// Rule 10 of product.md.
    #[error("{nevra} exists with other content as {location}")]
    NevraTaken { nevra: Nevra, location: Location },
    #[error("{0} does not exist")]
    NotFound(Location),
    #[error("the batch takes no more")]
    BatchFull,
    #[error("cannot {attempt} {location}")]
    Io { attempt: &'static str, location: Location, source: io::Error },
    /// `verify = "signature"`, and the keys cannot be read.
    #[error("the keyring of {0} cannot be read, so nothing can be taken")]
    Keyring(String),
    #[error("cannot ask the catalog about {location}")]
    Catalog { location: Location, source: anyhow::Error },
}

/// What becomes of a removed package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It stays fetchable for the grace period.
    WithGrace,
    /// It is gone, and so is what earlier removals have kept of this name.
    AtOnce,
}

/// What an upload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    New,
    /// These bytes were there already; nothing was written.
    Same,
    Replaced,
}

/// An upload that is in.
#[derive(Debug)]
pub struct Received {
    pub outcome: Outcome,
    pub stamp: FileStamp,
    /// `None` for files that are no packages (`accept = "any"`).
    pub nevra: Option<Nevra>,
    /// When the metadata will show it; `None` when it does already, or never will.
    pub ticket: Option<Ticket>,
    /// The batch that holds it back until its commit.
    pub batch: Option<BatchId>,
}

/// An upload on its way. Everything here blocks; dropping it leaves nothing.
pub struct Receiving {
    handle: Handle,
    offer: Offer,
    staged: Staged,
}

impl Handle {
    /// Refuses what can be refused before a byte is read, and prepares to take the rest. Blocking.
    pub fn begin_receive(&self, offer: Offer) -> Result<Receiving, ReceiveError> {
        let location = &offer.location;
        if location.is_reserved() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        // First, because to an existing folder the answer is another than to a strange name.
        let here = self.look(location)?;
        self.refuse_strange_name(location)?;
        let stamp = here.as_ref().map(|here| here.stamp);
        if !(offer.condition)(stamp.as_ref()) {
            return Err(ReceiveError::Condition(location.clone()));
        }
        if here.is_some() && location.names_a_package() && self.config().overwrite == Overwrite::Deny {
            return Err(ReceiveError::NameTaken { location: location.clone(), identical: false });
        }
        let keyring = self.shared.trusted.now();
        if keyring.is_none() && self.config().verify == Verify::Signature && location.names_a_package() {
            return Err(ReceiveError::Keyring(self.config().name.clone()));
        }
        let place = offer.batch.as_ref().map(|id| BatchPlace::of(self.config(), id));
        if let Some(id) = &offer.batch {
            self.open_batch(id).map_err(|error| error.of(location))?;
        }
        let staged =
            Staged::begin(self.config(), location, offer.stated.clone(), place.as_ref())?.trusting(keyring);
        Ok(Receiving { handle: self.clone(), offer, staged })
    }

    /// Takes a package (or with `accept = "any"` any file) out of the repository. Blocking.
    pub fn remove(
        &self,
        location: &Location,
        condition: &Condition,
        how: Removal,
        by: &Principal,
    ) -> Result<Ticket, ReceiveError> {
        if location.is_reserved() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        self.refuse_strange_name(location)?;
        let reservations = &self.shared.receiving;
        let _held = reservations.hold(location, None);
        let failed = |source| ReceiveError::Io { attempt: "remove", location: location.clone(), source };
        let here = self.look(location)?;
        if here.is_none() && how == Removal::AtOnce {
            // What an earlier removal has kept.
            let forgotten = match reservations.kept(self.config()).map_err(failed)?.as_mut() {
                Some(kept) => kept.forget(location).map_err(failed)?,
                None => false,
            };
            if forgotten {
                return Ok(self.submit(Dirty::settled(location.clone())));
            }
        }
        let Some(here) = here else {
            return Err(ReceiveError::NotFound(location.clone()));
        };
        if !condition(Some(&here.stamp)) {
            return Err(ReceiveError::Condition(location.clone()));
        }
        let keep = how == Removal::WithGrace;
        let removed = match reservations.kept(self.config()).map_err(failed)?.as_mut() {
            Some(kept) => {
                let removed = kept.remove(self.config(), location, keep).map_err(failed)?;
                if !keep {
                    kept.forget(location).map_err(failed)?;
                }
                removed
            }
            None => Removed::Gone,
        };
        let repo = &self.config().name;
        info!(repo.name = %repo, location = %location, kept = removed == Removed::Kept, by = by.name(),
              "removed {:?} from {repo}{}", location.as_str(), by.in_a_sentence());
        self.drop_properties(location);
        self.expire_kept();
        Ok(self.submit(Dirty::settled(location.clone())))
    }

    /// Drops removed packages whose grace period, or whose space, has run out. Blocking; cheap when
    /// there is nothing to do. To be called now and then.
    pub fn expire_kept(&self) {
        let repo = &self.config().name;
        let expired = self.shared.receiving.kept(self.config()).and_then(|mut kept| match kept.as_mut() {
            Some(kept) => kept.expire(self.config(), SystemTime::now()),
            None => Ok((0, 0)),
        });
        match expired {
            Ok((_, 0)) => {}
            Ok((_, count)) => warn!(repo.name = %repo, count,
                "gave up {count} removed packages of {repo} before their grace period ended: grace_space is used up"),
            Err(error) => {
                warn!(repo.name = %repo, %error, "cannot clear removed packages of {repo}: {error}");
            }
        }
    }

    /// `accept = "packages"` takes packages, and the files that hold additional metadata.
    pub(super) fn refuse_strange_name(&self, location: &Location) -> Result<(), ReceiveError> {
        let config = self.config();
        let is_known = location.names_a_package() || config.additional_metadata.kind_of(location).is_some();
        match config.accept {
            Accept::Packages if !is_known => Err(ReceiveError::NotAPackageName(location.clone())),
            Accept::Packages | Accept::Any => Ok(()),
        }
    }

    /// What has this name now. A link counts as the file it leads to.
    pub(super) fn look(&self, location: &Location) -> Result<Option<Here>, ReceiveError> {
        let failed = |source| ReceiveError::Io { attempt: "look at", location: location.clone(), source };
        let root = beneath::Root::open(&self.config().path, self.config().symlinks).map_err(failed)?;
        let file = match root.read(location.as_str()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory || incoming::leads_out(&error) => {
                return Err(IncomingError::NoDirectory(location.clone()).into());
            }
            Err(error) => return Err(failed(error)),
        };
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(ReceiveError::Folder(location.clone()));
        }
        Ok(Some(Here { stamp: beneath::stamp(&metadata), file }))
    }

    /// The package's checksum: remembered when the file is the one remembered, else taken now.
    pub(super) fn pkgid(&self, location: &Location, here: &Here) -> Result<PkgId, ReceiveError> {
        let known = self.find_location(location).map_err(|source| catalog(location, source))?;
        match known {
            Some(known) if known.stamp == here.stamp && known.pkgid.kind == self.config().checksum => {
                Ok(known.pkgid)
            }
            _ => incoming::checksum(&here.file, Hasher::new(self.config().checksum))
                .map_err(|source| ReceiveError::Io { attempt: "read", location: location.clone(), source }),
        }
    }

    /// A file kept for `location` after its removal, if its grace period still runs.
    pub(super) fn kept_file(&self, location: &Location) -> io::Result<Option<std::path::PathBuf>> {
        let kept = self.shared.receiving.kept(self.config())?;
        Ok(kept.as_ref().and_then(|kept| kept.find(location, self.config().grace, SystemTime::now())))
    }
}

pub(super) struct Here {
    stamp: FileStamp,
    file: std::fs::File,
}

fn catalog(location: &Location, source: anyhow::Error) -> ReceiveError {
    ReceiveError::Catalog { location: location.clone(), source }
}

impl Receiving {
    /// Takes the next block. An error is final.
    pub fn write(&mut self, block: &[u8]) -> Result<(), ReceiveError> {
        Ok(self.staged.write(block)?)
    }

    /// The same for blocks that follow one another; faster where they are large together.
    pub fn write_all<B: AsRef<[u8]> + Sync>(&mut self, blocks: &[B]) -> Result<(), ReceiveError> {
        Ok(self.staged.write_all(blocks)?)
    }

    /// Ends the upload: checks it, decides, and puts it into the tree.
    pub fn finish(self) -> Result<Received, ReceiveError> {
        let Self { handle, offer, staged } = self;
        let mut checked = staged.finish()?;
        let nevra = checked.package().map(|(nevra, _)| nevra.clone());
        if let Some(id) = &offer.batch {
            return handle.hold_back(id, &offer, &mut checked);
        }
        // Held until the worker knows, so that the next one finds this package by its NEVRA.
        let _held = handle.shared.receiving.hold(&offer.location, nevra.as_ref());
        let mut tries = 8;
        loop {
            let (mode, outcome) = match handle.decide(&offer, &checked)? {
                Decision::Same(stamp) => {
                    let ticket = handle.ticket_of_known(&offer.location, &stamp)?;
                    return Ok(Received { outcome: Outcome::Same, stamp, nevra, ticket, batch: None });
                }
                Decision::New => (CommitMode::New, Outcome::New),
                Decision::Replace => (CommitMode::Replace, Outcome::Replaced),
            };
            match checked.commit(mode) {
                Ok(committed) => {
                    let (repo, name) = (&handle.config().name, offer.location.as_str());
                    info!(repo.name = %repo, location = %name, replaced = mode == CommitMode::Replace, by = offer.by.name(),
                          "received {name:?} for {repo}{}", offer.by.in_a_sentence());
                    handle.shared.figures.uploaded(committed.stamp.size);
                    let ticket = match committed.package {
                        Some(scanned) => Some(handle.arrived(scanned)),
                        None => handle.submit_metadata(&offer.location),
                    };
                    crash::point(Point::UploadArrived);
                    return Ok(Received { outcome, stamp: committed.stamp, nevra, ticket, batch: None });
                }
                // Somebody without a reservation (cp, rsync) took the name meanwhile: decide again.
                Err(IncomingError::Exists(_)) if tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What is to be done with a complete and valid upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    New,
    Replace,
    /// The stamp of the file that has these bytes already.
    Same(FileStamp),
}

impl Handle {
    fn decide(&self, offer: &Offer, checked: &Checked) -> Result<Decision, ReceiveError> {
        let location = &offer.location;
        let here = self.look(location)?;
        if !(offer.condition)(here.as_ref().map(|here| &here.stamp)) {
            return Err(ReceiveError::Condition(location.clone()));
        }
        self.decide_between(location, here, checked.package())
    }

    fn decide_between(
        &self,
        location: &Location,
        here: Option<Here>,
        package: Option<(&Nevra, &PkgId)>,
    ) -> Result<Decision, ReceiveError> {
        let Some((nevra, pkgid)) = package else {
            return Ok(if here.is_some() { Decision::Replace } else { Decision::New });
        };
        let here = match here {
            Some(here) => Some((self.pkgid(location, &here)?, here.stamp)),
            None => None,
        };
        // What the catalog has not yet noticed to be gone does not stand in the way.
        let mut same_nevra = self.find_nevra(nevra).map_err(|source| catalog(location, source))?;
        same_nevra.retain(|known| known.location != *location && self.is_there(&known.location));
        let here = here.as_ref().map(|(pkgid, stamp)| (pkgid, *stamp));
        decide(self.config().overwrite, location, (nevra, pkgid), here, &same_nevra)
    }

    /// Has the worker look at a file that holds additional metadata; nobody waits for others.
    fn submit_metadata(&self, location: &Location) -> Option<Ticket> {
        self.config().additional_metadata.kind_of(location)?;
        Some(self.submit(Dirty::settled(location.clone())))
    }

    /// What would become of a file in the tree as it is now.
    pub(super) fn decide_about(
        &self,
        location: &Location,
        package: Option<(&Nevra, &PkgId)>,
    ) -> Result<Outcome, ReceiveError> {
        let here = self.look(location)?;
        Ok(match self.decide_between(location, here, package)? {
            Decision::New => Outcome::New,
            Decision::Replace => Outcome::Replaced,
            Decision::Same(_) => Outcome::Same,
        })
    }

    /// Puts a complete and valid upload into its batch, by the rules that hold in the tree.
    fn hold_back(
        &self,
        id: &BatchId,
        offer: &Offer,
        checked: &mut Checked,
    ) -> Result<Received, ReceiveError> {
        let location = &offer.location;
        loop {
            let batch = self.open_batch(id).map_err(|error| error.of(location))?;
            let mut batch = lock(&batch);
            if batch.is_over() {
                // It was committed while this waited: what follows begins another one.
                continue;
            }
            if !batch.has_room_for(location) {
                return Err(ReceiveError::BatchFull);
            }
            let package = checked.package().map(|(nevra, pkgid)| (nevra.clone(), pkgid.clone()));
            let nevra = package.as_ref().map(|(nevra, _)| nevra.clone());
            let _held = self.shared.receiving.hold(location, nevra.as_ref());
            // What the commit would refuse is refused now, while the sender listens.
            self.decide(offer, checked)?;
            let mut outcome = Outcome::New;
            if let Some((nevra, pkgid)) = &package {
                let (here, elsewhere) = batch.known(location, nevra);
                let stamp = FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
                let here = here.as_ref().map(|pkgid| (pkgid, stamp));
                match decide(self.config().overwrite, location, (nevra, pkgid), here, &elsewhere)? {
                    Decision::Same(_) => outcome = Outcome::Same,
                    Decision::New | Decision::Replace => {}
                }
            }
            let (stamp, size) = checked.stamp().map(|stamp| (stamp, stamp.size))?;
            if outcome != Outcome::Same {
                checked.hold(self.config(), batch.place())?;
                if batch.stored(location.clone(), size, package) {
                    outcome = Outcome::Replaced;
                }
            }
            let (repo, name, batch) = (&self.config().name, location.as_str(), id.as_str());
            info!(repo.name = %repo, location = %name, batch, by = offer.by.name(),
                  "received {name:?} for {repo}, held back in the batch {batch}{}", offer.by.in_a_sentence());
            return Ok(Received { outcome, stamp, nevra, ticket: None, batch: Some(id.clone()) });
        }
    }

    /// Nothing to wait for when the file is published as it is; otherwise a place in the queue.
    fn ticket_of_known(
        &self,
        location: &Location,
        stamp: &FileStamp,
    ) -> Result<Option<Ticket>, ReceiveError> {
        // Asked first: what arrives meanwhile can only make us wait for nothing.
        let all_published = self.shared.inbox.pending() == 0 && self.published().is_some();
        let known = self.find_location(location).map_err(|source| catalog(location, source))?;
        let is_published = all_published && known.is_some_and(|known| known.stamp == *stamp);
        Ok((!is_published).then(|| self.submit(Dirty::settled(location.clone()))))
    }

    fn is_there(&self, location: &Location) -> bool {
        matches!(self.look(location), Ok(Some(_)))
    }
}

/// The overwrite rule and the rule of duplicates (product.md rule 10).
fn decide(
    overwrite: Overwrite,
    location: &Location,
    (nevra, pkgid): (&Nevra, &PkgId),
    here: Option<(&PkgId, FileStamp)>,
    same_nevra_elsewhere: &[Known],
) -> Result<Decision, ReceiveError> {
    let taken = |identical| Err(ReceiveError::NameTaken { location: location.clone(), identical });
    let decision = match (here, overwrite) {
        (None, _) => Decision::New,
        (Some((old, _)), Overwrite::Deny) => return taken(old == pkgid),
        (Some((old, stamp)), Overwrite::Same | Overwrite::Allow) if old == pkgid => {
            return Ok(Decision::Same(stamp));
        }
        (Some(_), Overwrite::Same) => return taken(false),
        (Some(_), Overwrite::Allow) => Decision::Replace,
    };
    match same_nevra_elsewhere.iter().find(|known| known.pkgid != *pkgid) {
        Some(known) => {
            Err(ReceiveError::NevraTaken { nevra: nevra.clone(), location: known.location.clone() })
        }
        None => Ok(decision),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Checksum, ChecksumType, Evr};

    const STAMP: FileStamp = FileStamp { inode: 1, size: 2, mtime_ns: 3, ctime_ns: 4 };

    fn sum(text: &str) -> PkgId {
        Checksum::of(ChecksumType::Sha256, text.as_bytes())
    }

    /// What becomes of bytes "new" at `a.rpm`, in short.
    fn outcome(overwrite: Overwrite, here: Option<&str>, elsewhere: &[(&str, &str)]) -> &'static str {
        let location = Location::parse("a.rpm").unwrap();
        let evr = Evr { epoch: 0, version: "1".into(), release: "1".into() };
        let nevra = Nevra { name: "a".into(), evr, arch: "noarch".into() };
        let here = here.map(sum);
        let elsewhere: Vec<Known> = elsewhere
            .iter()
            .map(|(at, bytes)| Known {
                location: Location::parse(at).unwrap(),
                stamp: STAMP,
                pkgid: sum(bytes),
            })
            .collect();
        match decide(
            overwrite,
            &location,
            (&nevra, &sum("new")),
            here.as_ref().map(|h| (h, STAMP)),
            &elsewhere,
        ) {
            Ok(Decision::New) => "new",
            Ok(Decision::Replace) => "replace",
            Ok(Decision::Same(stamp)) if stamp == STAMP => "same",
            Err(ReceiveError::NameTaken { identical: true, .. }) => "name taken, identical",
            Err(ReceiveError::NameTaken { identical: false, .. }) => "name taken",
            Err(ReceiveError::NevraTaken { location, .. }) if location.as_str() == "b.rpm" => "nevra taken",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_overwrite_rule_decides_about_names() {
        use Overwrite::{Allow, Deny, Same};
        for (rule, absent, identical, other) in [
            (Deny, "new", "name taken, identical", "name taken"),
            (Same, "new", "same", "name taken"),
            (Allow, "new", "same", "replace"),
        ] {
            assert_eq!(outcome(rule, None, &[]), absent, "{rule:?}");
            assert_eq!(outcome(rule, Some("new"), &[]), identical, "{rule:?}");
            assert_eq!(outcome(rule, Some("old"), &[]), other, "{rule:?}");
        }
    }

    #[test]
    fn one_nevra_has_one_content_over_http() {
        for rule in [Overwrite::Deny, Overwrite::Same, Overwrite::Allow] {
            assert_eq!(
                outcome(rule, None, &[("b.rpm", "new")]),
                "new",
                "{rule:?}: the same bytes twice are fine"
            );
            assert_eq!(outcome(rule, None, &[("c.rpm", "new"), ("b.rpm", "old")]), "nevra taken", "{rule:?}");
        }
        assert_eq!(outcome(Overwrite::Allow, Some("old"), &[("b.rpm", "old")]), "nevra taken");
        // What is there already stays as it is, whatever else is wrong.
        assert_eq!(outcome(Overwrite::Allow, Some("new"), &[("b.rpm", "old")]), "same");
    }
}
