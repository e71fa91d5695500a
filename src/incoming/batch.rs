//! A batch: uploads that are complete and checked, and wait outside the visible tree to appear together.
//!
//! Each lies in `.createrepod/incoming/batches/<ID>/`:
//!
//! ```text
//! files/<location>   the bytes; the path is the whole record of where they belong
//! notes/<sum>        what was read from them, so that nobody reads them again; `<sum>` is the location's SHA-256
//! old/<number>       while a commit runs: what it replaces
//! commit             while a commit runs: the locations it makes visible, in order
//! ```
//!
//! What a crash leaves: without `commit`, a batch that waits as before; with it, a commit that
//! [`recover`] finishes, or undoes where it cannot be finished. What was made visible stays noted beside the batches, in
//! `.shown-…`, until all of it has settled: a restart that found some files settled and others not would show halves.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::beneath::{Root, stamp};
use super::place::{Place, rendered};
use super::{Checked, CommitMode, IncomingError, ReadPackage, parents};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::package::intake::Intake;
use crate::package::{Checksum, ChecksumType, Evr, Location, Nevra, PkgId};
use crate::repodata::Fragments;
use crate::tree::Scanned;

/// A batch's name: letters, digits, `.`, `_`, `-`, the first a letter or digit; at most 100.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(String);

impl BatchId {
    pub fn parse(text: &str) -> Option<Self> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let right = text.len() <= 100
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(known);
        right.then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where one batch lies.
#[derive(Debug, Clone)]
pub struct BatchPlace {
    directory: PathBuf,
}

/// Where all batches of a repository lie.
fn all(config: &RepositoryConfig) -> PathBuf {
    config.private_dir().join("incoming/batches")
}

/// What lies there; nothing where there is no such directory yet.
fn entries(config: &RepositoryConfig) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    let entries = match fs::read_dir(all(config)) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    Ok(entries.into_iter().flatten())
}

/// How the names of lists of what was made visible begin.
const SHOWN: &str = ".shown-";

/// A file of a batch, ready to become visible.
pub struct Ready {
    pub location: Location,
    /// `None` for files that are no packages.
    pub package: Option<(Nevra, PkgId, Fragments)>,
}

/// One move of a commit.
pub struct Move {
    pub location: Location,
    pub mode: CommitMode,
}

impl BatchPlace {
    pub fn of(config: &RepositoryConfig, id: &BatchId) -> Self {
        Self { directory: all(config).join(id.as_str()) }
    }

    /// Where the bytes of an upload are staged: on the file system they will be held on.
    pub(super) fn make(&self) -> io::Result<File> {
        let files = self.directory.join("files");
        DirBuilder::new().recursive(true).mode(0o700).create(&files)?;
        File::open(files)
    }

    fn file(&self, location: &Location) -> PathBuf {
        location.under(&self.directory.join("files"))
    }

    fn note(&self, location: &Location) -> PathBuf {
        let sum = Checksum::of(ChecksumType::Sha256, location.as_str().as_bytes());
        self.directory.join("notes").join(sum.to_hex())
    }

    /// The files it holds and when each came.
    pub fn list(&self) -> io::Result<Vec<(Location, SystemTime, u64)>> {
        let root = self.directory.join("files");
        let (mut found, mut waiting) = (Vec::new(), vec![root.clone()]);
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_dir() {
                    waiting.push(entry.path());
                } else if let Ok(location) =
                    Location::from_path(entry.path().strip_prefix(&root).unwrap_or(&entry.path()))
                {
                    found.push((location, metadata.modified()?, metadata.len()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// What one of its files is: from its note, or read again where the note is missing or of another time.
    pub fn ready(&self, config: &RepositoryConfig, location: &Location) -> io::Result<Ready> {
        let path = self.file(location);
        let file = File::open(&path)?;
        let metadata = file.metadata()?;
        let package = match location.names_a_package() {
            false => None,
            true => Some(match self.noted(config, location, &metadata) {
                Some(noted) => noted,
                None => read_again(config, location, &file)?,
            }),
        };
        Ok(Ready { location: location.clone(), package })
    }

    fn noted(
        &self,
        config: &RepositoryConfig,
        location: &Location,
        metadata: &fs::Metadata,
    ) -> Option<(Nevra, PkgId, Fragments)> {
        let note: Value = serde_json::from_slice(&fs::read(self.note(location)).ok()?).ok()?;
        let stamp = stamp(metadata);
        let text = |key: &str| note[key].as_str();
        let same = note["inode"].as_u64() == Some(stamp.inode)
            && note["size"].as_u64() == Some(stamp.size)
            && note["mtime_ns"].as_i64() == Some(stamp.mtime_ns)
            && text("location") == Some(location.as_str())
            && text("made_with") == Some(&made_with(config));
        if !same {
            return None;
        }
        let nevra = Nevra {
            name: text("name")?.into(),
            evr: Evr {
                epoch: u32::try_from(note["epoch"].as_u64()?).ok()?,
                version: text("version")?.into(),
                release: text("release")?.into(),
            },
            arch: text("arch")?.into(),
        };
        let pkgid = Checksum::from_hex(config.checksum, text("pkgid")?)?;
        let fragments = Fragments {
            primary: text("primary")?.into(),
            filelists: text("filelists")?.into(),
            other: text("other")?.into(),
            filelists_ext: text("filelists_ext")?.into(),
        };
        Some((nevra, pkgid, fragments))
    }

    /// Writes down what was read; without it, it is read again.
    fn write_note(&self, config: &RepositoryConfig, location: &Location, package: &ReadPackage, file: &File) {
        let write = || -> io::Result<()> {
            let stamp = stamp(&file.metadata()?);
            let ReadPackage { pkgid, nevra, fragments } = package;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let note = json!({
                "location": location.as_str(), "made_with": made_with(config),
                "inode": stamp.inode, "size": stamp.size, "mtime_ns": stamp.mtime_ns,
                "name": nevra.name, "epoch": nevra.evr.epoch, "version": nevra.evr.version,
                "release": nevra.evr.release, "arch": nevra.arch, "pkgid": pkgid.to_hex(),
                "primary": text(&fragments.primary), "filelists": text(&fragments.filelists),
                "other": text(&fragments.other), "filelists_ext": text(&fragments.filelists_ext),
            });
            let path = self.note(location);
            DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap_or(&path))?;
            fs::write(path, note.to_string())
        };
        if let Err(error) = write() {
            warn!("cannot note what is in {location}, it will be read again: {error}");
        }
    }

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
    fn begin_commit(&self, moves: &[Move]) -> io::Result<()> {
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
    fn show(
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

    /// Keeps the list of what was made visible after the batch is gone. It need not survive a power cut: no machine starts
    /// before all has settled.
    fn keep_shown(&self) -> io::Result<()> {
        let shown = self.directory.with_file_name(format!("{SHOWN}{}", super::temporary::unique()));
        fs::copy(self.directory.join("commit"), shown).map(drop)
    }

    /// Removes it with all it holds: first its name, in one step.
    pub fn remove(&self) -> io::Result<()> {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.directory.with_file_name(format!(".gone-{}-{name}", super::temporary::unique()));
        match fs::rename(&self.directory, &gone) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        if let Some(parent) = gone.parent() {
            File::open(parent)?.sync_all()?;
        }
        crash::point(Point::BatchNamedGone);
        fs::remove_dir_all(gone)
    }
}

impl Checked {
    /// Inode, size and times of the staged file.
    pub fn stamp(&self) -> Result<crate::tree::FileStamp, IncomingError> {
        let metadata = self.place.file.metadata().map_err(|source| self.place.io("stat", source))?;
        Ok(stamp(&metadata))
    }

    /// Holds the upload in a batch instead of showing it, in one step, in place of what the batch has
    /// under this name. Survives a power cut.
    pub fn hold(&mut self, config: &RepositoryConfig, batch: &BatchPlace) -> Result<(), IncomingError> {
        let Place { location, file, temporary, .. } = &self.place;
        let failed = |source| self.place.io("hold for its batch", source);
        let target = batch.file(location);
        let parent = target.parent().unwrap_or(&target);
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed)?;
        let directory = File::open(parent).map_err(failed)?;
        if let Some(package) = &self.package {
            batch.write_note(config, location, package, file);
        }
        temporary.link(file, &directory, location.file_name(), CommitMode::Replace).map_err(failed)?;
        crash::point(Point::BatchHeld);
        for above in parent.ancestors() {
            File::open(above).and_then(|directory| directory.sync_all()).map_err(failed)?;
            // All of them: the first upload of a batch may have made the directory of batches, and ours.
            if above == config.path {
                break;
            }
        }
        Ok(())
    }
}

/// Forgets what commits have shown once all of it has settled; whether any is left.
pub fn forget_shown(config: &RepositoryConfig) -> io::Result<bool> {
    let mut left = false;
    for entry in entries(config)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(SHOWN) {
            continue;
        }
        // A second more, for file systems that round times.
        let settled = entry.metadata()?.modified()? + config.settle + Duration::from_secs(1);
        if settled < SystemTime::now() {
            fs::remove_file(entry.path())?;
        } else {
            left = true;
        }
    }
    Ok(left)
}

/// The moves noted in a file; `None` where there is none.
fn read_moves(path: &Path) -> io::Result<Option<Vec<Move>>> {
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

/// What was found of batches.
#[derive(Default)]
pub struct Recovered {
    pub waiting: Vec<(BatchId, BatchPlace)>,
    /// What commits have shown that were finished now, or just before the crash. All of it is whole, and is to be taken up
    /// together, however young.
    pub shown: Vec<Location>,
}

/// The batches that wait, after finishing or undoing commits that a crash interrupted and clearing away
/// what is left of those that ended. To be asked before anything looks at the tree.
pub fn recover(config: &RepositoryConfig) -> io::Result<Recovered> {
    let mut found = Recovered::default();
    let waiting = &mut found.waiting;
    for entry in entries(config)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(id) = BatchId::parse(&name) else {
            if name.starts_with(".gone-") {
                fs::remove_dir_all(&path)?;
            } else if name.starts_with(SHOWN) {
                // One that is cut short is followed by the end of its commit.
                let moves = read_moves(&path).ok().flatten().unwrap_or_default();
                found.shown.extend(moves.into_iter().map(|step| step.location));
            }
            continue;
        };
        let place = BatchPlace { directory: path };
        match place.journal()? {
            Some(moves) => {
                let finished = place.finish(config, &moves);
                let repo = &config.name;
                match &finished {
                    Ok(()) => {
                        found.shown.extend(moves.into_iter().map(|step| step.location));
                        info!(repo.name = %repo, batch = %name, "finished the commit of batch {name} in {repo}");
                    }
                    Err(error) => warn!(repo.name = %repo, batch = %name,
                        "the commit of batch {name} in {repo} was interrupted and is undone: {error}"),
                }
                if finished.is_err() {
                    waiting.push((id, place));
                }
            }
            None => waiting.push((id, place)),
        }
    }
    Ok(found)
}

impl BatchPlace {
    /// The moves of a commit under way.
    fn journal(&self) -> io::Result<Option<Vec<Move>>> {
        read_moves(&self.directory.join("commit"))
    }

    /// Ends a commit that a crash interrupted: what still waits gets its name.
    fn finish(&self, config: &RepositoryConfig, moves: &[Move]) -> Result<(), IncomingError> {
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

/// Makes the new names survive a power cut.
fn sync_directories(root: &Root, moves: &[Move]) -> io::Result<()> {
    let mut all = std::collections::BTreeSet::from([String::new()]);
    for one in moves {
        let parents = parents(&one.location);
        all.extend((1..=parents.len()).map(|depth| parents[..depth].join("/")));
    }
    all.iter().rev().try_for_each(|directory| root.read(directory)?.sync_all())
}

/// Settings that change what is noted of a package.
fn made_with(config: &RepositoryConfig) -> String {
    format!("{} {} {:?}", env!("CARGO_PKG_VERSION"), config.checksum, config.render_options())
}

fn read_again(
    config: &RepositoryConfig,
    location: &Location,
    file: &File,
) -> io::Result<(Nevra, PkgId, Fragments)> {
    let mut intake = Intake::new(config.checksum, config.verify);
    let mut block = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        match std::os::unix::fs::FileExt::read_at(file, &mut block, at)? {
            0 => break,
            n => {
                intake.feed(&block[..n]).map_err(io::Error::other)?;
                at += n as u64;
            }
        }
    }
    let taken = intake.finish().map_err(io::Error::other)?;
    let metadata = file.metadata()?;
    let read = rendered(&taken, location, &config.render_options(), at, metadata.mtime())
        .map_err(io::Error::other)?;
    Ok((read.nevra, read.pkgid, read.fragments))
}

/// Whether a batch can give its files their names in one step: all lie on one file system.
pub(super) fn is_same_file_system(batch: &File, directory: &impl std::os::fd::AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(directory)?.st_dev == batch.metadata()?.dev())
}

#[cfg(test)]
mod tests;
