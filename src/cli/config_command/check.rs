//! `config check`: beyond what the configuration says, whether what it names is there.

use std::io::ErrorKind;
use std::path::Path;

use crate::config::problem::{Origin, Problem, Problems};
use crate::config::resolve::{CREDENTIALS_OF_UNIT, Resolved};
use crate::config::{AccessLog, SignConfig};
use crate::rights::Pattern;
use crate::serve::{Tls, TlsError};

/// What the machine lacks.
#[derive(Default)]
pub struct Lacks {
    /// The daemon would not start.
    pub errors: Problems,
    /// It starts, and something of it does not work.
    pub warnings: Vec<Problem>,
}

pub fn lacks(resolved: &Resolved) -> Lacks {
    let mut lacks = Lacks::default();
    let config = &resolved.config;
    let origin = |table: &str, key: &str| {
        let found = resolved.settings.iter().find(|setting| setting.table == table && setting.key == key);
        found.map_or(Origin::Default, |setting| setting.origin.clone())
    };
    match config.server.tls.as_ref().map(Tls::load) {
        // Whoever checks may see less than the daemon's user.
        Some(Err(TlsError::Read { source, .. })) if source.kind() == ErrorKind::PermissionDenied => {}
        Some(Err(error)) => {
            let why = crate::logging::chain(&error);
            lacks.errors.add(origin("server", "tls"), format!("tls: {why}; the daemon would not start"));
        }
        None | Some(Ok(_)) => {}
    }
    if let AccessLog::File(file) = &config.server.access_log
        && let Some(directory) = file.parent().filter(|directory| is_missing(directory))
    {
        let why = format!("access_log: {} does not exist; the daemon would not start", directory.display());
        lacks.errors.add(origin("server", "access_log"), why);
    }
    let mut warn = |table: &str, key: &str, path: &Path, then: &str| {
        if is_missing(path) {
            let message = format!("{key}: {} does not exist; {then}", path.display());
            lacks.warnings.push(Problem { origin: origin(table, key), message });
        }
    };
    if let Some(file) = &config.access.htpasswd {
        warn("server", "htpasswd", file, "no user of it counts until it does");
    }
    for repository in &config.repositories {
        let table = format!("repository.{}", repository.name);
        warn(&table, "path", &repository.path, "the repository is not served until it does");
        if let Some(keyring) = &repository.keyring {
            warn(&table, "keyring", keyring, "nothing is published until it does");
        }
        let files = match &repository.sign {
            Some(SignConfig::Key { key, passphrase }) => vec![Some(key), passphrase.as_ref()],
            Some(SignConfig::Command { public_key, .. }) => vec![Some(public_key)],
            None => vec![],
        };
        // A credential of systemd's is there only while the daemon runs.
        for file in files.into_iter().flatten().filter(|file| !file.starts_with(CREDENTIALS_OF_UNIT)) {
            warn(&table, "sign", file, "nothing is published until it does");
        }
    }
    // What a tree's pattern will find is not known.
    if config.trees.is_empty() {
        let grants = config.access.grants.iter();
        let grants = grants.map(|grant| (format!("grant.{}", grant.name), &grant.grant.repositories));
        let webhooks = config.webhooks.iter();
        let webhooks = webhooks.map(|hook| (format!("webhook.{}", hook.name), &hook.repositories));
        for (table, patterns) in grants.chain(webhooks) {
            let is_idle = |pattern: &&Pattern| {
                pattern.as_str() != "*" && !config.repositories.iter().any(|one| pattern.matches(&one.name))
            };
            for pattern in patterns.iter().filter(is_idle) {
                let message = format!("repositories: {:?} is the name of none", pattern.as_str());
                lacks.warnings.push(Problem { origin: origin(&table, "repositories"), message });
            }
        }
    }
    lacks
}

/// A path that nobody may look at is not missing.
fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
