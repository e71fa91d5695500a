//! A batch becomes visible: every file gets its name in the tree, or none does.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use serde_json::json;
use tracing::warn;

use super::{BatchPlace, Ready};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::incoming::beneath::{Root, stamp};
use crate::incoming::{CommitMode, IncomingError, parents};
use crate::package::Location;
use crate::tree::Scanned;

/// One move of a commit.
pub struct Move {
    pub location: Location,
    pub mode: CommitMode,
}

impl BatchPlace {
    /// Makes its files visible, all or none. On an error nothing has happened.
    pub fn commit(&self, config: &RepositoryConfig, moves: &[Move]) -> Result<Vec<Scanned>, IncomingError> {
        let wrap =
            |attempt| move |source| IncomingError::Io { attempt, path: self.directory.clone(), source };
        let root = Root::open(&config.path, config.symlinks).map_err(wrap("open the repository of"))?;
        // Read before anything moves: what may fail slowly fails here.
        let ready: Vec<Ready> = moves
            .iter()
            .map(|one| self.ready(config, &one.location))
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
        sync_directories(&root, moves).map_err(wrap("sync what was made visible from"))?;
        crash::point(Point::BatchSynced);
        let mut scanned = Vec::new();
        for Ready { location, package } in ready {
            let Some((nevra, pkgid, fragments)) = package else { continue };
            let file = root.read(location.as_str()).and_then(|file| file.metadata());
            let metadata = file.map_err(wrap("look at what was made visible from"))?;
            scanned.push(Scanned { location, stamp: stamp(&metadata), pkgid, nevra, fragments });
        }
        self.keep_shown().and_then(|()| self.remove()).map_err(wrap("clear away"))?;
        crash::point(Point::BatchRemoved);
        Ok(scanned)
    }

    /// From here on a crash is followed by the end of the commit.
    pub(super) fn begin_commit(&self, moves: &[Move]) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory.join("old"))?;
        // A location holds no newline that metadata could not express; the flag stands first.
        let lines = moves.iter().map(|one| {
            let flag = if one.mode == CommitMode::Replace { "replace" } else { "new" };
            format!("{}\n", json!([flag, one.location.as_str()]))
        });
        let new = self.directory.join("commit.new");
        let mut file = File::create(&new)?;
        file.write_all(lines.collect::<String>().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, self.directory.join("commit"))?;
        File::open(&self.directory)?.sync_all()
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
        let (from, name) = (self.file(location), location.file_name());
        let flags = match one.mode {
            CommitMode::New => RenameFlags::NOREPLACE,
            CommitMode::Replace => {
                let old = self.directory.join("old").join(number.to_string());
                // What another try left.
                let _ = fs::remove_file(&old);
                rustix::fs::linkat(&directory, name, CWD, &old, AtFlags::empty())
                    .map_err(|error| io_failed("keep what is replaced at")(error.into()))?;
                RenameFlags::empty()
            }
        };
        let renamed = rustix::fs::renameat_with(CWD, &from, &directory, name, flags);
        let renamed = match renamed {
            // Not every file system knows NOREPLACE; nobody with a reservation has the name.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if one.mode == CommitMode::New => {
                match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(CWD, &from, &directory, name),
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
            let (held, old) = (self.file(&one.location), self.directory.join("old").join(number.to_string()));
            if held.exists() {
                // This one had not moved.
                continue;
            }
            let back = || -> io::Result<()> {
                let parent = parents(&one.location).join("/");
                let directory = root.read(&parent)?;
                rustix::fs::renameat(&directory, one.location.file_name(), CWD, &held)?;
                if one.mode == CommitMode::Replace {
                    rustix::fs::renameat(CWD, &old, &directory, one.location.file_name())?;
                }
                directory.sync_all()
            };
            if let Err(error) = back() {
                let repo = &config.name;
                warn!(repo.name = %repo, "cannot take {} back from {repo}: {error}", one.location);
            }
        }
        if let Err(error) = fs::remove_file(self.directory.join("commit")) {
            warn!("cannot end the commit of {}: {error}", self.directory.display());
        }
    }

    /// The moves of a commit under way.
    pub(super) fn journal(&self) -> io::Result<Option<Vec<Move>>> {
        read_moves(&self.directory.join("commit"))
    }

    /// Ends a commit that a crash interrupted: what still waits gets its name.
    pub(super) fn finish(&self, config: &RepositoryConfig, moves: &[Move]) -> Result<(), IncomingError> {
        let wrap =
            |attempt| move |source| IncomingError::Io { attempt, path: self.directory.clone(), source };
        let root = Root::open(&config.path, config.symlinks).map_err(wrap("open the repository of"))?;
        for (number, one) in moves.iter().enumerate() {
            if !self.file(&one.location).exists() {
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
pub(super) fn read_moves(path: &Path) -> io::Result<Option<Vec<Move>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = |line: &str| {
        let (flag, location): (String, String) = serde_json::from_str(line).ok()?;
        let mode = if flag == "replace" { CommitMode::Replace } else { CommitMode::New };
        Some(Move { location: Location::parse(&location).ok()?, mode })
    };
    let moves = text.lines().map(read).collect::<Option<_>>();
    moves.map(Some).ok_or_else(|| io::Error::other(format!("{} is damaged", path.display())))
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
