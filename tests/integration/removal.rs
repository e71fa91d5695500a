//! A whole repository is removed from the disk while the daemon runs: `rm -r` succeeds at once, and nothing of it comes back.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::world::daemon::write_config;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

const PACKAGES: usize = 40;

/// A daemon with one repository, `el/9`, that a `[tree]` has found.
fn daemon(tree: &Tree) -> Daemon {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[tree.t]\npath = \"{}\"\npattern = \"{{a}}/{{b}}\"\n",
        tree.beside("state").display(),
        tree.root().display(),
    );
    Daemon::serve_config(&write_config(tree, &text), "/t/el/9/")
}

fn fill(tree: &Tree, daemon: &Daemon) {
    for number in 0..PACKAGES {
        let rpm = Rpm::new(format!("p{number}"));
        tree.write(format!("el/9/{}", rpm.file_name()), &rpm.build());
    }
    daemon.until("all packages", |metadata| metadata.hrefs().len() == PACKAGES);
}

/// Removes them as rm does, which ends with an error where something comes in behind it.
fn rm<'p>(paths: impl IntoIterator<Item = &'p Path>) -> bool {
    let rm = Command::new("rm").arg("-r").args(paths).output().unwrap();
    assert!(rm.status.success(), "{}", String::from_utf8_lossy(&rm.stderr));
    rm.status.success()
}

fn is_gone(tree: &Tree, daemon: &Daemon) {
    eventually(PATIENCE, "the repository is gone", || {
        (daemon.get("repodata/repomd.xml").status == 404).then_some(())
    });
    assert!(!tree.path("el/9").exists(), "it came back");
}

#[test]
fn a_tree_is_removed_while_the_daemon_runs_and_nothing_of_it_comes_back() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("el/9")).unwrap();
    let daemon = daemon(&tree);
    // In the order in which the directory lists them, and in each that is hard: ours before the packages, and between them.
    for first in [
        &[][..],
        &["repodata"],
        &[".createrepod"],
        &["repodata", ".createrepod"],
        &["p1-1.0-1.noarch.rpm", "repodata"],
    ] {
        fill(&tree, &daemon);
        let paths: Vec<_> = first.iter().map(|name| tree.path(format!("el/9/{name}"))).collect();
        let whole = tree.path("el/9");
        assert!(rm(paths.iter().map(AsRef::as_ref).chain([whole.as_path()])), "{first:?}: {}", daemon.log());
        is_gone(&tree, &daemon);
        fs::create_dir(&whole).unwrap();
    }
    // Out of the way first.
    fill(&tree, &daemon);
    fs::rename(tree.path("el/9"), tree.path("el/.9")).unwrap();
    assert!(rm([tree.path("el/.9").as_path()]), "{}", daemon.log());
    is_gone(&tree, &daemon);
    daemon.stop();
}

#[test]
fn metadata_that_are_removed_alone_come_back_and_packages_that_are_removed_one_by_one_are_gone() {
    let tree = Tree::new();
    fs::create_dir_all(tree.path("el/9")).unwrap();
    let daemon = daemon(&tree);
    fill(&tree, &daemon);
    let before = daemon.metadata().repomd;
    assert!(rm([tree.path("el/9/repodata").as_path()]));
    eventually(PATIENCE, "the metadata are back", || {
        (fs::read(tree.path("el/9/repodata/repomd.xml")).ok()? == before).then_some(())
    });
    for left in (PACKAGES - 3..PACKAGES).rev() {
        fs::remove_file(tree.path(format!("el/9/p{left}-1.0-1.noarch.rpm"))).unwrap();
        daemon.until("one less", |metadata| metadata.hrefs().len() == left);
    }
    // Both at once: what is left is published.
    assert!(rm([tree.path("el/9/p0-1.0-1.noarch.rpm").as_path(), tree.path("el/9/repodata").as_path()]));
    daemon.until("one less", |metadata| metadata.hrefs().len() == PACKAGES - 4);
    eventually(PATIENCE, "they lie there, too", || {
        tree.path("el/9/repodata/repomd.xml").exists().then_some(())
    });
    daemon.stop();
}
