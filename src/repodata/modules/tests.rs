use super::*;

const STREAM: &str = "---
document: modulemd
version: 2
data:
  name: walrus
  stream: \"5.10\"
  version: 1
  context: c0ffee
  arch: x86_64
  summary: Walrus 5.10
  description: >-
    A module for testing
  license:
    module: [MIT]
  artifacts:
    rpms:
    - walrus-0:5.21-1.noarch
";

fn read(text: &str) -> Modules {
    Modules::read(text.as_bytes()).unwrap()
}

fn refused(text: &str) -> String {
    Modules::read(text.as_bytes()).unwrap_err().to_string()
}

fn written(modules: &Modules) -> String {
    let mut text = Vec::new();
    modules.write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn merged(files: &[&str]) -> Modules {
    let mut merged = Modules::default();
    for file in files {
        merged.merge(read(file)).unwrap();
    }
    merged
}

fn defaults(modified: u32, stream: &str, profiles: &str) -> String {
    format!(
        "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: walrus\n  modified: {modified}\n  \
         stream: {stream:?}\n  profiles:\n    {profiles}\n...\n"
    )
}

#[test]
fn documents_are_carried_through_as_they_were_written() {
    let file = format!("# a licence\n%YAML 1.2\n{STREAM}  # a comment\n...\n# the end");
    assert_eq!(written(&read(&file)), format!("{STREAM}  # a comment\n...\n"));
    // No marker at all, and no newline at the end.
    let bare = STREAM.strip_prefix("---\n").unwrap().trim_end();
    assert_eq!(written(&read(bare)), format!("{STREAM}...\n"));
    assert_eq!(written(&read(&written(&read(&file)))), written(&read(&file)));
    assert!(read("# nothing\n\n").is_empty());
}

#[test]
fn one_stream_stands_there_once_and_in_order() {
    let second = STREAM.replace("version: 1\n", "version: 2\n");
    let other = STREAM.replace("name: walrus", "name: aardvark");
    let all = merged(&[&second, &other, STREAM, STREAM]);
    assert_eq!(written(&all), format!("{other}...\n{STREAM}...\n{second}...\n"));
    // What is laid out otherwise says the same.
    let relaid = STREAM.replace("module: [MIT]", "module:\n    - \"MIT\"");
    assert_eq!(merged(&[STREAM]).clone().merge(read(&relaid)).unwrap(), []);
}

#[test]
fn the_first_of_two_files_wins_where_streams_differ_and_the_other_is_named() {
    let changed = STREAM.replace("summary: Walrus", "summary: Seal");
    let mut modules = read(STREAM);
    let passed_over = modules.merge(read(&changed)).unwrap();
    assert_eq!(passed_over, [PassedOver("walrus:5.10:1:c0ffee:x86_64".into())]);
    assert_eq!(modules, read(STREAM));
    let error = refused(&format!("{STREAM}...\n{changed}"));
    assert!(error.contains("line 20: walrus:5.10:1:c0ffee:x86_64 stands there twice"), "{error}");
}

#[test]
fn younger_defaults_win_and_what_only_one_says_holds() {
    let old = defaults(1, "5.10", "\"5.10\": [default]");
    let new = defaults(2, "6", "\"6\": [server]");
    for files in [[&old, &new], [&new, &old]] {
        let text = written(&merged(&[files[0], files[1]]));
        assert!(text.contains("modified: 2") && text.contains("stream: \"6\""), "{text}");
        assert!(text.contains("\"5.10\": [\"default\"]") && text.contains("\"6\": [\"server\"]"), "{text}");
        assert_eq!(written(&read(&text)), text, "what is written is read back");
    }
}

#[test]
fn defaults_of_one_age_leave_no_default_stream_where_they_disagree() {
    let text = written(&merged(&[&defaults(1, "5.10", "x: [a]"), &defaults(1, "6", "x: [a]")]));
    assert!(!text.contains("  stream:"), "{text}");
    let settled = written(&merged(&[
        &defaults(1, "5.10", "x: [a]"),
        &defaults(1, "6", "x: [a]"),
        &defaults(2, "7", "x: [a]"),
    ]));
    assert!(settled.contains("stream: \"7\""), "{settled}");
    let mut modules = read(&defaults(1, "6", "x: [a]"));
    let before = modules.clone();
    let error = modules.merge(read(&defaults(1, "6", "x: [b]"))).unwrap_err().to_string();
    assert!(error.contains("walrus") && error.contains("modified: 1"), "{error}");
    assert_eq!(modules, before, "a merge that fails changes nothing");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    for (from, to, why) in [
        ("  name: walrus\n", "", "line 5: data.name is missing"),
        ("version: 1\n", "version: x\n", "line 7: data.version: expected a whole number, found \"x\""),
        ("document: modulemd", "document: foo", "line 2: \"foo\" is no document of modulemd"),
        ("document: modulemd", "document: modulemd-packager", "is built from"),
        ("version: 2", "version: 4", "version 4 of modulemd is none that clients know"),
        ("[MIT]", "MIT", "line 14: data.license.module: expected a list, found \"MIT\""),
        ("walrus-0:5.21-1.noarch", "walrus", "line 17: data.artifacts.rpms: expected a package as in"),
        ("  stream:", "  name:", "line 6: \"name\" stands there twice"),
        ("arch: x86_64", "arch: [x86_64", "line 1"),
        ("arch: x86_64", "arch: *a", "line 9"),
        ("summary: Walrus", "summary: Wal\u{7f}rus", "line 10: the character U+007F"),
        ("summary: Walrus", "summary: Wal\u{2028}rus", "line 10: the character U+2028"),
        ("  arch:", "  xmd: [a]\n  arch:", "line 9: data.xmd: expected a table, found a list"),
        ("---\n", "%TAG ! x\n---\n", "line 1: "),
    ] {
        let error = refused(&STREAM.replacen(from, to, 1));
        assert!(error.starts_with("malformed modules.yaml: ") && error.contains(why), "{to}: {error}");
    }
    assert!(refused("--- hello\n").contains("line 1: it has no document:"));
    assert!(refused("---\n...\n").contains("it has no document:"));
    let error = Modules::read(&b"a: 1\nb: \xff\n"[..]).unwrap_err().to_string();
    assert!(error.contains("line 2: it is not UTF-8"), "{error}");
}

#[test]
fn an_alias_bomb_expands_to_nothing() {
    let mut bomb =
        String::from("---\ndocument: modulemd\nversion: 2\ndata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..40 {
        let before = i - 1;
        bomb.push_str(&format!("  a{i}: &a{i} [*a{before}, *a{before}, *a{before}, *a{before}]\n"));
    }
    let error = refused(&bomb);
    assert!(error.contains("line 6: an alias"), "{error}");
}

#[test]
fn nesting_has_an_end() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = format!("---\nx: {}{}\n", open.repeat(100_000), close.repeat(100_000));
        let error = refused(&deep);
        assert!(error.contains("nested deeper than 64") || error.contains("recursion"), "{error}");
    }
    let mut deep = String::from("---\n");
    (0..5000).for_each(|level| deep.push_str(&format!("{}a:\n", " ".repeat(level))));
    assert!(refused(&deep).contains("nested deeper than 64"));
    assert!(refused(&format!("---\n{}x\n", "- ".repeat(100_000))).contains("nested deeper than 64"));
}

#[test]
fn the_files_of_a_repository_are_bounded_together() {
    let padding = format!("#{}\n", "x".repeat(1 << 20));
    let file = |name: &str| {
        read(&format!("{}...\n{}", STREAM.replace("walrus\n", &format!("{name}\n")), padding.repeat(40)))
    };
    let mut merged = file("a");
    let before = merged.clone();
    let error = merged.merge(file("b")).unwrap_err().to_string();
    assert!(error.contains("all module files together are longer than 67108864 bytes"), "{error}");
    assert_eq!(merged, before);
}

#[test]
fn a_hundred_thousand_obsoletes_are_merged_one_by_one() {
    // Each was once compared with all before it: ten thousand million comparisons.
    let mut file = String::new();
    for stream in 0..99_999 {
        file.push_str(&format!(
            "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  modified: 2020-01-01T00:00Z\n  module: m\n  \
             stream: s{stream}\n  message: x\n"
        ));
    }
    let modules = read(&file);
    let mut twice = modules.clone();
    twice.merge(modules.clone()).unwrap();
    assert_eq!(twice, modules);
    let error = refused(&format!("{file}{file}"));
    assert!(error.contains("more than 100000 documents"), "{error}");
}

#[test]
fn the_normal_form_is_what_libmodulemd_writes() {
    // The second file is what libmodulemd 2.14 makes of the first.
    let modules = read(include_str!("tests/written.yaml"));
    let normal = |modules: &Modules| {
        let mut text = Vec::new();
        modules.write_normal(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let text = normal(&modules);
    assert_eq!(text, include_str!("tests/normal.yaml"));
    assert_eq!(normal(&read(&text)), text, "what is written is written the same again");
}

#[test]
fn what_libmodulemd_refuses_is_refused_and_strictly_what_it_does_not_know() {
    let requires = |streams: &str| {
        let dependencies = format!("  dependencies:\n  - requires: {{platform: {streams}}}\n");
        format!("{STREAM}{dependencies}")
    };
    assert!(refused(&requires("[f30, -f28]")).contains("either streams that are wanted"));
    read(&requires("[-f30, -f28]"));
    read(&requires("[]"));
    assert!(refused(&STREAM.replace("[MIT]", "[]")).contains("data.license.module"));
    read(&STREAM.replace("Walrus 5.10", "''"));
    let map = "    rpm-map: {sha256: {ab: {name: a, epoch: 0, version: 1, release: 1, arch: x}}}\n";
    assert!(refused(&format!("{STREAM}{map}")).contains("nevra is missing"));
    let obsoletes = "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  modified: 2020-01-01T00:00Z\n  module: a\n  \
                     stream: b\n  message: c\n  reset: true\n";
    read(obsoletes);
    assert!(refused(&format!("{obsoletes}  eol_date: 2021-01-01T00:00Z\n")).contains("no eol_date"));

    let strictly =
        |text: &str| Modules::read_strictly(text.as_bytes()).map(drop).map_err(|error| error.to_string());
    let first = STREAM.replace("version: 2", "version: 1");
    for known in [STREAM.to_owned(), format!("{STREAM}beside: 1\n"), format!("{first}  eol: 2030-01-01\n")] {
        strictly(&known).unwrap();
    }
    for (base, strange) in [
        (STREAM, "  strange: 1\n"),
        (STREAM, "  profiles: {a: {strange: 1}}\n"),
        (STREAM, "  components: {modules: {a: {rationale: x, strange: 1}}}\n"),
        (STREAM, "  dependencies: [{strange: {a: [b]}}]\n"),
        (first.as_str(), "  strange: 1\n"),
        (first.as_str(), "  dependencies: {strange: {a: b}}\n"),
    ] {
        read(&format!("{base}{strange}"));
        assert!(
            strictly(&format!("{base}{strange}")).unwrap_err().contains("\"strange\" is not known"),
            "{strange}"
        );
    }
    assert!(strictly(&format!("{first}  static_context: true\n")).is_err());
}

#[test]
fn texts_that_are_folded_say_the_same_when_they_are_read_again() {
    let description = |text: &str| {
        STREAM.replace(">-\n    A module for testing", &format!("{text:?}").replace("\\u{e000}", "\\uE000"))
    };
    for text in [
        "a\n b",
        "a\n\n b\nc d\n\n\ne",
        "a\nx y",
        "a\n\tb",
        "a \nb",
        " a\nb",
        "a\u{e000}\n\nb",
        "\u{1f600}\n b",
        "",
    ] {
        let modules = read(&description(text));
        let mut normal = Vec::new();
        modules.write_normal(&mut normal).unwrap();
        let again = Modules::read(&normal[..]).unwrap();
        let said = |modules: &Modules| {
            let stream = modules.by_name["walrus"].streams.values().next().unwrap().clone();
            let mut said = None;
            yaml::read(stream.text.as_str(), |document| {
                said = document
                    .root
                    .get("data")
                    .and_then(|data| data.get("description")?.text().map(str::to_owned));
                Ok(())
            })
            .unwrap();
            said.unwrap()
        };
        assert_eq!(said(&again), text, "{}", String::from_utf8_lossy(&normal));
    }
}
