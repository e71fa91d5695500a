//! Whether a package is damaged is judged as `rpm -K` judges it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use createrepod::package::{ChecksumType, Intake, Verify};

use crate::world::{clients, shared, skipped};

fn taken(file: &Path) -> Result<(), String> {
    let mut intake = Intake::new(ChecksumType::Sha256, Verify::Digest);
    let taken = intake.feed(&fs::read(file).unwrap()).and_then(|()| intake.finish());
    taken.map(drop).map_err(|bad| bad.to_string())
}

fn rpms_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            rpms_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rpm") {
            found.push(path);
        }
    }
}

#[test]
fn packages_are_found_damaged_where_rpm_finds_them_damaged() {
    let Some(rpm) = clients::find("rpm") else { return };
    let mut files = Vec::new();
    rpms_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpms"), &mut files);
    match shared() {
        Some(shared) => rpms_below(&shared.join("corpus/rpms"), &mut files),
        None => {
            skipped("the corpus of real packages is not here (CREATEREPOD_SHARED); the odd ones are tried");
        }
    }
    let mut counts = [0, 0];
    for file in files {
        let ours = taken(&file);
        let name = file.file_name().unwrap().to_str().unwrap();
        let arguments = ["--checksig", "--nosignature"];
        let quiet = Command::new(&rpm)
            .args(arguments)
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let theirs = match name {
            // rpm does not look at the length: this one says it has 8 GB.
            "odd-hdr-longsize-1.0-1.noarch.rpm" => false,
            // rpm wants a digest; here, one that is not there cannot be wrong.
            "odd-hdr-nosig-1.0-1.noarch.rpm" => true,
            _ => quiet.unwrap().success(),
        };
        assert_eq!(ours.is_ok(), theirs, "{}: {ours:?}", file.display());
        counts[usize::from(theirs)] += 1;
    }
    assert!(counts[0] > 60 && counts[1] > 100, "too few were tried: {counts:?}");
}
