//! systemd, as far as we talk with it: sockets it opened for us, and what it is told.
//!
//! sd_listen_fds(3) and sd_notify(3) say how. Without systemd (neither LISTEN_FDS nor NOTIFY_SOCKET in the
//! environment) all of this does nothing.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::warn;

use crate::serve::Site;

/// A socket that systemd opened.
pub struct Given {
    /// `FileDescriptorName=`, or else the unit's name; empty if systemd does not tell.
    pub name: String,
    pub socket: GivenSocket,
}

pub enum GivenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The sockets that systemd handed over, in the order of their unit; none without socket activation.
///
/// Takes their numbers out of the environment, so it comes before any thread is started.
pub fn sockets() -> anyhow::Result<Vec<Given>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut given = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..given.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let socket = match given.take_unix_listener(index) {
            Ok(socket) => socket.map(GivenSocket::Unix),
            // No Unix socket: it is left in its place.
            Err(_) => given
                .take_tcp_listener(index)
                .with_context(|| {
                    format!(
                        "cannot use socket {} that systemd handed over; \
                         expected ListenStream=ADDRESS:PORT or ListenStream=/PATH in createrepod.socket",
                        index + 1
                    )
                })?
                .map(GivenSocket::Tcp),
        };
        let Some(socket) = socket else { continue };
        match &socket {
            GivenSocket::Tcp(socket) => socket.set_nonblocking(true),
            GivenSocket::Unix(socket) => socket.set_nonblocking(true),
        }
        .context("cannot use a socket that systemd handed over")?;
        sockets.push(Given { name, socket });
    }
    Ok(sockets)
}

/// Everything is served; `systemctl start` returns.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] says when that is over.
pub fn reloading() {
    tell(&[NotifyState::Reloading, NotifyState::Status("Reading the configuration again")]);
}

/// The way down has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Stopping: finishing what is in flight")]);
}

/// What `systemctl status` shows.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        let what = states.first().map(ToString::to_string).unwrap_or_default();
        warn!(error = %error, "cannot tell systemd {what:?} through $NOTIFY_SOCKET: {error}");
    }
}

/// Tells the watchdog, if there is one, that we live; three times in each of its periods.
///
/// It runs where requests are answered and looks at what they look at first: when no thread is free to answer,
/// or the site is locked for good, systemd hears nothing and starts us anew. A repository that hangs is no reason
/// for that, the others are served.
pub async fn beat(site: Arc<Site>) {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    let mut beats = tokio::time::interval((period / 3).max(Duration::from_millis(1)));
    loop {
        beats.tick().await;
        let _ = site.now();
        tell(&[NotifyState::Watchdog]);
    }
}
