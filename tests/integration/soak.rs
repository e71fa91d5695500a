//! Many clients read while everything changes and while the daemon is killed: none may ever see a gap.
//!
//! In `make test` for half a minute; `make soak SECONDS=3600 KILLS=1000` as long and as often as wanted, with memory and
//! open files compared. It prints what was done.

mod readers;
mod writers;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use createrepod::crash;

use crate::crash::points::{Victim, packages_in};
use crate::sign::generate;
use crate::world::clients::{Dnf, Gpg};
use crate::world::daemon::Publications;
use crate::world::dnf::Resident;
use crate::world::{Daemon, Metadata, PATIENCE, Random, Tree, eventually_ok};
use readers::Reader;
use writers::Writer;

const WRITERS: usize = 3;
/// With and without delay.
const READERS: u8 = 6;
/// How long what was superseded or removed stays.
const GRACE: Duration = Duration::from_secs(20);
/// A client that waits longer may have been given what was superseded up to ten seconds before.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// What was done.
#[derive(Default)]
pub struct Figures {
    publications: AtomicU64,
    uploads: AtomicU64,
    replacements: AtomicU64,
    deletions: AtomicU64,
    transfers: AtomicU64,
    /// At random moments.
    kills: AtomicU64,
    /// At random steps.
    steps: AtomicU64,
    faults: AtomicU64,
    reads: AtomicU64,
    dnf: AtomicU64,
    /// What a kill left, read before anything was started.
    dnf_on_disk: AtomicU64,
    bytes: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Figures {
    fn error(&self, why: String) {
        eprintln!("ERROR: {why}");
        self.errors.lock().unwrap().push(why);
    }

    fn print(&self, what: &str) {
        let n = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        println!(
            "{what}: {} publications, {} uploads, {} replacements, {} deletions, {} moves and copies, \
             {} kills at random moments and {} at random steps, {} uploads broken off, \
             {} times all read, {} times by dnf and {} times by dnf from the disk after a kill, {} MB checked, {} errors",
            n(&self.publications),
            n(&self.uploads),
            n(&self.replacements),
            n(&self.deletions),
            n(&self.transfers),
            n(&self.kills),
            n(&self.steps),
            n(&self.faults),
            n(&self.reads),
            n(&self.dnf),
            n(&self.dnf_on_disk),
            n(&self.bytes) / 1_000_000,
            self.errors.lock().unwrap().len()
        );
    }

    fn are_without_errors(&self) {
        assert_eq!(*self.errors.lock().unwrap(), Vec::<String>::new());
    }
}

/// Writers and readers for a time; the daemon must live.
fn storm(victim: &Victim, daemon: &Daemon, writers: &mut [Writer], time: Duration, figures: &Figures) {
    let stop = AtomicBool::new(false);
    let publications = Publications::count_in(&victim.tree);
    std::thread::scope(|scope| {
        let stop = &stop;
        for writer in writers {
            scope.spawn(move || {
                if let Err(why) = writer.write(daemon.address(), stop, figures) {
                    figures.error(why);
                }
            });
        }
        for number in 0..READERS {
            let delay = if number < READERS / 2 { Duration::ZERO } else { LONGEST_DELAY };
            let mut reader = Reader::new(number, daemon.address(), delay);
            scope.spawn(move || reader.read(stop, figures));
        }
        scope.spawn(move || dnf(daemon, stop, figures));
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    figures.publications.fetch_add(publications.so_far(), Ordering::Relaxed);
}

/// dnf with `repo_gpgcheck=1`, its metadata expired at once.
fn dnf(daemon: &Daemon, stop: &AtomicBool, figures: &Figures) {
    let Some(dnf) = Gpg::find().and_then(|_| Dnf::find()) else { return };
    let dot_repo = daemon.get("rpm.repo").text();
    while !stop.load(Ordering::Relaxed) {
        if let Err(why) = dnf.checked(&dot_repo) {
            figures.error(format!("dnf: {why}"));
        }
        figures.dnf.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many kills, and for how long at least.
#[derive(Clone, Copy)]
struct Kills {
    at_least: u64,
    time: Duration,
}

/// Kills while writers write: at random moments, and in between at random steps. After each, dnf reads what lies on the
/// disk before anybody helps, and, with its signature, what the next daemon serves.
fn kills(victim: &Victim, writers: &mut [Writer], kills: Kills, figures: &Figures) {
    let begun = Instant::now();
    let mut dnf = Resident::start();
    let mut random = Random::new(begun.elapsed().as_nanos() as u64 + u64::from(std::process::id()));
    let done = || figures.kills.load(Ordering::Relaxed) + figures.steps.load(Ordering::Relaxed);
    while begun.elapsed() < kills.time || done() < kills.at_least {
        if !figures.errors.lock().unwrap().is_empty() {
            return;
        }
        let daemon = victim.start();
        let published = is_published(victim, &daemon).and_then(|()| nothing_is_set_aside(victim, &daemon));
        let read = published.and_then(|()| dnf_reads_it(victim, &daemon, dnf.as_mut(), figures));
        if let Err(why) = read {
            figures.error(why);
            return;
        }
        write_until_killed(daemon, writers, random.next() % 500_000, figures);
        figures.kills.fetch_add(1, Ordering::Relaxed);
        is_well_after_a_kill(victim, writers, dnf.as_mut(), figures);
        if !cfg!(feature = "crash-points") || random.below(3) > 0 {
            continue;
        }
        // Where nothing leads to the step in time, it is killed as above.
        let point = crash::ALL[random.below(crash::ALL.len())];
        if let Ok(daemon) = victim.start_to_die(point, 1 + random.below(4) as u64) {
            write_until_killed(daemon, writers, 500_000, figures);
        }
        figures.steps.fetch_add(1, Ordering::Relaxed);
        is_well_after_a_kill(victim, writers, dnf.as_mut(), figures);
    }
}

fn write_until_killed(daemon: Daemon, writers: &mut [Writer], microseconds: u64, figures: &Figures) {
    let stop = AtomicBool::new(false);
    let address = daemon.address();
    std::thread::scope(|scope| {
        for writer in &mut *writers {
            let stop = &stop;
            // Not to be answered is what it is about.
            scope.spawn(move || _ = writer.write(address, stop, figures));
        }
        std::thread::sleep(Duration::from_micros(microseconds));
        daemon.kill_or_dead();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Neither many at once nor a kill damages what is remembered.
fn nothing_is_set_aside(victim: &Victim, daemon: &Daemon) -> Result<(), String> {
    let state = victim.tree.beside("state/repositories/rpm");
    let names = std::fs::read_dir(state).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let aside: Vec<_> = names.filter(|name| name.to_string_lossy().ends_with(".damaged")).collect();
    if aside.is_empty() { Ok(()) } else { Err(format!("{aside:?}: {}", daemon.log())) }
}

/// What dnf sees is what the tree holds.
fn dnf_reads_it(
    victim: &Victim,
    daemon: &Daemon,
    dnf: Option<&mut Resident>,
    figures: &Figures,
) -> Result<(), String> {
    let Some(dnf) = dnf else { return Ok(()) };
    let read = dnf.read(&daemon.get("rpm.repo").text()).map_err(|why| format!("dnf after a kill: {why}"))?;
    figures.dnf.fetch_add(1, Ordering::Relaxed);
    let there = Metadata::from_tree(victim.tree.root())?.nevras();
    if read == there { Ok(()) } else { Err(format!("dnf read {read:?}, and {there:?} are there")) }
}

/// Before anybody helps: whole on the disk, and everything acknowledged is there.
fn is_well_after_a_kill(
    victim: &Victim,
    writers: &mut [Writer],
    dnf: Option<&mut Resident>,
    figures: &Figures,
) {
    let tree = victim.tree.root();
    match Metadata::from_tree(tree) {
        Ok(metadata) => {
            let size: u64 = metadata.records.values().map(|record| record.size).sum();
            figures.bytes.fetch_add(size, Ordering::Relaxed);
            if let Some(dnf) = dnf {
                match dnf.read_directory(tree) {
                    Ok(read) if read == metadata.nevras() => {}
                    Ok(read) => figures.error(format!("dnf read {read:?} from the disk after a kill")),
                    Err(why) => figures.error(format!("dnf after a kill, from the disk: {why}")),
                }
                figures.dnf_on_disk.fetch_add(1, Ordering::Relaxed);
            }
        }
        Err(why) => figures.error(format!("after a kill: {why}")),
    }
    for writer in writers {
        if let Err(why) = writer.settle(tree) {
            figures.error(format!("after a kill: {why}"));
        }
    }
}

/// After a restart what is published comes to be the tree, by itself.
fn is_published(victim: &Victim, daemon: &Daemon) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let look = || {
            let metadata = Metadata::fetch(daemon.address(), "/rpm/")?;
            metadata.matches_tree(victim.tree.root())?;
            let (hrefs, files) = (metadata.hrefs(), packages_in(&victim.tree));
            if hrefs == files {
                Ok(())
            } else {
                Err(format!("{} published, {} there", hrefs.len(), files.len()))
            }
        };
        match look() {
            Ok(()) => return Ok(()),
            // It has a crash point, and came there.
            Err(_) if !daemon.still_runs() => return Ok(()),
            Err(why) if begun.elapsed() > PATIENCE => return Err(format!("after a restart: {why}")),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Memory and open files once nothing happens any more: the catalog is closed after ten seconds.
fn at_rest(daemon: &Daemon) -> (u64, usize) {
    let (mut files, mut since) = (daemon.open_files(), Instant::now());
    while since.elapsed() < Duration::from_secs(13) {
        std::thread::sleep(Duration::from_millis(200));
        let now = daemon.open_files();
        if now != files {
            (files, since) = (now, Instant::now());
        }
    }
    (daemon.resident_kib(), files)
}

fn bytes_below(directory: &Path) -> u64 {
    let mut sum = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) => sum += metadata.len(),
                Err(_) => {}
            }
        }
    }
    sum
}

/// All of it; `at_rest` compares memory and open files of the daemon that had no kill.
fn soak(time: Duration, at_least: u64, compare: bool) {
    let figures = Figures::default();
    let home = Tree::new();
    let key = generate(&home, "signing.asc", &["--ed25519"]);
    let mut victim = Victim::new(&key, "zstd", GRACE);
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let daemon = victim.start();
    eventually_ok(PATIENCE, "the first publication", || Metadata::fetch(daemon.address(), "/rpm/"));

    storm(&victim, &daemon, &mut writers, time * 3 / 10, &figures);
    let before = compare.then(|| at_rest(&daemon));
    let disk = bytes_below(&victim.tree.beside(""));
    storm(&victim, &daemon, &mut writers, time * 3 / 10, &figures);
    let after = compare.then(|| at_rest(&daemon));
    let disk_after = bytes_below(&victim.tree.beside(""));
    figures.print("storm");
    if let (Some((memory, files)), Some((memory_after, files_after))) = (before, after) {
        println!(
            "memory {memory} KiB after the first storm, {memory_after} KiB after the second; \
             open files {files} and {files_after}"
        );
        assert_eq!(files, files_after, "open files");
        // A tenth; an allocator's arenas come and go by some megabytes.
        assert!(memory_after <= memory + memory / 10 + 4096, "{memory} KiB have become {memory_after} KiB");
    }
    println!("disk {} MB and {} MB", disk / 1_000_000, disk_after / 1_000_000);
    assert!(disk_after < 2 * disk + (64 << 20), "{disk} bytes have become {disk_after}");
    figures.are_without_errors();
    for writer in &mut writers {
        writer.settle(victim.tree.root()).unwrap();
    }
    is_published(&victim, &daemon).unwrap();
    nothing_is_set_aside(&victim, &daemon).unwrap();
    daemon.stop();

    let begun = Instant::now();
    kills(&victim, &mut writers, Kills { at_least, time: time * 4 / 10 }, &figures);
    println!("kills: {} s", begun.elapsed().as_secs());
    let daemon = victim.start();
    is_published(&victim, &daemon).unwrap();
    victim.is_tidy(&daemon);
    daemon.stop();
    figures.print("all");
    figures.are_without_errors();
}

#[test]
fn clients_see_no_gap_while_everything_changes_and_the_daemon_is_killed() {
    soak(Duration::from_secs(30), 0, false);
}

/// `make soak`
#[test]
#[ignore = "runs as long as SOAK_SECONDS says: make soak"]
fn for_as_long_as_wanted() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("SOAK_SECONDS").unwrap_or(180);
    soak(Duration::from_secs(seconds), number("SOAK_KILLS").unwrap_or(0), true);
}
