//! Write locks (RFC 4918 sections 6 and 7): in memory, few, and none for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dav_server::davpath::DavPath;
use dav_server::ls::{DavLock, DavLockSystem, LsFuture};
use xmltree::Element;

/// The most locks of one repository at a time.
pub const MOST: usize = 1000;
/// What a client gets that states no time, or more than the longest.
const USUAL: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3600);

/// The locks of one repository; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Locks(Arc<Mutex<Vec<Held>>>);

#[derive(Debug)]
struct Held {
    /// Path in the repository without slashes at its ends; empty for the top.
    place: String,
    until: Instant,
    lock: DavLock,
}

/// What a method is about to change.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'p> {
    pub place: &'p str,
    /// All that is below it changes too.
    pub deep: bool,
    /// The name itself comes or goes, which changes the folder it is in.
    pub membership: bool,
}

impl Held {
    /// Whether the lock is on `place`, or on a folder above and deep.
    fn covers(&self, place: &str) -> bool {
        self.place == place || self.lock.deep && is_below(place, &self.place)
    }

    fn is_one_of(&self, tokens: &[String]) -> bool {
        tokens.contains(&self.lock.token)
    }
}

fn is_below(place: &str, folder: &str) -> bool {
    folder.is_empty() && !place.is_empty()
        || place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Locks {
    fn now(&self) -> MutexGuard<'_, Vec<Held>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.is_empty() {
            let now = Instant::now();
            locks.retain(|held| held.until > now);
        }
        locks
    }

    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.now().len() >= MOST
    }

    /// Whether a lock is on exactly this place.
    pub fn is_locked(&self, place: &str) -> bool {
        self.now().iter().any(|held| held.place == place)
    }

    /// Whether `place` is covered by the lock that has this token.
    pub fn is_covered_by(&self, place: &str, token: &str) -> bool {
        self.now().iter().any(|held| held.lock.token == token && held.covers(place))
    }

    /// A place whose lock forbids the change to one who submits these tokens.
    pub fn forbids(&self, reach: Reach<'_>, tokens: &[String]) -> Option<String> {
        let locks = self.now();
        let parent = reach.place.rsplit_once('/').map_or("", |(parent, _)| parent);
        let concerned = |held: &&Held| {
            held.covers(reach.place)
                || reach.deep && is_below(&held.place, reach.place)
                || reach.membership && !reach.place.is_empty() && held.place == parent
        };
        let concerned: Vec<&Held> = locks.iter().filter(concerned).collect();
        // Of several shared locks on one place, holding one is enough.
        let stands_in_the_way = |held: &&&Held| {
            !held.is_one_of(tokens)
                && (!held.lock.shared
                    || !concerned.iter().any(|other| other.place == held.place && other.is_one_of(tokens)))
        };
        concerned.iter().find(stands_in_the_way).map(|held| held.place.clone())
    }

    /// All locks that cover a place.
    pub fn covering(&self, place: &str) -> Vec<DavLock> {
        self.now().iter().filter(|held| held.covers(place)).map(|held| held.lock.clone()).collect()
    }

    /// Lets go of the locks on a place that is gone, and on all below it.
    pub fn forget(&self, place: &str) {
        self.now().retain(|held| held.place != place && !is_below(&held.place, place));
    }

    fn take(
        &self,
        path: &DavPath,
        owner: Option<&Element>,
        timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> Result<DavLock, Option<DavLock>> {
        let place = place_of(path);
        let mut locks = self.now();
        let clashes = |held: &&Held| {
            (held.covers(&place) || deep && is_below(&held.place, &place)) && !(shared && held.lock.shared)
        };
        if let Some(held) = locks.iter().find(clashes) {
            return Err(Some(held.lock.clone()));
        }
        if locks.len() >= MOST {
            return Err(None);
        }
        let timeout = timeout.unwrap_or(USUAL).min(LONGEST);
        let lock = DavLock {
            token: token().ok_or(None)?,
            path: Box::new(path.clone()),
            principal: None,
            owner: owner.map(|owner| Box::new(owner.clone())),
            timeout_at: Some(SystemTime::now() + timeout),
            timeout: Some(timeout),
            shared,
            deep,
        };
        locks.push(Held { place, until: Instant::now() + timeout, lock: lock.clone() });
        Ok(lock)
    }

    fn renew(&self, path: &DavPath, token: &str, timeout: Option<Duration>) -> Option<DavLock> {
        let place = place_of(path);
        let mut locks = self.now();
        let held = locks.iter_mut().find(|held| held.lock.token == token && held.covers(&place))?;
        let timeout = timeout.or(held.lock.timeout).unwrap_or(USUAL).min(LONGEST);
        held.until = Instant::now() + timeout;
        held.lock.timeout = Some(timeout);
        held.lock.timeout_at = Some(SystemTime::now() + timeout);
        Some(held.lock.clone())
    }

    fn release(&self, path: &DavPath, token: &str) -> Option<()> {
        let place = place_of(path);
        let mut locks = self.now();
        let at = locks.iter().position(|held| held.lock.token == token && held.covers(&place))?;
        locks.swap_remove(at);
        Some(())
    }
}

/// Where a path lies in the repository.
pub fn place_of(path: &DavPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).trim_matches('/').to_owned()
}

/// `urn:uuid:…` of 122 random bits; `None` when the kernel has none to give.
fn token() -> Option<String> {
    let mut bytes = [0u8; 16];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    // RFC 9562 section 5.4
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (got == bytes.len()).then(|| {
        format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    })
}

fn ready<T: Send + 'static>(value: T) -> LsFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl DavLockSystem for Locks {
    fn lock(
        &'_ self,
        path: &DavPath,
        _principal: Option<&str>,
        owner: Option<&Element>,
        timeout: Option<Duration>,
        shared: bool,
        deep: bool,
    ) -> LsFuture<'_, Result<DavLock, DavLock>> {
        let taken = self.take(path, owner, timeout, shared, deep).map_err(|held| {
            // The caller tells no more than that there is a lock.
            held.unwrap_or_else(|| DavLock {
                token: String::new(),
                path: Box::new(path.clone()),
                principal: None,
                owner: None,
                timeout_at: None,
                timeout: None,
                shared,
                deep,
            })
        });
        ready(taken)
    }

    fn unlock(&'_ self, path: &DavPath, token: &str) -> LsFuture<'_, Result<(), ()>> {
        ready(self.release(path, token).ok_or(()))
    }

    fn refresh(
        &'_ self,
        path: &DavPath,
        token: &str,
        timeout: Option<Duration>,
    ) -> LsFuture<'_, Result<DavLock, ()>> {
        ready(self.renew(path, token, timeout).ok_or(()))
    }

    fn check(
        &'_ self,
        path: &DavPath,
        _principal: Option<&str>,
        _ignore_principal: bool,
        deep: bool,
        submitted_tokens: &[String],
    ) -> LsFuture<'_, Result<(), DavLock>> {
        let place = place_of(path);
        let reach = Reach { place: &place, deep, membership: false };
        let forbidding = self.forbids(reach, submitted_tokens);
        let lock = forbidding.and_then(|at| self.covering(&at).into_iter().next());
        ready(lock.map_or(Ok(()), Err))
    }

    fn discover(&'_ self, path: &DavPath) -> LsFuture<'_, Vec<DavLock>> {
        ready(self.covering(&place_of(path)))
    }

    fn delete(&'_ self, path: &DavPath) -> LsFuture<'_, Result<(), ()>> {
        self.forget(&place_of(path));
        ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> DavPath {
        DavPath::new(text).unwrap()
    }

    fn lock(locks: &Locks, at: &str, shared: bool, deep: bool) -> Option<String> {
        locks.take(&path(at), None, None, shared, deep).ok().map(|lock| lock.token)
    }

    fn forbids(locks: &Locks, place: &str, deep: bool, membership: bool, tokens: &[&str]) -> bool {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        locks.forbids(Reach { place, deep, membership }, &tokens).is_some()
    }

    #[test]
    fn a_deep_lock_covers_what_is_below_and_a_shallow_one_the_list_of_names() {
        let locks = Locks::default();
        let deep = lock(&locks, "/a", false, true).unwrap();
        assert!(forbids(&locks, "a/b/c", false, false, &[]));
        assert!(!forbids(&locks, "a/b/c", false, false, &[&deep]));
        assert!(!forbids(&locks, "ab", false, true, &[]), "a name that begins alike is another");
        assert!(lock(&locks, "/a/b", true, false).is_none());

        let shallow = lock(&locks, "/c/", false, false).unwrap();
        assert!(!forbids(&locks, "c/x", false, false, &[]), "an existing member may change");
        assert!(forbids(&locks, "c/x", false, true, &[]), "but none may come or go");
        assert!(!forbids(&locks, "c/x", false, true, &[&shallow]));
        assert!(
            forbids(&locks, "", true, false, &[&shallow]),
            "what is locked below counts for a deep change"
        );
    }

    #[test]
    fn shared_locks_live_together_and_one_of_them_is_enough() {
        let locks = Locks::default();
        let [one, two] = [(); 2].map(|()| lock(&locks, "/a", true, false).unwrap());
        assert!(lock(&locks, "/a", false, false).is_none());
        assert!(forbids(&locks, "a", false, false, &[]));
        for token in [&one, &two] {
            assert!(!forbids(&locks, "a", false, false, &[token]));
        }
        assert_ne!(one, two);
        assert!(locks.release(&path("/a"), &one).is_some() && locks.release(&path("/a"), &one).is_none());
        assert!(!forbids(&locks, "a", false, false, &[&two]));
    }

    #[test]
    fn no_lock_is_for_ever_and_there_is_a_most_of_them() {
        let locks = Locks::default();
        let gone = locks.take(&path("/gone"), None, Some(Duration::ZERO), false, true).unwrap();
        assert!(locks.is_empty() && !locks.is_covered_by("gone", &gone.token));
        let week = Duration::from_secs(7 * 86_400);
        let long = locks.take(&path("/long"), None, Some(week), false, true).unwrap();
        assert_eq!(long.timeout, Some(LONGEST));
        assert_eq!(locks.renew(&path("/long"), &long.token, None).unwrap().timeout, Some(LONGEST));
        for number in 1..MOST {
            lock(&locks, &format!("/{number}"), false, false).unwrap();
        }
        assert!(locks.is_full() && lock(&locks, "/one-more", false, false).is_none());
    }

    #[test]
    fn what_is_gone_is_not_locked() {
        let locks = Locks::default();
        for at in ["/a", "/a/b/c", "/ab"] {
            lock(&locks, at, false, false).unwrap();
        }
        locks.forget("a");
        assert!(!locks.is_locked("a") && !locks.is_locked("a/b/c") && locks.is_locked("ab"));
    }

    #[test]
    fn a_token_is_a_uuid() {
        let token = token().unwrap();
        assert_eq!((token.len(), &token[..9], &token[23..24]), (45, "urn:uuid:", "4"), "{token}");
    }
}
