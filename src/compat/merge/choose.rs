//! Which of the repositories' packages stand in the merged one: a decision, and nothing but.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, hash_map::Entry};

use rpm_version::Evr;

use crate::compat::spool::Place;
use crate::repodata::element::Facts;

/// What to do with several packages of one name and architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The first that comes.
    First,
    /// The one whose file is newest.
    Newest,
    /// The one with the highest epoch, version and release.
    Highest,
    /// One of every NEVRA.
    All,
    /// All that were built from the newest source package of the first repository that has any of that name.
    Koji,
    /// Just everything.
    Everything,
}

/// A package of one of the repositories.
pub struct Candidate {
    pub facts: Facts,
    /// Its texts.
    pub places: Vec<Place>,
    /// Which repository had it, from 0.
    pub repository: usize,
    /// Of an architecture that is wanted.
    pub wanted: bool,
}

impl Candidate {
    fn evr(&self) -> Evr<'_> {
        Evr::new(&*self.facts.epoch, &*self.facts.version, &*self.facts.release)
    }

    /// The name and version of the package it was built from; `None` for what does not say.
    fn source(&self) -> Option<(&str, Evr<'_>)> {
        let stem = self.facts.source_rpm.strip_suffix(".rpm").unwrap_or(&self.facts.source_rpm);
        if stem.is_empty() {
            return None;
        }
        let stem = stem.rsplit_once('.').map_or(stem, |(rest, _arch)| rest);
        let parts = stem.rsplit_once('-').and_then(|(rest, release)| {
            let (name, version) = rest.rsplit_once('-')?;
            Some((name, version, release))
        });
        // What is no name-version-release stands for itself.
        let (name, version, release) = parts.unwrap_or((stem, "", ""));
        Some((name, Evr::new("", version, release)))
    }

    /// What pkgorigins calls it.
    pub fn nvra(&self) -> String {
        let Facts { name, version, release, arch, .. } = &self.facts;
        format!("{name}-{version}-{release}.{arch}")
    }
}

/// Decides for all at once; `candidates` stand in the order of the repositories. Returns indices of the packages
/// that are published, in the order of publication.
pub fn choose(candidates: &[Candidate], rule: Rule, blocked: &HashSet<String>) -> Vec<usize> {
    let sources = match rule {
        Rule::Koji => sources(candidates),
        _ => HashMap::new(),
    };
    let mut chosen: Vec<usize> = Vec::new();
    // Where the package of a key stands in `chosen`.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (at, candidate) in candidates.iter().enumerate().filter(|(_, candidate)| candidate.wanted) {
        if let Some((name, _)) = candidate.source()
            && (blocked.contains(name) || sources.get(name).is_some_and(|best| !is_from(candidate, best)))
        {
            continue;
        }
        let Facts { name, arch, .. } = &candidate.facts;
        let key = match rule {
            Rule::First | Rule::Newest | Rule::Highest => format!("{name}.{arch}"),
            Rule::All => candidate.facts.nevra(),
            Rule::Koji => candidate.nvra(),
            Rule::Everything => {
                chosen.push(at);
                continue;
            }
        };
        match seen.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(chosen.len());
                chosen.push(at);
            }
            Entry::Occupied(slot) => {
                let standing = &mut chosen[*slot.get()];
                if is_better(rule, candidate, &candidates[*standing]) {
                    *standing = at;
                }
            }
        }
    }
    // Stable: packages of one place stay in the order of their repositories.
    chosen.sort_by(|&a, &b| {
        let key = |at: usize| (&candidates[at].facts.name, &candidates[at].facts.href);
        key(a).cmp(&key(b))
    });
    chosen
}

fn is_better(rule: Rule, new: &Candidate, standing: &Candidate) -> bool {
    match rule {
        Rule::Newest => new.facts.file_time > standing.facts.file_time,
        Rule::Highest => new.evr().cmp(&standing.evr()) == Ordering::Greater,
        _ => false,
    }
}

/// Of every source package's name, a package built from the version that counts: the newest that the first
/// repository with any of that name has, whatever its architecture.
fn sources(candidates: &[Candidate]) -> HashMap<&str, &Candidate> {
    let mut best: HashMap<&str, &Candidate> = HashMap::new();
    for candidate in candidates {
        let Some((name, version)) = candidate.source() else { continue };
        match best.entry(name) {
            Entry::Vacant(slot) => {
                slot.insert(candidate);
            }
            Entry::Occupied(mut slot) => {
                let standing = *slot.get();
                let is_newer = standing.source().is_some_and(|(_, standing)| version > standing);
                if standing.repository == candidate.repository && is_newer {
                    slot.insert(candidate);
                }
            }
        }
    }
    best
}

fn is_from(candidate: &Candidate, best: &Candidate) -> bool {
    candidate.facts.source_rpm == best.facts.source_rpm
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(repository: usize, name: &str, version: &str, source: &str) -> Candidate {
        let facts = Facts {
            name: name.into(),
            arch: "x86_64".into(),
            version: version.into(),
            release: "1".into(),
            href: format!("{name}-{version}-1.x86_64.rpm"),
            source_rpm: source.into(),
            file_time: version.parse().unwrap(),
            ..Facts::default()
        };
        Candidate { facts, places: Vec::new(), repository, wanted: true }
    }

    fn named(candidates: &[Candidate], rule: Rule, blocked: &[&str]) -> Vec<String> {
        let blocked = blocked.iter().map(|&name| name.to_owned()).collect();
        let chosen = choose(candidates, rule, &blocked);
        chosen
            .iter()
            .map(|&at| format!("{} {}", candidates[at].repository, candidates[at].facts.href))
            .collect()
    }

    #[test]
    fn of_one_name_and_architecture_the_rule_says_which() {
        let all = [
            candidate(0, "b", "9", ""),
            candidate(0, "a", "2", ""),
            candidate(1, "b", "10", ""),
            candidate(1, "a", "1", ""),
            candidate(1, "a", "2", ""),
        ];
        let (a, b) = ("0 a-2-1.x86_64.rpm", "0 b-9-1.x86_64.rpm");
        assert_eq!(named(&all, Rule::First, &[]), [a, b]);
        assert_eq!(named(&all, Rule::Highest, &[]), [a, "1 b-10-1.x86_64.rpm"]);
        assert_eq!(named(&all, Rule::Newest, &[]), [a, "1 b-10-1.x86_64.rpm"]);
        assert_eq!(named(&all, Rule::All, &[]), ["1 a-1-1.x86_64.rpm", a, "1 b-10-1.x86_64.rpm", b]);
        assert_eq!(named(&all, Rule::Everything, &[]).len(), 5);
    }

    #[test]
    fn koji_takes_what_the_first_repository_has_built_last() {
        let all = [
            candidate(0, "lib", "1", "s-1-1.src.rpm"),
            candidate(0, "lib", "2", "s-2-1.src.rpm"),
            candidate(0, "odd", "1", ""),
            candidate(1, "lib", "3", "s-3-1.src.rpm"),
            candidate(1, "extra", "2", "s-2-1.src.rpm"),
            candidate(1, "other", "1", "t-1-1.src.rpm"),
        ];
        let [extra, lib, odd, other] = [
            "1 extra-2-1.x86_64.rpm",
            "0 lib-2-1.x86_64.rpm",
            "0 odd-1-1.x86_64.rpm",
            "1 other-1-1.x86_64.rpm",
        ];
        assert_eq!(named(&all, Rule::Koji, &[]), [extra, lib, odd, other]);
        assert_eq!(named(&all, Rule::Koji, &["s"]), [odd, other]);
    }

    #[test]
    fn a_source_package_counts_whatever_is_wanted_of_it() {
        let mut all = [candidate(0, "lib", "1", "s-1-1.src.rpm"), candidate(1, "lib", "2", "s-2-1.src.rpm")];
        all[0].wanted = false;
        assert_eq!(named(&all, Rule::Koji, &[]), [""; 0]);
        assert_eq!(named(&all, Rule::First, &[]).len(), 1);
    }
}
