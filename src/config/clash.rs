//! What repositories may not have in common.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::RepositoryConfig;
use super::problem::{Origin, Problems};

/// No two repositories may share a name, a URL, or a piece of the tree; nor may state lie in a tree.
pub fn refuse_clashes(
    repositories: &[(Origin, RepositoryConfig)],
    state_dir: (&Origin, &Path),
    canonical: &dyn Fn(&Path) -> PathBuf,
    problems: &mut Problems,
) {
    let mut names = HashMap::new();
    let mut urls = HashMap::new();
    let mut paths = HashMap::new();
    for (origin, this) in repositories {
        let name = &this.name;
        if let Some(first) = names.insert(name, origin) {
            problems.add(origin.clone(), format!("repository {name:?} is already there, at {first}"));
            continue;
        }
        if let Some((other, first)) = urls.insert(&this.url, (name, origin)) {
            let url = &this.url;
            problems.add(
                origin.clone(),
                format!("repository {name:?} has the same url {url:?} as {other:?} at {first}"),
            );
        }
        // An empty path is one whose problem is reported already.
        if this.path.as_os_str().is_empty() {
            continue;
        }
        let path = &this.path;
        if let Some((other, first)) = paths.insert(canonical(path), (name, origin)) {
            problems.add(
                origin.clone(),
                format!("repository {name:?} has the same path {} as {other:?} at {first}", path.display()),
            );
        }
    }
    for (path, (name, origin)) in &paths {
        if let Some((other, first)) = path.ancestors().skip(1).find_map(|above| paths.get(above)) {
            problems.add(
                (*origin).clone(),
                format!(
                    "repository {name:?}: {} lies inside {other:?} at {first}; give each a tree of its own",
                    path.display()
                ),
            );
        }
    }
    let (origin, state_dir) = state_dir;
    let state_dir = canonical(state_dir);
    if let Some((tree, (name, _))) = state_dir.ancestors().find_map(|above| paths.get_key_value(above))
        && !state_dir.starts_with(tree.join(".createrepod/state"))
    {
        problems.add(
            origin.clone(),
            format!(
                "dir: {} lies inside repository {name:?}; choose a place outside its tree",
                state_dir.display()
            ),
        );
    }
}
