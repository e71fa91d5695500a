//! Bounds on strangers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::LimitsConfig;

#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections at a time; further ones wait.
    pub(crate) connections: usize,
    /// Of these, from one address; 0: as many as there are.
    pub(crate) per_address: usize,
    /// For the whole of a request's header, and for a TLS handshake.
    pub(crate) header_time: Duration,
    /// Bytes of request line and header.
    pub(crate) header_size: usize,
    /// Header fields of a request.
    pub(crate) header_count: usize,
    /// Pause within a request's body.
    pub(crate) body_idle: Duration,
    /// Time a client may take nothing of its answer.
    pub(crate) write_idle: Duration,
    /// Bytes a second that a body or an answer must make on the whole.
    pub(crate) least_rate: u64,
    /// How long a connection without a request stays open.
    pub(crate) idle: Duration,
    /// Bytes hyper keeps for a connection, each way.
    pub(crate) buffer: usize,
    /// The longest `Prefer: wait` that is honoured.
    pub(crate) wait: Duration,
}

impl From<&LimitsConfig> for Limits {
    fn from(config: &LimitsConfig) -> Self {
        Self {
            connections: config.connections,
            per_address: config.connections_per_address,
            header_time: config.header_time,
            header_size: config.header_size,
            header_count: config.header_count,
            body_idle: config.stall,
            write_idle: config.stall,
            least_rate: config.least_rate,
            idle: config.idle,
            buffer: 256 * 1024,
            wait: Duration::from_secs(300),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::from(&LimitsConfig::default())
    }
}

impl Limits {
    /// How much longer to wait for somebody who has moved `moved` bytes and let us wait for `waited`
    /// in all: at most `pause` at a time, and `pause` on the whole beyond what `least_rate` asks.
    pub(crate) fn patience(&self, pause: Duration, moved: u64, waited: Duration) -> Duration {
        match moved.checked_div(self.least_rate) {
            Some(earned) => (pause + Duration::from_secs(earned)).saturating_sub(waited).min(pause),
            None => pause,
        }
    }
}

/// How many connections each address has.
#[derive(Default)]
pub(crate) struct Crowd {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl Crowd {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more connection from `address`; `None` when it has `most` already.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Admitted> {
        let place = place(address);
        if most == 0 || place.is_loopback() {
            return Some(Admitted(None));
        }
        let mut counts = self.counts();
        let count = counts.entry(place).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Admitted(Some((self.clone(), place))))
    }
}

/// Who is to be counted as one: a network of IPv6 is handed out whole.
pub(super) fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let [a, b, c, d, ..] = v6.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        other => other,
    }
}

/// One connection of an address; given back when dropped.
pub(crate) struct Admitted(Option<(Arc<Crowd>, IpAddr)>);

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some((crowd, place)) = self.0.take()
            && let Entry::Occupied(mut count) = crowd.counts().entry(place)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_moves_something_has_earned_time() {
        let limits = Limits { least_rate: 500, ..Limits::default() };
        let second = Duration::from_secs(1);
        let patience = |moved, waited: u32| limits.patience(10 * second, moved, waited * second);
        assert_eq!(patience(0, 0), 10 * second);
        assert_eq!(patience(0, 4), 6 * second);
        assert_eq!(patience(1000, 11), second);
        assert_eq!(patience(1_000_000, 4), 10 * second, "never more than one pause at a time");
        assert_eq!(patience(0, 11), Duration::ZERO);
        let lenient = Limits { least_rate: 0, ..limits };
        assert_eq!(lenient.patience(10 * second, 0, 100 * second), 10 * second);
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let crowd = Arc::new(Crowd::default());
        let admit = |address: &str| crowd.admit(address.parse().unwrap(), 2);
        let first = admit("192.0.2.1");
        let second = admit("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some() && admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        let _neighbours = (admit("2001:db8::1"), admit("2001:db8::2"));
        assert!(admit("2001:db8::3").is_none() && admit("2001:db8:0:1::3").is_some());
        let many: Vec<_> = (0..5).map(|_| admit("127.0.0.1")).collect();
        assert!(many.iter().all(Option::is_some), "this machine is not counted");
        drop((many, second));
        assert!(crowd.counts().values().all(|count| *count > 0));
    }
}
