//! Memory that all packages share while they are read: who needs some waits in turn for it.
//!
//! One package may take much, and nobody knows how many come at once. So the process has one amount for
//! all: a package takes its part before its header is unfolded and gives it back once its metadata is
//! written. Nobody ever holds a part and waits for another, so that the queue always moves on.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What one package may take, and all together: the whole daemon is to live in 512 MiB.
pub const MEMORY: u64 = 192 << 20;
/// What a package asks for at first, and next when that is not enough. Nearly all are content with the first.
pub(super) const PARTS: [u64; 3] = [4 << 20, 32 << 20, MEMORY];
/// Those that wait no longer than some time are at most so many: each holds a thread.
const QUEUE: usize = 200;

static READING: Turns = Turns::of(MEMORY);

/// Waits for `bytes` of what all packages share; `None` when it took longer than `patience` (which `None` has without end), or
/// too many wait already. Blocking.
pub fn take(bytes: u64, patience: Option<Duration>) -> Option<Turn> {
    READING.take(bytes, patience)
}

/// What is shared: whoever came first is first, also where those behind need less.
pub(crate) struct Turns {
    state: Mutex<State>,
    whole: u64,
    moved: Condvar,
}

struct State {
    used: u64,
    /// Who waits, first come first.
    queue: VecDeque<u64>,
    last: u64,
}

/// Some of the memory; given back when dropped.
pub struct Turn {
    turns: &'static Turns,
    bytes: u64,
}

impl Turn {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Turns {
    pub(crate) const fn of(whole: u64) -> Self {
        let state = State { used: 0, queue: VecDeque::new(), last: 0 };
        Self { state: Mutex::new(state), whole, moved: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`take`].
    pub(crate) fn take(&'static self, bytes: u64, patience: Option<Duration>) -> Option<Turn> {
        let mut state = self.state();
        if patience.is_some() && state.queue.len() >= QUEUE {
            return None;
        }
        let until = patience.map(|patience| Instant::now() + patience);
        state.last += 1;
        let own = state.last;
        state.queue.push_back(own);
        loop {
            if state.queue.front() == Some(&own) && state.used + bytes <= self.whole {
                state.queue.pop_front();
                state.used += bytes;
                self.moved.notify_all();
                return Some(Turn { turns: self, bytes });
            }
            state = match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => {
                    state.queue.retain(|waiting| *waiting != own);
                    self.moved.notify_all();
                    return None;
                }
                Some(left) => self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().used -= self.bytes;
        self.turns.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn whoever_needs_all_waits_for_the_others_and_goes_before_those_who_came_later() {
        static TURNS: Turns = Turns::of(100);
        let first = TURNS.take(60, None).unwrap();
        assert!(TURNS.take(60, Some(Duration::ZERO)).is_none(), "no room, and no patience");
        let (told, news) = mpsc::channel();
        let waiting = |bytes: u64| {
            let told = told.clone();
            let ahead = TURNS.state().queue.len();
            let thread = std::thread::spawn(move || {
                let turn = TURNS.take(bytes, None).unwrap();
                told.send(turn.bytes()).unwrap();
            });
            while TURNS.state().queue.len() == ahead {
                std::thread::yield_now();
            }
            thread
        };
        let threads = [waiting(100), waiting(1)];
        assert!(news.try_recv().is_err(), "also the small one waits for its turn");
        drop(first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(news.try_iter().collect::<Vec<_>>(), [100, 1]);
        assert_eq!(TURNS.state().used, 0);
    }

    #[test]
    fn whoever_loses_patience_stands_in_nobodys_way() {
        static TURNS: Turns = Turns::of(10);
        let all = TURNS.take(10, None).unwrap();
        assert!(TURNS.take(10, Some(Duration::from_millis(1))).is_none());
        drop(all);
        assert!(TURNS.take(10, Some(Duration::ZERO)).is_some());
    }
}
