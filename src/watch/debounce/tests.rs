use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SETTLE: Duration = Duration::from_secs(2);
const SETTLE_MAX: Duration = Duration::from_secs(600);

fn loc(text: &str) -> Location {
    Location::parse(text).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lets time pass up to `until`; returns what went out, and when after `start`.
fn run(debounce: &mut Debounce, start: Instant, until: Duration) -> Vec<(Duration, Dirty)> {
    let mut out = Vec::new();
    let mut calls = 0;
    while let Some(deadline) = debounce.deadline().filter(|deadline| *deadline <= start + until) {
        out.extend(debounce.take(deadline).map(|dirty| (deadline - start, dirty)));
        calls += 1;
        assert!(calls < 100_000, "it ticks");
    }
    out
}

fn new() -> (Debounce, Instant) {
    (Debounce::new(SETTLE, SETTLE_MAX), Instant::now())
}

#[test]
fn a_single_change_goes_out_after_a_moment_of_quiet() {
    let (mut debounce, start) = new();
    assert_eq!(debounce.deadline(), None);
    debounce.note(Change::Complete(loc("a.rpm")), start);
    assert_eq!(debounce.take(start + QUIET.0 / 2), None);
    assert_eq!(run(&mut debounce, start, ms(1_000_000)), [(QUIET.0, Dirty::settled(loc("a.rpm")))]);
    assert_eq!(debounce.deadline(), None, "at rest nothing wakes it");
}

#[test]
fn the_first_batch_of_a_burst_waits_fifty_milliseconds_at_most() {
    let (mut debounce, start) = new();
    for i in 0..8 {
        debounce.note(Change::Complete(loc(&format!("{i}.rpm"))), start + ms(i * 10));
        let out = debounce.take(start + ms(i * 10));
        assert_eq!(out.is_some(), i == 5, "{i}");
    }
}

#[test]
fn a_long_burst_makes_few_batches_and_its_last_change_is_told_soon() {
    let (mut debounce, start) = new();
    let mut batches = 0;
    let mut told = BTreeSet::new();
    for i in 0..10_000 {
        let now = start + Duration::from_micros(i * 500);
        debounce.note(Change::Writing(loc(&format!("{i}.rpm"))), now);
        debounce.note(Change::Complete(loc(&format!("{i}.rpm"))), now);
        if let Some(dirty) = debounce.take(now) {
            batches += 1;
            told.extend(dirty.settled);
        }
    }
    let rest = run(&mut debounce, start, ms(60_000));
    assert!(rest.last().unwrap().0 <= ms(5000 + 250));
    batches += rest.len();
    told.extend(rest.into_iter().flat_map(|(_, dirty)| dirty.settled));
    assert_eq!(told.len(), 10_000);
    assert!(batches <= 14, "{batches} batches");
}

#[test]
fn after_a_quiet_time_the_next_change_is_a_burst_of_its_own() {
    let (mut debounce, start) = new();
    for i in 0..1000 {
        debounce.note(Change::Complete(loc("a.rpm")), start + ms(i * 5));
        debounce.take(start + ms(i * 5));
    }
    run(&mut debounce, start, ms(6_000));
    debounce.note(Change::Complete(loc("b.rpm")), start + ms(7_000));
    assert_eq!(run(&mut debounce, start, ms(10_000))[0].0, ms(7_000) + QUIET.0);
}

#[test]
fn a_file_being_written_is_not_told_until_it_is_closed() {
    let (mut debounce, start) = new();
    for i in 0..300 {
        debounce.note(Change::Writing(loc("a.rpm")), start + ms(i * 1000));
        debounce.note(Change::Touched(loc("a.rpm")), start + ms(i * 1000));
        assert_eq!(run(&mut debounce, start, ms(i * 1000)), []);
    }
    debounce.note(Change::Complete(loc("a.rpm")), start + ms(300_000));
    let out = run(&mut debounce, start, ms(10_000_000));
    assert_eq!(out, [(ms(300_000) + QUIET.0, Dirty::settled(loc("a.rpm")))]);
}

#[test]
fn a_file_nobody_closes_is_told_as_unsure_when_it_was_quiet_for_settle() {
    let (mut debounce, start) = new();
    debounce.note(Change::Writing(loc("a.rpm")), start);
    debounce.note(Change::Writing(loc("a.rpm")), start + ms(1500));
    let out = run(&mut debounce, start, ms(10_000_000));
    assert_eq!(out, [(ms(3500) + QUIET.0, Dirty::unsure(loc("a.rpm")))]);
    assert_eq!(debounce.deadline(), None);
}

#[test]
fn a_file_written_without_end_is_told_as_unsure_every_settle_max() {
    let (mut debounce, start) = new();
    let mut out = Vec::new();
    for second in 0..1300 {
        out.extend(run(&mut debounce, start, ms(second * 1000)));
        debounce.note(Change::Writing(loc("a.rpm")), start + ms(second * 1000));
    }
    assert_eq!(out.len(), 2, "{out:?}");
    assert!(out.iter().all(|(_, dirty)| *dirty == Dirty::unsure(loc("a.rpm"))));
    assert!(out[0].0 >= SETTLE_MAX && out[0].0 < SETTLE_MAX + ms(1000));
}

#[test]
fn a_file_opened_again_before_it_was_told_is_not_complete() {
    let (mut debounce, start) = new();
    debounce.note(Change::Complete(loc("a.rpm")), start);
    debounce.note(Change::Complete(loc("b.rpm")), start);
    debounce.note(Change::Writing(loc("a.rpm")), start + ms(5));
    let out = run(&mut debounce, start, ms(10_000));
    assert_eq!(
        out.iter().map(|(_, dirty)| dirty.clone()).collect::<Vec<_>>(),
        [Dirty::settled(loc("b.rpm")), Dirty::unsure(loc("a.rpm")),]
    );
}

#[test]
fn touching_a_file_that_nobody_writes_is_told_at_once() {
    let (mut debounce, start) = new();
    debounce.note(Change::Touched(loc("a.rpm")), start);
    assert_eq!(run(&mut debounce, start, ms(20)), [(QUIET.0, Dirty::settled(loc("a.rpm")))]);
}

#[test]
fn everything_takes_the_unsure_in_and_leaves_the_settled_settled() {
    let (mut debounce, start) = new();
    debounce.note(Change::Complete(loc("a.rpm")), start);
    debounce.note(Change::Appeared(loc("dir")), start);
    debounce.note(Change::Everything, start);
    let everything = Dirty { everything: true, ..Dirty::settled(loc("a.rpm")) };
    assert_eq!(run(&mut debounce, start, ms(20)), [(QUIET.0, everything)]);
}

#[test]
fn ten_thousand_files_in_the_making_do_not_make_it_tick() {
    let (mut debounce, start) = new();
    for i in 0..10_000 {
        debounce.note(Change::Writing(loc(&format!("{i}.rpm"))), start + Duration::from_micros(i * 100));
    }
    let mut wakes = 0;
    let mut told = 0;
    while let Some(deadline) = debounce.deadline() {
        told += debounce.take(deadline).map_or(0, |dirty| dirty.unsure.len());
        wakes += 1;
    }
    assert_eq!(told, 10_000);
    assert!(wakes < 200, "{wakes} wakes");
}

fn change() -> impl Strategy<Value = Change> {
    let location = (0..6_u8).prop_map(|i| loc(&format!("{i}.rpm")));
    (0..6_u8, location).prop_map(|(kind, location)| match kind {
        0 => Change::Complete(location),
        1 => Change::Vanished(location),
        2 | 3 => Change::Writing(location),
        4 => Change::Touched(location),
        _ => Change::Appeared(location),
    })
}

proptest! {
    /// Whatever happens: each place is told after the last thing that happened to it, within
    /// `settle` and the longest wait; a file that is being written is never told as settled; and
    /// in the end nothing is left that would wake anybody.
    #[test]
    fn nothing_is_lost(steps in prop::collection::vec((change(), 0..5000_u64), 1..60)) {
        let (mut debounce, start) = new();
        let mut now = ms(0);
        let mut waiting: BTreeMap<Location, Duration> = BTreeMap::new();
        // With the time of the last write.
        let mut in_writing: BTreeMap<Location, Duration> = BTreeMap::new();
        let told = |out: Vec<(Duration, Dirty)>,
                        waiting: &mut BTreeMap<Location, Duration>,
                        in_writing: &mut BTreeMap<Location, Duration>| {
            for (at, dirty) in out {
                for location in dirty.settled {
                    prop_assert!(!in_writing.contains_key(&location), "{location} is still being written");
                    waiting.remove(&location);
                }
                for location in dirty.unsure {
                    in_writing.remove(&location);
                    waiting.remove(&location);
                }
                for (location, since) in waiting.iter() {
                    prop_assert!(at <= *since + SETTLE + ms(2000 + 20), "{location} waits since {since:?}");
                }
            }
            Ok(())
        };
        for (change, pause) in steps {
            match &change {
                Change::Writing(location) => { in_writing.insert(location.clone(), now); }
                Change::Complete(location) | Change::Vanished(location) => { in_writing.remove(location); }
                Change::Touched(location) => match in_writing.get_mut(location) {
                    Some(last) if *last + SETTLE > now => *last = now,
                    _ => { in_writing.remove(location); }
                },
                _ => {}
            }
            if let Some(place) = change.place() {
                waiting.insert(place.clone(), now);
            }
            debounce.note(change, start + now);
            now += ms(pause);
            told(run(&mut debounce, start, now), &mut waiting, &mut in_writing)?;
        }
        told(run(&mut debounce, start, now + ms(100_000_000)), &mut waiting, &mut in_writing)?;
        prop_assert!(waiting.is_empty(), "{waiting:?} was never told");
        prop_assert_eq!(debounce.deadline(), None);
    }
}
