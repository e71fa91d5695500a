//! Words and sizes that are meant to do harm: in a header, a file's name, a URL, and metadata of others.

use std::fs;
use std::io::Write as _;

use crate::world::daemon::configuration;
use crate::world::header::{HeaderWriter, preamble};
use crate::world::{Daemon, PATIENCE, Rpm, Tree, eventually, http};

const HEAVY_MIB: u64 = 512;

/// The most memory it has had, in MiB.
fn peak_mib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// A header that says what a package must, but for its name and its summary.
fn saying(name: &str, summary: &[u8]) -> Vec<u8> {
    let mut header = HeaderWriter::default();
    header.strings(100, &[b"C"]);
    for (tag, text) in [(1000, name), (1001, "1.0"), (1002, "1")] {
        header.string(tag, text.as_bytes());
    }
    header.strings(1004, &[summary]).strings(1005, &[summary]);
    header.int32(1006, &[1_700_000_000]);
    for (tag, text) in [(1014, "]]><evil/>"), (1022, "noarch"), (1044, "source-1.0-1.src.rpm")] {
        header.string(tag, text.as_bytes());
    }
    header.package(b"")
}

#[test]
fn words_of_packages_files_and_urls_stay_words_on_pages_in_logs_headers_and_xml() {
    const SCRIPT: &str = "<script>alert(1)</script>";
    let forged = "\n2026-01-01T00:00:00.000000Z ERROR forged line";
    let tree = Tree::new();
    let log = tree.beside("access.log");
    let server = format!("access_log = \"{}\"", log.display());
    let daemon = Daemon::serve_config(&configuration(&tree, &server, ""), "/rpm/");
    let summary = format!("{SCRIPT}</summary><package>\r\nX-Evil: 1{forged}\u{1}]]>\"'&");
    tree.write("a.rpm", &saying("a<img src=x onerror=alert(1)>", summary.as_bytes()));
    tree.write("<img src=x onerror=alert(1)>.rpm", &Rpm::new("named").build());
    tree.write(format!("bad{forged}.rpm"), b"no package");
    tree.write(format!("{SCRIPT}.d/b.rpm").replace('/', "_"), &Rpm::new("b").build());
    // The strict reader takes the XML apart.
    daemon.until("both", |metadata| metadata.packages.len() >= 2);
    eventually(PATIENCE, "the bad one is named", || daemon.log().contains("bad").then_some(()));

    let split = "%0d%0aX-Evil:%201%0d%0a%0d%0a%3Cscript%3Ealert(1)%3C/script%3E";
    for (method, path) in [
        ("GET", "/rpm/".to_owned()),
        ("GET", "/".to_owned()),
        ("GET", "/rpm/?sort=%3Cscript%3Ealert(1)%3C/script%3E".to_owned()),
        ("GET", format!("/rpm/{split}")),
        ("GET", format!("/rpm/{split}/")),
        ("GET", format!("/rpm{split}")),
        ("PUT", format!("/rpm/{split}.rpm")),
        ("DELETE", format!("/rpm/{split}.rpm")),
        ("MKCOL", format!("/rpm/{split}")),
        ("PROPFIND", "/rpm/".to_owned()),
        ("GET", "/-/status".to_owned()),
        ("GET", "/-/metrics".to_owned()),
    ] {
        for accept in ["text/html", "text/plain", "application/json"] {
            let body = (method == "PUT").then_some(&b"x"[..]);
            let user = "x\" \"forged";
            let answer = http::send(
                daemon.address(),
                method,
                &path,
                &[("Accept", accept), ("User-Agent", user)],
                body,
            );
            assert!(answer.header("X-Evil").is_none(), "{method} {path}: {:?}", answer.headers);
            let is_page = answer
                .header("Content-Type")
                .is_some_and(|kind| kind.contains("html") || kind.contains("xml"));
            let text = answer.text();
            if is_page {
                assert!(
                    !text.contains("<script>alert") && !text.contains("<img src=x"),
                    "{method} {path}: {text}"
                );
            }
            assert_ne!(answer.status, 500, "{method} {path}: {text}");
        }
    }
    for path in
        ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "a%00.rpm", "../..", "a/%2E./../%2e%2e/b"]
    {
        for method in ["GET", "PUT", "DELETE", "MKCOL", "PROPFIND"] {
            let body = (method == "PUT").then_some(&b"x"[..]);
            let answer = http::send(daemon.address(), method, &format!("/rpm/{path}"), &[], body);
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
        }
    }
    let forgeries = |text: &str| {
        text.lines().filter(|line| line.starts_with("2026-01-01T00:00:00.000000Z ERROR forged")).count()
    };
    assert_eq!(forgeries(&daemon.log()), 0, "{}", daemon.log());
    let access = fs::read_to_string(&log).unwrap();
    assert!(!access.is_empty() && access.lines().all(|line| line.starts_with("127.0.0.1 ")), "{access}");
    assert!(!access.contains("x\" \"forged"), "a quote ends no field: {access}");
    daemon.stop();
}

#[test]
fn what_headers_claim_costs_no_memory() {
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let before = peak_mib(&daemon);
    let lead = &Rpm::new("x").build()[..96];
    for (name, claim) in [
        ("store", preamble(1, u32::MAX)),
        ("index", preamble(u32::MAX, 16)),
        ("both", preamble(0x0fff_ffff, 0xffff_0000)),
        ("largest", preamble(65535, 256 << 20)),
    ] {
        let bytes = [lead, &claim, &[0; 4096]].concat();
        let refused = daemon.put(&format!("{name}.rpm"), &bytes);
        assert!(matches!(refused.status, 400 | 422), "{name}: {} {}", refused.status, refused.text());
        tree.write(format!("dropped-{name}.rpm"), &bytes);
    }
    eventually(PATIENCE, "the dropped ones are rejected", || {
        (crate::world::daemon::rejected(&daemon.status()).len() == 4).then_some(())
    });
    let grown = peak_mib(&daemon) - before;
    assert!(grown < 64, "{grown} MiB for headers that hold nothing");
    daemon.stop();
}

#[test]
fn a_million_dependencies_stay_within_the_memory_of_one_package() {
    let names: Vec<String> = (0..1_000_000).map(|number| format!("d{number}")).collect();
    let relations: Vec<(&[u8], u32, &[u8])> =
        names.iter().map(|name| (name.as_bytes(), 0, &b""[..])).collect();
    let mut header = HeaderWriter::minimal("million");
    header.relations([1047, 1112, 1113], &relations);
    let package = header.package(b"");
    let tree = Tree::new();
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&[]);
    let before = peak_mib(&daemon);
    let answer = daemon.put("million.rpm", &package);
    assert!(matches!(answer.status, 201 | 400), "{} {}", answer.status, answer.text());
    assert_eq!(daemon.put_and_wait("b.rpm", &Rpm::new("b").build()).status, 201);
    daemon.until("the other one", |metadata| metadata.has("b.rpm"));
    let grown = peak_mib(&daemon) - before;
    assert!(grown < HEAVY_MIB, "{grown} MiB for one package");
    daemon.stop();
}

#[test]
fn metadata_of_others_that_swell_are_given_up_without_memory() {
    let tree = Tree::new();
    tree.add(&Rpm::new("a"));
    // Two GiB of spaces in some 200 KB.
    let bomb = |before: &str| {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(before.as_bytes()).unwrap();
        let block = vec![b' '; 1 << 20];
        for _ in 0..2048 {
            encoder.write_all(&block).unwrap();
        }
        encoder.finish().unwrap()
    };
    let primary = bomb("<metadata xmlns=\"http://linux.duke.edu/metadata/common\" packages=\"1\">");
    let sum = crate::world::metadata::digest("sha256", &primary).unwrap();
    tree.write("repodata/primary.xml.zst", &primary);
    let record = |kind: &str| {
        format!(
            "<data type=\"{kind}\"><checksum type=\"sha256\">{sum}</checksum><location href=\"repodata/primary.xml.zst\"/>\
             <timestamp>1</timestamp><size>{}</size></data>",
            primary.len()
        )
    };
    let records: String = ["primary", "filelists", "other"].iter().map(|kind| record(kind)).collect();
    let repomd = format!(
        "<repomd xmlns=\"http://linux.duke.edu/metadata/repo\"><revision>1</revision>{records}</repomd>"
    );
    tree.write("repodata/repomd.xml", repomd.as_bytes());
    tree.write("comps.xml.zst", &bomb("<comps>"));
    let daemon = Daemon::serve(&tree);
    daemon.until_exactly(&["a-1.0-1.noarch.rpm"]);
    eventually(PATIENCE, "the groups are refused", || daemon.log().contains("comps.xml.zst").then_some(()));
    assert_eq!(daemon.put_and_wait("b.rpm", &Rpm::new("b").build()).status, 201);
    let peak = peak_mib(&daemon);
    assert!(peak < HEAVY_MIB / 2, "{peak} MiB at the peak");
    daemon.stop();
}
