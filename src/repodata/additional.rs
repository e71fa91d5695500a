//! Metadata beyond packages: which files hold it, by their names, and what each is held to.

use std::io::{self, BufRead};

use super::outline::walk;
use super::{Codec, FormatError, Modules, groups, updateinfo};
use crate::package::Location;

/// Names at the top of a repository, without a compression's suffix, and the type of metadata they hold.
const USUAL: [(&str, &str); 12] = [
    ("comps.xml", GROUP),
    ("updateinfo.xml", UPDATEINFO),
    ("productid", "productid"),
    ("appstream.xml", "appstream"),
    ("appstream-icons.tar", "appstream-icons"),
    ("appdata.xml", "appdata"),
    ("susedata.xml", "susedata"),
    ("suseinfo.xml", "suseinfo"),
    ("patterns.xml", "patterns"),
    ("products.xml", "products"),
    ("license.tar", "license"),
    ("pkgorigins", "origin"),
];

pub const GROUP: &str = "group";
pub const UPDATEINFO: &str = "updateinfo";
pub const MODULES: &str = "modules";

/// The type of metadata that a file at this place holds by its name. Modules may lie anywhere, the others
/// at the top.
pub fn usual_kind(location: &Location) -> Option<&'static str> {
    let text = location.as_str();
    let plain = text.strip_suffix(Codec::of_name(text).suffix()).unwrap_or(text);
    if let Some((_, kind)) = USUAL.iter().find(|(name, _)| *name == plain) {
        return Some(kind);
    }
    // Copies that somebody keeps beside a file (`modules.yaml.bak`) must not bring back what is gone from it.
    let name = location.file_name();
    let plain = name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name);
    (names_modules(name) && plain.ends_with(".yaml") && !location.is_reserved()).then_some(MODULES)
}

/// The types of metadata that are taken by the usual names.
pub fn usual_kinds() -> impl Iterator<Item = &'static str> {
    USUAL.iter().map(|(_, kind)| *kind).chain([MODULES])
}

/// Whether a file of this name holds module metadata for createrepo_c, wherever it lies.
pub fn names_modules(name: &str) -> bool {
    let parts = ["modules.yaml", ".modulemd.yaml", ".modulemd-defaults.yaml"];
    !name.ends_with(".rpm") && parts.iter().any(|part| name.contains(part))
}

/// Whether a type of record is made from packages, and so not additional.
pub fn is_made(kind: &str) -> bool {
    matches!(family(kind), "primary" | "filelists" | "other" | "filelists-ext")
}

/// A type without the form it comes in: `group` of `group_gz`, `primary` of `primary_db`.
pub fn family(kind: &str) -> &str {
    ["_db", "_zck", "_gz", "_xz", "_bz2", "_zst"]
        .into_iter()
        .find_map(|form| kind.strip_suffix(form))
        .unwrap_or(kind)
}

/// A text that can be the type of an additional record.
pub fn parse_kind(text: &str) -> Result<&str, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if text.is_empty() || text.len() > 60 || !text.chars().all(plain) {
        return Err(format!(
            "{text:?} cannot be a type of metadata; expected letters, digits, \"-\" and \"_\""
        ));
    }
    if is_made(text) || family(text) != text {
        return Err(format!("metadata of the type {text:?} is made by createrepod itself"));
    }
    Ok(text)
}

/// Which of several files of one type is taken: the one with the least.
pub fn rank(name: &str) -> usize {
    let order = [Codec::None, Codec::Gzip, Codec::Zstd, Codec::Xz, Codec::Bzip2, Codec::Zchunk];
    order.iter().position(|codec| *codec == Codec::of_name(name)).unwrap_or(order.len())
}

/// Bytes a file of this type may have, uncompressed.
pub fn longest(kind: &str) -> u64 {
    match kind {
        GROUP => 64 << 20,
        MODULES => super::modules::LONGEST,
        UPDATEINFO => 1 << 30,
        _ => 4 << 30,
    }
}

/// What a file of this type is called in repodata/, behind its checksum and before the suffix of its
/// compression. `name` is how its source is called.
pub fn base_name(kind: &str, name: &str) -> String {
    match kind {
        GROUP => "comps.xml".to_owned(),
        UPDATEINFO => "updateinfo.xml".to_owned(),
        MODULES => "modules.yaml".to_owned(),
        _ => {
            let rest = name.find('.').map_or("", |dot| &name[dot..]);
            let plain = rest.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            format!("{kind}{}", if plain { rest } else { "" })
        }
    }
}

/// Whether files of this type are compressed anew. What is not known here is published byte for byte.
pub fn is_repacked(kind: &str) -> bool {
    matches!(kind, GROUP | UPDATEINFO | MODULES)
}

/// Checks a file of this type, uncompressed, and reads it to its end. `name` is how it is called.
pub fn check(kind: &str, name: &str, mut source: impl BufRead) -> Result<(), FormatError> {
    let is_xml = || name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name).ends_with(".xml");
    match kind {
        GROUP => groups::check(&mut source)?,
        UPDATEINFO => updateinfo::check(&mut source)?,
        MODULES => _ = Modules::read(&mut source)?,
        _ if is_xml() => walk("XML", &mut source, |_, _| Ok(()))?,
        _ => {}
    }
    match io::copy(&mut source, &mut io::sink()) {
        Ok(_) => Ok(()),
        Err(error) => Err(FormatError { file: "file", why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_holds() {
        let kind = |text| usual_kind(&Location::parse(text).unwrap());
        for (name, expected) in [
            ("comps.xml", Some("group")),
            ("comps.xml.gz", Some("group")),
            ("updateinfo.xml.zst", Some("updateinfo")),
            ("modules.yaml", Some("modules")),
            ("a/b/modules.yaml.xz", Some("modules")),
            ("a/nodejs.modulemd.yaml", Some("modules")),
            ("nodejs.modulemd-defaults.yaml.gz", Some("modules")),
            ("productid", Some("productid")),
            ("appstream.xml.gz", Some("appstream")),
            ("appstream-icons.tar.gz", Some("appstream-icons")),
            ("a/comps.xml", None),
            ("my-comps.xml", None),
            ("fedora-0123abc-modules.yaml.gz", Some("modules")),
            ("mymodules.yaml", Some("modules")),
            ("modules.yaml.bak", None),
            ("modules.yaml~", None),
            ("repodata/comps.xml", None),
            ("repodata/modules.yaml", None),
            (".hidden/modules.yaml", None),
            ("a.rpm", None),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }

    #[test]
    fn createrepo_c_takes_modules_by_any_name_with_theirs_in_it() {
        for name in ["modules.yaml", "fedora-0-modules.yaml.gz", "modules.yaml.magck", "a.modulemd.yaml.old"]
        {
            assert!(names_modules(name), "{name}");
        }
        for name in ["modules.yml", "a-modules.yaml-1-1.noarch.rpm", "modulemd.yaml", "a.rpm"] {
            assert!(!names_modules(name), "{name}");
        }
    }

    #[test]
    fn what_createrepod_makes_is_no_additional_type() {
        for bad in ["primary", "primary_db", "filelists-ext", "group_gz", "other_zck", "", "a b", "a/b"] {
            assert!(parse_kind(bad).is_err(), "{bad}");
        }
        for good in ["group", "productid", "my-own_kind", "prestodelta"] {
            parse_kind(good).unwrap();
        }
    }

    #[test]
    fn what_is_unknown_is_read_to_its_end_and_xml_must_be_xml() {
        check("productid", "productid", &b"-----BEGIN"[..]).unwrap();
        check("appstream", "appstream.xml.gz", &b"<components/>"[..]).unwrap();
        let error = check("appstream", "appstream.xml.gz", &b"<components>"[..]).unwrap_err().to_string();
        assert_eq!(error, "malformed XML: line 1: it ends before </components>");
    }
}
