//! Reads every repository again from time to time, one after the other, when nobody asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tracing::error;

use crate::logging::chain;
use crate::repository::Handle;
use crate::serve::Site;

/// How long until the clock is looked at again, at most.
const LOOK: Duration = Duration::from_secs(60);

/// Breaks off what is being read when it is dropped.
pub struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Verifies whatever is due, until the returned [`Stop`] is dropped.
pub fn start(site: Arc<Site>) -> Stop {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    tokio::spawn(async move {
        while !stopped.load(Ordering::Relaxed) {
            let site = Arc::clone(&site);
            let stopped = Arc::clone(&stopped);
            let wait = tokio::task::spawn_blocking(move || verify_due(&site, &stopped)).await;
            tokio::time::sleep(wait.unwrap_or(LOOK)).await;
        }
    });
    Stop(stop)
}

/// Verifies those that are due; how long until the next one is, or the clock is to be looked at.
fn verify_due(site: &Site, stopped: &AtomicBool) -> Duration {
    let handles: Vec<Handle> = site.now().all().iter().filter_map(|mount| mount.door.clone().ok()).collect();
    let mut next = LOOK;
    for handle in handles {
        if stopped.load(Ordering::Relaxed) {
            return Duration::ZERO;
        }
        // Before its first publication there is nothing to hold anything against.
        if handle.published().is_none() {
            next = Duration::from_secs(1);
            continue;
        }
        match handle.verify_due(SystemTime::now()) {
            None => {}
            Some(Duration::ZERO) => {
                if let Err(cause) = handle.verify(&(), &|| stopped.load(Ordering::Relaxed), true) {
                    let (name, why) = (&handle.config().name, chain(cause.as_ref()));
                    error!(repo.name = %name, "cannot verify {name}: {why}");
                }
            }
            Some(wait) => next = next.min(wait),
        }
    }
    next.max(Duration::from_millis(100))
}
