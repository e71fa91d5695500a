//! createrepo_c's commands beside createrepo_c itself: the same trees, option by option.
//!
//! What must be equal: the exit code, the files in `repodata/` (checksums in their names aside), the
//! records of repomd.xml, and every decompressed byte of the metadata.

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

/// Something done to a world: `w` is the tree, commands run beside it.
#[derive(Clone, Copy)]
enum Step {
    /// A run of the command, its options and directories.
    Run(&'static [&'static str]),
    /// The same for `sqliterepo_c`.
    Databases(&'static [&'static str]),
    /// The same for `modifyrepo_c`.
    Modify(&'static [&'static str]),
    /// Seconds since the epoch.
    Touch(&'static str, u64),
    Remove(&'static str),
    Write(&'static str, &'static str),
    Put(&'static str, &'static str),
    MakeDirectory(&'static str),
}

use Step::{Databases, MakeDirectory, Modify, Put, Remove, Run, Touch, Write};

const COMPS: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps><group><id>g</id></group></comps>\n";
const LISTED: &str = "a/x.rpm\nc/odd-richdeps-1.0-1.noarch.rpm\n";

/// Each case begins with a fresh world.
const CASES: &[(&str, &[Step])] = &[
    ("plain", &[Run(&["w"])]),
    ("again", &[Run(&["w"]), Run(&["w"])]),
    ("quiet", &[Run(&["-q", "w"])]),
    ("verbose", &[Run(&["-v", "--workers", "2", "--error-exit-val", "w"])]),
    ("excludes", &[Run(&["-x", "x*", "--excludes=c/*", "w"])]),
    ("excludes by question mark", &[Run(&["-x", "?.rpm", "w"])]),
    ("baseurl", &[Run(&["-u", "http://h/a&b", "w"])]),
    ("location prefix", &[Run(&["--location-prefix", "p", "w"])]),
    ("cut dirs", &[Run(&["--cut-dirs", "1", "--location-prefix", "p/q/", "w"])]),
    ("groupfile", &[Write("comps.xml", COMPS), Write("w/comps.xml", COMPS), Run(&["-g", "comps.xml", "w"])]),
    ("groupfile missing", &[Run(&["-g", "none.xml", "w"])]),
    ("groupfile bz2", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--compress-type", "bz2", "w"])]),
    ("groupfile xz", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--xz", "w"])]),
    (
        "groupfile general",
        &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "--general-compress-type", "gz", "w"])],
    ),
    ("sha224", &[Run(&["-s", "sha224", "w"])]),
    ("sha384", &[Run(&["--checksum", "sha384", "w"])]),
    ("sha512", &[Run(&["--checksum", "sha512", "w"])]),
    ("repomd checksum", &[Run(&["--repomd-checksum", "sha512", "w"])]),
    ("unknown checksum", &[Run(&["--checksum", "crc32", "w"])]),
    ("no pretty", &[Run(&["--no-pretty", "w"])]),
    ("pretty", &[Run(&["--no-pretty", "-p", "w"])]),
    ("gz", &[Run(&["--general-compress-type", "gz", "w"])]),
    ("bz2", &[Run(&["--general-compress-type", "bz2", "w"])]),
    ("xz", &[Run(&["--general-compress-type=xz", "w"])]),
    ("zstd", &[Run(&["--general-compress-type", "zstd", "w"])]),
    ("unknown compression", &[Run(&["--general-compress-type", "rar", "w"])]),
    ("filelists-ext", &[Run(&["--filelists-ext", "w"])]),
    ("database", &[Run(&["-d", "w"])]),
    ("database gz", &[Run(&["--database", "--compress-type", "gz", "w"])]),
    ("database xz and filelists-ext", &[Run(&["--database", "--xz", "--filelists-ext", "w"])]),
    ("database with base", &[Run(&["--database", "--local-sqlite", "-u", "http://h/", "--no-pretty", "w"])]),
    (
        "database on update",
        &[Run(&["-d", "w"]), Touch("w/c/odd-richdeps-1.0-1.noarch.rpm", 5), Run(&["-d", "--update", "w"])],
    ),
    ("database no more", &[Run(&["-d", "w"]), Run(&["--update", "w"])]),
    ("compatibility", &[Write("w/c.xml", COMPS), Run(&["--compatibility", "-g", "c.xml", "w"])]),
    (
        "compatibility retains",
        &[
            Run(&["--compatibility", "w"]),
            Touch("w/a/x.rpm", 5),
            Run(&["--compatibility", "--retain-old-md", "1", "w"]),
        ],
    ),
    ("databases afterwards", &[Run(&["--revision", "r", "w"]), Databases(&["w"])]),
    (
        "databases xz",
        &[Run(&["w"]), Databases(&["-q", "--xz", "--checksum", "sha512", "--local-sqlite", "w"])],
    ),
    ("databases twice", &[Run(&["-d", "w"]), Databases(&["w"])]),
    ("databases by force", &[Run(&["-d", "w"]), Databases(&["--force", "--compress-type", "gz", "w"])]),
    (
        "databases by force, old ones kept",
        &[Run(&["-d", "w"]), Databases(&["-f", "--keep-old", "--compress-type", "gz", "w"])],
    ),
    ("databases of nothing", &[Databases(&["w"])]),
    (
        "databases of simple names",
        &[Run(&["--simple-md-filenames", "--content", "c", "w"]), Databases(&["w"])],
    ),
    ("databases without a directory", &[Databases(&[])]),
    (
        "modify",
        &[
            Run(&["--revision", "r", "--repo", "x", "w"]),
            Write("updateinfo.xml", "<updates/>"),
            Modify(&["updateinfo.xml", "w/repodata"]),
        ],
    ),
    (
        "modify plainly",
        &[
            Run(&["w"]),
            Write("productid", "p"),
            Modify(&["--no-compress", "--simple-md-filenames", "productid", "w/repodata"]),
        ],
    ),
    (
        "modify with everything",
        &[
            Run(&["w"]),
            Write("p", "p"),
            Modify(&[
                "--mdtype",
                "t",
                "--new-name",
                "n.txt",
                "-s",
                "sha512",
                "--compress-type",
                "bz2",
                "p",
                "w/repodata/",
            ]),
        ],
    ),
    (
        "modify replaces",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Write("v.xml", "<v/>"),
            Modify(&["--mdtype", "u", "u.xml", "w/repodata"]),
            Modify(&["--mdtype", "u", "v.xml", "w/repodata"]),
        ],
    ),
    (
        "modify removes",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Modify(&["u.xml", "w/repodata"]),
            Modify(&["--remove", "u", "w/repodata"]),
            Modify(&["--remove", "u", "w/repodata"]),
        ],
    ),
    (
        "modify by batch",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Write("v", "v"),
            Write(
                "batch",
                "[u.xml]\ntype=t\ncompress-type=gz\nunique-md-filenames=false\n[x]\npath=v\ncompress=false\nnew-name=n\n[other]\nremove=true\n",
            ),
            Modify(&["-f", "batch", "w/repodata"]),
        ],
    ),
    ("modify with nothing", &[Run(&["w"]), Modify(&["none", "w/repodata"]), Modify(&["w/repodata"])]),
    ("modify nothing", &[Write("u.xml", "<u/>"), Modify(&["u.xml", "w"])]),
    (
        "metadata of others are kept",
        &[
            Run(&["w"]),
            Write("u.xml", "<u/>"),
            Modify(&["u.xml", "w/repodata"]),
            Touch("w/a/x.rpm", 5),
            Run(&["--update", "w"]),
        ],
    ),
    (
        "metadata of others are lost",
        &[Run(&["w"]), Write("u.xml", "<u/>"), Modify(&["u.xml", "w/repodata"]), Run(&["w"])],
    ),
    ("no database", &[Run(&["--no-database", "w"])]),
    (
        "compatibility without databases",
        &[Write("w/c.xml", COMPS), Run(&["--compatibility", "--no-database", "-g", "c.xml", "w"])],
    ),
    ("changelog limit", &[Run(&["--changelog-limit", "2", "w"])]),
    ("no changelog", &[Run(&["--changelog-limit", "0", "w"])]),
    ("whole changelog", &[Run(&["--changelog-limit=-1", "w"])]),
    ("bad changelog limit", &[Run(&["--changelog-limit=-7", "w"])]),
    ("bad workers", &[Run(&["--workers", "500", "w"])]),
    ("simple names", &[Run(&["--simple-md-filenames", "w"])]),
    (
        "simple names again",
        &[
            Run(&["--simple-md-filenames", "w"]),
            Touch("w/a/x.rpm", 1_000_000_000),
            Run(&["--simple-md-filenames", "--update", "w"]),
        ],
    ),
    ("unique names", &[Run(&["--simple-md-filenames", "--unique-md-filenames", "w"])]),
    (
        "tags",
        &[Run(&[
            "--distro",
            "cpe:/o:x,A & B",
            "--distro",
            "plain",
            "--content",
            "c1",
            "--content",
            "c2",
            "--repo",
            "r",
            "w",
        ])],
    ),
    ("revision", &[Run(&["--revision", "any text", "w"])]),
    ("timestamp", &[Run(&["--revision", "1234567", "--set-timestamp-to-revision", "w"])]),
    ("timestamp of text", &[Run(&["--revision", "text", "--set-timestamp-to-revision", "w"])]),
    ("outputdir", &[MakeDirectory("out"), Run(&["-o", "out", "w"])]),
    ("outputdir missing", &[Run(&["-o", "none", "w"])]),
    ("skip symlinks", &[Run(&["-S", "w"])]),
    ("pkglist", &[Write("list", LISTED), Run(&["-i", "list", "w"])]),
    (
        "pkglist with excludes",
        &[Write("list", LISTED), Run(&["-i", "list", "-x", "x.rpm", "-x", "c/*", "w"])],
    ),
    ("pkglist missing", &[Run(&["-i", "none", "w"])]),
    (
        "pkglist names what is not there",
        &[Write("list", "a/x.rpm\nnone.rpm\n./b/x.rpm\n"), Run(&["-i", "list", "w"])],
    ),
    ("includepkg", &[Run(&["-n", "a/x.rpm", "--includepkg", "b/x.rpm", "w"])]),
    ("read pkgs list", &[Run(&["--read-pkgs-list", "read", "w"])]),
    ("cachedir", &[Run(&["-c", "cache", "w"]), Run(&["-c", "cache", "w"])]),
    ("duplicates", &[Run(&["--duplicated-nevra", "keep", "w"])]),
    ("last duplicate", &[Run(&["--duplicated-nevra", "keep-last", "w"])]),
    ("odd duplicate", &[Run(&["--duplicated-nevra", "first", "w"])]),
    ("split", &[MakeDirectory("v"), Put("w/a/x.rpm", "v/z.rpm"), Run(&["--split", "w", "v"])]),
    ("several directories", &[MakeDirectory("v"), Run(&["w", "v"])]),
    ("no directory", &[Run(&[])]),
    ("missing directory", &[Run(&["none"])]),
    ("unknown option", &[Run(&["--none", "w"])]),
    ("deltas", &[Run(&["--deltas", "w"])]),
    ("locked", &[MakeDirectory("w/.repodata"), Run(&["w"]), Run(&["--ignore-lock", "w"])]),
    ("bad package", &[Write("w/bad.rpm", "no package"), Run(&["w"])]),
    ("empty", &[Remove("w"), MakeDirectory("w"), Run(&["w"])]),
    ("update of nothing", &[Run(&["--update", "w"])]),
    (
        "update",
        &[Run(&["w"]), Touch("w/a/x.rpm", 1_000_000_000), Remove("w/b/x.rpm"), Run(&["--update", "w"])],
    ),
    ("update of everything", &[Run(&["w"]), Run(&["--update", "w"])]),
    ("update with another checksum", &[Run(&["w"]), Run(&["--update", "-s", "sha512", "w"])]),
    (
        "update with another compression",
        &[Run(&["w"]), Run(&["--update", "--general-compress-type", "gz", "w"])],
    ),
    (
        "update from elsewhere",
        &[MakeDirectory("out"), Run(&["w"]), Run(&["--update", "--update-md-path", "w", "-o", "out", "w"])],
    ),
    ("update path without update", &[Run(&["--update-md-path", "w", "w"])]),
    (
        "skip stat",
        &[
            Run(&["w"]),
            Touch("w/odd-weakdeps-1.0-1.noarch.rpm", 1_000_000_000),
            Run(&["--update", "--skip-stat", "w"]),
        ],
    ),
    (
        "base on update",
        &[
            Remove("w/b/x.rpm"),
            Remove("w/c/link.rpm"),
            Run(&["-u", "http://h/", "w"]),
            Run(&["--update", "w"]),
        ],
    ),
    ("new base on update", &[Run(&["-u", "http://h/", "w"]), Run(&["--update", "-u", "http://i/", "w"])]),
    ("prefix on update", &[Run(&["w"]), Run(&["--update", "--location-prefix", "p", "w"])]),
    (
        "recycled list",
        &[
            Remove("w/b/x.rpm"),
            Remove("w/c/link.rpm"),
            Run(&["w"]),
            Write("w/new.rpm", "not looked at"),
            Run(&["--update", "--recycle-pkglist", "w"]),
        ],
    ),
    (
        "recycled list with a missing package",
        &[
            Remove("w/b/x.rpm"),
            Run(&["w"]),
            Remove("w/a/x.rpm"),
            Run(&["--update", "--recycle-pkglist", "w"]),
        ],
    ),
    (
        "groups on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Touch("w/a/x.rpm", 1),
            Run(&["--update", "w"]),
        ],
    ),
    ("groups on a full run", &[Write("w/c.xml", COMPS), Run(&["-g", "c.xml", "w"]), Run(&["w"])]),
    (
        "discarded on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "--discard-additional-metadata", "w"]),
        ],
    ),
    (
        "kept on update",
        &[
            Write("w/c.xml", COMPS),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "--keep-all-metadata", "w"]),
        ],
    ),
    (
        "groups replaced",
        &[
            Write("w/c.xml", COMPS),
            Write("w/d.xml", "<comps/>"),
            Run(&["-g", "c.xml", "w"]),
            Run(&["--update", "-g", "d.xml", "w"]),
        ],
    ),
    ("strangers stay", &[Run(&["w"]), Write("w/repodata/mine", "mine"), Touch("w/a/x.rpm", 1), Run(&["w"])]),
    ("retain all", &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--retain-old-md", "1", "w"])]),
    ("retain none", &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--retain-old-md", "0", "w"])]),
    ("retain both ways", &[Run(&["--retain-old-md", "1", "--retain-old-md-by-age", "1h", "w"])]),
    (
        "retain by age",
        &[Run(&["w"]), Touch("w/a/x.rpm", 1), Run(&["--update", "--retain-old-md-by-age", "1h", "w"])],
    ),
    ("retain by a strange age", &[Run(&["--retain-old-md-by-age", "5x", "w"])]),
];

#[test]
fn createrepo_c_and_ours_make_the_same_of_every_option() {
    let Some(theirs) = clients::createrepo_c("createrepo_c") else { return };
    let ours = PathBuf::from(env!("CARGO_BIN_EXE_createrepod"));
    let mut wrong = Vec::new();
    for (name, steps) in CASES {
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
            Run(arguments) | Databases(arguments) | Modify(arguments) => {
                let name = match step {
                    Databases(_) => "sqliterepo_c",
                    Modify(_) => "modifyrepo_c",
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
        }
    }
    let mut facts = BTreeMap::new();
    for directory in ["w", "w/a", "v", "out"] {
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
    let repomd = Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]).unwrap();
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
        facts.insert(key("text"), text.trim_end().to_owned());
    }
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
