//! What `[server]` says that may change while connections go on.
//!
//! Every request reads it once; what belongs to a whole connection (its buffers, its patience) stays as
//! it was when the connection came.

use std::sync::{Arc, PoisonError, RwLock};

use super::AccessLogger;
use super::limits::Limits;
use crate::config::ServerConfig;

/// The settings of the doors. The daemon replaces them whole.
pub struct Settings {
    now: RwLock<Arc<Current>>,
}

/// One state of the [`Settings`].
pub(crate) struct Current {
    pub(crate) config: ServerConfig,
    pub(crate) limits: Arc<Limits>,
    pub(crate) access_log: Arc<AccessLogger>,
}

impl Settings {
    pub fn new(config: ServerConfig, access_log: Arc<AccessLogger>) -> Self {
        let limits = Limits::from(&config.limits);
        Self::within(config, access_log, limits)
    }

    pub(super) fn within(config: ServerConfig, access_log: Arc<AccessLogger>, limits: Limits) -> Self {
        let limits = Arc::new(limits);
        Self { now: RwLock::new(Arc::new(Current { config, limits, access_log })) }
    }

    /// Goes by these from the next request on, and lets go of the old log; `None` keeps the one that is there.
    pub fn replace(&self, config: ServerConfig, access_log: Option<Arc<AccessLogger>>) {
        let access_log = access_log.unwrap_or_else(|| self.now().access_log.clone());
        let limits = Arc::new(Limits::from(&config.limits));
        let new = Arc::new(Current { config, limits, access_log });
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
