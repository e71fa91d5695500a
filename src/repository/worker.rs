//! The thread that owns a repository while there is something to do. It starts with the first
//! change, stays for a while, and ends: a thousand quiet repositories cost no thread.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::error;

use super::inbox::{Batch, Next};
use super::refresh::{Remains, as_dirty};
use super::{Handle, Repository, RepositoryError, Shared, lock};
use crate::tree::{Dirty, Found};

/// How long a worker waits for more before it ends and the catalog is closed.
const LINGER: Duration = Duration::from_secs(10);
/// With more workers than this, those without work end at once.
const MANY: usize = 32;
/// Quiet time after which the next publication is prepared.
const QUIET: Duration = Duration::from_millis(50);
/// Waits between attempts after a failure, doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// When files that were too young to be sure of are looked at once more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

static WORKERS: AtomicUsize = AtomicUsize::new(0);

fn crowded() -> bool {
    WORKERS.load(Ordering::Relaxed) > MANY
}

pub fn start(shared: Arc<Shared>) {
    let name = format!("repo {}", shared.config.name);
    let inner = Arc::clone(&shared);
    WORKERS.fetch_add(1, Ordering::Relaxed);
    let spawned = std::thread::Builder::new().name(name).spawn(move || {
        // Whatever happens, the door must be able to start another worker.
        while std::panic::catch_unwind(AssertUnwindSafe(|| work(&inner))).is_err() {
            let trouble = RepositoryError::Panicked { name: inner.config.name.clone() };
            report(&inner, Some(&trouble));
            inner.inbox.submit(Dirty::everything());
            std::thread::sleep(FIRST_RETRY);
        }
        WORKERS.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(cause) = spawned {
        WORKERS.fetch_sub(1, Ordering::Relaxed);
        error!(repo.name = %shared.config.name, "cannot start the worker of {}: {cause}", shared.config.name);
        shared.inbox.try_end();
    }
}

/// What waits for its time.
#[derive(Default)]
struct Later {
    looks: Vec<(Instant, Dirty)>,
    recheck: Vec<Found>,
    failures: u32,
}

impl Later {
    fn at(&mut self, delay: Duration, dirty: Dirty) {
        if !dirty.is_empty() {
            self.looks.push((Instant::now() + delay, dirty));
        }
    }

    /// What is due now.
    fn due(&mut self) -> Dirty {
        let now = Instant::now();
        let mut dirty = Dirty::default();
        for (_, due) in self.looks.extract_if(.., |(at, _)| *at <= now) {
            dirty.merge(due);
        }
        dirty
    }

    fn next(&self) -> Option<Instant> {
        self.looks.iter().map(|(at, _)| *at).min()
    }
}

fn work(shared: &Arc<Shared>) {
    let mut later = Later::default();
    let mut idle_since = Instant::now();
    let mut prepared = false;
    loop {
        let now = Instant::now();
        let until = match (prepared, later.recheck.is_empty()) {
            (false, _) => now + QUIET,
            (true, false) => now,
            (true, true) if crowded() => now,
            (true, true) => idle_since + LINGER,
        };
        let until = later.next().map_or(until, |next| next.min(until));
        match shared.inbox.next(until) {
            Next::Work(batch) => {
                idle_since = Instant::now();
                prepared = false;
                let _turn = Turn::take();
                take_up(shared, &mut lock(&shared.repository), batch, &mut later);
            }
            Next::Idle => {
                let due = later.due();
                if !due.is_empty() {
                    // Nobody waits for these, so they must not lift the ticket of others.
                    let _turn = Turn::take();
                    let batch = Batch { dirty: due, ..Batch::default() };
                    take_up(shared, &mut lock(&shared.repository), batch, &mut later);
                    prepared = false;
                } else if !prepared {
                    Handle { shared: Arc::clone(shared) }.expire_kept();
                    let _turn = Turn::take();
                    let mut repository = lock(&shared.repository);
                    repository.tidy();
                    note(&repository.prepare(&|| shared.inbox.has_work()), shared);
                    prepared = true;
                } else if !later.recheck.is_empty() {
                    let _turn = Turn::take();
                    let changed = lock(&shared.repository).recheck(&mut later.recheck);
                    note(&changed, shared);
                    later.at(Duration::ZERO, changed.unwrap_or_default());
                } else if (idle_since.elapsed() >= LINGER || crowded()) && later.looks.is_empty() {
                    let mut repository = lock(&shared.repository);
                    if shared.inbox.try_end() {
                        shared.close_catalog(&mut repository);
                        return;
                    }
                }
            }
            Next::End => {
                shared.inbox.try_end();
                return;
            }
        }
    }
}

/// Takes up a batch; what fails is tried again later, what is not ready is looked at again.
fn take_up(shared: &Arc<Shared>, repository: &mut Repository, batch: Batch, later: &mut Later) {
    let upto = batch.upto;
    let again = as_dirty(&batch);
    let whole = batch.dirty.everything.then(Instant::now);
    let checked =
        if batch.check_metadata { repository.heal_metadata() } else { repository.refuse_contested() };
    match checked.and_then(|()| repository.refresh(batch, &())) {
        Ok(remains) => {
            later.failures = 0;
            let Remains { unsettled, young, recheck, refused, read } = remains;
            // The time it took to read packages says nothing about the next comparison.
            if let (Some(begun), 0, Some(tell)) = (whole, read, shared.compared.get()) {
                tell(begun.elapsed());
            }
            later.at(
                shared.config.settle,
                Dirty { unsure: unsettled.into_iter().collect(), ..Dirty::default() },
            );
            later.at(LOOK_AGAIN, Dirty { settled: young.into_iter().collect(), ..Dirty::default() });
            later.recheck.extend(recheck);
            shared.inbox.pass(upto);
            shared.progress.send_modify(|progress| {
                progress.passed = progress.passed.max(upto);
                progress.published.clone_from(&repository.published);
                progress.trouble = None;
                if let Some(refused) = refused {
                    progress.refused = refused;
                }
            });
        }
        Err(trouble) => {
            report(shared, Some(&trouble));
            let delay = (FIRST_RETRY * 2u32.saturating_pow(later.failures)).min(LAST_RETRY);
            later.failures = (later.failures + 1).min(10);
            later.at(delay, again);
        }
    }
}

fn note<T>(outcome: &Result<T, RepositoryError>, shared: &Shared) {
    if let Err(trouble) = outcome {
        report(shared, Some(trouble));
    }
}

/// Logs trouble, once, and shows it in the status.
fn report(shared: &Shared, trouble: Option<&RepositoryError>) {
    let text = trouble.map(chain);
    shared.progress.send_if_modified(|progress| {
        if let Some(text) = &text
            && progress.trouble.as_ref() != Some(text)
        {
            error!(repo.name = %shared.config.name, "{} is not kept up to date: {text}", shared.config.name);
        }
        let changed = progress.trouble != text;
        progress.trouble = text;
        changed
    });
}

/// An error with its causes, in one line.
fn chain(error: &RepositoryError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The right to work: few at a time, however many repositories there are.
struct Turn;

static WORKING: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Turn {
    fn take() -> Self {
        let limit = std::thread::available_parallelism().map_or(2, usize::from) * 2;
        let mut working = lock(&WORKING);
        while *working >= limit {
            working = FREED.wait(working).unwrap_or_else(PoisonError::into_inner);
        }
        *working += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&WORKING) -= 1;
        FREED.notify_one();
    }
}
