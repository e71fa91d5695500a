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
//! [`recover()`] finishes, or undoes where it cannot be finished. What was made visible stays noted beside the batches, in
//! `.shown-…`, until all of it has settled: a restart that found some files settled and others not would show halves.

mod commit;
mod note;
mod recover;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::place::Place;
use super::{Checked, CommitMode, IncomingError, ReadPackage, parents};
use crate::beneath::own::{self, Own, unique};
use crate::beneath::stamp;
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::package::openpgp::{Keyring, Vouched};
use crate::package::{Checksum, ChecksumType, Location, Nevra, PkgId};
use crate::repodata::Fragments;

pub use commit::Move;
pub use recover::{Recovered, forget_shown, recover};

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

    /// A name for a batch that nobody asked for.
    pub fn passing(what: &'static str, when: u128, number: u64) -> Self {
        Self(format!("{what}-{when}-{number}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where one batch lies.
#[derive(Debug, Clone)]
pub struct BatchPlace {
    /// The directory that holds `.createrepod`.
    above: PathBuf,
    name: String,
}

/// Where all batches of a repository lie; `None` where there is no such directory yet.
fn all(above: &Path) -> io::Result<Option<Own>> {
    let found =
        Own::private(above).and_then(|private| private.sub("incoming")).and_then(|it| it.sub("batches"));
    there(found)
}

/// What was found, where it was found.
fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// A file of a batch, ready to become visible.
pub struct Ready {
    pub location: Location,
    /// `None` for files that are no packages.
    pub package: Option<(Nevra, PkgId, Fragments)>,
    /// Whose signatures were found good; none where nobody asked.
    pub vouched: Vec<Vouched>,
}

impl BatchPlace {
    pub fn of(config: &RepositoryConfig, id: &BatchId) -> Self {
        Self { above: config.written().to_owned(), name: id.as_str().to_owned() }
    }

    /// Where it would be found, for messages.
    fn path(&self) -> PathBuf {
        self.above.join(".createrepod/incoming/batches").join(&self.name)
    }

    /// Its directory; `None` where it holds nothing yet.
    fn open(&self) -> io::Result<Option<Own>> {
        all(&self.above)?.map_or(Ok(None), |all| there(all.sub(&self.name)))
    }

    /// The same, which must be there.
    fn opened(&self) -> io::Result<Own> {
        self.open()?.ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Where all batches lie, made where it is missing: on the file system its files will be held on. Nothing of the batch
    /// itself is made, so that an upload that is refused leaves nothing.
    pub(super) fn make_all(&self) -> io::Result<Own> {
        Own::make_private(&self.above)?.make("incoming")?.make("batches")
    }

    /// Makes it where it is missing, and returns the directory of its files. All the names that lead there survive a power cut.
    fn make(&self) -> io::Result<Own> {
        let private = Own::make_private(&self.above)?;
        File::open(&self.above)?.sync_all()?;
        let made = private.make_below(["incoming", "batches", &self.name, "files"])?;
        Ok(made.unwrap_or(private))
    }

    /// The directory that holds this file of it; `None` where it is missing.
    fn directory_of(&self, location: &Location) -> io::Result<Option<Own>> {
        let Some(batch) = self.open()? else { return Ok(None) };
        there(batch.below(std::iter::once("files").chain(parents(location)))).map(Option::flatten)
    }

    /// Whether it holds this file.
    fn has(&self, location: &Location) -> io::Result<bool> {
        let directory = self.directory_of(location)?;
        let found = directory.map(|directory| directory.stat(location.file_name())).transpose()?;
        Ok(found.flatten().is_some())
    }

    /// Opens a file that it holds.
    fn read(&self, location: &Location) -> io::Result<File> {
        let directory = self.directory_of(location)?;
        directory.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?.read(location.file_name())
    }

    /// Whether a file that it holds has the bytes of another.
    pub fn has_the_bytes_of(&self, location: &Location, other: &File) -> io::Result<bool> {
        super::have_the_same_bytes(&self.read(location)?, other)
    }

    /// The name of what is noted of a file.
    fn note(location: &Location) -> String {
        Checksum::of(ChecksumType::Sha256, location.as_str().as_bytes()).to_hex()
    }

    /// The files it holds and when each came.
    pub fn list(&self) -> io::Result<Vec<(Location, SystemTime, u64)>> {
        let files = self.open()?.map_or(Ok(None), |batch| there(batch.sub("files")))?;
        let (mut found, mut waiting) = (Vec::new(), Vec::new());
        waiting.extend(files.map(|files| (files, PathBuf::new())));
        while let Some((directory, path)) = waiting.pop() {
            for name in directory.names()? {
                let Some(stat) = directory.stat(&name)? else { continue };
                let path = path.join(&name);
                if own::is_file(&stat) {
                    let Ok(location) = Location::from_path(&path) else { continue };
                    let metadata = directory.read(&name)?.metadata()?;
                    found.push((location, metadata.modified()?, metadata.len()));
                } else if let Ok(below) = directory.sub(&name) {
                    waiting.push((below, path));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// What one of its files is: from its note, or read again where the note is missing or of another time, or is of a
    /// package for which `keyring` vouches no longer.
    pub fn ready(
        &self,
        config: &RepositoryConfig,
        location: &Location,
        keyring: Option<&Arc<Keyring>>,
    ) -> io::Result<Ready> {
        let file = self.read(location)?;
        let metadata = file.metadata()?;
        let location = location.clone();
        if !location.names_a_package() {
            return Ok(Ready { location, package: None, vouched: Vec::new() });
        }
        let is_trusted = |noted: &ReadPackage| keyring.is_none_or(|k| k.still_trusts(&noted.vouched).is_ok());
        let read = match self.noted(config, &location, &metadata).filter(is_trusted) {
            Some(noted) => noted,
            None => note::read_again(config, &location, &file, keyring)?,
        };
        let ReadPackage { pkgid, nevra, fragments, vouched } = read;
        Ok(Ready { location, package: Some((nevra, pkgid, fragments)), vouched })
    }

    /// Removes it with all it holds: first its name, in one step.
    pub fn remove(&self) -> io::Result<()> {
        let Some(all) = all(&self.above)? else { return Ok(()) };
        let gone = format!(".gone-{}-{}", unique(), self.name);
        if there(all.rename(&self.name, &all, &gone))?.is_none() {
            return Ok(());
        }
        all.sync()?;
        crash::point(Point::BatchNamedGone);
        all.remove_all(gone)
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
        let files = batch.make().map_err(failed)?;
        let below = files.make_below(parents(location)).map_err(failed)?;
        let directory = below.as_ref().unwrap_or(&files);
        // What a commit has left that could not be cleared away is not to commit this one.
        batch.opened().and_then(|batch| batch.remove("commit")).map_err(failed)?;
        if let Some(package) = &self.package {
            batch.write_note(config, location, package, file);
        }
        temporary.link(file, directory, location.file_name(), CommitMode::Replace).map_err(failed)?;
        crash::point(Point::BatchHeld);
        directory.sync().map_err(failed)
    }
}

/// Whether a batch can give its files their names in one step: all lie on one file system.
pub(super) fn is_same_file_system(batch: &Own, directory: &impl std::os::fd::AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(directory)?.st_dev == rustix::fs::fstat(batch)?.st_dev)
}
