//! A client's socket, with habits hyper lacks: whoever is too slow to ask or to take is cut off, a
//! connection nobody uses is noticed, and a client that is still sending when it is refused gets to
//! read why.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::first_line::FirstLine;
use super::limits::Limits;
use super::socket::Socket;
use super::splice::{Spans, is_stand_in};
use super::streams::Stream;

/// How long a refused client may go on sending, and how long it may pause in that.
pub(super) const LINGER: Duration = Duration::from_secs(30);
pub(super) const LINGER_PAUSE: Duration = Duration::from_secs(5);
/// After this time without a request a connection gives back what it holds: so soon that of many that
/// come at once few are awake at a time. To wake costs microseconds.
const NAP: Duration = Duration::from_millis(2);

/// Sent to a client that was too slow with its header; hyper itself says nothing then.
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 47\r\nconnection: close\r\n\r\nthe request did not come to its end; try again\n";

/// What a connection's socket, its requests and its keeper know of each other.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Requests whose answers are not yet handed over.
    in_flight: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    /// An answer was given before the request's body was read: closing with unread data makes the
    /// kernel send a reset, and the client may then lose the answer.
    lingers: AtomicBool,
    /// Bytes came while no request was in flight.
    heard: AtomicBool,
    /// The first line of the request that comes holds a `#`.
    hash: AtomicBool,
    /// The client does not take what is sent.
    stalled: AtomicBool,
    /// Files' bytes that hyper has stand-ins for.
    spans: Arc<Spans>,
}

impl Pulse {
    pub(crate) fn linger(&self) {
        self.lingers.store(true, Ordering::Relaxed);
    }

    /// Whether the request that has come has a `#` in its target.
    pub(super) fn has_hash(&self) -> bool {
        self.hash.load(Ordering::Relaxed)
    }

    pub(super) fn spans(&self) -> &Arc<Spans> {
        &self.spans
    }

    /// Whether the socket takes nothing more at the moment.
    pub(super) fn is_full(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// One more request; `stream`: the one of HTTP/2 it came on.
    pub(crate) fn begin(self: &Arc<Self>, stream: Option<Arc<Stream>>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight { pulse: self.clone(), stream }
    }
}

/// One request, until its answer is handed over.
pub(crate) struct InFlight {
    pulse: Arc<Pulse>,
    pub(super) stream: Option<Arc<Stream>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pulse.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) struct Connection {
    socket: Socket,
    /// What was read before its turn.
    unread: Bytes,
    pulse: Arc<Pulse>,
    limits: Arc<Limits>,
    /// Since when the client takes nothing.
    stalled: Option<Instant>,
    stalled_before: Duration,
    written: u64,
    writing: Alarm,
    /// Of the request that comes next, which is the one after so many.
    first_line: FirstLine,
    requests: u64,
    /// Set once our side is shut down.
    closing: Option<Closing>,
}

struct Closing {
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    pub(super) fn new(socket: Socket, pulse: Arc<Pulse>, limits: Arc<Limits>) -> Self {
        Self {
            socket,
            unread: Bytes::new(),
            pulse,
            limits,
            stalled: None,
            stalled_before: Duration::ZERO,
            written: 0,
            writing: Alarm::default(),
            first_line: FirstLine::default(),
            requests: 0,
            closing: None,
        }
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Reads a little ahead of its turn; 0 at the end.
    pub(super) async fn read_ahead(&mut self) -> io::Result<usize> {
        use tokio::io::AsyncReadExt as _;
        let mut some = [0; 24];
        let count = self.socket.read(&mut some).await?;
        self.unread = [&self.unread, &some[..count]].concat().into();
        Ok(count)
    }

    /// Gives back what was read and not used, ahead of all that is still unread.
    pub(super) fn push_back(&mut self, bytes: &[u8]) {
        self.unread = [bytes, &self.unread].concat().into();
    }

    /// Tells a client that its request did not come to its end, if it takes that at once.
    pub(super) async fn refuse_slow(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        let told = async {
            self.write_all(TOO_SLOW).await?;
            self.shutdown().await
        };
        let _ = timeout(Duration::from_secs(1), told).await;
    }

    /// Notes that bytes came.
    fn heard(&mut self, bytes: &[u8]) {
        if self.pulse.in_flight.load(Ordering::Relaxed) == 0 {
            self.pulse.heard.store(true, Ordering::Relaxed);
            let requests = self.pulse.requests.load(Ordering::Relaxed);
            if std::mem::replace(&mut self.requests, requests) != requests {
                self.first_line = FirstLine::default();
                self.pulse.hash.store(false, Ordering::Relaxed);
            }
            if self.first_line.see(bytes) {
                self.pulse.hash.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Passes on the outcome of a write, and keeps the time while there is none.
    fn progress(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(outcome) = outcome {
            if let Some(since) = self.stalled.take() {
                self.stalled_before += since.elapsed();
                self.pulse.stalled.store(false, Ordering::Relaxed);
            }
            self.written += *outcome.as_ref().unwrap_or(&0) as u64;
            return Poll::Ready(outcome);
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        self.pulse.stalled.store(true, Ordering::Relaxed);
        let left = self.limits.patience(self.limits.write_idle, self.written, self.stalled_before);
        ready!(self.writing.poll(cx, since + left));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            let count = this.unread.len().min(buf.remaining());
            let before = buf.filled().len();
            buf.put_slice(&this.unread[..count]);
            this.unread.advance(count);
            this.heard(&buf.filled()[before..]);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(outcome) => {
                if buf.filled().len() > before {
                    this.heard(&buf.filled()[before..]);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let outcome = match slices.iter().position(|slice| is_stand_in(slice)) {
            Some(0) => this.socket.poll_send(cx, &this.pulse.spans, slices[0].len()),
            Some(bytes) => Pin::new(&mut this.socket).poll_write_vectored(cx, &slices[..bytes]),
            None => Pin::new(&mut this.socket).poll_write_vectored(cx, slices),
        };
        this.progress(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS may hold back what the socket does not take.
        let outcome = Pin::new(&mut self.socket).poll_flush(cx).map_ok(|()| 0);
        self.progress(cx, outcome).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            let outcome = Pin::new(&mut this.socket).poll_shutdown(cx).map_ok(|()| 0);
            ready!(this.progress(cx, outcome))?;
            if !this.pulse.lingers.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let now = Instant::now();
        let closing = this.closing.get_or_insert_with(|| Closing {
            end: now + LINGER,
            timer: Box::pin(sleep_until(now + LINGER_PAUSE)),
        });
        let mut waste = [0; 16 * 1024];
        // Bounded, so that a fast sender does not keep the others from their turn.
        for _ in 0..64 {
            let mut buffer = ReadBuf::new(&mut waste);
            match Pin::new(&mut this.socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= closing.end {
                        return Poll::Ready(Ok(()));
                    }
                    closing.timer.as_mut().reset((now + LINGER_PAUSE).min(closing.end));
                }
                // The end, or a reset: either way there is nobody left to be hurt.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.timer.as_mut().poll(cx).map(Ok),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Keeps the time while a client lets us wait. It is asked whenever the connection has nothing to do: hyper
/// reads again only once something has come.
pub(super) struct Watch {
    is_http2: bool,
    phase: Phase,
    /// Requests when the phase was last looked at.
    seen: u64,
    alarm: Alarm,
}

/// What we wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// For our own part: a request is being answered, and whoever reads its body keeps the time.
    Busy,
    Idle(Instant),
    /// A header has begun.
    Header(Instant),
}

/// What has lasted too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Idle,
    Header,
}

impl Watch {
    pub(super) fn new(pulse: &Pulse, is_http2: bool) -> Self {
        let seen = pulse.requests.load(Ordering::Relaxed);
        Self { is_http2, phase: Phase::Busy, seen, alarm: Alarm::default() }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, pulse: &Pulse, limits: &Limits) -> Poll<Over> {
        loop {
            let now = Instant::now();
            let is_busy =
                pulse.in_flight.load(Ordering::Relaxed) > 0 || pulse.stalled.load(Ordering::Relaxed);
            let requests = pulse.requests.load(Ordering::Relaxed);
            let heard = pulse.heard.swap(false, Ordering::Relaxed);
            if is_busy || requests != self.seen {
                self.seen = requests;
                self.phase = Phase::Busy;
            } else if heard && !self.is_http2 && !matches!(self.phase, Phase::Header(_)) {
                self.phase = Phase::Header(now);
            }
            if !is_busy && self.phase == Phase::Busy {
                self.phase = Phase::Idle(now);
            }
            let deadline = match self.phase {
                Phase::Header(since) => since + limits.header_time,
                Phase::Idle(since) if self.is_http2 => since + limits.idle,
                Phase::Idle(since) => since + NAP.min(limits.idle),
                // The streams of HTTP/2 end without waking their connection.
                Phase::Busy if self.is_http2 => now + limits.idle,
                Phase::Busy => return Poll::Pending,
            };
            ready!(self.alarm.poll(cx, deadline));
            match self.phase {
                Phase::Header(_) => return Poll::Ready(Over::Header),
                Phase::Idle(_) => return Poll::Ready(Over::Idle),
                Phase::Busy => {}
            }
        }
    }
}

/// A timer that is moved for every request and hardly ever goes off: it is set anew only when it does.
#[derive(Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once `deadline` has passed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
