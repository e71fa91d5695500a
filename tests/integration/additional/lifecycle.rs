//! From the file that comes to the file that goes.

use std::process::Command;

use super::{COMPS, UPDATEINFO, defaults, index, stocked, stream, text, walrus};
use crate::world::clients::{createrepo_c, output};
use crate::world::daemon::rejected;
use crate::world::tree::{cp, set_mtime};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually};

/// Waits until a file is rejected, and returns why.
fn reason(daemon: &Daemon, location: &str) -> String {
    eventually(PATIENCE, format!("{location} to be rejected"), || {
        rejected(&daemon.status()).into_iter().find(|(at, _)| at == location).map(|(_, why)| why)
    })
}

#[test]
fn a_file_is_published_when_it_comes_again_when_it_changes_and_no_longer_when_it_goes() {
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    let daemon = Daemon::configured(&tree, "", "");
    let first = daemon.until("the package", |metadata| metadata.packages.len() == 1);
    for (name, kind, one) in [
        ("comps.xml", "group", COMPS.to_owned()),
        ("updateinfo.xml", "updateinfo", UPDATEINFO.to_owned()),
        ("modules.yaml", "modules", stream("walrus", 1)),
        ("productid", "productid", "-----BEGIN CERTIFICATE-----\n".to_owned()),
        ("appstream.xml", "appstream", "<components/>\n".to_owned()),
    ] {
        tree.write(name, one.as_bytes());
        let metadata = daemon.until(name, |metadata| metadata.records.contains_key(kind));
        assert_eq!(text(&tree, &metadata, kind), one, "{name}");
        assert_eq!(
            metadata.records["primary"], first.records["primary"],
            "what did not change stays as it is"
        );
        let two = one
            .replace("walrus", "dugong")
            .replace("CERT", "cert")
            .replace("<components/>", "<components></components>");
        tree.write(name, two.as_bytes());
        daemon.until("the change", |metadata| text(&tree, metadata, kind) == two);
        tree.remove(name);
        daemon.until("the removal", |metadata| !metadata.records.contains_key(kind));
    }
    daemon.stop();
}

#[test]
fn a_broken_file_is_refused_with_its_line_and_what_was_good_stays() {
    let tree = stocked();
    let daemon = Daemon::configured(&tree, "", "");
    let good = daemon
        .until("all", |metadata| metadata.records.contains_key("modules") && metadata.packages.len() == 2);
    tree.write("comps.xml", COMPS.replace("<id>sea</id>", "").as_bytes());
    let why = reason(&daemon, "comps.xml");
    assert!(why.contains("line 8: a <group> has no <id>"), "{why}");
    assert!(daemon.log().contains("rejects comps.xml: malformed comps.xml: line 8"), "{}", daemon.log());
    tree.write("updateinfo.xml", b"<updates><update>");
    assert!(reason(&daemon, "updateinfo.xml").contains("line 1: it ends before </update>"));
    tree.write("modules/walrus.modulemd.yaml", stream("walrus", 1).replace("license", "licence").as_bytes());
    assert!(reason(&daemon, "modules/walrus.modulemd.yaml").contains("data.license is missing"));
    // Packages go on, and with them what was good last.
    tree.add(&Rpm::new("seal"));
    let after = daemon.until("the package", |metadata| metadata.packages.len() == 3);
    for kind in ["group", "updateinfo", "modules"] {
        assert_eq!(after.records[kind], good.records[kind], "{kind}");
    }
    // Another module is published beside the one that is broken.
    tree.write("seal.modulemd.yaml", stream("seal", 1).as_bytes());
    let beside = daemon.until("seal", |metadata| text(&tree, metadata, "modules").contains("name: seal"));
    assert!(text(&tree, &beside, "modules").contains("name: walrus"));
    daemon.stop();

    // A restart changes nothing, and neither does the loss of the catalog.
    let daemon = Daemon::configured(&tree, "", "");
    reason(&daemon, "comps.xml");
    daemon.put_and_wait("otter.rpm", &Rpm::new("otter").build());
    let restarted = daemon.metadata();
    daemon.stop();
    std::fs::remove_dir_all(tree.beside("state")).unwrap();
    for name in ["comps.xml", "updateinfo.xml", "modules/walrus.modulemd.yaml", "seal.modulemd.yaml"] {
        set_mtime(&tree.path(name), 1_700_000_000);
    }
    set_mtime(&tree.path("modules/walrus.modulemd-defaults.yaml"), 1_700_000_000);
    let daemon = Daemon::configured(&tree, "", "");
    reason(&daemon, "comps.xml");
    let lost = daemon.until("the catalog", |_| daemon.status().to_string().contains("\"packages\":4"));
    for kind in ["group", "updateinfo", "modules"] {
        assert_eq!(lost.records[kind], restarted.records[kind], "{kind}");
    }
    // Mended, it is taken.
    tree.write("comps.xml", COMPS.replace("walrus", "otter").as_bytes());
    daemon.until("the mended file", |metadata| text(&tree, metadata, "group").contains("otter"));
    assert!(!rejected(&daemon.status()).iter().any(|(at, _)| at == "comps.xml"));
    daemon.stop();
}

#[test]
fn whatever_way_it_came_to_be_it_is_what_one_full_run_makes() {
    let tree = stocked();
    let daemon = Daemon::configured(&tree, "", "");
    daemon.until("all", |metadata| metadata.records.contains_key("modules") && metadata.packages.len() == 2);
    tree.write("a/b/modules.yaml", (stream("dugong", 3) + &defaults("dugong")).as_bytes());
    tree.write("z.modulemd.yaml", stream("walrus", 2).as_bytes());
    tree.write("comps.xml", COMPS.replace("walrus", "dugong").as_bytes());
    tree.remove("updateinfo.xml");
    let metadata = daemon.until("the changes", |metadata| {
        !metadata.records.contains_key("updateinfo")
            && text(&tree, metadata, "group").contains("dugong")
            && text(&tree, metadata, "modules").matches("document: modulemd\n").count() == 3
    });
    daemon.stop();
    let fresh = Tree::new();
    for name in tree.names_in("") {
        cp(["-a".as_ref(), tree.path(&name).as_os_str(), fresh.path(&name).as_os_str()]);
    }
    let (full, _) = index(&fresh, &[]);
    assert_eq!(full.records.len(), 5);
    for (kind, record) in &full.records {
        assert_eq!(record.checksum, metadata.records[kind].checksum, "{kind}");
    }
    let (again, said) = index(&fresh, &[]);
    assert!(said.contains("nothing changed") && again.repomd == full.repomd, "{said}");
    // Without its memory it comes to the same result.
    std::fs::remove_dir_all(fresh.path(".createrepod")).unwrap();
    let (again, _) = index(&fresh, &[]);
    assert_eq!(again.repomd, full.repomd);
}

#[test]
fn a_configuration_names_files_inside_and_outside_and_leaves_others_out() {
    let tree = stocked();
    tree.write("meta/el9.xml", COMPS.replace("walrus", "narwhal").as_bytes());
    let outside = tree.write_beside("69.pem", b"-----BEGIN CERTIFICATE-----\n");
    let settings = format!(
        "additional_metadata = {{ group = \"meta/el9.xml\", productid = \"{}\", updateinfo = \"\" }}",
        outside.display()
    );
    let daemon = Daemon::configured(&tree, "", &settings);
    let metadata = daemon
        .until("all", |metadata| metadata.records.contains_key("productid") && metadata.packages.len() == 2);
    assert!(text(&tree, &metadata, "group").contains("narwhal"));
    assert_eq!(text(&tree, &metadata, "productid"), "-----BEGIN CERTIFICATE-----\n");
    assert!(!metadata.records.contains_key("updateinfo"));
    tree.write("meta/el9.xml", COMPS.as_bytes());
    daemon.until("the change inside", |metadata| text(&tree, metadata, "group").contains("walrus"));
    tree.write_beside("69.pem", b"-----BEGIN CERTIFICATE-----\nrenewed\n");
    daemon.put_and_wait("seal.rpm", &Rpm::new("seal").build());
    daemon.until("the change outside", |metadata| text(&tree, metadata, "productid").contains("renewed"));
    daemon.stop();
}

#[test]
fn of_two_files_for_one_thing_the_plain_one_is_taken_and_the_other_is_named() {
    let tree = stocked();
    output(Command::new("gzip").args(["-k", "-n"]).arg(tree.path("comps.xml")));
    let daemon = Daemon::configured(&tree, "", "");
    let why = reason(&daemon, "comps.xml.gz");
    assert!(why.contains("comps.xml holds the group metadata already"), "{why}");
    tree.remove("comps.xml");
    eventually(PATIENCE, "the other to be taken", || rejected(&daemon.status()).is_empty().then_some(()));
    assert_eq!(text(&tree, &daemon.metadata(), "group"), COMPS);
    daemon.stop();
}

#[test]
fn what_createrepo_c_published_is_kept_until_a_file_takes_its_place() {
    let Some(createrepo_c) = createrepo_c("createrepo_c") else { return };
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    let comps = tree.write_beside("theirs.xml", COMPS.as_bytes());
    output(Command::new(createrepo_c).arg("--quiet").arg("-g").arg(comps).arg(tree.root()));
    let (kept, _) = index(&tree, &[]);
    assert_eq!(text(&tree, &kept, "group"), COMPS);
    tree.add(&walrus("2.0"));
    let (kept, _) = index(&tree, &[]);
    assert_eq!(text(&tree, &kept, "group"), COMPS);
    tree.write("comps.xml", COMPS.replace("walrus", "seal").as_bytes());
    let (replaced, _) = index(&tree, &[]);
    assert!(text(&tree, &replaced, "group").contains("seal"));
    tree.remove("comps.xml");
    let (gone, _) = index(&tree, &[]);
    assert!(!gone.records.contains_key("group"), "{:?}", gone.records);
}
