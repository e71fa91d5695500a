//! From a header to a [`Package`]: which tag becomes which field.

use std::borrow::Cow;

use rpm::{IndexSignatureTag, IndexTag};

use super::cost::Budget;
use super::dependencies::{self, Relations};
use super::digests::digest_algorithm;
use super::header::{Header, Strings};
use super::text::decode;
use super::{BadPackage, ChangelogEntry, ChecksumType, FileKind, Package, PackageFile, Text};

const FILE_GHOST: u64 = 1 << 6;
const MODE_TYPE: u64 = 0o170_000;
const MODE_DIRECTORY: u64 = 0o040_000;

/// Reads a package out of its two headers, within the `budget`.
pub fn package<'h>(
    main: Header<'h>,
    signature: Header<'h>,
    budget: &mut Budget,
) -> Result<Package<'h>, BadPackage> {
    let text = |tag: IndexTag| main.string(tag as u32).map_or(Cow::Borrowed(""), decode);
    let number = |tag: IndexTag| main.number(tag as u32);

    let is_source = is_source(main);
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
        source_rpm: source_rpm(main, is_source),
        build_time: main.numbers(IndexTag::RPMTAG_BUILDTIME as u32).get(0).unwrap_or(0),
        installed_size: main
            .numbers(IndexTag::RPMTAG_LONGSIZE as u32)
            .get(0)
            .or_else(|| main.numbers(IndexTag::RPMTAG_SIZE as u32).get(0))
            .unwrap_or(0),
        archive_size: archive_size(main, signature),
        file_digest_type: match number(IndexTag::RPMTAG_FILEDIGESTALGO) {
            Some(algorithm) => digest_algorithm(algorithm),
            None => Some(ChecksumType::Md5),
        },
        ..Package::default()
    };
    let Package { summary, description, packager, url, license, vendor, group, build_host, .. } = &package;
    budget.texts([summary, description, packager, url, license, vendor, group, build_host])?;
    let Relations { provides, requires, conflicts, obsoletes, suggests, enhances, recommends, supplements } =
        dependencies::read(main, &package, budget)?;
    package = Package {
        provides,
        requires,
        conflicts,
        obsoletes,
        suggests,
        enhances,
        recommends,
        supplements,
        files: files(main, budget)?,
        changelogs: changelogs(main, budget)?,
        ..package
    };
    budget.check_rendering(&package)?;
    Ok(package)
}

/// Since rpm 4.8 a tag tells source packages. Before, nothing names what they were built from, and
/// their files lie in no directory.
fn is_source(main: Header<'_>) -> bool {
    let tag = IndexTag::RPMTAG_SOURCEPACKAGE as u32;
    if main.has(tag) {
        return main.number(tag).is_some_and(|flag| flag != 0);
    }
    if main.has(IndexTag::RPMTAG_SOURCERPM as u32) {
        return false;
    }
    let mut directories = main.array(IndexTag::RPMTAG_DIRNAMES as u32);
    if directories.len() > 0 {
        return directories.len() == 1 && directories.next() == Some(b"");
    }
    main.array(IndexTag::RPMTAG_OLDFILENAMES as u32).next().is_some_and(|name| !name.starts_with(b"/"))
}

/// `(none)`, as createrepo_c writes it, for packages that say neither what they were built from
/// nor whether they are sources.
fn source_rpm(main: Header<'_>, is_source: bool) -> Text<'_> {
    let tag = IndexTag::RPMTAG_SOURCERPM as u32;
    let silent = !is_source && !main.has(tag) && !main.has(IndexTag::RPMTAG_SOURCEPACKAGE as u32);
    main.string(tag).map_or(Cow::Borrowed(if silent { "(none)" } else { "" }), decode)
}

fn archive_size(main: Header<'_>, signature: Header<'_>) -> u64 {
    signature
        .number(IndexSignatureTag::RPMSIGTAG_LONGARCHIVESIZE as u32)
        .or_else(|| signature.number(IndexSignatureTag::RPMSIGTAG_PAYLOADSIZE as u32))
        .or_else(|| main.number(IndexTag::RPMTAG_ARCHIVESIZE as u32))
        .unwrap_or(0)
}

/// The files. Where flags, modes and digests have different lengths, the shortest counts; where
/// names and directories do not fit together, there are none at all.
fn files<'h>(header: Header<'h>, budget: &mut Budget) -> Result<Vec<PackageFile<'h>>, BadPackage> {
    let flags = header.numbers(IndexTag::RPMTAG_FILEFLAGS as u32);
    let modes = header.numbers(IndexTag::RPMTAG_FILEMODES as u32);
    let mut digests = header.strings(IndexTag::RPMTAG_FILEDIGESTS as u32);
    let known = flags.len().min(modes.len()).min(digests.len());
    let mut file = |at: usize, directory: Text<'h>, base_name: &'h [u8]| PackageFile {
        directory,
        base_name: decode(base_name),
        kind: kind(modes.get(at).unwrap_or(0), flags.get(at).unwrap_or(0)),
        digest: digests.next().map_or(Cow::Borrowed(""), decode),
    };

    if !header.has(IndexTag::RPMTAG_DIRNAMES as u32) {
        let old_names = header.strings(IndexTag::RPMTAG_OLDFILENAMES as u32);
        let count = old_names.len().min(known);
        let mut list = budget.list(count)?;
        for (at, name) in old_names.take(count).enumerate() {
            budget.path(name.len())?;
            list.push(file(at, Cow::Borrowed(""), name));
        }
        budget.texts(list.iter().map(|file| &file.base_name))?;
        return Ok(list);
    }

    let base_names = header.strings(IndexTag::RPMTAG_BASENAMES as u32);
    let places = header.numbers(IndexTag::RPMTAG_DIRINDEXES as u32);
    let directories = directories(header.strings(IndexTag::RPMTAG_DIRNAMES as u32), budget)?;
    if places.len() != base_names.len() {
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
    budget.texts(list.iter().map(|file| &file.base_name))?;
    Ok(list)
}

fn directories<'h>(names: Strings<'h>, budget: &mut Budget) -> Result<Vec<Text<'h>>, BadPackage> {
    let mut list = budget.list(names.len())?;
    list.extend(names.map(decode));
    budget.texts(&list)?;
    Ok(list)
}

/// A directory is one even when it is a ghost.
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
    budget.texts(list.iter().flat_map(|entry| [&entry.author, &entry.text]))?;
    Ok(list)
}
