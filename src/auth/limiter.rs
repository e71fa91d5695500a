//! How often an address may be wrong: ten times at once, and once more every six seconds.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const BURST: u32 = 10;
const EACH: Duration = Duration::from_secs(6);
/// Addresses that are remembered. Beyond, somebody's failures are forgotten, which locks nobody out.
const MOST: usize = 10_000;

#[derive(Default)]
pub struct Limiter {
    /// When an address will have all its attempts again.
    whole_again: Mutex<HashMap<Key, Instant>>,
}

/// An IPv4 address, the /64 of an IPv6 address (one customer has all of it), or whoever comes through
/// a unix socket.
pub(super) type Key = Option<IpAddr>;

pub(super) fn key(address: Option<IpAddr>) -> Key {
    Some(match address?.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    })
}

impl Limiter {
    /// Whether an address may try; if not, when it may.
    pub fn allows(&self, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let whole_again = self.whole_again.lock().unwrap_or_else(PoisonError::into_inner);
        let owed =
            whole_again.get(&key(address)).map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        match owed.checked_sub(EACH * (BURST - 1)) {
            None | Some(Duration::ZERO) => Ok(()),
            Some(wait) => Err(wait),
        }
    }

    /// Notes that an address was wrong.
    pub fn failed(&self, address: Option<IpAddr>, now: Instant) {
        let mut whole_again = self.whole_again.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(address);
        if whole_again.len() >= MOST && !whole_again.contains_key(&key) {
            let one = whole_again.iter().find(|(_, at)| **at <= now).or_else(|| whole_again.iter().next());
            if let Some(one) = one.map(|(key, _)| *key) {
                whole_again.remove(&one);
            }
        }
        let at = whole_again.entry(key).or_insert(now);
        // No more than a whole burst is ever owed: whoever goes on is locked out no longer for it.
        *at = ((*at).max(now) + EACH).min(now + EACH * BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_that_is_wrong_too_often_waits() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        let address = ip("192.0.2.1");
        for _ in 0..BURST {
            assert_eq!(limiter.allows(address, start), Ok(()));
            limiter.failed(address, start);
        }
        assert_eq!(limiter.allows(address, start), Err(EACH));
        assert_eq!(limiter.allows(ip("192.0.2.2"), start), Ok(()), "others do not");
        assert!(limiter.allows(address, start + EACH / 2).is_err());
        assert_eq!(limiter.allows(address, start + EACH), Ok(()));
        limiter.failed(address, start + EACH);
        assert_eq!(limiter.allows(address, start + EACH), Err(EACH));
        assert_eq!(limiter.allows(address, start + EACH * 20), Ok(()));
    }

    #[test]
    fn who_goes_on_is_not_locked_out_for_ever() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        (0..10_000).for_each(|_| limiter.failed(ip("192.0.2.1"), start));
        assert_eq!(limiter.allows(ip("192.0.2.1"), start), Err(EACH));
        assert_eq!(limiter.allows(ip("192.0.2.1"), start + EACH), Ok(()));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        (0..BURST).for_each(|i| limiter.failed(ip(&format!("2001:db8::{i:x}")), now));
        assert!(limiter.allows(ip("2001:db8::ffff:1:2:3"), now).is_err());
        assert!(limiter.allows(ip("2001:db8:0:1::1"), now).is_ok());
        (0..BURST).for_each(|_| limiter.failed(ip("::ffff:192.0.2.1"), now));
        assert!(limiter.allows(ip("192.0.2.1"), now).is_err());
    }

    #[test]
    fn the_table_does_not_grow_without_end() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for i in 0..(MOST as u32 + 500) {
            limiter.failed(Some(IpAddr::V4((0x0a00_0000 + i).into())), now);
        }
        assert_eq!(limiter.whole_again.lock().unwrap().len(), MOST);
    }
}
