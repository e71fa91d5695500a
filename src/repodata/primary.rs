//! One package's entry in primary.xml.

use super::fragment::Entry;
use super::{requires, xml};
use crate::package::{Dependency, FileKind, Package, PackageFile};

const SENSE_LESS: u32 = 1 << 1;
const SENSE_GREATER: u32 = 1 << 2;
const SENSE_EQUAL: u32 = 1 << 3;
/// POSTTRANS, PREREQ, PRETRANS, SCRIPT_PRE and SCRIPT_POST: what scripts need while the package is installed.
pub(super) const SENSE_PRE: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 10;

/// Appends `<package type="rpm">…</package>` and a newline.
pub fn render(out: &mut Vec<u8>, package: &Package<'_>, entry: &Entry<'_>) {
    out.extend_from_slice(b"<package type=\"rpm\">\n  <name>");
    xml::text(out, &package.name);
    out.extend_from_slice(b"</name>\n  <arch>");
    xml::text(out, &package.arch);
    out.extend_from_slice(b"</arch>\n");
    version(out, package);
    out.extend_from_slice(b"  <checksum type=\"");
    out.extend_from_slice(entry.pkgid.kind.as_str().as_bytes());
    out.extend_from_slice(b"\" pkgid=\"YES\">");
    out.extend_from_slice(entry.pkgid.to_hex().as_bytes());
    out.extend_from_slice(b"</checksum>\n");
    element(out, "  ", "summary", &package.summary);
    element(out, "  ", "description", &package.description);
    element(out, "  ", "packager", &package.packager);
    element(out, "  ", "url", &package.url);
    out.extend_from_slice(b"  <time file=\"");
    xml::number(out, entry.file_time);
    out.extend_from_slice(b"\" build=\"");
    xml::number(out, package.build_time);
    out.extend_from_slice(b"\"/>\n  <size package=\"");
    xml::number(out, entry.size);
    out.extend_from_slice(b"\" installed=\"");
    xml::number(out, package.installed_size);
    out.extend_from_slice(b"\" archive=\"");
    xml::number(out, package.archive_size);
    out.extend_from_slice(b"\"/>\n  <location href=\"");
    xml::attribute(out, entry.location.as_str());
    out.extend_from_slice(b"\"/>\n  <format>\n");
    element(out, "    ", "rpm:license", &package.license);
    element(out, "    ", "rpm:vendor", &package.vendor);
    element(out, "    ", "rpm:group", &package.group);
    element(out, "    ", "rpm:buildhost", &package.build_host);
    element(out, "    ", "rpm:sourcerpm", &package.source_rpm);
    out.extend_from_slice(b"    <rpm:header-range start=\"");
    xml::number(out, entry.header_range.start);
    out.extend_from_slice(b"\" end=\"");
    xml::number(out, entry.header_range.end);
    out.extend_from_slice(b"\"/>\n");
    let filtered = requires::filter(package);
    dependencies(out, "provides", package.provides.iter());
    dependencies(out, "requires", filtered.requires.into_iter());
    dependencies(out, "conflicts", package.conflicts.iter());
    dependencies(out, "obsoletes", package.obsoletes.iter());
    dependencies(out, "suggests", package.suggests.iter());
    dependencies(out, "enhances", package.enhances.iter());
    dependencies(out, "recommends", filtered.recommends.into_iter().chain(&package.recommends));
    dependencies(out, "supplements", package.supplements.iter());
    for owned in package.files.iter().filter(|file| is_primary(file)) {
        out.extend_from_slice(b"    ");
        file(out, owned);
    }
    out.extend_from_slice(b"  </format>\n</package>\n");
}

/// `<version …/>`, the same in all three files.
pub(super) fn version(out: &mut Vec<u8>, package: &Package<'_>) {
    out.extend_from_slice(b"  <version epoch=\"");
    xml::number(out, package.epoch.unwrap_or(0));
    out.extend_from_slice(b"\" ver=\"");
    xml::attribute(out, &package.version);
    out.extend_from_slice(b"\" rel=\"");
    xml::attribute(out, &package.release);
    out.extend_from_slice(b"\"/>\n");
}

/// `<file …>…</file>`, the same in primary.xml and filelists.xml.
pub(super) fn file(out: &mut Vec<u8>, file: &PackageFile<'_>) {
    out.extend_from_slice(match file.kind {
        FileKind::File => b"<file>".as_slice(),
        FileKind::Directory => b"<file type=\"dir\">",
        FileKind::Ghost => b"<file type=\"ghost\">",
    });
    xml::text(out, &file.directory);
    xml::text(out, &file.base_name);
    out.extend_from_slice(b"</file>\n");
}

fn element(out: &mut Vec<u8>, indent: &str, name: &str, content: &str) {
    for piece in [indent, "<", name, ">"] {
        out.extend_from_slice(piece.as_bytes());
    }
    xml::text(out, content);
    for piece in ["</", name, ">\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn dependencies<'p, 'h: 'p>(out: &mut Vec<u8>, name: &str, list: impl Iterator<Item = &'p Dependency<'h>>) {
    let mut list = list.filter_map(|entry| Some((entry, split_evr(&entry.evr)?))).peekable();
    if list.peek().is_none() {
        return;
    }
    for piece in ["    <rpm:", name, ">\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let empty = out.len();
    for (entry, evr) in list.filter(|(entry, _)| !entry.name.is_empty()) {
        dependency(out, name, entry, evr);
    }
    if out.len() == empty {
        out.truncate(empty - ">\n".len());
        out.extend_from_slice(b"/>\n");
        return;
    }
    for piece in ["    </rpm:", name, ">\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn dependency(
    out: &mut Vec<u8>,
    list: &str,
    dependency: &Dependency<'_>,
    (epoch, version, release): (&str, &str, &str),
) {
    out.extend_from_slice(b"      <rpm:entry name=\"");
    xml::attribute(out, &dependency.name);
    if let Some(flags) = comparison(dependency.flags) {
        let attributes = [("flags", flags), ("epoch", epoch), ("ver", version), ("rel", release)];
        for (name, value) in attributes.into_iter().filter(|(_, value)| !value.is_empty()) {
            for piece in ["\" ", name, "=\""] {
                out.extend_from_slice(piece.as_bytes());
            }
            xml::attribute(out, value);
        }
    }
    if list == "requires" && dependency.flags & SENSE_PRE != 0 {
        out.extend_from_slice(b"\" pre=\"1");
    }
    out.extend_from_slice(b"\"/>\n");
}

pub(super) fn comparison(flags: u32) -> Option<&'static str> {
    const LE: u32 = SENSE_LESS | SENSE_EQUAL;
    const GE: u32 = SENSE_GREATER | SENSE_EQUAL;
    Some(match flags & (SENSE_LESS | SENSE_GREATER | SENSE_EQUAL) {
        SENSE_LESS => "LT",
        SENSE_GREATER => "GT",
        SENSE_EQUAL => "EQ",
        LE => "LE",
        GE => "GE",
        _ => return None,
    })
}

/// Epoch, version and release; `None` when the epoch is no number, and then the dependency is left out.
pub(super) fn split_evr(evr: &str) -> Option<(&str, &str, &str)> {
    if evr.is_empty() {
        return Some(("", "", ""));
    }
    let (epoch, rest) = match evr.split_once(':') {
        Some(("", rest)) => ("0", rest),
        Some((epoch, rest)) if is_number(epoch) => (epoch, rest),
        Some(_) => return None,
        None => ("0", evr),
    };
    let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
    Some((epoch, version, release))
}

/// What C's strtol takes whole: white space, a sign, digits.
fn is_number(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a file is listed in primary.xml already, because packages require such files by path.
pub(super) fn is_primary(file: &PackageFile<'_>) -> bool {
    let (directory, base_name) = (&*file.directory, &*file.base_name);
    if directory.contains("bin/") || directory.starts_with("/etc/") {
        return true;
    }
    // As nearly all are: a plain name in a directory. Others are joined first, since a match may span both.
    if directory.len() > 1 && directory.ends_with('/') && !base_name.contains('/') {
        return directory == "/usr/lib/" && base_name == "sendmail";
    }
    let path = file.path();
    path.contains("bin/") || path.starts_with("/etc/") || path == "/usr/lib/sendmail"
}
