//! Links to packages of the same tree: what happens to the target happens to the link.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::place::Target;
use crate::package::Location;

/// Links by what they lead to. May know links that are gone; telling of those does no harm.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// By target; a link that leads on through other links is here more than once.
    by_target: BTreeMap<Location, BTreeSet<Location>>,
}

impl Links {
    /// Takes note of what `link` leads to.
    pub fn remember(&mut self, target: Target, link: &str) {
        let Ok(link) = Location::parse(link) else { return };
        for target in target.at.into_iter().flatten() {
            self.add(target, link.clone());
        }
    }

    fn add(&mut self, target: Location, link: Location) {
        self.by_target.entry(target).or_default().insert(link);
    }

    /// Whether a link leads straight to this place.
    pub fn lead_to(&self, place: &Location) -> bool {
        self.by_target.contains_key(place)
    }

    /// The links to this file, or to anything below this directory, and the links to those.
    pub fn to(&self, place: &Location) -> BTreeSet<Location> {
        let mut found = BTreeSet::new();
        if self.by_target.is_empty() {
            return found;
        }
        let mut to_do = vec![place.clone()];
        while let Some(place) = to_do.pop() {
            for link in self.straight_to(&place) {
                if found.insert(link.clone()) {
                    to_do.push(link.clone());
                }
            }
        }
        found.remove(place);
        found
    }

    fn straight_to<'a>(&'a self, place: &'a Location) -> impl Iterator<Item = &'a Location> {
        // In byte order all that begins with the place's text lies together, but "a-b" before "a/b".
        let from = (Bound::Included(place), Bound::Unbounded);
        self.by_target
            .range::<Location, _>(from)
            .take_while(|(target, _)| target.as_str().starts_with(place.as_str()))
            .filter(|(target, _)| target.is_within(place))
            .flat_map(|(_, links)| links)
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
        let to =
            |links: &Links, place| links.to(&loc(place)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(to(&links, "a"), ["l0", "l2", "l3", "l4"]);
        assert_eq!(to(&links, "a/x.rpm"), ["l2", "l3"]);
        assert_eq!(to(&links, "a/y"), ["l4"]);
        assert!(to(&links, "b").is_empty());

        links.add(loc("l2"), loc("m"));
        links.add(loc("m/below"), loc("n"));
        links.add(loc("n"), loc("a/y"));
        assert_eq!(
            to(&links, "a/x.rpm"),
            ["a/y", "l2", "l3", "l4", "m", "n"],
            "links to links, and round again"
        );
    }
}
