//! Watch and scan together, without the rest: whatever happens in a tree, what is known of it from
//! the changes alone becomes equal to what a walk finds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use createrepod::config::{AdditionalMetadata, Symlinks};
use createrepod::package::Location;
use createrepod::scan::{LookRules, look};
use createrepod::tree::{Dirty, FileStamp};
use createrepod::watch::{Seen, Watch, WatchRules};
use tempfile::TempDir;

use crate::world::{PATIENCE, Random};

const SETTLE: Duration = Duration::from_millis(50);

/// Knows what the watch made it look at.
struct Follower {
    root: PathBuf,
    rules: WatchRules,
    known: BTreeMap<Location, FileStamp>,
    heard: Receiver<Seen>,
    later: Vec<(Instant, Dirty)>,
}

impl Follower {
    fn look(&self, dirty: &Dirty, known: &[(Location, FileStamp)]) -> createrepod::tree::Differences {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let rules = LookRules {
            symlinks: self.rules.symlinks,
            additional: AdditionalMetadata::USUAL,
            covered: Vec::new(),
            settle: Some(self.rules.settle),
            now_ns: i64::try_from(now.as_nanos()).unwrap(),
            root: None,
        };
        look(&self.root, dirty, known, &rules).unwrap()
    }

    /// As the repository does it: read what is new, look again at what had not settled.
    fn follow(&mut self, dirty: &Dirty) {
        let known: Vec<_> = self.known.iter().map(|(location, stamp)| (location.clone(), *stamp)).collect();
        let found = self.look(dirty, &known);
        for gone in found.gone {
            self.known.remove(&gone);
        }
        for found in found.read.into_iter().chain(found.recheck) {
            self.known.insert(found.location, found.stamp);
        }
        let unsettled = found.unsettled.into_iter().map(|found| found.location).collect();
        let again = Dirty { unsure: unsettled, ..Dirty::default() };
        if !again.is_empty() {
            self.later.push((Instant::now() + SETTLE, again));
        }
    }

    /// Follows until nothing came for a while, or, with `until`, until that is so.
    fn run(&mut self, until: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !until(self) {
            assert!(start.elapsed() < PATIENCE, "{}", self.difference());
            match self.heard.recv_timeout(Duration::from_millis(20)) {
                Ok(Seen::Dirty(dirty)) => self.follow(&dirty),
                Ok(Seen::Metadata | Seen::Watching(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the watch ended"),
            }
            let now = Instant::now();
            for (_, dirty) in self.later.extract_if(.., |(at, _)| *at <= now).collect::<Vec<_>>() {
                self.follow(&dirty);
            }
        }
    }

    /// What lies in the tree, by a walk that knows nothing.
    fn truth(&self) -> BTreeMap<Location, FileStamp> {
        let found = self.look(&Dirty::everything(), &[]);
        found.read.into_iter().chain(found.unsettled).map(|found| (found.location, found.stamp)).collect()
    }

    fn difference(&self) -> String {
        let truth = self.truth();
        let missing: Vec<_> = truth.iter().filter(|(l, s)| self.known.get(l) != Some(s)).collect();
        let extra: Vec<_> = self.known.keys().filter(|l| !truth.contains_key(l)).collect();
        format!("not known, or as it was: {missing:?}; known and not there: {extra:?}")
    }
}

/// Does something, anything, in a tree; what does not work does not matter.
fn disturb(random: &mut Random, root: &Path, outside: &Path, open: &mut Vec<File>) {
    let directory = |random: &mut Random| -> PathBuf {
        let mut path = root.to_path_buf();
        for _ in 0..random.below(4) {
            path.push(format!("d{}", random.below(3)));
        }
        path
    };
    let file = |random: &mut Random| directory(random).join(format!("{}.rpm", random.below(4)));
    let (a, b) = (file(random), file(random));
    let (d, e) = (directory(random), directory(random));
    let spare = outside.join(format!("{}", random.below(4)));
    let in_tree = |path: &Path| path != root;
    let _ = match random.below(19) {
        0..=2 => fs::write(&a, format!("{}", random.next())),
        3 | 4 => fs::create_dir_all(&d),
        5 => fs::rename(&a, &b),
        6 => fs::remove_file(&a),
        // Only from outside: what is written through one of two names in the tree, nobody tells of the other.
        7 => {
            let twin = outside.join(format!("twin{}", random.next()));
            fs::write(&twin, "twin").and_then(|()| fs::hard_link(&twin, &a))
        }
        8 if in_tree(&d) => fs::rename(&d, &e),
        9 if in_tree(&d) => fs::remove_dir_all(&d),
        10 if in_tree(&d) => fs::rename(&d, &spare),
        11 if in_tree(&d) => fs::rename(&spare, &d),
        12 => fs::write(&spare, format!("{}", random.next())).and_then(|()| fs::rename(&spare, &a)),
        13 => symlink(&a, &b),
        14 if in_tree(&d) => symlink(&e, &d),
        15 => File::options().append(true).open(&a).map(|mut file| {
            let _ = file.write_all(b"more");
            open.push(file);
        }),
        16 => {
            open.clear();
            Ok(())
        }
        17 => File::options().write(true).open(&a).and_then(|file| {
            file.set_modified(UNIX_EPOCH + Duration::from_secs(random.next() % 1_700_000_000))
        }),
        _ => fs::create_dir_all(&d).and_then(|()| {
            (0..5).try_for_each(|i| fs::write(d.join(format!("{i}.rpm")), format!("{}", random.next())))
        }),
    };
}

fn follow_disturbances(symlinks: Symlinks, seed: u64) {
    let (tree, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let rules = WatchRules {
        symlinks,
        additional: AdditionalMetadata::USUAL,
        settle: SETTLE,
        settle_max: Duration::from_secs(600),
        rescan: Duration::from_secs(36_000),
    };
    let watch = Watch::start().unwrap();
    let (tell, heard) = mpsc::channel();
    watch.add(tree.path(), rules.clone(), Arc::new(move |seen| _ = tell.send(seen)));
    let root = tree.path().to_path_buf();
    let mut follower = Follower { root, rules, known: BTreeMap::new(), heard, later: Vec::new() };

    let mut random = Random::new(seed);
    let mut open = Vec::new();
    for round in 0..25 {
        for _ in 0..random.below(150) {
            disturb(&mut random, tree.path(), outside.path(), &mut open);
        }
        open.clear();
        follower.run(|follower| follower.known == follower.truth());
        eprintln!("seed {seed}, round {round}: {} packages", follower.known.len());
    }
}

#[test]
fn whatever_happens_in_a_tree_is_known_in_the_end() {
    for seed in 0..3 {
        follow_disturbances(Symlinks::Never, seed);
    }
}

#[test]
fn whatever_happens_in_a_tree_with_links_is_known_in_the_end() {
    for seed in 103..107 {
        follow_disturbances(Symlinks::Inside, seed);
    }
}
