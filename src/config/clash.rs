//! What repositories may not have in common.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::RepositoryConfig;
use super::problem::{Origin, Problems};
use super::tree::TreeConfig;

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
    refuse_metadata_clashes(repositories, &paths, canonical, problems);
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

/// Trees of repositories share nothing either; only a repository that is named may lie in one.
pub fn refuse_tree_clashes(
    trees: &[(Origin, TreeConfig)],
    repositories: &[(Origin, RepositoryConfig)],
    (state_origin, state_dir): (&Origin, &Path),
    canonical: &dyn Fn(&Path) -> PathBuf,
    problems: &mut Problems,
) {
    let state_dir = canonical(state_dir);
    for (i, (origin, this)) in trees.iter().enumerate() {
        let RepositoryConfig { name, path, .. } = &this.template;
        if path.as_os_str().is_empty() {
            continue;
        }
        let real = canonical(path);
        for (first, other) in &trees[..i] {
            let other_real = canonical(&other.template.path);
            if other.template.name == *name {
                problems.add(origin.clone(), format!("tree {name:?} is already there, at {first}"));
            } else if real.starts_with(&other_real) || other_real.starts_with(&real) {
                let other = &other.template.name;
                problems.add(
                    origin.clone(),
                    format!(
                        "tree {name:?}: {} lies inside or around tree {other:?} at {first}",
                        path.display()
                    ),
                );
            }
        }
        for (first, repository) in repositories {
            if !repository.path.as_os_str().is_empty() && real.starts_with(canonical(&repository.path)) {
                let other = &repository.name;
                problems.add(
                    origin.clone(),
                    format!("tree {name:?}: {} lies inside repository {other:?} at {first}", path.display()),
                );
            }
        }
        if state_dir.starts_with(&real) {
            problems.add(
                state_origin.clone(),
                format!("dir: {} lies inside tree {name:?}; choose a place outside it", state_dir.display()),
            );
        }
    }
}

/// Metadata outside the trees has a place of its own for each repository, outside every tree.
fn refuse_metadata_clashes(
    repositories: &[(Origin, RepositoryConfig)],
    paths: &HashMap<PathBuf, (&String, &Origin)>,
    canonical: &dyn Fn(&Path) -> PathBuf,
    problems: &mut Problems,
) {
    let mut places: HashMap<PathBuf, (&String, &Origin)> = HashMap::new();
    for (origin, this) in repositories {
        let Some(dir) = &this.metadata_dir else { continue };
        let (name, real) = (&this.name, canonical(dir));
        if let Some((other, first)) = places.insert(real.clone(), (name, origin)) {
            problems.add(
                origin.clone(),
                format!(
                    "repository {name:?} has the same metadata_dir {} as {other:?} at {first}",
                    dir.display()
                ),
            );
        }
        if let Some((other, _)) = real.ancestors().find_map(|above| paths.get(above)) {
            problems.add(
                origin.clone(),
                format!(
                    "metadata_dir: {} lies inside repository {other:?}; choose a place outside it",
                    dir.display()
                ),
            );
        }
    }
}
