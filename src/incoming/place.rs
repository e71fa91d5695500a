//! Where an upload is going, and the file that holds it until then.

use std::fs::{File, FileTimes};
use std::io::{self, Seek};
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::{Advice, Mode};

use super::beneath::Root;
use super::temporary::Temporary;
use super::{IncomingError, ReadPackage, leads_out};
use crate::package::Location;
use crate::package::intake::{BadPackage, Taken};
use crate::repodata::codec::Limits;
use crate::repodata::{Codec, Entry, FormatError, Fragments, RenderOptions, additional};

/// Where an upload is going, and the file that holds it until then.
pub(super) struct Place {
    pub(super) root: Root,
    /// The repository's directory, for messages.
    pub(super) path: PathBuf,
    pub(super) location: Location,
    /// The type of metadata it is to hold; `None` for packages and other files.
    pub(super) metadata: Option<String>,
    pub(super) umask: u32,
    pub(super) render: RenderOptions,
    pub(super) file: File,
    pub(super) temporary: Temporary,
}

impl Place {
    /// Checks additional metadata as the worker will.
    pub(super) fn check_metadata(&self) -> Result<(), IncomingError> {
        let Some(kind) = &self.metadata else { return Ok(()) };
        (&self.file).rewind().map_err(|source| self.io("read", source))?;
        let name = self.location.file_name();
        let limits = Limits { open_size: Some(additional::longest(kind)) };
        let text = Codec::open(&self.file, limits);
        let text = text.map_err(|error| FormatError { file: "file", why: error.to_string() })?;
        Ok(additional::check(kind, name, text)?)
    }

    /// Has the kernel begin to write these bytes, so that the sync at the end is short.
    pub(super) fn write_back(&self, from: u64, length: u64) {
        // The advice is to let go of their pages. What is not on disk yet is sent there first, and stays in memory.
        let _ = rustix::fs::fadvise(&self.file, from, NonZeroU64::new(length), Advice::DontNeed);
    }

    /// Gives the file its mode and its time, where writing has not given it the right ones: a change of
    /// either wakes whoever watches the tree.
    pub(super) fn settle_times(&self) -> io::Result<SystemTime> {
        let metadata = self.file.metadata()?;
        let mode = 0o666 & !self.umask;
        if metadata.mode() & 0o7777 != mode {
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode))?;
        }
        if !self.temporary.is_named() && metadata.len() > 0 {
            return metadata.modified();
        }
        // Network file systems set a time of their own whenever they come to write.
        let now = SystemTime::now();
        self.file.set_times(FileTimes::new().set_modified(now))?;
        Ok(now)
    }

    pub(super) fn read_package(
        &self,
        taken: Taken,
        written: u64,
        now: SystemTime,
    ) -> Result<ReadPackage, IncomingError> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Ok(rendered(&taken, &self.location, &self.render, written, seconds)?)
    }

    pub(super) fn io(&self, attempt: &'static str, source: io::Error) -> IncomingError {
        IncomingError::Io { attempt, path: self.location.under(&self.path), source }
    }

    pub(super) fn directory_failed(&self, source: io::Error) -> IncomingError {
        match source.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                IncomingError::NoDirectory(self.location.clone())
            }
            _ if leads_out(&source) => IncomingError::NoDirectory(self.location.clone()),
            _ => self.io("make the directories of", source),
        }
    }

    pub(super) fn link_failed(&self, source: io::Error) -> IncomingError {
        match source.kind() {
            io::ErrorKind::AlreadyExists => IncomingError::Exists(self.location.clone()),
            io::ErrorKind::IsADirectory => IncomingError::IsDirectory(self.location.clone()),
            _ => self.io("give its name to", source),
        }
    }
}

/// What is kept of a package of `size` bytes whose file time is `file_time` (seconds since the epoch).
pub(super) fn rendered(
    taken: &Taken,
    location: &Location,
    options: &RenderOptions,
    size: u64,
    file_time: i64,
) -> Result<ReadPackage, BadPackage> {
    let package = taken.package()?;
    let entry = Entry { pkgid: &taken.pkgid, location, file_time, size, header_range: taken.header_range };
    let fragments = Fragments::render(&package, &entry, options);
    let nevra = package.nevra();
    drop(package);
    Ok(ReadPackage { pkgid: taken.pkgid.clone(), nevra, fragments })
}
