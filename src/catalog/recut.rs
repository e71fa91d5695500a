//! Merges changed packages into the list of chunks, and says which chunks must be made again.
//!
//! The cut is a function of the final list alone (see `repodata::chunk`), so the result equals what a
//! full run would make: a chunk is kept only if it begins where a run begins, nothing in it goes,
//! and nothing comes in between.

use std::collections::{BTreeSet, VecDeque};
use std::vec;

use super::chunks::{Chunk, Ending, Member};
use super::order::{Generation, Key};
use crate::repodata::chunk::{Cutter, groups};
use crate::repodata::{Effort, Fragments, KINDS, Span};

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
#[expect(clippy::large_enum_variant, reason = "there are some hundred of them, nearly all kept")]
pub enum Slot {
    Kept(Chunk),
    Made { items: Vec<Item>, ending: Ending, effort: Effort },
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
    /// Packages since the last boundary.
    run: Vec<Item>,
    /// Old chunks of which every package is in `run`, one behind the other, from this place on.
    whole: Vec<(usize, Chunk)>,
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
            run: Vec::new(),
            whole: Vec::new(),
        }
    }

    /// Takes a package that is new at its place; keys must ascend from call to call.
    pub fn insert(&mut self, item: Item, members: &mut Members<'_>) -> rusqlite::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.pass_before(Some(&item.member.key), &mut slots, members)?;
        self.take(item, &mut slots);
        Ok(slots)
    }

    /// Ends the list.
    pub fn finish(mut self, members: &mut Members<'_>) -> rusqlite::Result<Vec<Slot>> {
        let mut slots = Vec::new();
        self.pass_before(None, &mut slots, members)?;
        self.begin(Generation::Young, &mut slots);
        let lens = self.run.iter().map(Item::bytes);
        let groups = groups(lens);
        let mut rest = self.run.drain(..);
        let mut start = 0;
        for group in groups {
            let items = rest.by_ref().take(group.packages).collect();
            slots.push(slot(start, items, Ending::Open, group.effort, &mut self.whole));
            start += group.packages;
        }
        drop(rest);
        Ok(slots)
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
                    self.take(item, slots);
                }
            }
            if !self.opened.is_empty() {
                return Ok(());
            }
            let Some(chunk) = self.old.next_if(|chunk| stands_before(&chunk.first)) else { return Ok(()) };
            let whole = stands_before(&chunk.last) && !self.loses_a_package(&chunk) && !self.remake;
            if whole {
                self.begin(chunk.first.generation, slots);
            }
            if whole && chunk.ending == Ending::Boundary && self.run.is_empty() {
                slots.push(Slot::Kept(chunk));
                continue;
            }
            let opened = open(&chunk, members)?;
            self.opened.extend(opened.into_iter().filter(|item| !self.removed.contains(&item.member.key)));
            if whole {
                self.whole.push((self.run.len(), chunk));
            }
        }
    }

    /// Ends the settled generation when the next package is a young one.
    fn begin(&mut self, next: Generation, slots: &mut Vec<Slot>) {
        let current = self.run.last().map(|item| item.member.key.generation);
        if current == Some(Generation::Settled) && next == Generation::Young {
            self.end_run(Ending::Settled, slots);
        }
    }

    fn end_run(&mut self, ending: Ending, slots: &mut Vec<Slot>) {
        let items = std::mem::take(&mut self.run);
        slots.push(slot(0, items, ending, Effort::Thorough, &mut self.whole));
        self.whole.clear();
        self.cutter.end();
    }

    fn loses_a_package(&self, chunk: &Chunk) -> bool {
        self.removed.range(&chunk.first..=&chunk.last).next().is_some()
    }

    /// Puts the next package of the new list into the run, and ends the run where a boundary falls.
    fn take(&mut self, item: Item, slots: &mut Vec<Slot>) {
        self.begin(item.member.key.generation, slots);
        let [.., a, b, c, d] = item.member.pkgid_end;
        let ends = self.cutter.ends_after([a, b, c, d], item.bytes());
        self.run.push(item);
        if ends {
            self.end_run(Ending::Boundary, slots);
        }
    }
}

/// A chunk of these packages, which begin at `start` of their run: an old one, if one of `whole` is just that.
fn slot(
    start: usize,
    items: Vec<Item>,
    ending: Ending,
    effort: Effort,
    whole: &mut Vec<(usize, Chunk)>,
) -> Slot {
    let packages = items.len() as u64;
    let same = |(at, chunk): &mut (usize, Chunk)| {
        *at == start && chunk.packages == packages && chunk.ending == ending
    };
    let kept = whole.extract_if(.., same).next();
    kept.map_or(Slot::Made { items, ending, effort }, |(_, chunk)| Slot::Kept(chunk))
}

impl Item {
    /// Of its fragments.
    pub fn bytes(&self) -> u64 {
        self.member.lens.iter().map(|&len| u64::from(len)).sum()
    }
}

/// Takes a chunk apart into its packages.
pub fn open(chunk: &Chunk, members: &mut Members<'_>) -> rusqlite::Result<Vec<Item>> {
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
    use crate::catalog::order::Frontier;
    use crate::package::Location;
    use crate::repodata::Part;

    /// A list of packages by file time: number, which decides the name → end of pkgid, bytes.
    type List = BTreeMap<(i64, u32), (u8, u32)>;
    type Chunks = Vec<(Chunk, Vec<Member>)>;

    fn key(frontier: Frontier, &(mtime, n): &(i64, u32)) -> Key {
        // Names in another order than times.
        frontier.key(mtime, Location::parse(&format!("{}-{n}.rpm", n.wrapping_mul(7919) % 1000)).unwrap())
    }

    fn item(frontier: Frontier, at: &(i64, u32), &(end, len): &(u8, u32)) -> Item {
        let mut pkgid_end = [0; 16];
        pkgid_end[12..].copy_from_slice(&[end; 4]);
        let member = Member { key: key(frontier, at), pkgid_end, lens: [len, 1, 0, 0], sums: [0; KINDS] };
        Item { member, text: Text::Kept([Span::default(); KINDS]) }
    }

    /// Runs a merge; returns the new chunks with their members, and how many were made.
    fn merge(old: &Chunks, removed: BTreeSet<Key>, mut added: Vec<Item>) -> (Chunks, usize) {
        added.sort_by(|a, b| a.member.key.cmp(&b.member.key));
        let lookup: BTreeMap<Key, Vec<Member>> =
            old.iter().map(|(c, m)| (c.first.clone(), m.clone())).collect();
        let mut members = |chunk: &Chunk| Ok(lookup[&chunk.first].clone());
        let mut recut = Recut::new(old.iter().map(|(c, _)| c.clone()).collect(), removed, false);
        let mut slots = Vec::new();
        for item in added {
            slots.extend(recut.insert(item, &mut members).unwrap());
        }
        slots.extend(recut.finish(&mut members).unwrap());
        let made = slots.iter().filter(|s| matches!(s, Slot::Made { .. })).count();
        let chunks = slots.into_iter().map(|slot| match slot {
            Slot::Kept(chunk) => {
                let members = lookup[&chunk.first].clone();
                (chunk, members)
            }
            Slot::Made { items, ending, effort: _ } => {
                let members: Vec<Member> = items.into_iter().map(|i| i.member).collect();
                let raw = members.iter().flat_map(|m| m.lens).map(u64::from).sum();
                let mut parts = [Part::default(); KINDS];
                parts[0].raw.len = raw;
                let (first, last) = (members[0].key.clone(), members[members.len() - 1].key.clone());
                (Chunk { first, last, packages: members.len() as u64, ending, parts }, members)
            }
        });
        (chunks.collect(), made)
    }

    fn full(frontier: Frontier, list: &List) -> Chunks {
        merge(&Vec::new(), BTreeSet::new(), list.iter().map(|(at, p)| item(frontier, at, p)).collect()).0
    }

    fn package() -> impl Strategy<Value = (u8, u32)> {
        // Boundaries by pkgid about every 12 packages, by size now and then; several units between them.
        (
            prop_oneof![1 => Just(0u8), 11 => 1..=255u8],
            prop_oneof![20 => 1..50_000u32, 1 => Just(2_000_000u32)],
        )
    }

    fn packages(most: usize) -> impl Strategy<Value = List> {
        prop::collection::btree_map((0..300i64, 0..1000u32), package(), 0..most)
    }

    proptest! {
        #[test]
        fn any_change_gives_the_chunks_of_a_full_run(
            start in packages(200),
            first in 0..300i64,
            steps in prop::collection::vec(
                (packages(8), prop::collection::vec(any::<prop::sample::Index>(), 0..6), prop::option::of(0..300i64)),
                1..6,
            ),
        ) {
            let mut list = start;
            let mut frontier = Frontier { since: first };
            let mut chunks = full(frontier, &list);
            for (added, gone, moved) in steps {
                let next = Frontier { since: moved.unwrap_or(frontier.since) };
                let known: Vec<(i64, u32)> = list.keys().copied().collect();
                let mut gone: BTreeSet<(i64, u32)> =
                    gone.iter().filter(|_| !known.is_empty()).map(|i| *i.get(&known)).collect();
                // A package that comes in place of another of the same key removes it.
                gone.extend(added.keys().filter(|at| list.contains_key(at)));
                list.retain(|at, _| !gone.contains(at));
                let moving = |at: &&(i64, u32)| frontier.generation(at.0) != next.generation(at.0);
                let removed = gone.iter().chain(list.keys().filter(moving)).map(|at| key(frontier, at)).collect();
                let mut inserted: Vec<Item> =
                    list.iter().filter(|(at, _)| moving(at)).map(|(at, p)| item(next, at, p)).collect();
                inserted.extend(added.iter().map(|(at, p)| item(next, at, p)));
                list.extend(added);
                frontier = next;
                chunks = merge(&chunks, removed, inserted).0;
                prop_assert_eq!(&chunks, &full(frontier, &list));
                for (chunk, members) in &chunks {
                    prop_assert!(members.is_sorted_by(|a, b| a.key < b.key));
                    prop_assert_eq!(chunk.first.generation, chunk.last.generation);
                }
            }
        }
    }

    #[test]
    fn an_append_makes_one_group_and_a_removal_one_chunk() {
        for since in [0, i64::MAX, 333] {
            let frontier = Frontier { since };
            let mut list: List = (0..1000).map(|n| ((i64::from(n), n), (255, 10))).collect();
            let mut sorted: Vec<(i64, u32)> = list.keys().copied().collect();
            sorted.sort_by_key(|at| key(frontier, at));
            for at in sorted.iter().skip(99).step_by(100) {
                list.insert(*at, (0, 10));
            }
            let chunks = full(frontier, &list);
            let ends = usize::from(since == 333);
            assert_eq!(chunks.len(), 10 + ends);
            let middle = BTreeSet::from([key(frontier, &sorted[450])]);
            assert_eq!(merge(&chunks, middle, Vec::new()).1, 1);
            assert_eq!(merge(&chunks, BTreeSet::new(), Vec::new()).1, 0);
            if since < i64::MAX {
                let fresh = vec![item(frontier, &(2000, 2000), &(255, 10))];
                assert_eq!(merge(&chunks, BTreeSet::new(), fresh).1, 1);
            }
        }
    }
}
