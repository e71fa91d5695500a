//! Groups, advisories, modules and other metadata beyond packages: what lies in the directory is read by
//! real clients, and what is broken changes nothing.

mod compressions;
mod lifecycle;
mod modules;
mod upload;
mod verdicts;

use std::fs;
use std::path::{Path, PathBuf};

use crate::world::clients::{Dnf, Zypper};
use crate::world::daemon::run;
use crate::world::metadata::open;
use crate::world::{Daemon, Metadata, Rpm, Tree, shared, skipped};

const COMPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>sea</id><name>Sea animals</name><description>d</description>
    <default>true</default><uservisible>true</uservisible>
    <packagelist><packagereq type="mandatory">walrus</packagereq></packagelist>
  </group>
</comps>
"#;

const UPDATEINFO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="me@example.com" status="stable" type="security" version="1">
    <id>SEA-2024-1</id><title>walrus</title><severity>Important</severity>
    <issued date="2024-01-02 03:04:05"/><updated date="2024-01-02 03:04:05"/>
    <description>Teeth &amp; whiskers</description><references/>
    <pkglist><collection short="s"><name>s</name>
      <package name="walrus" epoch="0" version="2.0" release="1" arch="noarch" src="walrus-2.0-1.src.rpm">
        <filename>walrus-2.0-1.noarch.rpm</filename>
      </package>
    </collection></pkglist>
  </update>
</updates>
"#;

fn stream(name: &str, version: u32) -> String {
    format!(
        "---\ndocument: modulemd\nversion: 2\ndata:\n  name: {name}\n  stream: \"5.10\"\n  version: {version}\n  \
         context: c0ffee42\n  arch: noarch\n  summary: A module of {name}\n  description: d\n  license:\n    \
         module: [MIT]\n  profiles:\n    default:\n      rpms: [walrus]\n...\n"
    )
}

fn defaults(name: &str) -> String {
    format!(
        "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: {name}\n  modified: 202401020304\n  \
         stream: \"5.10\"\n  profiles:\n    \"5.10\": [default]\n...\n"
    )
}

fn walrus(version: &str) -> Rpm {
    Rpm::new("walrus").version(version).file("/usr/bin/walrus")
}

fn stocked() -> Tree {
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    tree.add(&walrus("2.0"));
    tree.write("comps.xml", COMPS.as_bytes());
    tree.write("updateinfo.xml", UPDATEINFO.as_bytes());
    tree.write("modules/walrus.modulemd.yaml", stream("walrus", 1).as_bytes());
    tree.write("modules/walrus.modulemd-defaults.yaml", defaults("walrus").as_bytes());
    tree
}

/// What a record holds, uncompressed.
fn text(tree: &Tree, metadata: &Metadata, kind: &str) -> String {
    let record = metadata.records.get(kind).unwrap_or_else(|| panic!("no {kind} in {:?}", metadata.records));
    String::from_utf8(open(record, fs::read(tree.path(&record.href)).unwrap()).unwrap()).unwrap()
}

fn index(tree: &Tree, options: &[&str]) -> (Metadata, String) {
    let mut arguments = vec!["index", tree.root().to_str().unwrap()];
    arguments.extend(options);
    let done = run(arguments);
    assert!(done.status.success(), "{}", done.stderr);
    (Metadata::from_tree(tree.root()).unwrap(), done.stdout + &done.stderr)
}

#[test]
fn dnf_reads_groups_advisories_and_modules_in_each_profile() {
    for profile in ["zstd", "gzip", "el7", "el6"] {
        let tree = stocked();
        let daemon = Daemon::configured(&tree, "", &format!("metadata = \"{profile}\""));
        daemon.until("all", |metadata| {
            metadata.records.contains_key("modules") && metadata.packages.len() == 2
        });
        let Some(dnf) = Dnf::find() else { return };
        assert_dnf_reads_all(&dnf, &daemon.url(), profile);
        daemon.stop();
    }
}

/// dnf lists the groups, modules and advisories of a repository that has what [`stocked`] has.
fn assert_dnf_reads_all(dnf: &Dnf, url: &str, what: &str) {
    let groups = dnf.say(url, &["group", "list", "--hidden"]);
    assert!(groups.contains("Sea animals") || groups.contains("sea"), "{what}: {groups}");
    let modules = dnf.say(url, &["module", "list"]);
    let line = modules.lines().find(|line| line.starts_with("walrus")).unwrap_or_else(|| panic!("{modules}"));
    assert!(line.contains("5.10") && line.contains("[d]"), "{what}: {line}");
    // An advisory is listed to those who have what it mends.
    dnf.install(url, "walrus-1.0");
    let advisories = dnf.say(url, &["updateinfo", "list"]);
    assert!(
        advisories.contains("SEA-2024-1") && advisories.contains("walrus-2.0-1.noarch"),
        "{what}: {advisories}"
    );
}

#[test]
fn zypper_lists_the_patches() {
    let tree = stocked();
    for profile in ["zstd", "gzip", "el7", "el6"] {
        let daemon = Daemon::configured(&tree, "", &format!("metadata = \"{profile}\""));
        let suffix = if profile == "zstd" { ".zst" } else { ".gz" };
        daemon.until("the profile", |metadata| {
            metadata.records.get("updateinfo").is_some_and(|record| record.href.ends_with(suffix))
                && metadata.records.contains_key("primary_db") == profile.starts_with("el")
        });
        let Some(zypper) = Zypper::find() else { return };
        zypper.add(&daemon.url());
        let patches = zypper.patches();
        assert!(patches.contains("SEA-2024-1") && patches.contains("security"), "{profile}: {patches}");
        daemon.stop();
    }
}

#[test]
fn the_gzip_profile_has_comps_in_the_two_forms_old_clients_know() {
    let tree = stocked();
    let (metadata, _) = index(&tree, &["--metadata", "gzip"]);
    let href = |kind: &str| metadata.records[kind].href.clone();
    assert!(href("group").ends_with("-comps.xml") && href("group_gz").ends_with("-comps.xml.gz"));
    assert!(
        href("updateinfo").ends_with("-updateinfo.xml.gz") && href("modules").ends_with("-modules.yaml.gz")
    );
    for kind in ["group", "group_gz"] {
        assert_eq!(text(&tree, &metadata, kind), COMPS);
    }
    let (metadata, _) = index(&tree, &[]);
    assert!(metadata.records["group"].href.ends_with("-comps.xml.zst"));
    assert!(!metadata.records.contains_key("group_gz"), "{:?}", metadata.records);
    assert_eq!(text(&tree, &metadata, "updateinfo"), UPDATEINFO);
}

/// Every file below a directory, uncompressed by the program's own name for it.
fn files_below(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, into) } else { into.push(path) }
    }
}

#[test]
fn real_metadata_is_published_without_loss_or_refused_with_its_line() {
    let Some(shared) = shared() else {
        return skipped("the corpus of real metadata is not here (CREATEREPOD_SHARED)");
    };
    let mut files = Vec::new();
    files_below(&shared.join("corpus/repodata"), &mut files);
    let (mut published, mut refused) = (0, Vec::new());
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some((usual, kind)) =
            [("comps", "group"), ("updateinfo", "updateinfo")].into_iter().find(|(part, _)| {
                name.contains(&format!("{part}.xml")) || name.contains(&format!("{part}_fixture.xml"))
            })
        else {
            continue;
        };
        let tree = Tree::new();
        let suffix = [".gz", ".zst", ".xz", ".bz2", ".zck"]
            .into_iter()
            .find(|s| name.ends_with(s))
            .unwrap_or_default();
        tree.write(format!("{usual}.xml{suffix}"), &fs::read(&path).unwrap());
        let (metadata, said) = index(&tree, &[]);
        let Some(record) = metadata.records.get(kind) else {
            assert!(
                said.contains("line ") || said.contains("cannot") || said.contains("malformed"),
                "{path:?}: {said}"
            );
            refused.push((path, said));
            continue;
        };
        assert_eq!(record.timestamp, metadata.revision);
        // The same text again is the same file: nothing is added on the way.
        let plain = text(&tree, &metadata, kind);
        let again = Tree::new();
        again.write(format!("{usual}.xml"), plain.as_bytes());
        assert_eq!(index(&again, &[]).0.records[kind].checksum, record.checksum, "{path:?}");
        if suffix.is_empty() {
            assert_eq!(plain.as_bytes(), fs::read(&path).unwrap(), "{path:?}");
        }
        published += 1;
    }
    eprintln!("{published} published, {} refused: {refused:#?}", refused.len());
    assert!(published > 30 && refused.len() < 10, "{published} published, refused: {refused:#?}");
}
