//! Which of a package's requirements primary.xml repeats: createrepo_c's rules.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::primary::{SENSE_PRE, comparison, is_primary, split_evr};
use crate::package::{Dependency, Package};

/// Before there were recommendations, they were requirements with this flag.
const SENSE_MISSINGOK: u32 = 1 << 19;

/// A package's requirements, told apart.
pub struct Filtered<'p, 'h> {
    /// Those a client needs to see.
    pub requires: Vec<&'p Dependency<'h>>,
    /// Those that are recommendations in truth.
    pub recommends: Vec<&'p Dependency<'h>>,
}

/// Drops what says nothing to a client: features of rpm itself, what the package brings along,
/// repetitions, and all versions of the C library but the highest.
pub fn filter<'p, 'h>(package: &'p Package<'h>) -> Filtered<'p, 'h> {
    // By reference, for a package may have hundreds of thousands.
    let provided: HashSet<_> = package.provides.iter().map(Said).collect();
    let own_files = own_files(package);
    // createrepo_c compares with the last requirement of that name only, so `a b a` stays as it is.
    let mut last_of_name: HashMap<&str, u32> = HashMap::with_capacity(package.requires.len());
    let mut requires: Vec<&Dependency<'_>> = Vec::with_capacity(package.requires.len());
    let mut recommends = Vec::new();
    let mut libc: Option<(_, &Dependency<'_>)> = None;
    for dependency in &package.requires {
        let name = &*dependency.name;
        let provides_itself = own_files.contains(name) || provided.contains(&Said(dependency));
        if split_evr(&dependency.evr).is_none() || name.starts_with("rpmlib(") || provides_itself {
            continue;
        }
        let last = last_of_name.get(name).and_then(|at| requires.get(*at as usize));
        // Before which of its scripts a package wants it is no difference.
        let is_pre = |dependency: &Dependency<'_>| dependency.flags & SENSE_PRE != 0;
        if last.is_some_and(|last| Said(last) == Said(dependency) && is_pre(last) == is_pre(dependency)) {
            continue;
        }
        if dependency.flags & SENSE_MISSINGOK != 0 {
            recommends.push(dependency);
            continue;
        }
        if name.starts_with("libc.so.6") {
            // One of them implies the others.
            let version = libc_version(name);
            if libc.as_ref().is_none_or(|(highest, _)| version > *highest) {
                libc = Some((version, dependency));
            }
            continue;
        }
        // A header has fewer entries than that.
        last_of_name.insert(name, u32::try_from(requires.len()).unwrap_or(u32::MAX));
        requires.push(dependency);
    }
    requires.extend(libc.map(|(_, dependency)| dependency));
    Filtered { requires, recommends }
}

/// A dependency, equal to those that say the same to a client.
struct Said<'p, 'h>(&'p Dependency<'h>);

impl Said<'_, '_> {
    fn key(&self) -> (&str, Option<&'static str>, &str) {
        (&self.0.name, comparison(self.0.flags), &self.0.evr)
    }
}

impl PartialEq for Said<'_, '_> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Said<'_, '_> {}

impl std::hash::Hash for Said<'_, '_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// The package's files in primary.xml, if any requirement could be one.
fn own_files<'p>(package: &'p Package<'_>) -> HashSet<Cow<'p, str>> {
    if !package.requires.iter().any(|dependency| dependency.name.starts_with('/')) {
        return HashSet::new();
    }
    package.files.iter().filter(|file| is_primary(file)).map(|file| file.path()).collect()
}

/// The longest version of a C library that is compared whole, so that comparing many stays cheap.
const LONGEST_VERSION: usize = 100;

/// Orders requirements of the C library: plain ones first, then by the version in the parentheses.
fn libc_version(name: &str) -> (u8, rpm_version::Evr<'_>) {
    let version = |text| rpm_version::Evr::new("", text, "");
    let Some((_, inner)) = name.split_once('(') else { return (0, version("")) };
    match inner.split_once(')') {
        None => (1, version("")),
        Some(("", _)) => (2, version("")),
        Some((inner, _)) => {
            let text = inner.trim_start_matches(|c: char| !c.is_ascii_digit());
            let end = text.char_indices().nth(LONGEST_VERSION).map_or(text.len(), |(at, _)| at);
            (3, version(&text[..end]))
        }
    }
}
