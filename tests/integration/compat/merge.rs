//! What is done with mergerepo_c, and with ours; and where ours is better.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use createrepod::repodata::codec::{Codec, Limits};
use createrepod::repodata::{Repomd, read::Elements};
use tempfile::TempDir;

use super::cases::COMPS;
use super::cases::Step::{self, MakeDirectory, Merge, Repository, Run, Write};
use super::repositories;

const R1: Step = Repository(
    "r1",
    &[
        "z 0:1-1 x86_64 10 z-1-1.src.rpm",
        "a 0:1-1 x86_64 10 a-1-1.src.rpm",
        "a 0:1-1 i686 8 a-1-1.src.rpm",
        "m 0:1-1 noarch 8 m-1-1.src.rpm",
        "a 0:1-1 src 8 -",
        "b 1:2-3 x86_64 5 b-2-3.src.rpm",
        "t 0:1-1 nosrc 8 -",
    ],
    &[],
);
const R2: Step = Repository(
    "r2",
    &[
        "a 0:10-1 x86_64 7 a-10-1.src.rpm",
        "b 0:9-1 x86_64 20 b-9-1.src.rpm",
        "c 0:1-1 x86_64 20 b-9-1.src.rpm http://c.example/x",
        "m 1:1-1 noarch 9 m-1-1.src.rpm",
        "q 0:1-1 ppc64 9 q-1-1.src.rpm - sub/dir",
    ],
    &[],
);
const R3: Step = Repository(
    "r3/deep",
    &[
        "a 0:11-1 x86_64 30 a-11-1.src.rpm",
        "c 0:1-1 x86_64 20 c-1-1.src.rpm",
        "m 0:1-1 noarch 30 other-1-1.src.rpm",
    ],
    &[],
);
/// For koji: several packages of one source.
const K1: Step = Repository(
    "k1",
    &[
        "foo 0:1-1 x86_64 1 foo-1-1.src.rpm",
        "foo-devel 0:1-1 x86_64 1 foo-1-1.src.rpm",
        "foo 0:1-1 i686 1 foo-1-1.src.rpm",
        "bar 0:1-1 x86_64 1 bar-1-1.src.rpm",
        "bar 0:2-1 x86_64 1 bar-2-1.src.rpm",
        "only 0:1-1 ppc64 1 only-1-1.src.rpm",
        "none 0:1-1 x86_64 1 -",
        "foo 0:1-1 src 1 -",
        "odd 0:1-1 x86_64 1 odd",
        "twice 0:1-1 x86_64 1 twice-1-1.src.rpm",
    ],
    &[],
);
const K2: Step = Repository(
    "k2",
    &[
        "foo 0:2-1 x86_64 1 foo-2-1.src.rpm",
        "foo-extra 0:2-1 x86_64 1 foo-2-1.src.rpm",
        "foo-late 0:5-1 x86_64 1 foo-1-1.src.rpm",
        "foo-devel 0:1-1 x86_64 2 foo-1-1.src.rpm",
        "baz 0:1-1 x86_64 1 baz-1-1.src.rpm",
        "only 0:2-1 x86_64 1 only-2-1.src.rpm",
        "twice 1:1-1 x86_64 1 twice-1-1.src.rpm",
    ],
    &[],
);
/// Nothing of the same NEVRA as in `K1`: with --simple, createrepo_c would count those wrong.
const K3: Step = Repository(
    "k3",
    &[
        "foo 0:2-1 x86_64 1 foo-2-1.src.rpm",
        "foo-late 0:5-1 x86_64 1 foo-1-1.src.rpm",
        "bar 0:3-1 i686 1 bar-3-1.src.rpm",
    ],
    &[],
);
const NOARCH: Step = Repository(
    "n",
    &[
        "m 0:1-1 noarch 99 m-1-1.src.rpm",
        "a 0:1-1 x86_64 99 a-1-1.src.rpm",
        "new 0:1-1 noarch 1 new-1-1.src.rpm",
    ],
    &[],
);
const GROUPS: Step = Repository(
    "g1",
    &["a 0:1-1 x86_64 1 a-1-1.src.rpm"],
    &[("group", "some-comps.xml.gz", "<comps><group/></comps>\n")],
);
const MORE_GROUPS: Step =
    Repository("g2", &["b 0:1-1 x86_64 1 b-1-1.src.rpm"], &[("group", "plain.xml", COMPS)]);

pub const MODULE: &str = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: m\n  stream: \"1\"\n  version: 1\n  context: c\n  arch: x86_64\n  summary: s\n  description: >-\n    d\n  license:\n    module:\n    - MIT\n...\n";
pub const MODULES: &str = "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: m\n  stream: \"1\"\n...\n---\ndocument: modulemd\nversion: 2\ndata:\n  name: m\n  stream: \"1\"\n  version: 1\n  context: c\n  arch: x86_64\n  summary: s\n  description: >-\n    d\n  license:\n    module:\n    - MIT\n...\n---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: \"2\"\n  version: 2\n  context: d\n  arch: x86_64\n  summary: s\n  description: >-\n    d\n  license:\n    module:\n    - MIT\n...\n";
const MODULAR: Step =
    Repository("m1", &["a 0:1-1 x86_64 1 a-1-1.src.rpm"], &[("modules", "modules.yaml.gz", MODULE)]);
const MORE_MODULAR: Step =
    Repository("m2", &["b 0:1-1 x86_64 1 b-1-1.src.rpm"], &[("modules", "modules.yaml", MODULES)]);
const BROKEN_MODULES: Step =
    Repository("m3", &[], &[("modules", "modules.yaml", "---\ndocument: modulemd\nversion: 2\n...\n")]);

/// Each case begins with a fresh world.
pub const CASES: &[(&str, &[Step])] = &[
    ("merge", &[R1, R2, R3, Merge(&["-r", "r1", "-r", "r2", "--repo=r3/deep"])]),
    ("merge the other way round", &[R1, R2, Merge(&["-r", "r2/", "-r", "r1/"])]),
    ("merge one", &[R1, Merge(&["-r", "r1"])]),
    ("merge none", &[Merge(&[])]),
    ("merge's version", &[Merge(&["--version"])]),
    ("merge one that is missing", &[R1, Merge(&["-r", "r1", "-r", "none"])]),
    ("merge one without metadata", &[R1, MakeDirectory("bad/repodata"), Merge(&["-r", "r1", "-r", "bad"])]),
    (
        "merge damaged ones",
        &[
            R1,
            MakeDirectory("bad/repodata"),
            Write("bad/repodata/repomd.xml", "<repomd"),
            Merge(&["-r", "r1", "-r", "bad"]),
        ],
    ),
    ("merge empty ones", &[Repository("e", &[], &[]), Merge(&["-r", "e", "-r", "e"])]),
    (
        "merge what createrepo_c made",
        &[R1, Run(&["-q", "w/.hidden"]), Merge(&["-r", "w/.hidden", "-r", "r1"])],
    ),
    ("merge with something behind", &[R1, Merge(&["-r", "r1", "extra"])]),
    ("merge by time", &[R1, R2, R3, Merge(&["-r", "r1", "-r", "r2", "-r", "r3/deep", "--method", "ts"])]),
    ("merge by version", &[R1, R2, R3, Merge(&["-r", "r1", "-r", "r2", "-r", "r3/deep", "--method=nvr"])]),
    ("merge by repository", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--method", "repo"])]),
    ("merge by nothing known", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--method", "best"])]),
    (
        "merge all",
        &[R1, R2, R3, Merge(&["-r", "r1", "-r", "r2", "-r", "r3/deep", "--all", "--method", "nvr"])],
    ),
    ("merge one architecture", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-a", "x86_64"])]),
    ("merge two architectures", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--archlist", "i686,src"])]),
    ("merge strange architectures", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-a", "i686;;ppc64, x86_64"])]),
    ("merge no architecture", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-a", ""])]),
    (
        "merge by expansion",
        &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-a", "x86_64,ppc64", "--arch-expand"])],
    ),
    ("merge by expansion of nothing", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--arch-expand"])]),
    ("merge with databases", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-d"])]),
    ("merge without databases", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--no-database"])]),
    (
        "merge with xz databases",
        &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--database", "--compress-type", "xz"])],
    ),
    ("merge gz", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--compress-type", "gz"])]),
    ("merge bz2", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--compress-type", "bz2"])]),
    ("merge zstd", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--compress-type", "zstd"])]),
    ("merge rar", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--compress-type", "rar"])]),
    ("merge verbosely", &[R1, R2, Merge(&["-v", "-r", "r1", "-r", "r2"])]),
    ("merge into a directory", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "-o", "de/ep"])]),
    (
        "merge into one of them",
        &[
            R1,
            R2,
            Merge(&["-r", "r1", "-r", "r2", "--outputdir", "out"]),
            Merge(&["-r", "out", "-r", "r2", "-o", "out", "--all"]),
        ],
    ),
    (
        "merge where another one does",
        &[R1, MakeDirectory("out/.repodata"), Merge(&["-r", "r1", "-o", "out"])],
    ),
    ("merge to simple names", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--simple-md-filenames"])]),
    ("merge to unique names", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--unique-md-filenames"])]),
    ("merge without base", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--omit-baseurl"])]),
    (
        "merge with another base",
        &[
            R1,
            R2,
            Merge(&[
                "-r",
                "r1",
                "-r",
                "r2",
                "--repo-prefix-search",
                "r",
                "--repo-prefix-replace",
                "http://h/x",
            ]),
        ],
    ),
    ("merge with half a prefix", &[R1, Merge(&["-r", "r1", "--repo-prefix-search", "r"])]),
    ("merge with the other half", &[R1, Merge(&["-r", "r1", "--repo-prefix-replace", "r"])]),
    (
        "merge with no prefix",
        &[R1, Merge(&["-r", "r1", "--repo-prefix-search=", "--repo-prefix-replace", "r"])],
    ),
    ("merge with noarch", &[R1, R2, NOARCH, Merge(&["-r", "r1", "-r", "r2", "--noarch-repo", "n"])]),
    (
        "merge with noarch by time",
        &[
            R1,
            R2,
            NOARCH,
            Merge(&["-r", "r1", "-r", "r2", "--noarch-repo", "n/", "--method", "ts", "--omit-baseurl"]),
        ],
    ),
    ("merge with noarch that is missing", &[R1, Merge(&["-r", "r1", "--noarch-repo", "none"])]),
    ("merge noarch alone", &[NOARCH, Merge(&["--noarch-repo", "n"])]),
    ("merge groups", &[R1, GROUPS, MORE_GROUPS, Merge(&["-r", "r1", "-r", "g1", "-r", "g2"])]),
    (
        "merge plain groups",
        &[R1, GROUPS, MORE_GROUPS, Merge(&["-r", "g2", "-r", "g1", "--compress-type", "gz"])],
    ),
    (
        "merge groups that createrepo_c took in",
        &[
            Write("w/.hidden/comps.xml", COMPS),
            Run(&["-q", "-g", "comps.xml", "w/.hidden"]),
            R1,
            Merge(&["-r", "w/.hidden", "-r", "r1"]),
        ],
    ),
    ("merge without groups there are not", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--nogroups"])]),
    ("merge modules", &[MODULAR, MORE_MODULAR, R1, Merge(&["-r", "m1", "-r", "r1", "-r", "m2"])]),
    (
        "merge modules once",
        &[MODULAR, R1, Merge(&["-r", "r1", "-r", "m1", "--compress-type", "gz", "--simple-md-filenames"])],
    ),
    ("merge broken modules", &[MODULAR, BROKEN_MODULES, Merge(&["-r", "m1", "-r", "m3"])]),
    ("merge without advisories", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--noupdateinfo"])]),
    (
        "merge with a groupfile",
        &[GROUPS, R2, Write("mine.xml", COMPS), Merge(&["-r", "g1", "-r", "r2", "-g", "mine.xml"])],
    ),
    (
        "merge with a groupfile alone",
        &[
            GROUPS,
            R2,
            Write("mine.xml", COMPS),
            Merge(&["-r", "g1", "-r", "r2", "--groupfile", "mine.xml", "--nogroups"]),
        ],
    ),
    ("merge with a missing groupfile", &[GROUPS, Merge(&["-r", "g1", "-g", "none.xml"])]),
    ("merge with origins", &[R1, R2, Merge(&["-r", "r1", "-r", "r2", "--pkgorigins"])]),
    (
        "merge all with origins",
        &[R1, R2, Merge(&["-r", "r1", "-r", "r2/", "--pkgorigins", "--all", "--simple-md-filenames"])],
    ),
    ("merge as koji", &[K1, K2, Merge(&["-r", "k1", "-r", "k2", "-k", "-a", "x86_64"])]),
    (
        "merge as koji the other way round",
        &[K1, K2, Merge(&["-r", "k2", "-r", "k1", "--koji", "-a", "x86_64,src"])],
    ),
    (
        "merge as koji without architecture",
        &[K1, K2, NOARCH, Merge(&["-r", "k1", "-r", "n", "-r", "k2", "-k"])],
    ),
    (
        "merge as koji with a method",
        &[K1, K2, Merge(&["-r", "k1", "-r", "k2", "-k", "-a", "x86_64", "--method", "none", "--all"])],
    ),
    (
        "merge as koji simply",
        &[K1, K3, Merge(&["-r", "k1", "-r", "k3", "-k", "-a", "x86_64,src", "--simple"])],
    ),
    ("merge simply without koji", &[K1, K2, Merge(&["-r", "k1", "-r", "k2", "--simple"])]),
    (
        "merge as koji what is not blocked",
        &[
            K1,
            K2,
            Write("b", "foo\n\nodd\n"),
            Merge(&["-r", "k1", "-r", "k2", "-k", "-a", "x86_64,src", "-b", "b"]),
        ],
    ),
    (
        "merge as koji simply what is not blocked",
        &[
            K1,
            K2,
            Write("b", "foo\n"),
            Merge(&["-r", "k1", "-r", "k2", "-k", "-a", "x86_64", "--simple", "--blocked", "b"]),
        ],
    ),
    ("merge blocked without koji", &[K1, Write("b", "foo\n"), Merge(&["-r", "k1", "-b", "b"])]),
    ("merge with a missing list", &[K1, Merge(&["-r", "k1", "-k", "-b", "none"])]),
    (
        "merge as koji with noarch",
        &[R1, R2, NOARCH, Merge(&["-r", "r1", "-r", "r2", "-k", "-a", "x86_64", "--noarch-repo", "n"])],
    ),
    (
        "merge as koji with everything",
        &[
            K1,
            K2,
            Write("mine.xml", COMPS),
            Merge(&[
                "-k",
                "-a",
                "x86_64",
                "-r",
                "k1",
                "-r",
                "k2",
                "-g",
                "mine.xml",
                "-o",
                "out",
                "--compress-type",
                "gz",
                "-d",
                "--arch-expand",
            ]),
        ],
    ),
];

fn merge(world: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
    let output = command.arg("mergerepo_c").args(arguments).current_dir(world).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn repomd(repodata: &Path) -> Repomd {
    Repomd::read(&fs::read(repodata.join("repomd.xml")).unwrap()[..]).unwrap()
}

fn text(repodata: &Path, kind: &str) -> String {
    let repomd = repomd(repodata);
    let name = repomd
        .record(kind)
        .unwrap_or_else(|| panic!("no {kind}"))
        .href
        .rsplit('/')
        .next()
        .unwrap()
        .to_owned();
    let mut text = String::new();
    let file = fs::File::open(repodata.join(name)).unwrap();
    Codec::open(file, Limits { open_size: None }).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn advisory(id: &str, title: &str) -> String {
    format!("<update type=\"security\">\n  <id>{id}</id>\n  <title>{title}</title>\n</update>")
}

/// createrepo_c publishes an empty updateinfo, whatever the repositories have.
#[test]
fn advisories_are_merged_and_those_that_differ_stay() {
    let world = TempDir::new().unwrap();
    let advisories =
        |all: &[String]| format!("<?xml version=\"1.0\"?>\n<updates>{}</updates>\n", all.concat());
    let [one, other, two, three] =
        [advisory("1", "one"), advisory("1", "the other"), advisory("2", "t"), advisory("3", "t")];
    for (name, all) in [
        ("a", [one.clone(), two.clone()]),
        ("b", [two.clone(), three.clone()]),
        ("c", [other.clone(), three.clone()]),
    ] {
        repositories::write(
            &world.path().join(name),
            &[],
            &[("updateinfo", "updateinfo.xml.gz", &advisories(&all))],
        );
    }
    merge(world.path(), &["-r", "a", "-r", "b", "-r", "c"]);
    let merged = text(&world.path().join("merged_repo/repodata"), "updateinfo");
    let mut elements = Elements::advisories(merged.as_bytes()).unwrap();
    let found: Vec<_> = std::iter::from_fn(|| elements.next_element().unwrap()).collect();
    assert_eq!(found, [one, two, three, other]);
}

/// createrepo_c 1.2 takes no notice of --nogroups.
#[test]
fn groups_stay_out_where_that_is_asked_for() {
    let world = TempDir::new().unwrap();
    repositories::write(&world.path().join("a"), &[], &[("group", "comps.xml", COMPS)]);
    merge(world.path(), &["-r", "a", "--nogroups"]);
    assert!(repomd(&world.path().join("merged_repo/repodata")).record("group").is_none());
    merge(world.path(), &["-r", "a"]);
    assert!(repomd(&world.path().join("merged_repo/repodata")).record("group").is_some());
}

/// createrepo_c 1.2 loses filelists.xml when it is asked for filelists-ext.
#[test]
fn filelists_ext_is_merged_from_those_that_have_it() {
    let world = TempDir::new().unwrap();
    for (name, ext) in [("one", true), ("two", false)] {
        fs::create_dir(world.path().join(name)).unwrap();
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!(
            "tests/fixtures/rpms/built/odd-{}-1.0-1.noarch.rpm",
            if ext { "prereq" } else { "weakdeps" }
        ));
        fs::copy(package, world.path().join(name).join("x.rpm")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
        command
            .args(["createrepo_c", "-q", name])
            .args(ext.then_some("--filelists-ext"))
            .current_dir(world.path());
        assert!(command.status().unwrap().success());
    }
    merge(world.path(), &["-r", "one", "-r", "two", "--filelists-ext"]);
    let repodata = world.path().join("merged_repo/repodata");
    let ext = text(&repodata, "filelists-ext");
    let own = text(&world.path().join("one/repodata"), "filelists-ext");
    let entry =
        own[own.find("<package ").unwrap()..].split_inclusive("</package>").next().unwrap().to_owned();
    assert!(entry.contains("hash=") || !entry.contains("<file>"), "{entry}");
    assert!(ext.contains(&entry), "{ext}");
    assert_eq!(ext.matches("<package ").count(), 2);
    assert_eq!(text(&repodata, "filelists").matches("<package ").count(), 2);
}

#[test]
fn packages_of_one_nevra_stay_in_koji_s_simple_mode_and_are_counted() {
    let world = TempDir::new().unwrap();
    for name in ["a", "b"] {
        repositories::write(&world.path().join(name), &["p 0:1-1 noarch 1 p-1-1.src.rpm"], &[]);
    }
    merge(world.path(), &["-r", "a", "-r", "b", "-k", "--simple"]);
    let primary = text(&world.path().join("merged_repo/repodata"), "primary");
    assert!(primary.contains("packages=\"2\"") && primary.matches("<package ").count() == 2, "{primary}");
}

/// A web server that gives every file of a directory, until it is dropped with the process.
fn serve(directory: &Path) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let len = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let answer = match fs::read(directory.join(path)) {
                Ok(bytes) => [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes(),
                    bytes,
                ]
                .concat(),
                Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
            };
            let _ = std::io::Write::write_all(&mut stream, &answer);
        }
    });
    url
}

#[test]
fn repositories_and_groups_come_from_web_servers_too() {
    let world = TempDir::new().unwrap();
    let far = TempDir::new().unwrap();
    repositories::write(
        &far.path().join("r"),
        &["p 0:1-1 noarch 1 p-1-1.src.rpm"],
        &[("group", "comps.xml.gz", COMPS)],
    );
    repositories::write(&far.path().join("damaged"), &["p 0:1-1 noarch 1 p-1-1.src.rpm"], &[]);
    fs::write(far.path().join("damaged/repodata/primary.xml.gz"), "?").unwrap();
    fs::write(far.path().join("comps.xml"), COMPS).unwrap();
    let url = serve(far.path());
    merge(world.path(), &["-r", &format!("{url}/r/")]);
    let repodata = world.path().join("merged_repo/repodata");
    assert!(
        text(&repodata, "primary")
            .contains(&format!("<location xml:base=\"{url}/r\" href=\"p-1-1.noarch.rpm\"/>"))
    );
    assert_eq!(text(&repodata, "group"), COMPS);
    merge(world.path(), &["-r", &format!("{url}/r"), "-g", &format!("{url}/comps.xml")]);
    assert_eq!(text(&repodata, "group"), COMPS);

    let fails = |arguments: &[&str], why: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
        let output = command.args(arguments).current_dir(world.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(why), "{said}");
    };
    fails(&["mergerepo_c", "-r", &format!("{url}/none")], "404 Not Found");
    fails(&["mergerepo_c", "-r", &format!("{url}/damaged")], "checksum");
    assert_eq!(text(&repodata, "group"), COMPS, "what was there stays");
    assert!(!world.path().join("merged_repo/.repodata").exists(), "and no lock is left");

    fs::create_dir(world.path().join("w")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_createrepod"));
    command.args(["createrepo_c", "-q", "-g", &format!("{url}/comps.xml"), "w"]).current_dir(world.path());
    assert_eq!(command.status().unwrap().code(), Some(0));
    assert_eq!(text(&world.path().join("w/repodata"), "group"), COMPS);
    fails(&["createrepo_c", "-g", &format!("{url}/none.xml"), "w"], "404");
}

#[test]
fn memory_does_not_grow_with_what_is_merged() {
    let world = TempDir::new().unwrap();
    // 60 MB of filelists.
    let files: String = (0..40_000).map(|i| format!("<file>/usr/share/{i:08}</file>")).collect();
    for repository in ["a", "b"] {
        let names: Vec<String> =
            (0..20).map(|i| format!("p{repository}{i} 0:1-1 noarch 1 s-1-1.src.rpm")).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let path = world.path().join(repository);
        repositories::write(&path, &names, &[]);
        repositories::replace(&path, "filelists", |text| text.replace("<file>", &format!("{files}<file>")));
    }
    let peak = |command: &mut Command| {
        let output = command.current_dir(world.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stderr).trim().parse::<u64>().unwrap()
    };
    let script = "import resource, subprocess, sys\nsubprocess.run(sys.argv[1:], check=True)\nprint(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)";
    if crate::world::clients::find("python3").is_none() {
        return;
    }
    let kib = peak(Command::new("python3").args([
        "-c",
        script,
        env!("CARGO_BIN_EXE_createrepod"),
        "mergerepo_c",
        "-r",
        "a",
        "-r",
        "b",
    ]));
    assert_eq!(
        text(&world.path().join("merged_repo/repodata"), "filelists").matches("<package ").count(),
        40
    );
    assert!(kib < 100 << 10, "{kib} KiB for 60 MB of metadata");
}
