//! What is asked of a repository's worker, gathered until it has time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::verify::Finding;
use super::{Known, Ticket, lock};
use crate::package::{Location, Nevra};
use crate::tree::{Dirty, Scanned};

/// Bytes of metadata of packages that arrived and wait for workers, in all repositories.
static WAITING: AtomicU64 = AtomicU64::new(0);
/// The most of it; twice as much while all that comes is small.
const MOST_WAITING: u64 = 32 << 20;
const SMALL: u64 = 64 << 10;

/// Counts so many bytes as waiting, if there is room for them.
fn may_wait(bytes: u64) -> bool {
    let most = if bytes > SMALL { MOST_WAITING } else { 2 * MOST_WAITING };
    let add = |waiting: u64| (waiting + bytes <= most).then_some(waiting + bytes);
    WAITING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

/// Everything one publication takes up together.
#[derive(Default)]
pub struct Batch {
    pub dirty: Dirty,
    pub arrived: Vec<Scanned>,
    /// Bytes of metadata of those.
    pub bytes: u64,
    /// Hold repomd.xml against what was published.
    pub check_metadata: bool,
    /// Read the keys again.
    pub check_keys: bool,
    /// What was found wrong and is to be read and made again.
    pub mend: Vec<Finding>,
    /// The last change in it.
    pub upto: Ticket,
}

#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    next: Batch,
    /// Packages that arrived and are not in the catalog yet, with the ticket of their arrival.
    waiting: HashMap<Location, (Ticket, Nevra, Known)>,
    /// Where those of each NEVRA wait.
    places: HashMap<Nevra, Vec<Location>>,
    last: Ticket,
    passed: Ticket,
    /// Whether the repository has its turn or waits for it.
    scheduled: bool,
    /// Whether the turn that is scheduled waits for a reminder.
    put_off: bool,
    /// How many wait for a publication.
    waiters: usize,
    closed: bool,
}

/// What follows a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// Something came in meanwhile.
    Turn,
    /// The same, and there is time: more may come, and be published together with it.
    Later,
}

impl State {
    fn ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.next.upto = self.last;
        self.last
    }

    /// Whether the caller has to ask for a turn.
    fn schedule(&mut self) -> bool {
        !self.closed && !std::mem::replace(&mut self.scheduled, true)
    }
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.arrived.is_empty() && !self.check_metadata && !self.check_keys
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        WAITING.fetch_sub(lock(&self.state).next.bytes, Ordering::Relaxed);
    }
}

impl Inbox {
    /// Returns the change's ticket, and whether a turn has to be asked for.
    pub fn submit(&self, dirty: Dirty) -> (Ticket, bool) {
        let mut state = lock(&self.state);
        state.next.dirty.merge(dirty);
        let ticket = state.ticket();
        (ticket, state.schedule())
    }

    /// Takes packages that were read already, and what changed together with them: nobody sees one
    /// without the other.
    pub fn arrived(&self, arrived: Vec<Scanned>, dirty: Dirty) -> (Ticket, bool) {
        let mut state = lock(&self.state);
        let ticket = state.ticket();
        state.next.dirty.merge(dirty);
        for scanned in arrived {
            let known = Known {
                location: scanned.location.clone(),
                stamp: scanned.stamp,
                pkgid: scanned.pkgid.clone(),
            };
            let places = state.places.entry(scanned.nevra.clone()).or_default();
            if !places.contains(&scanned.location) {
                places.push(scanned.location.clone());
            }
            state.waiting.insert(scanned.location.clone(), (ticket, scanned.nevra.clone(), known));
            let bytes = scanned.fragments.len() as u64;
            // What waits in memory is bounded over all repositories: beyond, the worker reads the package again.
            if bytes == 0 || !may_wait(bytes) {
                state.next.dirty.merge(Dirty::settled(scanned.location));
                continue;
            }
            state.next.bytes += bytes;
            state.next.arrived.push(scanned);
        }
        (ticket, state.schedule())
    }

    /// Has what was found wrong made again: a look at everything that trusts none of it.
    pub fn mend(&self, findings: Vec<Finding>) -> (Ticket, bool) {
        let mut state = lock(&self.state);
        state.next.mend.extend(findings);
        state.next.dirty.merge(Dirty::everything());
        let ticket = state.ticket();
        (ticket, state.schedule())
    }

    pub fn check_metadata(&self) -> bool {
        let mut state = lock(&self.state);
        state.next.check_metadata = true;
        state.schedule()
    }

    pub fn check_keys(&self) -> bool {
        let mut state = lock(&self.state);
        state.next.check_keys = true;
        state.schedule()
    }

    pub fn waiting_of(&self, nevra: &Nevra) -> Vec<Known> {
        let state = lock(&self.state);
        let places = state.places.get(nevra).into_iter().flatten();
        let waiting = places.filter_map(|location| state.waiting.get(location));
        waiting.filter(|(_, n, _)| n == nevra).map(|(_, _, known)| known.clone()).collect()
    }

    pub fn waiting_at(&self, location: &Location) -> Option<Known> {
        lock(&self.state).waiting.get(location).map(|(_, _, known)| known.clone())
    }

    /// The last change that was asked for.
    pub fn last(&self) -> Ticket {
        lock(&self.state).last
    }

    pub fn pending(&self) -> u64 {
        let state = lock(&self.state);
        state.last.0 - state.passed.0
    }

    /// Whether something waits for the worker.
    pub fn has_work(&self) -> bool {
        !lock(&self.state).next.is_empty()
    }

    /// Whether the caller has to ask for a turn.
    pub fn schedule(&self) -> bool {
        lock(&self.state).schedule()
    }

    /// For the worker: everything that was asked for so far.
    pub fn take(&self) -> Batch {
        let mut state = lock(&self.state);
        let upto = state.last;
        WAITING.fetch_sub(std::mem::take(&mut state.next.bytes), Ordering::Relaxed);
        Batch { upto, ..std::mem::take(&mut state.next) }
    }

    /// For the worker: everything up to `upto` is in the catalog and published.
    pub fn pass(&self, upto: Ticket) {
        let mut state = lock(&self.state);
        state.passed = state.passed.max(upto);
        let State { waiting, places, .. } = &mut *state;
        waiting.retain(|_, (ticket, _, _)| *ticket > upto);
        places.retain(|_, places| {
            places.retain(|location| waiting.contains_key(location));
            !places.is_empty()
        });
    }

    /// For the worker: ends its turn. `may_wait`: uploads that came in meanwhile may, if nobody waits for them; it is
    /// for the caller to see that they do not wait forever. What was seen in the tree does not: mostly it is an upload
    /// that was published just now, and a look at it is soon done.
    pub fn end_turn(&self, may_wait: bool) -> Next {
        let mut state = lock(&self.state);
        state.scheduled = !state.next.is_empty();
        let may_wait = may_wait && !state.next.arrived.is_empty() && state.waiters == 0;
        state.put_off = state.scheduled && may_wait && !state.closed;
        self.ended.notify_all();
        match (state.scheduled, state.put_off) {
            (false, _) => Next::Nothing,
            (true, false) => Next::Turn,
            (true, true) => Next::Later,
        }
    }

    /// Whether a turn was put off; the caller has to ask for it now.
    pub fn hurry(&self) -> bool {
        std::mem::take(&mut lock(&self.state).put_off)
    }

    /// Somebody waits for a publication. Whether a turn that was put off has to be asked for.
    pub fn begin_wait(&self) -> bool {
        lock(&self.state).waiters += 1;
        self.hurry()
    }

    pub fn end_wait(&self) {
        lock(&self.state).waiters -= 1;
    }

    /// Lets nothing start any more. Whether a turn that was put off has to be asked for.
    pub fn begin_close(&self) -> bool {
        lock(&self.state).closed = true;
        self.hurry()
    }

    /// After [`Inbox::begin_close`]: waits until what was asked for is done, at most `limit`.
    pub fn close(&self, limit: Duration) {
        let mut state = lock(&self.state);
        let until = Instant::now() + limit;
        while state.scheduled {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{Checksum, ChecksumType, Evr};
    use crate::repodata::Fragments;
    use crate::tree::FileStamp;

    fn asked(inbox: &Inbox) -> bool {
        inbox.submit(Dirty::everything()).1
    }

    fn uploaded(inbox: &Inbox) -> bool {
        let evr = Evr { epoch: 0, version: "1".into(), release: "1".into() };
        let scanned = Scanned {
            location: Location::parse("a.rpm").unwrap(),
            stamp: FileStamp::default(),
            pkgid: Checksum::of(ChecksumType::Sha256, b""),
            nevra: Nevra { name: "a".into(), evr, arch: "noarch".into() },
            fragments: Fragments { primary: b"<package/>\n".to_vec(), ..Fragments::default() },
            vouched: Vec::new(),
        };
        inbox.arrived(vec![scanned], Dirty::default()).1
    }

    #[test]
    fn what_nobody_waits_for_may_gather() {
        let inbox = Inbox::default();
        assert!(asked(&inbox));
        let _ = inbox.take();
        assert!(!asked(&inbox), "its turn is not over");
        assert_eq!(inbox.end_turn(true), Next::Turn, "what was uploaded was seen in the tree, too");
        let _ = inbox.take();
        assert!(!uploaded(&inbox));
        assert_eq!(inbox.end_turn(true), Next::Later);
        assert!(!asked(&inbox), "the turn is scheduled, if for later");
        assert!(inbox.hurry() && !inbox.hurry(), "it is asked for once");
        let _ = inbox.take();
        assert_eq!(inbox.end_turn(true), Next::Nothing);
        assert!(asked(&inbox), "alone it waits for nothing");
    }

    #[test]
    fn what_waits_in_memory_is_bounded_and_no_package_is_lost() {
        let inbox = Inbox::default();
        let one = |bytes: u64, name: &str| {
            let evr = Evr { epoch: 0, version: "1".into(), release: "1".into() };
            let location = Location::parse(name).unwrap();
            let scanned = Scanned {
                stamp: FileStamp::default(),
                pkgid: Checksum::of(ChecksumType::Sha256, b""),
                nevra: Nevra { name: name.into(), evr, arch: "noarch".into() },
                fragments: Fragments { primary: vec![b'x'; bytes as usize], ..Fragments::default() },
                vouched: Vec::new(),
                location: location.clone(),
            };
            inbox.arrived(vec![scanned], Dirty::default());
            assert!(inbox.waiting_at(&location).is_some(), "others hear of it");
        };
        one(MOST_WAITING - (1 << 20), "large.rpm");
        one(4 << 20, "too-much.rpm");
        one(0, "let-go-of.rpm");
        one(SMALL, "small.rpm");
        let taken = inbox.take();
        let names = |locations: Vec<&Location>| locations.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            names(taken.arrived.iter().map(|one| &one.location).collect()),
            ["large.rpm", "small.rpm"]
        );
        assert_eq!(names(taken.dirty.settled.iter().collect()), ["let-go-of.rpm", "too-much.rpm"]);
        one(4 << 20, "now.rpm");
        assert_eq!(inbox.take().arrived.len(), 1, "there is room again");
    }

    #[test]
    fn whoever_waits_and_whoever_closes_are_in_a_hurry() {
        let inbox = Inbox::default();
        let busy = || {
            uploaded(&inbox);
            let _ = inbox.take();
            uploaded(&inbox);
        };
        busy();
        assert_eq!(inbox.end_turn(false), Next::Turn);
        busy();
        assert_eq!(inbox.end_turn(true), Next::Later);
        assert!(inbox.begin_wait());
        busy();
        assert_eq!(inbox.end_turn(true), Next::Turn);
        inbox.end_wait();
        busy();
        assert_eq!(inbox.end_turn(true), Next::Later);
        assert!(inbox.begin_close(), "what came before the end is published");
    }
}
