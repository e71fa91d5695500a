//! SIGKILL at any moment leaves a whole repository, and loses nothing that was acknowledged.

pub mod points;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::world::{Daemon, Metadata, PATIENCE, Random, Rpm, Tree, eventually, http};

/// Uploads until the daemon is gone; returns the names that were acknowledged.
pub fn storm(daemon: Daemon, round: usize, random: &mut Random) -> BTreeSet<String> {
    let acknowledged = Mutex::new(BTreeSet::new());
    let (count, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let enough = 5 + random.below(40);
    let address = daemon.address();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (acknowledged, count, over) = (&acknowledged, &count, &over);
            scope.spawn(move || {
                for number in 0.. {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let rpm = Rpm::new(format!("r{round}w{worker}n{number}")).payload(5_000 * (number % 4));
                    let path = format!("/rpm/{}/{}", worker, rpm.file_name());
                    let prefer: &[(&str, &str)] =
                        if number % 3 == 0 { &[("Prefer", "wait=60")] } else { &[] };
                    let answer = http::try_send(address, "PUT", &path, prefer, Some(&rpm.build()));
                    let Ok(answer) = answer else { return };
                    if (200..300).contains(&answer.status) {
                        acknowledged.lock().unwrap().insert(format!("{}/{}", worker, rpm.file_name()));
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        // What is killed differs from round to round: an upload, a scan, a publication.
        eventually(PATIENCE, "some uploads", || (count.load(Ordering::SeqCst) >= enough).then_some(()));
        std::thread::sleep(Duration::from_micros(random.next() % 20_000));
        daemon.kill();
        over.store(true, Ordering::SeqCst);
    });
    acknowledged.into_inner().unwrap()
}

#[test]
fn a_kill_amid_uploads_and_publications_loses_nothing_acknowledged() {
    let tree = Tree::new();
    let mut random = Random::new(20_240_607);
    let mut acknowledged = BTreeSet::new();
    for round in 0..8 {
        let daemon = Daemon::serve(&tree);
        acknowledged.extend(storm(daemon, round, &mut random));
        // What lies there now is whole, as another web server would serve it.
        let there = Metadata::from_tree(tree.root()).unwrap_or_else(|why| panic!("after the kill: {why}"));
        there.matches_tree(tree.root()).unwrap_or_else(|why| panic!("after the kill: {why}"));
        let daemon = Daemon::serve(&tree);
        let metadata = daemon.until("everything acknowledged", |metadata| {
            let hrefs: BTreeSet<_> = metadata.packages.iter().map(|package| package.href.clone()).collect();
            acknowledged.is_subset(&hrefs)
        });
        metadata.matches_tree(tree.root()).unwrap();
        tree.has_no_leftovers();
        assert_eq!(crate::world::daemon::rejected(&daemon.status()), [], "no half a package was left");
        // repodata/ does not fill up with what kills left behind.
        let strange: Vec<_> = fs::read_dir(tree.path("repodata"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "repomd.xml" && !name.ends_with(".xml.zst"))
            .collect();
        assert_eq!(strange, Vec::<String>::new());
        daemon.stop();
    }
    assert!(acknowledged.len() >= 40);
}

#[test]
fn a_kill_amid_file_drops_and_removals_ends_in_what_the_tree_says() {
    let tree = Tree::new();
    let mut random = Random::new(77);
    let mut present: Vec<String> = Vec::new();
    for round in 0..6 {
        let daemon = Daemon::serve(&tree);
        for number in 0..20 + random.below(30) {
            if !present.is_empty() && random.below(3) == 0 {
                tree.remove(present.swap_remove(random.below(present.len())));
            } else {
                let rpm = Rpm::new(format!("d{round}n{number}"));
                tree.add(&rpm);
                present.push(rpm.file_name());
            }
        }
        std::thread::sleep(Duration::from_micros(random.next() % 30_000));
        daemon.kill();
        if tree.path("repodata/repomd.xml").exists() {
            Metadata::from_tree(tree.root()).unwrap_or_else(|why| panic!("after the kill: {why}"));
        }
        let daemon = Daemon::serve(&tree);
        let names: Vec<_> = present.iter().map(String::as_str).collect();
        daemon.until_exactly(&names).matches_tree(tree.root()).unwrap();
        daemon.stop();
    }
}

#[test]
fn a_graceful_stop_finishes_the_upload_that_is_in_flight() {
    use std::io::Write;
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    // What is smaller is gathered in memory first.
    let rpm = Rpm::new("inflight").payload(8_000_000);
    let bytes = rpm.build();
    let half = bytes.len() / 2;
    let mut stream =
        http::begin_upload(daemon.address(), &daemon.at(&rpm.file_name()), bytes.len(), &bytes[..half]);
    eventually(PATIENCE, "the daemon has begun with it", || daemon.stages_in(&tree).then_some(()));
    daemon.signal(rustix::process::Signal::TERM);
    eventually(PATIENCE, "it stops", || daemon.log().contains("stopping on SIGTERM").then_some(()));
    stream.write_all(&bytes[half..]).unwrap();
    let answer = http::receive(stream, "PUT").unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    daemon.stop_after_signal();
    assert_eq!(fs::read(tree.path(rpm.file_name())).unwrap(), bytes);
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[&rpm.file_name()]);
    daemon.stop();
}
