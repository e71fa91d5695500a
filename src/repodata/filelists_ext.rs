//! One package's entry in filelists-ext.xml: filelists.xml with the files' own digests.

use super::fragment::Entry;
use super::{filelists, xml};
use crate::package::{ChecksumType, FileKind, Package};

/// Everything before the first package.
pub fn preamble(packages: u64) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <filelists-ext xmlns=\"http://linux.duke.edu/metadata/filelists-ext\" packages=\"{packages}\">\n"
    )
}

/// Everything after the last package.
pub const CLOSING: &str = "</filelists-ext>\n";

/// Appends `<package pkgid="…" …>…</package>` and a newline.
pub fn render(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>) {
    filelists::open(out, package, entry);
    let kind = package.file_digest_type.map_or("unknown", ChecksumType::as_str);
    out.extend_from_slice(format!("  <checksum type=\"{kind}\"/>\n").as_bytes());
    for file in &package.files {
        out.extend_from_slice(b"  <file");
        match file.kind {
            FileKind::File => {}
            FileKind::Directory => out.extend_from_slice(b" type=\"dir\""),
            FileKind::Ghost => out.extend_from_slice(b" type=\"ghost\""),
        }
        if !file.digest.is_empty() {
            out.extend_from_slice(b" hash=\"");
            xml::attribute(out, &file.digest);
            out.push(b'"');
        }
        out.push(b'>');
        xml::text(out, &file.directory);
        xml::text(out, &file.base_name);
        out.extend_from_slice(b"</file>\n");
    }
    out.extend_from_slice(b"</package>\n");
}
