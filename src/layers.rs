//! Holds every `crate::…` path in `src/` against the layer table of ARCHITECTURE.md.

use std::fs;
use std::path::Path;

const WORDS: &[&str] = &["package", "tree", "repodata", "rights", "config", "crash", "caught"];
const HANDS: &[&str] = &[
    "watch",
    "scan",
    "incoming",
    "catalog",
    "databases",
    "publish",
    "auth",
    "history",
    "sign",
    "fetch",
    "webhook",
];
const WIRING: &[&str] = &["daemon", "cli", "logging", "main", "fuzz"];

/// What a room may import: rooms, or single things in them. `None` for a room the table lacks.
fn allowed(room: &str) -> Option<Vec<&'static str>> {
    Some(match room {
        "package" => vec!["caught"],
        "repodata" => vec!["package", "caught"],
        "tree" => vec!["package", "repodata"],
        "rights" | "crash" | "caught" => vec![],
        "config" => vec!["package", "repodata", "tree", "rights"],
        "beneath" => WORDS.to_vec(),
        hand if HANDS.contains(&hand) => [WORDS, &["beneath"]].concat(),
        "repository" | "compat" => [WORDS, HANDS, &["beneath"]].concat(),
        "serve" => [WORDS, &["repository", "auth", "catalog::Reader", "catalog::reader", "dav"]].concat(),
        "dav" => [WORDS, &["repository", "auth", "catalog::Reader", "catalog::reader", "serve"]].concat(),
        wiring if WIRING.contains(&wiring) => {
            [WORDS, HANDS, WIRING, &["beneath", "repository", "compat", "serve", "dav"]].concat()
        }
        "lib" => vec![],
        _ => return None,
    })
}

/// Every path that follows `crate::` in `code`, with braces spelled out: `a::{b, c::d}` gives `a::b`, `a::c::d`.
fn imports(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if !code[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':')) {
            spell_out(rest, "", &mut paths);
        }
    }
    paths
}

/// Reads one path or group at the start of `code`, and returns what follows it.
fn spell_out<'c>(code: &'c str, prefix: &str, paths: &mut Vec<String>) -> &'c str {
    let code = code.trim_start();
    if let Some(mut rest) = code.strip_prefix('{') {
        loop {
            rest = spell_out(rest, prefix, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
    let (word, rest) = code.split_at(end);
    let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix}::{word}") };
    match rest.strip_prefix("::") {
        Some(deeper) => spell_out(deeper, &path, paths),
        None => {
            if !word.is_empty() {
                paths.push(path);
            }
            // `x as y`
            rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '\n'))
        }
    }
}

/// What `code`, a file of `room`, imports and may not.
fn trespasses(room: &str, code: &str) -> Vec<String> {
    let Some(allowed) = allowed(room) else {
        return vec![format!("{room} is not in the layer table")];
    };
    // Tests may look around; prose may name anything.
    let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let code: String =
        code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
    let mut wrong: Vec<_> = imports(&code)
        .into_iter()
        .filter(|path| path.split("::").next() != Some(room))
        .filter(|path| !allowed.iter().any(|a| path == a || path.starts_with(&format!("{a}::"))))
        .map(|path| format!("{room} may not import {path}"))
        .collect();
    if code.contains("super::super::") {
        wrong.push(format!("{room}: write crate:: instead of super::super::"));
    }
    wrong
}

fn walk(directory: &Path, room: Option<&str>, wrong: &mut Vec<String>) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let room = room.unwrap_or(stem);
        if path.is_dir() {
            files += walk(&path, Some(room), wrong);
        } else if stem != "tests" && room != "layers" && path.extension().is_some_and(|e| e == "rs") {
            files += 1;
            let code = fs::read_to_string(&path).unwrap();
            wrong.extend(trespasses(room, &code).iter().map(|w| format!("{}: {w}", path.display())));
        }
    }
    files
}

#[test]
fn rooms_import_only_what_the_layer_table_allows() {
    let mut wrong = Vec::new();
    let files = walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut wrong);
    assert!(files > 30, "only {files} files were read");
    assert!(wrong.is_empty(), "see the layer table in ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn a_hand_that_imports_a_hand_is_caught_however_it_is_written() {
    for line in [
        "use crate::catalog::Catalog;",
        "use crate::{package::Location, catalog};",
        "use crate::{\n    config::{Config, file::{self, Set}},\n    catalog::{Catalog, Chunk as C},\n};",
        "fn f() { crate::catalog::open() }",
        "pub(crate) use crate::publish;",
        "use crate::repository::Handle;",
        "use super::super::catalog;",
    ] {
        assert!(!trespasses("scan", line).is_empty(), "{line} passed");
    }
    assert_eq!(trespasses("attic", ""), ["attic is not in the layer table"]);
    assert_eq!(
        trespasses("serve", "use crate::catalog::Catalog;"),
        ["serve may not import catalog::Catalog"]
    );
    assert_eq!(trespasses("config", "use crate::{logging, tree};"), ["config may not import logging"]);
    assert_eq!(
        trespasses("repodata", "use crate::{a::{b as c, d}, e as f, g};").len(),
        4,
        "each leaf of a group is seen"
    );
}

#[test]
fn what_the_table_allows_passes() {
    for (room, line) in [
        ("scan", "use crate::package::{Location, Verify};\nuse crate::scan::look;"),
        ("scan", "// crate::catalog is named in prose only"),
        ("scan", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    use crate::catalog::Catalog;\n}"),
        ("scan", "use other_crate::catalog;"),
        ("serve", "use crate::catalog::Reader;"),
        ("repository", "use crate::{catalog::Catalog, publish};"),
        ("cli", "use crate::{daemon, serve::Site, logging};"),
    ] {
        assert!(trespasses(room, line).is_empty(), "{line}: {:?}", trespasses(room, line));
    }
}
