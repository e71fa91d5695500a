//! `createrepod verify` and the daemon's own verification find what the disk has lost, and mend what can be mended.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::world::daemon::{self, Outcome};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, http};

/// Changes one byte and puts the times back: what a disk does, not what a program does.
fn rot(path: &Path, at: u64) {
    let before = fs::metadata(path).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0xff], at).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(before.modified().unwrap())).unwrap();
    drop(file);
    assert_eq!(fs::metadata(path).unwrap().mtime_nsec(), before.mtime_nsec());
}

/// Damages everything that metadata is made of.
fn rot_pieces(tree: &Tree) {
    let state = tree.beside("state/repositories/rpm");
    let pieces = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
    let pieces = pieces.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("pieces."));
    for path in pieces {
        for at in (0..fs::metadata(&path).unwrap().len()).step_by(100) {
            rot(&path, at);
        }
    }
}

fn configured(tree: &Tree, more: &str) -> Daemon {
    let control = format!("control = \"{}\"", tree.beside("control.sock").display());
    let daemon = Daemon::configured(tree, &control, more);
    for number in 0..5 {
        tree.add(&Rpm::new(format!("p{number}")).payload(5000));
    }
    daemon.until("all", |metadata| metadata.packages.len() == 5);
    daemon
}

fn verify(tree: &Tree, more: &[&str]) -> Outcome {
    run_with(tree, &[&["verify", "rpm"], more].concat())
}

fn run_with(tree: &Tree, words: &[&str]) -> Outcome {
    let config = tree.beside("createrepod.toml");
    daemon::run([words, &["--config", config.to_str().unwrap()]].concat())
}

/// The same by the command itself, whoever has the repository.
fn verify_here(tree: &Tree, more: &[&str]) -> Outcome {
    let config = fs::read_to_string(tree.beside("createrepod.toml")).unwrap();
    let deaf = config.lines().map(|line| if line.starts_with("control = ") { "control = ''" } else { line });
    let config = tree.write_beside("deaf.toml", deaf.collect::<Vec<_>>().join("\n").as_bytes());
    daemon::run([&["verify", "rpm", "--config", config.to_str().unwrap()], more].concat())
}

/// What is said, without the time it took.
fn said(outcome: &Outcome) -> (Option<i32>, String, &str) {
    let lines = outcome.stdout.lines();
    let lines = lines.map(|line| line.rsplit_once(" findings, ").map_or(line, |(said, _)| said));
    (outcome.status.code(), lines.collect::<Vec<_>>().join("\n"), &outcome.stderr)
}

fn sound(outcome: &Outcome) {
    assert!(outcome.status.success() && outcome.stdout.contains(" 0 findings"), "{outcome:?}");
}

#[test]
fn what_rots_is_missing_or_foreign_is_found_beside_the_daemon_and_mended_without_it() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"never\"");
    sound(&verify(&tree, &[]));
    daemon.stop();
    sound(&verify(&tree, &[]));

    rot(&tree.path("p1-1.0-1.noarch.rpm"), 4000);
    tree.remove("p2-1.0-1.noarch.rpm");
    tree.write("repodata/left-behind.xml", b"<x/>");
    let metadata = Metadata::from_tree(tree.root()).unwrap();
    let (filelists, other) = (&metadata.records["filelists"].href, &metadata.records["other"].href);
    rot(&tree.path(filelists), 20);
    fs::remove_file(tree.path(other)).unwrap();
    let outcome = verify(&tree, &[]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    for expected in [
        "rotten: p1-1.0-1.noarch.rpm: ".to_owned(),
        "missing: p2-1.0-1.noarch.rpm: ".to_owned(),
        "foreign: repodata/left-behind.xml: ".to_owned(),
        format!("metadata: {filelists}: "),
        format!("metadata: {other}: it is missing"),
    ] {
        assert!(outcome.stdout.lines().any(|line| line.starts_with(&expected)), "{expected}: {outcome:?}");
    }
    assert!(outcome.stdout.contains(" 5 findings"), "{outcome:?}");

    // What cannot be mended stays: a file that is not ours.
    let outcome = verify(&tree, &["--repair"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("5 findings before, 1 now"), "{outcome:?}");
    let metadata = Metadata::from_tree(tree.root()).unwrap();
    metadata.matches_tree(tree.root()).unwrap();
    assert_eq!(metadata.packages.len(), 3, "the rotten one says itself that it is damaged");
    fs::remove_file(tree.path("repodata/left-behind.xml")).unwrap();
    sound(&verify(&tree, &[]));
}

#[test]
fn damaged_pieces_are_found_before_they_are_published_and_made_again() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"never\"");
    let before = daemon.until("all", |metadata| metadata.packages.len() == 5);
    daemon.stop();
    rot_pieces(&tree);
    let outcome = verify(&tree, &[]);
    assert!(outcome.stdout.contains("pieces that metadata is made of are damaged"), "{outcome:?}");
    assert_eq!(outcome.status.code(), Some(1));
    let outcome = verify(&tree, &["--repair"]);
    sound(&outcome);
    let after = Metadata::from_tree(tree.root()).unwrap();
    assert_eq!(after.primary, before.primary);
    assert_eq!(after.filelists, before.filelists);
}

#[test]
fn the_daemon_that_has_the_repository_finds_and_mends_the_same() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"never\"");
    let before = daemon.until("all", |metadata| metadata.packages.len() == 5);
    sound(&verify(&tree, &[]));
    tree.write("repodata/left-behind.xml", b"<x/>");
    let (filelists, other) = (&before.records["filelists"].href, &before.records["other"].href);
    // What is removed beside the daemon is put back at once.
    fs::remove_file(tree.path(other)).unwrap();
    eventually(PATIENCE, "it is back", || tree.path(other).exists().then_some(()));
    rot(&tree.path(filelists), 20);
    rot(&tree.path(other), 20);
    rot_pieces(&tree);
    let outcome = verify(&tree, &[]);
    assert_eq!(said(&outcome), said(&verify_here(&tree, &[])));
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains(" 4 findings"), "{outcome:?}");
    let shown = daemon.status()["repositories"][0]["verified"]["findings"].clone();
    assert_eq!(shown.as_array().map(Vec::len), Some(4), "{shown}");
    let status = || run_with(&tree, &["status", "rpm"]).stdout;
    let foreign = "  foreign: repodata/left-behind.xml: it is not ours";
    assert!(
        status().contains(": 4 things are not as they were published") && status().contains(foreign),
        "{}",
        status()
    );
    let page = http::send(daemon.address(), "GET", "/-/status", &[("Accept", "text/html")], None).text();
    assert!(page.contains("foreign: repodata/left-behind.xml"), "{page}");
    let metrics = || http::send(daemon.address(), "GET", "/-/metrics", &[], None).text();
    assert!(metrics().contains("createrepod_verification_findings{repository=\"rpm\"} 4\n"), "{}", metrics());

    let outcome = verify(&tree, &["--repair"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("4 findings before, 1 now"), "{outcome:?}");
    let after = daemon.metadata();
    assert_eq!((after.primary, after.filelists), (before.primary, before.filelists));
    assert!(metrics().contains("createrepod_verification_findings{repository=\"rpm\"} 1\n"), "{}", metrics());
    // It goes on, and what it makes from now on is sound.
    tree.remove("repodata/left-behind.xml");
    tree.add(&Rpm::new("more"));
    daemon.until("one more", |metadata| metadata.packages.len() == 6);
    sound(&verify(&tree, &[]));
    // Strangers may not keep the disk busy.
    let answer = http::send(daemon.address(), "POST", "/-/api/v1/verify", &[], Some(b""));
    assert!(matches!(answer.status, 401 | 403), "{}", answer.status);
    tree.write("repodata/again.xml", b"<x/>");
    assert_eq!(verify(&tree, &[]).status.code(), Some(1));
    daemon.stop();
    // A stop and a start forget nothing.
    assert!(status().contains("foreign: repodata/again.xml"), "{}", status());
    let daemon = Daemon::serve_config(&tree.beside("createrepod.toml"), "/rpm/");
    assert_eq!(daemon.status()["repositories"][0]["verified"]["found"], 1);
    daemon.stop();
}

#[test]
fn what_cannot_be_asked_for_is_refused() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"never\"");
    tree.write("repodata/left-behind.xml", b"<x/>");
    // By the command itself, while the daemon has it.
    let outcome = verify_here(&tree, &["--repair"]);
    assert_eq!(outcome.status.code(), Some(4), "{outcome:?}");
    assert!(outcome.stderr.contains(&daemon.pid().to_string()), "{outcome:?}");
    let outcome =
        daemon::run(["verify", "nobody", "--config", tree.beside("createrepod.toml").to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(3), "{outcome:?}");
    daemon.stop();
    let again =
        daemon::run(["verify", "nobody", "--config", tree.beside("createrepod.toml").to_str().unwrap()]);
    assert_eq!(said(&outcome), said(&again));
}

#[test]
fn verification_finds_nothing_while_packages_come_and_go() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"never\"\noverwrite = \"allow\"");
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for number in 0..40 {
                let rpm = Rpm::new("busy").salt(number).payload(20_000);
                assert!(daemon.put_and_wait("busy.rpm", &rpm.build()).status < 300);
            }
        });
        let mut times = 0;
        while !busy.is_finished() || times == 0 {
            sound(&verify(&tree, &[]));
            times += 1;
        }
    });
    daemon.stop();
}

#[test]
fn the_daemon_verifies_by_itself_and_says_what_it_found() {
    let tree = Tree::new();
    let daemon = configured(&tree, "verify_every = \"1s\"");
    let verified = |daemon: &Daemon| daemon.status()["repositories"][0]["verified"].clone();
    eventually(PATIENCE, "a verification without findings", || {
        let verified = verified(&daemon);
        (verified["packages"] == 5 && verified["findings"].as_array().is_some_and(Vec::is_empty))
            .then_some(())
    });
    rot(&tree.path("p1-1.0-1.noarch.rpm"), 4000);
    eventually(PATIENCE, "a verification that finds it, or the daemon itself", || {
        let found = verified(&daemon)["findings"].to_string().contains("rotten");
        let rejected = daemon.status()["repositories"][0]["rejected"].to_string().contains("p1-1.0");
        (found || rejected).then_some(())
    });
    daemon.stop();
}
