//! Who may read a stranger's metadata file now. What one of them may cost in memory, once it is unpacked and taken
//! apart, is bounded; that they are read one at a time bounds what all of them cost together.

use crate::package::turn::{self, Turns};

/// Files that somebody sends.
static SENT: Turns = Turns::of(1);
/// Files that lie in a repository. Who sends files must not hold them up.
static LYING: Turns = Turns::of(1);

/// A turn; over when it is dropped.
pub struct Turn {
    _one: Option<turn::Turn>,
}

impl Turn {
    /// Waits until no other file that was sent is read. Whoever came first is first.
    pub fn for_sent() -> Self {
        Self::of(&SENT)
    }

    /// Waits until no other file that lies in a repository is read. Whoever came first is first.
    pub fn for_lying() -> Self {
        Self::of(&LYING)
    }

    fn of(turns: &'static Turns) -> Self {
        Self { _one: turns.take(1, None) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_reads_at_a_time_and_all_come_to_their_turn() {
        static TURNS: Turns = Turns::of(1);
        let (inside, done) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let _turn = Turn::of(&TURNS);
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
        static TURNS: Turns = Turns::of(1);
        let failed = std::thread::spawn(|| {
            let _turn = Turn::of(&TURNS);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(failed.join().is_err());
        drop(Turn::of(&TURNS));
    }
}
