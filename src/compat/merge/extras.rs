//! What a merged repository has beside packages: groups, advisories, and where packages come from.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use anyhow::Context as _;

use super::choose::Candidate;
use super::places::Merged;
use crate::compat::Voice;
use crate::compat::createrepo::groups;
use crate::compat::old;
use crate::compat::output::{Finished, Style, Workshop};
use crate::compat::sources::file_name;
use crate::package::{Checksum, ChecksumType};
use crate::repodata::modules::{Modules, PassedOver};
use crate::repodata::read::Elements;
use crate::repodata::{Codec, Record};

/// A file, and its name without checksum and compression.
pub struct Extra {
    pub file: Finished,
    pub base: String,
}

/// The groups of the first repository that has some.
pub fn first_groups(
    workshop: &Workshop,
    repositories: &[Merged],
    codec: Codec,
    style: &Style,
) -> anyhow::Result<Option<Extra>> {
    let found = repositories.iter().find_map(|repository| {
        let record = ["group", "group_gz", "group_xz", "group_zst", "group_zck"]
            .iter()
            .find_map(|kind| repository.repomd.record(kind))?;
        Some((repository, record))
    });
    let Some((repository, record)) = found else { return Ok(None) };
    let path = repository.repodata.join(file_name(&record.href));
    let base = plain_name(record);
    let file = groups(workshop, &path, &base, codec, style)?;
    Ok(Some(Extra { file, base }))
}

/// A file's name without checksum and compression.
fn plain_name(record: &Record) -> String {
    let name = file_name(&record.href);
    let name = name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name);
    let name =
        name.strip_prefix(&record.checksum.to_hex()).and_then(|rest| rest.strip_prefix('-')).unwrap_or(name);
    name.to_owned()
}

/// The advisories of all repositories, each once. Those that share an identifier and differ stay: EL's repositories
/// have one advisory each for its packages in them.
pub fn advisories(
    workshop: &Workshop,
    repositories: &[Merged],
    codec: Codec,
    style: &Style,
) -> anyhow::Result<Extra> {
    let base = "updateinfo.xml".to_owned();
    let file = workshop.write("updateinfo", &base, codec, style, |sink| {
        let mut seen = HashSet::new();
        sink.write_all(b"<?xml version=\"1.0\"?>\n<updates>")?;
        for repository in repositories {
            let record =
                repository.repomd.record("updateinfo").or(repository.repomd.record("updateinfo_zck"));
            let Some(record) = record else { continue };
            let cannot =
                || format!("cannot read {}", repository.repodata.join(file_name(&record.href)).display());
            let mut found =
                Elements::advisories(old::open(&repository.repodata, record)?).with_context(cannot)?;
            while let Some(advisory) = found.next_element().with_context(cannot)? {
                if seen.insert(Checksum::of(ChecksumType::Sha256, advisory.as_bytes())) {
                    write!(sink, "\n{advisory}")?;
                }
            }
        }
        Ok(sink.write_all(if seen.is_empty() { b"</updates>\n" } else { b"\n</updates>\n" })?)
    })?;
    Ok(Extra { file, base })
}

/// The modules of all repositories, merged by libmodulemd's rules.
pub fn modules(
    workshop: &Workshop,
    repositories: &[Merged],
    codec: Codec,
    style: &Style,
    voice: Voice,
) -> anyhow::Result<Option<Extra>> {
    let mut merged: Option<Modules> = None;
    for repository in repositories {
        let record = repository.repomd.record("modules").or(repository.repomd.record("modules_zck"));
        let Some(record) = record else { continue };
        let cannot = || format!("cannot merge the modules of {}", repository.origin);
        let found = Modules::read(old::open(&repository.repodata, record)?).with_context(cannot)?;
        match &mut merged {
            None => merged = Some(found),
            Some(merged) => {
                for PassedOver(stream) in merged.merge(found).with_context(cannot)? {
                    voice.warn(&format!(
                        "{stream} of {} differs from an earlier repository's, which stays",
                        repository.origin
                    ));
                }
            }
        }
    }
    let Some(merged) = merged else { return Ok(None) };
    let base = "modules.yaml".to_owned();
    let file = workshop.write("modules", &base, codec, style, |sink| Ok(merged.write_normal(sink)?))?;
    Ok(Some(Extra { file, base }))
}

/// koji's list of where packages come from: a line for each.
pub fn origins<'c>(
    workshop: &Workshop,
    repositories: &[Merged],
    packages: impl Iterator<Item = &'c Candidate>,
    style: &Style,
) -> anyhow::Result<Finished> {
    let mut seen = BTreeSet::new();
    // koji reads this file as gzip, whatever the others are.
    workshop.write("origin", "pkgorigins", Codec::Gzip, style, |sink| {
        for package in packages {
            if seen.insert(package.facts.nevra()) {
                let origin = &repositories[package.repository].origin;
                // A plain path is a URL like the others there.
                let scheme = if origin.starts_with('/') { "file://" } else { "" };
                writeln!(sink, "{}\t{scheme}{origin}", package.nvra())?;
            }
        }
        Ok(())
    })
}

/// A comps file that was named.
pub fn named_groups(workshop: &Workshop, path: &str, codec: Codec, style: &Style) -> anyhow::Result<Extra> {
    let name = file_name(path);
    let base = name.strip_suffix(Codec::of_name(name).suffix()).unwrap_or(name);
    let file = groups(workshop, Path::new(path), base, codec, style)?;
    Ok(Extra { file, base: base.to_owned() })
}
