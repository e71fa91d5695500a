//! Opens names beneath a repository's root, and nowhere else; [`own`] does so for the directories that are ours.
//!
//! Mostly no link is on the way, and the kernel sees to that (`openat2`): one swapped in during the walk is noticed, too.
//! Where there is one, or the kernel or a sandbox lacks `openat2`, the file is opened as a mere name (`O_PATH`) and asked
//! where it really lies before anything is read from it: links are followed as `symlinks` says, and to nothing that is the
//! daemon's own. Below `repodata` none is followed.

pub mod own;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::config::{Leads, Symlinks};
use crate::tree::FileStamp;
use own::{PRIVATE, REPODATA};

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
        if own::is_any_astray() {
            return None;
        }
        // Where a link is on the way, somebody has to look where it leads.
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV | ResolveFlags::CACHED;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve).ok()?;
        Some(File::from(fd))
    }

    /// Opens `relative` (empty: the root) with `flags`. A link that `symlinks` does not allow, or that leads to what is
    /// reserved, is `ELOOP` or `EXDEV`.
    pub fn open_at(&self, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let opened = self.open_there(relative, flags)?;
        if own::is_any_astray() && self.is_in_ours(relative, &opened) {
            return Err(Errno::NOENT.into());
        }
        Ok(opened)
    }

    /// Whether it is, or lies in, a directory of ours that was given another name.
    fn is_in_ours(&self, relative: &str, opened: &OwnedFd) -> bool {
        let (root, place) = match (lies_at(&self.fd), lies_at(opened)) {
            (Ok(root), Ok(place)) => (root, place),
            _ => (PathBuf::new(), PathBuf::from(relative)),
        };
        let mut below = place.ancestors().take_while(|above| *above != root);
        below.any(|above| own::is_marked(&self.fd, &above.to_string_lossy()))
    }

    fn open_there(&self, relative: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = if relative.is_empty() { "." } else { relative };
        // openat2 takes no other flag beside O_PATH.
        let also = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
        let flags = flags | OFlags::CLOEXEC | also;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let symlinks = match relative.split('/').next() {
            Some(REPODATA) => Symlinks::Never,
            _ => self.symlinks,
        };
        // EAGAIN: something was renamed while the kernel walked; it asks to be tried again.
        for _ in 0..16 {
            match rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::LOOP) if symlinks != Symlinks::Never => {
                    return self.open_and_look(relative, flags, symlinks);
                }
                Err(Errno::NOSYS | Errno::PERM) => return self.open_and_look(relative, flags, symlinks),
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens the name alone, sees where it lies, then opens it for real.
    fn open_and_look(&self, relative: &str, flags: OFlags, symlinks: Symlinks) -> io::Result<OwnedFd> {
        let name_only = OFlags::PATH | OFlags::CLOEXEC | (flags & (OFlags::DIRECTORY | OFlags::NOFOLLOW));
        let found = rustix::fs::openat(&self.fd, relative, name_only, Mode::empty())?;
        let root = lies_at(&self.fd)?;
        let place = lies_at(&found)?;
        let written = if relative == "." { root.clone() } else { root.join(relative) };
        let allowed = place == written
            || symlinks.leads(&root, &place) == Leads::Followed && !place.iter().any(|part| part == PRIVATE);
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
            let above = directory.try_clone()?;
            made.0.push((directory, (*name).to_owned()));
            settle_mode(&above, &next, mode)?;
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

/// Gives a directory made in `above` the `mode` it was made with, where the process's own umask has taken more than the
/// repository's.
pub fn settle_mode(above: &File, made: &File, mode: u32) -> io::Result<()> {
    let found = made.metadata()?.mode() & 0o7777;
    let inherited = found & 0o7000;
    // With a default ACL no umask counts: acl(5).
    if found == mode | inherited || has_default_acl(above) {
        return Ok(());
    }
    match rustix::fs::fchmod(made, Mode::from_raw_mode(mode | inherited)) {
        // A sandbox that lets nobody ask for setgid, which was inherited and is not to be lost (RestrictSUIDSGID=).
        Err(Errno::PERM) if inherited != 0 => Ok(()),
        done => Ok(done?),
    }
}

/// Whether what is made in this directory gets its rights from there.
pub fn has_default_acl(directory: impl AsFd) -> bool {
    let mut acl = [0; 64];
    match rustix::fs::fgetxattr(directory, "system.posix_acl_default", &mut acl) {
        Ok(length) => length > 0,
        Err(error) => error == Errno::RANGE,
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
        let by_looking = root.open_and_look(name, OFlags::RDONLY, symlinks).is_ok();
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
    fn no_link_leads_to_what_is_the_daemons_own() {
        let dir = tree();
        let root = dir.path().join("root");
        for name in [PRIVATE, REPODATA] {
            std::fs::create_dir(root.join(name)).unwrap();
            std::fs::write(root.join(name).join("file"), "ours").unwrap();
            symlink(name, root.join(format!("to-{name}"))).unwrap();
            symlink(root.join(name), root.join(format!("absolute-{name}"))).unwrap();
        }
        symlink("../sub/inside", root.join("repodata/link")).unwrap();
        std::fs::write(root.join(".treeinfo"), "").unwrap();
        symlink(".treeinfo", root.join("treeinfo")).unwrap();
        assert!(opens(dir.path(), Symlinks::Inside, "treeinfo"));
        assert!(!opens(dir.path(), Symlinks::Never, "treeinfo"));
        symlink("root/.createrepod", dir.path().join("back")).unwrap();
        symlink("../back", root.join("round")).unwrap();
        for symlinks in [Symlinks::Never, Symlinks::Inside, Symlinks::Anywhere] {
            for name in
                ["to-repodata", "to-.createrepod", "absolute-repodata", "absolute-.createrepod", "round"]
            {
                assert!(!opens(dir.path(), symlinks, name), "{symlinks:?} {name}");
                assert!(!opens(dir.path(), symlinks, &format!("{name}/file")), "{symlinks:?} {name}");
            }
            let root = Root::open(&root, symlinks).unwrap();
            assert!(root.read("repodata/file").is_ok() && root.read("repodata/link").is_err());
        }
    }

    #[test]
    fn a_default_acl_is_seen_whatever_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        assert!(!has_default_acl(&directory));
        // As setfacl -d -m o::- writes it: version 2, then tag, rights and who of each entry.
        let mut acl = vec![2, 0, 0, 0];
        for (tag, rights) in [(1_u8, 7_u8), (4, 5), (32, 0)] {
            acl.extend([tag, 0, rights, 0, 255, 255, 255, 255]);
        }
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::fsetxattr(&directory, "system.posix_acl_default", &acl, flags).is_err() {
            // This file system has none.
            return;
        }
        assert!(has_default_acl(&directory));
        let root = Root::open(dir.path(), Symlinks::Inside).unwrap();
        root.make_directories(&["a"], 0o755).unwrap();
        assert_eq!(dir.path().join("a").metadata().unwrap().mode() & 0o777, 0o750);
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
