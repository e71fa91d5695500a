//! The tree is the truth and the catalog a memory of it: losing it costs one scan, and changes no byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::world::daemon::{run_refused, write_config};
use crate::world::tree::build_all;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

/// Every file of `repodata/`, by name.
pub fn repodata(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(tree.path("repodata")).unwrap();
    entries
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect()
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&String> {
    files.keys().collect()
}

fn find_below(directory: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() { find_below(&path, name) } else { path.ends_with(name).then_some(path) }
    })
}

fn stock(tree: &Tree, count: usize) {
    let rpms: Vec<_> = (0..count).map(|number| Rpm::new(format!("p{number:04}"))).collect();
    for (number, (name, bytes)) in build_all(&rpms).into_iter().enumerate() {
        tree.write(format!("{}/{name}", number % 5), &bytes);
    }
}

#[test]
fn a_lost_catalog_is_rebuilt_and_every_byte_of_repodata_stays() {
    let tree = Tree::new();
    stock(&tree, 300);
    let daemon = Daemon::serve(&tree);
    daemon.until("all", |metadata| metadata.packages.len() == 300);
    // Some history: changes that were published one by one.
    tree.add(&Rpm::new("later"));
    daemon.until("later", |metadata| metadata.packages.len() == 301);
    tree.remove("later-1.0-1.noarch.rpm");
    fs::remove_dir_all(tree.path("3")).unwrap();
    daemon.until("fewer", |metadata| metadata.packages.len() == 240);
    daemon.stop();
    let before = repodata(&tree);

    let state = tree.path(".createrepod/state");
    assert!(find_below(&state, "catalog.sqlite").is_some(), "the state of a bare `serve DIR` is in the tree");
    fs::remove_dir_all(&state).unwrap();
    let daemon = Daemon::serve(&tree);
    let metadata = daemon.until("all again", |metadata| metadata.packages.len() == 240);
    // The comparison at the start is over once a later change is published; it undoes itself at once.
    metadata.matches_tree(tree.root()).unwrap();
    daemon.stop();
    let after = repodata(&tree);
    assert_eq!(names(&before), names(&after));
    assert!(before == after, "repodata/ has the same bytes, repomd.xml included");
}

#[test]
fn a_lost_catalog_and_a_changed_tree_give_what_the_tree_says() {
    let tree = Tree::new();
    stock(&tree, 50);
    let daemon = Daemon::serve(&tree);
    daemon.until("all", |metadata| metadata.packages.len() == 50);
    daemon.stop();
    fs::remove_file(find_below(&tree.path(".createrepod/state"), "catalog.sqlite").unwrap()).unwrap();
    fs::remove_dir_all(tree.path("1")).unwrap();
    tree.add(&Rpm::new("new"));
    let daemon = Daemon::serve(&tree);
    daemon.until("the tree", |metadata| metadata.packages.len() == 41).matches_tree(tree.root()).unwrap();
    daemon.stop();
}

#[test]
fn a_damaged_catalog_is_no_end() {
    let tree = Tree::new();
    stock(&tree, 30);
    let daemon = Daemon::serve(&tree);
    daemon.until("all", |metadata| metadata.packages.len() == 30);
    daemon.stop();
    let catalog = find_below(&tree.path(".createrepod/state"), "catalog.sqlite").unwrap();
    let before = repodata(&tree);
    fs::write(&catalog, b"this is not a database at all, but it is long enough to be looked at".repeat(100))
        .unwrap();
    for rest in ["-wal", "-shm"] {
        let _ = fs::remove_file(PathBuf::from(format!("{}{rest}", catalog.display())));
    }
    let daemon = Daemon::serve(&tree);
    tree.add(&Rpm::new("new"));
    daemon.until("the tree", |metadata| metadata.packages.len() == 31).matches_tree(tree.root()).unwrap();
    daemon.stop();
    assert_ne!(names(&before), names(&repodata(&tree)));
}

#[test]
fn a_catalog_from_a_newer_version_is_refused_and_untouched() {
    let tree = Tree::new();
    stock(&tree, 5);
    let daemon = Daemon::serve(&tree);
    daemon.until("all", |metadata| metadata.packages.len() == 5);
    daemon.stop();
    let catalog = find_below(&tree.path(".createrepod/state"), "catalog.sqlite").unwrap();
    let connection = rusqlite::Connection::open(&catalog).unwrap();
    connection.execute_batch("PRAGMA user_version = 1000000; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    connection.close().unwrap();
    let (bytes, metadata) = (fs::read(&catalog).unwrap(), repodata(&tree));
    tree.add(&Rpm::new("new"));

    let refused =
        run_refused(["serve".as_ref(), tree.root().as_os_str(), "--listen".as_ref(), "127.0.0.1:0".as_ref()]);
    assert!(!refused.status.success());
    assert!(
        refused.stderr.contains("newer") && refused.stderr.contains("catalog.sqlite"),
        "{}",
        refused.stderr
    );
    assert!(fs::read(&catalog).unwrap() == bytes, "the catalog is untouched");
    assert!(repodata(&tree) == metadata, "and so is what is published");
}

#[test]
fn the_state_of_another_tree_is_taken_over_unless_that_is_served() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    fs::create_dir(tree.beside("other")).unwrap();
    fs::write(tree.beside("other/b.rpm"), Rpm::new("b").build()).unwrap();
    let config = |path: &Path| {
        format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\nwrite = \"off\"\n",
            tree.beside("state").display(),
            path.display()
        )
    };
    let file = write_config(&tree, &config(tree.root()));
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until("a", |metadata| metadata.packages.len() == 1);
    assert!(tree.beside("state/repositories/rpm/catalog.sqlite").is_file(), "where product.md says");
    // In a file of its own: the first daemon takes up a change of its.
    let file = tree.write_beside("second.toml", config(&tree.beside("other")).as_bytes());
    // One broken repository does not take the daemon down.
    let second = Daemon::serve_config_unready(&file, "/rpm/");
    let said =
        eventually(PATIENCE, "the log tells", || Some(second.log()).filter(|log| log.contains("ERROR")));
    assert!(said.contains(tree.root().to_str().unwrap()), "it names the tree: {said}");
    assert_eq!(http::send(second.address(), "GET", "/-/ready", &[], None).status, 503);
    assert!(second.status().to_string().contains(tree.root().to_str().unwrap()), "{}", second.status());
    assert!(!tree.beside("other/repodata").exists());
    second.stop();
    daemon.stop();

    // Nobody serves the first one any more: the path was changed, and no hand is needed.
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until("the other tree", |metadata| metadata.hrefs() == ["b.rpm"]);
    assert!(daemon.log().contains(tree.root().to_str().unwrap()), "{}", daemon.log());
    daemon.stop();
    // It was only moved: nothing is read again.
    fs::rename(tree.beside("other"), tree.beside("moved")).unwrap();
    let file = tree.write_beside("third.toml", config(&tree.beside("moved")).as_bytes());
    let daemon = Daemon::serve_config(&file, "/rpm/");
    daemon.until_exactly(&["b.rpm"]);
    daemon.stop();
}
