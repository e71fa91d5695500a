//! A request's body: read with bounds, or left unread in a way that lets the client read the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::connection::{LINGER, LINGER_PAUSE};
use super::error::ServeError;
use super::limits::Limits;

/// Bytes that are gathered before they are worked on.
pub(crate) const BLOCK: usize = 1024 * 1024;
/// What all bodies gather together, while one block of each is written and the next one comes.
const GATHERED: usize = 32 * 1024 * 1024;
/// The least that is worth a step.
const LEAST_BLOCK: usize = 64 * 1024;

/// Bodies that are read now.
static READ_NOW: AtomicUsize = AtomicUsize::new(0);

/// One body that is read; it is not counted any more once this is dropped.
struct ReadNow;

impl ReadNow {
    fn begin() -> Self {
        READ_NOW.fetch_add(1, Ordering::Relaxed);
        Self
    }

    /// How much each may gather.
    fn block() -> usize {
        (GATHERED / 2 / READ_NOW.load(Ordering::Relaxed).max(1)).clamp(LEAST_BLOCK, BLOCK)
    }
}

impl Drop for ReadNow {
    fn drop(&mut self) {
        READ_NOW.fetch_sub(1, Ordering::Relaxed);
    }
}
/// Frames smaller than this are copied together: a frame may hold a much larger buffer alive.
const SMALL_FRAME: usize = 4096;
/// A refused body that is no longer than this is read to its end, so that the connection can go on.
const DRAINED: u64 = 256 * 1024;
/// Of a refused body on a stream of HTTP/2 no more than this is read to waste.
const WASTED: u64 = 64 * 1024 * 1024;

pub(crate) struct RequestBody {
    body: Incoming,
    /// The client waits for `100 Continue`, which hyper sends when the body is first asked for.
    expects: bool,
    limits: Arc<Limits>,
    /// How long the client let us wait.
    waited: Duration,
    limit: u64,
    read: u64,
    /// Set once something is gathered.
    reading: Option<ReadNow>,
}

/// Some bytes of a body, in order.
#[derive(Default)]
pub(crate) struct Block {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) is_last: bool,
}

impl RequestBody {
    /// `limit`: the most bytes taken.
    pub(crate) fn new(body: Incoming, headers: &HeaderMap, limits: &Arc<Limits>, limit: u64) -> Self {
        let expects = headers
            .get_all(EXPECT)
            .iter()
            .any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self { body, expects, limits: limits.clone(), waited: Duration::ZERO, limit, read: 0, reading: None }
    }

    /// Length as announced; `None` for chunked bodies.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Whether the client holds the body back until it is asked for.
    pub(crate) fn is_held_back(&self) -> bool {
        self.expects
    }

    /// Refuses a body that says itself that it is too long.
    pub(crate) fn check_announced(&self) -> Result<(), ServeError> {
        match self.announced() {
            Some(length) if length > self.limit => Err(ServeError::TooLarge { limit: self.limit }),
            _ => Ok(()),
        }
    }

    /// The next [`BLOCK`] bytes or a little more, or what is left; fewer where many bodies come at once.
    pub(crate) async fn next_block(&mut self) -> Result<Block, ServeError> {
        let mut block = Block::default();
        let mut gathered = 0;
        let mut small: Vec<u8> = Vec::new();
        self.reading.get_or_insert_with(ReadNow::begin);
        let enough = ReadNow::block();
        while gathered < enough {
            let Some(data) = self.next_frame().await? else {
                block.is_last = true;
                break;
            };
            gathered += data.len();
            if data.len() < SMALL_FRAME {
                small.extend_from_slice(&data);
            } else {
                if !small.is_empty() {
                    block.parts.push(std::mem::take(&mut small).into());
                }
                block.parts.push(data);
            }
        }
        if !small.is_empty() {
            block.parts.push(small.into());
        }
        Ok(block)
    }

    /// Some bytes, as they came; `None` at the end.
    pub(crate) async fn next_frame(&mut self) -> Result<Option<Bytes>, ServeError> {
        self.expects = false;
        loop {
            let pause = self.limits.body_idle;
            let patience = self.limits.patience(pause, self.read, self.waited);
            let began = Instant::now();
            let frame = timeout(patience, self.body.frame())
                .await
                .map_err(|_| ServeError::BodyTimeout(pause.as_secs()))?;
            self.waited += began.elapsed();
            let data = match frame {
                None => return Ok(None),
                Some(Err(_)) => return Err(ServeError::Aborted),
                // Trailers say nothing we need.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
            };
            self.read += data.len() as u64;
            if self.read > self.limit {
                return Err(ServeError::TooLarge { limit: self.limit });
            }
            return Ok(Some(data));
        }
    }

    /// Reads what comes of a refused body on a stream of HTTP/2 for a while, beside the answer: curl and others stop sending once
    /// they have the answer, but report nothing but an error when the stream is reset before.
    pub(crate) fn waste(mut self, drains: &Arc<Semaphore>) {
        if self.body.is_end_stream() || self.expects {
            return;
        }
        let Ok(turn) = drains.clone().try_acquire_owned() else { return };
        self.limit = self.read.saturating_add(WASTED);
        self.limits = Arc::new(Limits { body_idle: LINGER_PAUSE, ..Limits::clone(&self.limits) });
        tokio::spawn(async move {
            let rest = async { while let Ok(Some(_)) = self.next_frame().await {} };
            let _ = timeout(LINGER, rest).await;
            drop(turn);
        });
    }

    /// Whether the connection can go on after the answer: reads what little may be left of the body.
    pub(crate) async fn drained(mut self) -> bool {
        if self.body.is_end_stream() {
            return true;
        }
        if self.expects || self.announced().is_none_or(|left| left > DRAINED) {
            return false;
        }
        self.limit = u64::MAX;
        let rest = async {
            loop {
                match self.next_frame().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return true,
                    Err(_) => return false,
                }
            }
        };
        timeout(Duration::from_secs(1), rest).await.unwrap_or(false)
    }
}
