//! The HTTP server: accepts connections, and stops without breaking off an answer.

pub mod site;

use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::ServerConfig;
pub use site::{Mount, Mounts, Site};

/// Serves `site` on `listeners` until `stop` comes true; then takes no new connection, and returns
/// when the last request in flight is answered.
pub async fn run(
    _listeners: Vec<TcpListener>,
    _config: ServerConfig,
    _site: Arc<Site>,
    _stop: impl Future<Output = ()> + Send,
) {
    todo!()
}
