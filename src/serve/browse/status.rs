//! How every repository is, for people: the same as the JSON says.

use std::fmt::Write as _;

use serde_json::Value;

use super::page::{self, FOOT};
use super::{escape, grouped, packages};
use crate::serve::route::encode_path;

/// `status` is what programs get.
pub fn status(status: &Value) -> String {
    let mut out = page::head("Status", "<a href=\"../\">repositories</a> / status");
    out.push_str("<h1>Status</h1>\n");
    if status["configuration"]["is_current"] == false {
        out.push_str(
            "<p class=\"bad\">The configuration on the disk has a mistake and is not taken up; what was read before it \
             counts: createrepod status tells why.</p>\n",
        );
    }
    for certificate in status["certificates"].as_array().map(Vec::as_slice).unwrap_or_default() {
        if let Some(warning) = certificate["warning"].as_str() {
            let _ = writeln!(out, "<p class=\"bad\">{}</p>", escape(warning));
        }
    }
    let repositories = status["repositories"].as_array().map(Vec::as_slice).unwrap_or_default();
    if repositories.is_empty() {
        out.push_str("<p>There is no repository here that you may read.</p>\n");
    }
    for repository in repositories {
        of_one(&mut out, repository);
    }
    out.push_str(FOOT);
    out
}

fn of_one(out: &mut String, repository: &Value) {
    let word = |key: &str| repository[key].as_str().map(escape);
    let url = repository["url"].as_str().unwrap_or_default();
    // Relative, so that it holds below whatever a proxy puts us.
    let href = encode_path(url.trim_start_matches('/'));
    let name = word("name").unwrap_or_default();
    let _ = writeln!(out, "<h2><a href=\"../{href}\">{name}</a></h2>");
    out.push_str("<p>");
    match repository["packages"].as_u64() {
        Some(count) => out.push_str(&packages(count)),
        None => out.push_str("nothing published yet"),
    }
    if let Some(at) = word("published_at") {
        let _ = write!(out, ", published <time datetime=\"{at}\">{at}</time>");
    }
    if let Some(took) = repository["took_ms"].as_u64() {
        let _ = write!(out, " in {took} ms");
    }
    if let Some(waiting @ 1..) = repository["pending"].as_u64() {
        let _ = write!(out, "; {waiting} changes wait for the next publication");
    }
    out.push_str("</p>\n");
    if let Some(trouble) = word("trouble") {
        let _ = writeln!(out, "<p class=\"bad\">In trouble: {trouble}</p>");
    }
    let watching = &repository["watching"];
    if let Some(why) = watching["why"].as_str() {
        let by = escape(watching["by"].as_str().unwrap_or_default());
        let _ = writeln!(out, "<p>Watched by {by}: {}</p>", escape(why));
    }
    if let Some(at) = repository["verified"]["at"].as_str().map(escape) {
        let found = match repository["verified"]["found"].as_u64() {
            Some(found @ 1..) => format!("{found} things are not as they were published"),
            _ => "all is as it was published".to_owned(),
        };
        let _ = writeln!(out, "<p>Verified <time datetime=\"{at}\">{at}</time>: {found}</p>");
    }
    let list = |key: &str| repository[key].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lines = Vec::new();
    for warning in list("warnings") {
        lines.push(format!("warning: {}", escape(warning.as_str().unwrap_or_default())));
    }
    for (key, place, reason) in
        [("rejected", "location", "reason"), ("refused", "path", "reason"), ("unread", "path", "reason")]
    {
        for found in list(key) {
            let [place, reason] = [place, reason].map(|key| escape(found[key].as_str().unwrap_or_default()));
            lines.push(format!("{key}: {place}: {reason}"));
        }
    }
    for found in list("duplicates") {
        lines.push(format!("duplicate: {}", escape(found.as_str().unwrap_or_default())));
    }
    for key in ["rejected", "refused", "unread", "duplicates"] {
        let more = repository["counts"][key].as_u64().unwrap_or(0).saturating_sub(list(key).len() as u64);
        if more > 0 {
            lines.push(format!("{key}: {} more, which createrepod status tells", grouped(more)));
        }
    }
    for found in repository["verified"]["findings"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let [kind, what] = ["kind", "what"].map(|key| escape(found[key].as_str().unwrap_or_default()));
        lines.push(format!("{kind}: {what}"));
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "<ul>\n<li>{}</li>\n</ul>", lines.join("</li>\n<li>"));
    }
}
