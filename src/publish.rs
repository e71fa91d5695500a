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
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::XattrFlags;

use crate::beneath::has_default_acl;
use crate::beneath::own::{self, Own, REPODATA};
use crate::crash::{self, Point};
use crate::repodata::{FormatError, Record, Repomd};

/// Where a repository's metadata goes: into `repodata` in a directory. What waits to be shown lies in `.createrepod/incoming`
/// there, seen by nobody, unless `repodata` is a mount of its own; see `staging`.
#[derive(Debug, Clone)]
pub struct Place {
    above: PathBuf,
    umask: u32,
    /// Open from [`prepare`](Place::prepare) until what that returns is dropped.
    open: Arc<Mutex<Option<Arc<Directories>>>>,
}

/// Both directories, as they are in one publication.
#[derive(Debug)]
struct Directories {
    repodata: Own,
    /// Where metadata wait: a rename leads from here into `repodata`.
    staging: Own,
}

/// Keeps both directories open: whatever is put in their place meanwhile, a publication goes on in these.
#[must_use]
pub struct Prepared(Arc<Mutex<Option<Arc<Directories>>>>);

impl Drop for Prepared {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
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
    directories: Arc<Directories>,
    /// Its name where it waits; `None` once it is shown.
    name: Option<String>,
    file: Written,
}

/// A file being written, and one that the disk has.
enum Written {
    Not(BufWriter<File>),
    Synced(File),
    Failed,
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Somebody renames or removes it, or has put another in its place.
    #[error("{} is not the directory any more that it was a moment ago; it is published again", path.display())]
    Replaced { path: PathBuf },
}

impl PublishError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

impl Place {
    /// Where metadata of the repository that is written to `above` go.
    pub fn new(above: &Path, umask: u32) -> Self {
        Self { above: above.to_owned(), umask, open: Arc::default() }
    }

    /// The path of `repodata`; for messages, and for whoever watches it.
    pub fn repodata(&self) -> PathBuf {
        self.above.join(REPODATA)
    }

    /// Makes both directories where they are missing, but not the tree: one that was moved away stays away. What follows
    /// works in these, until the returned value is dropped.
    pub fn prepare(&self) -> Result<Prepared, PublishError> {
        let directories = self.make()?;
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(directories));
        Ok(Prepared(Arc::clone(&self.open)))
    }

    fn make(&self) -> Result<Directories, PublishError> {
        let incoming = Own::make_private(&self.above).and_then(|private| private.make("incoming"));
        let incoming = incoming.map_err(PublishError::write(&self.above.join(".createrepod/incoming")))?;
        let repodata = Own::make_repodata(&self.above, 0o777 & !self.umask)
            .and_then(|repodata| repodata.may_be_written().map(|()| repodata))
            .map_err(PublishError::write(&self.repodata()))?;
        let staging = staging::between(incoming, &repodata).map_err(PublishError::write(&self.repodata()))?;
        Ok(Directories { repodata, staging })
    }

    /// The directories of the publication under way, or those that are there now.
    fn directories(&self) -> Result<Arc<Directories>, PublishError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.map_or_else(|| self.make().map(Arc::new), Ok)
    }

    /// `repodata` for reading; `None` where it is missing.
    fn opened(&self) -> io::Result<Option<Own>> {
        match Own::repodata(&self.above) {
            Ok(repodata) => Ok(Some(repodata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Starts a file; `name` tells it from others being staged for this repository.
    pub fn stage(&self, name: &str) -> Result<Staged, PublishError> {
        let directories = self.directories()?;
        let name = format!("metadata-{name}");
        let mode = 0o666 & !self.umask;
        let open = || {
            let file = directories.staging.create_anew(&name, 0o666)?;
            // The process's own umask must not take away what the configuration grants; with a default ACL no umask counts.
            let is_right = file.metadata()?.permissions().mode() & 0o7777 == mode;
            if !is_right && !has_default_acl(&directories.staging) {
                file.set_permissions(fs::Permissions::from_mode(mode))?;
            }
            Ok(file)
        };
        let file = open().map_err(PublishError::write(&directories.staging.path().join(&name)))?;
        let file = Written::Not(BufWriter::with_capacity(256 << 10, file));
        Ok(Staged { directories, name: Some(name), file })
    }

    /// What is published now, by anybody: the bytes of repomd.xml, or `None` where there is none.
    pub fn current(&self) -> Result<Option<Vec<u8>>, PublishError> {
        match self.read("repomd.xml") {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            // A link, a pipe: what was published is not that, and it is replaced like any other.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(Vec::new())),
            Err(source) => Err(PublishError::Read { path: self.repodata().join("repomd.xml"), source }),
        }
    }

    /// Whether there is a repomd.xml, whatever it says.
    pub fn is_there(&self) -> bool {
        match Own::repodata(&self.above).and_then(|own| own.stat("repomd.xml")) {
            Ok(found) => found.is_some(),
            Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        }
    }

    /// The bytes of a file in `repodata/`, which must be a file and no link to one.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        Own::repodata(&self.above)?.bytes(name)
    }

    /// When a file in `repodata/` was written last.
    pub fn modified(&self, name: &str) -> io::Result<std::time::SystemTime> {
        Own::repodata(&self.above)?.read(name)?.metadata()?.modified()
    }

    /// The names in `repodata/`; none where it is missing.
    pub fn names(&self) -> Result<Vec<std::ffi::OsString>, PublishError> {
        let names = self.opened().and_then(|repodata| repodata.map_or(Ok(Vec::new()), |it| it.names()));
        names.map_err(|source| PublishError::Read { path: self.repodata(), source })
    }

    /// Removes a file from `repodata/`; one that is gone already is as good as removed.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.opened()?.map_or(Ok(()), |repodata| repodata.remove(name))
    }

    /// Whether every file that `repomd` names lies in `repodata/` with the size it says.
    pub fn is_whole(&self, repomd: &Repomd) -> bool {
        let Ok(Some(repodata)) = self.opened() else { return repomd.records.is_empty() };
        repomd.records.iter().all(|record| {
            let found = plain_name(record).and_then(|name| repodata.stat(name).ok().flatten());
            found.is_some_and(|stat| {
                let size = u64::try_from(stat.st_size).ok();
                own::is_file(&stat) && record.size.is_none_or(|stated| Some(stated) == size)
            })
        })
    }

    /// Whether the file that `record` names lies in `repodata/`, with the size it says.
    pub fn has(&self, record: &Record) -> bool {
        let size = self.open(record).and_then(|file| file.metadata().ok()).map(|meta| meta.len());
        size.is_some_and(|found| record.size.is_none_or(|size| size == found))
    }

    /// Opens the file that `record` names, if it lies in `repodata/`.
    pub fn open(&self, record: &Record) -> Option<File> {
        self.open_named(plain_name(record)?).ok()
    }

    /// Opens a file in `repodata/`, which must be a file and no link to one.
    pub fn open_named(&self, name: &str) -> io::Result<File> {
        Own::repodata(&self.above)?.read(name)
    }

    /// Whether the file of this name in `repodata/` was put there by us, whoever lost the notes of it. `false` also where the
    /// file system keeps no such marks.
    pub fn is_marked(&self, name: &str) -> bool {
        let mut found = [0; 32];
        let Ok(file) = self.open_named(name) else { return false };
        let read = rustix::fs::fgetxattr(file, MARK, &mut found);
        read.is_ok_and(|length| found.get(..length) == Some(mark(name.as_bytes()).as_bytes()))
    }

    /// Shows a publication: `files` first, under the names given, then `repomd`, in one atomic step.
    ///
    /// All staged files must have been synced. What was there before stays fetchable.
    pub fn switch(&self, files: Vec<(Staged, String)>, repomd: Staged) -> Result<(), PublishError> {
        let directories = Arc::clone(&repomd.directories);
        directories.put(files)?;
        // repomd.xml goes last: a client that has it must find every file it names.
        repomd.show_in(&directories, "repomd.xml")?;
        crash::point(Point::RepomdRenamed);
        directories.sync()?;
        crash::point(Point::RepomdSwitched);
        Ok(())
    }

    /// Puts files beside the current publication, under the names given.
    pub fn put(&self, files: Vec<(Staged, String)>) -> Result<(), PublishError> {
        self.directories()?.put(files)
    }
}

impl Directories {
    fn put(&self, files: Vec<(Staged, String)>) -> Result<(), PublishError> {
        // Renamed away, or another in its place: nobody would find there what is shown.
        let path = self.repodata.path();
        if !self.repodata.is_in_place().map_err(PublishError::write(path))? {
            return Err(PublishError::Replaced { path: path.to_owned() });
        }
        for (staged, name) in files {
            staged.show_in(self, &name)?;
            crash::point(Point::FileRenamed);
        }
        self.sync()?;
        crash::point(Point::FilesSynced);
        Ok(())
    }

    fn sync(&self) -> Result<(), PublishError> {
        self.repodata.sync().map_err(PublishError::write(self.repodata.path()))
    }
}

/// The name of a record's file, where it is one in `repodata/` itself.
fn plain_name(record: &Record) -> Option<&str> {
    let name = record.href.strip_prefix("repodata/").filter(|name| !name.contains('/'))?;
    (!matches!(name, "" | "." | "..")).then_some(name)
}

impl Staged {
    /// Ends the file and waits until the disk has it.
    pub fn sync(&mut self) -> Result<(), PublishError> {
        let synced = match std::mem::replace(&mut self.file, Written::Failed) {
            Written::Not(writer) => {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error);
                file.and_then(|file| file.sync_all().map(|()| file))
            }
            Written::Synced(file) => Ok(file),
            Written::Failed => Err(io::Error::other("it could not be written before")),
        };
        self.file = Written::Synced(synced.map_err(PublishError::write(&self.path()))?);
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.directories.staging.path().join(self.name.as_deref().unwrap_or_default())
    }

    fn show_in(mut self, directories: &Directories, target: &str) -> Result<(), PublishError> {
        self.sync()?;
        if let Written::Synced(file) = &self.file {
            // Where there are none, a file that the catalog loses sight of stays.
            let mark = mark(target.as_bytes());
            let _ = rustix::fs::fsetxattr(file, MARK, mark.as_bytes(), XattrFlags::empty());
        }
        if let Some(name) = &self.name {
            let (staging, repodata) = (&self.directories.staging, &directories.repodata);
            let path = repodata.path().join(target);
            staging.rename(name, repodata, target).map_err(PublishError::write(&path))?;
        }
        // Nothing is left to clean up.
        self.name = None;
        Ok(())
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Written::Not(writer) => writer.write(bytes),
            Written::Synced(_) | Written::Failed => Err(io::Error::other("written after it was synced")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Written::Not(writer) => writer.flush(),
            Written::Synced(_) | Written::Failed => Ok(()),
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // The next publication removes what could not be removed now.
            let _ = self.directories.staging.remove(name);
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
        let place = Place::new(dir.path(), 0o022);
        drop(place.prepare().unwrap());
        place
    }

    fn incoming(dir: &tempfile::TempDir) -> PathBuf {
        dir.path().join(".createrepod/incoming")
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
        assert_eq!(fs::read_dir(place.repodata()).unwrap().count(), 0);
        assert_eq!(place.current().unwrap(), None);

        place.switch(vec![(file, "x-primary.xml".into())], repomd).unwrap();
        assert_eq!(place.current().unwrap().unwrap(), b"<repomd/>");
        assert_eq!(fs::read(place.repodata().join("x-primary.xml")).unwrap(), b"packages");
        let mode = fs::metadata(place.repodata().join("repomd.xml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(fs::read_dir(incoming(&dir)).unwrap().count(), 0);
    }

    #[test]
    fn what_is_dropped_before_the_switch_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        drop(staged(&place, "primary", b"packages"));
        assert_eq!(fs::read_dir(incoming(&dir)).unwrap().count(), 0);
    }

    #[test]
    fn no_file_is_written_to_that_somebody_has_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        fs::write(dir.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink("../../secret", incoming(&dir).join("metadata-primary")).unwrap();
        fs::hard_link(dir.path().join("secret"), incoming(&dir).join("metadata-repomd")).unwrap();
        let file = staged(&place, "primary", b"packages");
        let repomd = staged(&place, "repomd", b"<repomd/>");
        fs::hard_link(dir.path().join("secret"), place.repodata().join("x-primary.xml")).unwrap();
        std::os::unix::fs::symlink("../secret", place.repodata().join("repomd.xml")).unwrap();
        assert_eq!(place.current().unwrap().unwrap(), b"");
        place.switch(vec![(file, "x-primary.xml".into())], repomd).unwrap();
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
        assert_eq!(place.current().unwrap().unwrap(), b"<repomd/>");
    }

    #[test]
    fn nothing_is_shown_in_a_directory_that_is_not_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(&dir);
        let _prepared = place.prepare().unwrap();
        let (file, repomd) = (staged(&place, "primary", b"packages"), staged(&place, "repomd", b"<repomd/>"));
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::rename(place.repodata(), dir.path().join("old")).unwrap();
        fs::rename(dir.path().join("other"), place.repodata()).unwrap();
        let refused = place.switch(vec![(file, "x-primary.xml".into())], repomd).unwrap_err();
        assert!(matches!(refused, PublishError::Replaced { .. }), "{refused}");
        assert_eq!(fs::read_dir(place.repodata()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(dir.path().join("old")).unwrap().count(), 0);
    }
}
