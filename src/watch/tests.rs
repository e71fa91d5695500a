use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::{Condvar, Mutex};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::config::AdditionalMetadata;
use crate::package::Location;

/// Long enough for the slowest machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);
const TEST_PACE: Pace =
    Pace { poll: Duration::from_millis(50), retry: Duration::from_millis(20), limit: usize::MAX };
const RULES: WatchRules = WatchRules {
    symlinks: Symlinks::Inside,
    additional: AdditionalMetadata::USUAL,
    settle: Duration::from_millis(100),
    settle_max: Duration::from_secs(600),
    rescan: Duration::from_secs(3600),
};

/// What was heard of one tree.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Seen>>,
    more: Condvar,
}

impl Ear {
    fn sink(self: &Arc<Self>) -> Sink {
        let ear = self.clone();
        Arc::new(move |seen| {
            ear.heard.lock().unwrap().push(seen);
            ear.more.notify_all();
        })
    }

    fn wait(&self, what: &str, is_there: impl Fn(&[Seen]) -> bool) {
        let heard = self.heard.lock().unwrap();
        let (heard, late) = self.more.wait_timeout_while(heard, PATIENCE, |heard| !is_there(heard)).unwrap();
        assert!(!late.timed_out(), "waited for {what}, heard {heard:?}");
    }

    fn wait_settled(&self, path: &str) {
        let location = loc(path);
        self.wait(&format!("{path} settled"), |heard| dirties(heard).any(|d| d.settled.contains(&location)));
    }

    fn wait_unsure(&self, path: &str) {
        let location = loc(path);
        self.wait(&format!("{path} unsure"), |heard| dirties(heard).any(|d| d.unsure.contains(&location)));
    }

    fn wait_everything(&self) {
        self.wait("everything", |heard| dirties(heard).any(|d| d.everything));
    }

    fn has(&self, is_it: impl Fn(&Seen) -> bool) -> bool {
        self.heard.lock().unwrap().iter().any(is_it)
    }

    fn names(&self, path: &str) -> bool {
        let location = loc(path);
        self.has(|seen| matches!(seen, Seen::Dirty(d) if d.settled.contains(&location) || d.unsure.contains(&location)))
    }

    fn clear(&self) {
        self.heard.lock().unwrap().clear();
    }
}

fn dirties(heard: &[Seen]) -> impl Iterator<Item = &Dirty> {
    heard.iter().filter_map(|seen| match seen {
        Seen::Dirty(dirty) => Some(dirty),
        _ => None,
    })
}

fn loc(path: &str) -> Location {
    Location::parse(path).unwrap()
}

/// A watched tree in a directory of its own, with room for other things beside it.
struct Watched {
    dir: TempDir,
    ear: Arc<Ear>,
    watch: Watch,
}

impl Watched {
    fn new() -> Self {
        Self::with(RULES, TEST_PACE, |_| {})
    }

    fn with(rules: WatchRules, pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir(&root).unwrap();
        prepare(&root);
        let watch = Watch::start_at(pace).unwrap();
        let ear = Arc::new(Ear::default());
        watch.add(&root, rules, ear.sink());
        ear.wait_everything();
        ear.clear();
        Self { dir, ear, watch }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Something outside the tree, on the same file system.
    fn beside(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Waits until all that happened so far has been heard; returns whether `path` was named.
    fn hears_of(&self, path: &str) -> bool {
        fs::write(self.path("last.rpm"), "").unwrap();
        self.ear.wait_settled("last.rpm");
        self.ear.names(path)
    }
}

#[test]
fn the_first_thing_told_is_how_it_is_watched_and_the_second_everything() {
    let tree = Watched::new();
    let ear = Arc::new(Ear::default());
    tree.watch.add(&tree.root(), RULES, ear.sink());
    ear.wait("two things", |heard| heard.len() >= 2);
    let heard = ear.heard.lock().unwrap().clone();
    assert_eq!(heard, [Seen::Watching(Means::Inotify), Seen::Dirty(Dirty::everything())]);
}

#[test]
fn a_file_that_is_written_and_closed_is_settled() {
    let tree = Watched::new();
    fs::write(tree.path("a b#%é\n.rpm"), "x").unwrap();
    tree.ear.wait_settled("a b#%é\n.rpm");
}

#[test]
fn a_file_that_is_still_being_written_is_not_told() {
    let rules = WatchRules { settle: Duration::from_secs(3600), ..RULES };
    let tree = Watched::with(rules, TEST_PACE, |_| {});
    let mut file = File::create(tree.path("a.rpm")).unwrap();
    file.write_all(b"half").unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!tree.hears_of("a.rpm"));
    drop(file);
    tree.ear.wait_settled("a.rpm");
}

#[test]
fn a_file_nobody_closes_is_told_as_unsure_once_it_is_quiet() {
    let tree = Watched::new();
    let _open = File::create(tree.path("a.rpm")).unwrap();
    tree.ear.wait_unsure("a.rpm");
}

#[test]
fn a_file_linked_from_an_unnamed_one_is_told_once_it_is_quiet() {
    let tree = Watched::new();
    let flags = OFlags::TMPFILE | OFlags::WRONLY;
    let mut file = File::from(rustix::fs::open(tree.root(), flags, Mode::from_raw_mode(0o644)).unwrap());
    file.write_all(b"x").unwrap();
    let proc = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file.as_fd()));
    rustix::fs::linkat(CWD, proc, CWD, tree.path("a.rpm"), AtFlags::SYMLINK_FOLLOW).unwrap();
    tree.ear.wait_unsure("a.rpm");
}

#[test]
fn files_moved_in_and_out_are_settled() {
    let tree = Watched::new();
    fs::write(tree.beside("a.rpm"), "x").unwrap();
    fs::rename(tree.beside("a.rpm"), tree.path("a.rpm")).unwrap();
    tree.ear.wait_settled("a.rpm");
    tree.ear.clear();
    fs::rename(tree.path("a.rpm"), tree.beside("a.rpm")).unwrap();
    tree.ear.wait_settled("a.rpm");
}

#[test]
fn a_file_renamed_inside_the_tree_is_settled_here_and_there() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::write(root.join("a.rpm"), "x").unwrap());
    fs::rename(tree.path("a.rpm"), tree.path("b.rpm")).unwrap();
    tree.ear.wait_settled("a.rpm");
    tree.ear.wait_settled("b.rpm");
}

#[test]
fn a_file_replaced_by_another_is_settled() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::write(root.join("a.rpm"), "x").unwrap());
    fs::write(tree.path(".a.rpm.tmp"), "y").unwrap();
    fs::rename(tree.path(".a.rpm.tmp"), tree.path("a.rpm")).unwrap();
    tree.ear.wait_settled("a.rpm");
    tree.ear.clear();
    fs::write(tree.path("a.rpm"), "in place").unwrap();
    tree.ear.wait_settled("a.rpm");
}

#[test]
fn a_deleted_file_and_a_touched_file_are_settled() {
    let tree = Watched::with(RULES, TEST_PACE, |root| {
        fs::write(root.join("a.rpm"), "x").unwrap();
        fs::write(root.join("b.rpm"), "x").unwrap();
    });
    fs::remove_file(tree.path("a.rpm")).unwrap();
    fs::set_permissions(tree.path("b.rpm"), fs::Permissions::from_mode(0o600)).unwrap();
    tree.ear.wait_settled("a.rpm");
    tree.ear.wait_settled("b.rpm");
}

#[test]
fn links_to_files_are_settled_at_once() {
    let rules = WatchRules { settle: Duration::from_secs(3600), ..RULES };
    let tree = Watched::with(rules, TEST_PACE, |_| {});
    fs::write(tree.beside("a.rpm"), "x").unwrap();
    fs::hard_link(tree.beside("a.rpm"), tree.path("hard.rpm")).unwrap();
    symlink(tree.beside("a.rpm"), tree.path("soft.rpm")).unwrap();
    tree.ear.wait_settled("hard.rpm");
    tree.ear.wait_settled("soft.rpm");
}

#[test]
fn other_names_hidden_names_and_what_is_ours_are_not_told() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir(root.join(".createrepod")).unwrap());
    for name in ["a.txt", "a.rpm.part", ".a.rpm", ".createrepod/a.rpm", "comps.xml"] {
        fs::write(tree.path(name), "x").unwrap();
        assert!(!tree.hears_of(name), "{name}");
    }
    fs::create_dir_all(tree.path(".hidden/dir")).unwrap();
    fs::create_dir(tree.path("repodata")).unwrap();
    fs::write(tree.path("repodata/a.rpm"), "x").unwrap();
    assert!(!tree.hears_of("repodata") && !tree.hears_of(".hidden") && !tree.hears_of("repodata/a.rpm"));
    for name in ["createrepodata-1.rpm", "repodata-1.rpm"] {
        fs::write(tree.path(name), "x").unwrap();
        tree.ear.wait_settled(name);
    }
}

#[test]
fn reading_is_not_heard() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::write(root.join("a.rpm"), "x").unwrap());
    fs::read(tree.path("a.rpm")).unwrap();
    fs::read_dir(tree.root()).unwrap().for_each(drop);
    assert!(!tree.hears_of("a.rpm"));
}

#[test]
fn a_new_directory_is_unsure_and_watched() {
    let tree = Watched::new();
    fs::create_dir(tree.path("dir.rpm")).unwrap();
    tree.ear.wait_unsure("dir.rpm");
    fs::write(tree.path("dir.rpm/a.rpm"), "x").unwrap();
    tree.ear.wait_settled("dir.rpm/a.rpm");
}

#[test]
fn a_directory_moved_in_is_unsure_and_watched_to_its_bottom() {
    let tree = Watched::new();
    fs::create_dir_all(tree.beside("dir/deep/er")).unwrap();
    fs::write(tree.beside("dir/deep/a.rpm"), "x").unwrap();
    fs::rename(tree.beside("dir"), tree.path("dir")).unwrap();
    tree.ear.wait_unsure("dir");
    fs::write(tree.path("dir/deep/er/b.rpm"), "x").unwrap();
    tree.ear.wait_settled("dir/deep/er/b.rpm");
}

#[test]
fn a_renamed_directory_is_gone_there_and_unsure_here_and_names_go_with_it() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir_all(root.join("old/deep")).unwrap());
    fs::rename(tree.path("old"), tree.path("new")).unwrap();
    tree.ear.wait_settled("old");
    tree.ear.wait_unsure("new");
    fs::write(tree.path("new/deep/a.rpm"), "x").unwrap();
    tree.ear.wait_settled("new/deep/a.rpm");
    assert!(!tree.ear.names("old/deep/a.rpm"));

    // The old name again, for another directory.
    tree.ear.clear();
    fs::create_dir(tree.path("old")).unwrap();
    tree.ear.wait_unsure("old");
    fs::write(tree.path("old/b.rpm"), "x").unwrap();
    tree.ear.wait_settled("old/b.rpm");
}

#[test]
fn a_deleted_directory_is_settled_as_is_one_moved_out() {
    let tree = Watched::with(RULES, TEST_PACE, |root| {
        fs::create_dir_all(root.join("a/deep")).unwrap();
        fs::create_dir_all(root.join("b/deep")).unwrap();
    });
    fs::remove_dir_all(tree.path("a")).unwrap();
    fs::rename(tree.path("b"), tree.beside("b")).unwrap();
    tree.ear.wait_settled("a");
    tree.ear.wait_settled("b");
    // What happens outside is nobody's business.
    tree.ear.clear();
    fs::write(tree.beside("b/deep/x.rpm"), "x").unwrap();
    assert!(!tree.hears_of("b/deep/x.rpm"));
}

#[test]
fn directories_that_trade_names_are_both_watched_under_the_new_ones() {
    let tree = Watched::with(RULES, TEST_PACE, |root| {
        fs::create_dir(root.join("a")).unwrap();
        fs::create_dir(root.join("b")).unwrap();
    });
    for _ in 0..10 {
        fs::rename(tree.path("a"), tree.path("c")).unwrap();
        fs::rename(tree.path("b"), tree.path("a")).unwrap();
        fs::rename(tree.path("c"), tree.path("b")).unwrap();
    }
    assert!(tree.hears_of("a"));
    for path in ["a/x.rpm", "b/y.rpm"] {
        fs::write(tree.path(path), "x").unwrap();
        tree.ear.wait_settled(path);
    }
}

/// Whether a walk of what was told would find this file: it is named, or a directory above it is.
fn is_covered(heard: &[Seen], path: &str) -> bool {
    let location = loc(path);
    dirties(heard).any(|dirty| {
        dirty.everything || dirty.settled.iter().chain(&dirty.unsure).any(|place| location.is_within(place))
    })
}

#[test]
fn no_file_in_nested_directories_made_at_once_is_lost() {
    let tree = Watched::new();
    let mut files = Vec::new();
    for i in 0..50 {
        let directory = format!("n{i}/a/b/c");
        fs::create_dir_all(tree.path(&directory)).unwrap();
        for (n, depth) in
            [directory.len(), directory.len() - 2, directory.len() - 4, 2 + i / 10].iter().enumerate()
        {
            let file = format!("{}/{n}.rpm", &directory[..*depth].trim_end_matches('/'));
            fs::write(tree.path(&file), "x").unwrap();
            files.push(file);
        }
        let last = format!("{directory}/last.rpm");
        fs::write(tree.path(&last), "x").unwrap();
        files.push(last);
    }
    assert_eq!(files.len(), 250);
    tree.ear.wait("all files", |heard| files.iter().all(|file| is_covered(heard, file)));
    // And all of the directories are watched by now.
    for i in 0..50 {
        let path = format!("n{i}/a/b/c/late.rpm");
        fs::write(tree.path(&path), "x").unwrap();
        tree.ear.wait_settled(&path);
    }
}

#[test]
fn links_to_directories_inside_are_watched_under_both_names() {
    let mut tree = Watched::with(RULES, TEST_PACE, |root| {
        fs::create_dir_all(root.join("real/deep")).unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("..", root.join("real/up")).unwrap();
        symlink(".", root.join("here")).unwrap();
    });
    fs::write(tree.path("real/deep/a.rpm"), "x").unwrap();
    tree.ear.wait_settled("real/deep/a.rpm");
    tree.ear.wait_settled("link/deep/a.rpm");
    assert!(!tree.ear.names("here/real/deep/a.rpm") && !tree.ear.names("real/up/real/deep/a.rpm"));

    symlink("real", tree.path("second.rpm")).unwrap();
    tree.ear.wait_unsure("second.rpm");
    fs::write(tree.path("real/b.rpm"), "x").unwrap();
    tree.ear.wait_settled("second.rpm/b.rpm");

    fs::remove_file(tree.path("second.rpm")).unwrap();
    tree.ear.wait_settled("second.rpm");
    tree.ear.clear();
    fs::write(tree.path("real/c.rpm"), "x").unwrap();
    tree.ear.wait_settled("link/c.rpm");
    assert!(!tree.ear.names("second.rpm/c.rpm"));

    // The target goes away: so does what lies behind the link.
    fs::rename(tree.path("real"), tree.beside("away")).unwrap();
    tree.ear.wait_settled("real");
    tree.ear.wait_settled("link");

    let rules = WatchRules { symlinks: Symlinks::Never, ..RULES };
    tree = Watched::with(rules, TEST_PACE, |root| {
        fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
    });
    fs::write(tree.path("real/a.rpm"), "x").unwrap();
    tree.ear.wait_settled("real/a.rpm");
    assert!(!tree.ear.names("link/a.rpm"));
}

#[test]
fn a_directory_that_becomes_readable_is_unsure() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir(root.join("dir")).unwrap());
    fs::set_permissions(tree.path("dir"), fs::Permissions::from_mode(0o700)).unwrap();
    tree.ear.wait_unsure("dir");
}

#[test]
fn names_that_are_not_utf8_make_their_directory_be_looked_at() {
    use std::os::unix::ffi::OsStrExt;
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir(root.join("dir")).unwrap());
    let name = std::ffi::OsStr::from_bytes(b"\xff.rpm");
    fs::write(tree.path("dir").join(name), "x").unwrap();
    tree.ear.wait_unsure("dir");
    fs::write(tree.root().join(name), "x").unwrap();
    tree.ear.wait_everything();
}

#[test]
fn metadata_that_changes_is_told_wherever_it_comes_from() {
    let tree = Watched::new();
    let wait = || {
        tree.ear.wait("metadata", |heard| heard.contains(&Seen::Metadata));
        tree.ear.clear();
    };
    fs::create_dir(tree.path("repodata")).unwrap();
    wait();
    fs::write(tree.path("repodata/.new"), "x").unwrap();
    fs::rename(tree.path("repodata/.new"), tree.path("repodata/repomd.xml")).unwrap();
    wait();
    fs::write(tree.path("repodata/repomd.xml"), "y").unwrap();
    wait();
    fs::write(tree.path("repodata/primary.xml"), "y").unwrap();
    fs::write(tree.path("a.rpm"), "y").unwrap();
    tree.ear.wait_settled("a.rpm");
    assert!(!tree.ear.has(|seen| *seen == Seen::Metadata));

    // As createrepo_c does it: a whole new directory in the place of the old one.
    fs::create_dir(tree.path(".repodata")).unwrap();
    fs::rename(tree.path("repodata"), tree.path("repodata.old")).unwrap();
    fs::rename(tree.path(".repodata"), tree.path("repodata")).unwrap();
    wait();
    fs::write(tree.path("settle.rpm"), "").unwrap();
    tree.ear.wait_settled("settle.rpm");
    tree.ear.clear();
    fs::write(tree.path("repodata/repomd.xml"), "z").unwrap();
    wait();
    fs::remove_dir_all(tree.path("repodata")).unwrap();
    wait();
}

#[test]
fn a_queue_that_overflows_makes_everything_be_compared_and_new_directories_be_watched() {
    let dir = TempDir::new().unwrap();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!("SKIPPED: fs.inotify.max_queued_events is {limit}, too many to fill");
        return;
    }
    let watch = Watch::start_at(TEST_PACE).unwrap();
    let ear = Arc::new(Ear::default());
    // A sink that keeps the watch's thread busy while more happens than the queue holds.
    let (heard, gate) = (ear.sink(), Arc::new(Mutex::new(())));
    let gated = gate.clone();
    watch.add(
        dir.path(),
        RULES,
        Arc::new(move |seen| {
            drop(gated.lock());
            heard(seen);
        }),
    );
    ear.wait_everything();
    ear.clear();
    let closed = gate.lock().unwrap();
    fs::write(dir.path().join("first.rpm"), "").unwrap();
    for i in 0..=limit {
        let (even, odd) = (dir.path().join("x.rpm"), dir.path().join("y.rpm"));
        if i == 0 {
            File::create(&even).unwrap();
        }
        // Events equal to the one before are not queued twice.
        if i % 2 == 0 { fs::rename(even, odd).unwrap() } else { fs::rename(odd, even).unwrap() }
    }
    fs::create_dir(dir.path().join("lost")).unwrap();
    drop(closed);
    ear.wait_everything();
    fs::write(dir.path().join("lost/a.rpm"), "").unwrap();
    ear.wait_settled("lost/a.rpm");
}

#[test]
fn a_tree_beyond_the_limit_on_watches_is_polled_and_the_others_are_not() {
    let pace = Pace { limit: 4, ..TEST_PACE };
    let tree = Watched::with(RULES, pace, |root| {
        (0..9).for_each(|i| fs::create_dir(root.join(format!("{i}"))).unwrap());
    });
    let polled = |heard: &[Seen]| dirties(heard).filter(|dirty| dirty.everything).count() > 2;
    tree.ear.wait("polling", polled);

    let small = tree.beside("small");
    fs::create_dir_all(small.join("dir")).unwrap();
    let ear = Arc::new(Ear::default());
    tree.watch.add(&small, RULES, ear.sink());
    ear.wait("inotify", |heard| heard.contains(&Seen::Watching(Means::Inotify)));
    // Until it grows over the limit.
    (0..9).for_each(|i| fs::create_dir(small.join(format!("{i}"))).unwrap());
    let names_the_sysctl = |seen: &Seen| matches!(seen, Seen::Watching(Means::Polling { why }) if why.contains("sysctl fs.inotify.max_user_watches="));
    ear.wait("a warning", |heard| heard.iter().any(names_the_sysctl));
    ear.wait("polling", polled);
}

#[test]
fn a_root_that_comes_and_goes_is_watched_whenever_it_is_there() {
    let tree = Watched::new();
    let missing = |heard: &[Seen]| heard.iter().any(|s| matches!(s, Seen::Watching(Means::Missing { .. })));
    let back = |heard: &[Seen]| {
        heard.contains(&Seen::Watching(Means::Inotify)) && dirties(heard).any(|dirty| dirty.everything)
    };
    for (away, again) in [(true, true), (true, false), (false, false)] {
        if away {
            fs::rename(tree.root(), tree.beside("away")).unwrap();
        } else {
            fs::remove_dir_all(tree.root()).unwrap();
        }
        tree.ear.wait("missing", missing);
        tree.ear.clear();
        if again {
            fs::rename(tree.beside("away"), tree.root()).unwrap();
        } else {
            fs::create_dir(tree.root()).unwrap();
        }
        tree.ear.wait("its return", back);
        tree.ear.clear();
        fs::write(tree.path("a.rpm"), "x").unwrap();
        tree.ear.wait_settled("a.rpm");
        tree.ear.clear();
    }
}

#[test]
fn a_root_that_is_missing_from_the_start_is_found_when_it_comes() {
    let dir = TempDir::new().unwrap();
    let watch = Watch::start_at(TEST_PACE).unwrap();
    let ear = Arc::new(Ear::default());
    watch.add(&dir.path().join("later"), RULES, ear.sink());
    ear.wait("missing", |h| h.iter().any(|s| matches!(s, Seen::Watching(Means::Missing { .. }))));
    fs::create_dir(dir.path().join("later")).unwrap();
    ear.wait("its coming", |heard| heard.contains(&Seen::Watching(Means::Inotify)));
}

#[test]
fn everything_is_compared_every_rescan() {
    let rules = WatchRules { rescan: Duration::from_millis(50), ..RULES };
    let tree = Watched::with(rules, TEST_PACE, |_| {});
    tree.ear.wait("three rescans", |heard| dirties(heard).filter(|dirty| dirty.everything).count() >= 3);
}

#[test]
fn repositories_whose_names_begin_alike_hear_of_their_own_only() {
    let dir = TempDir::new().unwrap();
    let watch = Watch::start_at(TEST_PACE).unwrap();
    let ears: Vec<_> = ["a", "ab", "ab/c"]
        .iter()
        .map(|name| {
            fs::create_dir(dir.path().join(name)).unwrap();
            let ear = Arc::new(Ear::default());
            watch.add(&dir.path().join(name), RULES, ear.sink());
            ear.wait_everything();
            ear
        })
        .collect();
    fs::write(dir.path().join("a/x.rpm"), "x").unwrap();
    fs::write(dir.path().join("ab/y.rpm"), "x").unwrap();
    fs::write(dir.path().join("ab/c/z.rpm"), "x").unwrap();
    ears[0].wait_settled("x.rpm");
    ears[1].wait_settled("y.rpm");
    // Nested roots are not forbidden to the watch: each hears by its own name.
    ears[1].wait_settled("c/z.rpm");
    ears[2].wait_settled("z.rpm");
    let names = |ear: &Arc<Ear>, names: [&str; 4]| names.map(|name| ear.names(name));
    let all = ["x.rpm", "y.rpm", "z.rpm", "c/z.rpm"];
    assert_eq!(names(&ears[0], all), [true, false, false, false]);
    assert_eq!(names(&ears[1], all), [false, true, false, true]);
    assert_eq!(names(&ears[2], all), [false, false, true, false]);

    // A tree that is forgotten hears no more, the one around it does.
    watch.remove(&dir.path().join("ab/c"));
    fs::write(dir.path().join("ab/c/last.rpm"), "x").unwrap();
    ears[1].wait_settled("c/last.rpm");
    assert!(!ears[2].names("last.rpm"));
}

#[test]
fn a_thousand_small_repositories_are_watched() {
    let dir = TempDir::new().unwrap();
    let watch = Watch::start_at(TEST_PACE).unwrap();
    let ears: Vec<_> = (0..1000)
        .map(|i| {
            let root = dir.path().join(format!("r{i}"));
            fs::create_dir_all(root.join("Packages")).unwrap();
            let ear = Arc::new(Ear::default());
            watch.add(&root, RULES, ear.sink());
            ear
        })
        .collect();
    ears.iter().for_each(|ear| ear.wait_everything());
    for i in 0..1000 {
        fs::write(dir.path().join(format!("r{i}/Packages/p{i}.rpm")), "x").unwrap();
    }
    for (i, ear) in ears.iter().enumerate() {
        ear.wait_settled(&format!("Packages/p{i}.rpm"));
    }
}

#[test]
fn a_sink_that_panics_does_not_end_the_watch() {
    let tree = Watched::new();
    let bad = tree.beside("bad");
    fs::create_dir(&bad).unwrap();
    let called = Arc::new(Ear::default());
    let heard = called.sink();
    tree.watch.add(
        &bad,
        RULES,
        Arc::new(move |seen| {
            heard(seen);
            panic!("a bug in the test's own sink");
        }),
    );
    called.wait_everything();
    fs::write(tree.path("a.rpm"), "x").unwrap();
    tree.ear.wait_settled("a.rpm");
}

#[test]
fn ten_thousand_files_made_at_once_are_all_told() {
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir(root.join("many")).unwrap());
    for i in 0..10_000 {
        fs::write(tree.path(&format!("many/{i}.rpm")), "x").unwrap();
    }
    tree.ear.wait("all files", |heard| {
        let settled: std::collections::BTreeSet<_> = dirties(heard).flat_map(|d| &d.settled).collect();
        settled.len() >= 10_000 || dirties(heard).any(|d| d.everything)
    });
}

#[test]
fn what_happens_to_a_file_happens_to_the_links_that_lead_to_it() {
    let tree = Watched::with(RULES, TEST_PACE, |root| {
        fs::create_dir_all(root.join("pool/a")).unwrap();
        fs::write(root.join("pool/a/x.rpm"), "x").unwrap();
        symlink("pool/a/x.rpm", root.join("before.rpm")).unwrap();
        symlink("not-yet.rpm", root.join("dangling.rpm")).unwrap();
    });
    symlink("pool/a/x.rpm", tree.path("after.rpm")).unwrap();
    tree.ear.wait_settled("after.rpm");
    tree.ear.clear();
    fs::write(tree.path("pool/a/x.rpm"), "other").unwrap();
    tree.ear.wait_settled("before.rpm");
    tree.ear.wait_settled("after.rpm");
    tree.ear.clear();
    fs::remove_dir_all(tree.path("pool")).unwrap();
    tree.ear.wait_settled("before.rpm");
    tree.ear.wait_settled("after.rpm");
    fs::write(tree.path("not-yet.rpm"), "x").unwrap();
    tree.ear.wait_settled("dangling.rpm");
}

/// Runs itself once more in a mount namespace of its own, where it may mount.
#[test]
fn file_systems_mounted_and_unmounted_in_the_tree_are_noticed() {
    const INSIDE: &str = "CREATEREPOD_TEST_MAY_MOUNT";
    if std::env::var_os(INSIDE).is_none() {
        let namespace = ["--mount", "--propagation", "private"];
        let name = "watch::tests::file_systems_mounted_and_unmounted_in_the_tree_are_noticed";
        let possible = std::process::Command::new("unshare").args(namespace).arg("true").output();
        if !possible.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: no right to make a mount namespace, so mounts were not tested");
            return;
        }
        let mut again = std::process::Command::new("unshare");
        again.args(namespace).arg(std::env::current_exe().unwrap()).args(["--exact", name]).env(INSIDE, "1");
        let output = again.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let run = |program: &str, arguments: &[&str], at: &Path| {
        let status = std::process::Command::new(program).args(arguments).arg(at).status().unwrap();
        assert!(status.success());
    };
    let tree = Watched::with(RULES, TEST_PACE, |root| fs::create_dir(root.join("sub")).unwrap());
    let hears = |path: &str| {
        tree.ear.wait_everything();
        tree.ear.clear();
        fs::write(tree.path(path), "x").unwrap();
        tree.ear.wait_settled(path);
        tree.ear.clear();
    };
    for (at, path) in [(tree.root(), "a.rpm"), (tree.path("sub"), "sub/a.rpm")] {
        run("mount", &["-t", "tmpfs", "none"], &at);
        hears(path);
        // Lazily, as when somebody still uses it.
        run("umount", &["-l"], &at);
        hears(path);
    }
}
