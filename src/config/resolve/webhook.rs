//! Webhooks, with their defaults.

use std::path::{Path, PathBuf};

use super::access::{list, table};
use super::{Layers, quoted};
use crate::config::value::Choice;
use crate::config::webhook::file::WebhookSection;
use crate::config::webhook::{WebhookConfig, WebhookUrl};

impl Layers<'_> {
    /// `None` where it is nowhere; the problems say so.
    pub(super) fn webhook(&mut self, section: WebhookSection) -> Option<WebhookConfig> {
        let name = section.name.value;
        let table = &table("webhook", &name);
        let default = WebhookConfig::new(&name, WebhookUrl::Written(String::new()));
        let file = |path: &PathBuf| quoted(&path.to_string_lossy());
        let shown = |url: &String| quoted(&WebhookUrl::Written(url.clone()).shown());
        let url = self.settle(table, "url", section.url, String::new(), shown);
        let url_file = self.settle(table, "url_file", section.url_file, PathBuf::new(), file);
        let ca = self.settle(table, "ca", section.ca, PathBuf::new(), file);
        let format = self.settle(table, "format", section.format, default.format, |f| quoted(f.spell()));
        let events = self.settle(table, "events", section.events, default.events, |events| {
            list(&events.iter().map(|event| event.spell()).collect::<Vec<_>>())
        });
        let patterns = section.repositories;
        let repositories =
            self.settle(table, "repositories", patterns, default.repositories, |names| list(names));
        if events.is_empty() {
            self.complain(table, "events", "events: expected at least one, or leave the webhook out");
        }
        let is_file = url_file != Path::new("");
        if section.is_misplaced {
            return None;
        }
        if url.is_empty() != is_file {
            let origin = section.name.origin;
            self.problems.add(
                origin,
                format!("webhook {name:?} needs one address: url = \"https://…\" or url_file = \"/FILE\""),
            );
            return None;
        }
        let url = if is_file { WebhookUrl::File(url_file) } else { WebhookUrl::Written(url) };
        let ca = Some(ca).filter(|path| *path != Path::new(""));
        Some(WebhookConfig { name, url, ca, format, events, repositories })
    }
}
