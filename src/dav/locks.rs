//! Write locks (RFC 4918 sections 6 and 7): in memory, few, none for ever, and each its holder's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::allowance::{Allowance, Taken};
use crate::auth::{Holder, Principal};

/// The most locks of one repository at a time.
pub const MOST: usize = 1000;
/// The most shared locks that cover one place.
const SHARED: usize = 16;
/// What a client gets that states no time, or more than the longest.
const USUAL: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3600);

/// The locks of one repository; cheap to clone.
#[derive(Debug, Clone)]
pub struct Locks {
    all: Arc<Mutex<Vec<Held>>>,
    allowance: Arc<Allowance>,
}

/// What a lock is; shared by all who look at it.
#[derive(Debug)]
pub struct Lock {
    /// Path in the repository without slashes at its ends; empty for the top.
    pub place: String,
    pub token: String,
    pub owner: Owner,
    pub is_shared: bool,
    pub is_deep: bool,
    /// Who has it; whoever writes under the same name may use it.
    pub by: Principal,
    holder: Holder,
    _room: Taken,
}

/// What the client says of who has a lock: text, or an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    pub text: String,
    pub is_address: bool,
}

/// A lock that a client asks for.
#[derive(Debug)]
pub struct Wanted {
    pub owner: Owner,
    pub is_shared: bool,
    pub is_deep: bool,
    pub timeout: Option<Duration>,
    pub by: Principal,
    pub holder: Holder,
}

/// A lock, and how long it still lives.
#[derive(Debug, Clone)]
pub struct Active {
    pub lock: Arc<Lock>,
    pub left: Duration,
}

/// Why there is no lock.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another one is at this place.
    Clashes(String),
    Full,
}

#[derive(Debug)]
struct Held {
    until: Instant,
    timeout: Duration,
    lock: Arc<Lock>,
}

/// Lock tokens that a request submits, and who makes it. Another's token opens nothing.
#[derive(Debug, Clone)]
pub struct Keys {
    pub tokens: Vec<String>,
    pub by: Principal,
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

impl Lock {
    /// Whether the lock is on `place`, or on a folder above and deep.
    pub fn covers(&self, place: &str) -> bool {
        self.place == place || self.is_deep && is_below(place, &self.place)
    }

    /// Whether its token may be shown to somebody who may write.
    pub fn is_shown_to(&self, writer: &Holder) -> bool {
        matches!(writer, Holder::Named(_)) || *writer == self.holder
    }

    fn opens_for(&self, keys: &Keys) -> bool {
        keys.by == self.by && keys.tokens.contains(&self.token)
    }
}

fn is_below(place: &str, folder: &str) -> bool {
    folder.is_empty() && !place.is_empty()
        || place.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

impl Locks {
    pub(super) fn new(allowance: Arc<Allowance>) -> Self {
        Self { all: Arc::default(), allowance }
    }

    fn now(&self) -> MutexGuard<'_, Vec<Held>> {
        let mut locks = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.is_empty() {
            let now = Instant::now();
            locks.retain(|held| held.until > now);
        }
        locks
    }

    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    /// Whether a lock is on exactly this place.
    pub fn is_locked(&self, place: &str) -> bool {
        self.now().iter().any(|held| held.lock.place == place)
    }

    /// The lock with this token that covers `place`.
    pub fn find(&self, place: &str, token: &str) -> Option<Arc<Lock>> {
        let locks = self.now();
        let found = locks.iter().find(|held| held.lock.token == token && held.lock.covers(place))?;
        Some(Arc::clone(&found.lock))
    }

    /// A place whose lock forbids the change to one who has these keys.
    pub fn forbids(&self, reach: Reach<'_>, keys: &Keys) -> Option<String> {
        let locks = self.now();
        let parent = reach.place.rsplit_once('/').map_or("", |(parent, _)| parent);
        let concerned = |lock: &&Lock| {
            lock.covers(reach.place)
                || reach.deep && is_below(&lock.place, reach.place)
                || reach.membership && !reach.place.is_empty() && lock.place == parent
        };
        let concerned: Vec<&Lock> = locks.iter().map(|held| &*held.lock).filter(concerned).collect();
        // Of several shared locks on one place, holding one is enough.
        let stands_in_the_way = |lock: &&&Lock| {
            !lock.opens_for(keys)
                && (!lock.is_shared
                    || !concerned.iter().any(|other| other.place == lock.place && other.opens_for(keys)))
        };
        concerned.iter().find(stands_in_the_way).map(|lock| lock.place.clone())
    }

    /// All locks on a place, on what is above it and deep, and on what is below it: those that can cover it or a member.
    pub fn around(&self, place: &str) -> Vec<Active> {
        let (locks, now) = (self.now(), Instant::now());
        let around = |held: &&Held| held.lock.covers(place) || is_below(&held.lock.place, place);
        let active = |held: &Held| Active {
            lock: Arc::clone(&held.lock),
            left: held.until.saturating_duration_since(now),
        };
        locks.iter().filter(around).map(active).collect()
    }

    /// Lets go of the locks on a place that is gone, and on all below it.
    pub fn forget(&self, place: &str) {
        self.now().retain(|held| held.lock.place != place && !is_below(&held.lock.place, place));
    }

    pub fn take(&self, place: &str, wanted: Wanted) -> Result<Active, Refused> {
        let Wanted { owner, is_shared, is_deep, timeout, by, holder } = wanted;
        let mut locks = self.now();
        let clashes = |held: &&Held| {
            let lock = &held.lock;
            (lock.covers(place) || is_deep && is_below(&lock.place, place)) && !(is_shared && lock.is_shared)
        };
        if let Some(held) = locks.iter().find(clashes) {
            return Err(Refused::Clashes(held.lock.place.clone()));
        }
        let covering = locks.iter().filter(|held| held.lock.covers(place)).count();
        if locks.len() >= MOST || covering >= SHARED {
            return Err(Refused::Full);
        }
        let token = token().ok_or(Refused::Full)?;
        let bytes = size_of::<Lock>() + place.len() + token.len() + owner.text.len();
        let room = self.allowance.take(&holder, bytes).ok_or(Refused::Full)?;
        let timeout = timeout.unwrap_or(USUAL).min(LONGEST);
        let place = place.to_owned();
        let lock = Arc::new(Lock { place, token, owner, is_shared, is_deep, by, holder, _room: room });
        locks.push(Held { until: Instant::now() + timeout, timeout, lock: Arc::clone(&lock) });
        Ok(Active { lock, left: timeout })
    }

    /// Begins the time of a lock anew.
    pub fn renew(&self, lock: &Lock, timeout: Option<Duration>) -> Option<Active> {
        let mut locks = self.now();
        let held = locks.iter_mut().find(|held| held.lock.token == lock.token)?;
        held.timeout = timeout.unwrap_or(held.timeout).min(LONGEST);
        held.until = Instant::now() + held.timeout;
        Some(Active { lock: Arc::clone(&held.lock), left: held.timeout })
    }

    pub fn release(&self, lock: &Lock) {
        self.now().retain(|held| held.lock.token != lock.token);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dav::allowance::SHARE;

    fn locks() -> Locks {
        Locks::new(Arc::default())
    }

    fn wanted(by: &Principal, is_shared: bool, is_deep: bool, timeout: Option<Duration>) -> Wanted {
        let (by, holder) = (by.clone(), Holder::of(by, None));
        Wanted { owner: Owner::default(), is_shared, is_deep, timeout, by, holder }
    }

    fn lock(locks: &Locks, at: &str, shared: bool, deep: bool) -> Option<String> {
        let taken = locks.take(at, wanted(&Principal::Anyone, shared, deep, None));
        taken.ok().map(|active| active.lock.token.clone())
    }

    fn forbids(locks: &Locks, place: &str, deep: bool, membership: bool, tokens: &[&str]) -> bool {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        let keys = Keys { tokens, by: Principal::Anyone };
        locks.forbids(Reach { place, deep, membership }, &keys).is_some()
    }

    #[test]
    fn a_deep_lock_covers_what_is_below_and_a_shallow_one_the_list_of_names() {
        let locks = locks();
        let deep = lock(&locks, "a", false, true).unwrap();
        assert!(forbids(&locks, "a/b/c", false, false, &[]));
        assert!(!forbids(&locks, "a/b/c", false, false, &[&deep]));
        assert!(!forbids(&locks, "ab", false, true, &[]), "a name that begins alike is another");
        assert!(lock(&locks, "a/b", true, false).is_none());

        let shallow = lock(&locks, "c", false, false).unwrap();
        assert!(!forbids(&locks, "c/x", false, false, &[]), "an existing member may change");
        assert!(forbids(&locks, "c/x", false, true, &[]), "but none may come or go");
        assert!(!forbids(&locks, "c/x", false, true, &[&shallow]));
        assert!(
            forbids(&locks, "", true, false, &[&shallow]),
            "what is locked below counts for a deep change"
        );
        let around: Vec<String> =
            locks.around("a/b").iter().map(|active| active.lock.place.clone()).collect();
        assert_eq!(around, ["a"]);
        assert_eq!(locks.around("").len(), 2);
    }

    #[test]
    fn shared_locks_live_together_and_one_of_them_is_enough() {
        let locks = locks();
        let [one, two] = [(); 2].map(|()| lock(&locks, "a", true, false).unwrap());
        assert!(lock(&locks, "a", false, false).is_none());
        assert!(forbids(&locks, "a", false, false, &[]));
        for token in [&one, &two] {
            assert!(!forbids(&locks, "a", false, false, &[token]));
        }
        assert_ne!(one, two);
        let found = locks.find("a", &one).unwrap();
        locks.release(&found);
        assert!(locks.find("a", &one).is_none() && !forbids(&locks, "a", false, false, &[&two]));
        assert_eq!((0..2 * SHARED).filter(|_| lock(&locks, "a", true, true).is_some()).count(), SHARED - 1);
    }

    #[test]
    fn another_s_token_opens_nothing_and_is_not_shown_to_everybody() {
        let locks = locks();
        let [ci, anna] = ["ci", "anna"].map(|name| Principal::Token(name.into()));
        let taken = locks.take("a", wanted(&ci, false, false, None)).unwrap();
        let reach = Reach { place: "a", deep: false, membership: false };
        let keys = |by: &Principal| Keys { tokens: vec![taken.lock.token.clone()], by: by.clone() };
        assert!(locks.forbids(reach, &keys(&anna)).is_some() && locks.forbids(reach, &keys(&ci)).is_none());
        let at = |address: [u8; 4]| Holder::At(Some(address.into()));
        let mine = Wanted { holder: at([192, 0, 2, 1]), ..wanted(&Principal::Anyone, false, false, None) };
        let mine = locks.take("b", mine).unwrap().lock;
        assert!(mine.is_shown_to(&at([192, 0, 2, 1])) && !mine.is_shown_to(&at([192, 0, 2, 2])));
        assert!(taken.lock.is_shown_to(&Holder::Named(anna)) && !taken.lock.is_shown_to(&at([192, 0, 2, 1])));
    }

    #[test]
    fn no_lock_is_for_ever_and_there_is_a_most_of_them() {
        let locks = locks();
        let timed = |at: &str, timeout: Duration| {
            locks.take(at, wanted(&Principal::Anyone, false, true, Some(timeout))).unwrap()
        };
        let gone = timed("gone", Duration::ZERO).lock;
        assert!(locks.is_empty() && locks.find("gone", &gone.token).is_none());
        let long = timed("long", Duration::from_secs(7 * 86_400));
        assert_eq!(long.left, LONGEST);
        assert_eq!(locks.renew(&long.lock, None).unwrap().left, LONGEST);
        let more = (0..MOST).filter(|number| lock(&locks, &format!("{number}"), false, false).is_some());
        // `gone` is still kept by whoever looks at it.
        assert_eq!(more.count(), SHARE.things - 2);
        let by = |number: usize| Principal::Token((number / SHARE.things).to_string());
        let others = (0..2 * MOST).filter(|number| {
            locks.take(&format!("x{number}"), wanted(&by(*number), false, false, None)).is_ok()
        });
        assert_eq!(others.count(), MOST - (SHARE.things - 1));
        assert!(matches!(locks.take("y", wanted(&by(0), false, false, None)), Err(Refused::Full)));
    }

    #[test]
    fn what_is_gone_is_not_locked() {
        let locks = locks();
        for at in ["a", "a/b/c", "ab"] {
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
