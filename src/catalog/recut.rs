//! Merges changed packages into the list of chunks, and says which chunks must be made again.
//!
//! The cut is a function of the final list alone (see `repodata::chunk`), so the result equals what a
//! full run would make: a chunk is kept only if it begins where a run begins, nothing in it goes,
//! and nothing comes in between.

use std::collections::{BTreeSet, VecDeque};
use std::vec;

use super::chunks::{Chunk, Key, Member};
use crate::repodata::chunk::{Cutter, GROUP};
use crate::repodata::{Fragments, KINDS, Span};

/// One package on its way into a chunk.
#[derive(Debug)]
pub struct Item {
    pub member: Member,
    pub text: Text,
}

/// Where a package's fragments are.
#[derive(Debug)]
pub enum Text {
    /// Rendered just now.
    Fresh(Fragments),
    /// In the file of pieces, as part of an earlier chunk.
    Kept([Span; KINDS]),
}

/// A place in the new list of chunks.
#[derive(Debug)]
pub enum Slot {
    Kept(Chunk),
    Made { items: Vec<Item>, closed: bool },
}

/// Reads the members of a chunk that has to be opened.
pub type Members<'a> = dyn FnMut(&Chunk) -> rusqlite::Result<Vec<Member>> + 'a;

/// The merge in progress. Packages come in order of publication; slots leave in the same order.
pub struct Recut {
    old: std::iter::Peekable<vec::IntoIter<Chunk>>,
    /// Members of the old chunk that is being taken apart, removed ones left out.
    opened: VecDeque<Item>,
    removed: BTreeSet<Key>,
    /// Set when nothing may be kept: the pieces were made with other settings.
    remake: bool,
    cutter: Cutter,
    /// Groups of the open run that stay as they are; they stand before `run`.
    groups: Vec<Chunk>,
    /// Packages since the last boundary, or since the last of `groups`.
    run: Vec<Item>,
}

impl Recut {
    /// `removed`: keys that are in `old` and must not be in the result.
    pub fn new(old: Vec<Chunk>, removed: BTreeSet<Key>, remake: bool) -> Self {
        Self {
            old: old.into_iter().peekable(),
            opened: VecDeque::new(),
            removed,
            remake,
            cutter: Cutter::default(),
            groups: Vec::new(),
            run: Vec::new(),
        }
    }

    /// Takes a package that is new at its place; keys must ascend from call to call.
    pub fn insert(&mut self, item: Item, members: &mut Members<'_>) -> rusqlite::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.pass_before(Some(&item.member.key), &mut slots, members)?;
        self.take(item, &mut slots, members)?;
        Ok(slots)
    }

    /// Ends the list.
    pub fn finish(mut self, members: &mut Members<'_>) -> rusqlite::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.pass_before(None, &mut slots, members)?;
        slots.extend(self.groups.into_iter().map(Slot::Kept));
        let mut rest = self.run.into_iter();
        loop {
            let items: Vec<Item> = rest.by_ref().take(GROUP).collect();
            if items.is_empty() {
                return Ok(slots);
            }
            slots.push(Slot::Made { items, closed: false });
        }
    }

    /// Passes everything of the old list that stands before `key`.
    fn pass_before(
        &mut self,
        key: Option<&Key>,
        slots: &mut Vec<Slot>,
        members: &mut Members<'_>,
    ) -> rusqlite::Result<()> {
        let stands_before = |other: &Key| key.is_none_or(|key| other < key);
        loop {
            while self.opened.front().is_some_and(|item| stands_before(&item.member.key)) {
                if let Some(item) = self.opened.pop_front() {
                    self.take(item, slots, members)?;
                }
            }
            if !self.opened.is_empty() {
                return Ok(());
            }
            let Some(chunk) = self.old.next_if(|chunk| stands_before(&chunk.first)) else { return Ok(()) };
            let whole = stands_before(&chunk.last) && !self.loses_a_package(&chunk) && !self.remake;
            if whole && chunk.closed && self.run.is_empty() && self.groups.is_empty() {
                slots.push(Slot::Kept(chunk));
            } else if whole
                && !chunk.closed
                && self.run.is_empty()
                && self.groups.iter().all(|g| g.packages == GROUP as u64)
            {
                self.cutter.skip(chunk.raw_bytes());
                self.groups.push(chunk);
            } else {
                let opened = open(&chunk, members)?;
                self.opened
                    .extend(opened.into_iter().filter(|item| !self.removed.contains(&item.member.key)));
            }
        }
    }

    fn loses_a_package(&self, chunk: &Chunk) -> bool {
        self.removed.range(&chunk.first..=&chunk.last).next().is_some()
    }

    /// Puts the next package of the new list into the run, and ends the run where a boundary falls.
    fn take(&mut self, item: Item, slots: &mut Vec<Slot>, members: &mut Members<'_>) -> rusqlite::Result<()> {
        // A short group is the last of its run; it ends where it is only if nothing follows.
        if let Some(group) = self.groups.pop_if(|g| g.packages < GROUP as u64) {
            self.run = open(&group, members)?;
        }
        let bytes = item.member.lens.iter().map(|&len| u64::from(len)).sum();
        let ends = self.cutter.ends_after(item.member.pkgid_low_byte, bytes);
        self.run.push(item);
        if ends {
            let mut items = Vec::new();
            for group in std::mem::take(&mut self.groups) {
                items.extend(open(&group, members)?);
            }
            items.append(&mut self.run);
            slots.push(Slot::Made { items, closed: true });
        }
        Ok(())
    }
}

/// Takes a chunk apart into its packages.
fn open(chunk: &Chunk, members: &mut Members<'_>) -> rusqlite::Result<Vec<Item>> {
    let mut offsets = chunk.parts.map(|part| part.raw.offset);
    let items = members(chunk)?.into_iter().map(|member| {
        let spans = std::array::from_fn(|i| {
            let span = Span { offset: offsets[i], len: u64::from(member.lens[i]) };
            offsets[i] += span.len;
            span
        });
        Item { member, text: Text::Kept(spans) }
    });
    Ok(items.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::package::Location;
    use crate::repodata::Part;

    /// A list of packages: key, low byte of pkgid, bytes.
    type List = BTreeMap<Key, (u8, u32)>;

    fn key(n: u32) -> Key {
        Key { mtime: i64::from(n), location: Location::parse("p.rpm").unwrap() }
    }

    fn member(key: &Key, (pkgid_low_byte, len): (u8, u32)) -> Member {
        Member { key: key.clone(), pkgid_low_byte, lens: [len, 1, 0, 0] }
    }

    /// Runs a merge; returns the new chunks with their members, and how many were made.
    fn merge(
        old: &[(Chunk, Vec<Member>)],
        removed: BTreeSet<Key>,
        added: &List,
    ) -> (Vec<(Chunk, Vec<Member>)>, usize) {
        let lookup: BTreeMap<Key, Vec<Member>> =
            old.iter().map(|(c, m)| (c.first.clone(), m.clone())).collect();
        let mut members = |chunk: &Chunk| Ok(lookup[&chunk.first].clone());
        let mut recut = Recut::new(old.iter().map(|(c, _)| c.clone()).collect(), removed, false);
        let mut slots = Vec::new();
        for (key, package) in added {
            let item = Item { member: member(key, *package), text: Text::Kept([Span::default(); KINDS]) };
            slots.extend(recut.insert(item, &mut members).unwrap());
        }
        slots.extend(recut.finish(&mut members).unwrap());
        let made = slots.iter().filter(|s| matches!(s, Slot::Made { .. })).count();
        let chunks = slots.into_iter().map(|slot| match slot {
            Slot::Kept(chunk) => {
                let members = lookup[&chunk.first].clone();
                (chunk, members)
            }
            Slot::Made { items, closed } => {
                let members: Vec<Member> = items.into_iter().map(|i| i.member).collect();
                let raw = members.iter().flat_map(|m| m.lens).map(u64::from).sum();
                let mut parts = [Part::default(); KINDS];
                parts[0].raw.len = raw;
                let (first, last) = (members[0].key.clone(), members[members.len() - 1].key.clone());
                (Chunk { first, last, packages: members.len() as u64, closed, parts }, members)
            }
        });
        (chunks.collect(), made)
    }

    fn full(list: &List) -> Vec<(Chunk, Vec<Member>)> {
        merge(&[], BTreeSet::new(), list).0
    }

    fn package() -> impl Strategy<Value = (u8, u32)> {
        // Boundaries by pkgid about every 12 packages, by size now and then.
        (prop_oneof![1 => Just(0u8), 11 => 1..=255u8], prop_oneof![20 => 1..5000u32, 1 => Just(2_000_000u32)])
    }

    proptest! {
        #[test]
        fn any_change_gives_the_chunks_of_a_full_run(
            start in prop::collection::btree_map(0..400u32, package(), 0..200),
            steps in prop::collection::vec(
                (prop::collection::btree_map(0..500u32, package(), 0..8), prop::collection::vec(any::<prop::sample::Index>(), 0..6)),
                1..6,
            ),
        ) {
            let mut list: List = start.into_iter().map(|(n, p)| (key(n), p)).collect();
            let mut chunks = full(&list);
            for (added, gone) in steps {
                let added: List = added.into_iter().map(|(n, p)| (key(n), p)).collect();
                let keys: Vec<Key> = list.keys().cloned().collect();
                let mut removed: BTreeSet<Key> =
                    gone.iter().filter(|_| !keys.is_empty()).map(|i| i.get(&keys).clone()).collect();
                // A package that comes in place of another of the same key removes it.
                removed.extend(added.keys().filter(|k| list.contains_key(k)).cloned());
                list.retain(|k, _| !removed.contains(k));
                list.extend(added.clone());
                chunks = merge(&chunks, removed, &added).0;
                prop_assert_eq!(&chunks, &full(&list));
            }
        }
    }

    #[test]
    fn an_append_makes_one_group_and_a_removal_one_chunk() {
        let list: List = (0..1000).map(|n| (key(n), (if n % 100 == 99 { 0 } else { 1 }, 10))).collect();
        let chunks = full(&list);
        assert_eq!(chunks.len(), 10);
        let (_, made) = merge(&chunks, BTreeSet::new(), &List::from([(key(2000), (1, 10))]));
        assert_eq!(made, 1);
        let (_, made) = merge(&chunks, BTreeSet::from([key(450)]), &List::new());
        assert_eq!(made, 1);
        let (_, made) = merge(&chunks, BTreeSet::new(), &List::new());
        assert_eq!(made, 0);
    }
}
