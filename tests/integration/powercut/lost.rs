//! What a power cut takes from the catalog: it does not wait for the disk, and may lose its last commits.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::crash::points::strange_in_repodata;
use crate::world::daemon::configuration;
use crate::world::tree::{cp, set_mtime};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually_ok, skipped};

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    cp(["-a", from.to_str().unwrap(), to.to_str().unwrap()]);
}

fn serve(tree: &Tree, grace: &str) -> Daemon {
    let more = format!("overwrite = \"allow\"\ngrace = \"{grace}\"");
    Daemon::serve_config(&configuration(tree, "", &more), "/rpm/")
}

fn put(daemon: &Daemon, name: &str) {
    assert_eq!(daemon.put_and_wait(&format!("{name}.rpm"), &Rpm::new(name).build()).status, 201);
}

/// What the disk says of the machine's start: the tests do not restart it.
fn start_anew(tree: &Tree) {
    let catalog = rusqlite::Connection::open(tree.beside("state/repositories/rpm/catalog.sqlite")).unwrap();
    let changed = catalog.execute("DELETE FROM meta WHERE key = 'looked_since_boot'", []).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn files_that_the_catalog_lost_sight_of_in_a_power_cut_harm_nobody_and_do_not_stay() {
    // The new repomd.xml may have been on the disk, or the old one.
    for is_switched in [true, false] {
        let tree = Tree::new();
        let daemon = serve(&tree, "1h");
        put(&daemon, "a");
        put(&daemon, "b");
        let then = fs::read(tree.path("repodata/repomd.xml")).unwrap();
        daemon.stop();
        copy(&tree.beside("state"), &tree.beside("then"));
        let daemon = serve(&tree, "1h");
        for name in ["c", "d", "e"] {
            put(&daemon, name);
        }
        assert_eq!(daemon.request("DELETE", "a.rpm", &[], None).status, 204);
        daemon.until_exactly(&["b.rpm", "c.rpm", "d.rpm", "e.rpm"]);
        daemon.kill();
        // The cut: bytes that were not synced, names without them, and a catalog of before.
        copy(&tree.beside("then"), &tree.beside("state"));
        start_anew(&tree);
        if !is_switched {
            fs::write(tree.path("repodata/repomd.xml"), then).unwrap();
        }
        for leftover in ["metadata-primary", "metadata-repomd", "00000000000000000001-1-1"] {
            tree.write(format!(".createrepod/incoming/{leftover}"), b"hal");
        }
        // Others' files stay: one of before, and one with a name as we give none.
        let theirs = [format!("{}-primary.xml.gz", "0".repeat(64)), "productid".to_owned()];
        for name in &theirs {
            tree.write(format!("repodata/{name}"), b"theirs");
        }
        set_mtime(&tree.path("repodata").join(&theirs[0]), 1_600_000_000);

        Metadata::from_tree(tree.root()).unwrap();
        let daemon = serve(&tree, "1s");
        daemon.until_exactly(&["b.rpm", "c.rpm", "d.rpm", "e.rpm"]).matches_tree(tree.root()).unwrap();
        tree.has_no_leftovers();
        put(&daemon, "f");
        // Every grace has ended.
        std::thread::sleep(Duration::from_millis(2100));
        let before = daemon.metadata();
        put(&daemon, "g");
        eventually_ok(PATIENCE, "nothing strange is left", || {
            let metadata = Metadata::from_tree(tree.root())?;
            for name in &theirs {
                fs::metadata(tree.path("repodata").join(name)).map_err(|_| format!("{name} is gone"))?;
            }
            match strange_in_repodata(&tree, [&before, &metadata]) {
                Ok(()) => Err("theirs are gone".to_owned()),
                Err(why)
                    if theirs.iter().all(|name| why.contains(&**name)) && why.matches('"').count() == 4 =>
                {
                    Ok(())
                }
                Err(why) => Err(why),
            }
        });
        daemon.stop();
    }
}

#[test]
fn what_was_published_when_the_catalog_was_lost_goes_once_it_is_superseded() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    set_mtime(&tree.path("a.rpm"), 1_600_000_000);
    let daemon = serve(&tree, "1s");
    let before = daemon.until_exactly(&["a.rpm"]);
    daemon.stop();
    fs::remove_dir_all(tree.beside("state")).unwrap();
    let daemon = serve(&tree, "1s");
    assert_eq!(daemon.until_exactly(&["a.rpm"]).repomd, before.repomd);
    put(&daemon, "b");
    std::thread::sleep(Duration::from_millis(2100));
    let between = daemon.metadata();
    put(&daemon, "c");
    eventually_ok(PATIENCE, "nothing of before the loss is left", || {
        strange_in_repodata(&tree, [&between, &Metadata::from_tree(tree.root())?])
    });
    daemon.stop();
}

/// Metadata files in repodata/ that repomd.xml does not name.
fn unnamed(tree: &Tree) -> Result<Vec<String>, String> {
    let metadata = Metadata::from_tree(tree.root())?;
    let named = |name: &str| metadata.records.values().any(|record| record.href.ends_with(name));
    let names = tree.names_in("repodata");
    Ok(names.into_iter().filter(|name| !name.starts_with("repomd.xml") && !named(name)).collect())
}

/// A repository with superseded metadata whose catalog is gone; `None` where files carry no marks.
fn with_a_lost_catalog() -> Option<(Tree, Vec<String>)> {
    let tree = Tree::new();
    let daemon = serve(&tree, "1h");
    ["a", "b", "c"].iter().for_each(|name| put(&daemon, name));
    daemon.stop();
    let mut mark = [0; 256];
    if rustix::fs::getxattr(tree.path("repodata/repomd.xml"), "user.createrepod", &mut mark).is_err() {
        skipped("the file system keeps no extended attributes: superseded metadata of a lost catalog");
        return None;
    }
    fs::remove_dir_all(tree.beside("state")).unwrap();
    let left = unnamed(&tree).unwrap();
    assert!(left.len() >= 3, "{left:?}");
    Some((tree, left))
}

/// Publishes until every grace of what was superseded before has ended.
fn go_on(daemon: &Daemon) {
    put(daemon, "d");
    std::thread::sleep(Duration::from_millis(2100));
    put(daemon, "e");
}

#[test]
fn what_was_superseded_before_the_catalog_was_lost_does_not_stay_and_the_files_of_others_do() {
    let Some((tree, left)) = with_a_lost_catalog() else { return };
    let place = |name: &str| tree.path("repodata").join(name);
    // As createrepo_c names them; a copy under another name, mark and all; one of ours without its mark; another kind of file.
    let digits = "0".repeat(64);
    let theirs = ["primary.xml.zst", "filelists.xml.zst"].map(|end| format!("{digits}-{end}"));
    fs::write(place(&theirs[0]), "theirs").unwrap();
    cp(["-a", place(&left[0]).to_str().unwrap(), place(&theirs[1]).to_str().unwrap()]);
    let backup = format!("{}.bak", left[1]);
    cp(["-a", place(&left[1]).to_str().unwrap(), place(&backup).to_str().unwrap()]);
    let bytes = fs::read(place(&left[2])).unwrap();
    fs::remove_file(place(&left[2])).unwrap();
    fs::write(place(&left[2]), bytes).unwrap();
    fs::write(place("productid"), "theirs").unwrap();
    let stay = [&theirs[0], &theirs[1], &backup, &left[2], "productid"].map(String::from);

    // For those who were told of them just before, nothing is gone at first.
    // Nor are packages that are too young to be taken up at once.
    let packages = ["a.rpm", "b.rpm", "c.rpm"];
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    packages.iter().for_each(|name| set_mtime(&tree.path(name), now));
    let more = "overwrite = \"allow\"\ngrace = \"1h\"\nsettle = \"3s\"";
    let daemon = Daemon::serve_config_unready(&configuration(&tree, "", more), "/rpm/");
    daemon.put("later.rpm", &Rpm::new("later").build());
    eventually_ok(PATIENCE, "the later one is published", || {
        let metadata = daemon.metadata();
        assert!(packages.iter().all(|name| metadata.has(name)), "a gap: {:?}", metadata.hrefs());
        if metadata.has("later.rpm") { Ok(()) } else { Err(format!("{:?}", metadata.hrefs())) }
    });
    assert!(left.iter().all(|name| daemon.get(&format!("repodata/{name}")).status == 200), "{left:?}");
    daemon.stop();
    let daemon = serve(&tree, "1s");
    go_on(&daemon);
    eventually_ok(PATIENCE, "what is ours and not named is gone", || {
        let there = unnamed(&tree)?;
        let is_left = |name: &&String| there.contains(name) && !stay.contains(name);
        match left.iter().filter(is_left).count() {
            0 => Ok(()),
            count => Err(format!("{count} of {left:?} are there")),
        }
    });
    for name in &stay {
        assert!(place(name).exists(), "{name} is gone");
    }
    daemon.stop();
}

#[test]
fn where_somebody_else_published_last_what_lies_beside_is_not_ours_to_remove() {
    let Some((tree, left)) = with_a_lost_catalog() else { return };
    // What rsync or createrepo_c put there carries no mark.
    let repomd = tree.path("repodata/repomd.xml");
    let bytes = fs::read(&repomd).unwrap();
    fs::remove_file(&repomd).unwrap();
    fs::write(&repomd, bytes).unwrap();
    let daemon = serve(&tree, "1s");
    daemon.until_exactly(&["a.rpm", "b.rpm", "c.rpm"]);
    go_on(&daemon);
    daemon.until_exactly(&["a.rpm", "b.rpm", "c.rpm", "d.rpm", "e.rpm"]);
    let there = unnamed(&tree).unwrap();
    assert!(left.iter().all(|name| there.contains(name)), "{left:?} and {there:?}");
    daemon.stop();
}
