//! However a tree came to be, its metadata are those of one full run over it, byte for byte.

use std::collections::BTreeSet;
use std::fs;

use crate::world::daemon::run;
use crate::world::tree::{build_all, cp, set_mtime};
use crate::world::{Daemon, Metadata, Random, Rpm, Tree};

/// One random step of people's work on a tree.
pub fn step(tree: &Tree, names: &mut BTreeSet<String>, random: &mut Random, number: usize) {
    let directories = ["", "a/", "b/deep/"];
    let pick = |names: &BTreeSet<String>, random: &mut Random| {
        names.iter().nth(random.below(names.len())).unwrap().clone()
    };
    match random.below(10) {
        0..4 => {
            let rpm = Rpm::new(format!("p{number}")).payload(random.below(3_000));
            let name = format!("{}{}", directories[random.below(3)], rpm.file_name());
            tree.write(&name, &rpm.build());
            // Old files come in, too: then they go into the middle of the order.
            if random.below(2) == 0 {
                set_mtime(&tree.path(&name), 1_500_000_000 + random.next() % 100_000_000);
            }
            names.insert(name);
        }
        _ if names.is_empty() => {}
        4 | 5 => {
            let name = pick(names, random);
            let new = Rpm::new("replaced").version(number.to_string()).build();
            let beside = tree.write_beside("new", &new);
            fs::rename(beside, tree.path(name)).unwrap();
        }
        6 => set_mtime(&tree.path(pick(names, random)), 1_600_000_000 + random.next() % 10_000),
        7 | 8 => {
            let old = pick(names, random);
            let new = format!("{}renamed{number}.rpm", directories[random.below(3)]);
            fs::create_dir_all(tree.path(&new).parent().unwrap()).unwrap();
            fs::rename(tree.path(&old), tree.path(&new)).unwrap();
            names.remove(&old);
            names.insert(new);
        }
        _ => {
            let name = pick(names, random);
            tree.remove(&name);
            names.remove(&name);
        }
    }
}

/// Whether the metadata describe the tree as it is: names, sizes and file times.
fn up_to_date(metadata: &Metadata, tree: &Tree, names: &BTreeSet<String>) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.packages.len() == names.len()
        && metadata.packages.iter().all(|package| {
            names.contains(&package.href)
                && fs::metadata(tree.path(&package.href)).is_ok_and(|file| {
                    file.len() == package.size && u64::try_from(file.mtime()) == Ok(package.file_time)
                })
        })
        && metadata.matches_tree(tree.root()).is_ok()
}

/// A tree with enough packages for several chunks.
pub fn stocked() -> (Tree, BTreeSet<String>) {
    let tree = Tree::new();
    let rpms: Vec<_> = (0..150).map(|number| Rpm::new(format!("start{number}"))).collect();
    let mut names = BTreeSet::new();
    for (name, bytes) in build_all(&rpms) {
        tree.write(&name, &bytes);
        names.insert(name);
    }
    (tree, names)
}

fn index(tree: &Tree, profile: &str) -> Metadata {
    let done = run(["index".as_ref(), tree.root().as_os_str(), "--metadata".as_ref(), profile.as_ref()]);
    assert!(done.status.success(), "{}", done.stderr);
    Metadata::from_tree(tree.root()).unwrap()
}

/// Holds the metadata of a tree with a history against those of the same tree elsewhere: same bytes,
/// names and times, and no memory of how it came to be.
fn compare_with_a_full_run(tree: &Tree, incremental: &Metadata, profile: &str, what: &str) {
    let fresh = Tree::new();
    for name in tree.names_in("") {
        cp(["-a".as_ref(), tree.path(&name).as_os_str(), fresh.path(&name).as_os_str()]);
    }
    let full = index(&fresh, profile);
    let same_content = full.primary == incremental.primary
        && full.filelists == incremental.filelists
        && full.other == incremental.other;
    assert!(same_content, "{what}: the XML differs");
    for (kind, record) in &full.records {
        let incremental = &incremental.records[kind];
        assert_eq!(record.checksum, incremental.checksum, "{what}: the bytes of {kind} differ");
        assert_eq!((&record.href, record.size), (&incremental.href, incremental.size));
    }
    assert_eq!(full.records.len(), incremental.records.len());
}

#[test]
fn random_changes_published_one_by_one_give_the_bytes_of_one_full_run() {
    for seed in 1..=3 {
        let (tree, mut names) = stocked();
        let mut random = Random::new(seed);
        let daemon = Daemon::serve(&tree);
        let mut steps = 0;
        for number in 0..40 {
            for _ in 0..=random.below(4) {
                step(&tree, &mut names, &mut random, steps);
                steps += 1;
            }
            let what = format!("seed {seed}, step {number}");
            daemon.until(&what, |metadata| up_to_date(metadata, &tree, &names));
        }
        let incremental = daemon.metadata();
        daemon.stop();
        compare_with_a_full_run(&tree, &incremental, "zstd", &format!("seed {seed}"));
    }
}

#[test]
fn random_changes_indexed_one_by_one_give_the_bytes_of_one_full_run() {
    for (seed, profile) in [(11, "zstd"), (12, "gzip"), (13, "zstd"), (14, "gzip")] {
        let (tree, mut names) = stocked();
        let mut random = Random::new(seed);
        let mut steps = 0;
        for number in 0..60 {
            for _ in 0..=random.below(6) {
                step(&tree, &mut names, &mut random, steps);
                steps += 1;
            }
            let metadata = index(&tree, profile);
            assert!(up_to_date(&metadata, &tree, &names), "seed {seed}, step {number}");
            if number % 20 == 19 {
                compare_with_a_full_run(&tree, &metadata, profile, &format!("seed {seed}, step {number}"));
            }
        }
    }
}

#[test]
fn the_order_is_settled_packages_by_name_then_young_ones_by_time_in_all_three_files() {
    let tree = Tree::new();
    let add = |name: String, time| {
        tree.write(format!("{name}.rpm"), &Rpm::new(&name).build());
        set_mtime(&tree.path(format!("{name}.rpm")), time);
    };
    for (name, time) in [("z", 0), ("a", 2), ("m", 1), ("b", 1)] {
        add(name.into(), 1_500_000_000 + time);
    }
    let daemon = Daemon::serve(&tree);
    let order =
        || -> Vec<String> { daemon.metadata().packages.into_iter().map(|package| package.href).collect() };
    let dated =
        |metadata: &Metadata| metadata.packages.iter().all(|package| package.file_time <= 1_600_000_000);
    daemon.until("four", |metadata| metadata.packages.len() == 4 && dated(metadata));
    assert_eq!(order(), ["z.rpm", "b.rpm", "m.rpm", "a.rpm"]);
    // Those of another day settle once enough have come.
    for n in 0..64 {
        add(format!("y{n:02}"), 1_600_000_000 - n);
    }
    daemon.until("all", |metadata| metadata.packages.len() == 68 && dated(metadata));
    let young = (0..64).rev().map(|n| format!("y{n:02}.rpm"));
    let expected: Vec<String> =
        ["a.rpm", "b.rpm", "m.rpm", "z.rpm"].map(String::from).into_iter().chain(young).collect();
    assert_eq!(order(), expected);
    // What has just arrived goes last.
    daemon.put_and_wait("0.rpm", &Rpm::new("new").build());
    assert_eq!(order().last().unwrap(), "0.rpm");
}
