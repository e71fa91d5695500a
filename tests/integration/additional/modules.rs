//! Modules beside libmodulemd, which merges them for createrepo_c and reads them for dnf.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{defaults, files_below, stream, text, walrus};
use crate::world::clients::{modulemd, modules_merged as theirs, output};
use crate::world::daemon::run;
use crate::world::{Metadata, Tree, shared, skipped};
use createrepod::repodata::Modules;

fn ours(files: &[PathBuf]) -> Result<String, String> {
    let mut merged = Modules::default();
    for file in files {
        let modules = Modules::read(fs::File::open(file).unwrap()).map_err(|error| error.to_string())?;
        merged.merge(modules).map_err(|error| error.to_string())?;
    }
    let mut text = Vec::new();
    merged.write(&mut text).unwrap();
    Ok(String::from_utf8(text).unwrap())
}

/// Ours, as libmodulemd understands it, must be what libmodulemd makes of the files itself.
fn compare(python: &Path, tree: &Tree, files: &[PathBuf]) -> Result<(), String> {
    let expected = theirs(python, files)?;
    let ours = ours(files).map_err(|why| format!("only we refuse it: {why}"))?;
    let written = tree.write_beside("ours.yaml", ours.as_bytes());
    let read_back = theirs(python, &[written]).map_err(|why| format!("ours is refused: {why}\n{ours}"))?;
    assert_eq!(read_back, expected, "{files:?}\nours:\n{ours}");
    Ok(())
}

#[test]
fn real_module_files_say_to_libmodulemd_what_they_said_before() {
    let Some(python) = modulemd() else { return };
    let Some(shared) = shared() else {
        return skipped("the corpus of real metadata is not here (CREATEREPOD_SHARED)");
    };
    let mut files = Vec::new();
    files_below(&shared.join("corpus/repodata"), &mut files);
    files.retain(|path| path.to_str().unwrap().contains(".yaml"));
    let tree = Tree::new();
    let (mut equal, mut refused, mut only_ours, mut only_theirs) = (0, Vec::new(), Vec::new(), Vec::new());
    for path in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(path).unwrap();
        let plain = if bytes.starts_with(&[0x1f, 0x8b]) {
            output(Command::new("gzip").arg("-dc").arg(path)).into_bytes()
        } else {
            bytes
        };
        let copy = tree.write_beside(format!("in-{}.yaml", name.replace('.', "-")), &plain);
        match (compare(&python, &tree, std::slice::from_ref(&copy)), ours(std::slice::from_ref(&copy))) {
            (Ok(()), _) => equal += 1,
            (Err(why), Ok(text)) if text.is_empty() => refused.push((path, why)),
            (Err(why), Ok(_)) => only_theirs.push((path, why)),
            (Err(why), Err(_)) if why.starts_with("only we refuse it") => only_ours.push((path, why)),
            (Err(why), Err(_)) => refused.push((path, why)),
        }
    }
    eprintln!("{equal} equal; both refuse {}; only we refuse {only_ours:#?}", refused.len());
    assert!(only_theirs.is_empty(), "libmodulemd refuses what we take: {only_theirs:#?}");
    assert!(equal >= 40, "{equal} equal; refused: {refused:#?}; only by us: {only_ours:#?}");
    assert!(only_ours.len() <= 3, "{only_ours:#?}");
}

#[test]
fn createrepo_c_merges_the_modules_it_finds_and_update_keeps_those_it_found_before() {
    let tree = Tree::new();
    tree.add(&walrus("1.0"));
    tree.write("el9/walrus.modulemd.yaml", stream("walrus", 1).as_bytes());
    tree.write("modules.yaml", (stream("walrus", 1) + &stream("dugong", 2) + &defaults("walrus")).as_bytes());
    let createrepo_c = |options: &[&str], code: i32| {
        let done = run(["createrepo_c"].iter().chain(options).chain(&[tree.root().to_str().unwrap()]));
        assert_eq!(done.status.code(), Some(code), "{}{}", done.stdout, done.stderr);
        let metadata = Metadata::from_tree(tree.root()).unwrap();
        let found = metadata.records.contains_key("modules").then(|| text(&tree, &metadata, "modules"));
        (found.unwrap_or_default(), done.stdout + &done.stderr)
    };
    let names = |text: &str| {
        ["modulemd-defaults", "name: dugong", "name: walrus", "name: seal"]
            .map(|part| text.matches(part).count())
    };
    let (first, _) = createrepo_c(&["--compress-type", "gz"], 0);
    assert_eq!(names(&first), [1, 1, 1, 0], "{first}");
    tree.remove("modules.yaml");
    tree.write("seal.modulemd.yaml", stream("seal", 1).as_bytes());
    let (updated, _) = createrepo_c(&["--update"], 0);
    assert_eq!(names(&updated), [1, 1, 1, 1], "{updated}");
    let (discarded, _) = createrepo_c(&["--update", "--discard-additional-metadata"], 0);
    assert_eq!(names(&discarded), [0, 0, 1, 1], "{discarded}");
    tree.write("seal.modulemd.yaml", b"---\ndocument: [modulemd]\n");
    // Nothing is published without them: their packages would be offered to everybody.
    let (broken, said) = createrepo_c(&[], 1);
    assert_eq!(broken, discarded, "{said}");
    assert!(said.contains("seal.modulemd.yaml: malformed modules.yaml: line 2"), "{said}");
    let (excluded, _) = createrepo_c(&["--excludes", "*.yaml"], 0);
    assert_eq!(excluded, "");
}

#[test]
fn files_are_merged_as_libmodulemd_merges_them() {
    let Some(python) = modulemd() else { return };
    let stream = |version: u32, summary: &str| {
        format!(
            "---\ndocument: modulemd\nversion: 2\ndata:\n  name: a\n  stream: \"1\"\n  version: {version}\n  context: c\n  \
             arch: x86_64\n  summary: {summary}\n  description: d\n  license:\n    module: [MIT]\n...\n"
        )
    };
    let defaults = |modified: u32, stream: &str, profiles: &str| {
        format!(
            "---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: a\n  modified: {modified}\n  stream: \"{stream}\"\n  \
             profiles: {{{profiles}}}\n  intents:\n    server:\n      stream: \"{stream}\"\n      profiles: {{{profiles}}}\n...\n"
        )
    };
    let obsoletes = |modified: &str, context: &str, message: &str| {
        format!(
            "---\ndocument: modulemd-obsoletes\nversion: 1\ndata:\n  modified: {modified}\n  module: a\n  stream: \"1\"\n  \
             context: {context}\n  message: {message}\n...\n"
        )
    };
    let translation = |modified: u32, stream: &str, text: &str| {
        format!(
            "---\ndocument: modulemd-translations\nversion: 1\ndata:\n  module: a\n  stream: \"{stream}\"\n  modified: {modified}\n  \
             translations:\n    de:\n      summary: {text}\n...\n"
        )
    };
    let v1 = "document: modulemd\nversion: 1\ndata:\n  name: b\n  stream: x\n  version: 5\n  context: c\n  summary: s\n  \
              description: d\n  license:\n    module: [MIT]\n  dependencies:\n    requires: {platform: f28}\n";
    let cases: Vec<Vec<String>> = vec![
        vec![stream(1, "one"), stream(2, "two"), stream(1, "one")],
        vec![stream(1, "one"), stream(1, "other")],
        vec![v1.to_owned(), stream(1, "one")],
        vec![v1.to_owned()],
        vec![defaults(1, "1", "\"1\": [x]"), defaults(2, "2", "\"1\": [y], \"2\": []")],
        vec![defaults(2, "2", "\"1\": [y]"), defaults(1, "1", "\"1\": [x], \"3\": [z]")],
        vec![defaults(1, "1", "\"1\": [x]"), defaults(1, "1", "\"2\": [x]")],
        vec![defaults(1, "1", "\"1\": [x]"), defaults(1, "1", "\"1\": [y]")],
        vec![defaults(1, "1", "\"1\": [x]") + &defaults(0, "2", "\"2\": [y]"), stream(1, "one")],
        vec![obsoletes("2021-01-01T00:00Z", "c1", "two"), obsoletes("2020-01-01T00:00Z", "c1", "one")],
        vec![obsoletes("2021-01-01T00:00Z", "c1", "two"), obsoletes("2021-01-01T00:00Z", "c1", "one")],
        vec![obsoletes("2021-01-01T00:00Z", "c1", "two"), obsoletes("2021-01-01T00:00Z", "c2", "one")],
        vec![translation(2, "1", "zwei"), translation(1, "1", "eins"), translation(1, "0", "null")],
        vec![translation(1, "1", "eins"), translation(2, "1", "zwei")],
        vec![translation(1, "1", "eins"), translation(1, "1", "zwei")],
    ];
    let tree = Tree::new();
    for (number, case) in cases.iter().enumerate() {
        let write =
            |(i, text): (usize, &String)| tree.write_beside(format!("{number}-{i}.yaml"), text.as_bytes());
        let files: Vec<PathBuf> = case.iter().enumerate().map(write).collect();
        match (theirs(&python, &files), ours(&files)) {
            (Ok(_), _) => compare(&python, &tree, &files).unwrap(),
            (Err(_), Err(_)) => {}
            (Err(why), Ok(text)) => panic!("case {number}: libmodulemd refuses what we take: {why}\n{text}"),
        }
    }
}
