//! Whose password is checked next: a good hash costs a quarter of a second of a core, and strangers may send many.
//!
//! Few wait, and few of one address; whoever comes to a full queue is told so at once. Addresses from which somebody
//! logged in lately have a queue and a core of their own, so that strangers do not keep them out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limiter::{Key, key};

/// Who may wait, of all together in each queue, and of one address.
const WAITING: usize = 32;
const OF_ONE: usize = 8;
/// How long an address from which a password was right is known, and how many are.
const KNOWN: Duration = Duration::from_secs(24 * 3600);
const MOST_KNOWN: usize = 10_000;

/// Two queues: of strangers, and of addresses that are known.
pub(super) struct Queue {
    strangers: Lane,
    friends: Lane,
    known: Mutex<HashMap<Key, Instant>>,
}

struct Lane {
    hashing: Arc<Semaphore>,
    waiting: Arc<Mutex<HashMap<Key, usize>>>,
}

/// The right to have one hash made.
pub(super) struct Turn {
    _hashing: OwnedSemaphorePermit,
}

impl Default for Queue {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lane = |cores| Lane { hashing: Arc::new(Semaphore::new(cores)), waiting: Arc::default() };
        Self {
            strangers: lane((cores / 2).max(1)),
            friends: lane(cores.div_ceil(2)),
            known: Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// Waits until a password from this address may be checked; `None` when too many wait already.
    pub(super) async fn turn(&self, address: Option<IpAddr>) -> Option<Turn> {
        let known = lock(&self.known).get(&key(address)).is_some_and(|at| at.elapsed() < KNOWN);
        // A known address that is full of guesses is served like any other.
        match known {
            true => match self.friends.turn(key(address)).await {
                None => self.strangers.turn(key(address)).await,
                turn => turn,
            },
            false => self.strangers.turn(key(address)).await,
        }
    }

    /// A password from this address was right.
    pub(super) fn was_right(&self, address: Option<IpAddr>) {
        let mut known = lock(&self.known);
        if known.len() >= MOST_KNOWN {
            known.retain(|_, at| at.elapsed() < KNOWN);
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
        }
        known.insert(key(address), Instant::now());
    }
}

impl Lane {
    async fn turn(&self, from: Key) -> Option<Turn> {
        struct Place<'w>(&'w Mutex<HashMap<Key, usize>>, Key);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                let mut waiting = lock(self.0);
                if let Some(count) = waiting.get_mut(&self.1) {
                    *count -= 1;
                    if *count == 0 {
                        waiting.remove(&self.1);
                    }
                }
            }
        }
        let place = {
            let mut waiting = lock(&self.waiting);
            if waiting.values().sum::<usize>() >= WAITING
                || waiting.get(&from).is_some_and(|own| *own >= OF_ONE)
            {
                return None;
            }
            *waiting.entry(from).or_default() += 1;
            Place(&self.waiting, from)
        };
        let hashing = self.hashing.clone().acquire_owned().await.ok()?;
        drop(place);
        Some(Turn { _hashing: hashing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u8) -> Option<IpAddr> {
        Some([192, 0, 2, last].into())
    }

    /// Lets everything that can go on go on.
    async fn settle() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn few_wait_and_whoever_is_known_does_not_wait_behind_strangers() {
        let queue = Arc::new(Queue::default());
        queue.was_right(from(200));
        let mut held = Vec::new();
        let free = queue.strangers.hashing.available_permits();
        for _ in 0..free {
            held.push(queue.turn(from(1)).await.unwrap());
        }
        let wait = |last: u8| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.turn(from(last)).await.is_some() })
        };
        let one: Vec<_> = (0..20).map(|_| wait(1)).collect();
        settle().await;
        assert_eq!(one.iter().filter(|task| task.is_finished()).count(), 20 - OF_ONE);
        let others: Vec<_> = (2..102).map(wait).collect();
        settle().await;
        assert_eq!(others.iter().filter(|task| !task.is_finished()).count(), WAITING - OF_ONE);
        assert!(queue.turn(from(102)).await.is_none(), "too many wait");
        assert!(queue.turn(from(200)).await.is_some(), "who is known waits for nobody here");
        drop(held);
        for task in one.into_iter().chain(others) {
            task.await.unwrap();
        }
        assert!(queue.turn(from(102)).await.is_some());
        assert!(lock(&queue.strangers.waiting).is_empty());
    }
}
