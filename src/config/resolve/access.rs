//! Rules, grants and authorizers, with their defaults.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Layers, quoted};
use crate::config::access::file::{AuthorizerSection, GrantSection};
use crate::config::access::{AskAbout, WhenDown, no_rule};
use crate::config::file::ServerSection;
use crate::config::value::{Choice, spell_duration, without_secrets};
use crate::config::{AccessConfig, AuthorizerConfig, GrantConfig, RepositoryConfig};
use crate::rights::{Grant, Pattern, Permission};

impl Layers<'_> {
    /// What `[server]` says of those who ask.
    pub(super) fn access(&mut self, section: &mut ServerSection) -> AccessConfig {
        let htpasswd = self.settle("server", "htpasswd", section.htpasswd.take(), PathBuf::new(), |path| {
            quoted(&path.to_string_lossy())
        });
        let proxies = section.trusted_proxies.take();
        let trusted_proxies =
            self.settle("server", "trusted_proxies", proxies, Vec::new(), |proxies| list(proxies));
        AccessConfig {
            htpasswd: Some(htpasswd).filter(|path| *path != Path::new("")),
            trusted_proxies,
            ..AccessConfig::default()
        }
    }

    pub(super) fn grant(&mut self, section: GrantSection) -> GrantConfig {
        let name = section.name.value;
        let table = &table("grant", &name);
        let everywhere = || Pattern::parse("*").into_iter().collect();
        let users = self.settle(table, "users", section.users, Vec::new(), |users| list(users));
        let certificates =
            self.settle(table, "certificates", section.certificates, Vec::new(), |names| list(names));
        let repositories =
            self.settle(table, "repositories", section.repositories, everywhere(), |names| list(names));
        let scope =
            self.settle(table, "scope", section.scope, Vec::new(), |scopes: &Vec<Permission>| list(scopes));
        let grant = Grant { scopes: scope.into_iter().collect(), repositories };
        GrantConfig { name, users, certificates, grant }
    }

    pub(super) fn authorizer(&mut self, section: AuthorizerSection) -> AuthorizerConfig {
        let name = section.name.value;
        let table = &table("authorizer", &name);
        let default = AuthorizerConfig::new(&name, "");
        let duration = |d: &Duration| quoted(&spell_duration(*d));
        let ca = self.settle(table, "ca", section.ca, PathBuf::new(), |path| quoted(&path.to_string_lossy()));
        let authorizer = AuthorizerConfig {
            url: self.settle(table, "url", section.url, default.url, |url| quoted(&without_secrets(url))),
            ca: Some(ca).filter(|path| *path != Path::new("")),
            remember: self.settle(table, "remember", section.remember, default.remember, duration),
            when_down: self.settle(
                table,
                "when_down",
                section.when_down,
                default.when_down,
                |w: &WhenDown| quoted(w.spell()),
            ),
            timeout: self.settle(table, "timeout", section.timeout, default.timeout, duration),
            ask: self.settle(table, "ask", section.ask, default.ask, |ask: &AskAbout| quoted(ask.spell())),
            name,
        };
        if authorizer.ca.is_some() && !authorizer.url.starts_with("https://") {
            self.complain(table, "ca", "ca: only an https:// url has a certificate to check");
        }
        if authorizer.timeout.is_zero() || authorizer.timeout > Duration::from_secs(60) {
            self.complain(
                table,
                "timeout",
                "timeout: expected more than nothing and at most \"1m\": clients wait",
            );
        }
        if authorizer.remember > Duration::from_secs(24 * 3600) {
            self.complain(table, "remember", "remember: expected at most \"24h\"");
        }
        authorizer
    }

    /// A rule that is no word must name an authorizer.
    pub(super) fn refuse_unknown_authorizers<'r>(
        &mut self,
        repositories: impl Iterator<Item = (&'static str, &'r RepositoryConfig)>,
        authorizers: &[AuthorizerConfig],
    ) {
        let known = |name: &str| authorizers.iter().any(|authorizer| authorizer.name == name);
        for (kind, repository) in repositories {
            let table = table(kind, &repository.name);
            if let Some(name) = repository.read.authorizer().filter(|name| !known(name)) {
                let why = no_rule(&["anyone", "token"], name, authorizers);
                self.complain(&table, "read", format!("read: {why}"));
            }
            if let Some(name) = repository.write.authorizer().filter(|name| !known(name)) {
                let why = no_rule(&["off", "token", "anyone"], name, authorizers);
                self.complain(&table, "write", format!("write: {why}"));
            }
        }
    }
}

/// A table's title, as TOML writes it.
pub(super) fn table(kind: &str, name: &str) -> String {
    match name.contains('.') {
        true => format!("{kind}.{}", quoted(name)),
        false => format!("{kind}.{name}"),
    }
}

pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let quoted: Vec<_> = items.iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}
