//! What the WebDAV side of a repository keeps in memory: locks, and names that are not files yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::allowance::{Allowance, Taken};
use super::locks::Locks;
use super::stream::Places;
use crate::auth::Holder;

/// How long a name that an empty PUT has made waits for its content.
const WAITS: Duration = Duration::from_secs(600);
/// The most such names of one repository.
const MOST: usize = 1000;

/// The shares of all repositories, by name, and what bounds them together. They outlive a changed configuration.
#[derive(Default)]
pub(crate) struct Shares {
    by_name: Mutex<HashMap<String, Arc<Share>>>,
    allowance: Arc<Allowance>,
    pub(super) places: Places,
}

impl Shares {
    pub(crate) fn of(&self, repository: &str) -> Arc<Share> {
        let mut shares = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(repository) {
            return Arc::clone(share);
        }
        let made = || Arc::new(Share::within(&self.allowance));
        Arc::clone(shares.entry(repository.to_owned()).or_insert_with(made))
    }
}

/// One repository's locks and placeholders.
#[derive(Debug)]
pub(crate) struct Share {
    pub(super) locks: Locks,
    allowance: Arc<Allowance>,
    placeholders: Mutex<BTreeMap<String, Placeholder>>,
}

#[derive(Debug)]
struct Placeholder {
    made: SystemTime,
    /// `None`: as long as the name is locked.
    until: Option<Instant>,
    /// `None`: its lock has taken room for both.
    _room: Option<Taken>,
}

impl Share {
    fn within(allowance: &Arc<Allowance>) -> Self {
        let locks = Locks::new(Arc::clone(allowance));
        Self { locks, allowance: Arc::clone(allowance), placeholders: Mutex::default() }
    }

    /// Makes an empty thing that lives as long as its lock. `false`: there are too many.
    pub(super) fn hold_locked(&self, place: &str) -> bool {
        self.hold(place, None, || Some(None))
    }

    /// Makes an empty thing that waits for its content. `false`: there are too many.
    pub(super) fn hold_for_content(&self, place: &str, holder: &Holder) -> bool {
        let bytes = size_of::<Placeholder>() + place.len();
        self.hold(place, Some(Instant::now() + WAITS), || self.allowance.take(holder, bytes).map(Some))
    }

    /// `room`: `None` when there is none.
    fn hold(
        &self,
        place: &str,
        until: Option<Instant>,
        room: impl FnOnce() -> Option<Option<Taken>>,
    ) -> bool {
        let mut all = self.placeholders.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|place, placeholder| self.lives(place, placeholder));
        if all.len() >= MOST && !all.contains_key(place) {
            return false;
        }
        let Some(room) = room() else { return false };
        all.insert(place.to_owned(), Placeholder { made: SystemTime::now(), until, _room: room });
        true
    }

    fn lives(&self, place: &str, placeholder: &Placeholder) -> bool {
        placeholder.until.is_some_and(|until| until > Instant::now()) || self.locks.is_locked(place)
    }

    /// When the empty thing of this name was made, if there is one.
    pub(crate) fn placeholder(&self, place: &str) -> Option<SystemTime> {
        let all = self.placeholders.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(place)?;
        self.lives(place, found).then_some(found.made)
    }

    /// The names of the empty things in a folder (empty: the top).
    pub(super) fn placeholders_in(&self, folder: &str) -> Vec<(String, SystemTime)> {
        let all = self.placeholders.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        all.range(prefix.clone()..)
            .take_while(|(place, _)| place.starts_with(&prefix))
            .filter(|(place, placeholder)| self.lives(place, placeholder))
            .filter_map(|(place, placeholder)| Some((place.strip_prefix(&prefix)?, placeholder.made)))
            .filter(|(name, _)| !name.contains('/'))
            .map(|(name, made)| (name.to_owned(), made))
            .collect()
    }

    /// Forgets an empty thing: something real has its name, or it was removed. Says whether it was there.
    pub(super) fn let_go(&self, place: &str) -> bool {
        let mut all = self.placeholders.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(place).is_some_and(|placeholder| self.lives(place, &placeholder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Principal;
    use crate::dav::allowance::SHARE;

    #[test]
    fn placeholders_are_seen_in_their_folder_only_and_are_bounded() {
        let share = Share::within(&Arc::default());
        let holder = |number: usize| Holder::Named(Principal::Token((number / SHARE.things).to_string()));
        assert!(["a/x", "a/b/y", "z"].iter().all(|place| share.hold_for_content(place, &holder(0))));
        let names =
            |folder| share.placeholders_in(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!((names("a"), names("")), (vec!["x".to_owned()], vec!["z".to_owned()]));
        assert!(share.let_go("z") && !share.let_go("z") && share.placeholder("z").is_none());
        // Nobody has locked it: it is gone as soon as it is there.
        assert!(share.hold_locked("unlocked") && share.placeholder("unlocked").is_none());
        let hold = |number: usize, by: usize| share.hold_for_content(&format!("n{number}"), &holder(by));
        assert_eq!((0..MOST).filter(|number| hold(*number, 0)).count(), SHARE.things - 2, "of one");
        assert_eq!((MOST..3 * MOST).filter(|number| hold(*number, *number)).count(), MOST - SHARE.things);
    }
}
