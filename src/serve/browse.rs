//! Pages for people, and the same as JSON for programs: the list of repositories, a repository's front
//! page, a directory, a refusal. No script, and nothing from elsewhere.

mod front;
mod index;
mod page;
mod repository;
mod status;

pub use front::{Shown, State, front};
pub use index::{Order, Place, index};
pub use page::{HTML, JSON, dressed, refusal};
pub use repository::{About, about};
pub use status::status;

use std::fmt::Write;

use super::route::encode_part;

/// Text for HTML, between tags or in a quoted attribute. Control characters are replaced.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What turns the direction of text around would show a name as another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `12.3 MiB`
fn human(bytes: u64) -> String {
    let mut size = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// `12,345`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 package`, `12,345 packages`
fn packages(count: u64) -> String {
    if count == 1 { "1 package".to_owned() } else { format!("{} packages", grouped(count)) }
}

/// RFC 3339 in UTC, whole seconds. Times no calendar reaches are shown as the last it does.
fn rfc3339(seconds: u64) -> String {
    const LAST: u64 = 253_402_300_799;
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.min(LAST));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// `<time …>2026-11-20 14:05</time>`
fn time(out: &mut String, seconds: u64) {
    let full = rfc3339(seconds);
    let _ = write!(out, "<time datetime=\"{full}\">{}</time>", full[..16].replace('T', " "));
}

/// A link to `name` in the same folder: encoded where it leads, escaped where it is read.
fn link(out: &mut String, name: &str, slash: &str) {
    let _ = write!(out, "<a href=\"{}{slash}\">{}{slash}</a>", encode_part(name), escape(name));
}

#[cfg(test)]
mod tests;
