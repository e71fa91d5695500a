//! Further metadata by PUT and DELETE.

use super::{COMPS, UPDATEINFO, stream, text, walrus};
use crate::world::{Daemon, PATIENCE, Tree, eventually};

#[test]
fn metadata_is_put_checked_and_published_at_once() {
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    let daemon = Daemon::configured(&tree, "", "");
    for (name, kind, content) in [
        ("comps.xml", "group", COMPS.to_owned()),
        ("updateinfo.xml", "updateinfo", UPDATEINFO.to_owned()),
        ("el9/walrus.modulemd.yaml", "modules", stream("walrus", 1)),
        ("productid", "productid", "certificate".to_owned()),
    ] {
        let answer = daemon.put_and_wait(name, content.as_bytes());
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        assert_eq!(answer.header("createrepod-state"), Some("indexed"));
        assert_eq!(text(&tree, &daemon.metadata(), kind), content, "{name}");
        let changed = content.replace("walrus", "seal").replace("certi", "verti");
        let answer = daemon.put_and_wait(name, changed.as_bytes());
        assert_eq!(answer.status, 204, "{name}: {}", answer.text());
        assert_eq!(text(&tree, &daemon.metadata(), kind), changed, "{name}");
        let answer = daemon.request("DELETE", name, &[("Prefer", "wait=60")], None);
        assert_eq!(answer.status, 204, "{name}: {}", answer.text());
        assert!(!daemon.metadata().records.contains_key(kind), "{name}");
    }
    daemon.stop();
}

#[test]
fn what_is_broken_is_not_stored_and_the_answer_says_where() {
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    let daemon = Daemon::configured(&tree, "", "");
    daemon.put_and_wait("comps.xml", COMPS.as_bytes());
    let before = daemon.until("the package", |metadata| metadata.packages.len() == 1);
    let mut bomb = Vec::new();
    let mut encoder = flate2::write::GzEncoder::new(&mut bomb, flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 300 << 20), &mut encoder).unwrap();
    encoder.finish().unwrap();
    for (name, content, why) in [
        ("comps.xml", COMPS.replace("</group>", "").as_bytes(), "line 9: "),
        ("comps.xml.gz", &bomb, "longer than 10000000 bytes"),
        ("productid.gz", &bomb[..1000], "malformed"),
        ("comps.xml", b"<!DOCTYPE comps [<!ENTITY a \"b\">]><comps/>", "line 1: it declares entities"),
        ("updateinfo.xml", b"<updates><update/></updates>", "line 1: an <update> has no <id>"),
        ("modules.yaml", b"---\na: &a [b]\nc: *a\n", "line 3: an alias"),
        ("modules.yaml.gz", b"\x1f\x8b\x08nonsense", "malformed"),
    ] {
        let answer = daemon.put(name, content);
        assert_eq!(answer.status, 422, "{name}: {}", answer.text());
        assert!(answer.text().contains(why), "{name}: {}", answer.text());
    }
    assert_eq!(daemon.metadata().repomd, before.repomd);
    assert_eq!(std::fs::read_to_string(tree.path("comps.xml")).unwrap(), COMPS);
    assert!(!tree.path("updateinfo.xml").exists() && !tree.path("comps.xml.gz").exists());
    eventually(PATIENCE, "nothing half-written to be left", || {
        (tree.leftovers() == [tree.path("comps.xml")]).then_some(())
    });
    // Other names are still not taken.
    let answer = daemon.put("notes.txt", b"x");
    assert_eq!(answer.status, 415, "{}", answer.text());
    assert_eq!(daemon.put("a/comps.xml", COMPS.as_bytes()).status, 415, "only at the top");
    daemon.stop();
}
