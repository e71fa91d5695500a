//! The property this project stands on: whatever happened, the metadata is what a full run makes.

mod damage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::inbox::Batch;
use super::verify::{Finding, Report};
use super::{Handle, Repository, index};
use crate::config::{MetadataProfile, RepositoryConfig, SignConfig};
use crate::package::{Checksum, ChecksumType, Location};
use crate::repodata::Repomd;
use crate::scan;
use crate::sign::key::{Algorithm, SecretKey};
use crate::tree::{Dirty, Found};

/// Enough for several chunks, of which one in 256 packages of usual size ends one.
const POOL: usize = 700;

/// Packages of few bytes but usual metadata, all different, the same in every run; made once.
fn pool() -> &'static [PathBuf] {
    static POOL_FILES: OnceLock<(tempfile::TempDir, Vec<PathBuf>)> = OnceLock::new();
    let (_, files) = POOL_FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let files = (0..POOL).map(|n| {
            let path = dir.path().join(format!("p{n}-1-1.noarch.rpm"));
            let config = rpm::BuildConfig::v4().source_date(1_600_000_000_u32);
            let package = rpm::PackageBuilder::new(&format!("p{n}"), "1", "MIT", "noarch", "a package")
                .description(format!("Package number {n}. ").repeat(180))
                .using_config(config.compression(rpm::CompressionType::None))
                .build()
                .unwrap();
            package.write(&mut File::create(&path).unwrap()).unwrap();
            path
        });
        let files = files.collect();
        (dir, files)
    });
    files
}

fn config(root: &Path, state: &Path, metadata: MetadataProfile) -> RepositoryConfig {
    let mut config = RepositoryConfig::new("test", root);
    config.state_dir = state.to_owned();
    config.metadata = metadata;
    config.settle = Duration::ZERO;
    config
}

/// What is published: file name without checksum → bytes. Every checksum in repomd.xml is checked.
fn published(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let repomd = Repomd::read(&fs::read(root.join("repodata/repomd.xml")).unwrap()[..]).unwrap();
    let mut files = BTreeMap::new();
    for record in repomd.records {
        let bytes = fs::read(root.join(&record.href)).unwrap();
        assert_eq!(record.checksum, Checksum::of(ChecksumType::Sha256, &bytes), "{}", record.href);
        assert_eq!(record.size, Some(bytes.len() as u64));
        let open = open(&record.href, &bytes);
        assert_eq!(record.open_checksum, Some(Checksum::of(ChecksumType::Sha256, &open)), "{}", record.href);
        assert_eq!(record.open_size, Some(open.len() as u64));
        files.insert(record.kind, bytes);
    }
    files
}

fn open(name: &str, bytes: &[u8]) -> Vec<u8> {
    if name.ends_with(".zst") {
        return zstd::decode_all(bytes).unwrap();
    }
    let mut open = Vec::new();
    std::io::Read::read_to_end(&mut flate2::bufread::GzDecoder::new(bytes), &mut open).unwrap();
    open
}

/// The same tree (names, bytes, times) indexed in one go, elsewhere.
fn indexed_afresh(root: &Path, metadata: MetadataProfile) -> BTreeMap<String, Vec<u8>> {
    let copy = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let target = copy.path().join(entry.file_name());
            fs::copy(entry.path(), &target).unwrap();
            set_time(&target, entry.metadata().unwrap().modified().unwrap());
        }
    }
    index(config(copy.path(), state.path(), metadata), &()).unwrap();
    published(copy.path())
}

fn set_time(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// One thing that happens to the tree. Numbers pick names, packages and times.
#[derive(Debug, Clone)]
enum Step {
    /// Put package `.1` under name `.0` with time `.2`: added or replaced.
    Put(u16, u16, u16),
    Touch(u16, u16),
    Rename(u16, u16),
    Remove(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..900u16;
    let package = 0..POOL as u16;
    prop_oneof![
        4 => (name.clone(), package, 0..3000u16).prop_map(|(n, p, t)| Step::Put(n, p, t)),
        1 => (name.clone(), 0..3000u16).prop_map(|(n, t)| Step::Touch(n, t)),
        1 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        2 => name.prop_map(Step::Remove),
    ]
}

/// Several days, so that packages settle and become young again.
fn time(t: u16) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + u64::from(t) * 200)
}

fn name(n: u16) -> String {
    format!("n{n}.rpm")
}

/// Does it, and names the places that are dirty after it.
fn act(root: &Path, step: &Step) -> Vec<String> {
    match *step {
        Step::Put(n, p, t) => {
            // As rsync does: written elsewhere, then moved into place.
            let temporary = root.join(".coming");
            fs::copy(&pool()[usize::from(p)], &temporary).unwrap();
            set_time(&temporary, time(t));
            fs::rename(temporary, root.join(name(n))).unwrap();
            vec![name(n)]
        }
        Step::Touch(n, t) if root.join(name(n)).exists() => {
            set_time(&root.join(name(n)), time(t));
            vec![name(n)]
        }
        Step::Rename(a, b) if a != b && root.join(name(a)).exists() => {
            fs::rename(root.join(name(a)), root.join(name(b))).unwrap();
            vec![name(a), name(b)]
        }
        Step::Remove(n) if root.join(name(n)).exists() => {
            fs::remove_file(root.join(name(n))).unwrap();
            vec![name(n)]
        }
        Step::Touch(..) | Step::Rename(..) | Step::Remove(_) => Vec::new(),
    }
}

fn settled(names: Vec<String>) -> Dirty {
    Dirty::all_settled(names.iter().map(|n| Location::parse(n).unwrap()))
}

/// Refreshes until nothing is left to do, as the worker does.
fn refresh(repository: &mut Repository, mut dirty: Dirty) {
    while !dirty.is_empty() {
        let mut remains = repository.refresh(Batch { dirty, ..Batch::default() }, &()).unwrap();
        dirty = Dirty::default();
        while !remains.recheck.is_empty() {
            dirty.merge(repository.recheck(&mut remains.recheck).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn incremental_equals_full(
        gzip in any::<bool>(),
        start in 0..POOL as u16,
        now in prop::option::of(0..3000u16),
        rounds in prop::collection::vec((prop::collection::vec(step(), 0..6), any::<bool>(), any::<bool>()), 1..8),
    ) {
        let metadata = if gzip { MetadataProfile::Gzip } else { MetadataProfile::Zstd };
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for n in 0..start {
            act(tree.path(), &Step::Put(n, n, n.wrapping_mul(7) % 3000));
        }
        // What is prepared depends on when the next package is expected; what is published does not.
        let clock = Arc::new(move || now.map_or_else(SystemTime::now, time));
        let config = config(tree.path(), state.path(), metadata);
        let mut repository = Repository::open(config.clone(), clock.clone()).unwrap();
        repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();
        for (steps, prepare, reopen) in rounds {
            if prepare {
                repository.prepare(&|| false).unwrap();
            }
            if reopen {
                drop(repository);
                repository = Repository::open(config.clone(), clock.clone()).unwrap();
            }
            let dirty = steps.iter().flat_map(|step| act(tree.path(), step)).collect();
            refresh(&mut repository, settled(dirty));
            let shown = published(tree.path());
            prop_assert!(shown == indexed_afresh(tree.path(), metadata), "metadata differs from a full run's");
        }
    }
}

/// The names of all packages, in order of publication.
fn order(root: &Path) -> Vec<String> {
    let files = published(root);
    let primary = String::from_utf8(zstd::decode_all(&files["primary"][..]).unwrap()).unwrap();
    primary
        .split("<location href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn packages_of_earlier_days_stand_by_name_once_there_are_many_of_later_ones() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut repository =
        Repository::open(config(tree.path(), state.path(), MetadataProfile::Zstd), Arc::new(SystemTime::now))
            .unwrap();
    // The first day's come in the order of their numbers, which is not that of their names.
    let mut dirty: Vec<String> = (0..30).flat_map(|n| act(tree.path(), &Step::Put(n, n, n))).collect();
    let by_time: Vec<String> = (0..30).map(name).collect();
    let mut by_name = by_time.clone();
    by_name.sort();
    for n in 100..140 {
        refresh(&mut repository, settled(std::mem::take(&mut dirty)));
        let young = (100..n).map(name);
        let first = if n < 135 { &by_time } else { &by_name };
        assert_eq!(order(tree.path()), first.iter().cloned().chain(young).collect::<Vec<_>>());
        dirty = act(tree.path(), &Step::Put(n, n, 1000 + n));
    }
    refresh(&mut repository, settled(act(tree.path(), &Step::Remove(110))));
    refresh(&mut repository, settled((111..116).flat_map(|n| act(tree.path(), &Step::Remove(n))).collect()));
    assert_eq!(order(tree.path())[..30], by_time, "a removal takes it back");
}

#[test]
fn what_settles_with_the_next_package_was_made_before_it_came() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    let mut repository = Repository::open(config, Arc::new(|| time(2000))).unwrap();
    for n in 0..600 {
        act(tree.path(), &Step::Put(n, n, n.wrapping_mul(7) % 400));
    }
    repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();
    let mut made_ready = 0;
    for n in 600..680 {
        // An interrupted attempt is gone on with.
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= usize::from(n % 4);
        repository.prepare(&stop).unwrap();
        assert!(repository.prepare(&|| false).unwrap());
        let before = repository.catalog().unwrap().listing().unwrap();
        let (ready, end) = (repository.ready.bytes(), repository.catalog().unwrap().pieces().len());
        refresh(&mut repository, settled(act(tree.path(), &Step::Put(n, n, 1400 + n))));
        let written = repository.catalog().unwrap().pieces().len() - end;
        let all: u64 = before.chunks.iter().map(crate::catalog::Chunk::stored_bytes).sum();
        // Where none settle, the open run may just have been cut anew.
        if ready > 0 {
            made_ready += 1;
            assert!(ready > all / 4, "{ready} of {all}");
            assert!(written < all / 4, "{written} of {all} bytes are made with package {n}");
            let after = repository.catalog().unwrap().listing().unwrap();
            assert_ne!(before.chunks[0], after.chunks[0], "packages have settled with {n}");
            assert!(published(tree.path()) == indexed_afresh(tree.path(), MetadataProfile::Zstd));
        }
    }
    assert!((1..=6).contains(&made_ready), "{made_ready}");
    assert!(repository.trails.iter().all(|trails| trails.len() <= 7), "and old ones are not kept");
}

#[test]
fn what_is_rejected_has_no_say_in_the_order() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..80 {
        act(tree.path(), &Step::Put(n, n, 90 - n));
    }
    for n in 0..80 {
        let path = tree.path().join(format!("bad{n}.rpm"));
        fs::write(&path, "<html>404</html>").unwrap();
        set_time(&path, time(2000));
    }
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    assert_eq!(index(config.clone(), &()).unwrap().packages, 80);
    let shown = published(tree.path());
    for n in 0..80 {
        fs::remove_file(tree.path().join(format!("bad{n}.rpm"))).unwrap();
    }
    assert!(shown == indexed_afresh(tree.path(), MetadataProfile::Zstd));
    assert!(!index(config, &()).unwrap().changed);
}

#[test]
fn a_catalog_of_an_older_version_is_made_anew_and_its_files_stay_ours() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    act(tree.path(), &Step::Put(1, 1, 1));
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    index(config.clone(), &()).unwrap();
    let before = published_files(tree.path());
    act(tree.path(), &Step::Put(2, 2, 2));
    index(config.clone(), &()).unwrap();
    let repomd = fs::read(tree.path().join("repodata/repomd.xml")).unwrap();
    let db = rusqlite::Connection::open(state.path().join("catalog.sqlite")).unwrap();
    db.execute_batch("DROP TABLE chunk; CREATE TABLE chunk (other); PRAGMA user_version = 1;").unwrap();
    drop(db);
    let again = index(config.clone(), &()).unwrap();
    assert_eq!((again.changed, again.read), (false, 2));
    assert_eq!(fs::read(tree.path().join("repodata/repomd.xml")).unwrap(), repomd);
    let reader = crate::catalog::Reader::open(state.path(), config.checksum).unwrap();
    for (name, bytes) in before {
        let (recipe, pieces, _) = reader.recipe(&name).unwrap().unwrap();
        let mut made = Vec::new();
        recipe.write(&pieces, &mut made).unwrap();
        assert!(made == bytes);
    }
}

#[test]
fn a_question_to_a_quiet_repository_leaves_no_database_open() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let handle = Handle::open(config(tree.path(), state.path(), MetadataProfile::Zstd)).unwrap();
    assert_eq!(handle.status().trouble, None);
    assert!(handle.shared.reader.lock().unwrap().is_none());
    handle.close();
}

#[test]
fn a_lost_catalog_changes_no_byte_and_publishes_nothing() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..300 {
        act(tree.path(), &Step::Put(n, n, n % 50));
    }
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    assert!(index(config.clone(), &()).unwrap().changed);
    let repomd = fs::read(tree.path().join("repodata/repomd.xml")).unwrap();
    let before = fs::metadata(tree.path().join("repodata/repomd.xml")).unwrap().modified().unwrap();
    fs::remove_dir_all(state.path()).unwrap();
    let again = index(config, &()).unwrap();
    assert_eq!((again.changed, again.read), (false, 300));
    assert_eq!(fs::read(tree.path().join("repodata/repomd.xml")).unwrap(), repomd);
    assert_eq!(fs::metadata(tree.path().join("repodata/repomd.xml")).unwrap().modified().unwrap(), before);
}

#[test]
fn another_compression_makes_the_pieces_again_without_reading_a_package() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..300 {
        act(tree.path(), &Step::Put(n, n, n % 50));
    }
    index(config(tree.path(), state.path(), MetadataProfile::Zstd), &()).unwrap();
    let summary = index(config(tree.path(), state.path(), MetadataProfile::Gzip), &()).unwrap();
    assert_eq!((summary.changed, summary.read, summary.packages), (true, 0, 300));
    assert!(published(tree.path()) == indexed_afresh(tree.path(), MetadataProfile::Gzip));
}

#[test]
fn compaction_changes_no_byte() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..100 {
        act(tree.path(), &Step::Put(n, n, n));
    }
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    let mut repository = Repository::open(config.clone(), Arc::new(SystemTime::now)).unwrap();
    repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();
    for n in 100..140 {
        let dirty = act(tree.path(), &Step::Put(n, n, n));
        repository.refresh(Batch { dirty: settled(dirty), ..Batch::default() }, &()).unwrap();
    }
    assert!(repository.catalog().unwrap().dead_bytes().unwrap() > 0);
    repository.catalog().unwrap().compact().unwrap();
    repository.forget_prepared();
    assert_eq!(repository.catalog().unwrap().dead_bytes().unwrap(), 0);
    let dirty = act(tree.path(), &Step::Remove(5));
    repository.refresh(Batch { dirty: settled(dirty), ..Batch::default() }, &()).unwrap();
    assert!(published(tree.path()) == indexed_afresh(tree.path(), MetadataProfile::Zstd));
}

#[test]
fn a_superseded_file_is_made_again_from_its_recipe_also_after_a_compaction() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..200 {
        act(tree.path(), &Step::Put(n, n, n));
    }
    for metadata in [MetadataProfile::Zstd, MetadataProfile::Gzip] {
        let mut config = config(tree.path(), state.path(), metadata);
        config.grace_space = crate::config::Space::Bytes(0);
        let mut repository = Repository::open(config.clone(), Arc::new(SystemTime::now)).unwrap();
        repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();
        let before = published_files(tree.path());
        let dirty =
            [act(tree.path(), &Step::Put(300, 300, 300)), act(tree.path(), &Step::Remove(70))].concat();
        refresh(&mut repository, settled(dirty));
        for compacted in [false, true] {
            if compacted {
                repository.catalog().unwrap().compact().unwrap();
            }
            for (name, bytes) in &before {
                assert!(!tree.path().join("repodata").join(name).exists(), "there is no room for whole ones");
                let reader = crate::catalog::Reader::open(state.path(), config.checksum).unwrap();
                let (recipe, pieces, _) = reader.recipe(name).unwrap().unwrap();
                let mut again = Vec::new();
                recipe.write(&pieces, &mut again).unwrap();
                assert!(&again == bytes, "{name}");
            }
        }
        act(tree.path(), &Step::Remove(300));
        act(tree.path(), &Step::Put(70, 70, 70));
    }
}

/// The metadata files that repomd.xml names: name → bytes.
fn published_files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let repomd = Repomd::read(&fs::read(root.join("repodata/repomd.xml")).unwrap()[..]).unwrap();
    let name = |href: &str| href.strip_prefix("repodata/").unwrap().to_owned();
    repomd.records.iter().map(|r| (name(&r.href), fs::read(root.join(&r.href)).unwrap())).collect()
}

#[tokio::test]
async fn what_could_not_be_taken_up_goes_along_with_the_next_change() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    act(tree.path(), &Step::Put(1, 1, 1));
    let handle = Handle::open(config(tree.path(), state.path(), MetadataProfile::Zstd)).unwrap();
    // Nothing can be published while a file stands where the directory belongs.
    fs::write(tree.path().join("repodata"), "in the way").unwrap();
    handle.submit(Dirty::everything());
    while handle.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(handle.published().is_none());
    fs::remove_file(tree.path().join("repodata")).unwrap();
    let ticket = handle.submit(settled(act(tree.path(), &Step::Put(2, 2, 2))));
    let published = handle.wait(ticket, Duration::from_secs(60)).await.unwrap();
    assert_eq!((published.packages, handle.trouble()), (2, None));
    tokio::task::spawn_blocking(move || handle.close()).await.unwrap();
}

#[tokio::test]
async fn what_is_to_be_mended_is_mended_after_what_kept_it_from_being() {
    let (tree, state, keys) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    act(tree.path(), &Step::Put(1, 1, 1));
    let key = keys.path().join("key.asc");
    SecretKey::generate(Algorithm::Ed25519, "test").unwrap().write_new(&key, None).unwrap();
    let mut config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    config.sign = Some(SignConfig::Key { key: key.clone(), passphrase: None });
    let handle = Handle::open(config).unwrap();
    let published_at = |ticket| handle.wait(ticket, Duration::from_secs(60));
    published_at(handle.submit(Dirty::everything())).await.unwrap();
    // A metadata file rots, and the key is away when it is to be mended.
    let files = published_files(tree.path());
    let (name, bytes) = files.first_key_value().unwrap();
    let rotten: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    fs::write(tree.path().join("repodata").join(name), rotten).unwrap();
    fs::rename(&key, keys.path().join("away")).unwrap();
    let finding = Finding::Metadata { name: name.clone(), why: "it rotted".into() };
    {
        let _not_yet = super::lock(&handle.shared.repository);
        handle.check_keys();
        handle.mend(&Report { findings: vec![finding], ..Report::default() });
    }
    while handle.trouble().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fs::rename(keys.path().join("away"), &key).unwrap();
    published_at(handle.submit(Dirty::everything())).await.unwrap();
    assert!(published_files(tree.path()) == files, "{name} is what it was");
    tokio::task::spawn_blocking(move || handle.close()).await.unwrap();
}

#[test]
fn a_rejected_file_publishes_nothing() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    act(tree.path(), &Step::Put(1, 1, 1));
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    assert!(index(config.clone(), &()).unwrap().changed);
    fs::write(tree.path().join("bad.rpm"), "<html>404</html>").unwrap();
    let summary = index(config, &()).unwrap();
    assert_eq!((summary.changed, summary.packages, summary.rejected.len()), (false, 1, 1));
}

#[test]
fn a_file_that_is_written_to_without_end_is_rejected_as_unfinished_and_taken_once_it_is_left_alone() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    (config.settle, config.settle_max) = (Duration::from_secs(3600), Duration::ZERO);
    let mut repository = Repository::open(config, Arc::new(SystemTime::now)).unwrap();
    fs::copy(&pool()[1], tree.path().join("n1.rpm")).unwrap();
    let everything = || Batch { dirty: Dirty::everything(), ..Batch::default() };
    for _ in 0..2 {
        let remains = repository.refresh(everything(), &()).unwrap();
        assert_eq!((remains.unsettled.len(), remains.rejected), (1, 1));
    }
    assert_eq!(repository.published.as_ref().unwrap().packages, 0);
    set_time(&tree.path().join("n1.rpm"), time(1));
    let remains = repository.refresh(everything(), &()).unwrap();
    assert_eq!((remains.unsettled.len(), remains.rejected), (0, 0));
    assert_eq!(repository.published.as_ref().unwrap().packages, 1);
}

#[test]
fn what_takes_the_place_of_an_arrival_before_the_look_is_what_is_published() {
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    // The clock is asked after it was found that the arrival is there still, and before the look.
    type Act = Box<dyn FnOnce() + Send>;
    let between: Arc<Mutex<Option<Act>>> = Arc::default();
    let clock = {
        let between = Arc::clone(&between);
        move || {
            let act = between.lock().unwrap().take();
            if let Some(act) = act {
                act();
            }
            SystemTime::now()
        }
    };
    let mut repository = Repository::open(config.clone(), Arc::new(clock)).unwrap();
    act(tree.path(), &Step::Put(0, 0, 0));
    repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();

    let arrive = |bytes: u16| {
        act(tree.path(), &Step::Put(1, bytes, bytes));
        let location = Location::parse(&name(1)).unwrap();
        let stamp = scan::stamp(tree.path(), &location).unwrap().unwrap();
        scan::read(&config, None, &Found { location, stamp }).unwrap()
    };
    let root = tree.path().to_owned();
    let changes: [(Box<dyn FnOnce() + Send>, usize); 2] = [
        (
            Box::new({
                let root = root.clone();
                move || _ = act(&root, &Step::Put(1, 2, 2))
            }),
            2,
        ),
        (Box::new(move || fs::remove_file(root.join(name(1))).unwrap()), 1),
    ];
    for (change, packages) in changes {
        let arrived = vec![arrive(3)];
        *between.lock().unwrap() = Some(change);
        // inotify tells of an upload, too.
        let dirty = Dirty::all_settled([arrived[0].location.clone()]);
        repository.refresh(Batch { dirty, arrived, ..Batch::default() }, &()).unwrap();
        assert_eq!(repository.published.as_ref().unwrap().packages, packages as u64);
        assert!(published(tree.path()) == indexed_afresh(tree.path(), MetadataProfile::Zstd));
    }
    assert!(!state.path().join("catalog.sqlite.damaged").exists());
}

#[test]
fn a_clock_that_steps_back_and_forth_changes_no_package_and_takes_no_client_back() {
    const DAY: u64 = 24 * 3600;
    let now = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let clock = {
        let now = Arc::clone(&now);
        move || SystemTime::UNIX_EPOCH + Duration::from_secs(now.load(std::sync::atomic::Ordering::SeqCst))
    };
    let clock: Arc<dyn Fn() -> SystemTime + Send + Sync> = Arc::new(clock);
    let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    let repomd = || Repomd::read(&fs::read(tree.path().join("repodata/repomd.xml")).unwrap()[..]).unwrap();
    let start = 1_800_000_000;
    let mut last = (0, Vec::new());
    let mut repository: Option<Repository> = None;
    // A few seconds, a month, back to 1970, and a restart in between, whose clock is wrong too.
    let steps = [0, 5, 30 * DAY, 2, 29 * DAY, 40 * DAY, 0, 41 * DAY].map(|step| start + step);
    let broken = [1, 2, 60, start - 100 * DAY].into_iter();
    for (n, at) in steps.into_iter().chain(broken).chain([start + 50 * DAY]).enumerate() {
        now.store(at, std::sync::atomic::Ordering::SeqCst);
        if n % 3 == 0 {
            repository = None;
        }
        let repository =
            repository.get_or_insert_with(|| Repository::open(config.clone(), Arc::clone(&clock)).unwrap());
        let n = u16::try_from(n).unwrap();
        act(tree.path(), &Step::Put(n, n, n));
        let everything = || Batch { dirty: Dirty::everything(), ..Batch::default() };
        repository.refresh(everything(), &()).unwrap();
        let shown = repomd();
        let times: Vec<u64> = shown.records.iter().map(|record| record.timestamp).collect();
        assert!(shown.revision_number() >= last.0, "revision {} after {}", shown.revision_number(), last.0);
        let oldest = last.1.iter().max().copied().unwrap_or(0);
        assert!(times.iter().all(|time| *time >= oldest), "timestamps {times:?} after {:?}", last.1);
        assert!(published(tree.path()) == indexed_afresh(tree.path(), MetadataProfile::Zstd));
        // What has not changed is not published again, whatever the clock says.
        let bytes = fs::read(tree.path().join("repodata/repomd.xml")).unwrap();
        now.fetch_add(DAY, std::sync::atomic::Ordering::SeqCst);
        repository.refresh(everything(), &()).unwrap();
        assert!(fs::read(tree.path().join("repodata/repomd.xml")).unwrap() == bytes);
        last = (shown.revision_number(), times);
    }
    assert_eq!(last.0, start + 50 * DAY, "and it ends with the right time");
}

#[test]
fn metadata_whose_notes_a_power_cut_took_from_the_catalog_go_like_any_that_are_superseded() {
    let (tree, state, before) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut config = config(tree.path(), state.path(), MetadataProfile::Zstd);
    config.grace = Duration::from_secs(10);
    let now = Arc::new(Mutex::new(time(3000)));
    let open = || {
        let now = Arc::clone(&now);
        Repository::open(config.clone(), Arc::new(move || *now.lock().unwrap())).unwrap()
    };
    let look = |repository: &mut Repository| {
        repository.refresh(Batch { dirty: Dirty::everything(), ..Batch::default() }, &()).unwrap();
        repository.published.as_ref().unwrap().packages
    };
    let add = |repository: &mut Repository, number: u16| {
        act(tree.path(), &Step::Put(number, number, number));
        look(repository)
    };
    let mut repository = open();
    assert_eq!(add(&mut repository, 0), 1);
    drop(repository);
    damage::copy_all(state.path(), before.path());
    let mut repository = open();
    assert_eq!(add(&mut repository, 1), 2);
    let are_marked = repository.place.is_marked("repomd.xml");
    drop(repository);
    let lost: Vec<PathBuf> = named_files(tree.path());
    // What the catalog committed last never came to the disk.
    fs::remove_dir_all(state.path()).unwrap();
    damage::copy_all(before.path(), state.path());
    let mut repository = open();
    assert_eq!(add(&mut repository, 2), 3);
    assert!(lost.iter().all(|file| file.exists()), "somebody may have been told of them just before");
    if !are_marked {
        // This file system has no extended attributes: then only the first start after the machine's may tell whose they are.
        return;
    }
    for round in 0..2 {
        *now.lock().unwrap() += Duration::from_secs(60);
        assert_eq!(add(&mut repository, 3 + round), 4 + u64::from(round));
    }
    *now.lock().unwrap() += Duration::from_secs(60);
    look(&mut repository);
    let mut current = named_files(tree.path());
    current.push(tree.path().join("repodata/repomd.xml"));
    let mut there: Vec<PathBuf> =
        fs::read_dir(tree.path().join("repodata")).unwrap().map(|entry| entry.unwrap().path()).collect();
    current.sort();
    there.sort();
    assert_eq!(there, current);
}

/// What repomd.xml names.
fn named_files(root: &Path) -> Vec<PathBuf> {
    let repomd = Repomd::read(&fs::read(root.join("repodata/repomd.xml")).unwrap()[..]).unwrap();
    repomd.records.iter().map(|record| root.join(&record.href)).collect()
}
