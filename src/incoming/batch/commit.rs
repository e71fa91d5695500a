//! A batch becomes visible: every file gets its name in the tree, or none does.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use serde_json::json;
use tracing::warn;

use super::{BatchPlace, Ready, there};
use crate::beneath::own::Own;
use crate::beneath::{Root, stamp};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::incoming::{CommitMode, IncomingError, parents};
use crate::package::Location;
use crate::package::openpgp::Keyring;
use crate::repodata::Fragments;
use crate::tree::Scanned;

/// One move of a commit.
pub struct Move {
    pub location: Location,
    pub mode: CommitMode,
}

/// Bytes of metadata of a batch that are held in memory while it is committed.
const HELD: usize = 32 << 20;

/// Lets go of a package's metadata where the batch has much: the worker reads the package once more then.
fn bounded(mut ready: Ready, held: &mut usize) -> Ready {
    if let Some((_, _, fragments)) = &mut ready.package {
        *held += fragments.len();
        if *held > HELD {
            *fragments = Fragments::default();
        }
    }
    ready
}

impl BatchPlace {
    /// Makes its files visible, all or none: on an error nothing has happened, and what fails once all are visible is no error.
    /// Gives back the packages, but for those that could not be looked at once more.
    /// `keyring`: whose signatures count, where the repository asks for them.
    pub fn commit(
        &self,
        config: &RepositoryConfig,
        moves: &[Move],
        keyring: Option<&Arc<Keyring>>,
    ) -> Result<Vec<Scanned>, IncomingError> {
        let wrap = |attempt| move |source| IncomingError::Io { attempt, path: self.path(), source };
        let root = Root::open(&config.path, config.symlinks).map_err(wrap("open the repository of"))?;
        // Read before anything moves: what may fail slowly fails here.
        let mut held = 0;
        let ready: Vec<Ready> = moves
            .iter()
            .map(|one| Ok(bounded(self.ready(config, &one.location, keyring)?, &mut held)))
            .collect::<io::Result<_>>()
            .map_err(wrap("read the batch in"))?;
        self.begin_commit(moves).map_err(wrap("note the commit of"))?;
        crash::point(Point::BatchBegun);
        for (number, one) in moves.iter().enumerate() {
            if let Err(error) = self.show(config, &root, number, one) {
                self.undo(config, &root, &moves[..=number]);
                return Err(error);
            }
            crash::point(Point::BatchShown);
        }
        if let Err(error) = sync_directories(&root, moves) {
            self.undo(config, &root, moves);
            return Err(wrap("sync what was made visible from")(error));
        }
        crash::point(Point::BatchSynced);
        let mut scanned = Vec::new();
        for Ready { location, package, vouched } in ready {
            let Some((nevra, pkgid, fragments)) = package else { continue };
            if let Ok(metadata) = root.read(location.as_str()).and_then(|file| file.metadata()) {
                scanned.push(Scanned { location, stamp: stamp(&metadata), pkgid, nevra, fragments, vouched });
            }
        }
        if let Err(error) = self.keep_shown().and_then(|()| self.remove()) {
            let repo = &config.name;
            warn!(repo.name = %repo, "all of a batch is visible in {repo}, but {} cannot be cleared away: {error}",
                self.path().display());
        }
        crash::point(Point::BatchRemoved);
        Ok(scanned)
    }

    /// From here on a crash is followed by the end of the commit.
    pub(super) fn begin_commit(&self, moves: &[Move]) -> io::Result<()> {
        let batch = self.opened()?;
        batch.make("old")?;
        // A location holds no newline that metadata could not express; the flag stands first.
        let lines = moves.iter().map(|one| {
            let flag = if one.mode == CommitMode::Replace { "replace" } else { "new" };
            format!("{}\n", json!([flag, one.location.as_str()]))
        });
        let mut file = batch.create_anew("commit.new", 0o600)?;
        file.write_all(lines.collect::<String>().as_bytes())?;
        file.sync_all()?;
        batch.rename("commit.new", &batch, "commit")?;
        batch.sync()
    }

    /// Gives one file its name in the tree.
    pub(super) fn show(
        &self,
        config: &RepositoryConfig,
        root: &Root,
        number: usize,
        one: &Move,
    ) -> Result<(), IncomingError> {
        let location = &one.location;
        let io_failed = |attempt| {
            let path = location.under(&config.path);
            move |source: io::Error| match source.kind() {
                ErrorKind::NotADirectory => IncomingError::NoDirectory(location.clone()),
                ErrorKind::AlreadyExists => IncomingError::Exists(location.clone()),
                ErrorKind::IsADirectory => IncomingError::IsDirectory(location.clone()),
                _ => IncomingError::Io { attempt, path, source },
            }
        };
        let (directory, _made) = root
            .make_directories(&parents(location), 0o777 & !config.umask)
            .map_err(io_failed("make the directories of"))?;
        let name = location.file_name();
        let held = self.directory_of(location).map_err(io_failed("find the batch of"))?;
        let held = held.ok_or_else(|| io_failed("find in its batch")(ErrorKind::NotFound.into()))?;
        let flags = match one.mode {
            CommitMode::New => RenameFlags::NOREPLACE,
            CommitMode::Replace => {
                let keep = || -> io::Result<()> {
                    let (old, number) = (self.opened()?.sub("old")?, number.to_string());
                    // What another try left.
                    old.remove(&number)?;
                    Ok(rustix::fs::linkat(&directory, name, &old, &number, AtFlags::empty())?)
                };
                keep().map_err(io_failed("keep what is replaced at"))?;
                RenameFlags::empty()
            }
        };
        let renamed = rustix::fs::renameat_with(&held, name, &directory, name, flags);
        let renamed = match renamed {
            // Not every file system knows NOREPLACE; nobody with a reservation has the name.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if one.mode == CommitMode::New => {
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(&held, name, &directory, name),
                    Ok(_) => Err(Errno::EXIST),
                    Err(error) => Err(error),
                }
            }
            other => other,
        };
        renamed.map_err(|error| io_failed("give its name to")(error.into()))
    }

    /// Takes back what [`BatchPlace::show`] did, the last first, and ends the commit.
    fn undo(&self, config: &RepositoryConfig, root: &Root, moves: &[Move]) {
        for (number, one) in moves.iter().enumerate().rev() {
            let back = || -> io::Result<()> {
                if self.has(&one.location)? {
                    // This one had not moved.
                    return Ok(());
                }
                let (name, parent) = (one.location.file_name(), parents(&one.location).join("/"));
                let directory = root.read(&parent)?;
                let held = self.directory_of(&one.location)?;
                let held = held.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
                rustix::fs::renameat(&directory, name, &held, name)?;
                if one.mode == CommitMode::Replace {
                    let old = self.opened()?.sub("old")?;
                    rustix::fs::renameat(&old, number.to_string(), &directory, name)?;
                }
                directory.sync_all()
            };
            if let Err(error) = back() {
                let repo = &config.name;
                warn!(repo.name = %repo, "cannot take {} back from {repo}: {error}", one.location);
            }
        }
        if let Err(error) = self.opened().and_then(|batch| batch.remove("commit")) {
            warn!("cannot end the commit of {}: {error}", self.path().display());
        }
    }

    /// The moves of a commit under way.
    pub(super) fn journal(&self) -> io::Result<Option<Vec<Move>>> {
        self.open()?.map_or(Ok(None), |batch| read_moves(&batch, "commit"))
    }

    /// Ends a commit that a crash interrupted: what still waits gets its name.
    pub(super) fn finish(&self, config: &RepositoryConfig, moves: &[Move]) -> Result<(), IncomingError> {
        let wrap = |attempt| move |source| IncomingError::Io { attempt, path: self.path(), source };
        let root = Root::open(&config.path, config.symlinks).map_err(wrap("open the repository of"))?;
        for (number, one) in moves.iter().enumerate() {
            if !self.has(&one.location).map_err(wrap("look into"))? {
                continue;
            }
            if let Err(error) = self.show(config, &root, number, one) {
                self.undo(config, &root, moves);
                return Err(error);
            }
        }
        sync_directories(&root, moves).map_err(wrap("sync what was made visible from"))?;
        self.remove().map_err(wrap("clear away"))
    }
}

/// The moves noted in a file; `None` where there is none.
pub(super) fn read_moves(directory: &Own, name: &str) -> io::Result<Option<Vec<Move>>> {
    let Some(bytes) = there(directory.bytes(name))? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    let read = |line: &str| {
        let (flag, location): (String, String) = serde_json::from_str(line).ok()?;
        let mode = if flag == "replace" { CommitMode::Replace } else { CommitMode::New };
        Some(Move { location: Location::parse(&location).ok()?, mode })
    };
    let moves = text.lines().map(read).collect::<Option<_>>();
    moves
        .map(Some)
        .ok_or_else(|| io::Error::other(format!("{} is damaged", directory.path().join(name).display())))
}

/// Makes the new names survive a power cut.
fn sync_directories(root: &Root, moves: &[Move]) -> io::Result<()> {
    let mut all = BTreeSet::from([String::new()]);
    for one in moves {
        let parents = parents(&one.location);
        all.extend((1..=parents.len()).map(|depth| parents[..depth].join("/")));
    }
    all.iter().rev().try_for_each(|directory| root.read(directory)?.sync_all())
}
