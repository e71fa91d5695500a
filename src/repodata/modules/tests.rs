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
        ("---\n", "%TAG ! x\n---\n", "line 1: the directive"),
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
