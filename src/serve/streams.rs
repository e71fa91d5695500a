//! The streams of a connection of HTTP/2: how much of their answers is held until the client takes it, and for how long.
//!
//! HTTP/2 has a window for each stream. A client that opens none, and answers pings, would hold a file and
//! a block for each of its streams for ever. So each block that is handed to hyper is counted until h2 has
//! written it; a stream whose client takes nothing for as long as a client of HTTP/1 might is reset.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::Executor;
use tokio::task::AbortHandle;

use super::limits::Limits;
use super::pools::Pools;

/// The first bytes of an answer that are handed over together. A stream may always hold so many; as the client takes what it is
/// given, they become more.
const FIRST: u64 = 16 * 1024;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The streams of one connection. Runs their tasks for hyper, so that one can be ended alone.
#[derive(Clone)]
pub(super) struct Streams(Arc<All>);

struct All {
    pools: Arc<Pools>,
    /// Bytes that all of them hold.
    held: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Progress>>>,
    begun: AtomicU64,
    /// The stream whose request hyper has just handed over: its task comes next.
    next: Mutex<Option<Arc<Progress>>>,
}

/// How far a stream has come.
#[derive(Default)]
struct Progress {
    /// Bytes handed over and not taken yet.
    out: AtomicU64,
    taken: AtomicU64,
    /// Waits for the client to take something.
    waker: Mutex<Option<Waker>>,
    task: OnceLock<AbortHandle>,
    seen: Mutex<Seen>,
}

/// What the last looks saw.
#[derive(Default)]
struct Seen {
    taken: u64,
    /// How long nothing was taken, until now and before.
    paused: Duration,
    before: Duration,
}

impl Streams {
    pub(super) fn new(pools: Arc<Pools>) -> Self {
        Self(Arc::new(All {
            pools,
            held: AtomicU64::new(0),
            open: Mutex::default(),
            begun: AtomicU64::new(0),
            next: Mutex::default(),
        }))
    }

    /// One more request.
    pub(super) fn begin(&self) -> Arc<Stream> {
        let progress = Arc::new(Progress::default());
        let id = self.0.begun.fetch_add(1, Ordering::Relaxed);
        lock(&self.0.open).insert(id, progress.clone());
        *lock(&self.0.next) = Some(progress.clone());
        Arc::new(Stream { all: self.0.clone(), id, progress })
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0.open).is_empty()
    }

    /// To be called every `interval`: resets streams whose client takes nothing. Whether the whole connection must end,
    /// because what nobody takes belongs to a stream that hyper has done with. While the socket itself is full, that is
    /// for the connection to judge.
    pub(super) fn look(&self, interval: Duration, socket_is_full: bool, limits: &Limits) -> bool {
        let mut must_end = false;
        for progress in lock(&self.0.open).values() {
            let mut seen = lock(&progress.seen);
            let taken = progress.taken.load(Ordering::Relaxed);
            if taken != seen.taken || progress.out.load(Ordering::Relaxed) == 0 {
                let paused = std::mem::take(&mut seen.paused);
                seen.before += paused;
                seen.taken = taken;
            } else if !socket_is_full {
                seen.paused += interval;
                if seen.paused >= limits.patience(limits.write_idle, taken, seen.before) {
                    match progress.task.get().filter(|task| !task.is_finished()) {
                        Some(task) => task.abort(),
                        None => must_end = true,
                    }
                }
            }
        }
        must_end
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        let progress = lock(&self.0.next).take();
        let task = tokio::spawn(task).abort_handle();
        if let Some(progress) = progress {
            // Set once: each request has one task.
            let _ = progress.task.set(task);
        }
    }
}

/// One request and its answer, until the client has taken that.
pub(super) struct Stream {
    all: Arc<All>,
    id: u64,
    progress: Arc<Progress>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        lock(&self.all.open).remove(&self.id);
    }
}

impl Stream {
    /// How many bytes of at most `want` may be handed over now; waits while the client is to take some first.
    pub(super) fn poll_room(&self, cx: &Context<'_>, want: u64) -> Poll<u64> {
        let room = || {
            let taken = self.progress.taken.load(Ordering::Relaxed);
            let want = want.min(taken.max(FIRST));
            let free = self.all.pools.unsent(self.all.held.load(Ordering::Relaxed)) / 2;
            match self.progress.out.load(Ordering::Acquire) {
                0 => Some(want.min(free.max(FIRST))),
                _ if free >= FIRST => Some(want.min(free)),
                _ => None,
            }
        };
        if let Some(room) = room() {
            return Poll::Ready(room);
        }
        *lock(&self.progress.waker) = Some(cx.waker().clone());
        // Something may have been taken just now.
        room().map_or(Poll::Pending, Poll::Ready)
    }

    /// Counts `bytes` until they are taken.
    pub(super) fn hand_over(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let len = bytes.len() as u64;
        self.progress.out.fetch_add(len, Ordering::AcqRel);
        self.all.held.fetch_add(len, Ordering::Relaxed);
        self.all.pools.hold(len);
        Bytes::from_owner(Handed { stream: self.clone(), bytes })
    }
}

/// Some bytes on their way. Dropped when they are written, or will never be.
struct Handed {
    stream: Arc<Stream>,
    bytes: Bytes,
}

impl AsRef<[u8]> for Handed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let (all, progress) = (&self.stream.all, &self.stream.progress);
        let len = self.bytes.len() as u64;
        all.pools.let_go(len);
        all.held.fetch_sub(len, Ordering::Relaxed);
        progress.taken.fetch_add(len, Ordering::Relaxed);
        progress.out.fetch_sub(len, Ordering::AcqRel);
        let waker = lock(&progress.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(10);

    fn streams() -> Streams {
        Streams::new(Arc::new(Pools::new()))
    }

    fn room(stream: &Stream) -> Option<u64> {
        match stream.poll_room(&Context::from_waker(Waker::noop()), 1 << 20) {
            Poll::Ready(room) => Some(room),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_client_that_takes_nothing_gets_little_and_one_that_takes_gets_more() {
        let stream = streams().begin();
        assert_eq!(room(&stream), Some(FIRST));
        for expected in [FIRST, FIRST, 2 * FIRST, 4 * FIRST] {
            assert_eq!(room(&stream), Some(expected));
            drop(stream.hand_over(vec![0; expected as usize].into()));
        }
    }

    #[test]
    fn the_streams_of_a_connection_hold_no_more_than_their_share() {
        let streams = streams();
        let all: Vec<_> = (0..64).map(|_| streams.begin()).collect();
        let mut held = Vec::new();
        for stream in &all {
            while let Some(room) = room(stream) {
                held.push(stream.hand_over(vec![0; room as usize].into()));
            }
        }
        let sum: usize = held.iter().map(Bytes::len).sum();
        assert!(sum <= (1 << 20) + 64 * FIRST as usize, "{sum}");
        assert!(all.iter().all(|stream| stream.progress.out.load(Ordering::Relaxed) > 0), "each has some");
        drop(held);
        assert_eq!(streams.0.held.load(Ordering::Relaxed), 0);
        assert!(!streams.is_empty());
        drop(all);
        assert!(streams.is_empty());
    }

    #[tokio::test]
    async fn a_stream_nobody_takes_from_is_ended_and_its_neighbours_are_not() {
        let limits = Limits { write_idle: STALL, least_rate: 500, ..Limits::default() };
        let streams = streams();
        let (stalled, waiting) = (streams.begin(), streams.begin());
        // hyper gives a task with each request; here those of the second alone.
        streams.execute(std::future::pending());
        let held = stalled.hand_over(Bytes::from_static(b"not taken"));
        for _ in 0..9 {
            assert!(!streams.look(STALL / 10, false, &limits));
            assert!(!streams.look(STALL / 10, true, &limits), "the socket is full: not the stream's fault");
        }
        assert!(streams.look(STALL / 10, false, &limits), "hyper has done with it");
        drop(held);
        assert!(!streams.look(STALL, false, &limits));
        let held = waiting.hand_over(Bytes::from_static(b"not taken"));
        assert!(!streams.look(STALL, false, &limits));
        let task = waiting.progress.task.get().unwrap().clone();
        while !task.is_finished() {
            tokio::task::yield_now().await;
        }
        drop(held);
    }
}
