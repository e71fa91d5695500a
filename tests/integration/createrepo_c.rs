//! The metadata of single packages against createrepo_c 1.2, byte for byte: odd packages, real ones,
//! random ones. Where the two differ on purpose, `differences` shows it and docs/differences.md says why.

mod differences;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use createrepod::package::{BadPackage, ChecksumType, Intake, Location, Verify};
use createrepod::repodata::{Entry, Fragments, RenderOptions};

use crate::world::{clients, shared, skipped};

/// What one of the two makes of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// primary, filelists, other.
    Listed(Box<[Vec<u8>; 3]>),
    /// Left out; the reason, where we know it.
    Refused(String),
}

/// createrepo_c's outcome and ours for every `*.rpm` below `directory`, by location; `None` without createrepo_c.
fn compare(directory: &Path) -> Option<BTreeMap<String, (Outcome, Outcome)>> {
    let mut theirs = run_createrepo_c(&clients::createrepo_c("createrepo_c")?, directory);
    let outcomes = rpm_files(directory).into_iter().map(|location| {
        let ours = ours(directory, &location, Verify::Structure);
        let theirs = theirs.remove(&location);
        let theirs =
            theirs.map_or(Outcome::Refused(String::new()), |listed| Outcome::Listed(Box::new(listed)));
        (location, (theirs, ours))
    });
    Some(outcomes.collect())
}

/// Where two outcomes differ first; `None` when they are equal.
fn difference(theirs: &Outcome, ours: &Outcome) -> Option<String> {
    match (theirs, ours) {
        (Outcome::Refused(_), Outcome::Refused(_)) => None,
        (Outcome::Refused(_), Outcome::Listed(_)) => Some("only createrepod lists it".into()),
        (Outcome::Listed(_), Outcome::Refused(why)) => Some(format!("only createrepo_c lists it; {why}")),
        (Outcome::Listed(theirs), Outcome::Listed(ours)) => {
            let file = (0..3).find(|&file| theirs[file] != ours[file])?;
            let [theirs, ours] =
                [theirs, ours].map(|texts| String::from_utf8_lossy(&texts[file]).into_owned());
            let line = theirs.lines().zip(ours.lines()).find(|(theirs, ours)| theirs != ours);
            let (theirs, ours) = line.unwrap_or(("more or less", "less or more"));
            Some(format!("createrepo_c writes {theirs:?}, createrepod {ours:?}"))
        }
    }
}

/// The locations below `directory` that differ must be exactly `on_purpose`, and `listed` packages
/// must have been compared, so that nothing passes because nothing was looked at.
fn differs_only_in(directory: &Path, on_purpose: &[&str], listed: usize) {
    let Some(outcomes) = compare(directory) else { return };
    let mut different = BTreeSet::new();
    for (location, (theirs, ours)) in &outcomes {
        if let Some(how) = difference(theirs, ours) {
            assert!(on_purpose.contains(&location.as_str()), "{location}: {how}");
            different.insert(location.as_str());
        }
    }
    assert_eq!(
        different,
        on_purpose.iter().copied().collect(),
        "these are told as different in docs/differences.md"
    );
    let compared = outcomes.values().filter(|(_, ours)| matches!(ours, Outcome::Listed(_))).count();
    assert!(compared >= listed, "only {compared} packages were compared");
}

/// Packages whose text holds characters that XML forbids: createrepo_c loses them, or its XML is malformed.
const FORBIDDEN_CHARACTERS: [&str; 14] = [
    "built/odd-xmlchars-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-changelog-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-desc-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-file-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-license-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-provides-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-summary-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-url-1.0-1.noarch.rpm",
    "handmade/odd-hdr-control-version-1.0-1.noarch.rpm",
    "handmade/odd-hdr-depnewline-1.0-1.noarch.rpm",
    "handmade/odd-hdr-newline-file-1.0-1.noarch.rpm",
    "handmade/odd-hdr-nonchar-fffe-1.0-1.noarch.rpm",
    "handmade/odd-hdr-overlong-1.0-1.noarch.rpm",
    "handmade/odd-hdr-surrogate-1.0-1.noarch.rpm",
];

/// Packages whose text is Latin-1 with bytes that createrepo_c drops.
const LATIN_1: [&str; 2] = ["built/odd-cp1250-mixed-1.0-1.noarch.rpm", "built/odd-latin1-1.0-1.noarch.rpm"];

#[test]
fn odd_packages_are_read_as_createrepo_c_reads_them() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpms");
    differs_only_in(&fixtures, &[&FORBIDDEN_CHARACTERS[..], &LATIN_1].concat(), 120);
}

#[test]
fn the_corpus_of_real_packages_is_read_as_createrepo_c_reads_it() {
    let Some(shared) = shared() else {
        skipped("the corpus of real packages is not here (CREATEREPOD_SHARED)");
        return;
    };
    let on_purpose = [
        "pulp+pulp-fixtures/rpm-with-non-utf-8-1-1.fc25.noarch.rpm",
        "rpm-software-management+createrepo_c/balicek-iso88592-1.1.1-1.x86_64.rpm",
        "rpm-software-management+rpmlint/SpecCheck4-0.0.1-0.x86_64.rpm",
    ];
    differs_only_in(&shared.join("corpus/rpms"), &on_purpose, 560);
}

/// What the large ones of the shared odd packages add: 20,000 files, a description of 900 KB.
#[test]
fn large_odd_packages_are_read_as_createrepo_c_reads_them() {
    let Some(shared) = shared() else {
        skipped("the large odd packages are not here (CREATEREPOD_SHARED)");
        return;
    };
    let on_purpose = [FORBIDDEN_CHARACTERS[0], LATIN_1[0], LATIN_1[1]].map(|path| &path["built/".len()..]);
    differs_only_in(&shared.join("corpus/odd/built"), &on_purpose, 40);
}

fn ours(directory: &Path, location: &str, verify: Verify) -> Outcome {
    match render(directory, location, verify) {
        Ok(fragments) => Outcome::Listed(Box::new([fragments.primary, fragments.filelists, fragments.other])),
        Err(bad) => Outcome::Refused(bad.to_string()),
    }
}

fn render(directory: &Path, location: &str, verify: Verify) -> Result<Fragments, BadPackage> {
    let path = directory.join(location);
    let mut intake = Intake::new(ChecksumType::Sha256, verify);
    intake.feed(&fs::read(&path).unwrap())?;
    let taken = intake.finish()?;
    let entry = Entry {
        pkgid: &taken.pkgid,
        location: &Location::parse(location).unwrap(),
        file_time: path.metadata().unwrap().mtime(),
        size: taken.size,
        header_range: taken.header_range,
    };
    Ok(Fragments::render(
        &taken.package()?,
        &entry,
        &RenderOptions { changelog_limit: Some(10), filelists_ext: false },
    ))
}

/// createrepo_c's primary, filelists and other of every package below `directory`, by location.
fn run_createrepo_c(createrepo_c: &Path, directory: &Path) -> BTreeMap<String, [Vec<u8>; 3]> {
    let out = tempfile::tempdir().unwrap();
    // It ends with status 2 when it left a package out.
    let run = Command::new(createrepo_c)
        .args(["--quiet", "--general-compress-type=gz", "--changelog-limit=10", "--outputdir"])
        .arg(out.path())
        .arg(directory)
        .output()
        .unwrap();
    assert!(
        matches!(run.status.code(), Some(0 | 2)),
        "{:?}: {}",
        run.status,
        String::from_utf8_lossy(&run.stderr)
    );
    let [primary, filelists, other] =
        ["primary", "filelists", "other"].map(|name| split_packages(&read_gzip(out.path(), name)));
    assert!(
        primary.len() == filelists.len() && primary.len() == other.len(),
        "the same packages in each file"
    );
    let same_order = primary.into_iter().zip(filelists).zip(other);
    same_order
        .map(|((primary, filelists), other)| (location_of(&primary), [primary, filelists, other]))
        .collect()
}

fn read_gzip(out: &Path, name: &str) -> Vec<u8> {
    let ending = format!("-{name}.xml.gz");
    let files = fs::read_dir(out.join("repodata")).unwrap().map(|entry| entry.unwrap().path());
    let file: PathBuf = files.into_iter().find(|path| path.to_str().unwrap().ends_with(&ending)).unwrap();
    let mut text = Vec::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(file).unwrap()).read_to_end(&mut text).unwrap();
    text
}

/// Cuts a metadata file into its packages by bytes, since createrepo_c's XML is not always well formed.
fn split_packages(text: &[u8]) -> Vec<Vec<u8>> {
    let close = b"</package>\n";
    let starts: Vec<usize> = memchr::memmem::find_iter(text, b"\n<package ").map(|at| at + 1).collect();
    starts
        .into_iter()
        .map(|start| {
            let len = memchr::memmem::find(&text[start..], close).unwrap() + close.len();
            text[start..start + len].to_vec()
        })
        .collect()
}

fn location_of(primary: &[u8]) -> String {
    let before = b"<location href=\"";
    let start = memchr::memmem::find(primary, before).unwrap() + before.len();
    let len = memchr::memchr(b'"', &primary[start..]).unwrap();
    let text = std::str::from_utf8(&primary[start..start + len]).unwrap();
    quick_xml::escape::unescape(text).unwrap().into_owned()
}

fn rpm_files(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            let inside = path.strip_prefix(directory).unwrap().to_str().unwrap();
            if path.is_dir() {
                open.push(path);
            } else if inside.ends_with(".rpm") {
                found.insert(inside.to_owned());
            }
        }
    }
    found
}
