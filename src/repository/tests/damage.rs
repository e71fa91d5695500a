//! Whatever becomes of what is remembered: what is published is what the tree holds, or what was published before.
//!
//! `CREATEREPOD_DAMAGES` says how many random damages are tried, `CREATEREPOD_SEED` with which numbers they begin.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{config, indexed_afresh, name, pool, published, set_time, time};
use crate::catalog::CatalogError;
use crate::config::{MetadataProfile, RepositoryConfig};
use crate::package::Location;
use crate::repository::inbox::Batch;
use crate::repository::verify::{Finding, verify};
use crate::repository::{Handle, Repository, RepositoryError, index, lock};
use crate::tree::Dirty;

const PACKAGES: u16 = 150;
/// The package that comes after the damage stands in the middle of the others.
const COMES: u16 = PACKAGES / 2;

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_of<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

/// A tree with its state, which can be brought back.
struct World {
    home: tempfile::TempDir,
    config: RepositoryConfig,
    profile: MetadataProfile,
    /// What is to be published once the package has come.
    wanted: BTreeMap<String, Vec<u8>>,
}

impl World {
    fn new(profile: MetadataProfile) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (root, state) = (home.path().join("tree"), home.path().join("state"));
        fs::create_dir(&root).unwrap();
        let config = config(&root, &state, profile);
        for n in (0..PACKAGES).filter(|n| *n != COMES) {
            put(&root, n);
        }
        // A state of before, with fewer packages.
        let aside = home.path().join("aside");
        fs::create_dir(&aside).unwrap();
        let late = |n: &u16| n % 4 == 1 && *n != COMES;
        for n in (0..PACKAGES).filter(late) {
            fs::rename(root.join(name(n)), aside.join(name(n))).unwrap();
        }
        index(config.clone(), &()).unwrap();
        copy_all(&state, &home.path().join("before"));
        for n in (0..PACKAGES).filter(late) {
            fs::rename(aside.join(name(n)), root.join(name(n))).unwrap();
        }
        index(config.clone(), &()).unwrap();
        copy_all(&state, &home.path().join("now"));
        copy_all(&root.join("repodata"), &home.path().join("shown"));
        put(&root, COMES);
        let wanted = without_databases(indexed_afresh(&root, profile));
        fs::remove_file(root.join(name(COMES))).unwrap();
        Self { home, config, profile, wanted }
    }

    fn restore(&self) {
        let _ = fs::remove_file(self.config.path.join(name(COMES)));
        for (from, to) in [("now", &self.config.state_dir), ("shown", &self.config.path.join("repodata"))] {
            let _ = fs::remove_dir_all(to);
            copy_all(&self.home.path().join(from), to);
        }
    }

    /// Holds what is published against what it must be.
    fn check(&self, what: &str) {
        let found = without_databases(published(&self.config.path));
        assert!(found == self.wanted, "after {what} something else is published than the tree holds");
        if self.profile.has_databases() {
            for (kind, bytes) in published(&self.config.path).iter().filter(|(kind, _)| kind.ends_with("_db"))
            {
                let file = self.home.path().join("published.sqlite");
                fs::write(&file, super::open(".gz", bytes)).unwrap();
                let db = rusqlite::Connection::open(&file).unwrap();
                let count: u16 = db.query_row("SELECT count(*) FROM packages", [], |row| row.get(0)).unwrap();
                assert_eq!(count, PACKAGES, "after {what} in {kind}");
            }
        }
    }
}

fn put(root: &Path, n: u16) {
    fs::copy(&pool()[usize::from(n)], root.join(name(n))).unwrap();
    set_time(&root.join(name(n)), time(n * 9));
}

fn without_databases(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.retain(|kind, _| !kind.ends_with("_db"));
    files
}

pub(super) fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target),
        }
    }
}

/// The files of a state that say something, sorted.
fn files(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state).unwrap().map(Result::unwrap) {
        match entry.metadata().unwrap() {
            meta if meta.is_dir() => found.extend(files(&entry.path())),
            meta if meta.len() > 0 => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

/// Does something to one file of the state, and says what.
fn damage(state: &Path, before: &Path, dice: &mut Dice) -> String {
    let all = files(state);
    let path = dice.one_of(&all).clone();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    let bytes = fs::read(&path).unwrap();
    let kinds = ["bit", "bit", "bit", "noise", "zeros", "cut", "old", "gone", "longer", "twice", "swapped"];
    let kind = *dice.one_of(&kinds);
    let (mut at, mut other) = (dice.below(len), dice.below(len));
    match kind {
        "bit" => {
            for _ in 0..*dice.one_of(&[1, 1, 1, 2, 8]) {
                at = dice.below(len);
                file.write_all_at(&[bytes[at as usize] ^ 1 << dice.below(8)], at).unwrap();
            }
        }
        "noise" => {
            let noise: Vec<u8> = (0..dice.below(5000).min(len - at)).map(|_| dice.next() as u8).collect();
            file.write_all_at(&noise, at).unwrap();
        }
        "zeros" => {
            at -= at % 4096;
            file.write_all_at(&vec![0; 4096.min(len - at) as usize], at).unwrap();
        }
        "cut" => file.set_len(at).unwrap(),
        "old" => match fs::read(before.join(path.strip_prefix(state).unwrap())) {
            Ok(old) => fs::write(&path, old).unwrap(),
            Err(_) => fs::remove_file(&path).unwrap(),
        },
        "gone" => fs::remove_file(&path).unwrap(),
        "longer" => {
            let noise: Vec<u8> = (0..1 + dice.below(9000)).map(|_| dice.next() as u8).collect();
            file.write_all_at(&noise, len).unwrap();
        }
        "twice" => {
            (at, other) = (at - at % 4096, other - other % 4096);
            let page = &bytes[at as usize..(at + 4096).min(len) as usize];
            file.write_all_at(page, other).unwrap();
        }
        _ => {
            let run = (*dice.one_of(&[1, 16, 64, 512])).min(len);
            (at, other) = (at.min(len - run), other.min(len - run));
            let (at, other, run) = (at as usize, other as usize, run as usize);
            file.write_all_at(&bytes[at..at + run], other as u64).unwrap();
            file.write_all_at(&bytes[other..other + run], at as u64).unwrap();
        }
    }
    let name = path.strip_prefix(state).unwrap().display().to_string();
    format!("{name}: {kind} at {at} of {len} ({other})")
}

fn open(world: &World) -> Repository {
    Repository::open(world.config.clone(), std::sync::Arc::new(SystemTime::now)).unwrap()
}

fn refresh(repository: &mut Repository, dirty: &Dirty) -> Result<(), RepositoryError> {
    let batch = Batch { dirty: dirty.clone(), ..Batch::default() };
    repository.refresh_cured(batch, dirty.clone(), &()).map(drop)
}

/// Takes a change up as the worker does, which tries again.
fn take_up(repository: &mut Repository, dirty: &Dirty) -> Result<(), RepositoryError> {
    let mut outcome = refresh(repository, dirty);
    for _ in 0..4 {
        let Err(trouble) = &outcome else { break };
        let more = repository.cure(trouble).unwrap_or_default();
        let mut dirty = dirty.clone();
        dirty.merge(more);
        outcome = refresh(repository, &dirty);
    }
    outcome
}

/// What a daemon is told of.
fn coming() -> Dirty {
    Dirty::settled(Location::parse(&name(COMES)).unwrap())
}

/// While the repository rests (`true`) or is at work.
fn in_a_daemon(world: &World, rests: bool, hurt: impl FnOnce(&Path) -> String) {
    world.restore();
    let mut repository = open(world);
    refresh(&mut repository, &Dirty::everything()).unwrap();
    repository.prepare(&|| false).unwrap();
    if rests {
        repository.rest();
    }
    let what = format!("{} {}", if rests { "at rest" } else { "at work" }, hurt(&world.config.state_dir));
    put(&world.config.path, COMES);
    take_up(&mut repository, &coming()).unwrap_or_else(|trouble| panic!("after {what}: {trouble:?}"));
    world.check(&what);
}

fn between_two_runs(world: &World, hurt: impl FnOnce(&Path) -> String) {
    world.restore();
    let what = format!("between two runs {}", hurt(&world.config.state_dir));
    put(&world.config.path, COMES);
    match index(world.config.clone(), &()) {
        Ok(_) => {}
        // One bit of its version may make it look newer than this program.
        Err(error) if is_newer(&error) => return,
        Err(error) => panic!("after {what}: {error:?}"),
    }
    world.check(&what);
    let mut findings = verify(&world.config, &(), &|| false, false).unwrap().findings;
    // Whose superseded files are went with the catalog, and the copies made here do not carry our mark.
    findings.retain(|finding| !matches!(finding, Finding::Foreign { .. }));
    assert!(findings.is_empty(), "after {what}: {findings:?}");
}

fn is_newer(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(RepositoryError::Catalog(CatalogError::Newer { .. })))
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// What somebody does to the files of a state, by name.
type Deed = (&'static str, fn(&Path, &Path));

const DEEDS: [Deed; 9] = [
    ("the catalog is removed", |state, _| fs::remove_file(state.join("catalog.sqlite")).unwrap()),
    ("the catalog is cut to nothing", |state, _| _ = File::create(state.join("catalog.sqlite")).unwrap()),
    ("the catalog is overwritten", |state, _| fs::write(state.join("catalog.sqlite"), [7; 9999]).unwrap()),
    ("the catalog becomes a directory", |state, _| {
        fs::remove_file(state.join("catalog.sqlite")).unwrap();
        fs::create_dir(state.join("catalog.sqlite")).unwrap();
    }),
    ("the state is removed", |state, _| fs::remove_dir_all(state).unwrap()),
    ("the state of before is restored", |state, before| {
        fs::remove_dir_all(state).unwrap();
        copy_all(before, state);
    }),
    ("the catalog of before is restored", |state, before| {
        _ = fs::copy(before.join("catalog.sqlite"), state.join("catalog.sqlite")).unwrap();
    }),
    ("the pieces are removed", |state, _| fs::remove_file(state.join("pieces.0")).unwrap()),
    ("the pieces are zeros", |state, _| {
        let len = fs::metadata(state.join("pieces.0")).unwrap().len();
        fs::write(state.join("pieces.0"), vec![0; len as usize]).unwrap();
    }),
];

#[test]
fn a_state_that_is_lost_or_replaced_at_rest_or_between_two_runs_publishes_nothing_less() {
    let world = World::new(MetadataProfile::Zstd);
    let before = world.home.path().join("before");
    for (what, deed) in DEEDS {
        let hurt = |state: &Path| {
            deed(state, &before);
            what.to_owned()
        };
        between_two_runs(&world, hurt);
        in_a_daemon(&world, true, hurt);
    }
}

#[test]
fn a_door_gets_its_answer_although_the_catalog_was_lost_at_rest() {
    let world = World::new(MetadataProfile::Zstd);
    let before = world.home.path().join("before");
    for (what, deed) in DEEDS {
        world.restore();
        let handle = Handle::open(world.config.clone()).unwrap();
        let asked = handle.submit(Dirty::everything());
        while handle.passed() < asked {
            std::thread::sleep(Duration::from_millis(5));
        }
        handle.shared.close_catalog(&mut lock(&handle.shared.repository));
        deed(&world.config.state_dir, &before);
        // One that is in the state of before, and one that is not.
        for n in [2, 5] {
            let known = handle.find_location(&Location::parse(&name(n)).unwrap());
            assert!(known.unwrap_or_else(|error| panic!("{what}: {error:?}")).is_some(), "{what}");
        }
        assert_eq!(handle.published().unwrap().packages, u64::from(PACKAGES) - 1, "{what}");
        assert!(handle.status().trouble.is_none(), "{what}");
        handle.close();
    }
}

#[test]
fn the_catalog_of_another_repository_in_its_place_publishes_nothing_of_it() {
    let world = World::new(MetadataProfile::Zstd);
    let (other, other_state) = (world.home.path().join("other"), world.home.path().join("other-state"));
    fs::create_dir(&other).unwrap();
    put(&other, 500);
    index(config(&other, &other_state, MetadataProfile::Zstd), &()).unwrap();
    in_a_daemon(&world, true, |state| {
        fs::remove_dir_all(state).unwrap();
        copy_all(&other_state, state);
        "the state of another repository".to_owned()
    });
}

#[test]
fn random_damage_to_what_is_remembered_is_never_published() {
    let (tries, seed) = (number("CREATEREPOD_DAMAGES", 36), number("CREATEREPOD_SEED", 20_261_130));
    let mut dice = Dice(seed | 1);
    let worlds = [World::new(MetadataProfile::Zstd), World::new(MetadataProfile::El7)];
    for number in 0..tries {
        let world = &worlds[number as usize % 2];
        let before = world.home.path().join("before");
        let hurt = |state: &Path| damage(state, &before, &mut dice);
        match number / 2 % 3 {
            0 => between_two_runs(world, hurt),
            way => in_a_daemon(world, way == 1, hurt),
        }
    }
}
