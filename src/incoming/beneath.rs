//! Opens names beneath a repository's root, and nowhere else.
//!
//! The kernel resolves (`openat2`), so a link swapped in during the walk is followed or refused by
//! the same rule as one that was there before. Where the kernel or a sandbox lacks `openat2`, or a
//! link that is absolute leads back inside, the file is opened as a mere name (`O_PATH`) and asked
//! where it really lies before anything is read from it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::config::Symlinks;
use crate::tree::FileStamp;

/// The root directory of a repository, held open.
pub struct Root {
    fd: OwnedFd,
    symlinks: Symlinks,
}

impl Root {
    /// Opens the root itself; links on the way to it are the sysadmin's and followed.
    pub fn open(path: &Path, symlinks: Symlinks) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())?, symlinks })
    }

    /// Opens the root if the kernel has all of its path in memory, so that nobody waits for a disk.
    pub fn open_cached(path: &Path, symlinks: Symlinks) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
        Some(Self { fd, symlinks })
    }

    /// The same for a file beneath the root, on the root's own file system.
    pub fn read_cached(&self, relative: &str) -> Option<File> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let resolve = match self.symlinks {
            Symlinks::Never => inside | ResolveFlags::NO_SYMLINKS,
            Symlinks::Inside | Symlinks::Anywhere => inside,
        };
        let resolve = resolve | ResolveFlags::NO_XDEV | ResolveFlags::CACHED;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve).ok()?;
        Some(File::from(fd))
    }

    /// Opens `relative` (empty: the root) with `flags`. A link that `symlinks` does not allow is
    /// `ELOOP` or `EXDEV`.
    pub fn open_at(&self, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = if relative.is_empty() { "." } else { relative };
        // openat2 takes no other flag beside O_PATH.
        let also = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
        let flags = flags | OFlags::CLOEXEC | also;
        let resolve = ResolveFlags::NO_MAGICLINKS
            | match self.symlinks {
                Symlinks::Never => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
                Symlinks::Inside => ResolveFlags::BENEATH,
                Symlinks::Anywhere => ResolveFlags::empty(),
            };
        // EAGAIN: something was renamed while the kernel walked; it asks to be tried again.
        for _ in 0..16 {
            match rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::XDEV) if self.symlinks == Symlinks::Inside => {
                    return self.open_and_look(relative, flags);
                }
                Err(Errno::NOSYS | Errno::PERM) => return self.open_and_look(relative, flags),
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The same without `openat2`: open the name alone, see where it lies, then open it for real.
    fn open_and_look(&self, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let name_only = OFlags::PATH | OFlags::CLOEXEC | (flags & OFlags::DIRECTORY);
        let found = rustix::fs::openat(&self.fd, relative, name_only, Mode::empty())?;
        let root = lies_at(&self.fd)?;
        let place = lies_at(&found)?;
        let allowed = match self.symlinks {
            Symlinks::Never => place == if relative == "." { root } else { root.join(relative) },
            Symlinks::Inside => place.starts_with(root),
            Symlinks::Anywhere => true,
        };
        if !allowed {
            return Err(Errno::XDEV.into());
        }
        if flags.contains(OFlags::PATH) {
            return Ok(found);
        }
        let again = format!("/proc/self/fd/{}", found.as_raw_fd());
        Ok(rustix::fs::open(again, flags & !OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// Opens a file or directory for reading. Never waits for a FIFO's other end.
    pub fn read(&self, relative: &str) -> io::Result<File> {
        Ok(File::from(self.open_at(relative, OFlags::RDONLY | OFlags::NONBLOCK)?))
    }

    /// The deepest directory of `parents` that exists, and how many of them that is.
    pub fn deepest(&self, parents: &[&str]) -> io::Result<(OwnedFd, usize)> {
        for depth in (0..=parents.len()).rev() {
            match self.open_at(&parents[..depth].join("/"), OFlags::PATH | OFlags::DIRECTORY) {
                Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(|fd| (fd, depth)),
            }
        }
        Err(Errno::NOENT.into())
    }

    /// Opens the directory `parents`, making what is missing with `mode`.
    pub fn make_directories(&self, parents: &[&str], mode: u32) -> io::Result<(File, Made)> {
        // Another upload may make, or in giving up remove, the same directories meanwhile. The end
        // is reached only by a link that leads nowhere: it exists, and is not found.
        let mut tries = 64;
        loop {
            let mut made = Made::default();
            match self.make_missing(parents, mode, &mut made) {
                Ok(directory) => return Ok((directory, made)),
                Err(error) => {
                    made.undo();
                    tries -= 1;
                    let meanwhile =
                        matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound);
                    if tries == 0 || !meanwhile {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn make_missing(&self, parents: &[&str], mode: u32, made: &mut Made) -> io::Result<File> {
        // Mostly all of them are there.
        match self.open_at(&parents.join("/"), OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found.map(File::from),
        }
        let (_, depth) = self.deepest(parents)?;
        let existing = parents[..depth].join("/");
        let mut directory = File::from(self.open_at(&existing, OFlags::RDONLY | OFlags::DIRECTORY)?);
        for name in &parents[depth..] {
            rustix::fs::mkdirat(&directory, *name, Mode::from_raw_mode(mode))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let next = File::from(rustix::fs::openat(&directory, *name, flags, Mode::empty())?);
            made.0.push((directory, (*name).to_owned()));
            // The process's own umask may have taken more than the repository's; setgid is inherited.
            let inherited = next.metadata()?.mode() & 0o7000;
            rustix::fs::fchmod(&next, Mode::from_raw_mode(mode | inherited))?;
            directory = next;
        }
        Ok(directory)
    }
}

/// Directories that were made for an upload: each with the directory it is in, topmost first.
#[derive(Default)]
pub struct Made(Vec<(File, String)>);

impl Made {
    /// Removes those that are (still) empty.
    pub fn undo(self) {
        for (parent, name) in self.0.into_iter().rev() {
            if rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Makes the new directories themselves survive a power cut.
    pub fn sync(&self) -> io::Result<()> {
        self.0.iter().rev().try_for_each(|(parent, _)| parent.sync_all())
    }
}

/// Where an open file lies now; ends in ` (deleted)` when nowhere.
fn lies_at(fd: &OwnedFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The stamp of an open or listed file.
pub fn stamp(metadata: &std::fs::Metadata) -> FileStamp {
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    FileStamp {
        inode: metadata.ino(),
        size: metadata.size(),
        mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
        ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// The stamp of what stat(2) found.
pub fn stat_stamp(stat: &rustix::fs::Stat) -> FileStamp {
    // The types of these fields differ between architectures.
    let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    #[allow(clippy::unnecessary_cast)]
    FileStamp {
        inode: stat.st_ino as u64,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("root/sub")).unwrap();
        std::fs::write(dir.path().join("root/sub/inside"), "in").unwrap();
        std::fs::write(dir.path().join("outside"), "out").unwrap();
        let root = dir.path().join("root");
        symlink("sub/inside", root.join("relative")).unwrap();
        symlink(root.join("sub/inside"), root.join("absolute")).unwrap();
        symlink("../outside", root.join("escape")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/proc/self/root/etc/passwd", root.join("magic")).unwrap();
        symlink("nowhere", root.join("broken")).unwrap();
        dir
    }

    /// Both ways of opening must agree.
    fn opens(dir: &Path, symlinks: Symlinks, name: &str) -> bool {
        let root = Root::open(&dir.join("root"), symlinks).unwrap();
        let by_kernel = root.read(name).is_ok();
        let by_looking = root.open_and_look(name, OFlags::RDONLY).is_ok();
        assert_eq!(by_kernel, by_looking, "{symlinks:?} {name}");
        by_kernel
    }

    #[test]
    fn links_are_followed_as_far_as_the_setting_says() {
        let dir = tree();
        let opened = |symlinks| {
            ["sub/inside", "relative", "absolute", "escape", "up/outside", "broken"]
                .into_iter()
                .filter(|name| opens(dir.path(), symlinks, name))
                .collect::<Vec<_>>()
        };
        assert_eq!(opened(Symlinks::Never), ["sub/inside"]);
        assert_eq!(opened(Symlinks::Inside), ["sub/inside", "relative", "absolute"]);
        assert_eq!(
            opened(Symlinks::Anywhere),
            ["sub/inside", "relative", "absolute", "escape", "up/outside"]
        );
    }

    #[test]
    fn links_through_proc_never_lead_out() {
        let dir = tree();
        for symlinks in [Symlinks::Never, Symlinks::Inside] {
            assert!(!opens(dir.path(), symlinks, "magic"), "{symlinks:?}");
        }
    }

    #[test]
    fn directories_are_made_only_inside() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root"), Symlinks::Inside).unwrap();
        assert!(root.make_directories(&["up", "new"], 0o755).is_err());
        assert!(!dir.path().join("new").exists());
        let (_, made) = root.make_directories(&["sub", "a", "b"], 0o750).unwrap();
        let path = dir.path().join("root/sub/a/b");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o750);
        made.undo();
        assert!(!dir.path().join("root/sub/a").exists() && dir.path().join("root/sub").exists());
    }

    #[test]
    fn a_directory_that_got_a_file_is_not_undone() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root"), Symlinks::Inside).unwrap();
        let (_, made) = root.make_directories(&["a", "b"], 0o755).unwrap();
        std::fs::write(dir.path().join("root/a/x"), "").unwrap();
        made.undo();
        assert!(dir.path().join("root/a/x").exists() && !dir.path().join("root/a/b").exists());
    }

    #[test]
    fn a_parent_that_is_a_file_or_a_dead_link_is_refused() {
        let dir = tree();
        let root = Root::open(&dir.path().join("root"), Symlinks::Inside).unwrap();
        let error = root.make_directories(&["sub", "inside", "x"], 0o755).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        assert!(root.make_directories(&["broken", "x"], 0o755).is_err());
    }
}
