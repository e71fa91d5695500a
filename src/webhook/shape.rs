//! What is sent, in the shapes that services understand.

use serde_json::{Value, json};

use super::Notice;
use crate::config::value::Choice;
use crate::config::webhook::{WebhookEvent, WebhookFormat};

/// Discord refuses more characters than 2000.
const LONGEST_TEXT: usize = 1900;

/// The body of a request, as JSON.
pub fn body(format: WebhookFormat, notice: &Notice) -> String {
    let value = match format {
        WebhookFormat::Json => whole(notice),
        // https://api.slack.com/reference/surfaces/formatting: three characters are escaped, nothing else is.
        WebhookFormat::Slack => {
            let text = text(notice).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            json!({ "text": text })
        }
        // A file's name must not call anybody.
        WebhookFormat::Discord => json!({ "content": text(notice), "allowed_mentions": { "parse": [] } }),
    };
    value.to_string()
}

fn whole(notice: &Notice) -> Value {
    let rejected: Vec<Value> = notice
        .rejected
        .iter()
        .map(|(location, reason)| json!({ "location": location, "reason": reason }))
        .collect();
    let mut value = json!({
        "event": notice.event.spell(),
        "repository": notice.repository,
        "time": humantime::format_rfc3339_seconds(notice.at).to_string(),
        "text": text(notice),
    });
    if let Some(reason) = &notice.reason {
        value["reason"] = json!(reason);
    }
    if !rejected.is_empty() {
        value[notice.event.spell()] = json!(rejected);
        value["more"] = json!(notice.more);
    }
    value
}

/// What a person reads.
fn text(notice: &Notice) -> String {
    let name = &notice.repository;
    let mut text = match notice.event {
        WebhookEvent::Failed => {
            let reason = notice.reason.as_deref().unwrap_or("the log says why");
            format!("createrepod cannot publish {name}: {reason}")
        }
        WebhookEvent::Recovered => format!("createrepod publishes {name} again."),
        WebhookEvent::Rejected | WebhookEvent::Unread => {
            let count = notice.rejected.len() + notice.more;
            let files = if count == 1 { "one file".to_owned() } else { format!("{count} files") };
            let mut text = match notice.event {
                WebhookEvent::Unread => {
                    format!("createrepod could not read {files} of {name} for a minute, and goes on trying:")
                }
                _ => format!("createrepod rejects {files} of {name}:"),
            };
            for (location, reason) in &notice.rejected {
                // One line each, whatever the name.
                let line: String = format!("\n{location}: {reason}")
                    .chars()
                    .enumerate()
                    .map(|(at, c)| if at > 0 && c.is_control() { '\u{fffd}' } else { c })
                    .collect();
                text += &line;
            }
            if notice.more > 0 {
                text += &format!("\n… and {} more", notice.more);
            }
            text
        }
    };
    if let Some((at, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(at);
        text.push('…');
    }
    text
}
