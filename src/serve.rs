//! The HTTP server: accepts connections, and stops without breaking off an answer.
//!
//! ```text
//! let site = Arc::new(Site::default());
//! site.replace(mounts);                              // again whenever what is served changes
//! serve::run(listeners, config.server, site, stop).await;
//! ```
//!
//! `listeners` are bound by the caller (so that a port that is taken is an error before anything
//! starts). `run` needs a multi-threaded tokio runtime with I/O and time; it returns when `stop` has
//! come true and the last request in flight is answered, and puts no bound on that itself.

mod access;
mod answer;
mod browse;
mod conditional;
mod connection;
pub(crate) mod dot_repo;
pub(crate) mod error;
mod files;
mod health;
mod limits;
pub(crate) mod request;
mod respond;
mod route;
pub mod site;

#[allow(unused_imports)] // for what a request wants beyond its method: a MOVE's target, a batch
pub(crate) use access::authorize;
pub(crate) use answer::{Answer, PLAIN, blocking, empty, one_line, set, text};
pub(crate) use conditional::{Validators, write as write_condition};

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, error, warn};

use crate::auth::Certificate;
use crate::config::ServerConfig;
use connection::{Connection, Lingers};
use limits::Limits;
pub use site::{Mount, Mounts, Site};

/// Serves `site` on `listeners` until `stop` comes true; then takes no new connection, and returns
/// when the last request in flight is answered.
pub async fn run(
    listeners: Vec<TcpListener>,
    config: ServerConfig,
    site: Arc<Site>,
    stop: impl Future<Output = ()> + Send,
) {
    run_within(listeners, config, site, Limits::default(), stop).await;
}

async fn run_within(
    listeners: Vec<TcpListener>,
    config: ServerConfig,
    site: Arc<Site>,
    limits: Limits,
    stop: impl Future<Output = ()> + Send,
) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let server = Arc::new(Server { site, config, limits });
    let graceful = Arc::new(GracefulShutdown::new());
    let (close, closed) = watch::channel(());
    // Dropped with this future, they are aborted: whoever gives up on us breaks everything off.
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(
            listener,
            server.clone(),
            connections.clone(),
            graceful.clone(),
            closed.clone(),
        ));
    }
    drop(closed);
    tokio::select! {
        () = stop => {}
        // Nobody would be let in any more, and nobody would notice.
        Some(_) = accepting.join_next() => error!("no more connections are taken; this is a bug, please report it"),
    }
    drop(close);
    let open = accepting.join_all().await;
    if let Some(graceful) = Arc::into_inner(graceful) {
        graceful.shutdown().await;
    }
    drop(open);
}

/// What every connection needs to know.
pub(crate) struct Server {
    pub(crate) site: Arc<Site>,
    pub(crate) config: ServerConfig,
    pub(crate) limits: Limits,
}

/// Who is at the two ends of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The client's certificate, where TLS asked for one and found it good.
    #[allow(dead_code)]
    pub(crate) certificate: Option<Arc<Certificate>>,
}

/// Takes connections until `closed` ends; gives back those that are still open.
async fn accept(
    listener: TcpListener,
    server: Arc<Server>,
    connections: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
    mut closed: watch::Receiver<()>,
) -> JoinSet<()> {
    let mut open = JoinSet::new();
    loop {
        // The permit first: beyond the limit, clients wait in the kernel's queue.
        let next = async { (connections.clone().acquire_owned().await, listener.accept().await) };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = closed.changed() => return open,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((socket, peer)) => {
                let (server, watcher) = (server.clone(), graceful.watcher());
                open.spawn(async move {
                    serve_connection(socket, peer, server, watcher).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // The client's trouble (it went away) is over at once; ours (no more files) is not.
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::Interrupted
                ) {
                    warn!(error = %error, "cannot accept a connection: {error}; trying again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn serve_connection(socket: TcpStream, peer: SocketAddr, server: Arc<Server>, watcher: Watcher) {
    // Without a local address the client is gone already.
    let Ok(local) = socket.local_addr() else { return };
    let _ = socket.set_nodelay(true);
    let ends = Arc::new(Ends { peer, local, certificate: None });
    let lingers = Lingers::default();
    let io = TokioIo::new(Connection::new(socket, lingers.clone(), server.limits.write_idle));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(server.limits.header_time)
        .max_header_size(server.limits.header_size)
        .max_buf_size(server.limits.buffer);
    let service = service_fn(|request| {
        let (server, ends, lingers) = (server.clone(), ends.clone(), lingers.clone());
        async move { Ok::<_, Infallible>(respond::respond(&server, &ends, lingers, request).await) }
    });
    if let Err(error) = watcher.watch(http.serve_connection(io, service)).await {
        debug!(%peer, %error, "a connection from {peer} ended early: {error}");
    }
}

#[cfg(test)]
mod tests;
