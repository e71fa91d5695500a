//! The only way a package enters the tree: staged, checked, synced, linked into place.
//!
//! Until [`Checked::commit`] nothing of an upload has a name (`O_TMPFILE`), so dropping it, or
//! killing the daemon, leaves nothing. File systems without `O_TMPFILE` get a file in
//! `.createrepod/incoming/`, which is emptied when the repository is opened.

pub mod batch;
pub mod entries;
mod heads;
pub mod kept;
mod place;
mod shared_sync;
mod temporary;
mod writing;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Mode;

use crate::beneath::{Root, stamp};
use crate::config::RepositoryConfig;
use crate::crash::{self, Point};
use crate::package::openpgp::{Keyring, Vouched};
use crate::package::{BadPackage, Checksum, ChecksumType, Hasher, Intake, Location, Nevra, PkgId, Unread};
use crate::repodata::{FormatError, Fragments};
use crate::tree::{FileStamp, Scanned};
use heads::HeadShare;
use place::Place;
use temporary::Temporary;
use writing::{lanes, write_vectored};

/// From so many bytes on, taking their sums on another thread costs less than it saves.
const APART: usize = 256 << 10;
/// Bytes that may gather before the kernel is to write them.
const AHEAD: u64 = 8 << 20;

/// Why an upload did not get into the tree.
#[derive(Debug, thiserror::Error)]
pub enum IncomingError {
    /// The bytes are no package we take.
    #[error(transparent)]
    Bad(#[from] BadPackage),
    /// Too many large packages come at once.
    #[error("too many large packages come at the moment")]
    Busy,
    /// It is to hold additional metadata, and clients could not read it.
    #[error(transparent)]
    Metadata(#[from] FormatError),
    /// The sender stated another checksum than the bytes have.
    #[error("the upload's {} is {found}, but {stated} was stated", stated.kind)]
    Digest { stated: Checksum, found: Checksum },
    /// A directory has this name.
    #[error("{0} is a directory")]
    IsDirectory(Location),
    /// A part of the path is a file, or a link that `symlinks` does not let us follow.
    #[error("a part of {0} is not a directory of this repository")]
    NoDirectory(Location),
    /// Something has this name by now, and was not to be replaced.
    #[error("{0} exists already")]
    Exists(Location),
    /// A directory that was to be removed holds names.
    #[error("{0} is not empty")]
    NotEmpty(Location),
    /// A batch could not show it together with its other files; a rename does not reach it.
    #[error("{0} lies on another file system")]
    OtherFileSystem(Location),
    #[error("cannot {attempt} {}", path.display())]
    Io { attempt: &'static str, path: PathBuf, source: io::Error },
}

/// What may happen to a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitMode {
    /// Nothing: the commit fails with [`IncomingError::Exists`].
    New,
    /// It is replaced in one step.
    Replace,
}

/// An upload on its way: write its blocks, then [`finish`](Staged::finish). Dropped: nothing happened.
pub struct Staged {
    place: Place,
    reader: Option<Box<Intake>>,
    /// What the sender says of the bytes, and our own sum of them.
    stated: Vec<(Checksum, Hasher)>,
    /// What of the memory for headers it has.
    head: HeadShare,
    written: u64,
    /// How much of it the kernel was told to bring to the disk.
    behind: u64,
}

/// A complete and valid upload, on disk but without a name.
pub struct Checked {
    place: Place,
    package: Option<ReadPackage>,
}

struct ReadPackage {
    pkgid: PkgId,
    nevra: Nevra,
    fragments: Fragments,
    vouched: Vec<Vouched>,
}

/// An upload that is in the tree.
pub struct Committed {
    pub stamp: FileStamp,
    /// `None` for files that are no packages (`accept = "any"`).
    pub package: Option<Scanned>,
}

impl From<Unread> for IncomingError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Bad(bad) => Self::Bad(bad),
            Unread::Busy => Self::Busy,
        }
    }
}

impl Staged {
    /// Prepares to take a file for `location` whose checksums are as `stated`. Makes no directory yet: missing parents are made by
    /// the commit, so that an upload that fails leaves none.
    pub fn begin(
        config: &RepositoryConfig,
        root: Root,
        location: &Location,
        stated: Vec<Checksum>,
        batch: Option<&batch::BatchPlace>,
    ) -> Result<Self, IncomingError> {
        let failed = |attempt| {
            let path = location.under(&config.path);
            move |source: io::Error| match source.kind() {
                io::ErrorKind::NotADirectory => IncomingError::NoDirectory(location.clone()),
                _ if leads_out(&source) => IncomingError::NoDirectory(location.clone()),
                _ => IncomingError::Io { attempt, path, source },
            }
        };
        let parents: Vec<&str> = parents(location);
        let deepest = match root.deepest(&parents) {
            // What is in the way goes before the batch is shown: whoever begins has looked.
            Err(error) if batch.is_some() && error.kind() == io::ErrorKind::NotADirectory => {
                root.deepest(&[])
            }
            found => found,
        };
        let (directory, _) = deepest.map_err(failed("find the directory of"))?;
        let directory = match batch {
            None => directory,
            Some(batch) => {
                let held = batch.make_all().map_err(failed("make the batch of"))?;
                if !batch::is_same_file_system(&held, &directory).map_err(failed("look at"))? {
                    return Err(IncomingError::OtherFileSystem(location.clone()));
                }
                // What it gets from a directory, such as an ACL, it gets from the one it will be in.
                directory
            }
        };
        // Without a default ACL the process's umask takes from it what the configuration mostly takes, too.
        let mode = Mode::from_raw_mode(0o666);
        let (file, temporary) =
            Temporary::create(config.written(), &directory, mode).map_err(failed("stage an upload for"))?;
        let reader =
            location.names_a_package().then(|| Box::new(Intake::new(config.checksum, config.verify)));
        let place = Place {
            root,
            path: config.path.clone(),
            location: location.clone(),
            metadata: config.additional_metadata.kind_of(location).map(str::to_owned),
            umask: config.umask,
            render: config.render_options(),
            file,
            temporary,
        };
        crash::point(Point::UploadStaged);
        let stated =
            stated.into_iter().map(|sum| (Hasher::new(sum.kind), sum)).map(|(h, sum)| (sum, h)).collect();
        Ok(Self { place, reader, stated, head: HeadShare::default(), written: 0, behind: 0 })
    }

    /// Whose signatures count, where the repository asks for them.
    pub fn trusting(mut self, keyring: Option<Arc<Keyring>>) -> Self {
        self.reader = self.reader.map(|reader| Box::new(reader.trusting(keyring)));
        self
    }

    /// Takes blocks that follow one another: into the file, the checksum and the header's reader, in one pass.
    pub fn write<B: AsRef<[u8]> + Sync>(&mut self, blocks: &[B]) -> Result<(), IncomingError> {
        let Self { place, reader, stated, head, written, behind } = self;
        let size: usize = blocks.iter().map(|block| block.as_ref().len()).sum();
        // What is no package is refused before it costs disk.
        let is_known = reader.as_ref().is_none_or(|reader| reader.head().is_some());
        let mut sum = || {
            stated.iter_mut().for_each(|(_, sum)| blocks.iter().for_each(|block| sum.update(block.as_ref())));
            blocks
                .iter()
                .try_for_each(|block| reader.as_mut().map_or(Ok(()), |reader| reader.feed(block.as_ref())))
        };
        let write = || write_vectored(&place.file, blocks);
        let stored = match (is_known && size >= APART).then(lanes).flatten() {
            Some(lanes) => {
                let mut read = Ok(());
                // Writing stays on this thread: a disk that hangs must not hold up the sums of other uploads.
                let stored = lanes.in_place_scope(|scope| {
                    scope.spawn(|_| read = sum());
                    write()
                });
                read.map(|()| stored)?
            }
            None => sum().map(|()| write())?,
        };
        stored.map_err(|source| place.io("write", source))?;
        if let Some(reader) = reader {
            head.becomes(reader.head_len().0)?;
        }
        *written += size as u64;
        if *written - *behind >= AHEAD {
            place.write_back(*behind, *written - *behind);
            *behind = *written;
        }
        Ok(())
    }

    /// Ends the upload: checks it, renders its metadata, and makes its bytes survive a power cut.
    pub fn finish(self) -> Result<Checked, IncomingError> {
        let Self { place, reader, stated, written, head: _head, .. } = self;
        // Before the package's own checks: bytes lost on the way are to be called that.
        for (stated, hasher) in stated {
            let found = hasher.finish();
            if found != stated {
                return Err(IncomingError::Digest { stated, found });
            }
        }
        let now = place.settle_times().map_err(|source| place.io("set the time of", source))?;
        let package = match reader {
            Some(reader) => Some(place.read_package(reader.finish()?, written, now)?),
            None => {
                place.check_metadata()?;
                None
            }
        };
        crash::point(Point::UploadWritten);
        place.file.sync_data().map_err(|source| place.io("sync", source))?;
        crash::point(Point::UploadSynced);
        Ok(Checked { place, package })
    }
}

impl Checked {
    /// The repository's root, as it was opened for this upload.
    pub fn root(&self) -> &Root {
        &self.place.root
    }

    /// Name and checksum of the package; `None` for other files.
    pub fn package(&self) -> Option<(&Nevra, &PkgId)> {
        self.package.as_ref().map(|package| (&package.nevra, &package.pkgid))
    }

    /// Whether another file holds the same bytes.
    pub fn has_the_bytes_of(&self, other: &File) -> io::Result<bool> {
        have_the_same_bytes(&self.place.file, other)
    }

    /// Whose signatures were found good; none where nobody asked.
    pub fn vouched(&self) -> &[Vouched] {
        self.package.as_ref().map_or(&[], |package| &package.vouched)
    }

    /// Gives the upload its name, in one step, and makes that survive a power cut. Fails with
    /// [`IncomingError::Exists`] without having done anything, so that it can be tried again.
    pub fn commit(&mut self, mode: CommitMode) -> Result<Committed, IncomingError> {
        let place = &self.place;
        let parents = parents(&place.location);
        let mut tries = 16;
        let (directory, made) = loop {
            let (directory, made) = place
                .root
                .make_directories(&parents, 0o777 & !place.umask)
                .map_err(|source| place.directory_failed(source))?;
            match place.temporary.link(&place.file, &directory, place.location.file_name(), mode) {
                Ok(()) => break (directory, made),
                Err(error) => {
                    made.undo();
                    tries -= 1;
                    // Somebody removed the directory between our look and our link: make it again.
                    if error.kind() != io::ErrorKind::NotFound || tries == 0 {
                        return Err(place.link_failed(error));
                    }
                }
            }
        };
        crash::point(Point::UploadLinked);
        // The name first, then the directories that lead to it, innermost to outermost.
        shared_sync::sync_directory(&directory)
            .and_then(|()| made.sync())
            .map_err(|source| place.io("sync the directory of", source))?;
        crash::point(Point::UploadDirectorySynced);
        let metadata = place.file.metadata().map_err(|source| place.io("stat", source))?;
        let stamp = stamp(&metadata);
        let package = self.package.take().map(|package| Scanned {
            location: place.location.clone(),
            stamp,
            pkgid: package.pkgid,
            nevra: package.nevra,
            fragments: package.fragments,
            vouched: package.vouched,
        });
        Ok(Committed { stamp, package })
    }
}

/// A link that `symlinks` does not let us follow, or a circle of them.
pub fn leads_out(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::XDEV | Errno::LOOP))
}

fn parents(location: &Location) -> Vec<&str> {
    let mut parts: Vec<&str> = location.as_str().split('/').collect();
    parts.pop();
    parts
}

/// Whether two open files hold the same bytes.
fn have_the_same_bytes(one: &File, other: &File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let sum = |file| checksum(file, Hasher::new(ChecksumType::Sha256));
    Ok(sum(one)? == sum(other)?)
}

/// Checksum of an open file, read from its start.
pub fn checksum(file: &File, mut hasher: Hasher) -> io::Result<PkgId> {
    let mut block = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        match file.read_at(&mut block, at)? {
            0 => return Ok(hasher.finish()),
            n => {
                hasher.update(&block[..n]);
                at += n as u64;
            }
        }
    }
}
