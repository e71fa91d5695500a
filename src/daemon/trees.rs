//! Finds the directories that `[tree.NAME]` means, and hears when they come and go.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::EventKind;
use tokio::time::{Instant, timeout_at};
use tracing::error;

use super::directories::DirectoryWatch;
use crate::config::tree::{TreeConfig, Words, together};
use crate::config::{Config, RepositoryConfig};

/// `mkdir -p` and rsync make several directories, one after the other.
const QUIET: Duration = Duration::from_millis(100);
/// How often is looked where changes are made on another machine (a network file system).
const LOOK: Duration = Duration::from_secs(60);

/// The trees of the configuration, as they were seen last.
pub struct Trees {
    /// Over the directories above the repositories.
    watch: DirectoryWatch,
    /// When is looked whatever was heard.
    next: Instant,
    /// What could not be said to be gone: the repositories of a tree whose directories cannot be listed.
    last: Vec<(String, Vec<RepositoryConfig>)>,
    /// Said already.
    told: BTreeSet<String>,
}

impl Trees {
    pub fn new() -> Self {
        Self {
            watch: DirectoryWatch::new("new repositories in trees", QUIET, |event| concerns(event.kind)),
            next: Instant::now() + LOOK,
            last: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// Every repository of the configuration: the named ones, and what the trees hold now. Reads directories.
    pub fn look(&mut self, config: &Config) -> Vec<RepositoryConfig> {
        self.next = Instant::now() + LOOK;
        let mut above = BTreeSet::new();
        let mut last = std::mem::take(&mut self.last);
        let mut troubles = Vec::new();
        for tree in &config.trees {
            let name = tree.template.name.clone();
            let found = match find(tree, &mut above, &mut troubles) {
                Ok(found) => found,
                // A file system that is not mounted takes no repository away: each says itself what it misses.
                Err(trouble) => {
                    troubles.push(trouble);
                    let before = last.iter().position(|(other, _)| *other == name);
                    before.map(|i| last.swap_remove(i).1).unwrap_or_default()
                }
            };
            self.last.push((name, found));
        }
        self.watch.follow(above);
        let found = self.last.iter().flat_map(|(_, found)| found.clone()).collect();
        let (repositories, left_out) = together(&config.repositories, found, &canonical);
        troubles.extend(left_out);
        for trouble in &troubles {
            if !self.told.contains(trouble) {
                error!("{trouble}");
            }
        }
        self.told = troubles.into_iter().collect();
        repositories
    }

    /// Ends when it is time to look again. May be dropped and called again.
    pub async fn changed(&mut self) {
        // Nothing heard in all that time is a reason to look as well.
        let _ = timeout_at(self.next, self.watch.changed()).await;
    }
}

/// Every repository of the configuration, those in trees too, for who looks once; and what is in the way. Reads
/// directories.
pub fn repositories_now(config: &Config) -> (Vec<RepositoryConfig>, Vec<String>) {
    let (mut found, mut troubles) = (Vec::new(), Vec::new());
    for tree in &config.trees {
        match find(tree, &mut BTreeSet::new(), &mut troubles) {
            Ok(here) => found.extend(here),
            Err(trouble) => troubles.push(trouble),
        }
    }
    let (repositories, left_out) = together(&config.repositories, found, &canonical);
    troubles.extend(left_out);
    (repositories, troubles)
}

/// The directories of a tree that match its pattern, as repositories; on failure why nothing can be said of them.
fn find(
    tree: &TreeConfig,
    above: &mut BTreeSet<PathBuf>,
    troubles: &mut Vec<String>,
) -> Result<Vec<RepositoryConfig>, String> {
    let TreeConfig { template: RepositoryConfig { name, path, .. }, .. } = tree;
    let mut walk = Walk { tree, found: Vec::new(), above, troubles };
    walk.enter(path, String::new(), &Words::new(), 0).map_err(|error| {
        format!("cannot look for repositories in tree {name:?}: {}: {error}", path.display())
    })?;
    Ok(walk.found)
}

fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether directories may have come or gone.
fn concerns(kind: EventKind) -> bool {
    use notify::event::ModifyKind;
    matches!(
        kind,
        EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Any
            | EventKind::Other
    )
}

/// One walk through a tree, as deep as its pattern.
struct Walk<'a> {
    tree: &'a TreeConfig,
    found: Vec<RepositoryConfig>,
    above: &'a mut BTreeSet<PathBuf>,
    troubles: &'a mut Vec<String>,
}

impl Walk<'_> {
    /// Fails only where nothing can be said about the tree.
    fn enter(&mut self, directory: &Path, below: String, words: &Words, level: usize) -> io::Result<()> {
        self.above.insert(directory.to_owned());
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // Not through links: `latest -> 9` would be a second repository in the same directory.
            if entry.file_type()?.is_dir()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        names.sort();
        for name in names {
            let Some(here) = self.tree.pattern.matches(level, &name) else { continue };
            let words = [words.as_slice(), &here].concat();
            let path = directory.join(&name);
            let below = if below.is_empty() { name } else { format!("{below}/{name}") };
            if level + 1 == self.tree.pattern.depth() {
                match self.tree.repository(&below, &words) {
                    Ok(repository) => self.found.push(repository),
                    Err(why) => {
                        self.troubles.push(format!("{} becomes no repository: {why}", path.display()));
                    }
                }
                continue;
            }
            match self.enter(&path, below, &words, level + 1) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::Pattern;

    fn config(root: &Path, named: Vec<RepositoryConfig>) -> Config {
        let template = RepositoryConfig {
            url: "/el/{release}/{arch}/".into(),
            state_dir: "/var/lib/createrepod/repositories/el".into(),
            ..RepositoryConfig::new("el", root)
        };
        let tree = TreeConfig { pattern: Pattern::parse("{release}/{arch}").unwrap(), template };
        Config { trees: vec![tree], repositories: named, ..Config::default() }
    }

    fn names(repositories: &[RepositoryConfig]) -> Vec<&str> {
        repositories.iter().map(|repository| repository.name.as_str()).collect()
    }

    #[tokio::test]
    async fn directories_that_match_are_repositories_and_new_ones_are_heard_of() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("el");
        for below in ["9/x86_64/Packages", "8", ".hidden/x86_64"] {
            fs::create_dir_all(root.join(below)).unwrap();
        }
        fs::write(root.join("9/README"), "").unwrap();
        std::os::unix::fs::symlink("9", root.join("latest")).unwrap();
        let config = config(&root, Vec::new());
        let mut trees = Trees::new();
        assert_eq!(names(&trees.look(&config)), ["el-9-x86_64"]);
        fs::create_dir(root.join("8/s390x")).unwrap();
        trees.changed().await;
        assert_eq!(names(&trees.look(&config)), ["el-8-s390x", "el-9-x86_64"]);
        fs::remove_dir(root.join("8/s390x")).unwrap();
        trees.changed().await;
        assert_eq!(names(&trees.look(&config)), ["el-9-x86_64"]);
        // Not mounted: what was there is not gone.
        fs::rename(&root, place.path().join("elsewhere")).unwrap();
        assert_eq!(names(&trees.look(&config)), ["el-9-x86_64"]);
    }

    #[test]
    fn a_named_repository_keeps_settings_of_its_own() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("9/x86_64")).unwrap();
        fs::create_dir_all(place.path().join("9/s390x")).unwrap();
        let named = RepositoryConfig::new("mine", place.path().join("9/x86_64"));
        let mut trees = Trees::new();
        let config = config(place.path(), vec![named]);
        assert_eq!(names(&trees.look(&config)), ["el-9-s390x", "mine"]);
        assert_eq!(names(&repositories_now(&config).0), ["el-9-s390x", "mine"]);
    }

    #[test]
    fn a_tree_that_cannot_be_looked_at_is_named_and_hides_no_other() {
        let named = RepositoryConfig::new("mine", "/nonexistent/mine");
        let (repositories, troubles) = repositories_now(&config(Path::new("/nonexistent/tree"), vec![named]));
        assert_eq!(names(&repositories), ["mine"]);
        assert!(
            troubles[0].starts_with("cannot look for repositories in tree \"el\": /nonexistent/tree: "),
            "{troubles:?}"
        );
    }
}
