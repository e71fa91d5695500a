//! What all connections share: each gets a part of what is free, so that whoever takes much leaves some for whoever comes next.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};

use super::limits::place;

/// A connection gets at most this part of what is free: with a hundred that take all they can, some is left.
const PART: u64 = 8;
/// Streams of HTTP/2 that all connections together may have at a time, beyond [`LEAST_STREAMS`] each.
const STREAMS: u64 = 1024;
/// Streams of one connection: at most, and whoever else comes.
const MOST_STREAMS: u64 = 32;
const LEAST_STREAMS: u64 = 4;
/// Bytes of uploads that all connections of HTTP/2 together may have sent before they are read.
const WINDOWS: u64 = 32 << 20;
/// The same of one connection: one large upload at full speed over a long way, and what the protocol begins with.
const MOST_WINDOW: u64 = 2 << 20;
const LEAST_WINDOW: u64 = (1 << 16) - 1;
/// Bytes of answers that all connections of HTTP/2 together may hold until clients take them, beyond a block of each stream.
const UNSENT: u64 = 32 << 20;
/// The same of one connection.
const MOST_UNSENT: u64 = 1 << 20;
/// Folders that are looked at at a time, and bytes of their lists until they are sent.
const LISTING: usize = 4;
const LISTS: u64 = 64 << 20;
/// Bytes of long texts of our own (status, metrics, batches) until they are sent.
const TEXTS: u64 = 32 << 20;
/// How long an answer waits until it may open its file.
const TURN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// The shares of the whole server.
pub(super) struct Pools {
    streams: Arc<Pool>,
    windows: Arc<Pool>,
    files: Arc<Pool>,
    lists: Arc<Pool>,
    texts: Arc<Pool>,
    listing: Arc<Semaphore>,
    /// Bytes of answers on their way.
    unsent: AtomicU64,
    /// Connections that there are descriptors for.
    pub(super) connections: usize,
}

impl Pools {
    /// For a process that may open as many files as it may now.
    pub(super) fn new() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
        Self {
            streams: Pool::of(STREAMS),
            windows: Pool::of(WINDOWS),
            // A quarter for answers, three eighths for connections, the rest for uploads, listings, repositories and what they do.
            files: Pool::of((descriptors / 4).max(16)),
            lists: Pool::of(LISTS),
            texts: Pool::of(TEXTS),
            listing: Arc::new(Semaphore::new(LISTING)),
            unsent: AtomicU64::new(0),
            connections: usize::try_from(descriptors / 8 * 3).unwrap_or(usize::MAX).max(16),
        }
    }

    /// How many streams a new connection of HTTP/2 may have.
    pub(super) fn streams(&self, peer: IpAddr) -> Portion {
        self.streams.part(peer, LEAST_STREAMS, MOST_STREAMS)
    }

    /// How many bytes a new connection of HTTP/2 may send ahead.
    pub(super) fn window(&self, peer: IpAddr) -> Portion {
        self.windows.part(peer, LEAST_WINDOW, MOST_WINDOW)
    }

    /// Waits until a folder may be looked at; `None`: never again.
    pub(super) async fn folder(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.listing).acquire_owned().await.ok()
    }

    /// The memory for a list, which [grows](Portion::grow) with it.
    pub(super) fn list(&self, peer: IpAddr) -> Portion {
        Portion::of(&self.lists, &mut self.lists.used(), peer, 0)
    }

    /// The memory for a long text of our own, which [grows](Portion::grow).
    pub(super) fn text(&self, peer: IpAddr) -> Portion {
        Portion::of(&self.texts, &mut self.texts.used(), peer, 0)
    }

    /// How many more bytes a connection may hold that holds `held`.
    pub(super) fn unsent(&self, held: u64) -> u64 {
        let free = UNSENT.saturating_sub(self.unsent.load(Ordering::Relaxed));
        MOST_UNSENT.min(free / PART).saturating_sub(held)
    }

    pub(super) fn hold(&self, bytes: u64) {
        self.unsent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn let_go(&self, bytes: u64) {
        self.unsent.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What a new connection may open.
    pub(super) fn files(&self, peer: IpAddr) -> Files {
        Files { pool: self.files.clone(), peer, own: Arc::default() }
    }
}

/// An amount of something, and who has how much of it.
struct Pool {
    whole: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    all: u64,
    /// By address; this machine's own is not counted.
    places: HashMap<IpAddr, u64>,
}

impl Pool {
    fn of(whole: u64) -> Arc<Self> {
        Arc::new(Self { whole, used: Mutex::default() })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part of what is free, between `least` and `most`; `least` also when nothing is free.
    fn part(self: &Arc<Self>, peer: IpAddr, least: u64, most: u64) -> Portion {
        let mut used = self.used();
        let free = used.free_for(self.whole, place(peer));
        Portion::of(self, &mut used, peer, (free / PART).clamp(least, most))
    }

    /// One more for a connection that has `own`; `None` while it has its part, or nothing is free.
    fn one(self: &Arc<Self>, peer: IpAddr, own: u64) -> Option<Portion> {
        let mut used = self.used();
        let is_free = match own {
            0 => used.all < self.whole,
            // Half is for whoever has none yet.
            own => own < used.free_for(self.whole, place(peer)).saturating_sub(self.whole / 2) / PART,
        };
        is_free.then(|| Portion::of(self, &mut used, peer, 1))
    }
}

impl Used {
    /// What is free, less what this address has: so one address never has more than half.
    fn free_for(&self, whole: u64, place: IpAddr) -> u64 {
        let has = self.places.get(&place).copied().unwrap_or(0);
        whole.saturating_sub(self.all).saturating_sub(has)
    }
}

/// Some of a pool; given back when dropped.
pub(super) struct Portion {
    pool: Arc<Pool>,
    /// Where it is counted.
    place: Option<IpAddr>,
    pub(super) amount: u64,
}

impl Portion {
    fn of(pool: &Arc<Pool>, used: &mut Used, peer: IpAddr, amount: u64) -> Self {
        let place = Some(place(peer)).filter(|place| !place.is_loopback());
        used.all += amount;
        if let Some(place) = place {
            *used.places.entry(place).or_default() += amount;
        }
        Self { pool: pool.clone(), place, amount }
    }

    /// Takes so much more, if it is free.
    pub(super) fn grow(&mut self, more: u64) -> bool {
        let mut used = self.pool.used();
        let is_free = match self.place {
            Some(place) => more <= used.free_for(self.pool.whole, place),
            None => more <= self.pool.whole.saturating_sub(used.all),
        };
        if is_free {
            self.amount += more;
            used.all += more;
            if let Some(place) = self.place {
                *used.places.entry(place).or_default() += more;
            }
        }
        is_free
    }

    /// The amount, for what counts in 32 bits.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.amount).unwrap_or(u32::MAX)
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let mut used = self.pool.used();
        used.all -= self.amount;
        if let Some(place) = self.place
            && let Some(has) = used.places.get_mut(&place)
        {
            *has -= self.amount;
            if *has == 0 {
                used.places.remove(&place);
            }
        }
    }
}

/// The files that the answers of one connection have open.
pub(crate) struct Files {
    pool: Arc<Pool>,
    peer: IpAddr,
    own: Arc<AtomicU64>,
}

/// One file that an answer has open; given back when dropped.
pub(crate) struct OneFile {
    own: Arc<AtomicU64>,
    _portion: Portion,
}

impl Files {
    /// The right to have one more open, if it is there at once.
    pub(crate) fn try_one(&self) -> Option<OneFile> {
        let portion = self.pool.one(self.peer, self.own.load(Ordering::Relaxed))?;
        self.own.fetch_add(1, Ordering::Relaxed);
        Some(OneFile { own: self.own.clone(), _portion: portion })
    }

    /// Waits for it; `None` when it takes too long.
    pub(crate) async fn one(&self) -> Option<OneFile> {
        let until = Instant::now() + TURN;
        loop {
            match self.try_one() {
                None if Instant::now() < until => sleep(LOOK).await,
                other => return other,
            }
        }
    }
}

impl Drop for OneFile {
    fn drop(&mut self) {
        self.own.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("own", &self.own).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn whoever_takes_all_it_can_leaves_some() {
        let pool = Pool::of(1024);
        let all: Vec<_> = (0..100).map(|_| pool.part(HERE, 4, 32)).collect();
        assert_eq!(all[0].amount, 32);
        let sum: u64 = all.iter().map(|portion| portion.amount).sum();
        assert!(all.iter().all(|portion| portion.amount >= 4) && sum < 1024 + 400, "{sum}");
        drop(all);
        let left = pool.used().all;
        assert_eq!((left, pool.part(HERE, 4, 32).amount), (0, 32));
    }

    #[test]
    fn an_address_has_half_at_most_and_this_machine_is_not_counted() {
        let pool = Pool::of(1000);
        let take = |peer| std::iter::from_fn(|| pool.one(peer, 1)).collect::<Vec<_>>();
        let one = take(ip(1));
        assert!(one.len() > 200 && one.len() <= 250, "{}", one.len());
        assert!(pool.one(ip(2), 1).is_some(), "others have theirs");
        drop(one);
        assert!(pool.used().places.is_empty());
        assert!(take(HERE).len() > 450);
    }

    #[test]
    fn a_list_gets_what_it_needs_or_nothing() {
        let pool = Pool::of(100);
        let list = |peer, amount| {
            let mut portion = Portion::of(&pool, &mut pool.used(), peer, 0);
            portion.grow(amount).then_some(portion)
        };
        let mut one = list(HERE, 60).unwrap();
        assert!(list(HERE, 60).is_none() && list(ip(1), 40).is_some());
        assert!(one.grow(40) && !one.grow(1) && list(ip(1), 1).is_none());
        drop(one);
        let half = list(ip(1), 50).unwrap();
        assert!(list(ip(1), 1).is_none() && list(HERE, 50).is_some());
        drop(half);
        assert!(list(HERE, 100).is_some() && pool.used().places.is_empty());
    }

    #[test]
    fn a_hundred_connections_with_many_files_leave_some_for_another() {
        let pool = Pool::of(256);
        let files = || Files { pool: pool.clone(), peer: HERE, own: Arc::default() };
        let greedy: Vec<_> = (0..100).map(|_| files()).collect();
        let mut held: Vec<_> = Vec::new();
        for files in &greedy {
            held.extend(std::iter::from_fn(|| files.try_one()));
        }
        assert!(held.len() >= 150 && held.len() < 240, "{}", held.len());
        assert!(greedy.iter().all(|files| files.own.load(Ordering::Relaxed) > 0), "each has one");
        let (one, other) = (files(), files());
        let _one = one.try_one().expect("one is free");
        assert!(one.try_one().is_none(), "and a second not, where others wait for their first");
        assert!(other.try_one().is_some());
        drop(held);
        assert!(one.try_one().is_some());
    }
}
