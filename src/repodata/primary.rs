//! One package's entry in primary.xml.

use std::collections::HashSet;

use super::fragment::Entry;
use super::xml;
use crate::package::{Dependency, FileKind, Package, PackageFile};

const SENSE_LESS: u32 = 1 << 1;
const SENSE_GREATER: u32 = 1 << 2;
const SENSE_EQUAL: u32 = 1 << 3;
/// PREREQ, SCRIPT_PRE and SCRIPT_POST: what must be there before the package's scripts run.
const SENSE_PRE: u32 = 1 << 6 | 1 << 9 | 1 << 10;

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
    dependencies(out, "provides", package.provides.iter());
    dependencies(out, "requires", requires(package).into_iter());
    dependencies(out, "conflicts", package.conflicts.iter());
    dependencies(out, "obsoletes", package.obsoletes.iter());
    dependencies(out, "suggests", package.suggests.iter());
    dependencies(out, "enhances", package.enhances.iter());
    dependencies(out, "recommends", package.recommends.iter());
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
    let before = out.len();
    for piece in ["    <rpm:", name, ">\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
    let empty = out.len();
    for dependency in list {
        dependency_entry(out, name, dependency);
    }
    if out.len() == empty {
        out.truncate(before);
        return;
    }
    for piece in ["    </rpm:", name, ">\n"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn dependency_entry(out: &mut Vec<u8>, list: &str, dependency: &Dependency<'_>) {
    let Some((epoch, version, release)) = split_evr(&dependency.evr) else { return };
    out.extend_from_slice(b"      <rpm:entry name=\"");
    xml::attribute(out, &dependency.name);
    if let Some(flags) = comparison(dependency.flags) {
        for (name, value) in
            [("\" flags=\"", flags), ("\" epoch=\"", epoch), ("\" ver=\"", version), ("\" rel=\"", release)]
        {
            if !value.is_empty() {
                out.extend_from_slice(name.as_bytes());
                xml::attribute(out, value);
            }
        }
    }
    if list == "requires" && dependency.flags & SENSE_PRE != 0 {
        out.extend_from_slice(b"\" pre=\"1");
    }
    out.extend_from_slice(b"\"/>\n");
}

fn comparison(flags: u32) -> Option<&'static str> {
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
fn split_evr(evr: &str) -> Option<(&str, &str, &str)> {
    if evr.is_empty() {
        return Some(("", "", ""));
    }
    let (epoch, rest) = match evr.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|b| b.is_ascii_digit()) => (epoch, rest),
        Some(_) => return None,
        None => ("0", evr),
    };
    let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
    Some((epoch, version, release))
}

/// The requirements a client needs to see.
fn requires<'p, 'h>(package: &'p Package<'h>) -> Vec<&'p Dependency<'h>> {
    let provided: HashSet<(&str, u32, &str)> = package
        .provides
        .iter()
        .map(|dependency| (&*dependency.name, dependency.flags, &*dependency.evr))
        .collect();
    let mut seen = HashSet::with_capacity(package.requires.len());
    let mut list: Vec<&Dependency<'_>> = Vec::with_capacity(package.requires.len());
    let mut libc: Option<&Dependency<'_>> = None;
    for dependency in &package.requires {
        let name = &*dependency.name;
        if name.starts_with("rpmlib(") {
            continue;
        }
        if provided.contains(&(name, dependency.flags, &*dependency.evr)) {
            continue;
        }
        if !seen.insert((
            name,
            comparison(dependency.flags),
            &*dependency.evr,
            dependency.flags & SENSE_PRE != 0,
        )) {
            continue;
        }
        if name.starts_with("libc.so.6") {
            libc = libc.or(Some(dependency));
            continue;
        }
        list.push(dependency);
    }
    list.extend(libc);
    list
}

/// Whether a file is listed in primary.xml already, because packages require such files by path.
fn is_primary(file: &PackageFile<'_>) -> bool {
    let (directory, base_name) = (&*file.directory, &*file.base_name);
    directory.contains("bin/")
        || base_name.contains("bin/")
        || directory.starts_with("/etc/")
        || base_name.starts_with("/etc/") && directory.is_empty()
        || directory == "/usr/lib/" && base_name == "sendmail"
        || directory.is_empty() && base_name == "/usr/lib/sendmail"
}
