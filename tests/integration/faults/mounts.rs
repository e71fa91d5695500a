//! Mount points in and at the tree: file systems of their own, and one that becomes read-only.

use std::path::Path;

use rustix::process::Signal;

use crate::world::clients::output;
use crate::world::daemon::configuration;
use crate::world::namespace::Namespace;
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, http};

fn ready(daemon: &Daemon) -> u16 {
    http::send(daemon.address(), "GET", "/-/ready", &[], None).status
}

fn put(daemon: &Daemon, location: &str) -> u16 {
    let name = location.rsplit('/').next().unwrap().trim_end_matches(".rpm");
    daemon.request("PUT", location, &[("Prefer", "wait=1")], Some(&Rpm::new(name).build())).status
}

#[test]
fn repodata_on_a_mount_of_its_own_is_published_to_in_one_step_and_nothing_staged_is_left() {
    let Some(namespace) = Namespace::new() else { return };
    for bind in [false, true] {
        let tree = Tree::new();
        let repodata = tree.path("repodata");
        if bind {
            // The same file system, and yet no rename leads there.
            std::fs::create_dir(&repodata).unwrap();
            std::fs::create_dir(tree.beside("elsewhere")).unwrap();
            output(namespace.command("mount").arg("--bind").arg(tree.beside("elsewhere")).arg(&repodata));
        } else {
            namespace.small(&repodata, "512k");
        }
        let daemon = namespace.serve(&configuration(&tree, "", ""));
        assert_eq!(daemon.put_and_wait("a.rpm", &Rpm::new("a").build()).status, 201, "bind: {bind}");
        let before = daemon.until_exactly(&["a.rpm"]);
        Metadata::from_tree(&namespace.path(tree.root())).unwrap();
        if !bind {
            let filler = namespace.fill(&repodata);
            assert_eq!(put(&daemon, "b.rpm"), 202);
            eventually(PATIENCE, "the trouble is told", || {
                let status = daemon.status().to_string();
                (status.contains("repodata") && status.contains("No space left")).then_some(())
            });
            assert_eq!(daemon.metadata().repomd, before.repomd, "readers have the old state");
            std::fs::remove_file(filler).unwrap();
        } else {
            assert_eq!(put(&daemon, "b.rpm"), 201);
        }
        daemon.until_exactly(&["a.rpm", "b.rpm"]);
        // What a kill leaves there is nobody's to fetch, and gone with the next start.
        daemon.kill();
        let staged = namespace.path(repodata.join(".createrepod"));
        std::fs::write(staged.join("metadata-primary"), "half").unwrap();
        let daemon = namespace.serve(&configuration(&tree, "", ""));
        assert!(!staged.exists(), "bind: {bind}");
        for place in ["repodata/.createrepod/", "repodata/.createrepod/metadata-primary"] {
            assert_ne!(daemon.get(place).status, 200, "{place}");
        }
        assert_eq!(put(&daemon, "c.rpm"), 201);
        daemon.until_exactly(&["a.rpm", "b.rpm", "c.rpm"]).matches_tree(tree.root()).unwrap();
        eventually(PATIENCE, "nothing staged", || {
            std::fs::read_dir(&staged).is_ok_and(|found| found.count() == 0).then_some(())
        });
        daemon.stop();
    }
}

#[test]
fn a_tree_remounted_read_only_is_read_on_and_written_again_once_it_may_be() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    namespace.small(tree.root(), "4m");
    // A file system below stays writable, so that there is news while the rest cannot be written.
    let writable = tree.path("incoming");
    std::fs::create_dir(namespace.path(&writable)).unwrap();
    output(namespace.command("mount").args(["-t", "tmpfs", "-o", "size=1m", "small"]).arg(&writable));
    let remount = |how: &str| {
        let mut mount = namespace.command("mount");
        output(mount.args(["-o", &format!("remount,{how}")]).arg(tree.root()));
    };
    let config = configuration(&tree, "", "");
    let daemon = namespace.serve(&config);
    assert_eq!(daemon.put_and_wait("a.rpm", &Rpm::new("a").build()).status, 201);
    assert_eq!(daemon.put_and_wait("d/b.rpm", &Rpm::new("b").build()).status, 201);
    let before = daemon.until_exactly(&["a.rpm", "d/b.rpm"]);

    // Nothing of ours is open for writing at rest: the remount is not refused as busy.
    remount("ro");
    let refused = daemon.put("c.rpm", &Rpm::new("c").build());
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(refused.text().contains("read-only"), "{}", refused.text());
    let to = format!("{}moved.rpm", daemon.url());
    for (method, location, headers) in [
        ("DELETE", "a.rpm", vec![]),
        ("MOVE", "a.rpm", vec![("Destination", &*to)]),
        ("COPY", "a.rpm", vec![("Destination", &*to)]),
        ("MKCOL", "folder/", vec![]),
    ] {
        let refused = daemon.request(method, location, &headers, None);
        assert_eq!(refused.status, 500, "{method}: {}", refused.text());
        let is_told = refused.text().contains("read-only") || method == "MKCOL";
        assert!(is_told, "{method}: {}", refused.text());
    }
    eventually(PATIENCE, "the log says it of all", || {
        let lines = |log: &str| log.lines().filter(|line| line.to_lowercase().contains("read-only")).count();
        (lines(&daemon.log()) >= 5).then_some(())
    });
    // Reading goes on, also after a restart.
    assert_eq!((daemon.get("a.rpm").status, ready(&daemon)), (200, 200));
    daemon.stop();
    let daemon = namespace.serve(&config);
    assert_eq!(daemon.metadata().repomd, before.repomd);
    assert_eq!((daemon.get("d/b.rpm").status, ready(&daemon)), (200, 200));
    // What cannot be published is said, not lost.
    std::fs::write(namespace.path(writable.join("e.rpm")), Rpm::new("e").build()).unwrap();
    eventually(PATIENCE, "the trouble is told", || {
        let status = daemon.status().to_string();
        (status.contains("Read-only file system") && status.contains(tree.root().to_str()?)).then_some(())
    });
    assert!(daemon.log().contains("Read-only file system"), "{}", daemon.log());
    assert_eq!(daemon.metadata().repomd, before.repomd, "readers have the old state");
    remount("rw");
    daemon.signal(Signal::USR1);
    daemon.until_exactly(&["a.rpm", "d/b.rpm", "incoming/e.rpm"]);
    assert_eq!(daemon.put_and_wait("c.rpm", &Rpm::new("c").build()).status, 201);
    assert_eq!(daemon.request("DELETE", "a.rpm", &[], None).status, 204);
    let end = daemon.until_exactly(&["c.rpm", "d/b.rpm", "incoming/e.rpm"]);
    end.matches_tree(&namespace.path(tree.root())).unwrap();
    is_as_indexed_anew(&end, &namespace.path(tree.root()));
    eventually(PATIENCE, "no trouble is left", || {
        (!daemon.status().to_string().contains("Read-only")).then_some(())
    });
    daemon.stop();
}

/// The bytes of the metadata are those of a tree that knew no fault.
fn is_as_indexed_anew(end: &Metadata, tree: &Path) {
    let fresh = Tree::new();
    crate::world::tree::cp(["-a".as_ref(), tree.join(".").as_os_str(), fresh.root().as_os_str()]);
    std::fs::remove_dir_all(fresh.path("repodata")).unwrap();
    std::fs::remove_dir_all(fresh.path(".createrepod")).unwrap();
    let done = crate::world::daemon::run(["index".as_ref(), fresh.root().as_os_str()]);
    assert!(done.status.success(), "{}", done.stderr);
    let full = Metadata::from_tree(fresh.root()).unwrap();
    for kind in ["primary", "filelists", "other"] {
        assert_eq!(end.records[kind].checksum, full.records[kind].checksum, "{kind}");
    }
}

#[test]
fn a_move_onto_a_folder_of_another_file_system_loses_nothing() {
    let Some(namespace) = Namespace::new() else { return };
    let tree = Tree::new();
    let mounted = tree.path("mounted");
    std::fs::create_dir(&mounted).unwrap();
    namespace.small(&mounted, "1m");
    let daemon = namespace.serve(&configuration(&tree, "", "accept = \"any\"\noverwrite = \"allow\""));
    for (place, text) in [("here/a.txt", "a"), ("mounted/there/b.txt", "b"), ("mounted/far/c.txt", "c")] {
        assert_eq!(daemon.put(place, text.as_bytes()).status, 201, "{place}");
    }
    let go = |from: &str, to: &str| {
        let to = format!("{}{to}", daemon.url());
        daemon.request("MOVE", from, &[("Destination", &to)], None)
    };
    let refused = go("here", "mounted/there");
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("another file system"), "{}", refused.text());
    for (place, text) in [("here/a.txt", "a"), ("mounted/there/b.txt", "b")] {
        assert_eq!(daemon.get(place).text(), text, "{place}");
    }
    // The other way the copy is whole before anything goes.
    assert_eq!(go("mounted/far", "here").status, 204);
    assert_eq!((daemon.get("here/c.txt").status, daemon.get("here/a.txt").status), (200, 404));
    assert_eq!(daemon.get("mounted/far/c.txt").status, 404);
    daemon.stop();
}
