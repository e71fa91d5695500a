//! What of the repositories is missing on this machine, or of no use.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::{Lacks, is_missing};
use crate::cli::control::nobody;
use crate::config::problem::{Origin, Problem};
use crate::config::resolve::{CREDENTIALS_OF_UNIT, Resolved};
use crate::config::value::nearest;
use crate::config::{Config, RepositoryConfig, SignConfig};
use crate::daemon::{repositories_now, users};
use crate::logging::chain;
use crate::package::Verify;
use crate::repodata::additional::usual_kinds;
use crate::rights::Pattern;
use crate::sign::{SignError, Signer, keyring};

/// Adds to `lacks` what the repositories lack. `main`: the configuration's file.
pub fn look(resolved: &Resolved, main: &Path, lacks: &mut Lacks) {
    let mut looking = Looking { resolved, lacks };
    looking.files(main);
    for repository in &resolved.config.repositories {
        looking.repository(repository);
    }
    looking.hidden();
    looking.names();
}

struct Looking<'r> {
    resolved: &'r Resolved,
    lacks: &'r mut Lacks,
}

impl Looking<'_> {
    fn config(&self) -> &Config {
        &self.resolved.config
    }

    fn origin(&self, table: &str, key: &str) -> Origin {
        let settings = &self.resolved.settings;
        let found = settings.iter().find(|setting| setting.table == table && setting.key == key);
        found.map_or(Origin::Default, |setting| setting.origin.clone())
    }

    fn warn(&mut self, table: &str, key: &str, message: String) {
        let origin = self.origin(table, key);
        self.lacks.warnings.push(Problem { origin, message: format!("{key}: {message}") });
    }

    fn warn_if_missing(&mut self, table: &str, key: &str, path: &Path, then: &str) {
        if is_missing(path) {
            self.warn(table, key, format!("{} does not exist; {then}", path.display()));
        }
    }

    /// Whether anything is configured, and what lies beside it without being read.
    fn files(&mut self, main: &Path) {
        let of = |file: &Path| Origin::File { file: file.to_owned().into(), line: 0 };
        let directory = main.with_file_name("repos.d");
        let names = fs::read_dir(&directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| is_meant(name))
            .collect();
        names.sort();
        for name in names {
            let message = "it is not read: only files whose names end in .toml are".to_owned();
            self.lacks.warnings.push(Problem { origin: of(&directory.join(name)), message });
        }
        if self.config().repositories.is_empty() && self.config().trees.is_empty() {
            let message =
                "nothing is served: there is neither a [repository.NAME] nor a [tree.NAME]; put one into \
                           repos.d/NAME.toml beside it"
                    .to_owned();
            self.lacks.warnings.push(Problem { origin: of(main), message });
        }
    }

    fn repository(&mut self, repository: &RepositoryConfig) {
        let table = &self.table_of(&repository.name);
        let path = &repository.path;
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                self.warn(
                    table,
                    "path",
                    format!("{} is no directory; the repository is not served", path.display()),
                );
            }
            Ok(_) => {
                let written = repository.metadata_dir.as_ref().unwrap_or(path);
                if let Some(why) = users::cannot_write(written) {
                    let key = if repository.metadata_dir.is_some() { "metadata_dir" } else { "path" };
                    self.warn(table, key, why);
                }
            }
            Err(_) => {
                self.warn_if_missing(table, "path", path, "the repository is not served until it does");
            }
        }
        if let Some(directory) =
            repository.keyring.as_ref().filter(|_| repository.verify == Verify::Signature)
        {
            self.keyring(table, directory);
        }
        if let Some(sign) = &repository.sign {
            self.sign(table, sign);
        }
        for kind in repository.additional_metadata.kinds() {
            if !usual_kinds().any(|usual| usual == kind) {
                let hint = nearest(kind, usual_kinds());
                let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                let why = format!("\"{kind}\" is no type that is known here; it is published as it is{hint}");
                self.warn(table, "additional_metadata", why);
            }
        }
    }

    fn keyring(&mut self, table: &str, directory: &Path) {
        if is_missing(directory) {
            let then = "nothing is published until it does";
            return self.warn_if_missing(table, "keyring", directory, then);
        }
        match keyring::read(directory, &[]) {
            Ok(read) => {
                for (file, why) in read.unusable {
                    self.warn(
                        table,
                        "keyring",
                        format!("{} is of no use: {why}; the other keys count", file.display()),
                    );
                }
            }
            Err(keyring::KeyringError::Read { source, .. })
                if source.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => self.warn(table, "keyring", chain(&error)),
        }
    }

    fn sign(&mut self, table: &str, sign: &SignConfig) {
        let files = match sign {
            SignConfig::Key { key, passphrase } => vec![Some(key), passphrase.as_ref()],
            SignConfig::Command { public_key, .. } => vec![Some(public_key)],
        };
        let files: Vec<_> = files.into_iter().flatten().collect();
        // A credential of systemd's is there only while the daemon runs.
        let is_credential = |file: &Path| file.starts_with(CREDENTIALS_OF_UNIT);
        let then = "nothing is published until it does";
        let before = self.lacks.warnings.len();
        for file in files.iter().filter(|file| !is_credential(file)) {
            self.warn_if_missing(table, "sign", file, then);
        }
        if files.iter().any(|file| is_credential(file)) || self.lacks.warnings.len() > before {
            return;
        }
        match Signer::load(sign) {
            Ok(_) => {}
            // Whoever checks may see less than the daemon's user.
            Err(
                SignError::Key { source, .. }
                | SignError::Passphrase { source, .. }
                | SignError::PublicKey { source, .. },
            ) if source.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => self.warn(
                table,
                "sign",
                format!("{}; nothing is published until that is mended", chain(&error)),
            ),
        }
    }

    /// Folders of one repository that another one's URL hides.
    fn hidden(&mut self) {
        let repositories = self.config().repositories.clone();
        for inner in &repositories {
            for outer in repositories.iter().filter(|outer| outer.name != inner.name) {
                if let Some(folder) = inner.url.strip_prefix(&outer.url) {
                    let table = self.table_of(&inner.name);
                    let why = format!(
                        "{} lies below {}: a folder {folder} of repository {:?} could not be fetched",
                        inner.url, outer.url, outer.name
                    );
                    self.warn(&table, "url", why);
                }
            }
        }
    }

    /// Rights and notices for repositories that are not there.
    fn names(&mut self) {
        let config = self.config().clone();
        // Trees count with what they hold now.
        let (all, _) = repositories_now(&config);
        let grants = config.access.grants.iter();
        let grants = grants.map(|grant| (format!("grant.{}", grant.name), &grant.grant.repositories));
        let webhooks = config.webhooks.iter();
        let webhooks = webhooks.map(|hook| (format!("webhook.{}", hook.name), &hook.repositories));
        for (table, patterns) in grants.chain(webhooks) {
            let is_idle = |pattern: &&Pattern| {
                pattern.as_str() != "*" && !all.iter().any(|one| pattern.matches(&one.name))
            };
            for pattern in patterns.iter().filter(is_idle) {
                self.warn(&table, "repositories", nobody(pattern, &all));
            }
        }
    }

    fn table_of(&self, name: &str) -> String {
        let plain = format!("repository.{name}");
        let quoted = format!("repository.\"{name}\"");
        if self.resolved.settings.iter().any(|setting| setting.table == quoted) { quoted } else { plain }
    }
}

/// Whether somebody may believe that a file of this name in repos.d is read: what editors and package managers leave is
/// known not to be.
fn is_meant(name: &str) -> bool {
    const LEFT: [&str; 10] = [
        "~",
        ".bak",
        ".orig",
        ".rpmsave",
        ".rpmnew",
        ".rpmorig",
        ".dpkg-old",
        ".dpkg-dist",
        ".dpkg-new",
        ".swp",
    ];
    !name.starts_with('.')
        && !name.ends_with(".toml")
        && !name.starts_with("README")
        && !LEFT.iter().any(|left| name.ends_with(left))
}
