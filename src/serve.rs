//! The HTTP server: accepts connections, and stops without breaking off an answer.
//!
//! ```text
//! let site = Arc::new(Site::default());
//! site.replace(mounts);                              // again whenever what is served changes
//! let settings = Arc::new(Settings::new(config.server, log));
//! serve::run(listeners, settings, site, guard, stop).await;
//! ```
//!
//! `listeners` are bound by the caller (so that a port that is taken is an error before anything
//! starts). `run` needs a multi-threaded tokio runtime with I/O and time; it returns when `stop` has
//! come true and the last request in flight is answered, and puts no bound on that itself.

mod accept;
mod access;
mod access_log;
mod answer;
mod api;
mod at_once;
mod audience;
pub(crate) mod base;
mod batches;
mod body;
mod browse;
pub mod condition;
mod conditional;
mod connection;
pub(crate) mod dot_repo;
pub(crate) mod error;
mod files;
mod first_line;
mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod large;
mod life;
mod limits;
mod metrics;
mod multipart;
mod pairs;
mod pools;
mod ranges;
mod repomd;
mod repr_digest;
pub(crate) mod request;
mod request_id;
mod respond;
mod route;
mod settings;
pub mod site;
mod socket;
mod splice;
mod streams;
mod tls;
pub(crate) mod uploads;
pub mod verify;
mod work;

pub(crate) use access::{authorize, removes_now};
pub use access_log::AccessLogger;
pub(crate) use answer::{Answer, AnswerBody, PLAIN, empty, one_line, set, text};
pub use condition::Condition;
pub(crate) use conditional::{Validators, write as write_condition};
pub(crate) use route::encode_part;
pub use settings::Settings;
pub use socket::Listener;
pub use tls::{Expiry, Tls, TlsError};

pub(crate) use error::{receive_status, receive_words};
pub(crate) use files::media_type;
pub(crate) use health::verified;
pub(crate) use route::{FOLDER, elsewhere, encode_path, place, writable};
pub(crate) use work::{blocking, changing, held};

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, warn};

use crate::auth::{Certificate, Guard};
use crate::dav::share::Shares;
pub(crate) use limits::{Admitted, Crowd, Limits};
use pools::{Files, Pools};
pub use site::{Mount, Mounts, Site};
use socket::Accepted;

/// Serves `site` on `listeners` until `stop` comes true; then takes no new connection, and returns
/// when the last request in flight is answered.
pub async fn run(
    listeners: Vec<Listener>,
    settings: Arc<Settings>,
    site: Arc<Site>,
    guard: Arc<Guard>,
    stop: impl Future<Output = ()> + Send,
) {
    let door = Door { room: Arc::default(), crowd: Arc::default() };
    let server = Arc::new(Server::new(site, guard, settings));
    let (close, closed) = watch::channel(());
    // Dropped with this future, they are aborted: whoever gives up on us breaks everything off.
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, server.clone(), door.clone(), closed.clone()));
    }
    drop(closed);
    tokio::select! {
        () = stop => {}
        // Nobody would be let in any more, and nobody would notice.
        Some(_) = accepting.join_next() => error!("no more connections are taken; this is a bug, please report it"),
    }
    server.closing.store(true, Ordering::Relaxed);
    drop(close);
    for open in accepting.join_all().await {
        open.join_all().await;
    }
}

/// How many refused bodies of HTTP/2 are read to waste at a time.
const DRAINS: usize = 64;

/// What every connection needs to know.
pub(crate) struct Server {
    pub(crate) site: Arc<Site>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) crowded: Crowded,
    pub(crate) given: repomd::Given,
    pub(crate) metrics: Arc<metrics::Metrics>,
    /// What all connections share.
    pools: Arc<Pools>,
    /// Refused bodies of HTTP/2 that are read to waste.
    drains: Arc<Semaphore>,
    /// Places of uploads.
    pub(crate) uploads: uploads::Uploads,
    /// What WebDAV keeps in memory.
    pub(crate) shares: Shares,
    /// Set when the doors close: what goes on for long is broken off.
    pub(crate) closing: Arc<AtomicBool>,
    /// Whether all that can be published was published once since the start.
    pub(crate) begun: AtomicBool,
}

impl Server {
    fn new(site: Arc<Site>, guard: Arc<Guard>, settings: Arc<Settings>) -> Self {
        let (crowded, given, shares) = (Crowded::default(), repomd::Given::default(), Shares::default());
        let (metrics, closing) = Default::default();
        let begun = AtomicBool::new(false);
        let (pools, drains) = (Arc::new(Pools::new()), Arc::new(Semaphore::new(DRAINS)));
        let uploads = uploads::Uploads::new();
        Self {
            site,
            guard,
            settings,
            crowded,
            given,
            metrics,
            pools,
            drains,
            uploads,
            shares,
            closing,
            begun,
        }
    }

    /// As many as are wanted, and as there are descriptors for.
    fn most_connections(&self) -> usize {
        self.settings.now().limits.connections.min(self.pools.connections)
    }

    /// The longest that a client may have itself let wait.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.settings.now().limits.wait
    }
}

/// Who is at the two ends of a connection, and what is between them.
#[derive(Debug)]
pub(crate) struct Ends {
    /// Over a Unix socket: this machine.
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) transport: Transport,
    /// The client's certificate, where TLS asked for one and found it good.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// What was given over this connection.
    pub(crate) given: repomd::OnConnection,
    /// The files it may have open.
    pub(crate) files: Files,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    Tls,
    Unix,
    /// The commands of this program, whose user may do everything.
    Control,
}

impl Ends {
    /// Scheme and address at which the client has reached us.
    fn reached(&self) -> String {
        let scheme = if self.transport == Transport::Tls { "https" } else { "http" };
        match self.transport {
            Transport::Unix | Transport::Control => format!("{scheme}://localhost"),
            Transport::Plain | Transport::Tls => {
                let address = SocketAddr::new(self.local.ip().to_canonical(), self.local.port());
                format!("{scheme}://{address}")
            }
        }
    }
}

/// Who may still come in.
#[derive(Clone)]
struct Door {
    room: Arc<Room>,
    crowd: Arc<Crowd>,
}

/// How many are inside. How many may be is asked anew for each, so that it may change.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    left: Notify,
}

/// A connection's place; given back when dropped.
struct Place(Arc<Room>);

impl Room {
    fn take(self: &Arc<Self>, most: usize) -> Option<Place> {
        let one_more = |inside| (inside < most).then_some(inside + 1);
        self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
        self.0.left.notify_one();
    }
}

impl Door {
    /// Waits for room, and makes some where a connection is idle.
    async fn enter(&self, server: &Server) -> Place {
        loop {
            if let Some(place) = self.room.take(server.most_connections()) {
                return place;
            }
            server.crowded.make_room();
            // Another may become idle meanwhile, or more be let in, so this is asked again.
            let _ = timeout(Duration::from_millis(100), self.room.left.notified()).await;
        }
    }

    /// `None` when the client's address has enough connections. How many are enough is asked anew, too.
    fn admit(&self, accepted: &Accepted, server: &Server) -> Option<Admitted> {
        // A Unix socket is this machine.
        let address = accepted.ends.map_or(Ipv4Addr::LOCALHOST.into(), |(peer, _)| peer.ip());
        self.crowd.admit(address, server.settings.now().limits.per_address)
    }
}

/// Told when there is no room for a client: the connection that has been idle longest hears it.
#[derive(Default)]
pub(crate) struct Crowded {
    idle: AtomicUsize,
    hint: Notify,
}

impl Crowded {
    pub(crate) fn make_room(&self) {
        // Without anybody to hear it, the hint would wait for the next one, who is innocent.
        if self.idle.load(Ordering::Relaxed) > 0 {
            self.hint.notify_one();
        }
    }

    /// The next connection that listens hears that it is to make room.
    #[cfg(test)]
    pub(crate) fn told(&self) {
        self.hint.notify_one();
    }

    /// How many connections are idle.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// Ends when this connection, which is idle, is to make room.
    pub(crate) async fn my_turn(&self) {
        struct Idle<'c>(&'c AtomicUsize);
        impl Drop for Idle<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.idle.fetch_add(1, Ordering::Relaxed);
        let _idle = Idle(&self.idle);
        self.hint.notified().await;
    }
}

/// Takes connections until `closed` ends; gives back those that are still open.
async fn accept(
    listener: Listener,
    server: Arc<Server>,
    door: Door,
    mut closed: watch::Receiver<()>,
) -> JoinSet<()> {
    let tls = match &listener {
        Listener::Https(_, tls) => Some(tls.clone()),
        Listener::Http(_) | Listener::Unix(_) | Listener::Control(_) => None,
        #[cfg(test)]
        Listener::From(..) => None,
    };
    let mut open = JoinSet::new();
    let mut complained: Option<Instant> = None;
    loop {
        let next = async {
            let accepted = listener.accept().await;
            // Beyond the limit one client waits here, the others in the kernel's queue.
            let place = door.enter(&server).await;
            (place, accepted)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            _ = closed.changed() => return open,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok(accepted) => {
                let Some(admitted) = door.admit(&accepted, &server) else {
                    let is_tls = tls.is_some();
                    open.spawn(async move {
                        turn_away(accepted, is_tls).await;
                        drop(place);
                    });
                    continue;
                };
                let (tls, server, closed) = (tls.clone(), server.clone(), closed.clone());
                open.spawn(async move {
                    life::live(accepted, tls, server, closed).await;
                    drop((place, admitted));
                });
            }
            Err(error) => {
                // The client's trouble (it went away) is over at once; ours (no more files) is not.
                if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
                    continue;
                }
                if complained.is_none_or(|since| since.elapsed() > COMPLAINTS) {
                    complained = Some(Instant::now());
                    warn!(error = %error, "cannot accept a connection: {error}; trying again");
                }
                // An idle connection closed is a file given back.
                server.crowded.make_room();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The same trouble with accepting is told once in this time.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// Says why, to a client whose address has enough connections; over TLS there is nobody to say it to yet.
async fn turn_away(accepted: Accepted, is_tls: bool) {
    const WHY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain; charset=utf-8\r\n\
        content-length: 67\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
        too many connections from your address; close some, then try again\n";
    let mut socket = accepted.socket;
    if is_tls {
        return;
    }
    let told = async {
        socket.write_all(WHY).await?;
        socket.shutdown().await?;
        // Closing with unread data would take the answer away again.
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
    };
    let _ = timeout(Duration::from_secs(1), told).await;
}

#[cfg(test)]
mod tests;
