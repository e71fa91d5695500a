//! Each profile publishes nothing that its clients cannot read, whatever is put into the directory, and whatever
//! somebody else has published there: every file is read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use createrepod::repodata::codec::Limits;
use createrepod::repodata::{Codec, Repomd};

use super::{COMPS, UPDATEINFO, index, stocked, stream, text};
use crate::world::clients::{Dnf, createrepo_c, output};
use crate::world::tree::set_mtime;
use crate::world::{Daemon, Metadata, Rpm, Tree};

const PROFILES: [&str; 4] = ["zstd", "gzip", "el7", "el6"];

/// The compressions that all clients of a profile know.
fn known(profile: &str) -> &'static [Codec] {
    match profile {
        "zstd" => &[Codec::None, Codec::Gzip, Codec::Bzip2, Codec::Xz, Codec::Zstd],
        "gzip" | "el7" => &[Codec::None, Codec::Gzip, Codec::Bzip2, Codec::Xz],
        _ => &[Codec::None, Codec::Gzip, Codec::Bzip2],
    }
}

fn packed(codec: Codec, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = codec.create(&mut bytes).unwrap();
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap();
    bytes
}

fn unpacked(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    Codec::open(bytes, Limits { open_size: None }).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

/// The name of a file without its compression, that, and what it holds.
type Odd = (&'static str, Codec, Vec<u8>);

/// Packages, and metadata of every kind in compressions that not everybody knows.
fn odd_ones() -> (Tree, BTreeMap<&'static str, Odd>) {
    let tree = stocked();
    for name in ["comps.xml", "updateinfo.xml", "modules/walrus.modulemd.yaml"] {
        tree.remove(name);
    }
    tree.remove("modules/walrus.modulemd-defaults.yaml");
    let odd = [
        ("group", "comps.xml", Codec::Xz, COMPS.as_bytes().to_vec()),
        ("updateinfo", "updateinfo.xml", Codec::Xz, UPDATEINFO.as_bytes().to_vec()),
        ("modules", "modules.yaml", Codec::Zstd, stream("walrus", 1).into_bytes()),
        ("appstream", "appstream.xml", Codec::Xz, b"<components/>\n".to_vec()),
        ("susedata", "susedata.xml", Codec::Zstd, b"<susedata/>\n".to_vec()),
        ("license", "license.tar", Codec::Xz, vec![b'l'; 10240]),
        ("patterns", "patterns.xml", Codec::Bzip2, b"<patterns/>\n".to_vec()),
        ("productid", "productid", Codec::None, b"-----BEGIN CERTIFICATE-----\n".to_vec()),
    ];
    for (_, name, codec, text) in &odd {
        tree.write(format!("{name}{}", codec.suffix()), &packed(*codec, text));
    }
    // What it is called is not what it is.
    tree.write("products.xml.gz", &packed(Codec::Xz, b"<products/>\n"));
    let products = ("products.xml", Codec::Gzip, b"<products/>\n".to_vec());
    let all = odd.into_iter().map(|(kind, name, codec, text)| (kind, (name, codec, text)));
    (tree, all.chain([("products", products)]).collect())
}

/// Reads the files with these names, and what they hold: all must be compressed as clients of the profile know.
fn assert_readable<'n>(repodata: &Path, names: impl IntoIterator<Item = &'n str>, profile: &str) -> usize {
    let mut count = 0;
    for name in names {
        let bytes = fs::read(repodata.join(name)).unwrap();
        for codec in [Codec::of_name(name), Codec::of_bytes(&bytes), Codec::of_bytes(&unpacked(&bytes))] {
            assert!(known(profile).contains(&codec), "{profile}: {name} is {codec:?}");
        }
        count += 1;
    }
    count
}

/// The same of all that repomd.xml names.
fn assert_shown_is_readable(tree: &Tree, profile: &str) -> usize {
    let repodata = tree.path("repodata");
    let repomd = Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]).unwrap();
    let names = repomd.records.iter().map(|record| record.href.rsplit('/').next().unwrap());
    assert_readable(&repodata, names, profile)
}

fn kinds(metadata: &Metadata) -> Vec<&str> {
    metadata.records.keys().map(String::as_str).collect()
}

#[test]
fn no_xz_is_anywhere_in_a_repository_for_el6_and_nothing_unreadable_in_any() {
    for profile in PROFILES {
        let (tree, odd) = odd_ones();
        let daemon = Daemon::configured(&tree, "", &format!("metadata = \"{profile}\""));
        let metadata = daemon.until("all", |metadata| {
            metadata.packages.len() == 2 && odd.keys().all(|kind| metadata.records.contains_key(*kind))
        });
        daemon.stop();
        // Everything that lies there, whether repomd.xml names it or not.
        let names = tree.names_in("repodata");
        let read = assert_readable(&tree.path("repodata"), names.iter().map(String::as_str), profile);
        assert!(read > metadata.records.len(), "{names:?}");
        for (kind, (name, codec, expected)) in &odd {
            let record = &metadata.records[*kind];
            assert_eq!(text(&tree, &metadata, kind).as_bytes(), expected, "{profile}: {kind}");
            let is_packed_by_us = matches!(*kind, "group" | "updateinfo" | "modules");
            let is_misnamed = *kind == "products";
            let suffix = if is_packed_by_us {
                continue;
            } else if known(profile).contains(codec) && !is_misnamed {
                let source = fs::read(tree.path(format!("{name}{}", codec.suffix()))).unwrap();
                let published = fs::read(tree.path(&record.href)).unwrap();
                assert_eq!(published, source, "{profile}: {kind} goes out byte for byte");
                codec.suffix()
            } else {
                ".gz"
            };
            let rest = name.find('.').map_or("", |dot| &name[dot..]);
            assert!(record.href.ends_with(&format!("-{kind}{rest}{suffix}")), "{profile}: {}", record.href);
        }
    }
}

#[test]
fn a_profile_that_changes_changes_all_that_its_clients_cannot_read() {
    let (tree, odd) = odd_ones();
    for profile in ["el7", "el6", "gzip", "zstd", "el6", "el7"] {
        let (metadata, _) = index(&tree, &["--metadata", profile]);
        assert!(odd.keys().all(|kind| metadata.records.contains_key(*kind)), "{profile}: {metadata:?}");
        assert!(assert_shown_is_readable(&tree, profile) >= odd.len() + 3);
        let (again, said) = index(&tree, &["--metadata", profile]);
        assert!(said.contains("nothing changed") && again.repomd == metadata.repomd, "{profile}: {said}");
    }
    // A file that is broken now is no reason to show what clients cannot read, nor to lose what it said.
    index(&tree, &["--metadata", "el7"]);
    tree.write("appstream.xml.xz", &packed(Codec::Xz, b"<components>"));
    let (metadata, _) = index(&tree, &["--metadata", "el6"]);
    assert_eq!(text(&tree, &metadata, "appstream"), "<components/>\n");
    assert_shown_is_readable(&tree, "el6");
}

/// A repository as createrepo_c leaves it behind, whose sources are gone.
fn of_createrepo_c(compression: &str) -> Option<Tree> {
    let createrepo_c = createrepo_c("createrepo_c")?;
    let tree = stocked();
    tree.remove("comps.xml");
    tree.remove("updateinfo.xml");
    // Whether all changelogs are there can be told only where another package has more.
    tree.add(&Rpm::new("whale").changelogs(3));
    for name in tree.names_in("").iter().filter(|name| name.ends_with(".rpm")) {
        set_mtime(&tree.path(name), 1_600_000_000);
    }
    let comps = tree.write_beside("comps.xml", COMPS.as_bytes());
    let updateinfo = tree.write_beside("updateinfo.xml", UPDATEINFO.as_bytes());
    let appstream = tree.write_beside("appstream.xml", b"<components/>\n");
    let mut command = Command::new(&createrepo_c);
    command.args(["--quiet", "--general-compress-type", compression, "-g"]).arg(comps);
    output(command.arg(tree.root()));
    for file in [updateinfo, appstream] {
        let mut command = Command::new(createrepo_c.with_file_name("modifyrepo_c"));
        output(command.args(["--compress-type", compression]).arg(file).arg(tree.path("repodata")));
    }
    fs::remove_dir_all(tree.path("modules")).unwrap();
    Some(tree)
}

/// What lies in repodata/, apart from repomd.xml itself.
fn files(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
    let names = tree.names_in("repodata").into_iter().filter(|name| name != "repomd.xml");
    names.map(|name| (name.clone(), fs::read(tree.path("repodata").join(&name)).unwrap())).collect()
}

fn assert_all_are_there(before: &BTreeMap<String, Vec<u8>>, tree: &Tree, what: &str) {
    let now = files(tree);
    for (name, bytes) in before {
        assert!(now.get(name) == Some(bytes), "{what}: {name} is gone or another");
    }
}

#[test]
fn dnf_reads_the_groups_advisories_and_modules_that_were_taken_over() {
    for (compression, profile) in [("zstd", "zstd"), ("xz", "el6"), ("zstd", "el7")] {
        let what = format!("{compression} for {profile}");
        let Some(tree) = of_createrepo_c(compression) else { return };
        let before = files(&tree);
        let daemon = Daemon::configured(&tree, "", &format!("metadata = \"{profile}\""));
        let metadata = daemon.until(&what, |metadata| {
            daemon.log().contains("takes over 2 of 3 packages") && metadata.packages.len() == 3
        });
        for (kind, expected) in
            [("group", COMPS), ("updateinfo", UPDATEINFO), ("appstream", "<components/>\n")]
        {
            assert_eq!(text(&tree, &metadata, kind), expected, "{what}: {kind}");
        }
        assert_shown_is_readable(&tree, profile);
        assert_all_are_there(&before, &tree, &what);
        if let Some(dnf) = Dnf::find() {
            super::assert_dnf_reads_all(&dnf, &daemon.url(), &what);
        }
        // They stay when something else changes, and when the daemon comes again.
        daemon.put_and_wait("seal.rpm", &Rpm::new("seal").build());
        daemon.stop();
        let daemon = Daemon::configured(&tree, "", &format!("metadata = \"{profile}\""));
        let later = daemon.until("the package", |metadata| metadata.packages.len() == 4);
        for kind in ["group", "updateinfo", "modules", "appstream"] {
            assert_eq!(later.records[kind].checksum, metadata.records[kind].checksum, "{what}: {kind}");
        }
        daemon.stop();
    }
}

#[test]
fn a_failed_adoption_deletes_nothing_and_keeps_what_can_be_kept() {
    let shorten = |tree: &Tree, part: &str| {
        let names = tree.names_in("repodata");
        let name = names.iter().find(|name| name.contains(part)).unwrap();
        let path = tree.path("repodata").join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    };
    type Case<'c> = (&'c str, &'c dyn Fn(&Tree), &'c [&'c str]);
    let cases: [Case<'_>; 5] = [
        (
            "updateinfo is changed where it lies",
            &|tree| {
                let names = tree.names_in("repodata");
                let name = names.iter().find(|name| name.contains("-updateinfo.xml")).unwrap();
                let path = tree.path("repodata").join(name);
                let mut bytes = fs::read(&path).unwrap();
                // The time in gzip's header: what it holds is the same.
                bytes[4] ^= 1;
                fs::write(path, bytes).unwrap();
            },
            &["group", "modules"],
        ),
        ("primary is cut short", &|tree| shorten(tree, "-primary.xml"), &["group", "updateinfo", "modules"]),
        ("updateinfo is cut short", &|tree| shorten(tree, "-updateinfo.xml"), &["group", "modules"]),
        (
            "other is missing",
            &|tree| {
                let names = tree.names_in("repodata");
                tree.remove(
                    Path::new("repodata").join(names.iter().find(|n| n.contains("-other.xml")).unwrap()),
                );
            },
            &["group", "updateinfo", "modules"],
        ),
        (
            "repomd.xml is malformed",
            &|tree| fs::write(tree.path("repodata/repomd.xml"), "<repomd>").unwrap(),
            &[],
        ),
    ];
    for (what, damage, kept) in cases {
        let Some(tree) = of_createrepo_c("gz") else { return };
        damage(&tree);
        let before = files(&tree);
        let daemon = Daemon::configured(&tree, "", "");
        let metadata = daemon.until(what, |metadata| {
            metadata.packages.len() == 3 && metadata.records["primary"].href.ends_with(".zst")
        });
        for kind in kept {
            assert!(metadata.records.contains_key(*kind), "{what}: {kind} of {:?}", kinds(&metadata));
        }
        assert_eq!(
            metadata.records.len(),
            3 + kept.len() + usize::from(!kept.is_empty()),
            "{what}: {metadata:?}"
        );
        if what.starts_with("updateinfo") {
            let why = ["-updateinfo.xml.gz has another checksum", "-updateinfo.xml.gz is not there as"];
            let log = daemon.log();
            assert!(why.iter().any(|why| log.contains(why)), "{what}: {log}");
        }
        daemon.stop();
        assert_all_are_there(&before, &tree, what);
    }
}
