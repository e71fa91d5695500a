//! Takes up a changed `[server]` while connections go on: all of it that can be, or nothing.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use tracing::{error, info, warn};

use super::reload;
use crate::config::ServerConfig;
use crate::logging::chain;
use crate::serve::{AccessLogger, Settings, Tls};

/// What the doors go by.
pub struct Live {
    pub settings: Arc<Settings>,
    pub tls: Option<Arc<Tls>>,
}

impl Live {
    /// Opens the access log and reads certificate and key.
    pub fn start(server: &ServerConfig) -> anyhow::Result<Self> {
        let tls = server.tls.as_ref().map(Tls::load).transpose().context("cannot speak TLS")?;
        let access_log = open_log(server)?;
        let tls = tls.map(Arc::new);
        let settings = Settings::new(server.clone(), Arc::new(access_log)).with_tls(tls.clone());
        Ok(Self { settings: Arc::new(settings), tls })
    }

    /// Says which certificates end soon, or have ended.
    pub fn warn_of_expiry(&self) {
        for expiry in self.settings.expiries() {
            if let Some(warning) = expiry.warning(SystemTime::now()) {
                warn!("{warning}");
            }
        }
    }

    /// Goes by `new` where that needs no restart; gives back what is gone by now. On an error nothing is changed.
    pub fn take_up(&self, old: &ServerConfig, new: ServerConfig) -> anyhow::Result<ServerConfig> {
        let restart = reload::needs_restart(old, &new);
        let new = reload::live(old, new);
        if new != *old {
            let access_log = match new.access_log == old.access_log {
                true => None,
                false => Some(Arc::new(tokio::task::block_in_place(|| open_log(&new))?)),
            };
            // Last, for it is taken up at once.
            if new.tls != old.tls
                && let Some((tls, files)) = self.tls.as_ref().zip(new.tls.as_ref())
            {
                tokio::task::block_in_place(|| tls.reload(files)).context("cannot speak TLS")?;
                self.warn_of_expiry();
            }
            self.settings.replace(new.clone(), access_log);
            info!("took up the changed [server]; connections go on");
        }
        if !restart.is_empty() {
            warn!("[server] {} changed; that is taken up by a restart only", restart.join(", "));
        }
        Ok(new)
    }

    /// Takes up certificate and key if they have changed; connections that are open keep the old ones.
    pub async fn renew(&self, server: &ServerConfig) {
        let Some((tls, files)) = self.tls.clone().zip(server.tls.clone()) else { return };
        match tokio::task::spawn_blocking(move || tls.reload(&files)).await {
            Ok(Ok(true)) => {
                info!("took up the changed certificate for TLS");
                self.warn_of_expiry();
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => {
                let why = chain(&error);
                error!("the certificate for TLS stays as it was: {why}");
            }
            Err(panic) => error!("reading the certificate for TLS ended by a bug: {panic}"),
        }
    }
}

fn open_log(server: &ServerConfig) -> anyhow::Result<AccessLogger> {
    AccessLogger::open(&server.access_log)
        .with_context(|| format!("cannot open the access log {}", server.access_log))
}
