//! Work that may wait for a disk, done beside the threads that serve: of each kind a few at a time, in sum.
//!
//! Whoever asks waits for a place before anything is queued, so that what is given up while it waits leaves nothing
//! behind. A place is kept until the work ends, also where nobody waits for it any more.

use std::sync::LazyLock;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::error::ServeError;

/// How long a request waits for a place.
const WAIT: Duration = Duration::from_secs(30);
/// Places to say how things are: the answers are large, and are to be had while all others are busy.
const TELLING: usize = 2;

/// Looks at the tree and the catalog, and files that are opened.
static LOOKING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(share(32).clamp(16, 128)));
/// What changes the tree, but for uploads, whose places are [`super::uploads`].
static CHANGING: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(share(64).clamp(8, 64)));
static SAYING: Semaphore = Semaphore::const_new(TELLING);
/// Repositories that are read whole for somebody who asked.
static VERIFYING: Semaphore = Semaphore::const_new(2);

/// This part of the files that the process may open: all work opens some.
pub(super) fn share(part: u64) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(descriptors / part).unwrap_or(usize::MAX)
}

/// Waits for a piece of work that looks at something.
pub async fn blocking<T: Send + 'static>(
    attempt: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    held(place(&LOOKING).await?, attempt, work).await
}

/// Waits for a piece of work that changes the tree.
pub async fn changing<T: Send + 'static>(
    attempt: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    held(place(&CHANGING).await?, attempt, work).await
}

/// Waits for a piece of work that says how all repositories are.
pub(super) async fn saying<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    held(place(&SAYING).await?, "say how things are", work).await
}

/// Waits for a repository to be read whole, after others that somebody asked for.
pub(super) async fn verifying<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    let place = VERIFYING.acquire().await.map_err(|error| ServeError::internal("verify", error))?;
    held(place, "verify", work).await
}

async fn place(places: &'static Semaphore) -> Result<SemaphorePermit<'static>, ServeError> {
    if let Ok(place) = places.try_acquire() {
        return Ok(place);
    }
    match timeout(WAIT, places.acquire()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(ServeError::Unavailable("the server has much to do; try again in a moment".into())),
    }
}

/// Waits for a piece of work that keeps `place` as long as it goes on.
pub(crate) async fn held<T: Send + 'static>(
    place: impl Send + 'static,
    attempt: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    let work = move || {
        let _place = place;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|panic| ServeError::internal(attempt, panic))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn what_is_given_up_keeps_its_place_until_it_ends_and_is_not_queued_before_it_has_one() {
        static FEW: Semaphore = Semaphore::const_new(1);
        let (end, ends) = mpsc::channel::<()>();
        let begun =
            tokio::spawn(async move { held(place(&FEW).await?, "wait", move || ends.recv().is_ok()).await });
        while FEW.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let queued = tokio::spawn(async { held(place(&FEW).await?, "never", || unreachable!()).await });
        tokio::task::yield_now().await;
        queued.abort();
        assert!(queued.await.unwrap_err().is_cancelled());
        begun.abort();
        assert!(begun.await.unwrap_err().is_cancelled());
        assert_eq!(FEW.available_permits(), 0, "the work goes on");
        end.send(()).unwrap();
        drop(place(&FEW).await.unwrap());
    }
}
