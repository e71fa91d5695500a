//! Merges changed packages into the list of chunks, and says which chunks must be made again.
//!
//! The cut is a function of the final list alone (see `repodata::chunk`), so the result equals what a
//! full run would make: a chunk is kept only if it begins where a run begins, nothing in it goes,
//! and nothing comes in between.

use std::collections::{BTreeSet, VecDeque};
use std::vec;

use super::chunks::{Chunk, Ending, Member};
use super::order::{Generation, Key};
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
    Made { items: Vec<Item>, ending: Ending },
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
    /// Chunks since the last boundary that stay as they are, unless something follows that belongs to
    /// them: groups of the open run, or what was the last settled chunk. They stand before `run`.
    kept: Vec<Chunk>,
    /// Packages since the last boundary, or since the last of `kept`.
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
            kept: Vec::new(),
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
        self.begin(Generation::Young, &mut slots);
        slots.extend(self.kept.into_iter().map(Slot::Kept));
        let mut rest = self.run.into_iter();
        loop {
            let items: Vec<Item> = rest.by_ref().take(GROUP).collect();
            if items.is_empty() {
                return Ok(slots);
            }
            slots.push(Slot::Made { items, ending: Ending::Open });
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
            if whole {
                self.begin(chunk.first.generation, slots);
            }
            let begins_a_run = self.run.is_empty() && self.kept.is_empty();
            match chunk.ending {
                Ending::Boundary if whole && begins_a_run => slots.push(Slot::Kept(chunk)),
                Ending::Settled if whole && begins_a_run => self.keep(chunk),
                Ending::Open if whole && self.run.is_empty() && !self.kept.iter().any(is_last) => {
                    self.keep(chunk);
                }
                _ => {
                    let opened = open(&chunk, members)?;
                    self.opened
                        .extend(opened.into_iter().filter(|item| !self.removed.contains(&item.member.key)));
                }
            }
        }
    }

    fn keep(&mut self, chunk: Chunk) {
        self.cutter.skip(chunk.raw_bytes());
        self.kept.push(chunk);
    }

    /// Ends the settled generation when the next package is a young one.
    fn begin(&mut self, next: Generation, slots: &mut Vec<Slot>) {
        let last = self.run.last().map(|item| item.member.key.generation);
        let current = last.or_else(|| self.kept.last().map(|chunk| chunk.last.generation));
        if current == Some(Generation::Settled) && next == Generation::Young {
            slots.extend(self.kept.drain(..).map(Slot::Kept));
            if !self.run.is_empty() {
                slots.push(Slot::Made { items: std::mem::take(&mut self.run), ending: Ending::Settled });
            }
            self.cutter.end();
        }
    }

    fn loses_a_package(&self, chunk: &Chunk) -> bool {
        self.removed.range(&chunk.first..=&chunk.last).next().is_some()
    }

    /// Puts the next package of the new list into the run, and ends the run where a boundary falls.
    fn take(&mut self, item: Item, slots: &mut Vec<Slot>, members: &mut Members<'_>) -> rusqlite::Result<()> {
        self.begin(item.member.key.generation, slots);
        if let Some(last) = self.kept.pop_if(|chunk| is_last(chunk)) {
            self.run = open(&last, members)?;
        }
        let bytes = item.member.lens.iter().map(|&len| u64::from(len)).sum();
        let [.., a, b] = item.member.pkgid_end;
        let ends = self.cutter.ends_after([a, b], bytes);
        self.run.push(item);
        if ends {
            let mut items = Vec::new();
            for chunk in std::mem::take(&mut self.kept) {
                items.extend(open(&chunk, members)?);
            }
            items.append(&mut self.run);
            slots.push(Slot::Made { items, ending: Ending::Boundary });
        }
        Ok(())
    }
}

/// Whether a chunk ends where it ends only because nothing of its generation follows.
fn is_last(chunk: &Chunk) -> bool {
    match chunk.ending {
        Ending::Open => chunk.packages < GROUP as u64,
        Ending::Settled => true,
        Ending::Boundary => false,
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
        pkgid_end[15] = end;
        let member = Member { key: key(frontier, at), pkgid_end, lens: [len, 1, 0, 0] };
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
            Slot::Made { items, ending } => {
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
        // Boundaries by pkgid about every 12 packages, by size now and then.
        (prop_oneof![1 => Just(0u8), 11 => 1..=255u8], prop_oneof![20 => 1..5000u32, 1 => Just(2_000_000u32)])
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
            let mut list: List = (0..1000).map(|n| ((i64::from(n), n), (1, 10))).collect();
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
                let fresh = vec![item(frontier, &(2000, 2000), &(1, 10))];
                assert_eq!(merge(&chunks, BTreeSet::new(), fresh).1, 1);
            }
        }
    }
}
