//! Makes a publication visible: written and synced first, switched in one step, retired later.
//!
//! Each step is a [`Point`] of [`crash`]; a test kills the process after each.
//!
//! | after this step | on disk | a restart |
//! |---|---|---|
//! | `MetadataStaged`: a file written and synced | temporary files in `.createrepod/incoming` | removes them, publishes what is listed |
//! | `DatabasesBuilt`, `DatabasesForgotten`, `DatabasesChangedOne`, `DatabasesChanged`, `DatabasesIndexed`, `DatabasesNoted`: databases brought to what is listed | theirs in the state directory, some counting as damaged | makes anew those that are not as published |
//! | `RepomdWritten`, `RepomdSynced`, `RepomdSigned`, `SignatureStaged` | more temporary files | the same |
//! | `NamesNoted` (by the caller): the catalog has the names, and that nothing is published | the same | the same |
//! | `FileRenamed`: one after the other, the key and the signature last | new files beside the old ones; the old repomd.xml names the old ones; the signature may be ahead of it | signs the old repomd.xml anew until it publishes again; the same names come out, or the new files are superseded |
//! | `FilesSynced`: directory synced | the same, safe from a power cut | the same |
//! | `RepomdRenamed` | the new publication | finds repomd.xml to be what it would write, or publishes again |
//! | `RepomdSwitched`: directory synced | the same, safe from a power cut | the same |
//! | `OldSuperseded`, `SignatureNoted`, `PublicationNumbered` (in the catalog) | the same | the same |
//! | `PublicationNoted`: the catalog has its checksum | the same | recognises it, and has nothing to do |
//! | `OldRemoved`: files past their grace removed | the current publication and younger ones | removes what is gone already from the catalog |
//! | `OldForgotten`: the catalog has forgotten them | the same | nothing to do |
//!
//! What leads here, and is killed in the same way. Nobody was answered at any of these steps:
//!
//! | after this step | on disk | a restart |
//! |---|---|---|
//! | `UploadStaged`, `UploadWritten`, `UploadSynced`: an upload (`incoming`) has no name | nothing that anybody finds | nothing to do |
//! | `UploadPassing`: it has a passing name, where it replaces a file | the old file; the new one in `.createrepod/incoming` | removes the new one |
//! | `UploadLinked`, `UploadDirectorySynced`, `UploadArrived` | the package in the tree | finds it by comparing, as any file |
//! | `RemovalMoved`, `RemovalDone`: a package removed over HTTP | the package in `.createrepod/kept` | finds it gone; keeps it for the grace period |
//! | `RenameKept`: a MOVE begins | the package under its name, and in `.createrepod/kept` | the latter goes with the grace period |
//! | `RenameDone`, `RenameTold`, `RenameCarried`, `RenameNewSynced`, `RenameSynced` | the package under its new name; after a power cut under either or both, never under none | finds both changes by comparing |
//! | `FolderMade`: MKCOL, or a COPY of a folder | an empty folder, or one that is half filled with whole packages | publishes what is there |
//! | `CopyReceived`, `CopyCarried`: a COPY, which comes in as an upload does | the copy in the tree | finds it by comparing |
//! | `BatchHeld`: a file of a batch | the batch, with or without the file | the batch waits for its commit |
//! | `BatchBegun`, `BatchShown`, `BatchSynced`: a commit is written down | some of its files in the tree | shows the others before anything is compared |
//! | `BatchNamedGone`, `BatchRemoved` | all in the tree; the batch's directory, perhaps in part | removes what is left of it |
//! | `CatalogPieces`, `CatalogWritten`: chunks are cut anew (`catalog::update`) | dead bytes at the end of the file of pieces | the catalog is as before, finds the change again by comparing |
//! | `CatalogCommitted` | the catalog lists what is not published, and says so | publishes |
//! | `CompactionCopied`: a smaller file of pieces | two of them; the catalog names the old one | removes the new one |
//! | `CompactionNamed` | two; the catalog names the new one | removes the old one |

pub mod retire;
mod staging;

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::crash::{self, Point};
use crate::repodata::{FormatError, Record, Repomd};

/// Where a repository's metadata goes.
#[derive(Debug, Clone)]
pub struct Place {
    /// `<path>/repodata`
    pub repodata: PathBuf,
    /// Seen by nobody: `<path>/.createrepod/incoming`. Metadata wait here, unless `repodata` is a mount of its own;
    /// see `staging`.
    pub incoming: PathBuf,
    pub umask: u32,
}

/// The extended attribute in which a file of ours carries the CRC of its name. It goes where the file goes, and is lost where a
/// copy is made or gets another name, so that it says of no file but our own that it is ours.
const MARK: &str = "user.createrepod";

/// So short that ext4 keeps it beside the inode: more would have to be written in a block of its own.
fn mark(name: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(name))
}

/// A metadata file that is written but not visible. Dropped, it is gone.
pub struct Staged {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
}

impl PublishError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

impl Place {
    /// Makes both directories where they are missing, but not the tree: one that was moved away stays away.
    pub fn prepare(&self) -> Result<(), PublishError> {
        let make = |path: &Path, mode: u32| match fs::DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map_err(PublishError::write(path)),
        };
        if let Some(private) = self.incoming.parent() {
            make(private, 0o700)?;
        }
        make(&self.incoming, 0o700)?;
        make(&self.repodata, 0o777 & !self.umask)
    }

    /// Starts a file; `name` tells it from others being staged for this repository.
    pub fn stage(&self, name: &str) -> Result<Staged, PublishError> {
        let path = self.staging()?.join(format!("metadata-{name}"));
        let mode = 0o666 & !self.umask;
        let open = || {
            let file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&path)?;
            // The process's own umask must not take away what the configuration grants.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            Ok(file)
        };
        let file = open().map_err(PublishError::write(&path))?;
        Ok(Staged { path, file: Some(BufWriter::with_capacity(256 << 10, file)) })
    }

    /// What is published now, by anybody: the bytes of repomd.xml, or `None` where there is none.
    pub fn current(&self) -> Result<Option<Vec<u8>>, PublishError> {
        let path = self.repodata.join("repomd.xml");
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(source) => Err(PublishError::Read { path, source }),
        }
    }

    /// Whether every file that `repomd` names lies in `repodata/` with the size it says.
    pub fn is_whole(&self, repomd: &Repomd) -> bool {
        repomd.records.iter().all(|record| {
            let name = record.href.strip_prefix("repodata/").filter(|name| !name.contains('/'));
            let found = name.and_then(|name| fs::metadata(self.repodata.join(name)).ok());
            found.is_some_and(|meta| meta.is_file() && record.size.is_none_or(|size| size == meta.len()))
        })
    }

    /// Whether the file that `record` names lies in `repodata/`, with the size it says.
    pub fn has(&self, record: &Record) -> bool {
        let size = self.open(record).and_then(|file| file.metadata().ok()).map(|meta| meta.len());
        size.is_some_and(|found| record.size.is_none_or(|size| size == found))
    }

    /// Opens the file that `record` names, if it lies in `repodata/`.
    pub fn open(&self, record: &Record) -> Option<File> {
        let name = record.href.strip_prefix("repodata/").filter(|name| !name.contains('/'))?;
        let file = File::open(self.repodata.join(name)).ok()?;
        file.metadata().is_ok_and(|meta| meta.is_file()).then_some(file)
    }

    /// Whether the file of this name in `repodata/` was put there by us, whoever lost the notes of it. `false` also where the
    /// file system keeps no such marks.
    pub fn is_marked(&self, name: &str) -> bool {
        let mut found = [0; 32];
        let read = rustix::fs::lgetxattr(self.repodata.join(name), MARK, &mut found);
        read.is_ok_and(|length| found.get(..length) == Some(mark(name.as_bytes()).as_bytes()))
    }

    /// Shows a publication: `files` first, under the names given, then `repomd`, in one atomic step.
    ///
    /// All staged files must have been synced. What was there before stays fetchable.
    pub fn switch(&self, files: Vec<(Staged, String)>, repomd: Staged) -> Result<(), PublishError> {
        self.put(files)?;
        // repomd.xml goes last: a client that has it must find every file it names.
        repomd.rename_to(&self.repodata.join("repomd.xml"))?;
        crash::point(Point::RepomdRenamed);
        self.sync_directory()?;
        crash::point(Point::RepomdSwitched);
        Ok(())
    }

    /// Puts files beside the current publication, under the names given.
    pub fn put(&self, files: Vec<(Staged, String)>) -> Result<(), PublishError> {
        for (staged, name) in files {
            staged.rename_to(&self.repodata.join(name))?;
            crash::point(Point::FileRenamed);
        }
        self.sync_directory()?;
        crash::point(Point::FilesSynced);
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), PublishError> {
        File::open(&self.repodata).and_then(|dir| dir.sync_all()).map_err(PublishError::write(&self.repodata))
    }
}

impl Staged {
    /// Ends the file and waits until the disk has it.
    pub fn sync(&mut self) -> Result<(), PublishError> {
        let Some(mut writer) = self.file.take() else { return Ok(()) };
        let done = writer.flush().and_then(|()| writer.get_ref().sync_all());
        done.map_err(PublishError::write(&self.path))
    }

    fn rename_to(mut self, target: &Path) -> Result<(), PublishError> {
        self.sync()?;
        if let Some(name) = target.file_name() {
            // Where there are none, a file that the catalog loses sight of stays.
            let _ =
                rustix::fs::setxattr(&self.path, MARK, mark(name.as_bytes()).as_bytes(), XattrFlags::empty());
        }
        fs::rename(&self.path, target).map_err(PublishError::write(target))?;
        // Nothing is left to clean up.
        self.path.clear();
        Ok(())
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(writer) => writer.write(bytes),
            None => Err(io::Error::other("written after it was synced")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // The next publication truncates what could not be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads a repomd.xml's bytes.
pub fn parse(bytes: &[u8]) -> Result<Repomd, FormatError> {
    Repomd::read(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dir: &tempfile::TempDir) -> Place {
        let place = Place {
            repodata: dir.path().join("repodata"),
            incoming: dir.path().join(".createrepod/incoming"),
            umask: 0o022,
        };
        place.prepare().unwrap();
        place
    }

    fn staged(place: &Place, name: &str, text: &[u8]) -> Staged {
        let mut staged = place.stage(name).unwrap();
        staged.write_all(text).unwrap();
        staged.sync().unwrap();
        staged
    }

    #[test]
    fn the_table_names_every_step() {
        let text = include_str!("publish.rs");
        let table: String = text.lines().filter(|line| line.starts_with("//! |")).collect();
        for point in crash::ALL {
            assert!(table.contains(&format!("`{point:?}`")), "{point:?} is missing");
        }
    }

    #[test]
    fn nothing_is_visible_before_the_switch_and_everything_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        let file = staged(&place, "primary", b"packages");
        let repomd = staged(&place, "repomd", b"<repomd/>");
        assert_eq!(fs::read_dir(&place.repodata).unwrap().count(), 0);
        assert_eq!(place.current().unwrap(), None);

        place.switch(vec![(file, "x-primary.xml".into())], repomd).unwrap();
        assert_eq!(place.current().unwrap().unwrap(), b"<repomd/>");
        assert_eq!(fs::read(place.repodata.join("x-primary.xml")).unwrap(), b"packages");
        let mode = fs::metadata(place.repodata.join("repomd.xml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(&place.incoming).unwrap().count(), 0);
    }

    #[test]
    fn what_is_dropped_before_the_switch_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        drop(staged(&place, "primary", b"packages"));
        assert_eq!(fs::read_dir(&place.incoming).unwrap().count(), 0);
    }
}
