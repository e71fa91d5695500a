//! A repository's front page: what it is, how to use it, and what is new in it.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{escape, human, packages, rfc3339, time};
use crate::config::WriteAccess;
use crate::repository::Handle;
use crate::repository::browse::Newest;
use crate::serve::route::{encode_part, encode_path};

/// The newest packages that are shown.
const NEWEST: usize = 8;

/// What there is to say of a repository.
pub struct About {
    name: String,
    /// Where clients find it, encoded.
    url: String,
    /// What a client puts into its configuration.
    dot_repo: String,
    /// What curl must say of who uploads; `None` where nobody may.
    upload: Option<&'static str>,
    published: Option<(u64, u64, u64)>,
    pending: u64,
    troubled: bool,
    left_out: usize,
    newest: Vec<Newest>,
}

/// Gathers what there is to say. Blocking. `base` is where the server is reached, without a slash at its end.
pub fn about(handle: &Handle, base: &str, dot_repo: String) -> About {
    let config = handle.config();
    let seconds = |at: std::time::SystemTime| {
        at.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    };
    About {
        name: config.name.clone(),
        url: format!("{base}{}", encode_path(&config.url)),
        dot_repo,
        upload: match &config.write {
            WriteAccess::Off => None,
            WriteAccess::Anyone | WriteAccess::Local => Some(""),
            WriteAccess::Token | WriteAccess::Authorizer(_) => Some("-u NAME:TOKEN "),
        },
        published: handle
            .published()
            .filter(|published| published.revision > 0)
            .map(|published| (published.packages, published.revision, seconds(published.at))),
        pending: handle.pending(),
        troubled: handle.trouble().is_some(),
        left_out: handle.left_out(),
        newest: handle.newest(NEWEST),
    }
}

pub(super) fn write(out: &mut String, about: &About) {
    let About { name, url, dot_repo, .. } = about;
    let _ = writeln!(out, "<h1>{}</h1>\n<p class=\"facts\">", escape(name));
    match about.published {
        Some((count, revision, at)) => {
            let _ = write!(out, "<span>{}</span><span>published ", packages(count));
            time(out, at);
            let _ = writeln!(out, " UTC</span><span>revision {revision}</span>");
        }
        None => out.push_str("<span>being indexed for the first time</span>\n"),
    }
    if about.left_out > 0 {
        let _ = writeln!(out, "<span class=\"bad\">{} left out</span>", packages(about.left_out as u64));
    }
    out.push_str(match (about.troubled, about.pending) {
        (true, _) => "<span class=\"bad\">changes cannot be published at the moment</span>\n",
        (false, 0) => "<span class=\"good\">up to date</span>\n",
        (false, _) => "<span>changes are being published</span>\n",
    });
    out.push_str("</p>\n<h2>Use it</h2>\n<div class=\"howto\">\n<div>\n");
    let file = format!("{url}{}.repo", encode_part(name));
    let step = |out: &mut String, title: &str, command: &str| {
        let _ = writeln!(out, "<h3>{title}</h3>\n<pre>{}</pre>", escape_lines(command));
    };
    step(out, "dnf 5", &format!("dnf config-manager addrepo --from-repofile={file}"));
    step(out, "dnf 4", &format!("dnf config-manager --add-repo {file}"));
    step(out, "zypper", &format!("zypper addrepo {file}"));
    if let Some(who) = about.upload {
        step(out, "Upload a package", &format!("curl {who}-T PACKAGE.rpm {url}"));
    }
    let _ = writeln!(
        out,
        "</div>\n<div>\n<h3>Or by hand: <a href=\"{0}.repo\">{1}.repo</a></h3>\n<pre>{2}</pre>\n</div>\n</div>",
        encode_part(name),
        escape(name),
        escape_lines(dot_repo.trim_end()),
    );
    if !about.newest.is_empty() {
        out.push_str("<h2>Newest packages</h2>\n<table>\n<tbody>\n");
        about.newest.iter().for_each(|newest| row(out, newest));
        out.push_str("</tbody>\n</table>\n");
    }
}

fn row(out: &mut String, newest: &Newest) {
    let href = encode_path(newest.location.as_str());
    let _ = write!(out, "<tr><td class=\"name\"><a href=\"{href}\">{}</a>", escape(&newest.name));
    if !newest.summary.is_empty() {
        let short: String = newest.summary.chars().take(200).collect();
        let _ = write!(out, "<span class=\"summary\">{}</span>", escape(&short));
    }
    let _ = write!(
        out,
        "</td><td class=\"version soft\">{}</td><td class=\"soft\">{}</td><td class=\"number soft\">{}</td><td class=\"date soft\">",
        escape(&newest.version),
        escape(&newest.arch),
        human(newest.size),
    );
    time(out, newest.modified);
    out.push_str("</td></tr>\n");
}

/// Several lines, each escaped.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

pub(super) fn json(about: &About) -> Value {
    let newest: Vec<Value> = about
        .newest
        .iter()
        .map(|newest| {
            json!({
                "location": newest.location.as_str(),
                "name": newest.name,
                "version": newest.version,
                "arch": newest.arch,
                "summary": newest.summary,
                "size": newest.size,
                "modified": rfc3339(newest.modified),
            })
        })
        .collect();
    json!({
        "name": about.name,
        "url": about.url,
        "packages": about.published.map(|(packages, _, _)| packages),
        "revision": about.published.map(|(_, revision, _)| revision),
        "published": about.published.map(|(_, _, at)| rfc3339(at)),
        "pending": about.pending,
        "left_out": about.left_out,
        "in_trouble": about.troubled,
        "newest": newest,
    })
}
