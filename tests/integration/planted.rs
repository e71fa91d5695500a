//! Whoever may write into a tree puts things where the daemon keeps its own: none of it is followed, read or written to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::Command;

use rustix::process::Signal;

use crate::world::daemon::{program, run, run_refused};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

const SECRET: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

/// A tree with a secret beside it.
fn tree() -> Tree {
    let tree = Tree::new();
    tree.write_beside("secret", SECRET.as_bytes());
    tree.add(&Rpm::new("a"));
    tree
}

fn is_untouched(tree: &Tree) {
    assert_eq!(fs::read_to_string(tree.beside("secret")).unwrap(), SECRET);
}

#[test]
fn links_in_the_private_directory_are_neither_read_nor_written_through() {
    let tree = tree();
    let (kept, incoming) =
        (tree.path(".createrepod/kept/09000000000000000000-1-1"), tree.path(".createrepod/incoming"));
    fs::create_dir_all(&kept).unwrap();
    fs::create_dir_all(&incoming).unwrap();
    fs::set_permissions(tree.path(".createrepod"), Permissions::from_mode(0o700)).unwrap();
    symlink(tree.beside("secret"), kept.join("key.rpm")).unwrap();
    for kind in ["primary", "filelists", "other", "repomd", "comps"] {
        fs::hard_link(tree.beside("secret"), incoming.join(format!("metadata-{kind}"))).unwrap();
    }
    let daemon = Daemon::configured(&tree, "", "symlinks = \"anywhere\"");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    assert_eq!(daemon.get("key.rpm").status, 404);
    // While it runs: what is staged and kept has its names there in vain.
    let batches = tree.path(".createrepod/incoming/batches/b");
    fs::create_dir_all(&batches).unwrap();
    fs::create_dir(tree.beside("other")).unwrap();
    symlink(tree.beside("other"), batches.join("files")).unwrap();
    let b = Rpm::new("b");
    let held = daemon.request("PUT", "b.rpm", &[("Createrepod-Batch", "b")], Some(&b.build()));
    assert!(held.status >= 400, "{}", held.status);
    assert_eq!(fs::read_dir(tree.beside("other")).unwrap().count(), 0);
    symlink(tree.beside("secret"), incoming.join("metadata-primary")).unwrap();
    assert_eq!(daemon.put_and_wait("b.rpm", &b.build()).status, 201);
    is_untouched(&tree);
    daemon.stop();
}

#[test]
fn the_private_directory_under_another_name_is_neither_published_nor_shown() {
    let tree = tree();
    let config = crate::world::daemon::configuration(&tree, "", "accept = \"any\"");
    let daemon = Daemon::serve_config(&config, "/rpm/");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let held = daemon.request("PUT", "b.rpm", &[("Createrepod-Batch", "b")], Some(&Rpm::new("b").build()));
    assert_eq!(held.status, 201, "{}", held.text());
    let is_hidden = |daemon: &Daemon| {
        eventually(PATIENCE, "it is named", || {
            let is_named = |line: &str| line.contains("deep/seen") && line.contains("under another name");
            daemon.log().lines().any(is_named).then_some(())
        });
        for place in ["deep/seen/", "deep/seen/incoming/batches/b/files/b.rpm", "deep/seen/lock", "deep/seen"]
        {
            assert_eq!(daemon.get(place).status, 404, "{place}");
        }
        assert!(!daemon.get("deep/").text().contains("seen"));
        let listed = daemon.request("PROPFIND", "deep/", &[("Depth", "1")], None);
        assert!(listed.status == 207 && !listed.text().contains("seen"), "{}", listed.text());
        let to = format!("{}copy/", daemon.url());
        for (method, place) in [("COPY", "deep/seen"), ("MOVE", "deep/seen"), ("COPY", "deep/seen/lock")] {
            assert_eq!(daemon.request(method, place, &[("Destination", &to)], None).status, 404, "{method}");
        }
        assert_eq!(daemon.request("DELETE", "deep/seen", &[], None).status, 404);
        assert_ne!(daemon.put("deep/seen/c.rpm", &Rpm::new("c").build()).status, 201);
        daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    };
    fs::create_dir(tree.path("deep")).unwrap();
    fs::rename(tree.path(".createrepod"), tree.path("deep/seen")).unwrap();
    is_hidden(&daemon);
    daemon.stop();
    let daemon = Daemon::serve_config(&config, "/rpm/");
    is_hidden(&daemon);
    // A mark of somebody else's hides nothing.
    fs::create_dir(tree.path("theirs")).unwrap();
    tree.write("theirs/.createrepod-own", b"");
    if chown(tree.path("theirs/.createrepod-own"), Some(12_345), None).is_ok() {
        fs::write(tree.path("theirs/d.rpm"), Rpm::new("d").build()).unwrap();
        daemon.until_exactly(&["a-1.0-1.noarch.rpm", "theirs/d.rpm"]);
    }
    daemon.stop();
}

#[test]
fn a_file_in_repodata_that_is_a_link_or_a_pipe_is_not_served() {
    let tree = tree();
    let daemon = Daemon::configured(&tree, "", "symlinks = \"anywhere\"");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    symlink(tree.beside("secret"), tree.path("repodata/x-primary.xml.gz")).unwrap();
    let made = Command::new("mkfifo").arg(tree.path("repodata/pipe.xml")).status();
    assert!(made.is_ok_and(|status| status.success()));
    for name in ["repodata/x-primary.xml.gz", "repodata/pipe.xml"] {
        assert_eq!(daemon.get(name).status, 404, "{name}");
    }
    daemon.stop();
}

#[test]
fn directories_that_are_links_or_open_to_others_are_refused_in_words_that_help() {
    for (name, words) in [(".createrepod", "is a link"), ("repodata", "is a link")] {
        let tree = tree();
        fs::create_dir(tree.beside("other")).unwrap();
        symlink(tree.beside("other"), tree.path(name)).unwrap();
        let refused = run_refused(["index".as_ref(), tree.root().as_os_str()]);
        assert!(refused.stderr.contains(words), "{name}: {}", refused.stderr);
        assert_eq!(fs::read_dir(tree.beside("other")).unwrap().count(), 0, "{name}");
    }
    let tree = tree();
    assert!(run(["index".as_ref(), tree.root().as_os_str()]).status.success());
    fs::set_permissions(tree.path(".createrepod"), Permissions::from_mode(0o777)).unwrap();
    let refused = run_refused(["index".as_ref(), tree.root().as_os_str()]);
    assert!(refused.stderr.contains("chmod -R go-w"), "{}", refused.stderr);
}

#[test]
fn a_directory_that_is_swapped_while_the_daemon_runs_is_noticed_and_mended_by_whoever_removes_it() {
    let tree = tree();
    let daemon = Daemon::configured(&tree, "", "");
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    fs::create_dir(tree.beside("other")).unwrap();
    fs::rename(tree.path("repodata"), tree.path("old")).unwrap();
    symlink(tree.beside("other"), tree.path("repodata")).unwrap();
    tree.add(&Rpm::new("b"));
    daemon.signal(Signal::USR1);
    eventually(PATIENCE, "the trouble is told", || {
        daemon.status().to_string().contains("is a link").then_some(())
    });
    assert_eq!(fs::read_dir(tree.beside("other")).unwrap().count(), 0);
    fs::remove_file(tree.path("repodata")).unwrap();
    daemon.signal(Signal::USR1);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]);
    // The lock, too, is where it should be: nobody else comes in.
    fs::rename(tree.path(".createrepod"), tree.path("older")).unwrap();
    tree.add(&Rpm::new("c"));
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm", "c-1.0-1.noarch.rpm"]);
    let refused = Command::new(program().get_program()).arg("index").arg(tree.root()).output().unwrap();
    assert!(!refused.status.success(), "two write into one tree");
    daemon.stop();
}

#[test]
fn root_indexes_the_directory_of_another_with_the_rights_of_its_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const OWNER: u32 = 65534;
    let tree = tree();
    for path in [tree.root().to_owned(), tree.path("a-1.0-1.noarch.rpm")] {
        chown(path, Some(OWNER), Some(OWNER)).unwrap();
    }
    fs::set_permissions(tree.beside(""), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(tree.beside("secret"), Permissions::from_mode(0o600)).unwrap();
    assert!(run(["index".as_ref(), tree.root().as_os_str()]).status.success());
    for name in ["repodata", "repodata/repomd.xml", ".createrepod", ".createrepod/lock"] {
        assert_eq!(tree.path(name).metadata().unwrap().uid(), OWNER, "{name}");
    }
    // What root's own rights would have made possible.
    fs::remove_file(tree.path(".createrepod/lock")).unwrap();
    fs::hard_link(tree.beside("secret"), tree.path(".createrepod/lock")).unwrap();
    run_refused(["index".as_ref(), tree.root().as_os_str()]);
    is_untouched(&tree);
}
