//! What is published stays whole and stays ours, whatever gets in the way.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::process::Signal;

use crate::world::clients::{self, createrepo_c};
use crate::world::daemon::Publications;
use crate::world::{AtLast, Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, eventually_ok, http};

fn ready(daemon: &Daemon) -> u16 {
    http::send(daemon.address(), "GET", "/-/ready", &[], None).status
}

#[test]
fn metadata_that_are_deleted_come_back_each_time() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    let before = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    for _ in 0..4 {
        fs::rename(tree.path("repodata"), tree.beside("away")).unwrap();
        fs::remove_dir_all(tree.beside("away")).unwrap();
        eventually_ok(PATIENCE, "they are back", || Metadata::from_tree(tree.root()));
    }
    assert_eq!(daemon.metadata().hrefs(), before.hrefs());
    eventually(PATIENCE, "ready", || (ready(&daemon) == 200).then_some(()));
    daemon.stop();
}

#[test]
fn metadata_that_others_wrote_are_put_back_and_the_third_time_once_they_are_quiet_or_somebody_asks() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    // Once by createrepo_c, which also removes what it thinks is old; once by hand. To remove ours is not to write there.
    match createrepo_c("createrepo_c") {
        Some(createrepo) => _ = clients::output(Command::new(createrepo).arg("--quiet").arg(tree.root())),
        None => fs::write(tree.path("repodata/repomd.xml"), "<repomd/>").unwrap(),
    }
    let healed = |what: &str| {
        eventually(PATIENCE, format!("{what}: ours again, on disk too"), || {
            let disk = fs::read(tree.path("repodata/repomd.xml")).ok()?;
            let here = Metadata::from_tree(tree.root()).ok()?;
            (disk == daemon.get("repodata/repomd.xml").body && here.hrefs() == ["a-1.0-1.noarch.rpm"])
                .then_some(())
        });
    };
    eventually(PATIENCE, "the foreign metadata are noticed", || {
        daemon.log().contains("is put back").then_some(())
    });
    healed("createrepo_c was here");
    // Whoever asked during all this was given something whole.
    daemon.metadata();
    fs::remove_file(tree.path("repodata/repomd.xml")).unwrap();
    healed("repomd.xml was removed");
    // createrepo_c may have been seen as one who deletes: then it takes one more.
    let foreign = || fs::read(tree.path("repodata/repomd.xml")).is_ok_and(|bytes| bytes == b"<repomd/>");
    for _ in 0..3 {
        assert_eq!(ready(&daemon), 200);
        fs::write(tree.path("repodata/repomd.xml"), "<repomd/>").unwrap();
        eventually(PATIENCE, "it is replaced, or we stop", || {
            (!foreign() || ready(&daemon) == 503).then_some(())
        });
        if foreign() {
            break;
        }
        healed("somebody else's was written");
    }
    assert_eq!(ready(&daemon), 503);
    assert!(daemon.status().to_string().contains("repomd.xml"), "{}", daemon.status());
    assert_eq!(fs::read_to_string(tree.path("repodata/repomd.xml")).unwrap(), "<repomd/>");
    daemon.metadata();
    // Packages go on being published meanwhile; and somebody who acts is not kept waiting.
    tree.add(&Rpm::new("b"));
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", "b-1.0-1.noarch.rpm"]);
    fs::write(tree.path("repodata/repomd.xml"), "<repomd/>").unwrap();
    daemon.signal(Signal::USR1);
    eventually(PATIENCE, "ours again", || Metadata::from_tree(tree.root()).ok());
    eventually(PATIENCE, "ready", || (ready(&daemon) == 200).then_some(()));
    let log = daemon.log();
    assert!(
        log.contains("something else keeps replacing") && log.contains("is kept up to date again"),
        "{log}"
    );
    daemon.stop();
}

/// What is served names nothing that cannot be fetched, at no moment.
#[test]
fn what_is_served_is_whole_whatever_others_do_to_repodata() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    tree.write("comps.xml", COMPS);
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    let repodata = tree.path("repodata");
    let each = |act: fn(&std::path::Path)| {
        for entry in fs::read_dir(&repodata).into_iter().flatten().flatten() {
            act(&entry.path());
        }
    };
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let over = AtLast(&done);
        let looking = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // One repomd.xml and everything it names.
                daemon.metadata();
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let look = || {
            let before = looks.load(Ordering::Relaxed);
            eventually(PATIENCE, "somebody looks", || {
                (looking.is_finished() || looks.load(Ordering::Relaxed) > before + 1).then_some(())
            });
        };
        let createrepo = createrepo_c("createrepo_c");
        for _ in 0..4 {
            match &createrepo {
                Some(program) => {
                    _ = clients::output(Command::new(program).args(["--quiet", "--update"]).arg(tree.root()));
                }
                None => {
                    fs::write(repodata.join("repomd.xml"), "<repomd/>").unwrap();
                    each(|path| _ = path.ends_with("repomd.xml") || fs::remove_file(path).is_err());
                }
            }
            look();
        }
        each(|path| _ = fs::remove_file(path));
        look();
        _ = fs::remove_dir_all(&repodata);
        look();
        drop(over);
        looking.join().unwrap();
    });
    daemon.signal(Signal::USR1);
    eventually_ok(PATIENCE, "ours again, on disk, too", || Metadata::from_tree(tree.root()));
    assert!(daemon.metadata().records.contains_key("group"), "the same as before");
    daemon.stop();
}

const COMPS: &[u8] =
    b"<comps><group><id>g</id><name>G</name><description>d</description><uservisible>true</uservisible>\
    <packagelist><packagereq type=\"mandatory\">a</packagereq></packagelist></group></comps>";

#[test]
fn files_of_others_in_repodata_stay() {
    let tree = Tree::new();
    tree.write("repodata/comps.xml", b"<comps/>");
    tree.write("repodata/old-primary.xml.gz", b"not ours");
    let daemon = Daemon::configured(&tree, "", "grace = \"1s\"");
    for number in 0..3 {
        tree.add(&Rpm::new(format!("p{number}")));
        daemon.until("one more", |metadata| metadata.packages.len() == number + 1);
    }
    daemon.stop();
    assert_eq!(fs::read(tree.path("repodata/comps.xml")).unwrap(), b"<comps/>");
    assert_eq!(fs::read(tree.path("repodata/old-primary.xml.gz")).unwrap(), b"not ours");
}

#[test]
fn superseded_metadata_go_when_their_grace_is_over() {
    let tree = Tree::new();
    let daemon = Daemon::configured(&tree, "", "grace = \"1s\"");
    for number in 0..6 {
        tree.add(&Rpm::new(format!("p{number}")));
        daemon.until("one more", |metadata| metadata.packages.len() == number + 1);
    }
    // Three files and repomd.xml are current; a publication in the making has its files elsewhere.
    let count = || fs::read_dir(tree.path("repodata")).unwrap().count();
    let mut number = 6;
    eventually(PATIENCE, "only the current files, and those of a second", || {
        tree.add(&Rpm::new(format!("p{number}")));
        number += 1;
        daemon.until("one more", |metadata| metadata.packages.len() == number);
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        (count() <= 7).then_some(())
    });
    daemon.metadata();
    daemon.stop();
}

#[test]
fn what_cannot_be_published_is_stored_and_the_old_metadata_stay() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    let daemon = Daemon::serve(&tree);
    let before = daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    // Nobody can make files in a directory that is none.
    let incoming = tree.path(".createrepod/incoming");
    // In one step: what is missing is made again at once.
    tree.write_beside("repodata", b"in the way");
    let (there, other) = (tree.path("repodata"), tree.beside("repodata"));
    renameat_with(CWD, &there, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    let rpm = Rpm::new("b");
    let answer = daemon.request("PUT", &rpm.file_name(), &[("Prefer", "wait=1")], Some(&rpm.build()));
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.header("Createrepod-State"), Some("pending"));
    assert!(tree.path(rpm.file_name()).is_file());
    assert_eq!(daemon.get("repodata/repomd.xml").body, before.repomd, "readers have the old state");
    eventually(PATIENCE, "not ready", || (ready(&daemon) == 503).then_some(()));
    assert!(daemon.status().to_string().contains("repodata"), "{}", daemon.status());
    assert!(incoming.is_dir());
    // Mended, it goes on by itself.
    fs::remove_file(tree.path("repodata")).unwrap();
    fs::rename(tree.beside("repodata"), tree.path("repodata")).unwrap();
    daemon.until_exactly(&["a-1.0-1.noarch.rpm", &rpm.file_name()]);
    eventually(PATIENCE, "ready again", || (ready(&daemon) == 200).then_some(()));
    daemon.stop();
}

/// As behind nginx: repomd.xml comes from the daemon, what it names is read from the disk.
#[test]
fn a_reader_never_meets_half_a_publication() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let publications = Publications::count_in(&tree);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (daemon, tree, over) = (&daemon, &tree, &over);
        let _over = AtLast(over);
        let read = move |from_disk: bool| {
            let mut seen = 0;
            // Until the last package shows.
            while seen < 60 && !over.load(Ordering::SeqCst) {
                let metadata = match from_disk {
                    true => Metadata::fetch_beside(daemon.address(), "/rpm/", tree.root()),
                    false => Metadata::fetch(daemon.address(), "/rpm/"),
                };
                let metadata = metadata.unwrap_or_else(|why| panic!("{why}"));
                assert!(metadata.packages.len() >= seen, "went back from {seen}: {:?}", metadata.hrefs());
                seen = metadata.packages.len();
            }
        };
        let readers = [scope.spawn(move || read(true)), scope.spawn(move || read(false))];
        for number in 0..60 {
            let rpm = Rpm::new(format!("p{number}"));
            assert_eq!(daemon.put_and_wait(&rpm.file_name(), &rpm.build()).status, 201);
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let made = publications.so_far();
    assert!(made >= 30, "{made} publications");
    daemon.stop();
}
