//! The only way in and out over the network: stage, check, decide, commit, tell the worker.
//!
//! What decides between two uploads of one name or one NEVRA is who holds both [`Reservations`]
//! when the bytes are complete, not who began first: a stalled upload stands in nobody's way.

mod decide;
mod held_back;
mod removal;
mod reservations;

use std::io;
use std::sync::Arc;

use tracing::info;

use super::batches::BatchId;
use super::{Handle, Ticket};
use crate::auth::{Holder, Principal};
use crate::beneath;
use crate::beneath::Root;
use crate::catalog::CatalogError;
use crate::config::{Accept, Overwrite};
use crate::crash::{self, Point};
pub use crate::incoming::IncomingError;
use crate::incoming::batch::BatchPlace;
use crate::incoming::{self, Checked, CommitMode, Staged};
use crate::package::openpgp::{BadSignature, Keyring, Vouched};
use crate::package::{BadPackage, Checksum, Hasher, Location, Nevra, PkgId, Verify};
use crate::tree::{Dirty, FileStamp};
use decide::Decision;
pub use removal::Removal;
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
    /// To whose share it counts.
    pub holder: Holder,
    /// The batch it is held back in; `None`: it is shown at once.
    pub batch: Option<BatchId>,
    /// Whether who sends it may replace a file that is no package with other content, where `overwrite` is not `allow`.
    pub replaces: bool,
    /// What goes before its batch is shown, with all that is in it: it does not stand in the way.
    pub clears: Option<Location>,
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
    /// To replace it takes the right to delete, which who asks does not have.
    #[error("{0} is there with other content")]
    Protected(Location),
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
    /// Nothing had the name when the upload began.
    was_free: bool,
    staged: Staged,
}

impl Handle {
    /// Refuses what can be refused before a byte is read. Blocking.
    pub fn may_receive(&self, offer: &Offer) -> Result<(), ReceiveError> {
        self.look_before(offer).map(drop)
    }

    /// The same, and prepares to take the rest. Blocking.
    pub fn begin_receive(&self, offer: Offer) -> Result<Receiving, ReceiveError> {
        let (root, was_free, keyring) = self.look_before(&offer)?;
        let place = offer.batch.as_ref().map(|id| BatchPlace::of(self.config(), id));
        let staged =
            Staged::begin(self.config(), root, &offer.location, offer.stated.clone(), place.as_ref())?
                .trusting(keyring);
        Ok(Receiving { handle: self.clone(), offer, was_free, staged })
    }

    /// What is needed to go on: the repository's directory, whether nothing has the name, whose signatures count.
    fn look_before(&self, offer: &Offer) -> Result<(Root, bool, Option<Arc<Keyring>>), ReceiveError> {
        let location = &offer.location;
        if location.refuses_writes() {
            return Err(ReceiveError::Reserved(location.clone()));
        }
        // First, because to an existing folder the answer is another than to a strange name.
        let root = self.root(location)?;
        let here = if offer.clears.is_some() { None } else { look(&root, location)? };
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
        if let Some(id) = &offer.batch {
            self.may_hold_back(id, &offer.holder).map_err(|error| error.of(location))?;
        }
        Ok((root, here.is_none(), keyring))
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

    /// What has this name now.
    pub(super) fn look(&self, location: &Location) -> Result<Option<Here>, ReceiveError> {
        look(&self.root(location)?, location)
    }

    /// What has this name now, opened.
    pub(super) fn opened_at(&self, location: &Location) -> Result<Option<std::fs::File>, ReceiveError> {
        Ok(self.look(location)?.map(|here| here.file))
    }

    /// The repository's directory, opened for what is about `location`.
    fn root(&self, location: &Location) -> Result<Root, ReceiveError> {
        Root::open(&self.config().path, self.config().symlinks).map_err(|source| looking(location, source))
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
}

/// What has this name now. A link counts as the file it leads to.
fn look(root: &Root, location: &Location) -> Result<Option<Here>, ReceiveError> {
    let file = match root.read(location.as_str()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory || incoming::leads_out(&error) => {
            return Err(IncomingError::NoDirectory(location.clone()).into());
        }
        Err(error) => return Err(looking(location, error)),
    };
    let metadata = file.metadata().map_err(|source| looking(location, source))?;
    if metadata.is_dir() {
        return Err(ReceiveError::Folder(location.clone()));
    }
    Ok(Some(Here { stamp: beneath::stamp(&metadata), file }))
}

fn looking(location: &Location, source: io::Error) -> ReceiveError {
    ReceiveError::Io { attempt: "look at", location: location.clone(), source }
}

pub(super) struct Here {
    stamp: FileStamp,
    file: std::fs::File,
}

fn catalog(location: &Location, source: anyhow::Error) -> ReceiveError {
    match source.downcast_ref::<CatalogError>() {
        Some(error) if error.is_no_room() => ReceiveError::Io {
            attempt: "remember",
            location: location.clone(),
            source: rustix::io::Errno::NOSPC.into(),
        },
        _ => ReceiveError::Catalog { location: location.clone(), source },
    }
}

impl Receiving {
    /// Takes blocks that follow one another. An error is final.
    pub fn write<B: AsRef<[u8]> + Sync>(&mut self, blocks: &[B]) -> Result<(), ReceiveError> {
        Ok(self.staged.write(blocks)?)
    }

    /// Ends the upload: checks it, decides, and puts it into the tree.
    pub fn finish(self) -> Result<Received, ReceiveError> {
        let Self { handle, offer, was_free, staged } = self;
        let mut checked = staged.finish()?;
        // Its bytes may have been long on their way.
        handle.judge_again(&offer.location, checked.vouched())?;
        let nevra = checked.package().map(|(nevra, _)| nevra.clone());
        if let Some(id) = &offer.batch {
            return handle.hold_back(id, &offer, &mut checked);
        }
        // Held until the worker knows, so that the next one finds this package by its NEVRA.
        let _held = handle.shared.receiving.hold(&offer.location, nevra.as_ref());
        let mut tries = 8;
        // A name that was free mostly still is; where it is not, the commit does nothing and says so.
        let mut taken_for_free = was_free;
        loop {
            let here = match std::mem::take(&mut taken_for_free) {
                true => None,
                false => look(checked.root(), &offer.location)?,
            };
            handle.may_replace(&offer, here.as_ref(), &checked)?;
            let (mode, outcome) = match handle.decide(&offer, here, checked.package())? {
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

impl Handle {
    /// Refuses a package for which nobody in the keyring of now vouches, where the repository asks for that.
    fn judge_again(&self, location: &Location, vouched: &[Vouched]) -> Result<(), ReceiveError> {
        if self.config().verify != Verify::Signature || !location.names_a_package() {
            return Ok(());
        }
        let keyring =
            self.shared.trusted.now().ok_or_else(|| ReceiveError::Keyring(self.config().name.clone()))?;
        let refused = |why: BadSignature| IncomingError::Bad(BadPackage::Signature(why.to_string()));
        Ok(keyring.still_trusts(vouched).map_err(refused)?)
    }

    /// Whether `write` alone lets somebody replace what is at `location`: packages, as `overwrite` says, and everything else
    /// where that is `allow`.
    pub fn write_replaces(&self, location: &Location) -> bool {
        location.names_a_package() || self.config().overwrite == Overwrite::Allow
    }

    /// Refuses to replace a file that is no package with other content, for who may not remove it.
    fn may_replace(&self, offer: &Offer, here: Option<&Here>, checked: &Checked) -> Result<(), ReceiveError> {
        let location = &offer.location;
        let Some(here) = here.filter(|_| !offer.replaces && !self.write_replaces(location)) else {
            return Ok(());
        };
        match checked.has_the_bytes_of(&here.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ReceiveError::Protected(location.clone())),
            Err(source) => Err(looking(location, source)),
        }
    }

    /// Has the worker look at a file that holds additional metadata; nobody waits for others.
    fn submit_metadata(&self, location: &Location) -> Option<Ticket> {
        self.config().additional_metadata.kind_of(location)?;
        Some(self.submit(Dirty::settled(location.clone())))
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
}
