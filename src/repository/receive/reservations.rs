//! Whose turn it is with a name and a NEVRA.

use std::collections::HashSet;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::config::RepositoryConfig;
use crate::incoming::kept::Kept;
use crate::package::{Location, Nevra};

/// Names and NEVRAs that uploads are taking this moment, and what removals have kept.
#[derive(Default)]
pub struct Reservations {
    taken: Mutex<HashSet<Key>>,
    released: Condvar,
    /// `None` until first asked for.
    kept: Mutex<Option<Kept>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    Location(Location),
    Nevra(Nevra),
}

/// One's turn with a name and a NEVRA; over when dropped.
pub(in crate::repository) struct Held<'r> {
    reservations: &'r Reservations,
    keys: Vec<Key>,
}

impl Reservations {
    /// Waits for its turn.
    pub(super) fn hold(&self, location: &Location, nevra: Option<&Nevra>) -> Held<'_> {
        let mut keys = vec![Key::Location(location.clone())];
        keys.extend(nevra.cloned().map(Key::Nevra));
        self.hold_keys(keys)
    }

    /// Waits for its turn with two names, for a rename.
    pub(in crate::repository) fn hold_both(&self, from: &Location, to: &Location) -> Held<'_> {
        self.hold_keys(vec![Key::Location(from.clone()), Key::Location(to.clone())])
    }

    /// Waits for its turn with all that a batch holds.
    pub(in crate::repository) fn hold_all(&self, locations: &[Location], nevras: &[Nevra]) -> Held<'_> {
        let locations = locations.iter().cloned().map(Key::Location);
        self.hold_keys(locations.chain(nevras.iter().cloned().map(Key::Nevra)).collect())
    }

    /// All at once, so two can never wait for each other.
    fn hold_keys(&self, keys: Vec<Key>) -> Held<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while keys.iter().any(|key| taken.contains(key)) {
            taken = self.released.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        taken.extend(keys.iter().cloned());
        Held { reservations: self, keys }
    }

    /// What removals have kept; reads the disk when first asked.
    pub(in crate::repository) fn kept(
        &self,
        config: &RepositoryConfig,
    ) -> io::Result<MutexGuard<'_, Option<Kept>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.is_none() {
            *kept = Some(Kept::open(config)?);
        }
        Ok(kept)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut taken = self.reservations.taken.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &self.keys {
            taken.remove(key);
        }
        self.reservations.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_for_one_at_a_time() {
        let reservations = Reservations::default();
        let [a, b] = ["a.rpm", "b.rpm"].map(|text| Location::parse(text).unwrap());
        let inside = std::sync::atomic::AtomicUsize::new(0);
        let first = reservations.hold(&a, None);
        std::thread::scope(|scope| {
            // Another name goes ahead.
            drop(reservations.hold(&b, None));
            for _ in 0..8 {
                scope.spawn(|| {
                    let _held = reservations.hold(&a, None);
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                });
            }
            drop(first);
        });
        assert!(reservations.taken.lock().unwrap().is_empty());
    }
}
