//! What is asked of a repository's worker, gathered until it has time.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Known, Ticket, lock};
use crate::package::{Location, Nevra};
use crate::tree::{Dirty, Scanned};

/// Everything one publication takes up together.
#[derive(Default)]
pub struct Batch {
    pub dirty: Dirty,
    pub arrived: Vec<Scanned>,
    /// Hold repomd.xml against what was published.
    pub check_metadata: bool,
    /// The last change in it.
    pub upto: Ticket,
}

/// What the worker is to do next.
pub enum Next {
    Work(Batch),
    /// Nothing was asked for until the given time.
    Idle,
    /// The repository is being closed and nothing is left to do.
    End,
}

#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    next: Batch,
    /// Packages that arrived and are not in the catalog yet, with the ticket of their arrival.
    waiting: BTreeMap<Location, (Ticket, Nevra, Known)>,
    last: Ticket,
    passed: Ticket,
    worker_runs: bool,
    closed: bool,
}

impl State {
    fn ticket(&mut self) -> Ticket {
        self.last.0 += 1;
        self.next.upto = self.last;
        self.last
    }

    /// Whether the caller has to start a worker.
    fn wants_worker(&mut self) -> bool {
        !self.closed && !std::mem::replace(&mut self.worker_runs, true)
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.dirty.is_empty() && self.arrived.is_empty() && !self.check_metadata
    }
}

impl Inbox {
    /// Returns the change's ticket, and whether a worker has to be started.
    pub fn submit(&self, dirty: Dirty) -> (Ticket, bool) {
        let mut state = lock(&self.state);
        state.next.dirty.merge(dirty);
        let ticket = state.ticket();
        self.wake.notify_one();
        (ticket, state.wants_worker())
    }

    pub fn arrived(&self, scanned: Scanned) -> (Ticket, bool) {
        let mut state = lock(&self.state);
        let ticket = state.ticket();
        let known =
            Known { location: scanned.location.clone(), stamp: scanned.stamp, pkgid: scanned.pkgid.clone() };
        state.waiting.insert(scanned.location.clone(), (ticket, scanned.nevra.clone(), known));
        state.next.arrived.push(scanned);
        self.wake.notify_one();
        (ticket, state.wants_worker())
    }

    pub fn check_metadata(&self) -> bool {
        let mut state = lock(&self.state);
        state.next.check_metadata = true;
        self.wake.notify_one();
        state.wants_worker()
    }

    pub fn waiting_of(&self, nevra: &Nevra) -> Vec<Known> {
        let state = lock(&self.state);
        state.waiting.values().filter(|(_, n, _)| n == nevra).map(|(_, _, known)| known.clone()).collect()
    }

    pub fn waiting_at(&self, location: &Location) -> Option<Known> {
        lock(&self.state).waiting.get(location).map(|(_, _, known)| known.clone())
    }

    pub fn pending(&self) -> u64 {
        let state = lock(&self.state);
        state.last.0 - state.passed.0
    }

    /// Whether something waits for the worker.
    pub fn has_work(&self) -> bool {
        !lock(&self.state).next.is_empty()
    }

    /// Whether a worker runs that has not decided to end.
    pub fn has_worker(&self) -> bool {
        lock(&self.state).worker_runs
    }

    /// For the worker: waits for something to do, at most until `until`.
    pub fn next(&self, until: Instant) -> Next {
        let mut state = lock(&self.state);
        loop {
            if !state.next.is_empty() {
                let upto = state.last;
                let mut batch = std::mem::take(&mut state.next);
                batch.upto = upto;
                return Next::Work(batch);
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.closed {
                return Next::End;
            }
            if left.is_zero() {
                return Next::Idle;
            }
            state = match self.wake.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// For the worker: everything up to `upto` is in the catalog and published.
    pub fn pass(&self, upto: Ticket) {
        let mut state = lock(&self.state);
        state.passed = state.passed.max(upto);
        state.waiting.retain(|_, (ticket, _, _)| *ticket > upto);
    }

    /// For the worker: ends it, unless something came in meanwhile.
    pub fn try_end(&self) -> bool {
        let mut state = lock(&self.state);
        let end = state.next.is_empty();
        state.worker_runs = !end;
        self.ended.notify_all();
        end
    }

    /// Lets the worker finish what was asked for, waits for its end, at most `limit`, and lets nobody
    /// start another.
    pub fn close(&self, limit: Duration) {
        let mut state = lock(&self.state);
        state.closed = true;
        self.wake.notify_all();
        let until = Instant::now() + limit;
        while state.worker_runs {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = match self.ended.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
