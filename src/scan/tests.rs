use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;
use crate::tree::Found;

const SETTLE: Duration = Duration::from_secs(60);

struct Tree {
    dir: TempDir,
    symlinks: Symlinks,
}

fn loc(text: &str) -> Location {
    Location::parse(text).unwrap()
}

fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as i64
}

impl Tree {
    fn new(symlinks: Symlinks) -> Self {
        Self { dir: TempDir::new().unwrap(), symlinks }
    }

    /// With these files in it, all an hour old.
    fn with(files: &[&str]) -> Self {
        let tree = Self::new(Symlinks::Inside);
        files.iter().for_each(|file| tree.file(file));
        tree
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn file(&self, path: &str) {
        self.aged(path, Duration::from_secs(3600));
    }

    fn aged(&self, path: &str, age: Duration) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), path).unwrap();
        File::options()
            .write(true)
            .open(self.path(path))
            .unwrap()
            .set_modified(SystemTime::now() - age)
            .unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    fn rules(&self) -> LookRules {
        LookRules {
            symlinks: self.symlinks,
            additional: AdditionalMetadata::default(),
            covered: Vec::new(),
            settle: Some(SETTLE),
            now_ns: now_ns(),
            root: None,
        }
    }

    fn look(&self, dirty: Dirty, known: &[(Location, FileStamp)]) -> Differences {
        look(self.root(), &dirty, known, &self.rules()).unwrap()
    }

    /// A look at everything by somebody who knows nothing.
    fn all(&self) -> Differences {
        self.look(Dirty::everything(), &[])
    }

    /// Everything as it is now, as a catalog would know it.
    fn known(&self) -> Vec<(Location, FileStamp)> {
        self.all().read.into_iter().map(|found| (found.location, found.stamp)).collect()
    }
}

fn settled(places: &[&str]) -> Dirty {
    Dirty::all_settled(places.iter().copied().map(loc))
}

fn unsure(places: &[&str]) -> Dirty {
    Dirty { unsure: places.iter().copied().map(loc).collect(), ..Dirty::default() }
}

fn texts(found: &[Found]) -> Vec<&str> {
    let mut texts: Vec<_> = found.iter().map(|found| found.location.as_str()).collect();
    texts.sort_unstable();
    texts
}

fn gone(differences: &Differences) -> Vec<&str> {
    differences.gone.iter().map(Location::as_str).collect()
}

fn assert_nothing(differences: &Differences) {
    let Differences { read, recheck, gone, unsettled, refused, unread } = differences;
    assert!(
        read.is_empty()
            && recheck.is_empty()
            && gone.is_empty()
            && unsettled.is_empty()
            && refused.is_empty()
            && unread.is_empty(),
        "{differences:?}"
    );
}

#[test]
fn every_package_and_all_further_metadata_is_found_and_what_is_reserved_is_not() {
    let tree = Tree::with(&[
        "a.rpm",
        "Packages/h/hello.rpm",
        "dir.rpm/inner.rpm",
        "repodata-1.0-1.rpm",
        "createrepodata-1.rpm",
        "sub/repodata/x.rpm",
        "repodata/no.rpm",
        ".createrepod/incoming/no.rpm",
        "sub/.hidden/no.rpm",
        ".no.rpm",
        "no.RPM",
        "no.rpm.part",
        "sub/comps.xml",
        "notes.txt",
        "comps.xml",
        "sub/a.modulemd.yaml.gz",
    ]);
    let found = tree.all();
    assert_eq!(
        texts(&found.read),
        [
            "Packages/h/hello.rpm",
            "a.rpm",
            "comps.xml",
            "createrepodata-1.rpm",
            "dir.rpm/inner.rpm",
            "repodata-1.0-1.rpm",
            "sub/a.modulemd.yaml.gz",
            "sub/repodata/x.rpm",
        ]
    );
    assert!(found.refused.is_empty(), "{:?}", found.refused);
    // The same places one by one: nobody gets in by naming a place.
    let one_by_one =
        unsure(&["a.rpm", "repodata", "repodata/no.rpm", ".no.rpm", "no.RPM", "sub", "comps.xml"]);
    assert_eq!(
        texts(&tree.look(one_by_one, &[]).read),
        ["a.rpm", "comps.xml", "sub/a.modulemd.yaml.gz", "sub/repodata/x.rpm"]
    );
}

#[test]
fn packages_come_in_the_order_of_publication() {
    let tree = Tree::new(Symlinks::Inside);
    for (path, age) in [("b.rpm", 100), ("a.rpm", 100), ("z/old.rpm", 200), ("new.rpm", 90)] {
        tree.aged(path, Duration::ZERO);
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000 - age) + Duration::from_nanos(age % 7);
        File::options().write(true).open(tree.path(path)).unwrap().set_modified(time).unwrap();
    }
    let order: Vec<_> = tree.all().read.iter().map(|found| found.location.to_string()).collect();
    assert_eq!(order, ["z/old.rpm", "a.rpm", "b.rpm", "new.rpm"]);
}

#[test]
fn a_tree_that_did_not_change_makes_no_work() {
    let tree = Tree::with(&["a.rpm", "b/c.rpm", "d.rpm/e.rpm"]);
    let known = tree.known();
    assert_eq!(known.len(), 3);
    assert_nothing(&tree.look(Dirty::everything(), &known));
    assert_nothing(&tree.look(settled(&["a.rpm", "b", "d.rpm", "b/c.rpm"]), &known));
    assert_nothing(&tree.look(unsure(&["a.rpm", "b", "d.rpm"]), &known));
}

#[test]
fn only_what_lies_at_or_below_a_dirty_place_can_be_gone() {
    let tree = Tree::with(&["a/x.rpm", "ab/x.rpm", "a.rpm"]);
    let known = tree.known();
    fs::remove_dir_all(tree.root()).unwrap();
    fs::create_dir(tree.root()).unwrap();
    assert_eq!(gone(&tree.look(settled(&["a"]), &known)), ["a/x.rpm"]);
    assert_eq!(gone(&tree.look(unsure(&["ab/x.rpm"]), &known)), ["ab/x.rpm"]);
    assert_eq!(gone(&tree.look(Dirty::everything(), &known)), ["a.rpm", "a/x.rpm", "ab/x.rpm"]);
}

#[test]
fn a_moved_directory_is_gone_there_and_new_here() {
    let tree = Tree::with(&["old/x.rpm", "old/deep/y.rpm", "stays.rpm"]);
    let known = tree.known();
    fs::rename(tree.path("old"), tree.path("new")).unwrap();
    for dirty in [settled(&["old", "new"]), Dirty::everything()] {
        let found = tree.look(dirty, &known);
        assert_eq!(gone(&found), ["old/deep/y.rpm", "old/x.rpm"]);
        assert_eq!(texts(&found.read), ["new/deep/y.rpm", "new/x.rpm"]);
    }
}

#[test]
fn a_file_may_become_a_directory_of_the_same_name_and_back() {
    let tree = Tree::with(&["x.rpm"]);
    let as_file = tree.known();
    fs::remove_file(tree.path("x.rpm")).unwrap();
    tree.file("x.rpm/inner.rpm");
    let as_directory = tree.known();
    let found = tree.look(settled(&["x.rpm"]), &as_file);
    assert_eq!((gone(&found), texts(&found.read)), (vec!["x.rpm"], vec!["x.rpm/inner.rpm"]));

    fs::remove_dir_all(tree.path("x.rpm")).unwrap();
    tree.file("x.rpm");
    for dirty in [settled(&["x.rpm"]), settled(&["x.rpm", "x.rpm/inner.rpm"])] {
        let found = tree.look(dirty, &as_directory);
        assert_eq!((gone(&found), texts(&found.read)), (vec!["x.rpm/inner.rpm"], vec!["x.rpm"]));
    }
}

#[test]
fn names_that_need_care_elsewhere_are_plain_names_here() {
    let names = ["a b.rpm", "50%25.rpm", "#1.rpm", "new\nline.rpm", "é/ü&<>\"'.rpm", "-rf.rpm", "*?.rpm"];
    let tree = Tree::with(&names);
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(texts(&tree.all().read), expected);
    assert_eq!(texts(&tree.look(settled(&names), &[]).read), expected);
}

#[test]
fn a_name_that_is_not_utf8_is_refused_and_the_others_go_on() {
    let tree = Tree::with(&["a.rpm"]);
    fs::write(tree.root().join(OsStr::from_bytes(b"b\xff.rpm")), "").unwrap();
    fs::write(tree.root().join(OsStr::from_bytes(b"readme\xff")), "").unwrap();
    fs::create_dir(tree.root().join(OsStr::from_bytes(b"dir\xff"))).unwrap();
    let found = tree.all();
    assert_eq!(texts(&found.read), ["a.rpm"]);
    let refused: Vec<_> = found.refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(refused, ["b\u{fffd}.rpm", "dir\u{fffd}"]);
    assert!(found.refused.iter().all(|(_, why)| why.contains("rename")));
}

#[test]
fn a_young_file_is_left_for_later_unless_it_is_known_to_be_complete() {
    let tree = Tree::with(&["old.rpm"]);
    tree.aged("young.rpm", Duration::ZERO);
    assert_eq!(texts(&tree.all().unsettled), ["young.rpm"]);
    assert_eq!(texts(&tree.look(unsure(&["young.rpm"]), &[]).unsettled), ["young.rpm"]);
    assert_eq!(texts(&tree.look(settled(&["young.rpm"]), &[]).read), ["young.rpm"]);
    let both = Dirty { everything: true, ..settled(&["young.rpm"]) };
    assert_eq!(texts(&tree.look(both, &[]).read), ["old.rpm", "young.rpm"]);
    let patient = LookRules { settle: None, ..tree.rules() };
    let found = look(tree.root(), &Dirty::everything(), &[], &patient).unwrap();
    assert_eq!(texts(&found.read), ["old.rpm", "young.rpm"]);
}

#[test]
fn a_known_file_that_is_young_again_stays_as_it_is_until_it_settled() {
    let tree = Tree::with(&["a.rpm"]);
    let known = tree.known();
    fs::write(tree.path("a.rpm"), "other and longer").unwrap();
    let found = tree.look(unsure(&["a.rpm"]), &known);
    assert_eq!((texts(&found.unsettled), gone(&found)), (vec!["a.rpm"], vec![]));
    assert!(found.read.is_empty() && found.recheck.is_empty());
    // As it is known already, its age does not matter.
    let known = vec![(loc("a.rpm"), found.unsettled[0].stamp)];
    assert_nothing(&tree.look(unsure(&["a.rpm"]), &known));
}

#[test]
fn a_file_time_far_ahead_does_not_keep_a_package_out() {
    let tree = Tree::with(&["ahead.rpm"]);
    let ahead = SystemTime::now() + Duration::from_secs(40_000);
    File::options().write(true).open(tree.path("ahead.rpm")).unwrap().set_modified(ahead).unwrap();
    let at = |seconds: i64| {
        let rules = LookRules { now_ns: now_ns() + seconds * 1_000_000_000, ..tree.rules() };
        look(tree.root(), &Dirty::everything(), &[], &rules).unwrap()
    };
    assert_eq!(texts(&at(0).unsettled), ["ahead.rpm"], "changed just now, by its change time");
    assert_eq!(texts(&at(120).read), ["ahead.rpm"]);
    assert_eq!(texts(&at(-4000).read), ["ahead.rpm"], "both times ahead: a wrong clock");
}

#[test]
fn only_ctime_or_inode_different_is_a_recheck() {
    let tree = Tree::with(&["a.rpm", "b.rpm"]);
    let known = tree.known();
    fs::set_permissions(tree.path("a.rpm"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(tree.path("b.rpm"), tree.path("copy")).unwrap();
    for dirty in [Dirty::everything(), settled(&["a.rpm", "b.rpm"])] {
        let found = tree.look(dirty, &known);
        assert_eq!(texts(&found.recheck), ["a.rpm", "b.rpm"]);
        assert!(found.read.is_empty() && found.gone.is_empty());
    }
}

#[test]
fn links_are_followed_as_the_rule_says_and_no_file_is_listed_twice_for_them() {
    let outside = Tree::with(&["o/far.rpm", "far.rpm"]);
    let mut tree =
        Tree::with(&["real/a.rpm", ".createrepod/kept/k.rpm", "repodata/r.rpm", ".pool/p.rpm", "blobs/0123"]);
    tree.link("real/a.rpm", "file.rpm");
    tree.link("real", "dir");
    tree.link("real", "dir.rpm");
    tree.link("missing", "dangling.rpm");
    tree.link("self.rpm", "self.rpm");
    tree.link("dir/a.rpm", "chain.rpm");
    tree.link(tree.path("real/a.rpm").to_str().unwrap(), "absolute.rpm");
    tree.link(outside.path("far.rpm").to_str().unwrap(), "out.rpm");
    tree.link(outside.path("o").to_str().unwrap(), "out");
    tree.link("/dev/null", "null.rpm");
    tree.link("/etc/hostname", "no-package");
    tree.link(".createrepod/kept", "kept");
    tree.link("repodata/r.rpm", "r.rpm");
    tree.link(".pool/p.rpm", "pool.rpm");
    tree.link("blobs/0123", "by-hash.rpm");

    tree.symlinks = Symlinks::Never;
    assert_eq!(texts(&tree.all().read), ["real/a.rpm"]);
    assert!(tree.all().refused.is_empty());

    tree.symlinks = Symlinks::Inside;
    // Links to what is listed under its own name are other ways to it, not other packages.
    let inside = ["by-hash.rpm", "dir.rpm/a.rpm", "dir/a.rpm", "pool.rpm", "real/a.rpm"];
    assert_eq!(texts(&tree.all().read), inside);
    let refused = tree.all().refused;
    assert_eq!(refused.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["out", "out.rpm"]);
    assert!(refused[0].1.contains("symlinks = \"anywhere\""));

    tree.symlinks = Symlinks::Anywhere;
    let mut anywhere = inside.to_vec();
    anywhere.extend(["out.rpm", "out/far.rpm"]);
    anywhere.sort_unstable();
    assert_eq!(texts(&tree.all().read), anywhere);
    assert!(tree.all().refused.is_empty());
}

#[test]
fn a_single_place_is_admitted_exactly_when_a_walk_would_reach_it() {
    let outside = Tree::with(&["far.rpm"]);
    let mut tree = Tree::with(&["real/a.rpm", "real/deep/b.rpm"]);
    tree.link("real", "dir");
    tree.link(outside.root().to_str().unwrap(), "out");
    tree.link("..", "real/up");
    tree.link("../dir", "real/round");
    let everywhere = [
        "dir/a.rpm",
        "dir/deep/b.rpm",
        "out/far.rpm",
        "real/a.rpm",
        "real/deep/b.rpm",
        "real/round/a.rpm",
        "real/up/dir/a.rpm",
        "real/up/real/a.rpm",
        "dir/up/real/a.rpm",
        "missing/a.rpm",
        "real/a.rpm/below.rpm",
    ];
    for symlinks in [Symlinks::Never, Symlinks::Inside, Symlinks::Anywhere] {
        tree.symlinks = symlinks;
        let all = tree.all();
        assert_eq!(texts(&tree.look(settled(&everywhere), &[]).read), texts(&all.read), "{symlinks:?}");
        let known = tree.known();
        assert_nothing(&tree.look(settled(&["real", "dir"]), &known));
    }
}

#[test]
fn loops_of_links_end() {
    let mut tree = Tree::with(&["a/x.rpm", "b/y.rpm"]);
    tree.link(".", "here");
    tree.link("..", "a/up");
    tree.link("../b", "a/b");
    tree.link("../a", "b/a");
    for symlinks in [Symlinks::Inside, Symlinks::Anywhere] {
        tree.symlinks = symlinks;
        assert_eq!(texts(&tree.all().read), ["a/b/y.rpm", "a/x.rpm", "b/a/x.rpm", "b/y.rpm"]);
    }
}

#[test]
fn sockets_pipes_and_devices_are_passed_over() {
    let tree = Tree::with(&["a.rpm"]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.path("pipe.rpm"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path("socket.rpm")).unwrap();
    assert_eq!(texts(&tree.all().read), ["a.rpm"]);
    assert_eq!(texts(&tree.look(settled(&["a.rpm", "pipe.rpm", "socket.rpm"]), &[]).read), ["a.rpm"]);
}

#[test]
fn a_thousand_levels_are_walked() {
    let tree = Tree::new(Symlinks::Inside);
    let deep = "d/".repeat(1000);
    tree.file(&format!("{deep}x.rpm"));
    assert_eq!(texts(&tree.all().read), [format!("{deep}x.rpm")]);
    let known = tree.known();
    assert_nothing(&tree.look(settled(&[&format!("{deep}x.rpm")]), &known));
}

#[test]
fn a_path_longer_than_the_system_takes_is_refused_without_losing_the_rest() {
    let tree = Tree::with(&["a.rpm"]);
    // Made level by level, as nobody can name it at once.
    let mut fd = rustix::fs::open(tree.root(), OFlags::RDONLY, Mode::empty()).unwrap();
    let name = "n".repeat(200);
    for _ in 0..25 {
        rustix::fs::mkdirat(&fd, &name, Mode::from_raw_mode(0o755)).unwrap();
        fd = rustix::fs::openat(&fd, &name, OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let found = tree.all();
    assert_eq!(texts(&found.read), ["a.rpm"]);
    assert_eq!(found.refused.len(), 1);
}

#[test]
fn links_that_branch_at_every_level_do_not_walk_for_ever() {
    let tree = Tree::new(Symlinks::Inside);
    // 40 levels of 2 links each would be a million million paths.
    for level in 0..40 {
        fs::create_dir(tree.path(&format!("l{level}"))).unwrap();
        for side in ["a", "b"] {
            tree.link(&format!("../l{}", level + 1), &format!("l{level}/{side}"));
        }
    }
    tree.file("l40/x.rpm");
    let found = tree.all();
    assert!(found.read.iter().any(|found| found.location == loc("l40/x.rpm")));
    assert!(found.refused.iter().any(|(_, why)| why.contains("symbolic links")), "{:?}", found.refused.len());
}

#[test]
fn a_root_that_is_missing_or_another_is_an_error_of_its_own() {
    let tree = Tree::with(&["a.rpm"]);
    let expected = root_id(tree.root()).unwrap();
    let rules = LookRules { root: Some(expected), ..tree.rules() };
    assert!(look(tree.root(), &Dirty::everything(), &[], &rules).is_ok());

    fs::rename(tree.root(), tree.root().with_extension("away")).unwrap();
    for dirty in [Dirty::everything(), settled(&["a.rpm"])] {
        let error = look(tree.root(), &dirty, &tree_known(), &rules).unwrap_err();
        assert!(matches!(error, LookError::RootMissing { .. }), "{error}");
    }
    fs::create_dir(tree.root()).unwrap();
    let error = look(tree.root(), &Dirty::everything(), &tree_known(), &rules).unwrap_err();
    assert!(matches!(error, LookError::RootReplaced { .. }), "{error}");

    fs::remove_dir(tree.root()).unwrap();
    fs::write(tree.root(), "").unwrap();
    let error = look(tree.root(), &Dirty::everything(), &[], &rules).unwrap_err();
    assert!(matches!(error, LookError::RootNotADirectory { .. }), "{error}");
    fs::remove_file(tree.root()).unwrap();
    fs::remove_dir_all(tree.root().with_extension("away")).unwrap();
}

fn tree_known() -> Vec<(Location, FileStamp)> {
    vec![(loc("a.rpm"), FileStamp { inode: 1, size: 1, mtime_ns: 1, ctime_ns: 1 })]
}

/// Runs `work` on threads that have no rights beyond those of everybody.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let drop_rights = |_| {
        if rustix::process::geteuid().is_root() {
            let nobody = rustix::thread::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
    };
    rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(drop_rights).build().unwrap().install(work)
}

#[test]
fn a_directory_that_may_not_be_read_is_reported_and_its_packages_stay() {
    let tree = Tree::with(&["open/a.rpm", "shut/b.rpm", "shut/deep/c.rpm", "blind/d.rpm"]);
    let mode = |path: &str, mode| {
        fs::set_permissions(tree.path(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    let mut known = tree.known();
    known.push((loc("open/gone.rpm"), known[0].1));
    known.push((loc("shut/gone-or-not.rpm"), known[0].1));
    mode("shut", 0o000);
    // Its names can be read, but nothing of what is behind them.
    mode("blind", 0o744);
    for dirty in [
        Dirty::everything(),
        settled(&["open", "shut", "blind"]),
        settled(&["open/gone.rpm", "shut/b.rpm", "shut/deep", "shut/gone-or-not.rpm", "blind/d.rpm"]),
    ] {
        let found = as_nobody(|| tree.look(dirty, &known));
        assert_eq!(gone(&found), ["open/gone.rpm"]);
        assert!(found.read.is_empty(), "{found:?}");
        let about =
            |dir: &str| found.unread.iter().any(|at| at.path.starts_with(dir) && at.reason.contains("chmod"));
        assert!(about("shut") && about("blind"), "{:?}", found.unread);
        assert!(found.refused.is_empty(), "the system says it, not the tree");
    }
    mode("", 0o000);
    let refused = as_nobody(|| look(tree.root(), &Dirty::everything(), &known, &tree.rules())).unwrap_err();
    assert!(refused.to_string().contains("chmod"), "{refused}");
    ["", "shut", "blind"].iter().for_each(|path| mode(path, 0o755));
}

#[test]
fn a_tree_that_changes_while_it_is_walked_does_not_fail() {
    let tree = Tree::with(&["stays.rpm"]);
    let known = tree.known();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for i in 0..20 {
                    tree.file(&format!("d{i}/e/x.rpm"));
                }
                for i in 0..20 {
                    fs::remove_dir_all(tree.path(&format!("d{i}"))).unwrap();
                    fs::write(tree.path(&format!("d{i}")), "").unwrap();
                    fs::remove_file(tree.path(&format!("d{i}"))).unwrap();
                }
            }
        });
        for _ in 0..200 {
            let found = tree.look(Dirty::everything(), &known);
            assert!(
                found.gone.is_empty() && found.refused.is_empty() && found.unread.is_empty(),
                "{found:?}"
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn directories_of_many_entries_are_seen_whole() {
    let tree = Tree::new(Symlinks::Inside);
    let names: Vec<_> = (0..5000).map(|i| format!("many/{i:05}.rpm")).collect();
    names.iter().for_each(|name| tree.file(name));
    (0..3000).for_each(|i| fs::create_dir(tree.path(&format!("many/d{i}"))).unwrap());
    assert_eq!(texts(&tree.all().read), names);
    assert_nothing(&tree.look(Dirty::everything(), &tree.known()));
}

#[test]
fn what_nobody_can_fetch_is_left_out_and_named() {
    let tree = Tree::with(&[
        "-/a.rpm",
        "@2024/a.rpm",
        "@x.rpm",
        "9/x/a.rpm",
        "9/a.rpm",
        "a/@1/b.rpm",
        "a/-/c.rpm",
        "90/a.rpm",
    ]);
    let covered = vec![Covered { directory: loc("9"), by: "nine".into() }];
    let rules = LookRules { covered, ..tree.rules() };
    let look = |dirty| look(tree.root(), &dirty, &[], &rules).unwrap();
    let everything = look(Dirty::everything());
    assert_eq!(texts(&everything.read), ["90/a.rpm", "a/-/c.rpm", "a/@1/b.rpm"]);
    let refused: Vec<&str> = everything.refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(refused, ["-", "9", "@2024", "@x.rpm"]);
    assert!(everything.refused[1].1.contains("repository \"nine\""), "{:?}", everything.refused);

    let places = ["9/x/a.rpm", "@2024/a.rpm", "-", "a/@1/b.rpm"].map(loc);
    let single = look(Dirty::all_settled(places));
    assert_eq!(texts(&single.read), ["a/@1/b.rpm"]);
    let refused: Vec<&str> = single.refused.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(refused, ["-", "9", "@2024"]);
}
