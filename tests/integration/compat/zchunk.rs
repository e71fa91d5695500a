//! zchunk files beside those of createrepo_c 0.17, for the wheel of 1.2 has none: the same records, the same texts,
//! and Debian's own tools read them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use createrepod::package::Checksum;
use createrepod::repodata::{Record, Repomd};
use tempfile::TempDir;

use super::cases::COMPS;
use crate::world::clients;

/// Each case begins with a fresh world; the first word is the command's name.
pub const CASES: &[&[&[&str]]] = &[
    &[&["createrepo_c", "-q", "--zck", "w"]],
    &[&["createrepo_c", "-q", "--zck", "-g", "comps.xml", "w"]],
    &[&["createrepo_c", "-q", "--zck", "--zck-dict-dir", "dictionaries", "w"]],
    &[&["createrepo_c", "-q", "--zck", "--zck-dict-dir", "none", "w"]],
    &[&["createrepo_c", "-q", "--zck-dict-dir", "dictionaries", "w"]],
    &[&["createrepo_c", "-q", "--zck", "--simple-md-filenames", "-s", "sha512", "w"]],
    &[&["createrepo_c", "-q", "--zck", "w"], &["createrepo_c", "-q", "--update", "--zck", "w"]],
    &[&["createrepo_c", "-q", "--zck", "w"], &["createrepo_c", "-q", "--update", "w"]],
    &[
        &["createrepo_c", "-q", "--no-database", "w"],
        &["createrepo_c", "-q", "--no-database", "v"],
        &["mergerepo_c", "-r", "w", "-r", "v", "--zck", "--no-database", "-o", "w"],
    ],
    &[
        &["createrepo_c", "-q", "w"],
        &["mergerepo_c", "-r", "w", "--zck", "--zck-dict-dir", "dictionaries", "-g", "comps.xml", "-o", "w"],
    ],
    &[&["createrepo_c", "-q", "w"], &["mergerepo_c", "-r", "w", "--zck-dict-dir", "dictionaries", "-o", "w"]],
    &[&["createrepo_c", "-q", "w"], &["modifyrepo_c", "--zck", "comps.xml", "w/repodata"]],
    &[
        &["createrepo_c", "-q", "w"],
        &["modifyrepo_c", "--zck", "--zck-dict-dir", "dictionaries", "comps.xml", "w/repodata"],
    ],
    &[&["createrepo_c", "-q", "w"], &["modifyrepo_c", "--compress-type", "zck", "comps.xml", "w/repodata"]],
];

fn world() -> TempDir {
    let dir = TempDir::new().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rpms/built");
    for (directory, names) in [
        ("w", &["odd-longchangelog-1.0-1.noarch.rpm", "odd-richdeps-1.0-1.noarch.rpm"][..]),
        ("v", &["odd-weakdeps-1.0-1.noarch.rpm"]),
    ] {
        fs::create_dir(dir.path().join(directory)).unwrap();
        for name in names {
            super::put(&fixtures.join(name), &dir.path().join(directory).join(name));
        }
    }
    for path in ["comps.xml", "w/comps.xml"] {
        fs::write(dir.path().join(path), COMPS).unwrap();
    }
    fs::create_dir(dir.path().join("dictionaries")).unwrap();
    // Any text is a dictionary.
    let words = "<rpm:entry name=\"\" flags=\"GE\" epoch=\"0\" ver=\"1.0\"/>\n  <summary>".repeat(20);
    for kind in ["primary", "filelists", "comps"] {
        fs::write(dir.path().join(format!("dictionaries/{kind}.xml.zdict")), &words).unwrap();
    }
    dir
}

fn zck_records(repodata: &Path) -> Vec<Record> {
    let Ok(repomd) = fs::read(repodata.join("repomd.xml")) else { return Vec::new() };
    let repomd = Repomd::read(&repomd[..]).unwrap();
    repomd.records.into_iter().filter(|record| record.href.ends_with(".zck")).collect()
}

/// Decompressed by libzck.
fn text(path: &Path) -> String {
    clients::output(Command::new("unzck").arg("--stdout").arg(path))
}

/// What zck_read_header says, by name.
fn header(path: &Path) -> BTreeMap<String, String> {
    let text = clients::output(Command::new("zck_read_header").args(["-c", "-f"]).arg(path));
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let mut found: BTreeMap<_, _> = lines.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    found.insert("Dictionary".into(), (!text.contains("No dictionary")).to_string());
    found
}

fn play(
    ours: bool,
    command: &dyn Fn(&str) -> Command,
    steps: &[&[&str]],
) -> (Vec<Option<i32>>, BTreeMap<String, String>) {
    let world = world();
    let mut exits = Vec::new();
    for step in steps {
        let (name, arguments) = step.split_first().unwrap();
        let output = command(name).args(arguments).current_dir(world.path()).output().unwrap();
        exits.push(output.status.code());
    }
    let mut facts = BTreeMap::new();
    for record in zck_records(&world.path().join("w/repodata")) {
        let name = record.href.rsplit('/').next().unwrap();
        let path = world.path().join("w/repodata").join(name);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(record.checksum, Checksum::of(record.checksum.kind, &bytes));
        assert_eq!(record.size, Some(bytes.len() as u64));
        let text = text(&path);
        let header = header(&path);
        let (sum, size) = record.header.clone().unwrap();
        assert_eq!(header["Header checksum"], sum.to_hex(), "{name}");
        assert_eq!(header["Header size"], size.to_string(), "{name}");
        facts.insert(record.kind.clone(), format!("{} {}", record.checksum.kind, sum.kind));
        let is_of_packages = matches!(&*record.kind, "primary_zck" | "filelists_zck" | "other_zck");
        // 0.17 packs groups and advisories twice, and states the checksums of something else.
        if let Some(open) = record.open_checksum.filter(|_| ours || is_of_packages) {
            // What libzck reads is what repomd.xml states.
            assert_eq!(open, Checksum::of(open.kind, text.as_bytes()), "{name}");
            assert_eq!(record.open_size, Some(text.len() as u64), "{name}");
        }
        if is_of_packages {
            facts.insert(format!("{} name", record.kind), super::without_checksum(name));
            facts.insert(format!("{} text", record.kind), text.trim_end().to_owned());
            facts.insert(format!("{} dictionary", record.kind), header["Dictionary"].clone());
        }
    }
    (exits, facts)
}

#[test]
fn createrepo_c_and_ours_make_the_same_zchunk_records() {
    let (Some(theirs), Some(_)) = (clients::find("createrepo_c"), clients::find("zck_read_header")) else {
        return;
    };
    let features = clients::output(Command::new(&theirs).arg("--help-all"));
    if !features.contains("--zck") {
        crate::world::skipped("this createrepo_c has no --zck");
        return;
    }
    let mut wrong = Vec::new();
    for steps in CASES {
        let expected = play(false, &|name| Command::new(theirs.with_file_name(name)), steps);
        let found = play(
            true,
            &|name| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
                command.arg(name);
                command
            },
            steps,
        );
        if expected.0 != found.0 {
            wrong.push(format!("{steps:?}: exit codes {:?}, ours {:?}", expected.0, found.0));
        }
        let keys: std::collections::BTreeSet<_> = expected.1.keys().chain(found.1.keys()).collect();
        for key in keys {
            let (a, b) = (expected.1.get(key), found.1.get(key));
            if a != b {
                let [a, b] = [a, b].map(|text| text.map_or("nothing", String::as_str));
                wrong.push(format!("{steps:?}: {key}: {}", super::first_difference(a, b)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// 0.17 reads back what we write, ours what it writes.
#[test]
fn zchunk_metadata_are_updated_from_both_ways() {
    let Some(theirs) = clients::find("createrepo_c") else { return };
    let ours = Path::new(env!("CARGO_BIN_EXE_createrepod"));
    for (first, second) in [(ours, &*theirs), (&*theirs, ours)] {
        let world = world();
        let run = |program: &Path, arguments: &[&str]| {
            let mut command = Command::new(program);
            if program == ours {
                command.arg("createrepo_c");
            }
            let output = command.args(arguments).current_dir(world.path()).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        };
        if first == ours {
            // 0.17 looks for records of type primary, whatever they are compressed with.
            run(first, &["-q", "--general-compress-type", "zck", "w"]);
        } else {
            run(first, &["-q", "--zck", "w"]);
            let repodata = world.path().join("w/repodata");
            let mut repomd = Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]).unwrap();
            repomd.records.retain(|record| record.kind.ends_with("_zck"));
            repomd.write(&mut fs::File::create(repodata.join("repomd.xml")).unwrap()).unwrap();
        }
        run(second, &["-q", "--update", "--read-pkgs-list", "read", "w"]);
        assert_eq!(
            fs::read_to_string(world.path().join("read")).unwrap(),
            "",
            "{} after {}",
            second.display(),
            first.display()
        );
    }
}

#[test]
fn a_changed_package_changes_few_chunks() {
    let Some(_) = clients::find("zck_delta_size") else { return };
    let world = TempDir::new().unwrap();
    let packages: Vec<String> =
        (0..2000).map(|i| format!("p{i:04} 0:1.{i}-1 noarch {} s-{i}-1.src.rpm", i * 7)).collect();
    let mut kept = Vec::new();
    for (name, packages) in [("a", &packages[..]), ("b", &packages[1..])] {
        let all: Vec<&str> = packages.iter().map(|package| &**package).collect();
        // One name for both, for it is part of what the packages say.
        let source = world.path().join(name).join("r");
        super::repositories::write(&source, &all, &[]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
        command.args(["mergerepo_c", "-r", "r", "--zck"]).current_dir(world.path().join(name));
        assert!(command.status().unwrap().success());
        let repodata = world.path().join(name).join("merged_repo/repodata");
        let records = zck_records(&repodata);
        let primary = records.iter().find(|record| record.kind == "primary_zck").unwrap();
        kept.push((repodata.join(primary.href.rsplit('/').next().unwrap()), primary.size.unwrap()));
    }
    let text = clients::output(Command::new("zck_delta_size").arg(&kept[0].0).arg(&kept[1].0));
    let wanted = text
        .lines()
        .find_map(|line| line.strip_prefix("Would download ")?.split(' ').next()?.parse::<u64>().ok());
    let wanted = wanted.unwrap_or_else(|| panic!("{text}"));
    assert!(wanted * 4 < kept[1].1, "{wanted} of {} bytes would be fetched\n{text}", kept[1].1);
}
