//! From a header to a [`Package`]: which tag becomes which field.

use std::borrow::Cow;

use rpm::{IndexSignatureTag, IndexTag};

use super::cost::Budget;
use super::digests::digest_algorithm;
use super::header::{Header, Strings};
use super::text::decode;
use super::{BadPackage, ChangelogEntry, ChecksumType, Dependency, FileKind, Package, PackageFile, Text};

const SENSE_EQUAL: u32 = 1 << 3;
const FILE_GHOST: u64 = 1 << 6;
const MODE_TYPE: u64 = 0o170_000;
const MODE_DIRECTORY: u64 = 0o040_000;

/// Reads a package out of its two headers, which take `header_len` bytes of memory.
pub fn package<'h>(
    main: Header<'h>,
    signature: Header<'h>,
    header_len: usize,
) -> Result<Package<'h>, BadPackage> {
    let mut budget = Budget::new(header_len);
    let text = |tag: IndexTag| main.string(tag as u32).map_or(Cow::Borrowed(""), decode);
    let number = |tag: IndexTag| main.number(tag as u32);

    // A package without the name of the source it was built from is a source itself.
    let is_source = !main.has(IndexTag::RPMTAG_SOURCERPM as u32);
    let mut package = Package {
        name: text(IndexTag::RPMTAG_NAME),
        epoch: number(IndexTag::RPMTAG_EPOCH).map(|epoch| epoch as u32),
        version: text(IndexTag::RPMTAG_VERSION),
        release: text(IndexTag::RPMTAG_RELEASE),
        arch: if is_source { Cow::Borrowed("src") } else { text(IndexTag::RPMTAG_ARCH) },
        is_source,
        summary: text(IndexTag::RPMTAG_SUMMARY),
        description: text(IndexTag::RPMTAG_DESCRIPTION),
        packager: text(IndexTag::RPMTAG_PACKAGER),
        url: text(IndexTag::RPMTAG_URL),
        license: text(IndexTag::RPMTAG_LICENSE),
        vendor: text(IndexTag::RPMTAG_VENDOR),
        group: text(IndexTag::RPMTAG_GROUP),
        build_host: text(IndexTag::RPMTAG_BUILDHOST),
        source_rpm: text(IndexTag::RPMTAG_SOURCERPM),
        build_time: number(IndexTag::RPMTAG_BUILDTIME).unwrap_or(0),
        installed_size: number(IndexTag::RPMTAG_LONGSIZE)
            .or_else(|| number(IndexTag::RPMTAG_SIZE))
            .unwrap_or(0),
        archive_size: archive_size(main, signature),
        file_digest_type: match number(IndexTag::RPMTAG_FILEDIGESTALGO) {
            Some(algorithm) => digest_algorithm(algorithm),
            None => Some(ChecksumType::Md5),
        },
        ..Package::default()
    };
    for (tags, list) in [
        (PROVIDES, &mut package.provides),
        (REQUIRES, &mut package.requires),
        (CONFLICTS, &mut package.conflicts),
        (OBSOLETES, &mut package.obsoletes),
        (SUGGESTS, &mut package.suggests),
        (ENHANCES, &mut package.enhances),
        (RECOMMENDS, &mut package.recommends),
        (SUPPLEMENTS, &mut package.supplements),
    ] {
        *list = dependencies(main, tags, &mut budget)?;
    }
    package.files = files(main, &mut budget)?;
    package.changelogs = changelogs(main, &mut budget)?;
    if !main.has_region() {
        provide_itself(main, &mut package);
    }
    budget.check_rendering(&package)?;
    Ok(package)
}

fn archive_size(main: Header<'_>, signature: Header<'_>) -> u64 {
    signature
        .number(IndexSignatureTag::RPMSIGTAG_LONGARCHIVESIZE as u32)
        .or_else(|| signature.number(IndexSignatureTag::RPMSIGTAG_PAYLOADSIZE as u32))
        .or_else(|| main.number(IndexTag::RPMTAG_ARCHIVESIZE as u32))
        .unwrap_or(0)
}

/// Tags of names, flags and versions.
type DependencyTags = (IndexTag, IndexTag, IndexTag);
const PROVIDES: DependencyTags =
    (IndexTag::RPMTAG_PROVIDENAME, IndexTag::RPMTAG_PROVIDEFLAGS, IndexTag::RPMTAG_PROVIDEVERSION);
const REQUIRES: DependencyTags =
    (IndexTag::RPMTAG_REQUIRENAME, IndexTag::RPMTAG_REQUIREFLAGS, IndexTag::RPMTAG_REQUIREVERSION);
const CONFLICTS: DependencyTags =
    (IndexTag::RPMTAG_CONFLICTNAME, IndexTag::RPMTAG_CONFLICTFLAGS, IndexTag::RPMTAG_CONFLICTVERSION);
const OBSOLETES: DependencyTags =
    (IndexTag::RPMTAG_OBSOLETENAME, IndexTag::RPMTAG_OBSOLETEFLAGS, IndexTag::RPMTAG_OBSOLETEVERSION);
const SUGGESTS: DependencyTags =
    (IndexTag::RPMTAG_SUGGESTNAME, IndexTag::RPMTAG_SUGGESTFLAGS, IndexTag::RPMTAG_SUGGESTVERSION);
const ENHANCES: DependencyTags =
    (IndexTag::RPMTAG_ENHANCENAME, IndexTag::RPMTAG_ENHANCEFLAGS, IndexTag::RPMTAG_ENHANCEVERSION);
const RECOMMENDS: DependencyTags =
    (IndexTag::RPMTAG_RECOMMENDNAME, IndexTag::RPMTAG_RECOMMENDFLAGS, IndexTag::RPMTAG_RECOMMENDVERSION);
const SUPPLEMENTS: DependencyTags =
    (IndexTag::RPMTAG_SUPPLEMENTNAME, IndexTag::RPMTAG_SUPPLEMENTFLAGS, IndexTag::RPMTAG_SUPPLEMENTVERSION);

/// Where the three arrays have different lengths, the shortest counts.
fn dependencies<'h>(
    header: Header<'h>,
    (names, flags, versions): DependencyTags,
    budget: &mut Budget,
) -> Result<Vec<Dependency<'h>>, BadPackage> {
    let names = header.strings(names as u32);
    let flags = header.numbers(flags as u32);
    let versions = header.strings(versions as u32);
    let count = names.len().min(flags.len()).min(versions.len());
    let mut list = budget.list(count)?;
    list.extend(names.zip(versions).take(count).enumerate().map(|(at, (name, evr))| Dependency {
        name: decode(name),
        flags: flags.get(at).unwrap_or(0) as u32,
        evr: decode(evr),
    }));
    Ok(list)
}

/// The files, or none at all when the arrays do not fit together.
fn files<'h>(header: Header<'h>, budget: &mut Budget) -> Result<Vec<PackageFile<'h>>, BadPackage> {
    let flags = header.numbers(IndexTag::RPMTAG_FILEFLAGS as u32);
    let modes = header.numbers(IndexTag::RPMTAG_FILEMODES as u32);
    let known = flags.len().min(modes.len());
    let mut digests = header.strings(IndexTag::RPMTAG_FILEDIGESTS as u32);
    let mut file = |at: usize, directory: Text<'h>, base_name: &'h [u8]| PackageFile {
        directory,
        base_name: decode(base_name),
        kind: kind(modes.get(at).unwrap_or(0), flags.get(at).unwrap_or(0)),
        digest: digests.next().map_or(Cow::Borrowed(""), decode),
    };

    let old_names = header.strings(IndexTag::RPMTAG_OLDFILENAMES as u32);
    if old_names.len() > 0 {
        let count = old_names.len().min(known);
        let mut list = budget.list(count)?;
        for (at, name) in old_names.take(count).enumerate() {
            budget.path(name.len())?;
            list.push(file(at, Cow::Borrowed(""), name));
        }
        return Ok(list);
    }

    let base_names = header.strings(IndexTag::RPMTAG_BASENAMES as u32);
    let places = header.numbers(IndexTag::RPMTAG_DIRINDEXES as u32);
    let directories = directories(header.strings(IndexTag::RPMTAG_DIRNAMES as u32), budget)?;
    if places.len() < base_names.len() {
        return Ok(Vec::new());
    }
    let count = base_names.len().min(known);
    let mut list = budget.list(count)?;
    for (at, base_name) in base_names.enumerate() {
        let place = places.get(at).and_then(|place| usize::try_from(place).ok());
        let Some(directory) = place.and_then(|place| directories.get(place)) else {
            return Ok(Vec::new());
        };
        if at < count {
            budget.path(directory.len() + base_name.len())?;
            list.push(file(at, directory.clone(), base_name));
        }
    }
    Ok(list)
}

fn directories<'h>(names: Strings<'h>, budget: &mut Budget) -> Result<Vec<Text<'h>>, BadPackage> {
    let mut list = budget.list(names.len())?;
    list.extend(names.map(decode));
    Ok(list)
}

/// A directory is one even when nobody packed it.
fn kind(mode: u64, flags: u64) -> FileKind {
    if mode & MODE_TYPE == MODE_DIRECTORY {
        FileKind::Directory
    } else if flags & FILE_GHOST != 0 {
        FileKind::Ghost
    } else {
        FileKind::File
    }
}

/// Where the three arrays have different lengths, the shortest counts.
fn changelogs<'h>(header: Header<'h>, budget: &mut Budget) -> Result<Vec<ChangelogEntry<'h>>, BadPackage> {
    let dates = header.numbers(IndexTag::RPMTAG_CHANGELOGTIME as u32);
    let authors = header.strings(IndexTag::RPMTAG_CHANGELOGNAME as u32);
    let texts = header.strings(IndexTag::RPMTAG_CHANGELOGTEXT as u32);
    let count = dates.len().min(authors.len()).min(texts.len());
    let mut list = budget.list(count)?;
    list.extend(authors.zip(texts).take(count).enumerate().map(|(at, (author, text))| ChangelogEntry {
        author: decode(author),
        date: dates.get(at).unwrap_or(0),
        text: decode(text),
    }));
    Ok(list)
}

/// Packages from before rpm 4 do not say that they provide themselves; rpm adds it as it reads them.
fn provide_itself(header: Header<'_>, package: &mut Package<'_>) {
    let names = header.strings(IndexTag::RPMTAG_PROVIDENAME as u32);
    if !header.has(IndexTag::RPMTAG_PROVIDEVERSION as u32) {
        package.provides = Vec::new();
        let _ = names;
    }
    let mut evr = String::new();
    if let Some(epoch) = package.epoch {
        evr.push_str(&format!("{epoch}:"));
    }
    evr.push_str(&package.version);
    evr.push('-');
    evr.push_str(&package.release);
    let known = package.provides.iter().any(|provide| {
        provide.name == package.name && provide.evr == evr && provide.flags & SENSE_EQUAL != 0
    });
    if !known {
        let name = package.name.clone();
        package.provides.push(Dependency { name, flags: SENSE_EQUAL, evr: Cow::Owned(evr) });
    }
}
