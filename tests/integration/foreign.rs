//! Metadata that others have made: read, or refused with a reason.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use createrepod::repodata::codec::{Codec, Limits};
use createrepod::repodata::read::Packages;
use createrepod::repodata::{FormatError, Repomd};

use crate::world::{shared, skipped};

fn repositories(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            repositories(&path, found);
        } else if path.file_name().is_some_and(|name| name == "repomd.xml") {
            found.push(directory.to_owned());
        }
    }
}

/// The number of packages, how many of them have a file list and a changelog, or what is wrong.
fn read(repodata: &Path) -> Result<(usize, usize, usize), String> {
    let say = |what: &str, error: &dyn std::error::Error| format!("{what}: {error}");
    let bytes = fs::read(repodata.join("repomd.xml")).map_err(|e| e.to_string())?;
    let repomd = Repomd::read(&bytes[..]).map_err(|e| e.to_string())?;
    let open = |kind: &str| {
        let record = repomd.record(kind).ok_or_else(|| format!("repomd.xml names no {kind}"))?;
        let name = record.href.rsplit('/').next().unwrap();
        let file = fs::File::open(repodata.join(name)).map_err(|e| say(name, &e))?;
        Codec::open(file, Limits { open_size: record.open_size }).map_err(|e| say(name, &e))
    };
    let malformed = |e: FormatError| e.to_string();
    let mut packages =
        Packages::new(open("primary")?, open("filelists")?, open("other")?).map_err(malformed)?;
    let (mut count, mut with_files, mut with_changes) = (0, 0, 0);
    while let Some(package) = packages.next_package().map_err(malformed)? {
        count += 1;
        with_files += usize::from(package.filelists.is_some());
        with_changes += usize::from(package.other.is_some());
    }
    Ok((count, with_files, with_changes))
}

#[test]
fn all_real_repodata_is_read_or_refused_with_a_reason() {
    let Some(shared) = shared() else {
        skipped("the shared corpus of repodata is not here (CREATEREPOD_SHARED)");
        return;
    };
    let mut all = Vec::new();
    repositories(&shared.join("corpus/repodata"), &mut all);
    assert!(all.len() > 30, "only {} repositories", all.len());
    let mut refused = BTreeMap::new();
    let mut packages = 0;
    for repodata in &all {
        match read(repodata) {
            Ok((count, ..)) => packages += count,
            Err(why) => {
                assert!(why.len() > 15 && !why.contains('\n'), "{}: {why:?}", repodata.display());
                refused.insert(repodata.display().to_string(), why);
            }
        }
    }
    eprintln!("{} repositories, {packages} packages, {} refused: {refused:#?}", all.len(), refused.len());
    assert!(packages > 400, "{packages}");
    assert!(refused.len() * 3 < all.len(), "{refused:#?}");
}

/// createrepo_c's own test data that it calls broken.
#[test]
fn broken_files_are_refused_and_those_with_unknown_elements_are_not() {
    let Some(shared) = shared() else {
        skipped("the shared corpus of repodata is not here (CREATEREPOD_SHARED)");
        return;
    };
    let place = shared
        .join("corpus/repodata/rpm-software-management+createrepo_c/tests/testdata/modified_repo_files");
    let mut outcomes = BTreeMap::new();
    for entry in fs::read_dir(place).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let text = fs::read(entry.path()).unwrap();
        let outcome = if name.contains("primary") {
            Packages::new(&text[..], &b"<filelists/>"[..], &b"<otherdata/>"[..]).and_then(|mut all| {
                let mut count = 0;
                while all.next_package()?.is_some() {
                    count += 1;
                }
                Ok(count)
            })
        } else {
            continue;
        };
        outcomes.insert(name, outcome.map_err(|e| e.to_string()));
    }
    eprintln!("{outcomes:#?}");
    assert!(outcomes.len() > 2);
    for outcome in outcomes.values() {
        if let Err(why) = outcome {
            assert!(why.contains("line "), "{why}");
        }
    }
}

#[test]
fn zchunk_files_read_as_the_plain_ones_beside_them() {
    let Some(shared) = shared() else {
        skipped("the shared corpus of repodata is not here (CREATEREPOD_SHARED)");
        return;
    };
    let mut all = Vec::new();
    repositories(&shared.join("corpus/repodata"), &mut all);
    let mut compared = 0;
    for repodata in all {
        let Ok(repomd) = Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]) else { continue };
        let text = |kind: &str| {
            let record = repomd.record(kind)?;
            let bytes =
                fs::read(repodata.join(record.href.rsplit('/').next()?)).ok().filter(|b| !b.is_empty())?;
            let mut text = String::new();
            // One of them states a wrong open-size; this is about the text.
            let mut file = Codec::open(&bytes[..], Limits { open_size: None }).unwrap();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            Some(text)
        };
        for kind in ["primary", "filelists", "other"] {
            if let (Some(plain), Some(zchunk)) = (text(kind), text(&format!("{kind}_zck"))) {
                assert_eq!(plain, zchunk, "{kind} of {}", repodata.display());
                compared += 1;
            }
        }
    }
    assert!(compared >= 3, "{compared} compared");
}
