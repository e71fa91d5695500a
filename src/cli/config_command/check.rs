//! `config check`: beyond what the configuration says, whether what it names is there, and of use.

mod repositories;

use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use crate::config::problem::{Origin, Problem, Problems};
use crate::config::resolve::Resolved;
use crate::config::{AccessLog, Config};
use crate::serve::{Tls, TlsError};

/// What the machine lacks.
#[derive(Default)]
pub struct Lacks {
    /// The daemon would not start.
    pub errors: Problems,
    /// It starts, and something of it does not work.
    pub warnings: Vec<Problem>,
}

/// `main`: the configuration's file.
pub fn lacks(resolved: &Resolved, main: &Path) -> Lacks {
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
        Some(Ok(tls)) => {
            for message in tls.expiries().iter().filter_map(|expiry| expiry.warning(SystemTime::now())) {
                lacks
                    .warnings
                    .push(Problem { origin: origin("server", "tls"), message: format!("tls: {message}") });
            }
        }
        None => {}
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
    repositories::look(resolved, main, &mut lacks);
    lacks
}

/// How many repositories there are now, `all` with those in trees: `5 repositories`, `4 repositories, 3 of them in 1 tree`.
pub fn count(config: &Config, all: usize) -> String {
    let number =
        |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
    let found = all.saturating_sub(config.repositories.len());
    let mut text = number(all, "repository", "repositories");
    if !config.trees.is_empty() {
        text += &format!(", {found} of them in {}", number(config.trees.len(), "tree", "trees"));
    }
    text
}

/// A path that nobody may look at is not missing.
fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
