//! SIGKILL at every step: of an upload, a removal, a batch, the catalog, the databases, a publication.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use createrepod::crash::{ALL, Point};

use crate::sign::generate;
use crate::world::clients::{Dnf, Gpg};
use crate::world::daemon::{self, program};
use crate::world::{Daemon, Metadata, PATIENCE, Rpm, Tree, eventually, eventually_ok, http, skipped};

/// What a location may hold: `None` for nothing. More than one where the answer was not heard.
type Allowed = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// A repository with all that a publication can have: a signature, databases, and an end of grace that comes soon.
pub struct Victim {
    pub tree: Tree,
    config: std::path::PathBuf,
    allowed: Allowed,
    /// Old and new names of what is being moved: it must have one of them.
    moving: Vec<(String, String)>,
    /// Held by a batch, and acknowledged.
    held: Vec<(String, Vec<u8>)>,
    grace: Duration,
}

/// An act that got no answer: the daemon is gone.
struct Gone;

impl Victim {
    /// `key`: a copy of it signs.
    pub fn new(key: &Path, metadata: &str, grace: Duration) -> Self {
        let tree = Tree::new();
        // What a kill kept from the catalog need not settle for long: nobody writes to files here but the daemon.
        fs::copy(key, tree.beside("signing.asc")).unwrap();
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[state]\ndir = \"{}\"\n[repository.rpm]\npath = \"{}\"\n\
             write = \"anyone\"\noverwrite = \"allow\"\nsettle = \"100ms\"\nmetadata = \"{metadata}\"\ngrace = \"{}s\"\n\
             sign = {{ key = \"{}\" }}\n",
            tree.beside("state").display(),
            tree.root().display(),
            grace.as_secs(),
            tree.beside("signing.asc").display(),
        );
        let config = daemon::write_config(&tree, &text);
        Self { tree, config, allowed: Allowed::new(), moving: Vec::new(), held: Vec::new(), grace }
    }

    fn command(&self) -> Command {
        let mut command = program();
        command.args(["serve".as_ref(), "--config".as_ref(), self.config.as_os_str()]);
        command
    }

    pub fn start(&self) -> Daemon {
        Daemon::start_as(self.command(), "/rpm/")
    }

    /// Starts a daemon that dies at the `arrival`-th time it comes there; `Err` if it does so at once.
    pub fn start_to_die(&self, point: Point, arrival: u64) -> Result<Daemon, std::process::ExitStatus> {
        let mut command = self.command();
        command.env("CREATEREPOD_CRASH_AT", format!("{point:?}:{arrival}"));
        Daemon::try_start_as(command, "/rpm/")
    }

    fn ask(
        &self,
        daemon: &Daemon,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<http::Response, Gone> {
        http::try_send(daemon.address(), method, path, headers, body).map_err(|_| Gone)
    }

    fn put(&mut self, daemon: &Daemon, location: &str, rpm: &Rpm, wait: bool) -> Result<(), Gone> {
        let bytes = rpm.build();
        let before = self.allowed.entry(location.to_owned()).or_insert_with(|| vec![None]);
        before.push(Some(bytes.clone()));
        let headers: &[(&str, &str)] = if wait { &[("Prefer", "wait=60")] } else { &[] };
        let answer = self.ask(daemon, "PUT", &daemon.at(location), headers, Some(&bytes))?;
        assert!(matches!(answer.status, 200..300), "{location}: {}", answer.text());
        self.allowed.insert(location.to_owned(), vec![Some(bytes)]);
        Ok(())
    }

    fn delete(&mut self, daemon: &Daemon, location: &str) -> Result<(), Gone> {
        self.allowed.get_mut(location).unwrap().push(None);
        let answer = self.ask(daemon, "DELETE", &daemon.at(location), &[], None)?;
        assert!(matches!(answer.status, 200..300), "{location}: {}", answer.text());
        self.allowed.insert(location.to_owned(), vec![None]);
        Ok(())
    }

    /// COPY or MOVE of a package, or of a folder with what is in it.
    fn transfer(&mut self, daemon: &Daemon, method: &str, from: &str, to: &str) -> Result<(), Gone> {
        let below = format!("{from}/");
        let is_meant = |at: &String| at == from || at.starts_with(&below);
        let there = self.allowed.iter().filter(|(at, values)| is_meant(at) && values[0].is_some());
        let pairs: Vec<(String, String)> =
            there.map(|(at, _)| (at.clone(), at.replacen(from, to, 1))).collect();
        assert!(!pairs.is_empty(), "{from} holds something");
        for (old, new) in &pairs {
            let bytes = self.allowed[old][0].clone();
            self.allowed.insert(new.clone(), vec![None, bytes]);
            if method == "MOVE" {
                self.allowed.get_mut(old).unwrap().push(None);
                self.moving.push((old.clone(), new.clone()));
            }
        }
        let destination = daemon.at(to);
        let answer = self.ask(daemon, method, &daemon.at(from), &[("Destination", &destination)], None)?;
        assert!(matches!(answer.status, 201 | 202), "{method} {from}: {} {}", answer.status, answer.text());
        for (old, new) in pairs {
            self.allowed.get_mut(&new).unwrap().remove(0);
            if method == "MOVE" {
                self.allowed.insert(old, vec![None]);
            }
        }
        self.moving.clear();
        Ok(())
    }

    /// Replaces a package whose metadata are large, until most of what is kept of metadata is dead.
    fn waste(&mut self, daemon: &Daemon) -> Result<(), Gone> {
        for salt in 0..6 {
            let name = "y".repeat(1000);
            let large = (0..4000).fold(Rpm::new("large"), |rpm, n| rpm.requires(format!("{name}{n}")));
            self.put(daemon, "large.rpm", &large.salt(salt), true)?;
        }
        Ok(())
    }

    fn commit(&self, daemon: &Daemon) -> Result<http::Response, Gone> {
        self.ask(daemon, "POST", "/-/api/v1/repositories/rpm/batches/b/commit", &[], Some(b""))
    }

    /// Everything that leads past a crash point, until the daemon is gone.
    fn act(&mut self, daemon: &Daemon, turn: usize) -> Result<(), Gone> {
        self.put(daemon, &format!("new{turn}.rpm"), &Rpm::new(format!("new{turn}")).payload(70_000), true)?;
        self.put(daemon, "base0.rpm", &Rpm::new("base0").salt(7 + turn as u64), true)?;
        self.put(daemon, &format!("deep{turn}/er/down.rpm"), &Rpm::new(format!("down{turn}")), false)?;
        self.transfer(daemon, "MOVE", &format!("new{turn}.rpm"), &format!("renamed{turn}.rpm"))?;
        self.transfer(daemon, "MOVE", &format!("deep{turn}"), &format!("moved{turn}"))?;
        self.transfer(daemon, "COPY", "base0.rpm", &format!("copy{turn}.rpm"))?;
        self.transfer(daemon, "COPY", &format!("moved{turn}"), &format!("copied{turn}"))?;
        self.delete(daemon, &format!("base{}.rpm", 1 + turn))?;
        for part in 0..3 {
            let (location, rpm) = (format!("batch{turn}/{part}.rpm"), Rpm::new(format!("part{turn}-{part}")));
            let bytes = rpm.build();
            let headers: &[(&str, &str)] = &[("Createrepod-Batch", "b")];
            let answer = self.ask(daemon, "PUT", &daemon.at(&location), headers, Some(&bytes))?;
            assert_eq!(answer.status, 201, "{}", answer.text());
            self.held.push((location, bytes));
        }
        let answer = self.commit(daemon)?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for (location, bytes) in std::mem::take(&mut self.held) {
            self.allowed.insert(location, vec![Some(bytes)]);
        }
        // What was superseded is over its grace by then.
        std::thread::sleep(Duration::from_millis(2100));
        self.put(daemon, &format!("last{turn}.rpm"), &Rpm::new(format!("last{turn}")), true)?;
        Ok(())
    }

    /// What lies on the disk is what was acknowledged, and whole as another web server would serve it.
    fn is_whole_on_disk(&self) -> Result<(), String> {
        Metadata::from_tree(self.tree.root()).map_err(|why| format!("on the disk: {why}"))?;
        for (location, allowed) in &self.allowed {
            let found = fs::read(self.tree.path(location)).ok();
            if !allowed.contains(&found) {
                let size = found.map(|bytes| bytes.len());
                return Err(format!("{location} is not what was acknowledged: {size:?} bytes"));
            }
        }
        for (old, new) in &self.moving {
            if !self.tree.path(old).exists() && !self.tree.path(new).exists() {
                return Err(format!("{old}, which was to be {new}, is neither"));
            }
        }
        Ok(())
    }

    /// After a restart: a batch that was held is there or committed; all of it is shown or nothing of it.
    fn end_batch(&mut self, daemon: &Daemon) {
        let shown = self.held.iter().filter(|(at, _)| self.tree.path(at).exists()).count();
        assert!(shown == 0 || shown == self.held.len(), "{shown} of {} are shown", self.held.len());
        // Two that were held and one that may have been.
        let answer = self.commit(daemon).unwrap_or_else(|_| panic!("no answer"));
        match shown {
            0 if !self.held.is_empty() => assert_eq!(answer.status, 200, "{}", answer.text()),
            _ => assert!(matches!(answer.status, 200 | 404), "{}", answer.text()),
        }
        for (location, bytes) in std::mem::take(&mut self.held) {
            self.allowed.insert(location, vec![Some(bytes)]);
        }
    }

    /// Waits until what is published is the tree, and holds the rest against what may be there.
    pub fn is_well(&mut self, daemon: &Daemon) {
        self.end_batch(daemon);
        self.is_whole_on_disk().unwrap();
        let published = eventually_ok(PATIENCE, "the tree is published", || {
            let metadata = Metadata::fetch(daemon.address(), "/rpm/")?;
            metadata.matches_tree(self.tree.root())?;
            let (hrefs, files) = (metadata.hrefs(), packages_in(&self.tree));
            if hrefs == files {
                Ok(metadata)
            } else {
                Err(format!("{hrefs:?} are published, {files:?} there"))
            }
        });
        assert_eq!(daemon::rejected(&daemon.status()), [], "no half a package was left");
        if Gpg::find().is_some()
            && let Some(dnf) = Dnf::find()
        {
            let listed =
                dnf.checked(&daemon.get("rpm.repo").text()).unwrap_or_else(|why| panic!("dnf: {why}"));
            let listed: BTreeSet<String> =
                listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
            assert_eq!(listed, published.nevras());
        }
        self.is_tidy(daemon);
    }

    /// Nothing is left of what crashes had in hand.
    pub fn is_tidy(&mut self, daemon: &Daemon) {
        // A publication later, when every grace has ended, nothing is left of what the crash had in hand. Where the daemon
        // published once more by itself meanwhile, it takes another one.
        eventually_ok(PATIENCE, "nothing strange left", || {
            std::thread::sleep(self.grace + Duration::from_millis(1100));
            let before = Metadata::from_tree(self.tree.root()).unwrap();
            let number = self.allowed.len();
            self.put(daemon, &format!("after{number}.rpm"), &Rpm::new(format!("after{number}")), true)
                .unwrap_or_else(|_| panic!("no answer"));
            self.tree.has_no_leftovers();
            // What is not awaited there is done in a moment: closing the catalog, removing files.
            let look = || {
                let metadata = Metadata::from_tree(self.tree.root())?;
                strange_in_repodata(&self.tree, [&before, &metadata])?;
                strange_in_state(&self.tree)
            };
            let begun = Instant::now();
            loop {
                match look() {
                    Err(_) if begun.elapsed() < Duration::from_secs(20) => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    looked => return looked,
                }
            }
        });
    }
}

/// Every package of the tree, sorted.
pub fn packages_in(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![tree.root().to_owned()];
    while let Some(directory) = waiting.pop() {
        // One that the daemon removes meanwhile holds nothing.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(tree.root()).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name != "repodata" && name != ".createrepod" => waiting.push(path),
                true => {}
                false => found.push(name),
            }
        }
    }
    found.sort();
    found
}

/// What is named by neither the current publication nor the one whose grace has only begun.
pub fn strange_in_repodata(tree: &Tree, named: [&Metadata; 2]) -> Result<(), String> {
    let mut known: BTreeSet<String> =
        ["repomd.xml", "repomd.xml.asc", "repomd.xml.key"].map(str::to_owned).into();
    let records = named.iter().flat_map(|metadata| metadata.records.values());
    known.extend(records.map(|r| r.href.trim_start_matches("repodata/").to_owned()));
    let there: BTreeSet<String> = fs::read_dir(tree.path("repodata"))
        .map_err(|why| format!("repodata/: {why}"))?
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let strange: Vec<_> = there.difference(&known).collect();
    if strange.is_empty() { Ok(()) } else { Err(format!("in repodata/: {strange:?}")) }
}

fn strange_in_state(tree: &Tree) -> Result<(), String> {
    let mut pieces = 0;
    let mut strange = Vec::new();
    let mut waiting = vec![tree.beside("state")];
    while let Some(directory) = waiting.pop() {
        // One that the daemon removes meanwhile holds nothing.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                waiting.push(entry.path());
                continue;
            }
            let name = entry.file_name().into_string().unwrap();
            let base =
                ["-wal", "-shm", "-journal"].iter().fold(&*name, |name, end| name.trim_end_matches(end));
            pieces += usize::from(name.starts_with("pieces."));
            if !name.starts_with("pieces.") && !base.ends_with(".sqlite") && name != "verified.json" {
                strange.push(entry.path());
            }
        }
    }
    match (pieces, strange.is_empty()) {
        (1, true) => Ok(()),
        _ => Err(format!("{pieces} files of pieces, and {strange:?}")),
    }
}

/// Kills at one point; whether it was reached.
fn kill_at(key: &Path, point: Point, arrival: u64) -> bool {
    let mut victim = Victim::new(key, "el7", Duration::from_secs(1));
    for number in 0..4 {
        let rpm = Rpm::new(format!("base{number}"));
        victim.tree.write(format!("base{number}.rpm"), &rpm.build());
        victim.allowed.insert(format!("base{number}.rpm"), vec![Some(rpm.build())]);
    }
    let daemon = victim.start();
    eventually_ok(PATIENCE, "the first publication", || {
        Metadata::fetch(daemon.address(), "/rpm/")
            .and_then(|m| if m.packages.len() == 4 { Ok(()) } else { Err(String::new()) })
    });
    daemon.stop();
    if point == Point::DatabasesBuilt {
        fs::remove_dir_all(victim.tree.beside("state/repositories/rpm/databases")).unwrap();
    }
    if let Ok(mut daemon) = victim.start_to_die(point, arrival) {
        let wasteful = matches!(point, Point::CompactionCopied | Point::CompactionNamed);
        let wasted = !wasteful || victim.waste(&daemon).is_ok();
        // Once is enough for all but what comes in idle time.
        if wasted && (0..3).all(|turn| victim.act(&daemon, turn).is_ok()) {
            return false;
        }
        let status = eventually(PATIENCE, format!("the death at {point:?}"), || daemon.ended());
        assert_eq!(status.signal(), Some(9), "{point:?}: {}", daemon.log());
    }
    victim.is_whole_on_disk().unwrap_or_else(|why| panic!("killed at {point:?}: {why}"));
    let daemon = victim.start();
    victim.is_well(&daemon);
    daemon.stop();
    true
}

#[test]
fn a_kill_at_every_step_leaves_a_whole_repository_and_loses_nothing_acknowledged() {
    if !cfg!(feature = "crash-points") {
        let required = std::env::var_os("CREATEREPOD_REQUIRE_CLIENTS").is_some_and(|value| value == "1");
        assert!(!required, "built without the feature crash-points (`make test` has it)");
        return skipped("crash points: built without the feature crash-points (`make test` has it)");
    }
    let binary = fs::read(program().get_program()).unwrap();
    let marker = b"CREATEREPOD_CRASH_AT";
    assert!(binary.windows(marker.len()).any(|part| part == marker), "what a release is searched for");
    let home = Tree::new();
    let key = generate(&home, "signing.asc", &["--ed25519"]);
    let wanted: Vec<Point> = match std::env::var("CRASH_POINT") {
        Ok(name) => ALL.iter().copied().filter(|point| format!("{point:?}").starts_with(&name)).collect(),
        Err(_) => ALL.to_vec(),
    };
    let waiting = Mutex::new(wanted.into_iter());
    // Each waits for the end of graces most of the time.
    let workers = 3 * std::thread::available_parallelism().map_or(2, usize::from);
    let unreached = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let Some(point) = waiting.lock().unwrap().next() else { return };
                    let begun = Instant::now();
                    if !kill_at(&key, point, 1) {
                        unreached.lock().unwrap().push(point);
                    }
                    println!("{point:?}: {:?}", begun.elapsed());
                }
            });
        }
    });
    assert_eq!(unreached.into_inner().unwrap(), [], "points that nothing leads to");
}
