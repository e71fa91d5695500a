//! Thousands of damaged files, ours and the clients' parsers' verdicts side by side. What one of theirs refuses we
//! refuse, or dnf and zypper would lose a repository to it; what all of theirs take we take, but for written reasons.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{COMPS, UPDATEINFO, defaults, stream};
use crate::world::clients::modulemd;
use createrepod::repodata::additional::check;

const SCRIPT: &str = include_str!("verdicts.py");

/// Their parsers, as one process that is fed with all cases.
struct Parsers {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Parsers {
    fn start(python: &Path) -> Self {
        let mut child = Command::new(python)
            .args(["-c", SCRIPT])
            .env("PYTHONIOENCODING", "utf-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from: BufReader::new(from) }
    }

    /// Whether all of them take it, and why not; `None` where it ended them.
    fn judge(&mut self, kind: &str, case: &[u8]) -> Option<(bool, String)> {
        writeln!(self.to, "{kind} {}", case.len()).ok()?;
        self.to.write_all(case).ok()?;
        self.to.flush().ok()?;
        let mut line = String::new();
        self.from.read_line(&mut line).ok()?;
        let (marks, why) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
        (!marks.is_empty()).then(|| (!marks.contains('-'), format!("{marks} {why}")))
    }
}

impl Drop for Parsers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbers from a seed, the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % below.max(1)
    }

    /// Damages a file in one to three places.
    fn damage(&mut self, file: &[u8], words: &[&[u8]], marks: &[u8]) -> Vec<u8> {
        let mut file = file.to_vec();
        for _ in 0..=self.roll(3) {
            let mut at = self.roll(file.len() + 1);
            if self.roll(3) > 0 {
                // Where something begins or ends.
                at = (at..file.len()).find(|&at| marks.contains(&file[at])).unwrap_or(at) + self.roll(2);
                at = at.min(file.len());
            }
            let end = (at + 1 + self.roll(8)).min(file.len());
            match self.roll(12) {
                0 => drop(file.drain(at..end)),
                1 => {
                    let again = file[at..end].to_vec();
                    file.splice(at..at, again);
                }
                2 => file.truncate(at),
                3 if at < file.len() => file[at] ^= 0x20,
                4 if at < file.len() => file[at] = self.roll(256) as u8,
                5 => {
                    let word = words[self.roll(words.len())];
                    let at = if self.roll(2) == 0 { 0 } else { file.len() };
                    file.splice(at..at, word.iter().copied());
                }
                6 => {
                    let word = words[self.roll(words.len())];
                    file.splice(at..end, word.iter().copied());
                }
                7 => {
                    // A line twice, or gone.
                    let from = file[..at].iter().rposition(|b| *b == b'\n').map_or(0, |found| found + 1);
                    let to = file[at..]
                        .iter()
                        .position(|b| *b == b'\n')
                        .map_or(file.len(), |found| at + found + 1);
                    let line = if self.roll(2) == 0 { Vec::new() } else { file[from..to].repeat(2) };
                    file.splice(from..to, line);
                }
                _ => {
                    let word = words[self.roll(words.len())];
                    file.splice(at..at, word.iter().copied());
                }
            }
        }
        file
    }
}

/// How many cases of each kind; more by hand: CREATEREPOD_MUTATIONS=50000.
fn cases() -> usize {
    std::env::var("CREATEREPOD_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000)
}

/// Has both judge `cases` damaged files; `reasons` are those for which we refuse what they take.
fn compare(kind: &str, name: &str, files: &[Vec<u8>], words: &[&[u8]], marks: &[u8], reasons: &[&str]) {
    let Some(python) = modulemd() else { return };
    let mut parsers = Parsers::start(&python);
    let (mut dice, mut wrong) = (Dice(0x5eed), String::new());
    let (mut taken, mut refused, mut stricter, mut ended) = (0, 0, 0, 0);
    let whole = files.iter().cloned();
    let mut damaged = Vec::new();
    for index in 0..cases() {
        damaged.push(dice.damage(&files[index % files.len()], words, marks));
    }
    for case in whole.chain(damaged) {
        let ours = check(if kind == "modules" { "modules" } else { "appstream" }, name, &case[..]);
        // What ended it may have been a case before: whoever starts anew knows.
        let judged = parsers.judge(kind, &case).or_else(|| {
            parsers = Parsers::start(&python);
            parsers.judge(kind, &case)
        });
        let Some((takes, why)) = judged else {
            // A file that ends a client is one that must not be published.
            parsers = Parsers::start(&python);
            ended += 1;
            if ours.is_ok() {
                let _ = writeln!(wrong, "it ends their parser:\n{}\n", String::from_utf8_lossy(&case));
            }
            continue;
        };
        match (ours, takes) {
            (Ok(()), true) => taken += 1,
            (Err(_), false) => refused += 1,
            (Ok(()), false) => {
                let _ = writeln!(wrong, "only they refuse it ({why}):\n{}\n", String::from_utf8_lossy(&case));
            }
            (Err(error), true) if reasons.iter().any(|reason| error.to_string().contains(reason)) => {
                stricter += 1;
            }
            (Err(error), true) => {
                let _ = writeln!(wrong, "only we refuse it ({error}):\n{}\n", String::from_utf8_lossy(&case));
            }
        }
    }
    eprintln!(
        "{kind}: both take {taken}, both refuse {refused}, {ended} end them, {stricter} only we refuse for a written reason"
    );
    if let Ok(path) = std::env::var("CREATEREPOD_MUTATIONS_LOG") {
        std::fs::write(format!("{path}.{kind}"), &wrong).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.chars().take(4000).collect::<String>());
    assert!(taken > cases() / 20 && refused > cases() / 4, "{taken} taken, {refused} refused");
}

#[test]
fn damaged_xml_is_judged_as_expat_and_libxml2_judge_it() {
    let words: &[&[u8]] = &[
        b"\n",
        b" ",
        b"<?xml version=\"1.0\"?>",
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
        b"&nbsp;",
        b"&amp;",
        b"&",
        b"<!-- a -- b -->",
        b"<!-- a -->",
        b"<!-- --->",
        b"<!",
        b"--",
        b"-->",
        b" id=\"1\" id=\"2\"",
        b" id='1'",
        b"id=\"1\"",
        b"&#0;",
        b"&#x1F600;",
        b"&#xD800;",
        b"&#65;",
        b"&#x110000;",
        b"&#;",
        b"<a/>",
        b"<a>",
        b"</a>",
        b"<1a/>",
        b"<a:b/>",
        b"<:a/>",
        b"]]>",
        b"<![CDATA[",
        b"<![CDATA[ x ]]>",
        b"\xff",
        b"\xc3",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\xef\xbf\xbe",
        b"\xef\xbb\xbf",
        b"\0",
        b"\x01",
        b"\x7f",
        b"\xc2\x85",
        b"<",
        b">",
        b"\"",
        b"'",
        b"=",
        b"/",
        b"x",
        b"<?p q?>",
        b"<?p",
        b"?>",
        b"<?xml",
        b"<!DOCTYPE a>",
        b"<!DOCTYPE updates SYSTEM \"u.dtd\">",
        b"<!DOCTYPE a [<!ENTITY b \"c\">]>",
        b"encoding=\"utf8\"",
        b"encoding=\"latin1\"",
        b" encoding=\"US-ASCII\"",
        b" standalone=\"yes\"",
        b"1.1",
        b"utf-8",
        b"<UPDATE>",
        b"</Updates>",
        b"\r",
        b"\r\n",
        b"\t",
        b";",
        b"#",
        b"<b c=\"<\"/>",
    ];
    let odd = "<?xml version='1.0' encoding='utf-8' standalone='no' ?>\n<!-- x --><!DOCTYPE a SYSTEM 'a.dtd' >\n<a>\n  \
               <b c='1' d = \"é&#10;&lt;\" xml:lang='de'/><![CDATA[<x>&y;]]>z &amp; <?p q?></a>\n<!-- end -->\n";
    let files = [COMPS, UPDATEINFO, odd].map(|text| text.as_bytes().to_vec());
    compare(
        "xml",
        "appstream.xml",
        &files,
        words,
        b"<>\"'= /?&;",
        &[
            "no name that every client reads",
            "its encoding is",
            "its version of XML is",
            "it is not UTF-8",
            "it declares entities",
            "stands for nothing",
        ],
    );
}

#[test]
fn damaged_modules_are_judged_as_libmodulemd_judges_them() {
    let words: &[&[u8]] = &[
        b"\t",
        b"\n",
        b" ",
        b"  ",
        b"-",
        b"- ",
        b": ",
        b":",
        b"---\n",
        b"...\n",
        b"&a ",
        b"*a",
        b"!t ",
        b"!!str ",
        b"!<",
        b"%YAML 1.1\n---\n",
        b"%YAML 2.0\n---\n",
        b"%TAG ! x\n",
        b"%",
        b"'",
        b"\"",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b"[a]",
        b"{a: b}",
        b"#",
        b" # x\n",
        b"|\n",
        b">\n",
        b"|",
        b"? ",
        b"\x7f",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xc2\x80",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
        b"\r",
        b"\r\n",
        b"@",
        b"`",
        b"\\",
        b"\\x",
        b"~",
        b"null",
        b"true",
        b"1.10",
        b"0",
        b"-1",
        b"99999999999999999999",
        b"  xmd: [a]\n",
        b"  xmd: x\n",
        b"  xmd: {a: [b, {c: d}]}\n",
        b"  xmd:\n",
        b"  foo: bar\n",
        b"  name: x\n",
        b"  arch: [x]\n",
        b"  version: x\n",
        b"  stream: 1\n",
        b"  eol: 2020-01-01\n",
        b"document: modulemd\n",
        b"version: 1\n",
        b"version: 3\n",
        b"data:\n",
        b"  dependencies:\n  - requires:\n      a: [b]\n",
        b"  artifacts:\n    rpms:\n    - a-0:1-1.noarch\n",
        b"  api:\n    rpms: [a]\n",
        b"  buildopts:\n    rpms:\n      macros: x\n",
        b"  components:\n    rpms:\n      a:\n        rationale: x\n",
        b"  servicelevels:\n    ga:\n      eol: 2030-01-01\n",
        b"  context: a-b\n",
        b"  modified: x\n",
        b"  intents:\n    a:\n      stream: b\n",
        b"unknown: x\n",
    ];
    let rich = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: rich\n  stream: \"1\"\n  version: 20240101\n  context: c0ffee42\n  \
        arch: x86_64\n  summary: A rich module\n  description: >-\n    Some text\n    in lines\n  license:\n    module:\n    - MIT\n    content: [GPL]\n  \
        xmd:\n    a: {b: [c, d]}\n  dependencies:\n  - buildrequires:\n      platform: [el9]\n    requires:\n      platform: []\n  references:\n    \
        community: https://example.com\n  profiles:\n    default:\n      description: x\n      rpms: [a, b]\n  api:\n    rpms:\n    - a\n  filter:\n    \
        rpms: [z]\n  buildopts:\n    rpms:\n      macros: |\n        %x 1\n      whitelist: [q]\n    arches: [x86_64]\n  components:\n    rpms:\n      a:\n        \
        rationale: why\n        ref: main\n        buildorder: 1\n        arches: [x86_64]\n    modules:\n      m:\n        rationale: y\n        ref: r\n  \
        artifacts:\n    rpms:\n    - a-0:1.0-1.x86_64\n...\n";
    let others = "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  modified: 2020-01-01T00:00Z\n  module: m\n  stream: s\n  message: x\n  \
        eol_date: 2021-01-01T00:00Z\n  obsoleted_by:\n    module: n\n    stream: t\n...\n---\ndocument: modulemd-translations\nversion: 1\ndata:\n  \
        module: m\n  stream: s\n  modified: 202001010000\n  translations:\n    de:\n      summary: x\n      profiles: {a: b}\n...\n";
    let intents = format!(
        "{}{}",
        defaults("a"),
        "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: b\n  stream: x\n  profiles:\n    x: [p]\n  \
        intents:\n    server:\n      stream: y\n      profiles:\n        y: [q]\n...\n"
    );
    let files = [stream("walrus", 1), rich.to_owned(), others.to_owned(), intents].map(String::into_bytes);
    compare(
        "modules",
        "modules.yaml",
        &files,
        words,
        b"\n:-[]{},\"' ",
        &[
            "it is not UTF-8",
            "is a line break to some readers",
            "an alias (*name)",
            "stands there twice",
            "nested deeper",
            // A name, or what it must be, left empty: of no use to any client.
            "is missing",
            "expected a value, found nothing",
            "expected letters, digits and _ only",
            // libmodulemd takes some of one value for a list of one, and nothing for an empty table, depending on
            // the place.
            "expected a list, found",
            "expected a table, found",
            "expected a text, found",
            "expected a package as in",
            "expected a time as in",
            "expected a day as in",
            "the character U+FEFF is not allowed",
            "%TAG",
            "as a key",
        ],
    );
}
