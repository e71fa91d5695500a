//! A directory: names, versions, sizes and dates, in the order that was asked for.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt::Write;

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::page::{self, FOOT};
use super::{escape, human, link, rfc3339, time};
use crate::repository::browse::{Listed, Neighbour};
use crate::serve::accept::Form;
use crate::serve::answer::{Answer, made};

/// Bytes of a page made at a time.
const CHUNK: usize = 32 << 10;

/// What everybody hears of a package that is rejected.
const NOT_TOLD: &str = "why is not told to everybody; ask on this machine, or as somebody who may write";

/// `?sort=name`, and `?sort=-name` the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    by: By,
    descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Name,
    Version,
    Size,
    Modified,
}

const COLUMNS: [(By, &str, &str, &str); 4] = [
    (By::Name, "name", "Name", ""),
    (By::Version, "version", "Version", ""),
    (By::Size, "size", "Size", " class=\"number\""),
    (By::Modified, "date", "Modified (UTC)", ""),
];

impl Order {
    /// From a URL's query; what it does not say, or says wrongly, is by name.
    pub fn of(query: Option<&str>) -> Self {
        let stated = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("sort="));
        let (descending, word) = match stated.unwrap_or_default() {
            word if word.starts_with('-') => (true, &word[1..]),
            word => (false, word),
        };
        let column = COLUMNS.iter().find(|(_, name, _, _)| *name == word);
        column.map_or(Self { by: By::Name, descending: false }, |(by, ..)| Self { by: *by, descending })
    }
}

/// One line.
struct Row {
    listed: Listed,
    /// What is known of the package, if it is one.
    package: Option<Neighbour>,
}

/// Where the directory is.
pub struct Place<'p> {
    /// The repository's name.
    pub repository: &'p str,
    /// The repository's URL, decoded.
    pub url: &'p str,
    /// The directory's path in the repository, without slashes at its ends; empty at the top.
    pub path: &'p str,
    /// Whether whoever asks may know why a package is rejected.
    pub causes: bool,
}

/// Lists a directory. `neighbours` is what is known of the packages in it, by file name; `about` stands
/// above the list, as markup or as members of the JSON.
pub fn index(
    place: &Place<'_>,
    listed: Vec<Listed>,
    mut neighbours: HashMap<String, Neighbour>,
    order: Order,
    form: Form,
    about: Option<super::About>,
) -> Answer {
    let mut rows: Vec<Row> = listed
        .into_iter()
        .map(|listed| {
            let mut package = neighbours.remove(&listed.name).filter(|_| !listed.is_directory);
            if let Some(reason) = package.as_mut().and_then(|package| package.rejected.as_mut())
                && !place.causes
            {
                reason.clear();
                reason.push_str(NOT_TOLD);
            }
            Row { package, listed }
        })
        .collect();
    rows.sort_by(|a, b| compare(a, b, order));
    match form {
        Form::Json => json_index(place, rows, about),
        Form::Html | Form::Text => html_index(place, rows, order, about),
    }
}

fn compare(a: &Row, b: &Row, order: Order) -> Ordering {
    let version = |row: &Row| row.package.as_ref().map(|package| package.version.clone()).unwrap_or_default();
    let name = |row: &Row| match &row.package {
        Some(package) if !package.name.is_empty() => package.name.clone(),
        _ => row.listed.name.clone(),
    };
    let ordering = match order.by {
        By::Name => Ordering::Equal,
        By::Version => name(a).cmp(&name(b)).then_with(|| evr(&version(a)).cmp(&evr(&version(b)))),
        By::Size => a.listed.size().cmp(&b.listed.size()),
        By::Modified => a.listed.stamp.mtime_ns.cmp(&b.listed.stamp.mtime_ns),
    };
    let ordering = ordering.then_with(|| a.listed.name.cmp(&b.listed.name));
    let ordering = if order.descending { ordering.reverse() } else { ordering };
    b.listed.is_directory.cmp(&a.listed.is_directory).then(ordering)
}

/// `[epoch:]version-release`, to be compared as rpm does.
fn evr(text: &str) -> rpm_version::Evr<'_> {
    let (epoch, rest) = text.split_once(':').unwrap_or(("", text));
    let (version, release) = rest.rsplit_once('-').unwrap_or((rest, ""));
    rpm_version::Evr::new(epoch, version, release)
}

/// Sends `head`, then what `write` says of each row, then `foot`, a chunk at a time.
fn chunks(
    head: String,
    rows: Vec<Row>,
    foot: String,
    write: impl Fn(&mut String, &Row, bool) + Send + 'static,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let (mut rows, mut first, mut start) = (rows.into_iter(), true, Some(head));
    let mut foot = Some(foot);
    std::iter::from_fn(move || {
        let mut out = start.take().unwrap_or_default();
        while out.len() < CHUNK {
            match rows.next() {
                Some(row) => write(&mut out, &row, std::mem::take(&mut first)),
                None => {
                    out.push_str(&foot.take()?);
                    break;
                }
            }
        }
        Some(Bytes::from(out))
    })
}

fn html_index(place: &Place<'_>, rows: Vec<Row>, order: Order, about: Option<super::About>) -> Answer {
    let depth = if place.path.is_empty() { 0 } else { place.path.split('/').count() };
    let mut parts = Vec::new();
    let above = place.url.matches('/').count() - 1;
    if above > 0 {
        parts.push(("repositories", depth + above));
    }
    parts.push((place.repository, depth));
    let names: Vec<&str> = place.path.split('/').filter(|name| !name.is_empty()).collect();
    parts.extend(names.iter().enumerate().map(|(at, name)| (*name, depth - at - 1)));
    let title = names.last().copied().unwrap_or(place.repository);
    let mut head = page::head(title, &page::crumbs(&parts));
    match about {
        Some(about) => {
            super::repository::write(&mut head, &about);
            head.push_str("<h2>Files</h2>\n");
        }
        None => _ = writeln!(head, "<h1>{}</h1>", escape(title)),
    }
    head.push_str("<table>\n<thead><tr>");
    for (by, word, title, class) in COLUMNS {
        let (sign, aria, arrow) = match (order.by == by, order.descending) {
            (true, false) => ("-", " aria-sort=\"ascending\"", " \u{2191}"),
            (true, true) => ("", " aria-sort=\"descending\"", " \u{2193}"),
            // The newest and the largest are what people look for.
            (false, _) if matches!(by, By::Size | By::Modified) => ("-", "", ""),
            (false, _) => ("", "", ""),
        };
        let _ = write!(head, "<th{class}{aria}><a href=\"?sort={sign}{word}\">{title}{arrow}</a></th>");
    }
    head.push_str("</tr></thead>\n<tbody>\n");
    if depth > 0 {
        head.push_str(
            "<tr><td class=\"name\"><a href=\"../\">../</a></td><td class=\"version\"></td>\
             <td class=\"number\"></td><td class=\"date\"></td></tr>\n",
        );
    }
    let foot = match rows.is_empty() {
        true => format!("</tbody>\n</table>\n<p class=\"soft\">There is nothing here yet.</p>\n{FOOT}"),
        false => format!("</tbody>\n</table>\n{FOOT}"),
    };
    page::streamed(chunks(head, rows, foot, |out, row, _| html_row(out, row)))
}

fn html_row(out: &mut String, row: &Row) {
    let Row { listed, package } = row;
    out.push_str("<tr><td class=\"name\">");
    link(out, &listed.name, if listed.is_directory { "/" } else { "" });
    if let Some(reason) = package.as_ref().and_then(|package| package.rejected.as_ref()) {
        let _ = write!(out, "<span class=\"tag bad\" title=\"{}\">rejected</span>", escape(reason));
    } else if package.is_none() && !listed.is_directory && listed.name.ends_with(".rpm") {
        out.push_str("<span class=\"tag soft\">not indexed yet</span>");
    }
    out.push_str("</td><td class=\"version soft\">");
    if let Some(package) = package {
        out.push_str(&escape(&package.version));
    }
    out.push_str("</td><td class=\"number soft\">");
    if !listed.is_directory {
        let _ = write!(out, "<span title=\"{} bytes\">{}</span>", listed.size(), human(listed.size()));
    }
    out.push_str("</td><td class=\"date soft\">");
    time(out, listed.modified());
    out.push_str("</td></tr>\n");
}

fn json_index(place: &Place<'_>, rows: Vec<Row>, about: Option<super::About>) -> Answer {
    let slash = if place.path.is_empty() { "" } else { "/" };
    let mut members = json!({ "path": format!("{}{}{slash}", place.url, place.path) });
    if let (Some(about), Value::Object(members)) = (about, &mut members) {
        members.insert("repository".into(), super::repository::json(&about));
    }
    let mut head = members.to_string();
    head.pop();
    head.push_str(",\"entries\":[\n");
    let body = chunks(head, rows, "]}\n".into(), |out, row, first| {
        if !first {
            out.push_str(",\n");
        }
        out.push_str(&json_row(row).to_string());
    });
    page::changing(made(StatusCode::OK, page::JSON, body))
}

fn json_row(row: &Row) -> Value {
    let Row { listed, package } = row;
    let mut value = json!({
        "name": listed.name,
        "type": if listed.is_directory { "directory" } else { "file" },
        "modified": rfc3339(listed.modified()),
    });
    if !listed.is_directory {
        value["size"] = listed.size().into();
    }
    if let Some(package) = package {
        value["package"] = match &package.rejected {
            Some(reason) => json!({ "state": "rejected", "reason": reason }),
            None => json!({
                "state": "indexed",
                "name": package.name,
                "version": package.version,
                "arch": package.arch,
            }),
        };
    } else if !listed.is_directory && listed.name.ends_with(".rpm") {
        value["package"] = json!({ "state": "pending" });
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::FileStamp;

    fn row(name: &str, version: &str, size: u64, seconds: i64) -> Row {
        let stamp = FileStamp { inode: 1, size, mtime_ns: seconds * 1_000_000_000, ctime_ns: 0 };
        let listed = Listed { name: name.into(), is_directory: name.ends_with('/'), stamp };
        let package = (!version.is_empty()).then(|| Neighbour {
            name: "p".into(),
            version: version.into(),
            arch: "noarch".into(),
            rejected: None,
        });
        Row { listed, package }
    }

    fn sorted(query: &str) -> Vec<String> {
        let mut rows = vec![
            row("p-1.10-1.noarch.rpm", "1.10-1", 1, 30),
            row("p-1.9-1.noarch.rpm", "1.9-1", 3, 10),
            row("p-1.2-1.noarch.rpm", "1:1.2-1", 2, 20),
            row("sub/", "", 0, 99),
        ];
        rows.sort_by(|a, b| compare(a, b, Order::of(Some(query))));
        rows.into_iter().map(|row| row.listed.name.split('-').nth(1).unwrap_or("sub").to_owned()).collect()
    }

    #[test]
    fn the_order_is_the_one_asked_for_and_folders_come_first() {
        for (query, expected) in [
            ("", ["sub", "1.10", "1.2", "1.9"]),
            ("sort=-name", ["sub", "1.9", "1.2", "1.10"]),
            ("sort=version", ["sub", "1.9", "1.10", "1.2"]),
            ("sort=-version", ["sub", "1.2", "1.10", "1.9"]),
            ("sort=size", ["sub", "1.10", "1.2", "1.9"]),
            ("x=y&sort=-date", ["sub", "1.10", "1.2", "1.9"]),
            ("sort=<script>", ["sub", "1.10", "1.2", "1.9"]),
            ("sort=-", ["sub", "1.10", "1.2", "1.9"]),
        ] {
            assert_eq!(sorted(query), expected, "{query}");
        }
    }
}
