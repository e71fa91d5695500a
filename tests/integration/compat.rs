//! createrepo_c's commands beside createrepo_c itself: the same trees, option by option.
//!
//! What must be equal: the exit code, the files in `repodata/` (checksums in their names aside), the
//! records of repomd.xml, and every decompressed byte of the metadata.

mod better;
mod cases;
mod merge;
mod options;
mod repositories;
mod words;
mod zchunk;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use createrepod::repodata::codec::{Codec, Limits};
use createrepod::repodata::{Record, Repomd};
use tempfile::TempDir;

use crate::world::clients;
use cases::Step::{
    self, Databases, MakeDirectory, Merge, Modify, Put, Remove, Repository, Run, Touch, Write,
};

#[test]
fn createrepo_c_and_ours_make_the_same_of_every_option() {
    let Some(theirs) = clients::createrepo_c("createrepo_c") else { return };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_createrepod"));
    // For whoever works on one of them.
    let only = std::env::var("CREATEREPOD_CASE").unwrap_or_default();
    let mut wrong = Vec::new();
    for (name, steps) in cases::CASES.iter().chain(merge::CASES) {
        if !name.contains(&only) {
            continue;
        }
        let expected = play(&|name| Command::new(theirs.with_file_name(name)), steps);
        let found = play(
            &|name| {
                let mut command = Command::new(&ours);
                command.arg(name);
                command
            },
            steps,
        );
        for difference in expected.differences(&found) {
            wrong.push(format!("{name}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn no_signature_outlives_the_repomd_it_was_made_for() {
    let world = world();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
        command.arg("createrepo_c").args(more).arg("-q").arg("w").current_dir(world.path());
        assert_eq!(command.status().unwrap().code(), Some(0));
    };
    run(&[]);
    let signature = world.path().join("w/repodata/repomd.xml.asc");
    fs::write(&signature, "signed").unwrap();
    run(&["--update"]);
    assert!(signature.exists(), "nothing changed, so it still fits");
    set_time(&world.path().join("w/a/x.rpm"), 5);
    run(&["--update"]);
    assert!(!signature.exists());
    assert!(!world.path().join("w/.repodata").exists());
}

/// createrepo_c looks for packages in DIR where it should in BASE/DIR, or cuts too much off their locations.
#[test]
fn a_directory_may_be_relative_to_another() {
    let world = world();
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
        command.arg("createrepo_c").args(more).current_dir(world.path());
        assert_eq!(command.status().unwrap().code(), Some(0));
        let mut facts = BTreeMap::new();
        describe(&world.path().join("w/repodata"), "w", &mut facts);
        facts
    };
    let expected = run(&["w"]);
    fs::create_dir(world.path().join("v")).unwrap();
    assert_eq!(run(&["--basedir", "v", "../w"]), expected);
    assert_eq!(run(&["--basedir", world.path().to_str().unwrap(), "w"]), expected);
}

/// Both must be able to go on from what the other made.
#[test]
fn each_updates_what_the_other_made() {
    let Some(theirs) = clients::createrepo_c("createrepo_c") else { return };
    let run = |program: &Path, world: &Path, arguments: &[&str]| {
        let mut command = Command::new(program);
        if program != theirs {
            command.arg("createrepo_c");
        }
        let output = command.args(arguments).current_dir(world).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_createrepod"));
    for compression in ["gz", "bz2", "xz", "zstd"] {
        for (first, second) in [(&ours, &theirs), (&theirs, &ours)] {
            let world = world();
            // It knows one of several packages with equal content only.
            fs::remove_file(world.path().join("w/b/x.rpm")).unwrap();
            fs::remove_file(world.path().join("w/c/link.rpm")).unwrap();
            run(first, world.path(), &["--general-compress-type", compression, "w"]);
            run(
                second,
                world.path(),
                &["--update", "--read-pkgs-list", "read", "--general-compress-type", compression, "w"],
            );
            assert_eq!(
                fs::read_to_string(world.path().join("read")).unwrap(),
                "",
                "{compression}: nothing is read again"
            );
        }
    }
}

fn world() -> TempDir {
    let dir = TempDir::new().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpms/built");
    for directory in ["a", "b", "c", ".hidden"] {
        fs::create_dir_all(dir.path().join("w").join(directory)).unwrap();
    }
    let mut all: Vec<_> = fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    for path in &all {
        let name = path.file_name().unwrap().to_str().unwrap();
        // On purpose ours differ in some: createrepo_c loses the one with control characters, and drops
        // characters of those whose text is no UTF-8; the wheel does not know md5 and sha1.
        let differs = ["odd-xmlchars", "odd-cp1250", "odd-latin1", "odd-fdigest-md5", "odd-fdigest-sha1"]
            .iter()
            .any(|odd| name.starts_with(odd));
        if !name.ends_with(".rpm") || differs {
            continue;
        }
        let place = match name {
            "odd-epoch0-1.0-1.noarch.rpm" => {
                put(path, &dir.path().join("w/b/x.rpm"));
                "a/x.rpm".to_owned()
            }
            name if name.starts_with("odd-richdeps") => format!("c/{name}"),
            name if name.starts_with("odd-nofiles") => format!(".hidden/{name}"),
            name => name.to_owned(),
        };
        put(path, &dir.path().join("w").join(place));
    }
    std::os::unix::fs::symlink("../a/x.rpm", dir.path().join("w/c/link.rpm")).unwrap();
    std::os::unix::fs::symlink("none", dir.path().join("w/dangling.rpm")).unwrap();
    dir
}

/// Copies a package; its time is part of the metadata.
fn put(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    set_time(to, 1_700_000_000);
}

fn set_time(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// What came of a case.
struct Outcome {
    /// One for each run.
    exits: Vec<Option<i32>>,
    said: String,
    /// What lies in each `repodata/`, and whatever else was made.
    facts: BTreeMap<String, String>,
}

fn play(command: &dyn Fn(&str) -> Command, steps: &[Step]) -> Outcome {
    let world = world();
    let at = |path: &str| world.path().join(path);
    let (mut exits, mut said) = (Vec::new(), String::new());
    for step in steps {
        match *step {
            Run(arguments) | Databases(arguments) | Modify(arguments) | Merge(arguments) => {
                let name = match step {
                    Databases(_) => "sqliterepo_c",
                    Modify(_) => "modifyrepo_c",
                    Merge(_) => "mergerepo_c",
                    _ => "createrepo_c",
                };
                let mut run = command(name);
                run.args(arguments).current_dir(world.path());
                let output = run.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
                exits.push(output.status.code());
                said += &String::from_utf8_lossy(&output.stderr);
            }
            Touch(path, seconds) => set_time(&at(path), seconds),
            Remove(path) if at(path).is_dir() => fs::remove_dir_all(at(path)).unwrap(),
            Remove(path) => fs::remove_file(at(path)).unwrap(),
            Write(path, text) => fs::write(at(path), text).unwrap(),
            Put(from, to) => put(&at(from), &at(to)),
            MakeDirectory(path) => fs::create_dir_all(at(path)).unwrap(),
            Repository(path, packages, more) => repositories::write(&at(path), packages, more),
        }
    }
    let mut facts = BTreeMap::new();
    for directory in ["w", "w/a", "v", "out", "merged_repo", "de/ep"] {
        if at(directory).join("repodata").is_dir() {
            describe(&at(directory).join("repodata"), directory, &mut facts);
        }
    }
    if let Ok(read) = fs::read_to_string(at("read")) {
        let mut lines: Vec<_> = read.lines().collect();
        lines.sort_unstable();
        facts.insert("read".into(), lines.join("\n"));
    }
    Outcome { exits, said, facts }
}

fn describe(repodata: &Path, directory: &str, facts: &mut BTreeMap<String, String>) {
    let mut names: Vec<_> = fs::read_dir(repodata)
        .unwrap()
        .map(|entry| without_checksum(entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    names.sort();
    facts.insert(format!("{directory}: files"), names.join(" "));
    let Ok(repomd) = fs::read(repodata.join("repomd.xml")) else { return };
    let repomd = Repomd::read(&repomd[..]).unwrap();
    facts.insert(format!("{directory}: tags"), format!("{:?}", repomd.tags));
    let is_time = repomd.revision.parse::<u64>().is_ok_and(|time| time > 1_700_000_000);
    facts.insert(
        format!("{directory}: revision"),
        if is_time { "now".into() } else { repomd.revision.clone() },
    );
    for record in &repomd.records {
        let key = |what: &str| format!("{directory}: {} {what}", record.kind);
        let name = record.href.rsplit('/').next().unwrap();
        let path = repodata.join(name);
        if !path.is_file() {
            facts.insert(key("record"), format!("{name} is missing"));
            continue;
        }
        facts.insert(key("record"), describe_record(record, name, &path));
        if record.kind.ends_with("_db") {
            describe_database(&repomd, record, &path, &mut |what, text| {
                facts.insert(key(what), text);
            });
            continue;
        }
        let mut text = String::new();
        Codec::open(File::open(&path).unwrap(), Limits { open_size: None })
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        if record.kind == "origin" {
            // createrepo_c writes them as its hash table has them.
            let mut lines: Vec<_> = text.lines().collect();
            lines.sort_unstable();
            text = lines.join("\n");
        }
        if record.kind == "modules" {
            text = laid_out_anew(&text);
        }
        facts.insert(key("text"), text.trim_end().to_owned());
    }
}

/// Modules as libmodulemd writes them; without it, what tells them from each other.
fn laid_out_anew(yaml: &str) -> String {
    if let Some(python) = clients::modulemd() {
        let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
        fs::write(file.path(), yaml).unwrap();
        return clients::modules_merged(&python, &[file.path().to_owned()])
            .unwrap_or_else(|why| format!("{why}\n{yaml}"));
    }
    let keys = ["document:", "  name:", "  stream:", "  version:", "  context:", "  module:", "  summary:"];
    let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
    yaml.lines().filter(wanted).map(|line| line.replace(['"', '\''], "") + "\n").collect()
}

/// Every table's rows. Those of `filelist` have no order of their own.
fn describe_database(repomd: &Repomd, record: &Record, path: &Path, tell: &mut dyn FnMut(&str, String)) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut content = Codec::open(File::open(path).unwrap(), Limits { open_size: record.open_size }).unwrap();
    std::io::copy(&mut content, &mut file.as_file()).unwrap();
    let database = rusqlite::Connection::open(file.path()).unwrap();
    let check: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let texts = |sql: &str| {
        let mut query = database.prepare(sql).unwrap();
        let columns = query.column_count();
        let rows = query.query_map([], |row| {
            Ok((0..columns).map(|i| format!("{:?} ", row.get_ref(i).unwrap())).collect::<String>())
        });
        rows.unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    tell("schema", texts("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").join("\n"));
    let tables: Vec<String> = database
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for table in tables.iter().filter(|table| *table != "db_info") {
        let mut rows = texts(&format!("SELECT * FROM {table}"));
        if table == "filelist" {
            rows.sort();
        }
        tell(table, rows.join("\n"));
    }
    let (version, sum): (u32, String) =
        database.query_row("SELECT * FROM db_info", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let xml = repomd.record(record.kind.trim_end_matches("_db")).unwrap();
    assert_eq!((version, sum), (10, xml.checksum.to_hex()), "{}", record.kind);
}

fn describe_record(record: &Record, name: &str, path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    assert_eq!(record.size, Some(bytes.len() as u64), "{name}");
    let modified = path.metadata().unwrap().modified().unwrap();
    let modified = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let time = |seconds: u64| if seconds > 1_700_000_000 { 0 } else { seconds };
    format!(
        "{} {} {:?} {:?} {} {} {:?} {}",
        without_checksum(name),
        record.checksum.kind,
        record.open_checksum.as_ref().map(|sum| sum.kind),
        record.open_size.is_some(),
        time(record.timestamp),
        time(modified),
        // sqliterepo_c 1.2.5 writes 0, which yum would refuse.
        record.database_version.map(|_| ()),
        name.starts_with(&record.checksum.to_hex()),
    )
}

fn without_checksum(name: &str) -> String {
    match name.split_once('-') {
        Some((sum, rest)) if sum.len() >= 32 && sum.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("*-{rest}")
        }
        _ => name.to_owned(),
    }
}

impl Outcome {
    fn differences(&self, found: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.exits != found.exits {
            wrong.push(format!(
                "exit codes {:?}, ours {:?}: {} | {}",
                self.exits, found.exits, self.said, found.said
            ));
        }
        for (key, value) in &self.facts {
            match found.facts.get(key) {
                None => wrong.push(format!("we lack {key}")),
                Some(ours) if ours != value => {
                    wrong.push(format!("{key}: {}", first_difference(value, ours)));
                }
                Some(_) => {}
            }
        }
        for key in found.facts.keys().filter(|key| !self.facts.contains_key(*key)) {
            wrong.push(format!("only we have {key}"));
        }
        wrong
    }
}

fn first_difference(theirs: &str, ours: &str) -> String {
    let lines = theirs.lines().zip(ours.lines()).find(|(a, b)| a != b);
    match lines {
        Some((theirs, ours)) => {
            format!("{:?}, ours {:?}", &theirs[..theirs.len().min(300)], &ours[..ours.len().min(300)])
        }
        None => format!("{} lines, ours {}", theirs.lines().count(), ours.lines().count()),
    }
}
