//! `[webhook.NAME]`: who is told when something needs a person.

pub mod file;

use std::path::PathBuf;

use super::value::Choice;
use crate::rights::Pattern;

/// One address that is told, of which repositories, of what.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    pub name: String,
    pub url: WebhookUrl,
    /// The certificate authorities believed for `https://`; `None`: those of this machine.
    pub ca: Option<PathBuf>,
    pub format: WebhookFormat,
    /// Never empty.
    pub events: Vec<WebhookEvent>,
    pub repositories: Vec<Pattern>,
}

/// Where it is. Many services put a secret into the URL, so that it may lie in a file of its own.
#[derive(Clone, PartialEq)]
pub enum WebhookUrl {
    Written(String),
    /// The first line of this file, read whenever something is told.
    File(PathBuf),
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Everything that is known, for programs.
    Json,
    /// A text, as Slack, Mattermost and Rocket.Chat take it.
    Slack,
    /// A text, as Discord takes it.
    Discord,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    /// Packages and metadata files that are not published, with their reasons.
    Rejected,
    /// Files and directories that the system has not let be read for a minute, with its reasons.
    Unread,
    /// Nothing can be published, or a repository cannot be opened.
    Failed,
    /// It can again.
    Recovered,
}

impl WebhookConfig {
    /// One with every default.
    pub fn new(name: &str, url: WebhookUrl) -> Self {
        Self {
            name: name.to_owned(),
            url,
            ca: None,
            format: WebhookFormat::Json,
            events: WebhookEvent::CHOICES.iter().map(|(_, event)| *event).collect(),
            repositories: Pattern::parse("*").into_iter().collect(),
        }
    }

    pub fn wants(&self, event: WebhookEvent, repository: &str) -> bool {
        self.events.contains(&event) && self.repositories.iter().any(|pattern| pattern.matches(repository))
    }
}

impl WebhookUrl {
    /// What may be shown of it: what follows the host may be a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::File(path) => format!("the URL in {}", path.display()),
            Self::Written(url) => {
                let after_scheme = url.find("://").map_or(0, |at| at + 3);
                let end = url[after_scheme..].find(['/', '?']).map_or(url.len(), |at| after_scheme + at);
                let more = if end + 1 < url.len() { "/…" } else { &url[end..] };
                format!("{}{more}", &url[..end])
            }
        }
    }
}

/// Not derived: it would write the secret into whatever prints a configuration.
impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Choice for WebhookFormat {
    const CHOICES: &'static [(&'static str, Self)] =
        &[("json", Self::Json), ("slack", Self::Slack), ("discord", Self::Discord)];
}

impl Choice for WebhookEvent {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("rejected", Self::Rejected),
        ("unread", Self::Unread),
        ("failed", Self::Failed),
        ("recovered", Self::Recovered),
    ];
}
