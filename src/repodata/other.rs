//! One package's entry in other.xml.

use super::fragment::{Entry, RenderOptions};
use super::{filelists, xml};
use crate::package::Package;

/// Appends `<package pkgid="…" …>…</package>` and a newline: the newest changelog entries, oldest first.
pub fn render(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>, options: &RenderOptions) {
    filelists::open(out, package, entry);
    let newest =
        &package.changelogs[..options.changelog_limit.unwrap_or(usize::MAX).min(package.changelogs.len())];
    // Entries of one day have one date; a second more for each keeps their order for readers that sort.
    let mut before: Option<(u64, u64)> = None;
    for change in newest.iter().rev() {
        let date = match before {
            Some((date, written)) if date == change.date => written + 1,
            _ => change.date,
        };
        before = Some((change.date, date));
        out.extend_from_slice(b"  <changelog author=\"");
        xml::attribute(out, &change.author);
        out.extend_from_slice(b"\" date=\"");
        xml::number(out, date);
        out.extend_from_slice(b"\">");
        xml::text(out, &change.text);
        out.extend_from_slice(b"</changelog>\n");
    }
    out.extend_from_slice(b"</package>\n");
}
