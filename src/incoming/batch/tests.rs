use std::fs;
use std::time::Duration;

use super::recover::SHOWN;
use super::*;
use crate::beneath::Root;
use crate::incoming::Staged;

struct World {
    tree: tempfile::TempDir,
    config: RepositoryConfig,
    place: BatchPlace,
}

impl World {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        let config = RepositoryConfig::new("r", tree.path());
        let place = BatchPlace::of(&config, &BatchId::parse("b").unwrap());
        Self { tree, config, place }
    }

    /// Holds a file (no package) of this content back.
    fn hold(&self, location: &str, content: &str) {
        let location = Location::parse(location).unwrap();
        let root = Root::open(&self.config.path, self.config.symlinks).unwrap();
        let mut staged = Staged::begin(&self.config, root, &location, vec![], Some(&self.place)).unwrap();
        staged.write(&[content]).unwrap();
        staged.finish().unwrap().hold(&self.config, &self.place).unwrap();
    }

    fn moves(list: &[(&str, CommitMode)]) -> Vec<Move> {
        list.iter()
            .map(|(text, mode)| Move { location: Location::parse(text).unwrap(), mode: *mode })
            .collect()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.tree.path().join(name)).ok()
    }

    fn waiting(&self) -> Vec<String> {
        self.place.list().unwrap().iter().map(|(location, ..)| location.to_string()).collect()
    }
}

/// Where the batches lie.
fn all_of(world: &World) -> PathBuf {
    world.config.private_dir().join("incoming/batches")
}

use CommitMode::{New, Replace};

#[test]
fn a_commit_shows_all_and_leaves_nothing() {
    let world = World::new();
    fs::write(world.tree.path().join("old"), "before").unwrap();
    world.hold("a/b/new", "1");
    world.hold("old", "2");
    assert_eq!(world.waiting(), ["a/b/new", "old"]);
    assert_eq!((world.read("a/b/new"), world.read("old")), (None, Some("before".into())));
    world.place.commit(&world.config, &World::moves(&[("a/b/new", New), ("old", Replace)]), None).unwrap();
    assert_eq!((world.read("a/b/new"), world.read("old")), (Some("1".into()), Some("2".into())));
    let left: Vec<_> =
        fs::read_dir(all_of(&world)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let is_note = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(SHOWN);
    assert!(left.len() == 1 && left.iter().all(is_note), "{left:?}");
}

#[test]
fn what_cannot_be_shown_whole_is_taken_back() {
    let world = World::new();
    fs::write(world.tree.path().join("old"), "before").unwrap();
    fs::write(world.tree.path().join("taken"), "mine").unwrap();
    for (name, content) in [("a", "1"), ("old", "2"), ("taken", "3"), ("z", "4")] {
        world.hold(name, content);
    }
    let moves = World::moves(&[("a", New), ("old", Replace), ("taken", New), ("z", New)]);
    let error = world.place.commit(&world.config, &moves, None).err().unwrap();
    assert!(matches!(error, IncomingError::Exists(_)), "{error}");
    let seen = ["a", "old", "taken", "z"].map(|name| world.read(name));
    assert_eq!(seen, [None, Some("before".into()), Some("mine".into()), None]);
    assert_eq!(world.waiting(), ["a", "old", "taken", "z"]);
    assert!(recover(&world.config).unwrap().waiting[0].1.journal().unwrap().is_none(), "it waits as before");
}

/// A crash after any number of moves.
#[test]
fn a_commit_that_was_interrupted_is_finished() {
    for done in 0..=3 {
        let world = World::new();
        fs::write(world.tree.path().join("old"), "before").unwrap();
        for (name, content) in [("d/a", "1"), ("old", "2"), ("z", "3")] {
            world.hold(name, content);
        }
        let moves = World::moves(&[("d/a", New), ("old", Replace), ("z", New)]);
        let root = Root::open(&world.config.path, world.config.symlinks).unwrap();
        world.place.begin_commit(&moves).unwrap();
        for (number, one) in moves.iter().enumerate().take(done) {
            world.place.show(&world.config, &root, number, one).unwrap();
        }
        let recovered = recover(&world.config).unwrap();
        assert!(recovered.waiting.is_empty(), "after {done} moves");
        assert_eq!(recovered.shown.iter().map(Location::as_str).collect::<Vec<_>>(), ["d/a", "old", "z"]);
        let seen = ["d/a", "old", "z"].map(|name| world.read(name));
        assert_eq!(seen, ["1", "2", "3"].map(|text| Some(text.into())), "after {done} moves");
    }
}

#[test]
fn a_commit_that_cannot_be_finished_is_undone() {
    for done in 0..=2 {
        let world = World::new();
        fs::write(world.tree.path().join("old"), "before").unwrap();
        for (name, content) in [("a", "1"), ("old", "2"), ("z", "3")] {
            world.hold(name, content);
        }
        let moves = World::moves(&[("a", New), ("old", Replace), ("z", New)]);
        let root = Root::open(&world.config.path, world.config.symlinks).unwrap();
        world.place.begin_commit(&moves).unwrap();
        for (number, one) in moves.iter().enumerate().take(done) {
            world.place.show(&world.config, &root, number, one).unwrap();
        }
        // While we were away, somebody took the last name.
        fs::write(world.tree.path().join("z"), "mine").unwrap();
        assert_eq!(recover(&world.config).unwrap().waiting.len(), 1, "after {done} moves");
        let seen = ["a", "old", "z"].map(|name| world.read(name));
        assert_eq!(seen, [None, Some("before".into()), Some("mine".into())], "after {done} moves");
        assert_eq!(world.waiting(), ["a", "old", "z"]);
    }
}

#[test]
fn a_batch_without_a_commit_waits_and_what_ended_is_cleared_away() {
    let world = World::new();
    world.hold("a", "1");
    world.hold("a", "2");
    let gone = all_of(&world).join(".gone-1-x");
    fs::create_dir_all(gone.join("files")).unwrap();
    fs::write(gone.join("files/x"), "x").unwrap();
    let waiting = recover(&world.config).unwrap().waiting;
    assert_eq!(waiting.len(), 1);
    assert!(!gone.exists());
    waiting[0].1.commit(&world.config, &World::moves(&[("a", New)]), None).unwrap();
    assert_eq!(world.read("a").as_deref(), Some("2"), "the last one counts");
}

/// A restart before the catalog knows of it must not find some files settled and others not.
#[test]
fn what_was_shown_is_noted_until_all_of_it_has_settled() {
    let world = World::new();
    world.hold("a", "1");
    world.place.commit(&world.config, &World::moves(&[("a", New)]), None).unwrap();
    for _ in 0..2 {
        let recovered = recover(&world.config).unwrap();
        assert_eq!(recovered.shown.iter().map(Location::as_str).collect::<Vec<_>>(), ["a"]);
        assert!(recovered.waiting.is_empty());
        assert!(forget_shown(&world.config).unwrap(), "not yet");
    }
    let note = fs::read_dir(all_of(&world)).unwrap().next().unwrap().unwrap().path();
    let before = SystemTime::now() - world.config.settle - Duration::from_secs(2);
    File::options().append(true).open(&note).unwrap().set_modified(before).unwrap();
    assert!(!forget_shown(&world.config).unwrap());
    assert!(recover(&world.config).unwrap().shown.is_empty());

    // A kill while it is noted: the commit itself is still noted then, and counts.
    fs::write(note, "[\"new\",\"a").unwrap();
    assert!(recover(&world.config).unwrap().shown.is_empty());
}

/// What is left of a commit that showed all and could not be cleared away neither waits nor commits what comes later.
#[test]
fn what_a_commit_could_not_clear_away_is_no_batch() {
    let world = World::new();
    world.hold("a", "1");
    let moves = World::moves(&[("a", New), ("b", New)]);
    let root = Root::open(&world.config.path, world.config.symlinks).unwrap();
    world.place.begin_commit(&moves).unwrap();
    world.place.show(&world.config, &root, 0, &moves[0]).unwrap();
    world.hold("b", "2");
    assert_eq!(recover(&world.config).unwrap().waiting.len(), 1);
    assert_eq!((world.read("b"), world.waiting()), (None, vec!["b".to_owned()]));
    fs::remove_file(all_of(&world).join("b/files/b")).unwrap();
    assert!(recover(&world.config).unwrap().waiting.is_empty());
    assert_eq!(fs::read_dir(all_of(&world)).unwrap().count(), 0, "an empty batch is cleared away");
}

#[test]
fn a_name_is_no_path() {
    for good in ["b", "build-7", "2026.11.20_x", &"x".repeat(100)] {
        assert!(BatchId::parse(good).is_some(), "{good}");
    }
    for bad in ["", ".", "..", ".x", "a/b", "a b", "-x", "é", &"x".repeat(101)] {
        assert!(BatchId::parse(bad).is_none(), "{bad}");
    }
}
