//! A connection's life: which protocol it speaks, its requests, the naps between them, its end.
//!
//! A connection that nobody uses gives back hyper's state and buffers and keeps its socket alone, so
//! that ten thousand idle ones cost little; the next byte wakes it.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use super::at_once::{Answering, at_once};
use super::connection::{Alarm, Connection, Over, Pulse, Watch};
use super::limits::Limits;
use super::repomd::OnConnection;
use super::respond::respond;
use super::socket::{Accepted, Socket};
use super::streams::{Stream, Streams};
use super::tls::{self, Tls};
use super::{Ends, Server, Transport};
use crate::auth::Certificate;

/// What the first bytes of HTTP/2 are (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often it is looked at whether clients of HTTP/2 take what they asked for, in parts of `stall`.
const LOOKS: u32 = 8;

/// Serves a connection to its end, or until `closed` ends and its requests in flight are answered.
pub(super) async fn live(
    accepted: Accepted,
    tls: Option<Arc<Tls>>,
    server: Arc<Server>,
    mut closed: watch::Receiver<()>,
) {
    let Accepted { mut socket, ends, is_control } = accepted;
    // Who may connect to a Unix socket is on this machine, and says himself whom he speaks for.
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (peer, local) = ends.unwrap_or((here, here));
    let transport = match (&tls, ends) {
        (Some(_), _) => Transport::Tls,
        (None, Some(_)) => Transport::Plain,
        (None, None) if is_control => Transport::Control,
        (None, None) => Transport::Unix,
    };
    let mut certificate = None;
    let mut is_http2 = false;
    if let Some(tls) = tls {
        let Socket::Tcp(tcp) = socket else { return };
        // Boxed, for its room would be part of every connection's.
        let handshake =
            Box::pin(timeout(server.settings.now().limits.header_time, tls.acceptor().accept(tcp)));
        let secured = tokio::select! {
            secured = handshake => secured,
            _ = closed.changed() => return,
        };
        match secured {
            Ok(Ok(stream)) => {
                let session = stream.get_ref().1;
                is_http2 = session.alpn_protocol() == Some(b"h2");
                let shown = session.peer_certificates().and_then(<[_]>::first);
                certificate = shown.map(|shown| Arc::new(Certificate::from_der(shown)));
                socket = Socket::Tls(Box::new(stream));
            }
            Ok(Err(error)) => {
                if let Some(why) = tls::refused(&error) {
                    server.guard.failures().certificate(peer.ip(), &why);
                }
                return debug!(%peer, %error, "TLS with {peer} failed: {error}");
            }
            Err(_) => return debug!(%peer, "TLS with {peer} took too long"),
        }
    }
    let (given, files) = (OnConnection::default(), server.pools.files(peer.ip()));
    let ends = Arc::new(Ends { peer, local, transport, certificate, given, files });
    let pulse = Arc::new(Pulse::default());
    let limits = server.settings.now().limits.clone();
    let connection = Connection::new(socket, pulse.clone(), limits.clone());
    let guest = Guest { ends, pulse, server, limits, closed };
    let ended = match is_http2 {
        true => Box::pin(guest.http2(connection)).await,
        false => guest.http1_or_2(connection).await,
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection from {peer} ended early: {error}");
    }
}

struct Guest {
    ends: Arc<Ends>,
    pulse: Arc<Pulse>,
    server: Arc<Server>,
    /// As they were when it came.
    limits: Arc<Limits>,
    closed: watch::Receiver<()>,
}

/// A client that has just come has mostly sent its request, and we have not seen it yet: so long it neither makes room for
/// others nor hears of a stop.
const JUST_COME: Duration = Duration::from_secs(1);

/// What came while we waited for the next request.
enum Next {
    Bytes,
    /// The time is over.
    Late,
    /// The end, or reason to make one.
    Nothing,
}

impl Guest {
    async fn http1_or_2(mut self, mut connection: Connection) -> hyper::Result<()> {
        let limits = self.limits.clone();
        // A new connection has not earned the patience of one that was used.
        let mut patience = limits.header_time.min(limits.idle);
        let mut is_new = true;
        loop {
            if connection.unread().is_empty() {
                let mut next = Next::Late;
                if is_new {
                    next = self.next(&mut connection, Instant::now() + patience.min(JUST_COME), false).await;
                }
                if matches!(next, Next::Late) {
                    next = self.next(&mut connection, Instant::now() + patience, true).await;
                }
                if !matches!(next, Next::Bytes) {
                    return Ok(());
                }
            }
            if std::mem::take(&mut is_new) {
                let deadline = Instant::now() + limits.header_time;
                while PREFACE.starts_with(connection.unread()) && connection.unread().len() < PREFACE.len() {
                    if !matches!(self.next(&mut connection, deadline, true).await, Next::Bytes) {
                        return Ok(());
                    }
                }
                if connection.unread().starts_with(PREFACE) {
                    return Box::pin(self.http2(connection)).await;
                }
            }
            patience = limits.idle;
            match Box::pin(self.http1(connection)).await? {
                Some(rested) => connection = rested,
                None => return Ok(()),
            }
        }
    }

    /// Waits for something to read, holding hardly more than the socket.
    async fn next(&mut self, connection: &mut Connection, deadline: Instant, may_go: bool) -> Next {
        tokio::select! {
            // What has come is answered, however crowded it is.
            biased;
            read = timeout_at(deadline, connection.read_ahead()) => match read {
                Ok(Ok(1..)) => Next::Bytes,
                Ok(_) => Next::Nothing,
                Err(_) => Next::Late,
            },
            // The door is full: whoever has waited longest makes room.
            () = self.server.crowded.my_turn(), if may_go => Next::Nothing,
            _ = self.closed.changed(), if may_go => Next::Nothing,
        }
    }

    /// Serves requests; gives the connection back when none came for a while.
    async fn http1(&mut self, connection: Connection) -> hyper::Result<Option<Connection>> {
        let limits = &self.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_header_size(limits.header_size)
            .max_headers(limits.header_count)
            // Stand-ins for files' bytes must not be copied.
            .writev(true)
            .max_buf_size(limits.buffer);
        let service = service_fn(|request| self.answer(request, None));
        let mut serving = Box::new(http.serve_connection(TokioIo::new(connection), service));
        let mut closed = self.closed.clone();
        let mut closing = Box::pin(async move {
            let _ = closed.changed().await;
        });
        let mut is_closing = false;
        let mut watch = Watch::new(&self.pulse, false);
        let over = poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = Pin::new(&mut *serving).poll(cx) {
                    return Poll::Ready(Err(ended));
                }
                // Not before hyper has seen what was read already: it would close over a request.
                if is_closing || closing.as_mut().poll(cx).is_pending() {
                    return watch.poll(cx, &self.pulse, limits).map(Ok);
                }
                is_closing = true;
                Pin::new(&mut *serving).graceful_shutdown();
            }
        })
        .await;
        let over = match over {
            Ok(over) => over,
            Err(ended) => return ended.map(|()| None),
        };
        let parts = serving.into_parts();
        let mut connection = parts.io.into_inner();
        match over {
            Over::Idle => {
                connection.push_back(&parts.read_buf);
                Ok(Some(connection))
            }
            Over::Header => {
                connection.refuse_slow().await;
                Ok(None)
            }
        }
    }

    async fn http2(self, connection: Connection) -> hyper::Result<()> {
        let limits = &self.limits;
        let streams = Streams::new(self.server.pools.clone());
        let at_once = self.server.pools.streams(self.ends.peer.ip());
        let window = self.server.pools.window(self.ends.peer.ip());
        let mut http = http2::Builder::new(streams.clone());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(at_once.number())
            .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
            .initial_stream_window_size(window.number().min(1024 * 1024))
            .initial_connection_window_size(window.number())
            .max_send_buf_size(limits.buffer)
            .keep_alive_interval(limits.write_idle)
            .keep_alive_timeout(limits.write_idle);
        let (guest, begun) = (&self, streams.clone());
        let service = service_fn(move |request| guest.answer(request, Some(begun.begin())));
        let mut serving = Box::pin(http.serve_connection(TokioIo::new(connection), service));
        let mut closed = self.closed.clone();
        let mut closing = Box::pin(async move {
            let _ = closed.changed().await;
        });
        let (mut is_closing, mut is_idle) = (false, false);
        let mut watch = Watch::new(&self.pulse, true);
        let interval = limits.write_idle / LOOKS;
        let (mut alarm, mut next_look) = (Alarm::default(), None);
        let ended = poll_fn(|cx| {
            if !is_closing && closing.as_mut().poll(cx).is_ready() {
                is_closing = true;
                serving.as_mut().graceful_shutdown();
            }
            loop {
                if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                // A connection without requests is not woken for this.
                let look = *next_look.get_or_insert_with(|| Instant::now() + interval);
                if streams.is_empty() {
                    next_look = None;
                } else if alarm.poll(cx, look).is_ready() {
                    next_look = None;
                    if streams.look(interval, self.pulse.is_full(), limits) {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                match watch.poll(cx, &self.pulse, limits) {
                    Poll::Pending => return Poll::Pending,
                    // Told to go a whole while ago.
                    Poll::Ready(_) if is_idle => return Poll::Ready(Ok(())),
                    Poll::Ready(_) => {
                        is_idle = true;
                        serving.as_mut().graceful_shutdown();
                        watch = Watch::new(&self.pulse, true);
                    }
                }
            }
        })
        .await;
        drop((at_once, window));
        ended
    }

    fn answer(&self, request: Request<Incoming>, stream: Option<Arc<Stream>>) -> Answering {
        let in_flight = self.pulse.begin(stream);
        match at_once(&self.server, &self.ends, &self.pulse, in_flight, request) {
            Ok(answer) => Answering::Ready(Some(answer)),
            Err(back) => {
                let (request, in_flight) = *back;
                let (server, pulse, ends) = (self.server.clone(), self.pulse.clone(), self.ends.clone());
                Answering::Waiting(Box::pin(async move {
                    respond(&server, &ends, &pulse, in_flight, request).await
                }))
            }
        }
    }
}

impl Ends {
    /// The address in log lines.
    pub(crate) fn spell_peer(&self) -> String {
        match self.transport {
            Transport::Unix => "unix:".into(),
            Transport::Control => "control:".into(),
            _ => match self.peer.ip().to_canonical() {
                IpAddr::V4(v4) => v4.to_string(),
                IpAddr::V6(v6) => v6.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Arc<Server> {
        let guard = crate::auth::Guard::new(
            &crate::config::AccessConfig::default(),
            None,
            crate::fetch::roots::trusted,
        )
        .unwrap();
        let config = crate::config::ServerConfig::default();
        let log = Arc::new(crate::serve::AccessLogger::off());
        let settings = Arc::new(crate::serve::Settings::new(config, log));
        Arc::new(Server::new(Arc::default(), Arc::new(guard), settings))
    }

    /// What an idle connection costs, its socket aside: ten thousand of them are to be cheap.
    #[tokio::test]
    async fn a_connection_is_small_while_it_waits() {
        let (socket, _other) = tokio::net::UnixStream::pair().unwrap();
        let (_close, closed) = watch::channel(());
        let server = server();
        let accepted = Accepted { socket: Socket::Unix(socket), ends: None, is_control: false };
        let life = live(accepted, None, server, closed);
        let size = size_of_val(&life);
        assert!(size <= 2048, "{size} bytes");
    }

    /// The door is full, and of all connections this one alone is not busy; and the daemon stops.
    #[tokio::test]
    async fn whoever_comes_with_a_request_is_answered() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (socket, mut client) = tokio::net::UnixStream::pair().unwrap();
        let (close, closed) = watch::channel(());
        let server = server();
        client.write_all(b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        server.crowded.told();
        close.send(()).unwrap();
        let accepted = Accepted { socket: Socket::Unix(socket), ends: None, is_control: false };
        let life = tokio::spawn(live(accepted, None, server.clone(), closed));
        let mut answer = vec![0; 4096];
        let count = client.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{count} bytes");
        assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        life.await.unwrap();
    }

    /// Waits until nothing is left of the connection but its socket.
    #[tokio::test]
    async fn a_connection_naps_soon_after_its_request_and_wakes_for_the_next() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (socket, mut client) = tokio::net::UnixStream::pair().unwrap();
        let (_close, closed) = watch::channel(());
        let server = server();
        let accepted = Accepted { socket: Socket::Unix(socket), ends: None, is_control: false };
        let life = tokio::spawn(live(accepted, None, server.clone(), closed));
        for _ in 0..3 {
            client.write_all(b"GET /-/health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let mut answer = vec![0; 4096];
            let count = client.read(&mut answer).await.unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
            while server.crowded.idle() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        drop(client);
        life.await.unwrap();
        assert_eq!(server.crowded.idle(), 0);
    }
}
