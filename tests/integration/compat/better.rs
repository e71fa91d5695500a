//! What is better than with createrepo_c, and hurts nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use createrepod::repodata::Repomd;
use createrepod::repodata::codec::{Codec, Limits};
use tempfile::TempDir;

use crate::world::{PATIENCE, clients, eventually, shared, skipped};

fn ours(name: &str, world: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
    command.arg(name).args(arguments).current_dir(world).output().unwrap()
}

#[test]
fn nothing_is_missing_while_it_switches() {
    let world = super::world();
    assert_eq!(ours("createrepo_c", world.path(), &["-q", "w"]).status.code(), Some(0));
    let stop = AtomicBool::new(false);
    let looked = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let repomd = world.path().join("w/repodata/repomd.xml");
            let mut looked = 0;
            while !stop.load(Ordering::Relaxed) {
                let bytes = fs::read(&repomd).expect("repomd.xml is always there");
                Repomd::read(&bytes[..]).expect("and whole");
                looked += 1;
            }
            looked
        });
        for seconds in 1..30 {
            super::set_time(&world.path().join("w/a/x.rpm"), seconds);
            let output = ours("createrepo_c", world.path(), &["-q", "--update", "w"]);
            assert_eq!(output.status.code(), Some(0));
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(looked > 100, "{looked}");
}

#[test]
fn a_run_that_was_killed_stands_in_nobodys_way() {
    let world = super::world();
    // Whoever opens this waits for ever.
    let slow = world.path().join("w/slow.rpm");
    clients::output(Command::new("mkfifo").arg(&slow));
    let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
    command.args(["createrepo_c", "-q", "w"]).current_dir(world.path()).stdout(Stdio::null());
    let mut first = command.spawn().unwrap();
    let lock = world.path().join("w/.repodata");
    eventually(PATIENCE, "the first run begins", || lock.exists().then_some(()));
    let second = ours("createrepo_c", world.path(), &["-q", "w"]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("w/.repodata") && said.contains("--ignore-lock"), "{said}");

    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lock.exists(), "it could not clear up");
    fs::remove_file(slow).unwrap();
    let third = ours("createrepo_c", world.path(), &["-q", "w"]);
    assert_eq!(third.status.code(), Some(0), "{}", String::from_utf8_lossy(&third.stderr));
    assert!(!lock.exists());
}

#[test]
fn what_is_wrong_is_named_with_its_file_and_reason_and_progress_is_told() {
    let world = super::world();
    fs::write(world.path().join("w/b/bad.rpm"), "no package").unwrap();
    let output = ours("createrepo_c", world.path(), &["-v", "w"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = said.lines().find(|line| line.contains("w/b/bad.rpm")).unwrap_or_else(|| panic!("{said}"));
    let reason = line.split_once("bad.rpm: ").unwrap().1;
    assert!(reason.len() > 10, "{line}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.lines().any(|line| line.starts_with("Read ") && line.contains(" of ")), "{told}");
    let quiet = ours("createrepo_c", world.path(), &["-q", "w"]);
    assert!(quiet.stdout.is_empty());
}

/// createrepo_c writes filelists-ext without digests for what it takes from old metadata.
#[test]
fn digests_of_files_are_taken_from_old_metadata_or_read_again() {
    let world = super::world();
    let text = || {
        let mut facts = BTreeMap::new();
        super::describe(&world.path().join("w/repodata"), "w", &mut facts);
        facts["w: filelists-ext text"].clone()
    };
    let read = |arguments: &[&str]| {
        let output = ours(
            "createrepo_c",
            world.path(),
            &[&["-q", "--read-pkgs-list", "read"], arguments, &["w"]].concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(world.path().join("read")).unwrap().lines().count()
    };
    assert_eq!(read(&["--filelists-ext"]), 44);
    let full = text();
    assert!(full.contains(" hash=\""), "{full}");
    // Its time is not in there.
    super::set_time(&world.path().join("w/odd-weakdeps-1.0-1.noarch.rpm"), 5);
    assert_eq!(read(&["--update", "--filelists-ext"]), 1);
    assert_eq!(text(), full);
    assert_eq!(read(&["--update"]), 0);
    assert_eq!(read(&["--update", "--filelists-ext"]), 44, "nothing knows the digests any more");
    assert_eq!(text(), full);
}

#[test]
fn delta_packages_are_refused_with_what_to_do() {
    let world = TempDir::new().unwrap();
    for arguments in [
        &["--deltas"][..],
        &["--oldpackagedirs", "."],
        &["--num-deltas", "2"],
        &["--max-delta-rpm-size", "9"],
    ] {
        let output = ours("createrepo_c", world.path(), &[arguments, &["."]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("delta RPMs are not supported") && said.contains("leave out --deltas"),
            "{said}"
        );
    }
}

/// The number of packages that the primary of a repository has, or `None` where there is no repository.
fn packages(repository: &Path) -> Option<usize> {
    let repodata = repository.join("repodata");
    let repomd = Repomd::read(&fs::read(repodata.join("repomd.xml")).ok()?[..]).ok()?;
    let name = repomd.record("primary")?.href.rsplit('/').next()?.to_owned();
    let mut text = String::new();
    let mut file = Codec::open(fs::File::open(repodata.join(name)).ok()?, Limits { open_size: None }).ok()?;
    std::io::Read::read_to_string(&mut file, &mut text).ok()?;
    Some(text.matches("<package ").count())
}

fn repositories(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("repodata/repomd.xml").is_file() {
            found.push(path.clone());
        }
        if path.is_dir() && !path.is_symlink() {
            repositories(&path, found);
        }
    }
}

/// Real repodata: what createrepo_c merges, ours merges, too; what it writes of that, createrepo_c reads back.
#[test]
fn all_real_repodata_is_merged_that_createrepo_c_merges() {
    let Some(shared) = shared() else {
        skipped("the shared corpus of repodata is not here (CREATEREPOD_SHARED)");
        return;
    };
    let Some(theirs) = clients::createrepo_c("mergerepo_c") else { return };
    let mut all = Vec::new();
    repositories(&shared.join("corpus/repodata"), &mut all);
    assert!(all.len() > 30, "only {} repositories", all.len());
    let (mut merged, mut wrong, mut refused) = (0, Vec::new(), BTreeMap::new());
    for repository in &all {
        let world = TempDir::new().unwrap();
        let name = repository.to_str().unwrap();
        let arguments = |output| ["-r", name, "-o", output, "--all", "--omit-baseurl"];
        let expected =
            Command::new(&theirs).args(arguments("theirs")).current_dir(world.path()).output().unwrap();
        let found = ours("mergerepo_c", world.path(), &arguments("ours"));
        let expected = expected.status.success().then(|| packages(&world.path().join("theirs"))).flatten();
        let said = String::from_utf8_lossy(&found.stderr).trim().to_owned();
        if !found.status.success() {
            assert!(said.len() > 15 && found.status.code() == Some(1), "{name}: {said}");
            assert!(!world.path().join("ours/repodata").exists(), "{name}");
            if expected.is_some() {
                wrong.push(format!("{name}: only createrepo_c merges it: {said}"));
            }
            refused.insert(name.to_owned(), said);
            continue;
        }
        let ours = packages(&world.path().join("ours"));
        if expected.is_some() && ours != expected {
            wrong.push(format!("{name}: createrepo_c has {expected:?} packages, ours {ours:?}"));
        }
        let mut back = Command::new(&theirs);
        back.args(["-r", "ours", "-o", "back", "--all"]).current_dir(world.path());
        let back = back.output().unwrap();
        if expected.is_some() && packages(&world.path().join("back")) != ours {
            wrong.push(format!(
                "{name}: createrepo_c does not read it back: {}",
                String::from_utf8_lossy(&back.stderr)
            ));
        }
        merged += 1;
    }
    eprintln!("{merged} merged, {} refused: {refused:#?}", refused.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(merged > 25, "{merged} of {}", all.len());
}
