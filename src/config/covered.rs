//! Directories of a repository that nobody can fetch from, because another repository is served at their URL.

use super::RepositoryConfig;
use crate::package::Location;

/// A directory whose URL belongs to another repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The directory, in the repository whose packages are covered.
    pub directory: Location,
    /// The name of the repository that is served at its URL.
    pub by: String,
}

/// Fills [`RepositoryConfig::covered`] of each repository, from the URLs of all of them.
///
/// With `/el/` and `/el/9/`, the directory `9` of the first is covered by the second: a request below `/el/9/` goes to the
/// repository with the longest URL.
pub fn mark(repositories: &mut [RepositoryConfig]) {
    let mut urls: Vec<(String, String)> =
        repositories.iter().map(|repository| (repository.url.clone(), repository.name.clone())).collect();
    urls.sort();
    for repository in repositories {
        let url = &repository.url;
        // Those that begin with this URL stand side by side in the order.
        let first = urls.partition_point(|(other, _)| other <= url);
        repository.covered = urls[first..]
            .iter()
            .map_while(|(other, by)| Some((other.strip_prefix(url.as_str())?, by)))
            .filter_map(|(below, by)| {
                let directory = Location::parse(below.trim_end_matches('/')).ok()?;
                Some(Covered { directory, by: by.clone() })
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_covered_by_the_repository_at_its_url() {
        let urls =
            [("all", "/"), ("el", "/el/"), ("nine", "/el/9/"), ("arch", "/el/9/x86_64/"), ("els", "/els/")];
        let mut repositories: Vec<_> = urls
            .iter()
            .map(|(name, url)| RepositoryConfig { url: (*url).into(), ..RepositoryConfig::new(name, "/x") })
            .collect();
        mark(&mut repositories);
        let covered = |at: usize| {
            let one = |covered: &Covered| format!("{} by {}", covered.directory, covered.by);
            repositories[at].covered.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(covered(0), ["el by el", "el/9 by nine", "el/9/x86_64 by arch", "els by els"]);
        assert_eq!(covered(1), ["9 by nine", "9/x86_64 by arch"]);
        assert_eq!(covered(2), ["x86_64 by arch"]);
        assert!(covered(3).is_empty() && covered(4).is_empty());
    }
}
