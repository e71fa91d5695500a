//! Every way in which a package can come, change and go is seen while the daemon runs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::process::Signal;

use crate::world::clients;
use crate::world::daemon::{Publications, program};
use crate::world::tree::{build_all, cp};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, skipped};

#[test]
fn serve_creates_a_missing_directory_and_publishes_an_empty_repository() {
    let tree = Tree::new();
    fs::remove_dir(tree.root()).unwrap();
    let daemon = Daemon::serve(&tree);
    assert!(tree.root().is_dir());
    daemon.until_exactly(&[]);
    let printed = daemon.stdout();
    assert!(printed.contains(&daemon.url()), "the URL is printed: {printed}");
    assert!(printed.contains("baseurl="), "a .repo snippet is printed: {printed}");
    assert!(printed.contains("curl -T"), "an upload line is printed: {printed}");
    daemon.stop();
}

#[test]
fn packages_that_lie_there_before_the_start_are_published() {
    let tree = Tree::new();
    let (a, b) = (Rpm::new("a"), Rpm::new("b"));
    tree.add(&a);
    tree.write("Packages/b/".to_owned() + &b.file_name(), &b.build());
    let daemon = Daemon::serve(&tree);
    let metadata = daemon.until_exactly(&["a-1.0-1.noarch.rpm", "Packages/b/b-1.0-1.noarch.rpm"]);
    metadata.matches_tree(tree.root()).unwrap();
    daemon.stop();
}

#[test]
fn a_file_written_and_closed_is_published() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    tree.add(&Rpm::new("written"));
    daemon.until_exactly(&["written-1.0-1.noarch.rpm"]);
}

#[test]
fn a_file_moved_in_is_published_and_moved_out_is_gone() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("moved");
    let outside = tree.write_beside("outside.rpm", &rpm.build());
    fs::rename(&outside, tree.path("in.rpm")).unwrap();
    daemon.until_exactly(&["in.rpm"]);
    fs::rename(tree.path("in.rpm"), tree.path("renamed.rpm")).unwrap();
    daemon.until_exactly(&["renamed.rpm"]);
    fs::rename(tree.path("renamed.rpm"), &outside).unwrap();
    daemon.until_exactly(&[]);
}

#[test]
fn a_hard_link_is_published() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let outside = tree.write_beside("outside.rpm", &Rpm::new("linked").build());
    fs::hard_link(&outside, tree.path("linked.rpm")).unwrap();
    daemon.until_exactly(&["linked.rpm"]);
}

#[test]
fn a_symlink_inside_the_tree_is_a_location_of_its_own_and_one_that_leaves_it_is_refused() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    tree.add(&Rpm::new("a"));
    tree.write("by-hash/b", &Rpm::new("b").build());
    symlink("by-hash/b", tree.path("link.rpm")).unwrap();
    // Listed already, under the name it has.
    symlink("a-1.0-1.noarch.rpm", tree.path("again.rpm")).unwrap();
    let outside = tree.write_beside("outside.rpm", &Rpm::new("outside").build());
    symlink(&outside, tree.path("leaves.rpm")).unwrap();
    symlink("nowhere.rpm", tree.path("dangling.rpm")).unwrap();
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "link.rpm"]);
    // The refused one is not forgotten silently, and cannot be read through the door either.
    daemon.signal(Signal::USR1);
    eventually(PATIENCE, "status names the link that leaves the tree", || {
        daemon.status().to_string().contains("leaves.rpm").then_some(())
    });
    assert_eq!(daemon.get("leaves.rpm").status, 404);
    assert_eq!(daemon.metadata().hrefs(), ["a-1.0-1.noarch.rpm", "link.rpm"]);
}

#[test]
fn symlinks_are_followed_never_or_anywhere_when_the_configuration_says_so() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    tree.write("by-hash/c", &Rpm::new("c").build());
    symlink("by-hash/c", tree.path("link.rpm")).unwrap();
    let outside = tree.write_beside("outside/b.rpm", &Rpm::new("b").build());
    symlink(&outside, tree.path("file.rpm")).unwrap();
    symlink(tree.beside("outside"), tree.path("directory")).unwrap();
    let daemon = Daemon::configured(&tree, "", "symlinks = \"never\"");
    daemon.until_exactly(&["a.rpm"]);
    daemon.stop();
    let daemon = Daemon::configured(&tree, "", "symlinks = \"anywhere\"");
    let metadata = daemon.until_exactly(&["a.rpm", "directory/b.rpm", "file.rpm", "link.rpm"]);
    metadata.matches_tree(tree.root()).unwrap();
    for location in metadata.hrefs() {
        assert_eq!(daemon.get(location).status, 200, "{location} is served");
    }
    daemon.stop();
}

#[test]
fn a_directory_symlink_is_followed_and_a_loop_ends() {
    let tree = Tree::new();
    tree.write("real/a.rpm", &Rpm::new("a").build());
    symlink("real", tree.path("other")).unwrap();
    symlink("..", tree.path("real/loop")).unwrap();
    let daemon = Daemon::serve(&tree);
    let metadata = daemon.until("real/a.rpm and other/a.rpm", |metadata| metadata.has("other/a.rpm"));
    assert!(metadata.has("real/a.rpm"));
    assert!(metadata.packages.len() <= 8, "the loop ended: {:?}", metadata.hrefs());
}

#[test]
fn a_replaced_file_shows_its_new_bytes() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let old = Rpm::new("replaced");
    tree.write("replaced.rpm", &old.build());
    let before = daemon.until_exactly(&["replaced.rpm"]);
    let is_new = |metadata: &crate::world::Metadata, version: &str| {
        metadata.package("replaced.rpm").is_some_and(|package| package.version == version)
    };
    // By rename, and written over in place.
    let new = tree.write_beside("new", &Rpm::new("replaced").version("2.0").build());
    fs::rename(new, tree.path("replaced.rpm")).unwrap();
    let after = daemon.until("version 2.0", |metadata| is_new(metadata, "2.0"));
    assert_ne!(before.packages[0].pkgid, after.packages[0].pkgid);
    tree.write("replaced.rpm", &Rpm::new("replaced").version("3.0").payload(50_000).build());
    daemon.until("version 3.0", |metadata| is_new(metadata, "3.0")).matches_tree(tree.root()).unwrap();
}

#[test]
fn a_deleted_file_leaves_the_metadata() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.add(&Rpm::new("b"));
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]);
    tree.remove("a-1.0-1.noarch.rpm");
    daemon.until_exactly(&["b-1.0-1.noarch.rpm"]);
    tree.remove("b-1.0-1.noarch.rpm");
    daemon.until_exactly(&[]);
}

#[test]
fn directories_created_moved_in_full_renamed_and_deleted_are_followed() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    // Created, with files written as fast as can be: some before any watch could be placed.
    for number in 0..30 {
        let rpm = Rpm::new(format!("deep{number}"));
        tree.write(format!("new/{number}/Packages/{}", rpm.file_name()), &rpm.build());
    }
    daemon.until("30 packages in new directories", |metadata| metadata.packages.len() == 30);
    // Moved in with files already inside.
    tree.write_beside("ready/sub/full.rpm", &Rpm::new("full").build());
    fs::rename(tree.beside("ready"), tree.path("moved")).unwrap();
    daemon.until("moved/sub/full.rpm", |metadata| metadata.has("moved/sub/full.rpm"));
    // Renamed; and what is written there afterwards is seen as well.
    fs::rename(tree.path("moved"), tree.path("renamed")).unwrap();
    daemon.until("renamed/sub/full.rpm alone", |metadata| {
        metadata.has("renamed/sub/full.rpm") && !metadata.has("moved/sub/full.rpm")
    });
    tree.write("renamed/sub/later.rpm", &Rpm::new("later").build());
    daemon.until("renamed/sub/later.rpm", |metadata| metadata.has("renamed/sub/later.rpm"));
    // Deleted and moved out.
    fs::remove_dir_all(tree.path("new")).unwrap();
    fs::rename(tree.path("renamed"), tree.beside("gone")).unwrap();
    daemon.until_exactly(&[]);
    // A directory that moved out is no longer listened to.
    fs::write(tree.beside("gone/sub/outside.rpm"), Rpm::new("outside").build()).unwrap();
    tree.add(&Rpm::new("last"));
    daemon.until_exactly(&["last-1.0-1.noarch.rpm"]);
}

#[test]
fn a_directory_whose_name_ends_in_rpm_is_walked() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    tree.write("odd.rpm/inside.rpm", &Rpm::new("inside").build());
    daemon.until_exactly(&["odd.rpm/inside.rpm"]);
}

#[test]
fn a_file_still_being_written_is_not_indexed() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("slow").payload(300_000).build();
    let mut file = File::create(tree.path("slow.rpm")).unwrap();
    for (number, part) in bytes.chunks(bytes.len() / 3 + 1).enumerate() {
        file.write_all(part).unwrap();
        file.sync_all().unwrap();
        // A publication passes while the file is open.
        let other = Rpm::new(format!("other{number}"));
        tree.add(&other);
        let metadata = daemon.until("the other package", |metadata| metadata.has(&other.file_name()));
        let all_there = fs::metadata(tree.path("slow.rpm")).unwrap().len() == bytes.len() as u64;
        assert!(!metadata.has("slow.rpm") || all_there, "half a package was published");
    }
    drop(file);
    daemon
        .until("the package, once closed", |metadata| metadata.has("slow.rpm"))
        .matches_tree(tree.root())
        .unwrap();
    let rejected = daemon.status().to_string();
    assert!(!rejected.contains("slow.rpm"), "nothing of it is left as rejected: {rejected}");
}

#[test]
fn hidden_names_and_the_daemons_own_are_left_out_by_exact_name() {
    let tree = Tree::new();
    let bytes = Rpm::new("a").build();
    for name in
        [".hidden.rpm", ".hidden/a.rpm", "repodata/a.rpm", "sub/.hidden/a.rpm", "UPPER.RPM", "a.rpm.part"]
    {
        tree.write(name, &bytes);
    }
    let daemon = Daemon::serve(&tree);
    for name in [".later.rpm", ".later/a.rpm", ".createrepod/a.rpm", "repodata/later.rpm"] {
        tree.write(name, &bytes);
    }
    for name in ["createrepodata-1.rpm", "repodata.rpm", "sub/xrepodata/a.rpm", "repodata-1/a.rpm"] {
        tree.write(name, &bytes);
    }
    let wanted = ["createrepodata-1.rpm", "repodata-1/a.rpm", "repodata.rpm", "sub/xrepodata/a.rpm"];
    daemon.until_exactly(&wanted);
    daemon.signal(Signal::USR1);
    tree.add(&Rpm::new("last"));
    let metadata = daemon.until("the last one", |metadata| metadata.has("last-1.0-1.noarch.rpm"));
    assert_eq!(metadata.packages.len(), wanted.len() + 1, "{:?}", metadata.hrefs());
}

#[test]
fn usr1_compares_everything_and_publishes_nothing_when_nothing_changed() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    let before = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let publications = Publications::count_in(&tree);
    for _ in 0..3 {
        daemon.signal(Signal::USR1);
    }
    // The comparison has been made once this later package is there.
    tree.add(&Rpm::new("b"));
    let after = daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]);
    assert_eq!(publications.so_far(), 1);
    assert!(after.revision >= before.revision);
    // What came while nobody watched is found by the comparison: the daemon hears no events for link targets outside.
    daemon.signal(Signal::USR1);
    assert!(daemon.get("repodata/repomd.xml").body == after.repomd);
}

#[test]
fn an_unchanged_tree_publishes_nothing_at_a_restart() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    let before = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    daemon.stop();
    let daemon = Daemon::serve(&tree);
    tree.write(".wake", b"");
    let after = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    assert_eq!(String::from_utf8_lossy(&before.repomd), String::from_utf8_lossy(&after.repomd));
    daemon.stop();
}

#[test]
fn changes_made_while_the_daemon_was_stopped_are_found() {
    let tree = Tree::new();
    for name in ["stays", "goes", "changes"] {
        tree.write(format!("{name}.rpm"), &Rpm::new(name).build());
    }
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["changes.rpm", "goes.rpm", "stays.rpm"]);
    daemon.stop();
    tree.remove("goes.rpm");
    tree.write("changes.rpm", &Rpm::new("changes").version("2.0").build());
    tree.write("new/comes.rpm", &Rpm::new("comes").build());
    let daemon = Daemon::serve(&tree);
    let metadata = daemon.until_exactly(&["changes.rpm", "new/comes.rpm", "stays.rpm"]);
    assert_eq!(metadata.package("changes.rpm").unwrap().version, "2.0");
    metadata.matches_tree(tree.root()).unwrap();
    daemon.stop();
}

#[test]
fn a_file_time_that_changes_is_published() {
    let tree = Tree::new();
    tree.write("a.rpm", &Rpm::new("a").build());
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a.rpm"]);
    crate::world::tree::set_mtime(&tree.path("a.rpm"), 1_500_000_000);
    daemon.signal(Signal::USR1);
    daemon.until("the file time", |metadata| metadata.packages[0].file_time == 1_500_000_000);
}

#[test]
fn an_overflowing_queue_of_events_loses_nothing() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 50_000 {
        skipped(format!("fs.inotify.max_queued_events is {limit}: too many to fill the queue"));
        return;
    }
    // While the daemon sleeps, the kernel counts: at least three events for each file.
    daemon.signal(Signal::STOP);
    fs::create_dir(tree.path("before")).unwrap();
    for number in 0..limit / 3 + 1_000 {
        fs::write(tree.path(format!("noise{number}")), "x").unwrap();
    }
    for number in 0..50 {
        tree.add(&Rpm::new(format!("p{number:02}")));
        tree.write(format!("new/deep/q{number:02}.rpm"), &Rpm::new(format!("q{number:02}")).build());
    }
    daemon.signal(Signal::CONT);
    daemon.until("everything that was not told", |metadata| metadata.packages.len() == 100);
    // Directories that nobody told of are watched now.
    tree.write("new/deep/later.rpm", &Rpm::new("later").build());
    daemon.until("the later one", |metadata| metadata.has("new/deep/later.rpm"));
    assert!(daemon.log().contains("max_queued_events"), "it is said: {}", daemon.log());
    daemon.stop();
}

#[test]
fn where_watches_run_out_the_tree_is_polled_and_the_warning_names_the_sysctl() {
    let Some(unshare) = clients::find("unshare") else { return };
    let tree = Tree::new();
    for number in 0..20 {
        tree.write(format!("d{number}/p{number}.rpm"), &Rpm::new(format!("p{number}")).build());
    }
    // A user namespace has a limit of its own.
    let limited = |program: &std::ffi::OsStr| {
        let mut command = Command::new(&unshare);
        command.args(["-Ur", "sh", "-c", "echo 5 > /proc/sys/user/max_inotify_watches && exec \"$@\"", "sh"]);
        command.arg(program);
        command
    };
    if !limited("true".as_ref()).output().is_ok_and(|tried| tried.status.success()) {
        skipped("user namespaces are not allowed here: watches that run out");
        return;
    }
    let mut command = limited(program().get_program());
    command.arg("serve").arg(tree.root()).args(["--listen", "127.0.0.1:0"]);
    let daemon = Daemon::start_as(command, "/rpm/");
    daemon.until("all that lay there", |metadata| metadata.packages.len() == 20);
    eventually(PATIENCE, "the sysctl is named", || daemon.log().contains("max_user_watches").then_some(()));
    assert!(daemon.status().to_string().contains("max_user_watches"), "{}", daemon.status());
    tree.write("d19/later.rpm", &Rpm::new("later").build());
    tree.write("new/deep.rpm", &Rpm::new("deep").build());
    tree.remove("d0/p0.rpm");
    daemon.until_within(3 * PATIENCE, "what polling finds", |metadata| {
        metadata.packages.len() == 21 && metadata.has("d19/later.rpm") && metadata.has("new/deep.rpm")
    });
    daemon.stop();
}

#[test]
fn the_periodic_comparison_finds_what_no_event_tells() {
    let tree = Tree::new();
    tree.write_beside("outside/a.rpm", &Rpm::new("a").build());
    symlink(tree.beside("outside"), tree.path("linked")).unwrap();
    let daemon = Daemon::configured(&tree, "", "symlinks = \"anywhere\"\nrescan = \"1s\"");
    daemon.until_exactly(&["linked/a.rpm"]);
    // Nothing in the tree itself changes.
    tree.write_beside("outside/b.rpm", &Rpm::new("b").build());
    daemon.until_exactly(&["linked/a.rpm", "linked/b.rpm"]);
    fs::remove_file(tree.beside("outside/a.rpm")).unwrap();
    daemon.until_exactly(&["linked/b.rpm"]);
    daemon.stop();
}

#[test]
fn ten_thousand_files_copied_in_are_published_in_at_most_twenty_publications() {
    const COUNT: usize = 10_000;
    let tree = Tree::new();
    let rpms: Vec<_> = (0..COUNT).map(|number| Rpm::new(format!("many{number:05}"))).collect();
    for (number, (name, bytes)) in build_all(&rpms).into_iter().enumerate() {
        tree.write_beside(format!("source/{}/{name}", number % 20), &bytes);
    }
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let publications = Publications::count_in(&tree);
    cp([tree.beside("source").as_os_str(), tree.path("copied").as_os_str(), "-r".as_ref()]);
    let limit = 3 * PATIENCE;
    let metadata = daemon.until_within(limit, "all published", |metadata| metadata.packages.len() == COUNT);
    let made = publications.so_far();
    assert!((1..=20).contains(&made), "{made} publications");
    metadata.matches_tree(tree.root()).unwrap();
    daemon.stop();
}
