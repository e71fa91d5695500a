//! A build of many packages that nobody ever sees in halves.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::world::daemon::Publications;
use crate::world::{AtLast, Daemon, PATIENCE, Rpm, Tree, eventually, http};

const API: &str = "/-/api/v1/repositories/rpm/batches";

fn build(count: usize) -> Vec<Rpm> {
    (0..count).map(|i| Rpm::new(format!("build-part{i}")).payload(20_000)).collect()
}

fn put(daemon: &Daemon, batch: &str, location: &str, bytes: &[u8]) -> http::Response {
    http::send(daemon.address(), "PUT", &daemon.at(location), &[("Createrepod-Batch", batch)], Some(bytes))
}

fn ask(daemon: &Daemon, method: &str, path: &str) -> http::Response {
    http::send(daemon.address(), method, &format!("{API}{path}"), &[], (method == "POST").then_some(&[][..]))
}

fn names(rpms: &[Rpm]) -> Vec<String> {
    rpms.iter().map(Rpm::file_name).collect()
}

#[test]
fn a_build_of_twenty_packages_is_never_seen_in_halves() {
    let tree = Tree::new();
    tree.add(&Rpm::new("before"));
    let daemon = Daemon::configured(&tree, "", "");
    daemon.until_exactly(&[&Rpm::new("before").file_name()]);
    let rpms = build(20);
    let over = AtomicBool::new(false);
    let publications = Publications::count_in(&tree);
    std::thread::scope(|scope| {
        let poll = || {
            let mut seen = std::collections::BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                seen.insert(daemon.metadata().hrefs().len());
            }
            seen.insert(daemon.metadata().hrefs().len());
            seen
        };
        let until_over = AtLast(&over);
        let polling = [scope.spawn(poll), scope.spawn(poll)];
        for (i, rpm) in rpms.iter().enumerate() {
            let answer = put(&daemon, "build-7", &format!("new/{}", rpm.file_name()), &rpm.build());
            assert_eq!(answer.status, 201, "{}", answer.text());
            assert_eq!(answer.header("Createrepod-State"), Some("pending"));
            assert_eq!(
                daemon.get(&format!("new/{}", rpm.file_name())).status,
                404,
                "package {i} is not shown"
            );
        }
        assert!(!tree.path("new").exists(), "nothing is in the tree");
        let listed: Value = serde_json::from_slice(&ask(&daemon, "GET", "").body).unwrap();
        assert_eq!(listed["batches"][0]["batch"], "build-7");
        assert_eq!(listed["batches"][0]["files"].as_array().unwrap().len(), 20);
        assert_eq!(publications.so_far(), 0);
        let committed = ask(&daemon, "POST", "/build-7/commit");
        assert_eq!(committed.status, 200, "{}", committed.text());
        let told: Value = serde_json::from_slice(&committed.body).unwrap();
        assert_eq!((&told["state"], told["files"].as_array().unwrap().len()), (&Value::from("indexed"), 20));
        assert_eq!(committed.header("Createrepod-Revision").unwrap(), told["revision"].to_string());
        drop(until_over);
        for polling in polling {
            let seen: Vec<_> = polling.join().unwrap().into_iter().collect();
            assert_eq!(seen, [1, 21], "one package, then all of them");
        }
    });
    assert_eq!(publications.so_far(), 1);
    daemon.metadata().matches_tree(tree.root()).unwrap();
    tree.has_no_leftovers();
    let again = ask(&daemon, "POST", "/build-7/commit");
    assert_eq!(again.status, 200, "who did not hear the answer may ask again");
    assert_eq!(ask(&daemon, "GET", "/build-7").status, 404);
}

#[test]
fn what_stands_in_the_way_of_one_package_stops_all() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let rpms = build(3);
    for rpm in &rpms {
        assert_eq!(put(&daemon, "b", &rpm.file_name(), &rpm.build()).status, 201);
    }
    // The same again is fine, other bytes are not, nor is the same package under another name.
    let other = Rpm::new("build-part0").salt(1);
    assert_eq!(put(&daemon, "b", &rpms[0].file_name(), &rpms[0].build()).status, 200);
    assert_eq!(put(&daemon, "b", &other.file_name(), &other.build()).status, 409);
    assert_eq!(put(&daemon, "b", "elsewhere.rpm", &other.build()).status, 409);
    assert_eq!(put(&daemon, "b", "elsewhere.rpm", b"no package").status, 415);
    // Meanwhile somebody else has put one of them there, with other bytes.
    assert_eq!(daemon.put(&other.file_name(), &other.build()).status, 201);
    let refused = ask(&daemon, "POST", "/b/commit");
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("build-part0"), "{}", refused.text());
    assert_eq!(daemon.until_exactly(&[&other.file_name()]).hrefs().len(), 1);
    assert_eq!(daemon.get(&rpms[1].file_name()).status, 404);
    // Once it is out of the way, the same commit succeeds.
    let gone = http::send(daemon.address(), "DELETE", &daemon.at(&other.file_name()), &[], None);
    assert_eq!(gone.status, 204);
    assert_eq!(ask(&daemon, "POST", "/b/commit").status, 200);
    let names = names(&rpms);
    daemon.until_exactly(&names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_batch_can_be_dropped_and_a_wrong_name_is_refused() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let rpm = Rpm::new("hello");
    assert_eq!(put(&daemon, "b", &rpm.file_name(), &rpm.build()).status, 201);
    assert_eq!(ask(&daemon, "GET", "/b").status, 200);
    assert_eq!(ask(&daemon, "DELETE", "/b").status, 204);
    assert_eq!(ask(&daemon, "DELETE", "/b").status, 404);
    assert_eq!(ask(&daemon, "POST", "/b/commit").status, 404);
    assert_eq!(ask(&daemon, "GET", "/b/commit").status, 405);
    for bad in ["a/b", ".hidden", "", "a b", &"x".repeat(101)] {
        assert_eq!(put(&daemon, bad, &rpm.file_name(), &rpm.build()).status, 400, "{bad:?}");
    }
    tree.has_no_leftovers();
    assert!(!tree.path(rpm.file_name()).exists());
}

#[test]
fn a_batch_nobody_commits_is_forgotten() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "batch_life = \"1s\"");
    let rpm = Rpm::new("hello");
    assert_eq!(put(&daemon, "b", &rpm.file_name(), &rpm.build()).status, 201);
    eventually(2 * PATIENCE, "the batch is dropped", || {
        (ask(&daemon, "GET", "/b").status == 404).then_some(())
    });
    tree.has_no_leftovers();
}

#[test]
fn a_batch_survives_a_kill_and_is_committed_after_it() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "");
    let rpms = build(5);
    for rpm in &rpms {
        assert_eq!(put(&daemon, "b", &format!("d/{}", rpm.file_name()), &rpm.build()).status, 201);
    }
    daemon.kill();
    let daemon = Daemon::configured(&tree, "", "");
    daemon.until_exactly(&[]);
    let committed = ask(&daemon, "POST", "/b/commit");
    assert_eq!(committed.status, 200, "{}", committed.text());
    let names: Vec<_> = rpms.iter().map(|rpm| format!("d/{}", rpm.file_name())).collect();
    daemon
        .until_exactly(&names.iter().map(String::as_str).collect::<Vec<_>>())
        .matches_tree(tree.root())
        .unwrap();
}

/// Wherever a kill interrupts a commit, the next start shows all of it or nothing.
#[test]
fn a_kill_during_the_commit_leaves_all_or_nothing() {
    let rpms = build(20);
    for delay in 0..12u64 {
        let tree = Tree::new();
        // Some have settled at the restart, and some have not.
        let settle = "settle = \"150ms\"";
        let daemon = Daemon::configured(&tree, "", settle);
        daemon.until_exactly(&[]);
        for rpm in &rpms {
            assert_eq!(put(&daemon, "b", &format!("a/{}", rpm.file_name()), &rpm.build()).status, 201);
        }
        let address = daemon.address();
        std::thread::scope(|scope| {
            let committing = scope
                .spawn(move || http::try_send(address, "POST", &format!("{API}/b/commit"), &[], Some(&[])));
            // Until the commit is noted, and then a little longer each time.
            let journal = tree.path(".createrepod/incoming/batches/b/commit");
            let files = tree.path("a");
            while !journal.exists() && !files.exists() && !committing.is_finished() {
                std::hint::spin_loop();
            }
            std::thread::sleep(std::time::Duration::from_micros(delay * 300));
            daemon.kill();
            let _ = committing.join().unwrap();
        });
        let daemon = Daemon::configured(&tree, "", settle);
        // The tree is as it will be before anybody is let in; the metadata follows in one step.
        let in_tree = fs::read_dir(tree.path("a")).map_or(0, Iterator::count);
        assert!([0, 20].contains(&in_tree), "{in_tree} of 20 are in the tree");
        eventually(PATIENCE, "what is in the tree is published", || {
            let published = daemon.metadata().hrefs().len();
            assert!([0, 20].contains(&published), "{published} of 20 are published");
            (published == in_tree).then_some(())
        });
        if in_tree == 0 {
            assert_eq!(ask(&daemon, "POST", "/b/commit").status, 200, "it waits as before");
        }
        daemon.until_exactly(
            &names(&rpms)
                .iter()
                .map(|name| format!("a/{name}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        );
    }
}
