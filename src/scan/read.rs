//! Reads one package from the tree.

#[cfg(test)]
mod tests;

use std::any::Any;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::thing::{self, stamp};
use crate::config::{Leads, RepositoryConfig, Symlinks};
use crate::package::intake::{BadPackage, Intake, Taken};
use crate::package::openpgp::Keyring;
use crate::package::turn::{self, MEMORY, Turn};
use crate::package::{Location, Package, Unread};
use crate::repodata::{Entry, Fragments};
use crate::tree::{self, FileStamp, Found, NotTaken, Rejected, Scanned};

/// Bytes read in one go.
const BLOCK: usize = 512 * 1024;

/// Bytes of headers from which on a package waits before they are held.
const LARGE_HEAD: usize = 4 << 20;

/// Files from this size on profit from a longer read-ahead.
const BIG: u64 = 1024 * 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads one package: digest, header, fragments. Its stamp is the one before the first byte was read. It is rejected
/// only for what its bytes say; what the system says of it, or that it changed while it was read, holds for this moment.
/// Blocking, one thread. `keyring`: whose signatures count, where the repository asks for them.
pub fn read(
    config: &RepositoryConfig,
    keyring: Option<&Arc<Keyring>>,
    found: &Found,
) -> Result<Scanned, NotTaken> {
    guarded(found, |stamp| read_file(config, keyring, &found.location, stamp))
}

/// Opens a file that holds additional metadata, with the stamp it has now; refuses what a package would not be
/// read for. An error says nothing of what it holds. Compare the stamp once it is read: a file that changed meanwhile
/// is unfinished.
pub fn open_additional(config: &RepositoryConfig, location: &Location) -> Result<(File, FileStamp), String> {
    open(config, location).and_then(with_stamp).map_err(|bad| bad.to_string())
}

/// The same for a file outside of the tree, wherever links lead.
pub fn open_outside(path: &Path) -> Result<(File, FileStamp), String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(Bad::from);
    file.and_then(with_stamp).map_err(|bad| bad.to_string())
}

/// Whether an open file's content is most likely what it was when it had this stamp.
pub fn is_unchanged(file: &File, before: &FileStamp) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| stamp(&stat).same_content_likely(before))
}

fn with_stamp(file: File) -> Result<(File, FileStamp), Bad> {
    let stat = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stamp(&stat))),
        _ => Err(Bad::NotAFile),
    }
}

/// The last line of defence: a bug in reading one package costs that package, not the repository.
fn guarded(
    found: &Found,
    read: impl FnOnce(&mut FileStamp) -> Result<Scanned, Bad>,
) -> Result<Scanned, NotTaken> {
    let mut stamp = found.stamp;
    let outcome = catch_unwind(AssertUnwindSafe(|| read(&mut stamp)))
        .unwrap_or_else(|panic| Err(Bad::OurBug(message(&*panic))));
    outcome.map_err(|bad| {
        let (location, reason) = (found.location.clone(), bad.to_string());
        if bad.is_of_the_bytes() {
            return NotTaken::Rejected(Rejected { location, stamp, reason });
        }
        NotTaken::Unread(tree::Unread { path: location.to_string(), reason, moving: bad.is_moving() })
    })
}

/// Why a file is not taken. Displays as one line.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("it vanished before it could be read")]
    Vanished,
    #[error("cannot read it: {0}; give the daemon's user the right to read it (chmod a+r, setfacl)")]
    Forbidden(io::Error),
    #[error("cannot read it: {0}")]
    Unreadable(io::Error),
    #[error("it is not a regular file")]
    NotAFile,
    #[error("it changed while it was read; it is looked at again once it is complete")]
    Unfinished,
    /// A look tells whether a link leads out; here something was renamed since the look.
    #[error("{}", thing::LEAVES)]
    Leaves,
    #[error("it is reached through a symbolic link, which symlinks = \"never\" forbids")]
    Linked,
    #[error(transparent)]
    Package(#[from] BadPackage),
    #[error(
        "createrepod failed on it ({0}); that is a bug in createrepod: please report it, with the package"
    )]
    OurBug(String),
}

impl From<Unread> for Bad {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Bad(bad) => Self::Package(bad),
            Unread::Busy => Self::Unfinished,
        }
    }
}

impl Bad {
    /// Whether reading it again could change nothing.
    fn is_of_the_bytes(&self) -> bool {
        matches!(self, Self::Package(_) | Self::OurBug(_))
    }

    /// Whether it is ordinary for a moment.
    fn is_moving(&self) -> bool {
        !matches!(self, Self::Forbidden(_) | Self::Unreadable(_))
    }
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Vanished,
            io::ErrorKind::PermissionDenied => Self::Forbidden(error),
            _ => Self::Unreadable(error),
        }
    }
}

impl From<Errno> for Bad {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

fn read_file(
    config: &RepositoryConfig,
    keyring: Option<&Arc<Keyring>>,
    location: &Location,
    stamp_out: &mut FileStamp,
) -> Result<Scanned, Bad> {
    let file = open(config, location)?;
    let before = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Err(Bad::NotAFile);
    }
    let before = stamp(&before);
    *stamp_out = before;
    if before.size >= BIG {
        // Only advice: file systems without read-ahead refuse it.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::Sequential);
    }
    let taken = feed(config, keyring, &file, before.size);
    // What a half-written file looks like says nothing about the package.
    if !stamp(&rustix::fs::fstat(&file)?).same_content_likely(&before) {
        return Err(Bad::Unfinished);
    }
    let (taken, turn) = taken?;
    let entry = Entry {
        pkgid: &taken.pkgid,
        location,
        file_time: before.mtime(),
        size: taken.size,
        header_range: taken.header_range,
    };
    let render = |package: &Package<'_>| {
        (Fragments::render(package, &entry, &config.render_options()), package.nevra())
    };
    let (fragments, nevra) = taken.read(turn, None, render)?;
    let Taken { pkgid, vouched, .. } = taken;
    Ok(Scanned { location: location.clone(), stamp: before, pkgid, nevra, fragments, vouched })
}

/// Opens the file and makes sure that it lies where `symlinks` allows.
fn open(config: &RepositoryConfig, location: &Location) -> Result<File, Bad> {
    let path = location.under(&config.path);
    // NONBLOCK: a pipe put in the file's place must not hold us up.
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    if config.symlinks == Symlinks::Never {
        flags |= OFlags::NOFOLLOW;
    }
    let file = match rustix::fs::open(&path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(Bad::Linked),
        Err(errno) => return Err(errno.into()),
    };
    if config.symlinks == Symlinks::Anywhere {
        return Ok(file);
    }
    let root = std::fs::canonicalize(&config.path)?;
    let real = thing::real_path(&file, &path)?;
    match config.symlinks {
        Symlinks::Never if real != location.under(&root) => Err(moved(&file, Bad::Linked)),
        rule if rule.leads(&root, &real) == Leads::Outside => Err(moved(&file, Bad::Leaves)),
        _ => Ok(file),
    }
}

/// An open file that was removed or renamed in the meantime is not where it was, either.
fn moved(file: &File, otherwise: Bad) -> Bad {
    match rustix::fs::fstat(file) {
        Ok(stat) if stat.st_nlink == 0 => Bad::Vanished,
        _ => otherwise,
    }
}

fn feed(
    config: &RepositoryConfig,
    keyring: Option<&Arc<Keyring>>,
    file: &File,
    size: u64,
) -> Result<(Taken, Option<Turn>), Bad> {
    let mut intake = Intake::new(config.checksum, config.verify).trusting(keyring.cloned());
    let mut buffer = BUFFER.take();
    buffer.resize(BLOCK, 0);
    let mut turn = None;
    let fed = feed_from(&mut intake, file, size, &mut buffer, &mut turn);
    BUFFER.set(buffer);
    fed?;
    Ok((intake.finish()?, turn))
}

fn feed_from(
    intake: &mut Intake,
    mut file: &File,
    size: u64,
    buffer: &mut [u8],
    turn: &mut Option<Turn>,
) -> Result<(), Bad> {
    let mut total = 0;
    loop {
        match file.read(buffer) {
            Ok(0) if total == size => return Ok(()),
            // Cut short since it was stat'ed; its times may be too coarse to show it.
            Ok(0) => return Err(Bad::Unfinished),
            Ok(n) => {
                total += n as u64;
                // Whoever appends faster than we read must not keep us here.
                if total > size {
                    return Err(Bad::Unfinished);
                }
                intake.feed(&buffer[..n])?;
                // A large header waits for its turn before it is held, however long that takes.
                if turn.is_none() && intake.head_len().1 > LARGE_HEAD {
                    // For the header alone: others go on while a long payload is read.
                    *turn = turn::take((intake.head_len().1 as u64).min(MEMORY), None);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
