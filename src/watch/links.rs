//! Links to packages of the same tree: what happens to the target happens to the link.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::package::Location;

/// Links by what they lead to. May know links that are gone; telling of those does no harm.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By target, free of links.
    by_target: BTreeMap<Location, BTreeSet<Location>>,
}

impl Links {
    pub fn add(&mut self, target: Location, link: Location) {
        self.by_target.entry(target).or_default().insert(link);
    }

    /// The links to this file, or to files below this directory.
    pub fn to(&self, place: &Location) -> Vec<Location> {
        if self.by_target.is_empty() {
            return Vec::new();
        }
        // In byte order all that begins with the place's text lies together, but "a-b" before "a/b".
        let from = (Bound::Included(place), Bound::Unbounded);
        self.by_target
            .range::<Location, _>(from)
            .take_while(|(target, _)| target.as_str().starts_with(place.as_str()))
            .filter(|(target, _)| target.is_within(place))
            .flat_map(|(_, links)| links.iter().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_a_file_and_below_a_directory_are_found() {
        let loc = |text| Location::parse(text).unwrap();
        let mut links = Links::default();
        for (target, link) in [
            ("a", "l0"),
            ("a-b/x.rpm", "l1"),
            ("a/x.rpm", "l2"),
            ("a/x.rpm", "l3"),
            ("a/y/z.rpm", "l4"),
            ("ab", "l5"),
        ] {
            links.add(loc(target), loc(link));
        }
        let to = |place| links.to(&loc(place)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(to("a"), ["l0", "l2", "l3", "l4"]);
        assert_eq!(to("a/x.rpm"), ["l2", "l3"]);
        assert_eq!(to("a/y"), ["l4"]);
        assert!(to("b").is_empty());
    }
}
