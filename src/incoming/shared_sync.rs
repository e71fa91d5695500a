//! fsync of a directory, once for all who put a name into it while the one before was under way.
//!
//! Uploads end side by side, mostly in one directory. What a sync writes is what was there when it began, so
//! those who come meanwhile can share the next one instead of queueing for one each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Directories that are being synced, by device and inode.
static UNDER_WAY: Mutex<BTreeMap<(u64, u64), Arc<Turns>>> = Mutex::new(BTreeMap::new());

/// The syncs of one directory, one after the other.
#[derive(Default)]
struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    is_running: bool,
    begun: u64,
    ended: u64,
    /// The last one that failed, and how.
    failed: Option<(u64, Option<i32>)>,
}

/// Makes every name that `directory` has now survive a power cut.
pub(super) fn sync_directory(directory: &File) -> io::Result<()> {
    let metadata = directory.metadata()?;
    let place = (metadata.dev(), metadata.ino());
    let turns = Arc::clone(lock(&UNDER_WAY).entry(place).or_default());
    let outcome = turns.take(|| directory.sync_all());
    let mut all = lock(&UNDER_WAY);
    drop(turns);
    if all.get(&place).is_some_and(|turns| Arc::strong_count(turns) == 1) {
        all.remove(&place);
    }
    outcome
}

impl Turns {
    /// Returns once a sync is over that began after the call: somebody's, or our own.
    fn take(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = lock(&self.state);
        // One that runs already may have passed over our name.
        let mine = state.begun + 1;
        while state.is_running && state.ended < mine {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended >= mine {
            return match state.failed {
                Some((number, code)) if number >= mine => {
                    Err(code.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error))
                }
                _ => Ok(()),
            };
        }
        state.is_running = true;
        state.begun = mine;
        drop(state);
        let outcome = sync();
        let mut state = lock(&self.state);
        state.is_running = false;
        state.ended = mine;
        if let Err(error) = &outcome {
            state.failed = Some((mine, error.raw_os_error()));
        }
        drop(state);
        self.ended.notify_all();
        outcome
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn those_who_come_during_a_sync_share_the_next_one() {
        let (turns, syncs) = (Turns::default(), AtomicUsize::new(0));
        let (go, may_go) = mpsc::channel();
        let (begun, has_begun) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                turns.take(move || {
                    begun.send(()).unwrap();
                    may_go.recv().unwrap();
                    Ok(())
                })
            });
            has_begun.recv().unwrap();
            let others: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        turns.take(|| {
                            syncs.fetch_add(1, Ordering::SeqCst);
                            Err(io::Error::from_raw_os_error(5))
                        })
                    })
                })
                .collect();
            // All eight wait: nobody counts the sync that was under way when they came.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(syncs.load(Ordering::SeqCst), 0);
            go.send(()).unwrap();
            for other in others {
                let error = other.join().unwrap().unwrap_err();
                assert_eq!(error.raw_os_error(), Some(5), "its failure is everybody's");
            }
        });
        // One if all came in time; a late one has a sync of its own.
        assert!((1..=8).contains(&syncs.load(Ordering::SeqCst)));
        assert!(turns.take(|| Ok(())).is_ok(), "a failure before is nobody's business");
    }

    #[test]
    fn a_directory_is_forgotten_when_nobody_waits() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::open(directory.path()).unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| sync_directory(&file))).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        let metadata = file.metadata().unwrap();
        assert!(!lock(&UNDER_WAY).contains_key(&(metadata.dev(), metadata.ino())));
    }
}
