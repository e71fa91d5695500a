//! The SQLite databases of EL6 and EL7, kept by the difference, say what createrepo_c's would.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::incremental::{step, stocked};
use crate::world::clients::{createrepo_c, find, output, rpms_below};
use crate::world::daemon::run;
use crate::world::metadata::open;
use crate::world::tree::{cp, set_mtime};
use crate::world::{Daemon, Metadata, Random, Rpm, Tree};

const KINDS: [&str; 3] = ["primary", "filelists", "other"];

/// The rows of every table of the three databases, with the package they belong to in the place of its key.
type Rows = BTreeMap<String, Vec<Vec<String>>>;

fn index(tree: &Tree, profile: &str) -> Metadata {
    let done = run(["index".as_ref(), tree.root().as_os_str(), "--metadata".as_ref(), profile.as_ref()]);
    assert!(done.status.success(), "{}", done.stderr);
    Metadata::from_tree(tree.root()).unwrap()
}

/// Opens a published database, and checks what it must be in any case.
fn database(tree: &Tree, metadata: &Metadata, kind: &str) -> (Connection, tempfile::TempDir) {
    let record = &metadata.records[&format!("{kind}_db")];
    let bytes = open(record, fs::read(tree.path(&record.href)).unwrap()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db.sqlite");
    fs::write(&path, bytes).unwrap();
    let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{kind}");
    let info: (i64, String) = db
        .query_row("SELECT dbversion, checksum FROM db_info", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!(info, (10, metadata.records[kind].checksum.1.clone()), "{kind}: db_info");
    let infos: i64 = db.query_row("SELECT count(*) FROM db_info", [], |row| row.get(0)).unwrap();
    assert_eq!(infos, 1);
    (db, home)
}

/// Tables with their rows, and everything else that is in the schema.
fn rows(tree: &Tree, metadata: &Metadata) -> Rows {
    let mut all = Rows::new();
    // Keys are numbers of no meaning, but they are the same in all three.
    let mut owners: BTreeMap<i64, String> = BTreeMap::new();
    for kind in KINDS {
        let (db, _home) = database(tree, metadata, kind);
        let mut schema = db.prepare("SELECT type, name, tbl_name, sql FROM sqlite_master").unwrap();
        let texts = |row: &rusqlite::Row<'_>| (0..4).map(|i| row.get::<_, String>(i)).collect();
        let mut schema: Vec<Vec<String>> =
            schema.query_map([], texts).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        for entry in &mut schema {
            entry[3] = entry[3].split_whitespace().collect::<Vec<_>>().join(" ");
        }
        schema.sort_unstable();
        let tables = schema.iter().filter(|entry| entry[0] == "table").map(|entry| entry[1].clone());
        let tables: Vec<String> = tables.filter(|name| name != "db_info").collect();
        if kind == "primary" {
            let mut packages = db.prepare("SELECT pkgKey, pkgId, location_href FROM packages").unwrap();
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get(0)?, format!("{} {}", row.get::<_, String>(1)?, row.get::<_, String>(2)?)))
            };
            owners = packages.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        }
        for table in tables {
            let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
            let cell = |name: &String, value: Value| match (name.as_str(), value) {
                ("pkgKey", Value::Integer(key)) => owners[&key].clone(),
                (_, value) => format!("{value:?}"),
            };
            let read = |row: &rusqlite::Row<'_>| {
                names.iter().enumerate().map(|(i, name)| Ok(cell(name, row.get(i)?))).collect()
            };
            let mut found: Vec<Vec<String>> =
                statement.query_map([], read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
            found.sort_unstable();
            all.insert(format!("{kind}.{table}"), found);
        }
        all.insert(format!("{kind} schema"), schema);
    }
    all
}

fn assert_same(ours: &Rows, theirs: &Rows, what: &str) {
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (table, ours) in ours {
        let theirs = &theirs[table];
        let first = ours.iter().zip(theirs).find(|(a, b)| a != b);
        assert!(first.is_none(), "{what}: {table}: {first:#?}");
        assert_eq!(ours.len(), theirs.len(), "{what}: {table}");
    }
}

/// The same tree elsewhere, without metadata.
fn copy(tree: &Tree) -> Tree {
    let fresh = Tree::new();
    for name in tree.names_in("") {
        cp(["-a".as_ref(), tree.path(&name).as_os_str(), fresh.path(&name).as_os_str()]);
    }
    fresh
}

/// Holds databases with a history against those of a full run, and against createrepo_c's.
fn compare(tree: &Tree, metadata: &Metadata, what: &str) {
    let ours = rows(tree, metadata);
    let fresh = copy(tree);
    let full = index(&fresh, "el7");
    assert_same(&ours, &rows(&fresh, &full), &format!("{what}, a full run"));
    let Some(createrepo_c) = createrepo_c("createrepo_c") else { return };
    let theirs = copy(tree);
    let mut command = Command::new(createrepo_c);
    output(command.args(["--quiet", "--database", "--compress-type", "gz"]).arg(theirs.root()));
    let their_metadata = Metadata::from_tree(theirs.root()).unwrap();
    assert_same(&ours, &rows(&theirs, &their_metadata), &format!("{what}, createrepo_c"));
}

fn rich(number: usize) -> Rpm {
    Rpm::new(format!("rich{number}"))
        .requires("/bin/sh")
        .requires(format!("p{number}"))
        .file(format!("/usr/bin/rich{number}"))
        .file(format!("/usr/share/rich/{number}/a"))
        .file(format!("/usr/share/rich/{number}/b"))
        .file("/etc/rich.conf")
        .payload(number * 7)
}

#[test]
fn after_hundreds_of_changes_the_rows_are_those_of_a_full_run_and_of_createrepo_c() {
    for seed in [21, 22] {
        let (tree, mut names) = stocked();
        for number in 0..30 {
            tree.add(&rich(number));
            names.insert(rich(number).file_name());
        }
        let mut random = Random::new(seed);
        let mut steps = 0;
        for number in 0..80 {
            for _ in 0..=random.below(6) {
                step(&tree, &mut names, &mut random, steps);
                steps += 1;
            }
            let metadata = index(&tree, if seed == 21 { "el7" } else { "el6" });
            assert_eq!(metadata.packages.len(), names.len());
            if number % 20 == 19 {
                compare(&tree, &metadata, &format!("seed {seed}, {steps} changes"));
            }
        }
    }
}

#[test]
fn a_change_compresses_few_blocks_and_superseded_databases_stay_fetchable() {
    let tree = Tree::new();
    (0..600).for_each(|number| tree.add(&rich(number)));
    let daemon = Daemon::configured(&tree, "", "metadata = \"el7\"");
    let before = daemon.until("the start", |metadata| metadata.packages.len() == 600);
    let old: Vec<_> =
        before.records.values().map(|record| (record.clone(), daemon.get(&record.href))).collect();
    for number in 600..605 {
        daemon.put_and_wait(&rich(number).file_name(), &rich(number).build());
    }
    let after = daemon.metadata();
    for kind in KINDS {
        assert_ne!(before.records[&format!("{kind}_db")], after.records[&format!("{kind}_db")]);
    }
    for (record, answer) in old {
        assert_eq!(answer.status, 200);
        let again = daemon.get(&record.href);
        assert_eq!((again.status, &again.body), (200, &answer.body), "{}", record.href);
    }
    daemon.stop();
    compare(&tree, &after, "a daemon");
}

#[test]
fn a_lost_or_damaged_database_is_made_anew() {
    let tree = Tree::new();
    (0..50).for_each(|number| tree.add(&rich(number)));
    index(&tree, "el7");
    let kept = tree.path(".createrepod/state/databases");
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 6] = [
        ("index.sqlite", |path| fs::remove_file(path).unwrap()),
        ("primary.sqlite", |path| fs::remove_file(path).unwrap()),
        ("filelists.sqlite", |path| fs::write(path, b"no database").unwrap()),
        ("index.sqlite", |path| fs::write(path, b"no database").unwrap()),
        // One byte in the middle, which SQLite itself would not see.
        ("other.sqlite", |path| {
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.windows(5).position(|window| window == b"rich4").unwrap_or(bytes.len() - 20);
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }),
        ("", |path| fs::remove_dir_all(path).unwrap()),
    ];
    for (number, (name, damage)) in damages.into_iter().enumerate() {
        damage(&kept.join(name));
        tree.add(&rich(100 + number));
        let metadata = index(&tree, "el7");
        compare(&tree, &metadata, &format!("damage to {name:?}"));
    }
}

#[test]
fn a_setting_that_changes_brings_databases_and_takes_them_away() {
    let tree = Tree::new();
    (0..5).for_each(|number| tree.add(&rich(number)));
    let kinds = |metadata: &Metadata| metadata.records.keys().cloned().collect::<BTreeSet<_>>();
    let plain = BTreeSet::from(KINDS.map(str::to_owned));
    let all: BTreeSet<_> = plain.iter().flat_map(|kind| [kind.clone(), format!("{kind}_db")]).collect();
    for (profile, expected) in
        [("gzip", &plain), ("el7", &all), ("gzip", &plain), ("el6", &all), ("zstd", &plain), ("el7", &all)]
    {
        assert_eq!(&kinds(&index(&tree, profile)), expected, "{profile}");
        assert_eq!(tree.path(".createrepod/state/databases").exists(), expected == &all);
    }
    // The same packages again, and nothing to publish.
    let before = Metadata::from_tree(tree.root()).unwrap();
    let repomd = fs::metadata(tree.path("repodata/repomd.xml")).unwrap().modified().unwrap();
    fs::remove_dir_all(tree.path(".createrepod")).unwrap();
    let after = index(&tree, "el7");
    assert_eq!(before.repomd, after.repomd, "a lost catalog publishes nothing");
    assert_eq!(repomd, fs::metadata(tree.path("repodata/repomd.xml")).unwrap().modified().unwrap());
    tree.add(&rich(9));
    compare(&tree, &index(&tree, "el7"), "after a lost catalog");
}

#[test]
fn packages_that_leave_give_back_their_room() {
    let tree = Tree::new();
    let rpms: Vec<Rpm> = (0..400)
        .map(|n| (0..40).fold(rich(n), |rpm, f| rpm.file(format!("/usr/lib/{n}/{f}-with-a-long-name"))))
        .collect();
    for (name, bytes) in crate::world::tree::build_all(&rpms) {
        tree.write(&name, &bytes);
    }
    let daemon = Daemon::configured(&tree, "", "metadata = \"el7\"");
    daemon.until("the start", |metadata| metadata.packages.len() == 400);
    let kept = tree.beside("state/repositories/rpm/databases/filelists.sqlite");
    let before = fs::metadata(&kept).unwrap().len();
    rpms[10..].iter().for_each(|rpm| tree.remove(rpm.file_name()));
    daemon.until("ten", |metadata| metadata.packages.len() == 10);
    crate::world::eventually(crate::world::PATIENCE, "a small database", || {
        // It is replaced by a smaller one.
        (fs::metadata(&kept).ok()?.len() * 4 < before).then_some(())
    });
    daemon.put_and_wait("x.rpm", &rich(1000).build());
    let metadata = daemon.metadata();
    daemon.stop();
    compare(&tree, &metadata, "after a vacuum");
}

#[test]
fn old_readers_read_the_databases_and_the_xml() {
    let tree = Tree::new();
    (0..40).for_each(|number| tree.add(&rich(number)));
    set_mtime(&tree.path(rich(3).file_name()), 1_400_000_000);
    index(&tree, "el6");
    tree.add(&rich(77));
    let metadata = index(&tree, "el6");
    // The reader of yum-metadata-parser: libxml2's own, straight from the compressed file.
    if let Some(xmllint) = find("xmllint") {
        for kind in KINDS {
            let path = tree.path(&metadata.records[kind].href);
            output(Command::new(&xmllint).args(["--stream", "--noout"]).arg(path));
        }
    }
    // What yum does: its gzip and sqlite modules.
    if let Some(python) = find("python3") {
        let script = "import gzip, sqlite3, sys, tempfile\n\
            db = tempfile.NamedTemporaryFile()\n\
            db.write(gzip.open(sys.argv[1]).read()); db.flush()\n\
            c = sqlite3.connect(db.name)\n\
            print(c.execute('select count(*) from packages').fetchone()[0],\n\
                  c.execute(\"select count(*) from requires join packages using (pkgKey) where packages.name = 'rich77'\").fetchone()[0])\n";
        let path = tree.path(&metadata.records["primary_db"].href);
        assert_eq!(output(Command::new(python).args(["-c", script]).arg(path)).trim(), "41 2");
    }
}

#[test]
fn a_kill_at_any_moment_leaves_databases_that_say_what_the_xml_says() {
    let tree = Tree::new();
    (0..60).for_each(|number| tree.add(&rich(number)));
    let mut random = Random::new(7);
    let configured = || Daemon::configured(&tree, "", "metadata = \"el7\"");
    for round in 0..6 {
        let daemon = configured();
        daemon.until("something", |metadata| metadata.packages.len() >= 60);
        crate::crash::storm(daemon, round, &mut random);
        // Whole as it lies there, too: each database belongs to the XML beside it.
        let there = Metadata::from_tree(tree.root()).unwrap();
        rows(&tree, &there);
        let daemon = configured();
        daemon.put_and_wait("last.rpm", &Rpm::new("last").version(round.to_string()).build());
        tree.remove("last.rpm");
        // What was not acknowledged is young, and taken up a moment later.
        let metadata = daemon.until("all but the last", |metadata| {
            !metadata.has("last.rpm") && metadata.packages.len() == rpms_below(tree.root()).len()
        });
        daemon.stop();
        compare(&tree, &metadata, &format!("round {round}"));
    }
}
