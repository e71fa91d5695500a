//! The list of repositories.

use std::fmt::Write;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::page::{self, FOOT};
use super::{escape, packages, rfc3339, time};
use crate::serve::accept::Form;
use crate::serve::answer::{Answer, text};
use crate::serve::route::{encode_part, encode_path};

/// One repository of the list.
pub struct Shown {
    pub name: String,
    /// Decoded.
    pub url: String,
    pub state: State,
}

/// What it shows now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// So many packages, since then (seconds since the epoch).
    Published { packages: u64, at: u64 },
    /// The first publication is not made yet.
    Indexing,
    /// It cannot be served.
    Broken,
}

/// Lists the repositories. `base` is where the server is reached, without a slash at its end.
pub fn front(repositories: &[Shown], form: Form, base: &str) -> Answer {
    match form {
        Form::Json => json_front(repositories, base),
        Form::Html | Form::Text => html_front(repositories, base),
    }
}

fn html_front(repositories: &[Shown], base: &str) -> Answer {
    let mut out = page::head("Repositories", "");
    out.push_str("<h1>Repositories</h1>\n");
    if repositories.is_empty() {
        out.push_str(
            "<p>There is no repository here for you yet. If this server is yours, tell it of a directory of packages:</p>\n\
             <pre># /etc/createrepod/repos.d/rpm.toml\n[repository.rpm]\npath = \"/srv/rpm\"</pre>\n\
             <p>then</p>\n<pre>createrepod config check\nsystemctl reload createrepod</pre>\n",
        );
        out.push_str(FOOT);
        return page::whole(StatusCode::OK, out);
    }
    out.push_str("<table>\n<thead><tr><th>Name</th><th class=\"number\">Packages</th><th>Published (UTC)</th><th>For clients</th></tr></thead>\n<tbody>\n");
    for Shown { name, url, state } in repositories {
        // Relative, so that it holds below whatever a proxy puts us.
        let href = encode_path(url.trim_start_matches('/'));
        let _ = write!(out, "<tr><td class=\"name\"><a href=\"{href}\">{}</a>", escape(name));
        let path = url.trim_matches('/');
        if path != name {
            let _ = write!(out, "<span class=\"summary\">/{}/</span>", escape(path));
        }
        out.push_str("</td>");
        match state {
            State::Published { packages: count, at } => {
                let _ = write!(
                    out,
                    "<td class=\"number soft\">{}</td><td class=\"date soft\">",
                    packages(*count)
                );
                time(&mut out, *at);
                out.push_str("</td>");
            }
            State::Indexing => out.push_str("<td class=\"number soft\">being indexed</td><td></td>"),
            State::Broken => out.push_str("<td class=\"number bad\">not available</td><td></td>"),
        }
        let _ = writeln!(
            out,
            "<td><a href=\"{href}{}.repo\">{}.repo</a></td></tr>",
            encode_part(name),
            escape(name)
        );
    }
    let _ = write!(
        out,
        "</tbody>\n</table>\n<p class=\"soft\">Each repository's page says how to use it; this server is {}.</p>\n{FOOT}",
        escape(&format!("{base}/"))
    );
    page::whole(StatusCode::OK, out)
}

fn json_front(repositories: &[Shown], base: &str) -> Answer {
    let shown: Vec<Value> = repositories
        .iter()
        .map(|Shown { name, url, state }| {
            let mut value = json!({ "name": name, "url": format!("{base}{}", encode_path(url)) });
            match state {
                State::Published { packages, at } => {
                    value["state"] = "published".into();
                    value["packages"] = (*packages).into();
                    value["published"] = rfc3339(*at).into();
                }
                State::Indexing => value["state"] = "indexing".into(),
                State::Broken => value["state"] = "broken".into(),
            }
            value
        })
        .collect();
    page::changing(text(StatusCode::OK, page::JSON, format!("{}\n", json!({ "repositories": shown }))))
}
