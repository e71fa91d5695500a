//! What is served: every repository under its URL, the broken ones too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{RepositoryConfig, WriteAccess};
use crate::repository::Handle;

/// The repositories as the doors see them. The daemon replaces it whole; every request reads it once.
#[derive(Default)]
pub struct Site {
    current: RwLock<Arc<Mounts>>,
}

/// One state of the [`Site`].
#[derive(Default)]
pub struct Mounts {
    /// Sorted by name.
    all: Vec<Mount>,
    /// By their URLs without the slash at the end.
    by_url: HashMap<String, usize>,
    /// Whether any of them is for this machine alone; asked by every request.
    is_local: bool,
}

/// One repository and its door.
#[derive(Clone)]
pub struct Mount {
    pub config: Arc<RepositoryConfig>,
    /// Or why it cannot be opened, in one line. It is tried again from time to time.
    pub door: Result<Handle, Arc<str>>,
}

impl Site {
    /// What is served now.
    pub fn now(&self) -> Arc<Mounts> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves these instead, from the next request on.
    pub fn replace(&self, mounts: Vec<Mount>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Mounts::new(mounts));
    }
}

impl Mounts {
    pub fn new(mut all: Vec<Mount>) -> Self {
        all.sort_by(|a, b| a.config.name.cmp(&b.config.name));
        let by_url =
            all.iter().enumerate().map(|(i, mount)| (bare(&mount.config.url).to_owned(), i)).collect();
        let is_local = all.iter().any(|mount| mount.config.write == WriteAccess::Local);
        Self { all, by_url, is_local }
    }

    /// All of them, by name.
    pub fn all(&self) -> &[Mount] {
        &self.all
    }

    /// Whether the server is for this machine alone, as it is without a configuration.
    pub fn is_local(&self) -> bool {
        self.is_local
    }

    /// The repository of this name.
    pub fn named(&self, name: &str) -> Option<&Mount> {
        let place = self.all.binary_search_by(|mount| mount.config.name.as_str().cmp(name)).ok()?;
        self.all.get(place)
    }

    /// The repository whose URL is the longest prefix of `path` (decoded, absolute), and what is left
    /// of the path. `/rpm` without its slash is no path in `/rpm/`.
    pub fn find<'p>(&self, path: &'p str) -> Option<(&Mount, &'p str)> {
        path.rmatch_indices('/')
            .find_map(|(slash, _)| Some((&self.all[*self.by_url.get(&path[..slash])?], &path[slash + 1..])))
    }

    /// The repository whose URL is `path` and a slash.
    pub fn without_slash(&self, path: &str) -> Option<&Mount> {
        self.by_url.get(path).map(|&i| &self.all[i])
    }
}

/// A URL without the slash at its end.
fn bare(url: &str) -> &str {
    url.strip_suffix('/').unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins() {
        let mount = |name: &str, url: &str| Mount {
            config: Arc::new(RepositoryConfig { url: url.into(), ..RepositoryConfig::new(name, "/x") }),
            door: Err("closed".into()),
        };
        let mounts = Mounts::new(vec![mount("b", "/el/9/"), mount("a", "/el/"), mount("c", "/rpm/")]);
        let find = |path| mounts.find(path).map(|(mount, rest)| (mount.config.name.as_str(), rest));
        assert_eq!(find("/el/9/x.rpm"), Some(("b", "x.rpm")));
        assert_eq!(find("/el/9/"), Some(("b", "")));
        assert_eq!(find("/el/9"), Some(("a", "9")));
        assert_eq!(find("/el/90/a/b"), Some(("a", "90/a/b")));
        assert_eq!(find("/el"), None);
        assert_eq!(find("/"), None);
        assert_eq!(find(""), None);
        let root = Mounts::new(vec![mount("r", "/")]);
        assert_eq!(root.find("/a/b").map(|(_, rest)| rest), Some("a/b"));
    }
}
