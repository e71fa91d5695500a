//! The headers that uploads hold in memory while they come: all of them together within one bound.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::IncomingError;

/// A header of this length is nobody's concern; nearly all are shorter.
const FREE: u64 = 64 << 10;
/// What longer ones may take together, beyond that.
const MOST: u64 = 32 << 20;
/// How long an upload waits for others to be done with theirs, and how many may: each holds a thread.
const PATIENCE: Duration = Duration::from_secs(30);
const QUEUE: usize = 200;

static HEADS: Heads = Heads {
    state: Mutex::new(State { held: 0, all: BTreeMap::new(), last: 0, waiting: 0 }),
    less: Condvar::new(),
};

struct Heads {
    state: Mutex<State>,
    less: Condvar,
}

struct State {
    held: u64,
    /// What each upload holds; whoever began first stands first.
    all: BTreeMap<u64, u64>,
    last: u64,
    waiting: usize,
}

impl Heads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one upload has of it; given back when dropped.
#[derive(Default)]
pub(super) struct HeadShare(Option<u64>);

impl HeadShare {
    /// The upload holds `len` bytes of headers now. Where that is too much it waits for others to be done, and is refused if that
    /// takes long. Whoever began first never waits, however long its header: so it always goes on. Blocking.
    pub(super) fn becomes(&mut self, len: usize) -> Result<(), IncomingError> {
        self.within(len, PATIENCE)
    }

    fn within(&mut self, len: usize, patience: Duration) -> Result<(), IncomingError> {
        let wanted = (len as u64).saturating_sub(FREE);
        if wanted == 0 {
            return Ok(());
        }
        let mut state = HEADS.state();
        let id = *self.0.get_or_insert_with(|| {
            state.last += 1;
            state.last
        });
        let has = *state.all.entry(id).or_default();
        let more = wanted.saturating_sub(has);
        let until = Instant::now() + patience;
        while state.held + more > MOST && state.all.keys().next() != Some(&id) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.waiting >= QUEUE {
                return Err(IncomingError::Busy);
            }
            state.waiting += 1;
            state = HEADS.less.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        state.held += more;
        state.all.insert(id, has + more);
        Ok(())
    }
}

impl Drop for HeadShare {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            let mut state = HEADS.state();
            let has = state.all.remove(&id).unwrap_or(0);
            state.held -= has;
            HEADS.less.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test for all, since the bound is the process's.
    #[test]
    fn long_headers_share_a_bound_and_whoever_began_first_goes_on() {
        let (mut one, mut other) = (HeadShare::default(), HeadShare::default());
        let long = (FREE + (1 << 20)) as usize;
        one.becomes(long).unwrap();
        other.becomes(FREE as usize).unwrap();
        one.becomes((2 * MOST) as usize).unwrap();
        assert!(matches!(other.within(long, Duration::ZERO), Err(IncomingError::Busy)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| other.becomes(long));
            while HEADS.state().waiting == 0 {
                std::thread::yield_now();
            }
            drop(one);
            waiting.join().unwrap().unwrap();
        });
        drop(other);
        assert_eq!(HEADS.state().held, 0);
    }
}
