//! A tree that createrepo_c has indexed is taken over without reading its packages first, and verified after.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::world::clients::{createrepo_c, find, output};
use crate::world::daemon::{configuration, run};
use crate::world::tree::{build_all, cp, set_mtime};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually};

/// Packages of every number of changelogs from none to more than are published.
fn stocked(count: u32) -> Tree {
    let tree = Tree::new();
    let rpms: Vec<_> = (0..count).map(|n| Rpm::new(format!("p{n}")).changelogs(n % 13)).collect();
    for (name, bytes) in build_all(&rpms) {
        let name = format!("Packages/{name}");
        tree.write(&name, &bytes);
        set_mtime(&tree.path(&name), 1_600_000_000 + bytes.len() as u64);
    }
    tree
}

fn index_by(program: &Path, tree: &Tree, options: &[&str]) {
    output(Command::new(program).arg("--quiet").args(options).arg(tree.root()));
}

/// Packages that were taken over and not read yet.
fn unverified(tree: &Tree) -> Option<u64> {
    // The catalog is the daemon's alone as long as it is busy.
    let path = tree.beside("copied.sqlite");
    for log in ["", "-wal"] {
        let from = tree.beside(format!("state/repositories/rpm/catalog.sqlite{log}"));
        let to = tree.beside(format!("copied.sqlite{log}"));
        if fs::copy(from, &to).is_err() {
            let _ = fs::remove_file(to);
        }
    }
    let db = Connection::open(path).ok()?;
    db.query_row("SELECT count(*) FROM package WHERE inode = 0", [], |row| row.get(0)).ok()
}

/// The metadata of one full run over the same tree, made elsewhere.
fn full_run(tree: &Tree) -> Metadata {
    let fresh = Tree::new();
    cp(["-a".as_ref(), tree.path("Packages").as_os_str(), fresh.root().as_os_str()]);
    let done = run(["index".as_ref(), fresh.root().as_os_str()]);
    assert!(done.status.success(), "{}", done.stderr);
    Metadata::from_tree(fresh.root()).unwrap()
}

/// Waits until everything is verified, and holds the result against a full run.
fn assert_ends_like_a_full_run(daemon: &Daemon, tree: &Tree, what: &str) {
    let full = full_run(tree);
    daemon.until_within(PATIENCE, what, |now| {
        ["primary", "filelists", "other"]
            .iter()
            .all(|kind| now.records[*kind].checksum == full.records[*kind].checksum)
    });
    eventually(PATIENCE, what, || (unverified(tree) == Some(0)).then_some(()));
    assert_eq!(daemon.metadata().packages.len(), full.packages.len());
}

#[test]
fn what_createrepo_c_has_indexed_is_taken_over_whatever_its_compression() {
    let Some(newest) = createrepo_c("createrepo_c") else { return };
    let mut makers: Vec<(_, Vec<&str>)> = vec![
        (newest.clone(), vec!["--general-compress-type", "gz"]),
        (newest.clone(), vec!["--general-compress-type", "xz", "--database"]),
        (newest.clone(), vec!["--general-compress-type", "bz2", "--simple-md-filenames"]),
        (newest, vec!["--general-compress-type", "zstd"]),
    ];
    makers.extend(find("createrepo_c").map(|old| (old, vec!["--zck"])));
    for (program, options) in makers {
        let tree = stocked(60);
        index_by(&program, &tree, &options);
        let theirs: Vec<String> = fs::read_dir(tree.path("repodata"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "repomd.xml")
            .collect();
        let daemon = Daemon::configured(&tree, "", "");
        let what = format!("{options:?}");
        daemon.until(&what, |metadata| {
            metadata.packages.len() == 60 && metadata.records["primary"].href.ends_with(".zst")
        });
        assert!(daemon.log().contains("rpm takes over 60 of 60 packages"), "{what}: {}", daemon.log());
        assert_ends_like_a_full_run(&daemon, &tree, &what);
        // The files of others stay.
        for name in theirs {
            assert!(tree.path("repodata").join(&name).exists(), "{what}: {name} is gone");
        }
        // A restart reads nothing again and publishes nothing.
        let repomd = daemon.metadata().repomd;
        daemon.stop();
        let daemon = Daemon::configured(&tree, "", "");
        daemon.until("the same", |metadata| metadata.repomd == repomd);
        assert!(!daemon.log().contains("takes over"), "{}", daemon.log());
        daemon.stop();
    }
}

#[test]
fn what_was_wrong_in_the_metadata_of_others_is_mended_in_idle_time() {
    let Some(program) = createrepo_c("createrepo_c") else { return };
    let tree = stocked(40);
    // An old entry of another package of the same size and time: nothing but reading it can tell.
    let [victim, other] = ["Packages/p20-1.0-1.noarch.rpm", "Packages/p21-1.0-1.noarch.rpm"];
    let bytes = Rpm::new("p20").changelogs(20 % 13).salt(1).build();
    let same_size = fs::read(tree.path(victim)).unwrap();
    assert_eq!(bytes.len(), same_size.len());
    index_by(&program, &tree, &["--general-compress-type", "gz"]);
    fs::write(tree.path(victim), bytes).unwrap();
    set_mtime(&tree.path(victim), 1_600_000_000 + same_size.len() as u64);
    // One that can no longer be read as a package, with its size and time as they were.
    let length = fs::metadata(tree.path(other)).unwrap().len();
    fs::write(tree.path(other), vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    set_mtime(&tree.path(other), 1_600_000_000 + length);

    let daemon = Daemon::configured(&tree, "", "");
    assert_ends_like_a_full_run(&daemon, &tree, "mended");
    assert!(daemon.log().contains("takes over 40 of 40"), "{}", daemon.log());
    assert!(!daemon.metadata().has(other), "it is rejected");
    daemon.stop();
}

#[test]
fn what_cannot_be_trusted_is_read_from_the_packages() {
    let Some(program) = createrepo_c("createrepo_c") else { return };
    type Change = fn(&Tree);
    let nothing: Change = |_| {};
    let cases: [(&str, &[&str], Change, &str); 7] = [
        ("another checksum", &["--checksum", "sha512"], nothing, "takes over 0 of 40"),
        // Those with two entries may have had more.
        ("short changelogs", &["--changelog-limit", "2"], nothing, "takes over 7 of 40"),
        ("all changelogs", &["--changelog-limit", "-1"], nothing, "takes over 34 of 40"),
        ("a base", &["--baseurl", "http://elsewhere/"], nothing, "takes over 0 of 40"),
        (
            "a package that is another now",
            &[],
            |tree| set_mtime(&tree.path("Packages/p3-1.0-1.noarch.rpm"), 1_500_000_000),
            "takes over 39 of 40",
        ),
        (
            "a damaged file",
            &["--simple-md-filenames", "--general-compress-type", "gz"],
            |tree| {
                let path = tree.path("repodata/filelists.xml.gz");
                let bytes = fs::read(&path).unwrap();
                fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            "takes nothing over from",
        ),
        (
            "a malformed repomd.xml",
            &[],
            |tree| fs::write(tree.path("repodata/repomd.xml"), "<html>").unwrap(),
            "takes nothing over from",
        ),
    ];
    for (what, options, change, told) in cases {
        let tree = stocked(40);
        index_by(&program, &tree, options);
        change(&tree);
        let before = fs::read_dir(tree.path("repodata")).unwrap().count();
        let daemon = Daemon::configured(&tree, "", "");
        assert_ends_like_a_full_run(&daemon, &tree, what);
        assert_eq!(daemon.log().matches(told).count(), 1, "{what}: {}", daemon.log());
        assert!(fs::read_dir(tree.path("repodata")).unwrap().count() > before, "{what}: nothing is deleted");
        daemon.stop();
    }
}

#[test]
fn whoever_does_not_want_it_reads_every_package() {
    let Some(program) = createrepo_c("createrepo_c") else { return };
    let tree = stocked(20);
    index_by(&program, &tree, &[]);
    let daemon = Daemon::configured(&tree, "", "adopt = false");
    assert_ends_like_a_full_run(&daemon, &tree, "adopt = false");
    assert!(!daemon.log().contains("takes over"));
    daemon.stop();
}

#[test]
fn a_kill_before_all_is_verified_is_made_up_for_by_the_next_start() {
    let Some(program) = createrepo_c("createrepo_c") else { return };
    let tree = stocked(400);
    index_by(&program, &tree, &["--general-compress-type", "gz"]);
    let daemon = Daemon::configured(&tree, "", "");
    eventually(PATIENCE, "the adoption", || unverified(&tree).filter(|count| *count > 0));
    daemon.kill();
    let left = unverified(&tree).unwrap();
    let daemon = Daemon::configured(&tree, "", "");
    assert_ends_like_a_full_run(&daemon, &tree, &format!("{left} were left to verify"));
    daemon.stop();
}

#[test]
fn what_was_indexed_a_moment_ago_is_never_published_without_its_packages() {
    let Some(program) = createrepo_c("createrepo_c") else { return };
    let tree = Tree::new();
    let names = ["a.rpm", "b.rpm", "deep/c.rpm"];
    for name in names {
        tree.write(name, &Rpm::new(name.trim_end_matches(".rpm").replace('/', "-")).build());
    }
    index_by(&program, &tree, &["--general-compress-type", "gz"]);
    // One that the metadata do not name is no reason to wait.
    tree.write("later.rpm", &Rpm::new("later").build());
    let config = configuration(&tree, "", "settle = \"3s\"");
    let daemon = Daemon::serve_config_unready(&config, "/rpm/");
    let put = daemon.request("PUT", "put.rpm", &[("Prefer", "wait=0")], Some(&Rpm::new("put").build()));
    assert!(matches!(put.status, 201 | 202), "{} {}", put.status, put.text());
    eventually(PATIENCE, "all of it is published", || {
        let metadata = daemon.metadata();
        let hrefs: Vec<String> = metadata.hrefs().into_iter().map(str::to_owned).collect();
        assert!(names.iter().all(|name| metadata.has(name)), "a gap: {hrefs:?}");
        (hrefs.len() == 5).then_some(())
    });
    let waits = "waits with its first publication";
    assert!(daemon.log().contains(waits), "{}", daemon.log());
    let repomd = daemon.metadata().repomd;
    daemon.stop();
    // It is for the first time only.
    let daemon = Daemon::serve_config(&config, "/rpm/");
    assert_eq!(daemon.metadata().repomd, repomd);
    assert!(!daemon.log().contains(waits), "{}", daemon.log());
    daemon.stop();
}
