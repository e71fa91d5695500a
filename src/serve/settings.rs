//! What `[server]` says that may change while connections go on.
//!
//! Every request reads it once; what belongs to a whole connection (its buffers, its patience) stays as
//! it was when the connection came.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};

use super::limits::Limits;
use super::{AccessLogger, Condition, Expiry, Tls, base};
use crate::config::ServerConfig;

/// The settings of the doors. The daemon replaces them whole.
pub struct Settings {
    now: RwLock<Arc<Current>>,
    /// How the daemon itself is.
    pub condition: Condition,
    /// What `https://` listeners speak with.
    tls: Option<Arc<Tls>>,
}

/// One state of the [`Settings`].
pub(crate) struct Current {
    pub(crate) config: ServerConfig,
    pub(crate) limits: Arc<Limits>,
    pub(crate) access_log: Arc<AccessLogger>,
    /// The path of `base_url`, without the slash at its end; empty where it has none.
    pub(crate) base_path: String,
}

impl Current {
    fn new(config: ServerConfig, limits: Limits, access_log: Arc<AccessLogger>) -> Arc<Self> {
        let base_path = base::path_of(config.base_url.as_deref());
        Arc::new(Self { config, limits: Arc::new(limits), access_log, base_path })
    }

    /// A path of ours as clients know it.
    pub(crate) fn told<'p>(&self, path: &'p str) -> Cow<'p, str> {
        match self.base_path.as_str() {
            "" => path.into(),
            base => format!("{base}{path}").into(),
        }
    }
}

impl Settings {
    pub fn new(config: ServerConfig, access_log: Arc<AccessLogger>) -> Self {
        let limits = Limits::from(&config.limits);
        Self::within(config, access_log, limits)
    }

    pub(super) fn within(config: ServerConfig, access_log: Arc<AccessLogger>, limits: Limits) -> Self {
        let now = RwLock::new(Current::new(config, limits, access_log));
        Self { now, condition: Condition::default(), tls: None }
    }

    /// The same with what `https://` listeners speak with.
    pub fn with_tls(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// When the certificates in use end.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.tls.as_ref().map(|tls| tls.expiries()).unwrap_or_default()
    }

    /// Goes by these from the next request on, and lets go of the old log; `None` keeps the one that is there.
    pub fn replace(&self, config: ServerConfig, access_log: Option<Arc<AccessLogger>>) {
        let access_log = access_log.unwrap_or_else(|| self.now().access_log.clone());
        let limits = Limits::from(&config.limits);
        let new = Current::new(config, limits, access_log);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Opens the file of the access log anew, after logrotate has moved the old one away.
    pub fn reopen_access_log(&self) {
        self.now().access_log.reopen();
    }

    pub(crate) fn now(&self) -> Arc<Current> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
