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

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::SystemTime;

use super::beneath::stamp;
use super::place::Place;
use super::{Checked, CommitMode, IncomingError};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
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

/// A file of a batch, ready to become visible.
pub struct Ready {
    pub location: Location,
    /// `None` for files that are no packages.
    pub package: Option<(Nevra, PkgId, Fragments)>,
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
                None => note::read_again(config, location, &file)?,
            }),
        };
        Ok(Ready { location: location.clone(), package })
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

/// Whether a batch can give its files their names in one step: all lie on one file system.
pub(super) fn is_same_file_system(batch: &File, directory: &impl std::os::fd::AsFd) -> io::Result<bool> {
    Ok(rustix::fs::fstat(directory)?.st_dev == batch.metadata()?.dev())
}
