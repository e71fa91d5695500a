//! Bounds on strangers.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Connections at a time; further ones wait.
    pub(crate) connections: usize,
    /// For the whole of a request's header, and so also for an idle connection.
    pub(crate) header_time: Duration,
    /// Bytes of request line and header.
    pub(crate) header_size: usize,
    /// Pause within a request's body.
    pub(crate) body_idle: Duration,
    /// Time a client may take nothing of its answer.
    pub(crate) write_idle: Duration,
    /// Bytes hyper keeps for a connection, each way.
    pub(crate) buffer: usize,
    /// The longest `Prefer: wait` that is honoured.
    pub(crate) wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_time: Duration::from_secs(60),
            header_size: 64 * 1024,
            body_idle: Duration::from_secs(60),
            write_idle: Duration::from_secs(120),
            buffer: 256 * 1024,
            wait: Duration::from_secs(300),
        }
    }
}
