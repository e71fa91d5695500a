//! Where an upload is going, and the file that holds it until then.

use std::fs::{File, FileTimes};
use std::io::{self, Seek};
use std::num::NonZeroU64;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::fs::{Advice, Mode};

use super::temporary::Temporary;
use super::{IncomingError, ReadPackage, leads_out, parents};
use crate::beneath::{Root, has_default_acl};
use crate::package::intake::Taken;
use crate::package::{Location, Package, Unread};
use crate::repodata::codec::Limits;
use crate::repodata::encoding::with_known_name;
use crate::repodata::turn::Turn;
use crate::repodata::{Codec, Entry, FormatError, Fragments, RenderOptions, additional};

/// How long an upload waits for the memory that packages share: each is read in a second or so.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let _turn = Turn::for_sent();
        let limits = Limits { open_size: Some(additional::longest(kind)) };
        let text = Codec::open(&self.file, limits);
        let unreadable = |error: io::Error| FormatError { file: "file", why: error.to_string() };
        let text = text.map_err(unreadable)?;
        if additional::is_repacked(kind) && kind != additional::MODULES {
            let (text, _) = with_known_name(text).map_err(unreadable)?;
            return Ok(additional::check(kind, name, text)?);
        }
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
        // With a default ACL no umask counts: acl(5).
        if metadata.mode() & 0o7777 != mode && !self.is_under_default_acl() {
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

    /// Whether the directory it goes to, or the deepest of its parents that is there, says what rights it gets.
    fn is_under_default_acl(&self) -> bool {
        if self.temporary.is_named() {
            return false;
        }
        let parents = parents(&self.location);
        let deepest =
            (0..=parents.len()).rev().find_map(|depth| self.root.read(&parents[..depth].join("/")).ok());
        deepest.is_some_and(|directory| has_default_acl(&directory))
    }

    pub(super) fn read_package(
        &self,
        taken: Taken,
        written: u64,
        now: SystemTime,
    ) -> Result<ReadPackage, IncomingError> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        Ok(rendered(&taken, &self.location, &self.render, written, seconds, Some(PATIENCE))?)
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
    patience: Option<Duration>,
) -> Result<ReadPackage, Unread> {
    let entry = Entry { pkgid: &taken.pkgid, location, file_time, size, header_range: taken.header_range };
    let render = |package: &Package<'_>| (Fragments::render(package, &entry, options), package.nevra());
    let (fragments, nevra) = taken.read(None, patience, render)?;
    Ok(ReadPackage { pkgid: taken.pkgid.clone(), nevra, fragments, vouched: taken.vouched.clone() })
}
