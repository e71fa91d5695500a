//! Where a tree stands: whether it is there, and whether inotify can see what happens on it.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Means;
use super::mounts::Mounts;
use crate::config::Symlinks;

/// The ground a tree stands on.
#[derive(Debug)]
pub(super) struct Ground {
    pub root: PathBuf,
    /// Where its metadata lies: in it, or elsewhere.
    pub repodata: PathBuf,
    /// The root, free of links.
    pub real: PathBuf,
    pub symlinks: Symlinks,
    /// The network file system that the whole tree lies on.
    network: Option<String>,
    /// Where network file systems are mounted in the tree; they are not entered.
    pub networks: BTreeSet<PathBuf>,
    /// The symbolic links on the way to the root, each with the directory it lies in: who switches one switches the tree.
    pub links: Vec<(PathBuf, OsString)>,
}

/// The most links that are followed on the way to a root; the kernel follows no more either.
const MOST_LINKS: usize = 40;

impl Ground {
    pub fn new(root: PathBuf, repodata: PathBuf, symlinks: Symlinks) -> Self {
        Self {
            real: root.clone(),
            root,
            repodata,
            symlinks,
            network: None,
            networks: BTreeSet::new(),
            links: Vec::new(),
        }
    }

    /// Finds out where the tree stands now; an error says why no watch can be placed on it.
    pub fn stand(&mut self, mounts: &Mounts) -> Result<(), Means> {
        let missing = |error: io::Error| Means::Missing {
            why: format!("{error}; it is looked for every few seconds: mount or create it"),
        };
        self.networks.clear();
        self.links.clear();
        // By its text first: a file server may be down, and asking it would hang.
        self.network = mounts.network(&self.root).map(str::to_owned);
        if self.network.is_some() {
            return Err(self.means());
        }
        self.real = fs::canonicalize(&self.root).map_err(missing)?;
        self.network = mounts.network(&self.real).map(str::to_owned);
        if self.network.is_some() {
            return Err(self.means());
        }
        if !fs::metadata(&self.real).map_err(missing)?.is_dir() {
            return Err(missing(io::ErrorKind::NotADirectory.into()));
        }
        self.networks = mounts.networks_below(&self.real);
        self.links = links_along(&self.root);
        Ok(())
    }

    /// Whether the links on the way lead where they led when this was found out.
    pub fn leads_as_before(&self) -> bool {
        self.links.is_empty() || fs::canonicalize(&self.root).is_ok_and(|real| real == self.real)
    }

    /// Whether the tree, or a part of it, lies on a network file system.
    pub fn is_far(&self) -> bool {
        self.network.is_some() || !self.networks.is_empty()
    }

    /// By what means a tree that stands here, and whose watches could be placed, is watched.
    pub fn means(&self) -> Means {
        const BLIND: &str = "where inotify does not see what other hosts do";
        if let Some(kind) = &self.network {
            return Means::Polling { why: format!("it is on a network file system ({kind}), {BLIND}") };
        }
        match self.networks.first() {
            Some(point) => Means::Polling {
                why: format!("a network file system is mounted in it, at {}, {BLIND}", point.display()),
            },
            None => Means::Inotify,
        }
    }
}

/// The links on the way to `path` (absolute).
fn links_along(path: &Path) -> Vec<(PathBuf, OsString)> {
    let parts = |path: &Path| path.components().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let (mut links, mut done) = (Vec::new(), PathBuf::new());
    let mut to_do: VecDeque<OsString> = parts(path).into();
    while let Some(part) = to_do.pop_front() {
        if part == ".." {
            done.pop();
            continue;
        }
        let here = done.join(&part);
        match fs::read_link(&here) {
            Ok(target) if links.len() < MOST_LINKS => {
                links.push((done.clone(), part));
                // An absolute one begins with the root, which takes the place of what is before it.
                parts(&target).into_iter().rev().for_each(|part| to_do.push_front(part));
            }
            _ => done = here,
        }
    }
    links
}

pub(super) fn limit_reached() -> Means {
    let now = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap_or_default();
    let now: u64 = now.trim().parse().unwrap_or(0);
    let more = now.saturating_mul(2).max(524_288);
    let why = format!(
        "the limit on watched directories is reached (fs.inotify.max_user_watches is {now}); \
         raise it: sysctl fs.inotify.max_user_watches={more}, and a line in /etc/sysctl.d to keep it"
    );
    Means::Polling { why }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn stand(root: &Path, mounts: &str) -> (Ground, Result<(), Means>) {
        let mut ground = Ground::new(root.into(), Path::new(root).join("repodata"), Symlinks::Inside);
        let stands = ground.stand(&Mounts::from_text(mounts));
        (ground, stands)
    }

    fn is_polled(means: &Means, because: &str) -> bool {
        matches!(means, Means::Polling { why } if why.contains(because))
    }

    #[test]
    fn a_tree_on_a_network_file_system_is_polled_also_behind_a_link() {
        let dir = TempDir::new().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(real.join("nfs")).unwrap();
        symlink("nfs", real.join("link")).unwrap();
        let mounts =
            format!("1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {}/nfs rw - nfs4 h:/x rw\n", real.display());
        for name in ["nfs", "link"] {
            let (ground, stands) = stand(&real.join(name), &mounts);
            assert!(is_polled(&stands.unwrap_err(), "(nfs4)"), "{name}");
            assert!(ground.is_far());
        }
        // Without asking the server: this one does not even exist.
        let gone =
            format!("1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {}/gone rw - cifs h:/x rw\n", real.display());
        assert!(is_polled(&stand(&real.join("gone"), &gone).1.unwrap_err(), "(cifs)"));
    }

    #[test]
    fn the_links_on_the_way_are_found_wherever_they_are() {
        let dir = TempDir::new().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(real.join("r1/el9")).unwrap();
        symlink("r1", real.join("current")).unwrap();
        symlink(real.join("current"), real.join("absolute")).unwrap();
        symlink("../r1/../r1/el9", real.join("r1/up")).unwrap();
        let names = |path: &str| {
            let found = links_along(&real.join(path)).into_iter();
            found.map(|(at, name)| at.strip_prefix(&real).unwrap().join(name)).collect::<Vec<_>>()
        };
        assert!(names("r1/el9").is_empty());
        assert_eq!(names("current/el9"), [Path::new("current")]);
        assert_eq!(names("absolute/up"), ["absolute", "current", "r1/up"].map(Path::new));
        symlink("loop", real.join("loop")).unwrap();
        assert_eq!(names("loop").len(), MOST_LINKS);
    }

    #[test]
    fn a_tree_with_a_network_file_system_in_it_is_watched_and_polled() {
        let dir = TempDir::new().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap();
        let mounts =
            format!("1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / {}/far rw - nfs4 h:/x rw\n", real.display());
        let (ground, stands) = stand(&real, &mounts);
        assert_eq!(stands, Ok(()));
        assert!(is_polled(&ground.means(), "/far") && ground.networks.contains(&real.join("far")));
    }

    #[test]
    fn a_local_tree_is_watched_and_a_missing_one_is_missing() {
        let dir = TempDir::new().unwrap();
        let (ground, stands) = stand(dir.path(), "1 0 0:1 / / rw - ext4 x rw\n");
        assert_eq!((stands, ground.means(), ground.is_far()), (Ok(()), Means::Inotify, false));
        let (_, stands) = stand(&dir.path().join("missing"), "");
        assert!(matches!(stands, Err(Means::Missing { .. })));
        fs::write(dir.path().join("file"), "").unwrap();
        let (_, stands) = stand(&dir.path().join("file"), "");
        assert!(matches!(stands, Err(Means::Missing { .. })));
    }
}
