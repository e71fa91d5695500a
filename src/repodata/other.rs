//! One package's entry in other.xml.

use super::fragment::{Entry, RenderOptions};
use super::{filelists, xml};
use crate::package::Package;

/// Appends `<package pkgid="…" …>…</package>` and a newline: the newest changelog entries, oldest first.
pub fn render(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>, options: &RenderOptions) {
    filelists::open(out, package, entry);
    let newest =
        &package.changelogs[..options.changelog_limit.unwrap_or(usize::MAX).min(package.changelogs.len())];
    // Entries of one day have one date; a second more for each newer one keeps their order for
    // readers that sort, and pushes on the next one where it gets in the way.
    let mut before: Option<(u64, u64)> = None;
    for change in newest.iter().rev() {
        let date = match before {
            Some((date, written)) if (date..=written).contains(&change.date) => written + 1,
            _ => change.date,
        };
        before = Some((change.date, date));
        out.extend_from_slice(b"  <changelog author=\"");
        xml::attribute(out, author(&change.author));
        out.extend_from_slice(b"\" date=\"");
        xml::number(out, date);
        out.extend_from_slice(b"\">");
        xml::text(out, &change.text);
        out.extend_from_slice(b"</changelog>\n");
    }
    out.extend_from_slice(b"</package>\n");
}

/// Without the spaces at its end, but not empty because of that.
fn author(text: &str) -> &str {
    match text.trim_end_matches(' ') {
        "" => &text[..text.len().min(1)],
        trimmed => trimmed,
    }
}
