//! HTML for people: the front page and the index of a directory.

use std::fmt::Write;

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};

use super::answer::{Answer, set, text};
use super::route::{encode_part, encode_path};
use crate::repository::browse::Listed;

/// One line of the front page.
pub struct Shown {
    pub name: String,
    /// Decoded.
    pub url: String,
    /// `None` before the first publication.
    pub packages: Option<u64>,
}

/// Lists the repositories.
pub fn front(repositories: &[Shown]) -> Answer {
    let mut rows = String::new();
    for shown in repositories {
        let packages = match shown.packages {
            Some(1) => "1 package".to_owned(),
            Some(n) => format!("{n} packages"),
            None => "being indexed".to_owned(),
        };
        let _ = writeln!(
            rows,
            "<tr><td><a href=\"{}\">{}</a></td><td>{packages}</td><td><a href=\"{}{}.repo\">.repo</a></td></tr>",
            encode_path(&shown.url),
            escape(&shown.url),
            encode_path(&shown.url),
            encode_part(&shown.name),
        );
    }
    if repositories.is_empty() {
        rows.push_str("<tr><td>no repository is configured yet</td></tr>\n");
    }
    page("Repositories", &format!("<table>\n{rows}</table>\n"))
}

/// Lists a directory. `url` is its decoded path; `dot_repo` the name of the generated .repo file, at the top.
pub fn index(url: &str, listed: &[Listed], is_top: bool, dot_repo: Option<&str>) -> Answer {
    let mut body = String::new();
    if let Some(name) = dot_repo {
        let _ = writeln!(
            body,
            "<p>Client configuration: <a href=\"{}.repo\">{}.repo</a></p>",
            encode_part(name),
            escape(name)
        );
    }
    body.push_str("<table>\n<tr><th>Name</th><th>Modified (UTC)</th><th>Size</th></tr>\n");
    if !is_top {
        body.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for entry in listed {
        let slash = if entry.is_directory { "/" } else { "" };
        let size = if entry.is_directory { "-".to_owned() } else { human(entry.size) };
        let modified = humantime::format_rfc3339_seconds(entry.modified).to_string();
        let _ = writeln!(
            body,
            "<tr><td><a href=\"{}{slash}\">{}{slash}</a></td><td>{}</td><td title=\"{} bytes\">{size}</td></tr>",
            encode_part(&entry.name),
            escape(&entry.name),
            modified.replace('T', " ").trim_end_matches('Z'),
            entry.size,
        );
    }
    body.push_str("</table>\n");
    page(&format!("Index of {url}"), &body)
}

/// A whole page. `title` is escaped here, `body` is markup.
fn page(title: &str, body: &str) -> Answer {
    let title = escape(title);
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n:root {{ color-scheme: light dark }}\n\
         body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70em; margin: 1.5em auto; padding: 0 1em }}\n\
         table {{ border-collapse: collapse; width: 100% }}\nth, td {{ text-align: left; padding: .1em 1em .1em 0 }}\n\
         td:first-child {{ overflow-wrap: anywhere }}\ntd:nth-child(n+2) {{ white-space: nowrap }}\n\
         td:nth-child(3), th:nth-child(3) {{ text-align: right; padding-right: 0 }}\n</style>\n</head>\n\
         <body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    );
    let mut answer = text(StatusCode::OK, "text/html; charset=utf-8", html);
    set(
        &mut answer,
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    );
    set(&mut answer, CACHE_CONTROL, "no-cache");
    answer
}

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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http_body_util::BodyExt;

    use super::*;

    fn html(answer: Answer) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(answer.into_body().collect()).unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_name_cannot_become_markup() {
        let evil = "\"><script>alert(1)</script>'.rpm";
        let entry =
            Listed { name: evil.into(), is_directory: false, size: 1, modified: SystemTime::UNIX_EPOCH };
        let page = html(index(&format!("/{evil}/"), &[entry], false, Some(evil)));
        assert!(!page.contains("<script") && !page.contains("\">'"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("href=\"%22%3E%3Cscript"));
    }

    #[test]
    fn links_of_an_index_lead_where_they_say() {
        let entry = |name: &str, is_directory| Listed {
            name: name.into(),
            is_directory,
            size: 3 * 1024 * 1024,
            modified: SystemTime::UNIX_EPOCH,
        };
        let page = html(index("/rpm/", &[entry("sub dir", true), entry("a:b+c#d%.rpm", false)], true, None));
        assert!(page.contains("<a href=\"sub%20dir/\">sub dir/</a>"));
        assert!(page.contains("<a href=\"a%3Ab%2Bc%23d%25.rpm\">a:b+c#d%.rpm</a>"));
        assert!(page.contains("1970-01-01 00:00:00") && page.contains("3.0 MiB"));
        assert!(!page.contains("../"), "the top has no parent");
    }
}
