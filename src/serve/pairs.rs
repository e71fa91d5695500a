//! Which publication a client is in the middle of: repomd.xml and its signature are two URLs, and a
//! publication can come between. Pure: the time is an argument.
//!
//! A client that asks for repomd.xml is given the newest publication, R. It keeps R for a moment even when
//! a newer one comes, so that its next request, for `repomd.xml.asc`, finds the signature of R:
//!
//! - R stays for [`KEEP`] after it was last given while it was the newest;
//! - and as long as one that was given less than [`PENDING`] ago lacks its signature, up to [`LONGEST`].
//!
//! The signature asked for is that of the R last given to this client. Several clients that cannot be told
//! apart share this, which is why the second rule counts what is lacking.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a client keeps what it was given.
pub const KEEP: Duration = Duration::from_secs(2);
/// How long a repomd.xml waits for its signature to be asked for.
pub const PENDING: Duration = Duration::from_secs(1);
/// The longest a client is kept from what is newest.
pub const LONGEST: Duration = Duration::from_secs(10);

/// After so long a client that has not been heard of is forgotten, or after half of it.
const REMEMBER: Duration = Duration::from_secs(600);
/// Clients remembered in each half; more than that make the older half go.
const MOST: usize = 32 * 1024;
/// The most gives that are told apart for one client.
const MOST_PENDING: usize = 32;

/// What is given: numbers that grow tell one from another.
pub trait Numbered: Clone {
    fn number(&self) -> u64;
}

/// The clients of all repositories.
pub struct Pairs<S> {
    /// Those heard of since the last turn, and those before.
    young: HashMap<u64, Client<S>>,
    old: HashMap<u64, Client<S>>,
    turned: Duration,
}

struct Client<S> {
    given: S,
    /// When it was last given while it was the newest.
    fresh: Duration,
    /// When it last asked for repomd.xml or its signature.
    heard: Duration,
    /// When those were given that still lack their signature, the oldest first.
    pending: VecDeque<Duration>,
}

impl<S> Default for Pairs<S> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: Duration::ZERO }
    }
}

impl<S: Numbered> Pairs<S> {
    /// `client` asks for repomd.xml at `now` (since any fixed moment; never going back).
    pub fn give(&mut self, client: u64, newest: &S, now: Duration) -> S {
        self.turn(now);
        let mut known = self.take(client).unwrap_or_else(|| Client {
            given: newest.clone(),
            fresh: now,
            heard: now,
            pending: VecDeque::new(),
        });
        if known.given.number() == newest.number() {
            known.given = newest.clone();
            known.fresh = now;
        } else if !known.stays(now) {
            known = Client { given: newest.clone(), fresh: now, heard: now, pending: VecDeque::new() };
        }
        if known.pending.len() == MOST_PENDING {
            known.pending.pop_front();
        }
        known.pending.push_back(now);
        known.heard = now;
        let given = known.given.clone();
        self.young.insert(client, known);
        given
    }

    /// `client` asks for the signature: of what it was given last; `None` for one we do not know.
    pub fn signature(&mut self, client: u64, now: Duration) -> Option<S> {
        self.turn(now);
        let mut known = self.take(client)?;
        known.pending.pop_front();
        known.heard = now;
        let given = known.given.clone();
        self.young.insert(client, known);
        Some(given)
    }

    /// `client` asks for the key: of what it was given last, unless that is long ago, so that it learns of
    /// a new key; `None` for one we do not know.
    pub fn key(&self, client: u64, now: Duration) -> Option<S> {
        let known = self.young.get(&client).or_else(|| self.old.get(&client))?;
        (now.saturating_sub(known.heard) < LONGEST).then(|| known.given.clone())
    }

    fn take(&mut self, client: u64) -> Option<Client<S>> {
        self.young.remove(&client).or_else(|| self.old.remove(&client))
    }

    fn turn(&mut self, now: Duration) {
        if self.young.len() >= MOST || now.saturating_sub(self.turned) >= REMEMBER / 2 {
            self.old = std::mem::take(&mut self.young);
            self.turned = now;
        }
    }
}

impl<S> Client<S> {
    /// Whether it keeps what it has although there is something newer.
    fn stays(&self, now: Duration) -> bool {
        let held = now.saturating_sub(self.fresh);
        let lacks = self.pending.back().is_some_and(|given| now.saturating_sub(*given) < PENDING);
        held < KEEP || (lacks && held < LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Numbered for u64 {
        fn number(&self) -> u64 {
            *self
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// `(when in ms, what is asked, the newest then, what is answered)`
    fn told(steps: &[(u64, &str, u64, u64)]) {
        let mut pairs = Pairs::default();
        for &(ms, what, newest, expected) in steps {
            let answer = match what {
                "xml" => pairs.give(7, &newest, at(ms)),
                "asc" => pairs.signature(7, at(ms)).unwrap_or(newest),
                "key" => pairs.key(7, at(ms)).unwrap_or(newest),
                _ => panic!("{what}"),
            };
            assert_eq!(answer, expected, "{what} at {ms} ms, newest {newest}, of {steps:?}");
        }
    }

    #[test]
    fn the_signature_is_that_of_what_was_given_last() {
        told(&[(0, "xml", 1, 1), (10, "asc", 2, 1), (20, "key", 3, 1)]);
        told(&[(0, "xml", 1, 1), (9_000, "asc", 5, 1), (100_000, "asc", 6, 1), (110_000, "key", 6, 6)]);
        // Who was given nothing gets the newest.
        told(&[(0, "asc", 3, 3), (0, "key", 3, 3)]);
    }

    #[test]
    fn a_client_keeps_what_it_was_given_for_two_seconds() {
        told(&[(0, "xml", 1, 1), (5, "asc", 1, 1), (1_999, "xml", 2, 1), (2_000, "asc", 2, 1)]);
        told(&[(0, "xml", 1, 1), (5, "asc", 1, 1), (2_000, "xml", 2, 2), (2_001, "asc", 3, 2)]);
        // What was given while it was the newest counts, not how long it has been known.
        told(&[(0, "xml", 1, 1), (3_600_000 - 1, "xml", 1, 1), (3_600_000, "xml", 2, 1)]);
    }

    #[test]
    fn a_client_does_not_move_on_while_a_signature_is_lacking_but_not_for_ever() {
        // Given again at 1.9 s without its signature: it stays at 2.5 s, and moves once that was fetched.
        told(&[(0, "xml", 1, 1), (1_900, "xml", 2, 1), (2_500, "xml", 2, 1)]);
        told(&[
            (0, "xml", 1, 1),
            (1_900, "xml", 2, 1),
            (2_000, "asc", 2, 1),
            (2_100, "asc", 2, 1),
            (2_200, "xml", 2, 2),
        ]);
        // One that never asks for signatures sees the newest at the latest after ten seconds, …
        let mut steps = vec![(0, "xml", 1, 1)];
        steps.extend((1..20).map(|half| (half * 500, "xml", 2, 1)));
        steps.push((10_000, "xml", 2, 2));
        told(&steps);
        // … and as soon as it is slower than once a second, after two.
        told(&[(0, "xml", 1, 1), (1_500, "xml", 2, 1), (2_600, "xml", 2, 2)]);
    }

    #[test]
    fn clients_are_told_apart_and_their_number_is_bounded() {
        let mut pairs = Pairs::default();
        pairs.give(1, &1, at(0));
        assert_eq!(pairs.give(2, &2, at(1)), 2);
        assert_eq!(pairs.signature(1, at(2)), Some(1));
        for client in 0..10 * MOST as u64 {
            pairs.give(client + 10, &3, at(3));
        }
        assert!(pairs.young.len() + pairs.old.len() <= 2 * MOST);
        assert_eq!(pairs.signature(1, at(4)), None);
        // The others are forgotten with time.
        let last = 10 * MOST as u64 + 9;
        assert_eq!(pairs.key(last, at(5)), Some(3));
        pairs.give(1, &3, at(4) + REMEMBER / 2);
        pairs.give(1, &3, at(4) + REMEMBER);
        assert_eq!(pairs.signature(last, at(5) + REMEMBER), None);
    }

    proptest! {
        /// Clients that share an address: each asks for repomd.xml, and within a second for its signature.
        /// Publications come at any time. Whoever began less than [`LONGEST`] after the publication it
        /// was given was superseded, and before the last client gave up waiting, gets its pair.
        #[test]
        fn the_pair_matches_for_clients_that_cannot_be_told_apart(
            starts in prop::collection::vec((0u64..9_000, 1u64..1_000), 1..40),
            publications in prop::collection::vec(0u64..12_000, 0..40),
        ) {
            enum Event { Xml(usize), Asc(usize), Publish }
            let mut events: Vec<(u64, usize, Event)> = Vec::new();
            for (i, &(start, gap)) in starts.iter().enumerate() {
                events.push((start, 1, Event::Xml(i)));
                events.push((start + gap, 0, Event::Asc(i)));
            }
            events.extend(publications.iter().map(|&ms| (ms, 2, Event::Publish)));
            events.sort_by_key(|(ms, rank, _)| (*ms, *rank));
            let mut pairs = Pairs::default();
            let (mut newest, mut given) = (1u64, vec![0; starts.len()]);
            for (ms, _, event) in events {
                match event {
                    Event::Publish => newest += 1,
                    Event::Xml(i) => given[i] = pairs.give(1, &newest, at(ms)),
                    Event::Asc(i) => prop_assert_eq!(pairs.signature(1, at(ms)), Some(given[i])),
                }
            }
        }

        /// However it asks, a client is never given what was superseded more than [`LONGEST`] ago, and
        /// never goes back.
        #[test]
        fn nobody_is_kept_back_for_long(
            steps in prop::collection::vec((0u64..3_000, 0u8..4), 1..200),
        ) {
            let mut pairs = Pairs::default();
            let (mut now, mut newest, mut last) = (0, 1u64, 0);
            let mut since = vec![0, 0];
            for (wait, what) in steps {
                now += wait;
                match what {
                    0 => { newest += 1; since.push(now); }
                    1 => { pairs.signature(1, at(now)); }
                    _ => {
                        let given = pairs.give(1, &newest, at(now));
                        prop_assert!(given >= last);
                        last = given;
                        let superseded = since.get(given as usize + 1).copied().unwrap_or(now);
                        prop_assert!(at(now - superseded) < LONGEST, "{given} was superseded at {superseded}, now {now}");
                    }
                }
            }
        }
    }
}
