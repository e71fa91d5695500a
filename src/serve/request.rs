//! A request's body: read with bounds, or left unread in a way that lets the client read the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::EXPECT;
use tokio::time::{Instant, timeout};

use super::error::ServeError;
use super::limits::Limits;

/// Bytes that are gathered before they are worked on.
pub(crate) const BLOCK: usize = 1024 * 1024;
/// Frames smaller than this are copied together: a frame may hold a much larger buffer alive.
const SMALL_FRAME: usize = 4096;
/// A refused body that is no longer than this is read to its end, so that the connection can go on.
const DRAINED: u64 = 256 * 1024;

pub(crate) struct RequestBody {
    body: Incoming,
    /// The client waits for `100 Continue`, which hyper sends when the body is first asked for.
    expects: bool,
    limits: Arc<Limits>,
    /// How long the client let us wait.
    waited: Duration,
    limit: u64,
    read: u64,
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
        Self { body, expects, limits: limits.clone(), waited: Duration::ZERO, limit, read: 0 }
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

    /// The next [`BLOCK`] bytes or a little more, or what is left.
    pub(crate) async fn next_block(&mut self) -> Result<Block, ServeError> {
        let mut block = Block::default();
        let mut gathered = 0;
        let mut small: Vec<u8> = Vec::new();
        while gathered < BLOCK {
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

    async fn next_frame(&mut self) -> Result<Option<Bytes>, ServeError> {
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
