//! Who may read a stranger's metadata file now. What one of them may cost in memory, once it is unpacked and taken
//! apart, is bounded; that they are read one at a time bounds what all of them cost together.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Files that somebody sends.
static SENT: Queue = Queue::new();
/// Files that lie in a repository. Who sends files must not hold them up.
static LYING: Queue = Queue::new();

/// A turn; over when it is dropped.
pub struct Turn(&'static Queue);

impl Turn {
    /// Waits until no other file that was sent is read. Whoever came first is first.
    pub fn for_sent() -> Self {
        SENT.wait()
    }

    /// Waits until no other file that lies in a repository is read. Whoever came first is first.
    pub fn for_lying() -> Self {
        LYING.wait()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().served += 1;
        self.0.called.notify_all();
    }
}

struct Queue {
    numbers: Mutex<Numbers>,
    called: Condvar,
}

struct Numbers {
    /// Given to whoever comes next.
    next: u64,
    /// Whose turn it is.
    served: u64,
}

impl Queue {
    const fn new() -> Self {
        Self { numbers: Mutex::new(Numbers { next: 0, served: 0 }), called: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&'static self) -> Turn {
        let mut numbers = self.lock();
        let mine = numbers.next;
        numbers.next += 1;
        while numbers.served != mine {
            numbers = self.called.wait(numbers).unwrap_or_else(PoisonError::into_inner);
        }
        Turn(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_reads_at_a_time_and_all_come_to_their_turn() {
        static QUEUE: Queue = Queue::new();
        let (inside, done) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _turn = QUEUE.wait();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 1600);
    }

    #[test]
    fn a_turn_ends_with_the_thread_that_had_it() {
        static QUEUE: Queue = Queue::new();
        let failed = std::thread::spawn(|| {
            let _turn = QUEUE.wait();
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(failed.join().is_err());
        drop(QUEUE.wait());
    }
}
