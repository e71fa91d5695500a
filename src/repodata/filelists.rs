//! One package's entry in filelists.xml.

use super::fragment::Entry;
use super::{primary, xml};
use crate::package::Package;

/// Appends `<package pkgid="…" …>…</package>` and a newline.
pub fn render(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>) {
    open(out, package, entry);
    for file in &package.files {
        out.extend_from_slice(b"  ");
        primary::file(out, file);
    }
    out.extend_from_slice(b"</package>\n");
}

/// How an entry of filelists.xml and other.xml begins.
pub(super) fn open(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>) {
    out.extend_from_slice(b"<package pkgid=\"");
    out.extend_from_slice(entry.pkgid.to_hex().as_bytes());
    out.extend_from_slice(b"\" name=\"");
    xml::attribute(out, &package.name);
    out.extend_from_slice(b"\" arch=\"");
    xml::attribute(out, &package.arch);
    out.extend_from_slice(b"\">\n");
    primary::version(out, package);
}
