//! `[webhook.NAME]` exactly as written.

use std::path::PathBuf;

use toml::de::DeTable;

use super::{WebhookEvent, WebhookFormat};
use crate::config::access;
use crate::config::file::absolute_or_none;
use crate::config::problem::{Origin, Problems};
use crate::config::section::{Document, Section, Set, text, texts};
use crate::config::value::Choice;
use crate::rights::Pattern;

#[derive(Debug)]
pub struct WebhookSection {
    pub name: Set<String>,
    pub url: Option<Set<String>>,
    pub url_file: Option<Set<PathBuf>>,
    pub ca: Option<Set<PathBuf>>,
    pub format: Option<Set<WebhookFormat>>,
    pub events: Option<Set<Vec<WebhookEvent>>>,
    pub repositories: Option<Set<Vec<Pattern>>>,
    /// Whether an address is written that is none; what is wrong with it is said already.
    pub is_misplaced: bool,
}

impl WebhookSection {
    pub fn read<'t>(
        document: &'t Document<'t>,
        name: &str,
        origin: Origin,
        table: &'t DeTable<'t>,
        problems: &mut Problems,
    ) -> Self {
        let mut s = Section::new(document, table, format!("[webhook.{name}]"), problems);
        if let Err(message) = access::file::name(name) {
            s.problem_at(origin.clone(), message);
        }
        let mut section = Self {
            is_misplaced: false,
            name: Set { value: name.to_owned(), origin },
            url: s.take("url", text(url)),
            url_file: s.take("url_file", text(absolute_or_none)),
            ca: s.take("ca", text(absolute_or_none)),
            format: s.take("format", text(WebhookFormat::parse)),
            events: s.take("events", texts(WebhookEvent::parse)),
            repositories: s.take("repositories", texts(Pattern::parse)),
        };
        s.finish();
        section.is_misplaced = table.contains_key("url") && section.url.is_none()
            || table.contains_key("url_file") && section.url_file.is_none();
        section
    }
}

/// An address, or nothing. The complaint does not repeat it: it may hold a secret.
fn url(text: &str) -> Result<String, String> {
    let after = ["http://", "https://"].into_iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_good = after.is_some_and(|rest| {
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        !host.is_empty() && !host.contains('@') && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
    });
    if text.is_empty() || is_good {
        Ok(text.to_owned())
    } else {
        Err("expected http://HOST/PATH or https://HOST/PATH, without a user name or spaces".to_owned())
    }
}
