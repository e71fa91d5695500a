//! What was found out about a secret, for a while: never the secret itself, only its keyed hash.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hmac::digest::KeyInit as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The keyed hash of what an answer depends on.
pub type Digest = [u8; 32];

/// Makes [`Digest`]s with a key of this process alone: what is in memory helps nobody to guess.
pub struct Keyed(Hmac<Sha256>);

impl Keyed {
    pub fn new() -> Result<Self, getrandom::Error> {
        // As long as the hash's block.
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Self(Hmac::new(&key.into())))
    }

    /// Of these parts, none of which can pass for another.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

/// Answers with the time they were given, at most so many.
pub struct Remembered<V> {
    answers: Mutex<HashMap<Digest, (Instant, V)>>,
    most: usize,
    /// How old an answer may become before it is forgotten.
    longest: Duration,
}

impl<V: Clone> Remembered<V> {
    pub fn new(most: usize, longest: Duration) -> Self {
        Self { answers: Mutex::default(), most, longest }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Digest, (Instant, V)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer and how old it is.
    pub fn find(&self, key: &Digest, now: Instant) -> Option<(Duration, V)> {
        let answers = self.answers();
        let (at, answer) = answers.get(key)?;
        let age = now.saturating_duration_since(*at);
        (age < self.longest).then(|| (age, answer.clone()))
    }

    pub fn insert(&self, key: Digest, answer: V, now: Instant) {
        let mut answers = self.answers();
        if answers.len() >= self.most && !answers.contains_key(&key) {
            let longest = self.longest;
            answers.retain(|_, (at, _)| now.saturating_duration_since(*at) < longest);
            // Still full: a tenth goes, whichever; they can be asked for again.
            if answers.len() >= self.most {
                let some: Vec<_> = answers.keys().take(self.most.div_ceil(10)).copied().collect();
                some.iter().for_each(|key| _ = answers.remove(key));
            }
        }
        answers.insert(key, (now, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_every_part_and_on_the_key() {
        let (one, other) = (Keyed::new().unwrap(), Keyed::new().unwrap());
        assert_eq!(one.digest(&[b"a", b"b"]), one.digest(&[b"a", b"b"]));
        assert_ne!(one.digest(&[b"a", b"b"]), one.digest(&[b"ab"]));
        assert_ne!(one.digest(&[b"a", b"b"]), one.digest(&[b"ab", b""]));
        assert_ne!(one.digest(&[b"a"]), other.digest(&[b"a"]));
    }

    #[test]
    fn answers_are_forgotten_in_time_and_never_too_many() {
        let remembered = Remembered::new(100, Duration::from_secs(10));
        let (keyed, start) = (Keyed::new().unwrap(), Instant::now());
        let key = |i: u32| keyed.digest(&[&i.to_le_bytes()]);
        remembered.insert(key(0), 0, start);
        assert_eq!(
            remembered.find(&key(0), start + Duration::from_secs(3)),
            Some((Duration::from_secs(3), 0))
        );
        assert_eq!(remembered.find(&key(0), start + Duration::from_secs(10)), None);
        assert_eq!(remembered.find(&key(1), start), None);
        (0..1000).for_each(|i| remembered.insert(key(i), i, start));
        assert!(remembered.answers().len() <= 100);
        assert!(remembered.find(&key(999), start).is_some(), "the newest is there");
    }
}
