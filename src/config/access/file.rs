//! `[grant.NAME]` and `[authorizer.NAME]` exactly as written.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::{AskAbout, RULES, WhenDown};
use crate::config::file::absolute_or_none;
use crate::config::problem::{Origin, Problems};
use crate::config::section::{Document, Section, Set, text, texts, time};
use crate::config::value::{Choice, parse_duration, without_secrets};
use crate::rights::{Pattern, Permission};

#[derive(Debug)]
pub struct GrantSection {
    pub name: Set<String>,
    pub users: Option<Set<Vec<String>>>,
    pub certificates: Option<Set<Vec<String>>>,
    pub repositories: Option<Set<Vec<Pattern>>>,
    pub scope: Option<Set<Vec<Permission>>>,
}

#[derive(Debug)]
pub struct AuthorizerSection {
    pub name: Set<String>,
    pub url: Option<Set<String>>,
    pub ca: Option<Set<PathBuf>>,
    pub remember: Option<Set<Duration>>,
    pub when_down: Option<Set<WhenDown>>,
    pub timeout: Option<Set<Duration>>,
    pub ask: Option<Set<AskAbout>>,
}

impl GrantSection {
    pub fn read<'t>(
        document: &'t Document<'t>,
        name: &str,
        origin: Origin,
        table: &'t DeTable<'t>,
        problems: &mut Problems,
    ) -> Self {
        let mut s = Section::new(document, table, format!("[grant.{name}]"), problems);
        if let Err(message) = self::name(name) {
            s.problem_at(origin.clone(), message);
        }
        if !table.contains_key("scope") {
            s.problem_at(origin.clone(), format!("grant {name:?} gives no right; add scope = [\"read\"]"));
        }
        if !table.contains_key("users") && !table.contains_key("certificates") {
            s.problem_at(
                origin.clone(),
                format!("grant {name:?} is nobody's; add users = [\"…\"] or certificates"),
            );
        }
        let section = Self {
            name: Set { value: name.to_owned(), origin },
            users: s.take("users", texts(user)),
            certificates: s.take("certificates", texts(certificate)),
            repositories: s.take("repositories", texts(Pattern::parse)),
            scope: s.take("scope", texts(Permission::parse)),
        };
        s.finish();
        section
    }
}

impl AuthorizerSection {
    pub fn read<'t>(
        document: &'t Document<'t>,
        name: &str,
        origin: Origin,
        table: &'t DeTable<'t>,
        problems: &mut Problems,
    ) -> Self {
        let mut s = Section::new(document, table, format!("[authorizer.{name}]"), problems);
        if let Err(message) = self::name(name) {
            s.problem_at(origin.clone(), message);
        }
        if RULES.contains(&name) {
            s.problem_at(
                origin.clone(),
                format!("{name:?} is a rule already; give the authorizer another name"),
            );
        }
        if !table.contains_key("url") {
            s.problem_at(origin.clone(), format!("authorizer {name:?} has no url; add url = \"http://…\""));
        }
        let section = Self {
            name: Set { value: name.to_owned(), origin },
            url: s.take("url", text(url)),
            ca: s.take("ca", text(absolute_or_none)),
            remember: s.take("remember", time(parse_duration)),
            when_down: s.take("when_down", text(WhenDown::parse)),
            timeout: s.take("timeout", time(parse_duration)),
            ask: s.take("ask", text(AskAbout::parse)),
        };
        s.finish();
        section
    }
}

impl Choice for WhenDown {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("deny", Self::Deny), ("remembered", Self::Remembered)];
}

impl Choice for AskAbout {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("path", Self::Path), ("repository", Self::Repository)];
}

/// The name of a grant, an authorizer or a webhook.
pub(in crate::config) fn name(text: &str) -> Result<(), String> {
    crate::config::file::name(text).map_err(|_| {
        format!(
            "{text:?} is no name; expected letters, digits, \".\", \"_\", \"-\", the first a letter or digit"
        )
    })
}

/// A name as an htpasswd file has it.
fn user(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_control() || c == ':') {
        return Err(format!("expected a user's name, or \"*\" for all of the htpasswd file, found {text:?}"));
    }
    Ok(text.to_owned())
}

/// A name in a certificate, or its fingerprint, in the spelling it is compared in.
fn certificate(text: &str) -> Result<String, String> {
    let Some(digits) = text.strip_prefix("sha256:") else {
        if text.is_empty() || text.contains(char::is_control) {
            return Err(format!("expected a certificate's name or \"sha256:…\", found {text:?}"));
        }
        return Ok(text.to_owned());
    };
    // openssl x509 -fingerprint writes AB:CD:…
    let digits: String = digits.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("expected 64 hexadecimal digits behind \"sha256:\", found {text:?}"));
    }
    Ok(format!("sha256:{digits}"))
}

fn url(text: &str) -> Result<String, String> {
    let wrong = || {
        Err(format!(
            "expected \"https://host/path\", \"http://host/path\" or \"unix:/path/to.sock:/path\", found {:?}",
            without_secrets(text)
        ))
    };
    if !text.chars().all(|c| c.is_ascii_graphic()) || text.contains(['@', '#', '"', '\\']) {
        return wrong();
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        return if rest.starts_with('/') { Ok(text.to_owned()) } else { wrong() };
    }
    match text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
        Some(rest) if !rest.starts_with(['/', ':']) && !rest.is_empty() => Ok(text.to_owned()),
        _ => wrong(),
    }
}
