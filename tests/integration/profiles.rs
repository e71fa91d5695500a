//! What a repository publishes beyond the three files, by its settings.

use std::process::Command;

use createrepod::repodata::Repomd;

use crate::world::clients::{Dnf, createrepo_c, find, output};
use crate::world::daemon::run;
use crate::world::metadata::open;
use crate::world::tree::cp;
use crate::world::{Daemon, Metadata, Rpm, Tree};

fn packages(from: usize, to: usize) -> Vec<Rpm> {
    let package = |n: usize| Rpm::new(format!("p{n}")).file(format!("/usr/share/p{n}/data")).payload(n * 10);
    (from..to).map(package).collect()
}

/// The decompressed text of one file.
fn text_of(tree: &Tree, metadata: &Metadata, kind: &str) -> String {
    let record = &metadata.records[kind];
    let bytes = std::fs::read(tree.path(&record.href)).unwrap();
    String::from_utf8(open(record, bytes).unwrap()).unwrap()
}

/// The package elements of a file, sorted.
fn elements(text: &str) -> Vec<&str> {
    let mut elements: Vec<_> = text.split_inclusive("</package>").map(str::trim).collect();
    elements.retain(|element| element.ends_with("</package>"));
    elements.sort_unstable();
    // The first one stands behind the root element.
    elements.iter_mut().for_each(|element| *element = &element[element.find("<package").unwrap()..]);
    elements.sort_unstable();
    elements
}

/// The same tree elsewhere, without metadata.
fn copy(tree: &Tree) -> Tree {
    let fresh = Tree::new();
    for name in tree.names_in("") {
        cp(["-a".as_ref(), tree.path(&name).as_os_str(), fresh.path(&name).as_os_str()]);
    }
    fresh
}

fn index(tree: &Tree, options: &[&str]) -> Metadata {
    let mut arguments = vec!["index", tree.root().to_str().unwrap()];
    arguments.extend(options);
    let done = run(arguments);
    assert!(done.status.success(), "{}", done.stderr);
    Metadata::from_tree(tree.root()).unwrap()
}

#[test]
fn filelists_ext_is_published_where_it_is_wanted_with_every_change() {
    let tree = Tree::new();
    packages(0, 40).iter().for_each(|rpm| tree.add(rpm));
    let daemon = Daemon::configured(&tree, "", "filelists_ext = true\nmetadata = \"gzip\"");
    daemon.until("the start", |metadata| metadata.packages.len() == 40);
    for rpm in packages(40, 45) {
        daemon.put_and_wait(&rpm.file_name(), &rpm.build());
    }
    tree.remove(packages(7, 8)[0].file_name());
    let metadata = daemon.until("the changes", |metadata| metadata.packages.len() == 44);
    daemon.stop();
    let text = text_of(&tree, &metadata, "filelists-ext");
    assert!(text.contains("<filelists-ext ") && text.contains("packages=\"44\""));
    assert_eq!(elements(&text).len(), 44);

    let fresh = copy(&tree);
    let full = index(&fresh, &["--filelists-ext", "--metadata", "gzip"]);
    assert_eq!(full.records["filelists-ext"].checksum, metadata.records["filelists-ext"].checksum);
    // Without the wish the record is gone.
    let plain = index(&fresh, &["--metadata", "gzip"]);
    assert!(!plain.records.contains_key("filelists-ext"));

    let Some(createrepo_c) = createrepo_c("createrepo_c") else { return };
    let theirs = copy(&tree);
    output(Command::new(createrepo_c).args(["--quiet", "--filelists-ext"]).arg(theirs.root()));
    let read = Metadata::from_tree(theirs.root()).unwrap();
    assert_eq!(elements(&text_of(&theirs, &read, "filelists-ext")), elements(&text));
}

#[test]
fn zchunk_files_are_published_where_they_are_wanted_with_every_change() {
    let tree = Tree::new();
    packages(0, 40).iter().for_each(|rpm| tree.add(rpm));
    let daemon = Daemon::configured(&tree, "", "zchunk = true\nfilelists_ext = true");
    daemon.until("the start", |metadata| metadata.packages.len() == 40);
    for rpm in packages(40, 45) {
        daemon.put_and_wait(&rpm.file_name(), &rpm.build());
    }
    tree.remove(packages(7, 8)[0].file_name());
    let metadata = daemon.until("the changes", |metadata| metadata.packages.len() == 44);
    if let Some(dnf) = Dnf::find() {
        assert_eq!(dnf.nevras(&daemon.url()).len(), 44);
    }
    daemon.stop();

    let fresh = copy(&tree);
    let full = index(&fresh, &["--zchunk", "--filelists-ext"]);
    let repodata = tree.path("repodata");
    for kind in ["primary", "filelists", "other", "filelists-ext"] {
        let zck = format!("{kind}_zck");
        let record = &metadata.records[&zck];
        assert_eq!(full.records[&zck].checksum, record.checksum, "{kind}: one by one as in one go");
        let (Some(unzck), Some(read_header)) = (find("unzck"), find("zck_read_header")) else { continue };
        let path = repodata.join(record.href.rsplit('/').next().unwrap());
        // libzck holds every chunk and the whole against the header's digests.
        let said = output(Command::new(read_header).arg("--verify").arg(&path));
        let header = repomd(&tree).record(&zck).unwrap().header.clone().unwrap();
        assert!(said.contains(&format!("Header checksum: {}", header.0)), "{said}");
        assert!(said.contains(&format!("Header size: {}", header.1)), "{said}");
        let text = output(Command::new(unzck).arg("--stdout").arg(&path));
        assert_eq!(text, text_of(&tree, &metadata, kind));
    }
    // Without the wish the records are gone, at once.
    let plain = index(&fresh, &["--filelists-ext"]);
    assert!(!plain.records.contains_key("primary_zck"));
}

fn repomd(tree: &Tree) -> Repomd {
    Repomd::read(&std::fs::read(tree.path("repodata/repomd.xml")).unwrap()[..]).unwrap()
}
