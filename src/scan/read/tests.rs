use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rpm::{BuildConfig, CompressionType, PackageBuilder};
use tempfile::TempDir;

use super::*;
use crate::package::{Checksum, ChecksumType};

fn package(name: &str) -> Vec<u8> {
    let config = BuildConfig::default().compression(CompressionType::None);
    let built = PackageBuilder::new(name, "1.0", "MIT", "noarch", "A test package")
        .using_config(config)
        .release("1")
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    built.write(&mut bytes).unwrap();
    bytes
}

struct Tree {
    dir: TempDir,
    config: RepositoryConfig,
}

impl Tree {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir(&root).unwrap();
        let config = RepositoryConfig::new("tree", root);
        Self { dir, config }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.config.path.join(path)
    }

    fn read(&self, path: &str) -> Result<Scanned, NotTaken> {
        read(&self.config, None, &found(path))
    }

    fn rejected(&self, path: &str) -> Rejected {
        match self.read(path).unwrap_err() {
            NotTaken::Rejected(rejected) => rejected,
            NotTaken::Unread(unread) => panic!("its bytes say nothing: {unread:?}"),
        }
    }

    fn unread(&self, path: &str) -> String {
        match self.read(path).unwrap_err() {
            NotTaken::Unread(unread) => unread.reason,
            NotTaken::Rejected(rejected) => panic!("its bytes are not to blame: {rejected:?}"),
        }
    }
}

fn found(path: &str) -> Found {
    let stamp = FileStamp { inode: 0, size: 0, mtime_ns: 0, ctime_ns: 0 };
    Found { location: Location::parse(path).unwrap(), stamp }
}

#[test]
fn a_package_is_read_with_the_stamp_it_has_on_disk() {
    let tree = Tree::new();
    let bytes = package("hello");
    fs::write(tree.path("a b#.rpm"), &bytes).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    File::options().write(true).open(tree.path("a b#.rpm")).unwrap().set_modified(time).unwrap();

    let scanned = tree.read("a b#.rpm").unwrap();
    assert_eq!(scanned.nevra.to_string(), "hello-1.0-1.noarch");
    assert_eq!(scanned.pkgid, Checksum::of(ChecksumType::Sha256, &bytes));
    assert_eq!((scanned.stamp.size, scanned.stamp.mtime_ns), (bytes.len() as u64, 1_700_000_000_123_000_000));
    let primary = String::from_utf8(scanned.fragments.primary).unwrap();
    for part in [
        "<location href=\"a b#.rpm\"/>".to_owned(),
        format!("<size package=\"{}\"", bytes.len()),
        "<time file=\"1700000000\"".to_owned(),
        scanned.pkgid.to_hex(),
    ] {
        assert!(primary.contains(&part), "{part} is not in {primary}");
    }
}

#[test]
fn what_is_no_package_is_rejected_with_its_own_stamp() {
    let tree = Tree::new();
    fs::write(tree.path("page.rpm"), "<html>not found</html>").unwrap();
    let rejected = tree.rejected("page.rpm");
    assert!(rejected.reason.contains("not an RPM"), "{}", rejected.reason);
    assert_eq!(rejected.stamp.size, 22);
    fs::write(tree.path("cut.rpm"), &package("hello")[..500]).unwrap();
    let reason = tree.rejected("cut.rpm").reason;
    assert!(reason.contains("truncated"), "{reason}");
    fs::write(tree.path("empty.rpm"), "").unwrap();
    tree.rejected("empty.rpm");
}

#[test]
fn what_is_no_file_is_not_read_and_does_not_hold_us_up() {
    let tree = Tree::new();
    let pipe = tree.path("pipe.rpm");
    rustix::fs::mknodat(rustix::fs::CWD, pipe, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    fs::create_dir(tree.path("dir.rpm")).unwrap();
    for path in ["pipe.rpm", "dir.rpm"] {
        assert!(tree.unread(path).contains("not a regular file"), "{}", tree.unread(path));
    }
    assert!(tree.unread("missing.rpm").contains("vanished"));
    assert!(tree.unread("missing/a.rpm").contains("vanished"));
}

#[test]
fn links_are_read_where_the_rule_says() {
    let mut tree = Tree::new();
    fs::create_dir(tree.path("real")).unwrap();
    fs::write(tree.path("real/a.rpm"), package("hello")).unwrap();
    fs::write(tree.dir.path().join("far.rpm"), package("far")).unwrap();
    symlink("real/a.rpm", tree.path("link.rpm")).unwrap();
    symlink("real", tree.path("dir")).unwrap();
    symlink("../far.rpm", tree.path("far.rpm")).unwrap();

    tree.config.symlinks = Symlinks::Anywhere;
    for path in ["real/a.rpm", "link.rpm", "dir/a.rpm", "far.rpm"] {
        tree.read(path).unwrap();
    }
    tree.config.symlinks = Symlinks::Inside;
    for path in ["real/a.rpm", "link.rpm", "dir/a.rpm"] {
        tree.read(path).unwrap();
    }
    assert!(tree.unread("far.rpm").contains("leads out"));
    tree.config.symlinks = Symlinks::Never;
    tree.read("real/a.rpm").unwrap();
    for path in ["link.rpm", "dir/a.rpm", "far.rpm"] {
        assert!(tree.unread(path).contains("symbolic link"), "{}", tree.unread(path));
    }
    // The root itself may be reached through a link, whatever the rule.
    symlink("tree", tree.dir.path().join("other")).unwrap();
    tree.config.path = tree.dir.path().join("other");
    tree.read("real/a.rpm").unwrap();
}

#[test]
fn a_file_nobody_may_read_says_what_to_do() {
    if rustix::process::geteuid().is_root() {
        // Root may read everything: only the words can be held against the promise.
        let bad = Bad::from(Errno::ACCESS);
        assert!(bad.to_string().contains("chmod"), "{bad}");
        return;
    }
    let tree = Tree::new();
    fs::write(tree.path("a.rpm"), package("hello")).unwrap();
    fs::set_permissions(tree.path("a.rpm"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(tree.unread("a.rpm").contains("chmod"), "{}", tree.unread("a.rpm"));
}

#[test]
fn a_file_longer_or_shorter_than_it_was_is_unfinished() {
    let tree = Tree::new();
    let bytes = package("hello");
    fs::write(tree.path("a.rpm"), &bytes).unwrap();
    for size in [bytes.len() as u64 - 1, bytes.len() as u64 + 1] {
        let mut intake = Intake::new(ChecksumType::Sha256, tree.config.verify);
        let file = File::open(tree.path("a.rpm")).unwrap();
        let error = feed_from(&mut intake, &file, size, &mut [0; 1000], &mut None).unwrap_err();
        assert!(matches!(error, Bad::Unfinished), "{error}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_unfinished_whatever_is_wrong_with_it() {
    let tree = Tree::new();
    fs::write(tree.path("a.rpm"), vec![0; 1 << 20]).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = File::options().write(true).open(tree.path("a.rpm")).unwrap();
            let mut time = SystemTime::UNIX_EPOCH;
            while !stop.load(Ordering::Relaxed) {
                time += Duration::from_nanos(1);
                file.set_modified(time).unwrap();
            }
        });
        let changed =
            |why| matches!(why, NotTaken::Unread(why) if why.reason.contains("changed while it was read"));
        while !changed(tree.read("a.rpm").unwrap_err()) {}
        stop.store(true, Ordering::Relaxed);
    });
    assert!(tree.rejected("a.rpm").reason.contains("not an RPM"));
}

#[test]
fn a_bug_in_reading_rejects_the_package_and_asks_for_a_report() {
    let reason = |read: fn(&mut FileStamp) -> Result<Scanned, Bad>| match guarded(&found("a.rpm"), read) {
        Err(NotTaken::Rejected(rejected)) => rejected.reason,
        other => panic!("{other:?}"),
    };
    let first = reason(|_| panic!("index {} out of bounds", 7));
    assert!(first.contains("index 7 out of bounds") && first.contains("report"), "{first}");
    assert!(!reason(|_| panic!("two\nlines")).contains('\n'));
}

#[test]
fn a_buffer_serves_one_package_after_another() {
    let tree = Tree::new();
    for name in ["first", "second-with-a-longer-name"] {
        fs::write(tree.path("a.rpm"), package(name)).unwrap();
        assert_eq!(&*tree.read("a.rpm").unwrap().nevra.name, name);
        fs::write(tree.path("bad.rpm"), "x").unwrap();
        tree.read("bad.rpm").unwrap_err();
    }
}

#[test]
fn what_the_system_says_is_no_rejection_whatever_it_says() {
    for errno in [
        Errno::IO,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOSPC,
        Errno::INTR,
        Errno::STALE,
        Errno::ACCESS,
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::TIMEDOUT,
    ] {
        let taken = guarded(&found("a.rpm"), |_| Err(Bad::from(errno)));
        assert!(matches!(taken, Err(NotTaken::Unread(_))), "{errno}: {taken:?}");
    }
}
