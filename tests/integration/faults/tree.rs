//! The ground under the daemon's feet.

use std::fs;

use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, eventually_ok, http};

fn ready(daemon: &Daemon) -> u16 {
    http::send(daemon.address(), "GET", "/-/ready", &[], None).status
}

#[test]
fn a_tree_that_is_moved_away_is_named_and_taken_up_again_when_it_comes_back() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    let daemon = Daemon::configured(&tree, "", "rescan = \"1s\"");
    let before = daemon.until_exactly(&["a.rpm"]);
    fs::rename(tree.root(), tree.beside("away")).unwrap();
    eventually(PATIENCE, "it is not ready", || (ready(&daemon) == 503).then_some(()));
    assert!(daemon.status().to_string().contains(tree.root().to_str().unwrap()), "{}", daemon.status());
    let refused = daemon.put("b.rpm", &Rpm::new("b").build());
    assert!(refused.status >= 400, "{} {}", refused.status, refused.text());
    assert!(!tree.root().exists(), "nobody makes it anew");
    fs::write(tree.beside("away/c.rpm"), Rpm::new("c").build()).unwrap();
    fs::rename(tree.beside("away"), tree.root()).unwrap();
    let metadata = daemon.until_exactly(&["a.rpm", "c.rpm"]);
    assert_ne!(metadata.repomd, before.repomd);
    eventually(PATIENCE, "it is ready again", || (ready(&daemon) == 200).then_some(()));
    assert_eq!(daemon.put_and_wait("b.rpm", &Rpm::new("b").build()).status, 201);
    daemon.until_exactly(&["a.rpm", "b.rpm", "c.rpm"]).matches_tree(tree.root()).unwrap();
    daemon.stop();
}

#[test]
fn a_tree_that_is_deleted_and_made_anew_is_what_is_published() {
    let tree = Tree::new();
    tree.write("old/a.rpm", &Rpm::new("a").build());
    let daemon = Daemon::configured(&tree, "", "rescan = \"1s\"");
    daemon.until_exactly(&["old/a.rpm"]);
    // What is published again meanwhile is in the way for a moment.
    eventually_ok(PATIENCE, "the tree is deleted", || fs::remove_dir_all(tree.root()));
    fs::create_dir(tree.root()).unwrap();
    tree.write("new/b.rpm", &Rpm::new("b").build());
    // What was published has gone with the tree, and is missed until the new one is.
    eventually_ok(PATIENCE, "the new tree is published", || {
        let metadata = Metadata::fetch(daemon.address(), "/rpm/")?;
        if metadata.hrefs() == ["new/b.rpm"] { Ok(()) } else { Err(format!("{:?}", metadata.hrefs())) }
    });
    // Watches, lock and staging are those of the new one.
    tree.write("new/c.rpm", &Rpm::new("c").build());
    assert_eq!(daemon.put_and_wait("d.rpm", &Rpm::new("d").build()).status, 201);
    daemon.until_exactly(&["d.rpm", "new/b.rpm", "new/c.rpm"]).matches_tree(tree.root()).unwrap();
    daemon.stop();
}
