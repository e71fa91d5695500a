//! What a repository does when it has its turn: one batch of changes, or one piece of idle work.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::inbox::{Batch, Next};
use super::refresh::{Remains, as_dirty};
use super::verify::Finding;
use super::{Handle, OPEN_CATALOGS, Published, Repository, RepositoryError, Shared, lock, pool};
use crate::tree::{Dirty, Found};

/// How long the catalog stays open after the last change.
const LINGER: Duration = Duration::from_secs(10);
/// With more catalogs open than this, one is closed as soon as its changes are published.
const MANY: usize = 32;
/// Quiet time after which the next publication is prepared.
const QUIET: Duration = Duration::from_millis(20);
/// Waits between attempts after a failure, doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// The wait before the first one, where a directory was gone for a moment.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long differences found in idle time may gather.
const MEND_AFTER: Duration = Duration::from_secs(30);
/// How often files outside of the tree are looked at: nobody tells of them.
const LOOK_OUTSIDE: Duration = Duration::from_secs(30);
/// After a publication of uploads the next one, of uploads that came meanwhile and that nobody waits for, is put
/// off for so many times the time it took.
const PAUSE: u32 = 16;
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// When files that were too young to be sure of are looked at once more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What waits for its time; travels with the repository.
pub struct Later {
    looks: Vec<(Instant, Dirty)>,
    recheck: Vec<Found>,
    /// What was found to differ when it was read again, since when. Mended together, so that metadata full of
    /// small errors of others do not cost a publication each.
    mended: Dirty,
    mended_since: Option<Instant>,
    /// What could not be taken up, and when it is tried again. Any batch before then takes it along: its
    /// changes must not pass for published with those that came after them.
    failed: Option<(Instant, Dirty)>,
    failures: u32,
    /// Whether repodata/ is to be held against what is published, and the keys to be read again: asked for and not done.
    check_metadata: bool,
    check_keys: bool,
    /// What is to be mended and is not yet: whatever failed before it or at it, the next batch mends it.
    mend: Vec<Finding>,
    /// When files outside of the tree are looked at next, if there are any.
    outside: Option<Instant>,
    /// When something was last taken up.
    active: Instant,
    /// What is still to be done in idle time.
    idle: Idle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Idle {
    /// Tidy up and prepare the next publication.
    Prepare,
    /// Close the catalog once it has not been used for a while.
    Rest,
    Nothing,
}

impl Default for Later {
    fn default() -> Self {
        Self {
            looks: Vec::new(),
            recheck: Vec::new(),
            mended: Dirty::default(),
            mended_since: None,
            failed: None,
            failures: 0,
            check_metadata: false,
            check_keys: false,
            mend: Vec::new(),
            outside: None,
            active: Instant::now(),
            idle: Idle::Nothing,
        }
    }
}

impl Later {
    fn at(&mut self, delay: Duration, dirty: Dirty) {
        if !dirty.is_empty() {
            self.looks.push((Instant::now() + delay, dirty));
        }
    }

    /// Takes what is to be mended up when it was the last of it, or when some of it has waited long enough.
    fn mend(&mut self, changed: Dirty, last: bool) {
        if !changed.is_empty() {
            self.mended_since.get_or_insert_with(Instant::now);
            self.mended.merge(changed);
        }
        if last || self.mended_since.is_some_and(|since| since.elapsed() > MEND_AFTER) {
            self.mended_since = None;
            let mended = std::mem::take(&mut self.mended);
            self.at(Duration::ZERO, mended);
        }
    }

    /// What is due now, and whether a failed attempt is, which may have had no place of its own.
    fn due(&mut self, now: Instant) -> (Dirty, bool) {
        let mut dirty = Dirty::default();
        for (_, due) in self.looks.extract_if(.., |(at, _)| *at <= now) {
            dirty.merge(due);
        }
        let failed = self.failed.take_if(|(at, _)| *at <= now);
        let is_retry = failed.is_some();
        dirty.merge(failed.map(|(_, failed)| failed).unwrap_or_default());
        (dirty, is_retry)
    }

    /// Puts off what could not be taken up, longer each time.
    fn fail(&mut self, dirty: Dirty) {
        let delay = (FIRST_RETRY * 2u32.saturating_pow(self.failures)).min(LAST_RETRY);
        self.failures = (self.failures + 1).min(10);
        self.put_off(delay, dirty);
    }

    /// Has these tried again after `delay`, or by any batch before then.
    pub(super) fn put_off(&mut self, delay: Duration, mut dirty: Dirty) {
        if let Some((_, before)) = self.failed.take() {
            dirty.merge(before);
        }
        self.failed = Some((Instant::now() + delay, dirty));
    }

    /// When the next turn is needed, if nothing is asked for until then.
    fn next_turn(&self) -> Option<Instant> {
        let idle = match self.idle {
            Idle::Prepare => Some(self.active + QUIET),
            _ if !self.recheck.is_empty() => Some(Instant::now()),
            Idle::Rest => Some(self.active + LINGER),
            Idle::Nothing => None,
        };
        let failed = self.failed.iter().map(|(at, _)| *at);
        self.looks.iter().map(|(at, _)| *at).chain(failed).chain(idle).chain(self.outside).min()
    }
}

/// Gives the repository a turn, unless it waits for one already.
pub fn wake(shared: &Arc<Shared>) {
    if shared.inbox.schedule() || shared.inbox.hurry() {
        pool::push(Arc::clone(shared));
    }
}

/// One turn, on a thread of the pool.
pub fn turn(shared: &Arc<Shared>) {
    let mut repository = lock(&shared.repository);
    let batch = shared.inbox.take();
    let (begun, uploads) = (Instant::now(), batch.arrived.len());
    // Whatever happens, the repository must get its next turn.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| one_thing(shared, &mut repository, batch)));
    look_after_catalog(shared, &mut repository);
    if outcome.is_err() {
        let trouble = RepositoryError::Panicked { name: shared.config.name.clone() };
        report(shared, &trouble);
        repository.later.fail(Dirty::everything());
    }
    let later = [repository.later.next_turn(), repository.unread.next(), repository.contest.ends()];
    let next = later.into_iter().flatten().min();
    drop(repository);
    // Uploads that come one upon the other are published together, or publishing each few would take the
    // disk and the processor from those that follow.
    let pause = (begun.elapsed() * PAUSE).min(LONGEST_PAUSE);
    match shared.inbox.end_turn(uploads > 0) {
        Next::Turn => pool::push(Arc::clone(shared)),
        Next::Later => pool::remind(Instant::now() + pause, shared),
        Next::Nothing => {
            if let Some(at) = next {
                pool::remind(at, shared);
            }
        }
    }
}

/// Has everything compared as soon as the catalog turned out to be another, and the doors know.
fn look_after_catalog(shared: &Shared, repository: &mut Repository) {
    shared.is_lost.store(repository.remembered.is_lost(), Ordering::Release);
    if repository.remembered.take_renewed() {
        // They may have the other one open.
        *lock(&shared.reader) = None;
        if repository.remembered.is_lost() {
            repository.later.put_off(Duration::ZERO, Dirty::everything());
        }
    }
}

fn one_thing(shared: &Arc<Shared>, repository: &mut Repository, mut batch: Batch) {
    if shared.suspect.swap(false, Ordering::Relaxed) {
        repository.drop_catalog();
    }
    let now = Instant::now();
    let (mut due, mut is_due) = repository.later.due(now);
    due.merge(repository.unread.due(now));
    if repository.contest.is_due(now) {
        is_due = true;
        batch.check_metadata = true;
    }
    let outside = repository.later.outside.take_if(|at| *at <= Instant::now()).is_some();
    if outside {
        repository.later.outside = Some(Instant::now() + LOOK_OUTSIDE);
    }
    if is_due || !batch.is_empty() || !due.is_empty() || outside && repository.is_changed_outside() {
        batch.dirty.merge(due);
        if let Some((_, failed)) = repository.later.failed.take() {
            batch.dirty.merge(failed);
        }
        shared.awake.store(true, Ordering::Relaxed);
        take_up(shared, repository, batch);
        repository.later.active = Instant::now();
        repository.later.idle = Idle::Prepare;
        if crowded() {
            idle_work(shared, repository);
            shared.close_catalog(repository);
            repository.later.idle = Idle::Nothing;
        }
        return;
    }
    let quiet_for = repository.later.active.elapsed();
    match repository.later.idle {
        Idle::Prepare if quiet_for >= QUIET => {
            if idle_work(shared, repository) {
                repository.later.idle = Idle::Rest;
            } else {
                // It goes on when it is quiet again.
                repository.later.active = Instant::now();
            }
        }
        _ if !repository.later.recheck.is_empty() => {
            let mut waiting = std::mem::take(&mut repository.later.recheck);
            match repository.recheck(&mut waiting) {
                Ok(changed) => repository.later.mend(changed, waiting.is_empty()),
                Err(trouble) => report(shared, &trouble),
            }
            repository.later.recheck = waiting;
        }
        Idle::Rest if quiet_for >= LINGER => {
            shared.close_catalog(repository);
            repository.later.idle = Idle::Nothing;
        }
        // Woken for something that has been done meanwhile.
        Idle::Prepare | Idle::Rest | Idle::Nothing => {}
    }
}

/// Whether all of it is done.
fn idle_work(shared: &Arc<Shared>, repository: &mut Repository) -> bool {
    repository.tidy();
    Handle { shared: Arc::clone(shared) }.expire_kept();
    let stop = || shared.inbox.has_work() || pool::has_waiting();
    repository.prepare(&stop).unwrap_or_else(|trouble| {
        match repository.cure(&trouble) {
            Some(places) => repository.later.put_off(Duration::ZERO, places),
            None => report(shared, &trouble),
        }
        true
    })
}

/// Whether more catalogs are open than should stay so.
fn crowded() -> bool {
    OPEN_CATALOGS.load(Ordering::Relaxed) > MANY
}

/// Takes up a batch; what fails is tried again later, what is not ready is looked at again.
fn take_up(shared: &Shared, repository: &mut Repository, mut batch: Batch) {
    let upto = batch.upto;
    let whole = batch.dirty.everything.then(Instant::now);
    // Asked for by a person, or the time of the slow path: then nobody waits for others to be quiet.
    let is_asked = batch.dirty.everything;
    repository.later.check_metadata |= batch.check_metadata || is_asked;
    repository.later.check_keys |= batch.check_keys;
    repository.later.mend.append(&mut batch.mend);
    let waits = match repository.is_being_removed(repository.later.check_metadata) {
        // What comes in is not removed, and somebody may wait for it.
        _ if !batch.arrived.is_empty() => None,
        Ok(waits) => waits,
        Err(trouble) => {
            report(shared, &trouble);
            let mut again = as_dirty(&batch);
            again.merge(repository.cure(&trouble).unwrap_or_default());
            return repository.later.fail(again);
        }
    };
    if let Some(waits) = waits {
        return repository.later.put_off(waits, as_dirty(&batch));
    }
    let checked = check(repository, is_asked);
    let checked = checked.and_then(|()| {
        let mend = repository.later.mend.clone();
        batch.dirty.settled.extend(repository.mend(&mend)?);
        // From here on it is places that are dirty, which stay so until they are taken up.
        repository.later.mend.clear();
        Ok(())
    });
    let mut again = as_dirty(&batch);
    let begun = Instant::now();
    let before = repository.published.clone();
    let refreshed = checked.and_then(|()| repository.refresh_cured(batch, again.clone(), &()));
    let contested = repository.contested();
    match refreshed {
        Ok(Remains { put_off: true, .. }) => repository.later.put_off(shared.config.settle, again),
        Ok(Remains { unsettled, young, recheck, refused, outside, rejected, read, .. }) => {
            // The time it took to read packages says nothing about the next comparison.
            if let (Some(begun), 0, Some(tell)) = (whole, read, shared.compared.get()) {
                tell(begun.elapsed());
            }
            let has_outside = shared.config.additional_metadata.outside().next().is_some();
            let is_other = |now: &Arc<Published>| before.is_none_or(|before| !Arc::ptr_eq(&before, now));
            if repository.published.as_ref().is_some_and(is_other) {
                shared.figures.published(begun.elapsed());
            }
            let later = &mut repository.later;
            later.outside = has_outside.then(|| Instant::now() + LOOK_OUTSIDE);
            later.failures = 0;
            later.at(
                shared.config.settle,
                Dirty { unsure: unsettled.into_iter().collect(), ..Dirty::default() },
            );
            later.at(LOOK_AGAIN, Dirty::all_settled(young));
            later.recheck.extend(recheck);
            let unread = repository.unread.list();
            shared.inbox.pass(upto);
            shared.progress.send_modify(|progress| {
                progress.passed = progress.passed.max(upto);
                progress.published.clone_from(&repository.published);
                if contested.is_none() && progress.trouble.take().is_some() {
                    info!(repo.name = %shared.config.name, "{} is kept up to date again", shared.config.name);
                }
                if let Some(refused) = refused {
                    progress.refused = refused;
                }
                progress.left_out = rejected + progress.refused.len() + outside.len();
                progress.refused_outside = outside;
                progress.unread = unread;
            });
            if let Some(contested) = contested {
                report(shared, &contested);
            }
        }
        Err(trouble) if repository.later.failures == 0 && trouble.is_passing() => {
            // Others rename and remove directories beside us; most often the next attempt finds them in place.
            warn!(repo.name = %shared.config.name, "{}: {}; trying again", shared.config.name, chain(&trouble));
            repository.later.failures = 1;
            repository.later.put_off(AT_ONCE, again);
        }
        Err(trouble) => {
            shared.figures.failed();
            report(shared, &trouble);
            again.merge(repository.cure(&trouble).unwrap_or_default());
            repository.later.fail(again);
        }
    }
}

/// Does what was asked for before anything is looked at; what fails is asked for still.
fn check(repository: &mut Repository, is_asked: bool) -> Result<(), RepositoryError> {
    if repository.later.check_metadata {
        repository.heal_metadata(is_asked)?;
        repository.later.check_metadata = false;
    }
    if repository.later.check_keys {
        repository.check_keys()?;
        repository.later.check_keys = false;
    }
    Ok(())
}

/// Logs trouble, once, and shows it in the status.
fn report(shared: &Shared, trouble: &RepositoryError) {
    let text = chain(trouble);
    shared.progress.send_if_modified(|progress| {
        if progress.trouble.as_ref() == Some(&text) {
            return false;
        }
        error!(repo.name = %shared.config.name, "{} is not kept up to date: {text}", shared.config.name);
        progress.trouble = Some(text.clone());
        true
    });
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
