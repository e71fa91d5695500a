//! No room: each place on a small file system of its own.

use crate::world::daemon::{configuration, write_config};
use crate::world::namespace::Namespace;
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

const A: &str = "a-1.0-1.noarch.rpm";
const B: &str = "b-1.0-1.noarch.rpm";

fn put(daemon: &Daemon, rpm: &str) -> crate::world::http::Response {
    let name = format!("{rpm}-1.0-1.noarch.rpm");
    daemon.request("PUT", &name, &[("Prefer", "wait=1")], Some(&Rpm::new(rpm).build()))
}

#[test]
fn a_full_tree_refuses_uploads_with_507_and_goes_on_once_there_is_room() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    namespace.small(tree.root(), "2m");
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    assert_eq!(put(&daemon, "a").status, 201);
    let before = daemon.until_exactly(&[A]);
    let filler = namespace.fill(tree.root());
    let refused = put(&daemon, "b");
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("disk is full"), "{}", refused.text());
    assert!(!namespace.path(tree.path(B)).exists());
    assert_eq!(daemon.metadata().repomd, before.repomd, "readers have the old state");
    assert_eq!(daemon.get(A).status, 200);
    eventually(PATIENCE, "the log says which place is full", || {
        let log = daemon.log();
        (log.contains("No space left") && log.contains(B)).then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    assert!(matches!(put(&daemon, "b").status, 201 | 202));
    daemon.until_exactly(&[A, B]).matches_tree(&namespace.path(tree.root())).unwrap();
    let staged = namespace.path(tree.path(".createrepod/incoming"));
    assert_eq!(std::fs::read_dir(staged).map_or(0, Iterator::count), 0, "nothing half-written is left");
    daemon.stop();
}

#[test]
fn a_full_file_system_below_the_tree_refuses_only_what_goes_there() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    namespace.small(&tree.path("small"), "64k");
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    let filler = namespace.fill(&tree.path("small"));
    let refused = daemon.put("small/b.rpm", &Rpm::new("b").build());
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert_eq!(put(&daemon, "a").status, 201);
    daemon.until_exactly(&[A]);
    std::fs::remove_file(filler).unwrap();
    let taken = daemon.put("small/b.rpm", &Rpm::new("b").build());
    assert_eq!(taken.status, 201, "{}", taken.text());
    daemon.until_exactly(&[A, "small/b.rpm"]);
    daemon.stop();
}

#[test]
fn where_metadata_find_no_room_the_old_ones_stay_and_the_new_ones_come_once_there_is() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    let metadata = tree.beside("metadata");
    namespace.small(&metadata, "256k");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n\
         metadata_dir = \"{}\"\nwrite = \"off\"\n",
        tree.beside("state").display(),
        tree.root().display(),
        metadata.display(),
    );
    let daemon = namespace.serve(&write_config(&tree, &text));
    tree.add(&Rpm::new("a"));
    let before = daemon.until_exactly(&[A]);
    let filler = namespace.fill(&metadata);
    tree.add(&Rpm::new("b"));
    eventually(PATIENCE, "the trouble is told", || {
        let status = daemon.status().to_string();
        (status.contains("metadata") && status.contains("No space left")).then_some(())
    });
    assert_eq!(daemon.metadata().repomd, before.repomd, "readers have the old state");
    std::fs::remove_file(filler).unwrap();
    daemon.until_exactly(&[A, B]);
    daemon.stop();
}

#[test]
fn what_others_replaced_while_the_disk_was_full_is_put_back_once_there_is_room() {
    use std::io::Write as _;
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    namespace.small(tree.root(), "2m");
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    assert_eq!(put(&daemon, "a").status, 201);
    let before = daemon.until_exactly(&[A]).repomd;
    let filler = namespace.fill(tree.root());
    let repomd = namespace.path(tree.path("repodata/repomd.xml"));
    // In its place: that needs no room.
    let mut file = std::fs::File::options().write(true).open(&repomd).unwrap();
    file.write_all(b"<?xml version=\"1.0\"?><!-- another's -->").unwrap();
    drop(file);
    eventually(PATIENCE, "the trouble is told", || {
        daemon.status().to_string().contains("No space left").then_some(())
    });
    assert_ne!(std::fs::read(&repomd).unwrap(), before);
    assert_eq!(daemon.get("repodata/repomd.xml").body, before, "readers have what was published");
    std::fs::remove_file(filler).unwrap();
    eventually(PATIENCE, "it is put back", || (std::fs::read(&repomd).unwrap() == before).then_some(()));
    eventually(PATIENCE, "the trouble is over", || {
        (!daemon.status().to_string().contains("No space left")).then_some(())
    });
    daemon.until_exactly(&[A]);
    daemon.stop();
}

#[test]
fn a_full_state_directory_holds_the_metadata_back_and_loses_nothing() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    namespace.small(&tree.beside("state"), "4m");
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    put(&daemon, "a");
    let before = daemon.until_exactly(&[A]);
    let filler = namespace.fill(&tree.beside("state"));
    // Enough for the catalog to need room.
    for number in 0..20 {
        let name = format!("p{number:02}");
        let stored = daemon.put(&format!("{name}-1.0-1.noarch.rpm"), &Rpm::new(&name).build());
        assert!(matches!(stored.status, 201 | 507), "{} {}", stored.status, stored.text());
        if stored.status == 507 {
            tree.add(&Rpm::new(&name));
        }
    }
    eventually(PATIENCE, "the trouble is told", || {
        let status = daemon.status().to_string();
        (status.contains("full") || status.contains("No space left")).then_some(())
    });
    assert_eq!(daemon.get("repodata/repomd.xml").body, before.repomd, "readers have the old state");
    assert_eq!(daemon.metadata().hrefs(), [A]);
    std::fs::remove_file(filler).unwrap();
    daemon.until("all of them", |metadata| metadata.packages.len() == 21).matches_tree(tree.root()).unwrap();
    daemon.stop();
    // And as if it had not been: the catalog is whole.
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    daemon.until("all of them", |metadata| metadata.packages.len() == 21);
    daemon.stop();
}

#[test]
fn a_file_system_that_becomes_read_only_is_served_and_named_and_written_again_when_it_may_be() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    // The daemon holds its lock open, so the packages are in a directory below, as with a volume of their own.
    let packages = tree.path("Packages");
    namespace.small(&packages, "2m");
    let daemon = namespace.serve(&configuration(&tree, "", ""));
    assert_eq!(daemon.put_and_wait("Packages/a.rpm", &Rpm::new("a").build()).status, 201);
    let remount = |how: &str| {
        crate::world::clients::output(
            namespace.command("mount").args(["-o", &format!("remount,{how}")]).arg(&packages),
        );
    };
    remount("ro");
    let refused = daemon.put("Packages/b.rpm", &Rpm::new("b").build());
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("read-only"), "{}", refused.text());
    let refused = daemon.request("DELETE", "Packages/a.rpm", &[], None);
    assert!(refused.status >= 500, "{} {}", refused.status, refused.text());
    assert_eq!(daemon.get("Packages/a.rpm").status, 200);
    assert_eq!(daemon.put_and_wait("c.rpm", &Rpm::new("c").build()).status, 201, "elsewhere all is well");
    daemon.until_exactly(&["Packages/a.rpm", "c.rpm"]);
    remount("rw");
    assert_eq!(daemon.put_and_wait("Packages/b.rpm", &Rpm::new("b").build()).status, 201);
    daemon.until_exactly(&["Packages/a.rpm", "Packages/b.rpm", "c.rpm"]);
    daemon.stop();
}
