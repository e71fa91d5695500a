//! Directories the daemon keeps its own files in: `.createrepod` and what lies in it, and `repodata`.
//!
//! The tree around them is a stranger's: whoever may write there can rename them away and put links, pipes or
//! directories of their own in their place. So none of our files is ever reached by a path. A directory is opened by
//! its name in the one above it, without following a link, and looked at; whatever is done in it is done by its
//! descriptor, under one plain name. Files are made under names that were free, and those that are read must be
//! files: nothing that lies there already is ever opened for writing.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

/// The name of the daemon's private directory in a tree.
pub const PRIVATE: &str = ".createrepod";
/// A file that lies in it, and in no other directory: whoever may write to the tree can give ours another name, and it is
/// known by this file then.
pub const MARK: &str = ".createrepod-own";
/// The name of the directory that clients read metadata from.
pub const REPODATA: &str = "repodata";

/// Write for group or others.
const FOR_OTHERS: u32 = 0o022;

/// A directory of the daemon's own, held open.
#[derive(Debug)]
pub struct Own {
    fd: File,
    /// Where it was found, for messages.
    path: PathBuf,
    is_private: bool,
}

impl Own {
    /// `.createrepod` in the directory `above`, made where it is missing. `above` itself is never made.
    ///
    /// It must belong to the user this process runs as, and nobody else may write there.
    pub fn make_private(above: &Path) -> io::Result<Self> {
        let root = open_directory(CWD, above.as_os_str(), OFlags::empty())?;
        Self::make_in(&root, above, PRIVATE.as_ref(), 0o700, true)
    }

    /// The same where it is; `NotFound` where it is missing.
    pub fn private(above: &Path) -> io::Result<Self> {
        let root = open_directory(CWD, above.as_os_str(), OFlags::empty())?;
        Self::open_in(&root, above, PRIVATE.as_ref(), true)
    }

    /// `repodata` in the directory `above`, made with `mode` where it is missing. Whoever may write into the tree may be
    /// its owner, such as the user that has run createrepo_c before; it must only be a directory, and no link to one.
    pub fn make_repodata(above: &Path, mode: u32) -> io::Result<Self> {
        let root = open_directory(CWD, above.as_os_str(), OFlags::empty())?;
        Self::make_in(&root, above, REPODATA.as_ref(), mode, false)
    }

    /// The same where it is; `NotFound` where it is missing.
    pub fn repodata(above: &Path) -> io::Result<Self> {
        let root = open_directory(CWD, above.as_os_str(), OFlags::empty())?;
        Self::open_in(&root, above, REPODATA.as_ref(), false)
    }

    /// Leaves the [mark](MARK) in it. A tree that cannot be written to is none in which anything is renamed.
    pub fn mark(&self) {
        if matches!(self.stat(MARK), Ok(None)) {
            let _ = self.create(MARK, 0o600);
        }
    }

    fn open_in(above: &File, path: &Path, name: &OsStr, is_private: bool) -> io::Result<Self> {
        let path = path.join(name);
        let fd = match open_directory(above, name, OFlags::NOFOLLOW) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let stat = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
                return Err(if stat.st_uid == us() { error } else { not_ours(&path, &stat) });
            }
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOTDIR | Errno::LOOP)) => {
                return Err(refused(io::ErrorKind::NotADirectory, no_directory(&path)));
            }
            opened => opened?,
        };
        if is_private {
            judge(above, &fd, &path)?;
        }
        Ok(Self { fd, path, is_private })
    }

    fn make_in(above: &File, path: &Path, name: &OsStr, mode: u32, is_private: bool) -> io::Result<Self> {
        // Mostly it is there.
        match Self::open_in(above, path, name, is_private) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        match rustix::fs::mkdirat(above, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => Self::open_in(above, path, name, is_private),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a directory of another user's that we may not write into, in words that say so.
    pub fn may_be_written(&self) -> io::Result<()> {
        use rustix::fs::Access;
        match rustix::fs::accessat(&self.fd, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
            Err(Errno::ACCESS) => {
                let stat = rustix::fs::fstat(&self.fd)?;
                Err(if stat.st_uid == us() { Errno::ACCESS.into() } else { not_ours(&self.path, &stat) })
            }
            // What an old kernel cannot say, the first file will.
            _ => Ok(()),
        }
    }

    /// Where it was found; for messages, and for nothing else.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory `name` in this one.
    pub fn sub(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::open_in(&self.fd, &self.path, name.as_ref(), self.is_private)
    }

    /// The same, made with mode 0700 where it is missing.
    pub fn make(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        Self::make_in(&self.fd, &self.path, name.as_ref(), 0o700, self.is_private)
    }

    /// The directory at the end of `names`, each in the one before it. `None`: it is this one.
    pub fn below<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> io::Result<Option<Self>> {
        names
            .into_iter()
            .try_fold(None, |found: Option<Self>, name| Ok(Some(found.as_ref().unwrap_or(self).sub(name)?)))
    }

    /// The same, made where it is missing, and the names made safe from a power cut.
    pub fn make_below<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> io::Result<Option<Self>> {
        names.into_iter().try_fold(None, |found: Option<Self>, name| {
            let above = found.as_ref().unwrap_or(self);
            let made = above.make(name)?;
            above.sync()?;
            Ok(Some(made))
        })
    }

    /// Makes a file under a name that is free.
    pub fn create(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        Ok(File::from(rustix::fs::openat(&self.fd, name.as_ref(), flags, mode)?))
    }

    /// Makes a file in place of what has the name, which is removed and not written to.
    pub fn create_anew(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<File> {
        let name = name.as_ref();
        match self.create(name, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(name)?;
                self.create(name, mode)
            }
            made => made,
        }
    }

    /// Makes a file without a name. Not every file system has these.
    pub fn unnamed(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.fd, ".", flags, Mode::RUSR | Mode::WUSR)?))
    }

    /// Opens a file for reading. What is no file (a link, a pipe, a device) is refused.
    pub fn read(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        self.open(name.as_ref(), OFlags::RDONLY)
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: impl AsRef<OsStr>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.read(name)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Opens a file of ours for writing, as it is. Only for a lock, which must stay the same file: it must belong to us and
    /// have no other name, so that it is nobody else's.
    pub fn lock_file(&self, name: impl AsRef<OsStr>) -> io::Result<File> {
        let name = name.as_ref();
        let file = match self.create(name, 0o600) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open(name, OFlags::RDWR)?,
            made => return made,
        };
        let stat = rustix::fs::fstat(&file)?;
        if stat.st_nlink != 1 {
            let why = format!("{} has another name, too: remove it", self.path.join(name).display());
            return Err(refused(io::ErrorKind::PermissionDenied, why));
        }
        Ok(file)
    }

    fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<File> {
        let no_file = || {
            let why = format!("{} is not a file: remove it", self.path.join(name).display());
            refused(io::ErrorKind::InvalidData, why)
        };
        // Never waits for a pipe's other end, nor becomes the owner of a terminal.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::LOOP | Errno::NXIO | Errno::ISDIR) => return Err(no_file()),
            opened => File::from(opened?),
        };
        if file.metadata()?.is_file() { Ok(file) } else { Err(no_file()) }
    }

    /// What has this name, links not followed; `None` where nothing has it.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(found?)),
        }
    }

    /// The names in it, in no order.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            if !is_dots(entry.file_name()) {
                names.push(OsString::from_vec(entry.file_name().to_bytes().to_vec()));
            }
        }
        Ok(names)
    }

    /// Removes a file, or a link itself; one that is gone already is as good as removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name.as_ref(), AtFlags::REMOVEDIR)?)
    }

    /// Removes what has the name, with all that is in it. Links are removed, never followed.
    pub fn remove_all(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        remove_all(self.fd.as_fd(), name.as_ref())
    }

    /// Gives `name` another name, in one step, in place of what has it.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, name.as_ref(), &to.fd, new.as_ref())?)
    }

    /// Gives `name` another name that is free; fails with `AlreadyExists` where it is not.
    pub fn rename_new(&self, name: impl AsRef<OsStr>, to: &Self, new: impl AsRef<OsStr>) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(&self.fd, name.as_ref(), &to.fd, new.as_ref(), flags)?)
    }

    /// Makes the names it has now survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.fd.sync_all()
    }

    /// Whether the name `path` still leads here: it was not renamed away, and nothing was put in its place.
    pub fn is_in_place(&self) -> io::Result<bool> {
        let here = rustix::fs::fstat(&self.fd)?;
        match rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Ok((here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Own {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name no other file of ours has; what a killed daemon leaves under one is removed at the next start.
pub fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    format!("{now:020}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn open_directory(above: impl AsFd, name: &OsStr, also: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | also;
    Ok(File::from(rustix::fs::openat(above, name, flags, Mode::empty())?))
}

/// Refuses a directory that is, or may be written to, by somebody else.
fn judge(above: &File, directory: &File, path: &Path) -> io::Result<()> {
    let stat = rustix::fs::fstat(directory)?;
    let is_ours = stat.st_uid == us();
    if is_ours && stat.st_mode & FOR_OTHERS == 0 || looks_like_ours(above, &stat)? {
        return Ok(());
    }
    if !is_ours {
        return Err(not_ours(path, &stat));
    }
    let why = format!(
        "{} may be written by others (its mode is {:04o}): look at what is in it, then run chmod -R go-w on it",
        path.display(),
        stat.st_mode & 0o7777
    );
    Err(refused(io::ErrorKind::PermissionDenied, why))
}

/// Whether a directory of ours was seen under another name.
static IS_ASTRAY: AtomicBool = AtomicBool::new(false);

/// A directory of ours lies in a tree under another name: from now on it is looked for.
pub fn is_seen_astray() {
    IS_ASTRAY.store(true, Ordering::Relaxed);
}

/// Whether that was ever seen.
pub fn is_any_astray() -> bool {
    IS_ASTRAY.load(Ordering::Relaxed)
}

/// Whether `name` in `above` is a directory with our [mark](MARK). One that somebody else has put there hides nothing.
pub fn is_marked(above: impl AsFd, name: &str) -> bool {
    let owner = |path: &str| {
        rustix::fs::statat(above.as_fd(), path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_uid)
    };
    owner(&format!("{name}/{MARK}")).is_ok_and(|mark| owner(name) == Ok(mark))
}

/// The user this process runs as.
fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn not_ours(path: &Path, stat: &Stat) -> io::Error {
    let why = format!(
        "{} belongs to the user with the number {}, and this runs as {}: where createrepod or createrepo_c has run as \
         that one before, give it to this one with chown -R; else look at what is in it, and remove it",
        path.display(),
        stat.st_uid,
        us()
    );
    refused(io::ErrorKind::PermissionDenied, why)
}

/// Whether what we make beside it looks the same: on a network share, or on FAT, all files have the owner and the mode
/// that the mount says, and tell nothing of who made them.
///
/// Nothing is asked by its name: somebody could put something of theirs there meanwhile.
fn looks_like_ours(above: &File, stat: &Stat) -> io::Result<bool> {
    let (flags, mode) = (OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
    let made = match rustix::fs::openat(above, ".", flags | OFlags::TMPFILE, mode) {
        Ok(made) => made,
        // Such file systems mostly know no unnamed files.
        Err(_) => {
            let probe = format!("{PRIVATE}-{}", unique());
            let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            match rustix::fs::openat(above, &probe, flags, mode) {
                Ok(made) => {
                    rustix::fs::unlinkat(above, &probe, AtFlags::empty())?;
                    made
                }
                // Who may not write here can make nothing that could be ours.
                Err(_) => return Ok(false),
            }
        }
    };
    let ours = rustix::fs::fstat(&made)?;
    Ok(ours.st_uid == stat.st_uid && stat.st_mode & FOR_OTHERS & !ours.st_mode == 0)
}

fn remove_all(above: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    // What is no directory, a link to one included, goes at once.
    match rustix::fs::unlinkat(above, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // POSIX has EPERM for directories, Linux EISDIR.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let directory = match open_directory(above, name, OFlags::NOFOLLOW) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        if !is_dots(entry.file_name()) {
            remove_all(directory.as_fd(), OsStr::from_bytes(entry.file_name().to_bytes()))?;
        }
    }
    match rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether an entry of a directory is the directory itself, or the one above.
fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn no_directory(path: &Path) -> String {
    format!(
        "{} is a link or a file, and not a directory: createrepod keeps its files there and follows no link; remove it \
         (metadata_dir puts them elsewhere)",
        path.display()
    )
}

fn refused(kind: io::ErrorKind, why: String) -> io::Error {
    io::Error::new(kind, why)
}

/// Whether the stat is of a regular file.
pub fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode).is_file()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn what_is_a_link_or_open_to_others_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(PRIVATE);
        assert_eq!(Own::private(dir.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        for name in [PRIVATE, REPODATA] {
            symlink("elsewhere", dir.path().join(name)).unwrap();
        }
        for error in [Own::make_private(dir.path()), Own::make_repodata(dir.path(), 0o755)] {
            let error = error.unwrap_err().to_string();
            assert!(error.contains("is a link"), "{error}");
        }
        fs::remove_file(&private).unwrap();
        let own = Own::make_private(dir.path()).unwrap();
        assert_eq!(private.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        symlink("../elsewhere", private.join("incoming")).unwrap();
        assert!(own.make("incoming").unwrap_err().to_string().contains("is a link"));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o770)).unwrap();
        let error = Own::private(dir.path()).unwrap_err().to_string();
        assert!(error.contains("may be written by others (its mode is 0770)"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left of the look");
        assert_eq!(fs::read_dir(dir.path().join("elsewhere")).unwrap().count(), 0);
    }

    #[test]
    fn no_file_that_is_there_is_written_to_and_nothing_but_files_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let own = Own::make_private(dir.path()).unwrap();
        let at = |name: &str| dir.path().join(PRIVATE).join(name);
        fs::write(dir.path().join("secret"), "secret").unwrap();
        symlink("../secret", at("link")).unwrap();
        fs::hard_link(dir.path().join("secret"), at("hard")).unwrap();
        rustix::fs::mkfifoat(&own, "pipe", Mode::RWXU).unwrap();
        for name in ["link", "pipe", "."] {
            assert_eq!(own.read(name).unwrap_err().kind(), io::ErrorKind::InvalidData, "{name}");
        }
        for name in ["link", "hard", "pipe"] {
            assert!(own.lock_file(name).is_err(), "{name}");
            assert_eq!(own.create(name, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            let mut made = own.create_anew(name, 0o600).unwrap();
            io::Write::write_all(&mut made, b"ours").unwrap();
            assert_eq!(own.bytes(name).unwrap(), b"ours");
        }
        assert_eq!(fs::read(dir.path().join("secret")).unwrap(), b"secret");
    }

    #[test]
    fn what_is_removed_with_all_in_it_takes_nothing_with_it_that_lies_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let own = Own::make_private(dir.path()).unwrap();
        fs::create_dir(dir.path().join("other")).unwrap();
        fs::write(dir.path().join("other/a.rpm"), "").unwrap();
        fs::create_dir_all(dir.path().join(PRIVATE).join("x/deep/er")).unwrap();
        symlink("../../../other", dir.path().join(PRIVATE).join("x/deep/link")).unwrap();
        symlink("../other", dir.path().join(PRIVATE).join("y")).unwrap();
        for name in ["x", "y", "z"] {
            own.remove_all(name).unwrap();
        }
        assert!(own.names().unwrap().is_empty() && dir.path().join("other/a.rpm").exists());
    }

    #[test]
    fn a_directory_that_is_renamed_away_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let own = Own::make_repodata(dir.path(), 0o755).unwrap();
        assert!(own.is_in_place().unwrap());
        fs::rename(dir.path().join(REPODATA), dir.path().join("old")).unwrap();
        assert!(!own.is_in_place().unwrap());
        fs::create_dir(dir.path().join(REPODATA)).unwrap();
        assert!(!own.is_in_place().unwrap());
    }
}
