//! What a client is connected through: TCP, TLS over it, or a Unix socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use super::splice::Spans;
use super::tls::Tls;

/// Bytes that the kernel may have waiting to be sent to a client on this machine (`TCP_NOTSENT_LOWAT`, tcp(7)).
///
/// One that reads as fast as the kernel copies gets up to half as much again: with a long queue it is each of its own
/// reads that sends a little of it. Over a network, whose packets are small, the same would cost twice the CPU time for
/// nothing; docs/benchmarks.md has the figures.
const UNSENT: u32 = 16 << 10;

/// Where clients come in.
pub enum Listener {
    Http(TcpListener),
    Https(TcpListener, Arc<Tls>),
    Unix(UnixListener),
    /// For the commands of this program: whoever may open its file may do everything.
    Control(UnixListener),
    /// As if every client came from this address: a test has no network but this machine's own.
    #[cfg(test)]
    From(std::net::IpAddr, TcpListener),
}

/// A connection that was just made; `None`: over a Unix socket, which has no addresses.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) ends: Option<(SocketAddr, SocketAddr)>,
    pub(super) is_control: bool,
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Http(listener) | Self::Https(listener, _) => {
                let (socket, peer) = listener.accept().await?;
                // Where the kernel knows none of this, it is slower and no less right.
                let _ = socket.set_nodelay(true);
                if peer.ip().to_canonical().is_loopback() {
                    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
                }
                let local = socket.local_addr()?;
                Ok(Accepted { socket: Socket::Tcp(socket), ends: Some((peer, local)), is_control: false })
            }
            Self::Unix(listener) | Self::Control(listener) => {
                let (socket, _) = listener.accept().await?;
                let is_control = matches!(self, Self::Control(_));
                Ok(Accepted { socket: Socket::Unix(socket), ends: None, is_control })
            }
            #[cfg(test)]
            Self::From(address, listener) => {
                let (socket, peer) = listener.accept().await?;
                let ends = Some(((*address, peer.port()).into(), socket.local_addr()?));
                Ok(Accepted { socket: Socket::Tcp(socket), ends, is_control: false })
            }
        }
    }
}

pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Has the kernel send what stands next in `spans`, at most `most` bytes.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        spans: &Spans,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = match self {
                Self::Tcp(socket) => {
                    ready!(socket.poll_write_ready(cx))?;
                    socket.try_io(Interest::WRITABLE, || spans.send(socket, most))
                }
                Self::Unix(socket) => {
                    ready!(socket.poll_write_ready(cx))?;
                    socket.try_io(Interest::WRITABLE, || spans.send(socket, most))
                }
                Self::Tls(_) => return Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
            };
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

/// Hands a call on to whatever the socket is.
macro_rules! each {
    ($self:ident, $socket:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($socket) => $call,
            Socket::Unix($socket) => $call,
            Socket::Tls($socket) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, socket => Pin::new(socket).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, socket => Pin::new(socket).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => Pin::new(socket).poll_shutdown(cx))
    }
}
