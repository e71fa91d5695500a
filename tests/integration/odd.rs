//! Odd, broken and hostile files dropped in: the daemon lives, and each is published or listed with a reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::world::daemon::rejected;
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, eventually_ok, shared, skipped};

/// Every file of the odd selection: the one in the project, and the shared corpus' when it is here.
fn odd_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpms"), &mut found);
    match shared() {
        Some(shared) => {
            collect(&shared.join("corpus/odd/built"), &mut found);
            collect(&shared.join("corpus/odd/handmade"), &mut found);
        }
        None => skipped(
            "the shared corpus of odd packages is not here (CREATEREPOD_SHARED); those of the project are tried",
        ),
    }
    found
}

fn collect(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rpm")
            && !is_hidden
            // The project's selection is a part of the corpus.
            && !found.iter().any(|known| known.file_name() == path.file_name())
        {
            found.push(path);
        }
    }
}

#[test]
fn each_odd_file_is_published_or_rejected_with_a_reason() {
    let files = odd_files();
    if files.is_empty() {
        skipped("no odd packages at all");
        return;
    }
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    // Each in a directory of its own: names may repeat.
    let mut dropped = BTreeSet::new();
    for (number, file) in files.iter().enumerate() {
        let location = format!("{number}/{}", file.file_name().unwrap().to_str().unwrap());
        tree.write(&location, &fs::read(file).unwrap());
        dropped.insert(location);
    }
    let large = (0..20_000)
        .fold(Rpm::new("large"), |rpm, number| rpm.file(format!("/usr/share/large/{}/{number}", number % 7)));
    let last = Rpm::new("last");
    for rpm in [large, last] {
        tree.add(&rpm);
        dropped.insert(rpm.file_name());
    }
    let published = |metadata: &Metadata| -> BTreeSet<String> {
        metadata.packages.iter().map(|package| package.href.clone()).collect()
    };
    let refused = || rejected(&daemon.status());
    let metadata = eventually_ok(PATIENCE, "each is published or rejected", || {
        let metadata = daemon.metadata();
        let known: BTreeSet<String> = published(&metadata)
            .into_iter()
            .chain(refused().into_iter().map(|(location, _)| location))
            .collect();
        let neither: Vec<_> = dropped.difference(&known).cloned().collect();
        if neither.is_empty() { Ok(metadata) } else { Err(neither) }
    });
    let (published, refused) = (published(&metadata), refused());
    let both: Vec<_> = refused.iter().filter(|(location, _)| published.contains(location)).collect();
    assert!(both.is_empty(), "published and rejected: {both:?}");
    assert_eq!(published.len() + refused.len(), dropped.len());
    for (location, reason) in &refused {
        assert!(reason.len() > 10 && !reason.contains('\n'), "{location}: {reason:?} helps nobody");
    }
    assert!(published.contains("last-1.0-1.noarch.rpm"));
    metadata.matches_tree(tree.root()).unwrap();
    // What clients read is well-formed, whatever the packages said: the reader has parsed it. dnf takes it, too.
    if let Some(dnf) = crate::world::clients::Dnf::find() {
        assert!(!dnf.nevras(&daemon.url()).is_empty());
    }
    // Uploaded instead, the rejected ones are refused, in one line, and nothing of them stays.
    for (number, (location, _)) in refused.iter().enumerate() {
        let bytes = fs::read(tree.path(location)).unwrap();
        let answer = daemon.put(&format!("put/{number}.rpm"), &bytes);
        assert!(matches!(answer.status, 400 | 415 | 422), "{location}: {} {}", answer.status, answer.text());
        assert!(!tree.path(format!("put/{number}.rpm")).exists());
    }
    daemon.stop();
}

#[test]
fn a_rejected_file_that_is_mended_is_published() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let bytes = Rpm::new("mended").payload(20_000).build();
    tree.write("mended.rpm", &bytes[..bytes.len() - 5_000]);
    eventually(PATIENCE, "it is rejected", || {
        rejected(&daemon.status()).iter().any(|(location, _)| location == "mended.rpm").then_some(())
    });
    tree.write("mended.rpm", &bytes);
    daemon.until_exactly(&["mended.rpm"]);
    assert_eq!(rejected(&daemon.status()), []);
    // And a good one that is broken leaves the metadata.
    tree.write("mended.rpm", &bytes[..1_000]);
    daemon.until_exactly(&[]);
    tree.remove("mended.rpm");
    eventually(PATIENCE, "the removed one is forgotten", || {
        rejected(&daemon.status()).is_empty().then_some(())
    });
}

#[test]
fn the_same_nevra_twice_by_file_drop_is_published_twice_and_shown() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    let rpm = Rpm::new("twice");
    tree.write("a/twice.rpm", &rpm.build());
    tree.write("b/twice.rpm", &rpm.clone().salt(1).build());
    daemon.until_exactly(&["a/twice.rpm", "b/twice.rpm"]);
    eventually(PATIENCE, "the duplicate is warned about", || {
        (daemon.log().contains("twice") || daemon.status().to_string().contains("twice")).then_some(())
    });
}
