//! Places for uploads: each has files open, and may come slowly, so there are few at a time, of all clients together
//! and of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::Crowded;
use super::error::ServeError;
use super::work::share;
use crate::auth::Holder;

/// How long an upload waits for a place, and how often it looks.
const WAIT: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// While others wait, an upload of which one block takes longer than this makes room.
pub(crate) const SLOW: Duration = Duration::from_secs(5);
/// Uploads that wait for a place.
const WAITING: usize = 256;

/// The places of the whole server.
pub(crate) struct Uploads {
    /// For uploads that go on as their bytes come.
    coming: Arc<Coming>,
    /// For those whose bytes are all there: each takes as long as the disk takes.
    complete: Arc<Semaphore>,
    waiting: Semaphore,
    /// Uploads that come slowly, which hear when somebody needs a place.
    pub(crate) slow: Arc<Crowded>,
}

struct Coming {
    places: usize,
    taken: Mutex<HashMap<Holder, usize>>,
}

/// A place of an upload that comes; given back when dropped.
pub(crate) struct Place {
    coming: Arc<Coming>,
    holder: Holder,
}

impl Uploads {
    /// For a process that may open as many files as it may now.
    pub(super) fn new() -> Self {
        Self::of(share(32).clamp(8, 512), share(32).clamp(16, 128))
    }

    fn of(coming: usize, complete: usize) -> Self {
        Self {
            coming: Arc::new(Coming { places: coming, taken: Mutex::default() }),
            complete: Arc::new(Semaphore::new(complete)),
            waiting: Semaphore::new(WAITING),
            slow: Arc::default(),
        }
    }

    /// Waits for a place for an upload that comes.
    pub(crate) async fn coming(&self, holder: &Holder) -> Result<Place, ServeError> {
        self.coming_within(holder, WAIT).await
    }

    async fn coming_within(&self, holder: &Holder, wait: Duration) -> Result<Place, ServeError> {
        if let Some(place) = self.coming.take(holder) {
            return Ok(place);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let until = Instant::now() + wait;
        loop {
            self.slow.make_room();
            sleep(LOOK).await;
            match self.coming.take(holder) {
                Some(place) => return Ok(place),
                None if Instant::now() >= until => return Err(busy()),
                None => {}
            }
        }
    }

    /// Waits for a place for an upload whose bytes are all there.
    pub(crate) async fn complete(&self) -> Result<OwnedSemaphorePermit, ServeError> {
        match timeout(WAIT, Arc::clone(&self.complete).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(busy()),
        }
    }
}

fn busy() -> ServeError {
    ServeError::Unavailable(
        "too many uploads are on their way; nothing was stored, send it again in a moment".into(),
    )
}

impl Coming {
    fn taken(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while all are taken, or this one has its part: a quarter is for those who have none yet, and of the rest one
    /// has half at most.
    fn take(self: &Arc<Self>, holder: &Holder) -> Option<Place> {
        let mut taken = self.taken();
        let all: usize = taken.values().sum();
        let own = taken.get(holder).copied().unwrap_or(0);
        let is_free = match own {
            0 => all < self.places,
            own => 2 * own < (self.places - self.places / 4).saturating_sub(all - own),
        };
        is_free.then(|| {
            taken.insert(holder.clone(), own + 1);
            Place { coming: Arc::clone(self), holder: holder.clone() }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.coming.taken();
        if let Some(own) = taken.get_mut(&self.holder) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;

    fn holder(name: usize) -> Holder {
        Holder::Named(Principal::Token(name.to_string()))
    }

    #[test]
    fn one_has_its_part_and_somebody_new_has_a_place() {
        let coming = Arc::new(Coming { places: 32, taken: Mutex::default() });
        let all_of = |name| std::iter::from_fn(|| coming.take(&holder(name))).collect::<Vec<_>>();
        let one = all_of(1);
        assert_eq!(one.len(), 12);
        let two = all_of(2);
        assert!((4..=12).contains(&two.len()), "{}", two.len());
        let others: Vec<_> = (3..100).filter_map(|name| coming.take(&holder(name))).collect();
        assert_eq!(one.len() + two.len() + others.len(), 32);
        drop(one);
        assert!(coming.take(&holder(1000)).is_some());
        drop((two, others));
        assert!(coming.taken().is_empty());
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_of_who_is_slow_or_an_answer() {
        let uploads = Uploads::of(8, 16);
        let mut taken: Vec<_> = (0..8).filter_map(|name| uploads.coming.take(&holder(name))).collect();
        let (late, slow) = (holder(9), Arc::clone(&uploads.slow));
        let cut_off = async {
            slow.my_turn().await;
            taken.pop();
        };
        let (place, ()) = tokio::join!(uploads.coming(&late), cut_off);
        let _place = place.expect("another has made room");
        assert!(uploads.coming_within(&holder(10), Duration::ZERO).await.is_err(), "nobody does");
    }
}
