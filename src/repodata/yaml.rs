//! YAML documents as trees, read within bounds.
//!
//! Read by a port of libyaml, through which dnf and libmodulemd read modules: what it takes, they take. Built from
//! its events, so that nothing is expanded: an alias is an error, not a copy of what it names.

use std::collections::HashSet;
use std::io::{BufRead, Read};
use std::ops::Range;

use libyaml_safer::{Error, Event, EventData, Mark, Parser};

use crate::caught::caught;

/// How deep lists and tables may stand in one another.
const DEEPEST: usize = 64;
/// Values in one document. The largest modules list some ten thousand packages.
const MOST_NODES: usize = 1 << 18;
/// Documents in one file.
const MOST_DOCUMENTS: usize = 100_000;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Counts from 1.
    pub line: usize,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub enum Value {
    /// Any scalar, as its text: what it means is the reader's to know (a stream `1.10` is a name).
    Text(String),
    List(Vec<Node>),
    /// In the order written; keys differ.
    Table(Vec<(String, Node)>),
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// Counts from 1.
    pub line: usize,
    pub why: String,
}

impl Node {
    /// The value of `key`; `None` where there is none, or this is no table.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.iter().find(|(k, _)| k == key).map(|(_, node)| node),
            Value::Text(_) | Value::List(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::List(_) | Value::Table(_) => None,
        }
    }

    /// What this is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(text) if text.is_empty() => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Hands a text to `sink` that is the same for all documents that say the same, however they are
    /// laid out and in whatever order their tables stand.
    pub fn canonical(&self, sink: &mut dyn FnMut(&[u8])) {
        let mut put = |kind: u8, len: usize| {
            sink(&[kind]);
            sink(&(len as u64).to_le_bytes());
        };
        match &self.value {
            Value::Text(text) => {
                put(b't', text.len());
                sink(text.as_bytes());
            }
            Value::List(items) => {
                put(b'l', items.len());
                items.iter().for_each(|item| item.canonical(sink));
            }
            Value::Table(entries) => {
                put(b'm', entries.len());
                let mut sorted: Vec<&(String, Self)> = entries.iter().collect();
                sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                for (key, node) in sorted {
                    sink(&(key.len() as u64).to_le_bytes());
                    sink(key.as_bytes());
                    node.canonical(sink);
                }
            }
        }
    }
}

/// One document of a file.
pub struct Document {
    pub root: Node,
    /// Its lines, from `---` on where it has that, without what ends it.
    pub text: Range<usize>,
}

/// A list or table being read.
struct Open {
    line: usize,
    collection: Collection,
}

enum Collection {
    List(Vec<Node>),
    /// With the key whose value comes next.
    Table(Vec<(String, Node)>, Option<String>),
}

/// Reads all documents of a file, one after the other, and hands each to `take`.
pub fn read(text: &str, mut take: impl FnMut(Document) -> Result<(), YamlError>) -> Result<(), YamlError> {
    refuse_characters(text)?;
    let mut lines = Lines { text, line: 1, at: 0 };
    // The parser panics where a text of its own kind, `|` or `>`, ends without a line break at the end of all.
    let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
    let mut parser = Parser::new();
    parser.set_input(text.as_bytes().chain(end));
    let (mut open, mut root, mut nodes, mut documents) = (Vec::<Open>::new(), None, 0, 0);
    let (mut begins, mut explicit, mut line) = (0, false, 1);
    loop {
        let event = next(&mut parser, line)?;
        line = number(event.start_mark);
        let error = |why: String| Err(YamlError { line, why });
        let node = match event.data {
            EventData::StreamStart { .. } => continue,
            EventData::StreamEnd => return Ok(()),
            EventData::DocumentStart { tag_directives, implicit, .. } => {
                documents += 1;
                if documents > MOST_DOCUMENTS {
                    return error(format!("it has more than {MOST_DOCUMENTS} documents"));
                }
                if !tag_directives.is_empty() {
                    return error("the directive %TAG is not part of modulemd".into());
                }
                (begins, explicit, root, nodes) = (line, !implicit, None, 0);
                continue;
            }
            EventData::DocumentEnd { .. } => {
                let Some(root) = root.take() else { return error("the document is empty".into()) };
                let text = lines.of_document(begins, line, explicit);
                take(Document { root, text })?;
                continue;
            }
            EventData::Alias { .. } => {
                return error("an alias (*name): modulemd has none; write the value out".into());
            }
            EventData::SequenceStart { .. } | EventData::MappingStart { .. } => {
                if open.len() >= DEEPEST {
                    return error(format!("it is nested deeper than {DEEPEST} levels"));
                }
                let collection = match event.data {
                    EventData::SequenceStart { .. } => Collection::List(Vec::new()),
                    _ => Collection::Table(Vec::new(), None),
                };
                open.push(Open { line, collection });
                continue;
            }
            EventData::Scalar { value, .. } => Node { line, value: Value::Text(value) },
            EventData::SequenceEnd | EventData::MappingEnd => match open.pop() {
                Some(Open { line, collection: Collection::List(items) }) => {
                    Node { line, value: Value::List(items) }
                }
                Some(Open { line, collection: Collection::Table(entries, _) }) => {
                    refuse_twice(&entries)?;
                    Node { line, value: Value::Table(entries) }
                }
                None => return error("it ends what never began".into()),
            },
        };
        nodes += 1;
        if nodes > MOST_NODES {
            return error(format!("it has more than {MOST_NODES} values"));
        }
        match open.last_mut().map(|open| &mut open.collection) {
            None => root = Some(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Table(entries, key)) => match (key.take(), node) {
                (Some(key), node) => entries.push((key, node)),
                (None, Node { value: Value::Text(text), .. }) => *key = Some(text),
                (None, node) => {
                    return Err(YamlError { line: node.line, why: format!("{} as a key", node.kind()) });
                }
            },
        }
    }
}

/// The next event. A parser that panics has been given what it does not know, a tag with a comma behind it for example.
/// `line`: of the event before.
fn next(parser: &mut Parser<impl BufRead>, line: usize) -> Result<Event, YamlError> {
    match caught(|| parser.parse()) {
        Some(event) => event.map_err(|error| explained(&error)),
        None => Err(YamlError {
            line,
            why: "the YAML parser cannot read what follows, such as a tag with a comma behind it".into(),
        }),
    }
}

fn number(mark: Mark) -> usize {
    usize::try_from(mark.line).unwrap_or(usize::MAX).saturating_add(1)
}

fn explained(error: &Error) -> YamlError {
    let mark = error.problem_mark().or_else(|| error.context_mark());
    let context = error.context().map(|context| format!(" {context}")).unwrap_or_default();
    YamlError { line: mark.map_or(1, number), why: format!("{}{context}", error.problem()) }
}

/// Refuses what no YAML may hold, and the line breaks that YAML 1.1 knows beyond those of a text file: they would
/// end a line for one reader, and not for the next.
fn refuse_characters(text: &str) -> Result<(), YamlError> {
    let mut is_mark = true;
    let bad = text.char_indices().find(|(_, c)| {
        let allowed = match c {
            ' '..='~' | '\t' | '\n' | '\r' => true,
            '\u{feff}' => is_mark,
            '\u{2028}' | '\u{2029}' => false,
            c => matches!(c, '\u{a0}'..='\u{fffd}' | '\u{10000}'..),
        };
        is_mark = false;
        !allowed
    });
    let Some((at, bad)) = bad else { return Ok(()) };
    let line = 1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..at]).count();
    let why = match bad {
        '\u{85}' | '\u{2028}' | '\u{2029}' => {
            "is a line break to some readers of YAML; write it as an escape"
        }
        _ => "is not allowed in YAML",
    };
    Err(YamlError { line, why: format!("the character U+{:04X} {why}", u32::from(bad)) })
}

fn refuse_twice(entries: &[(String, Node)]) -> Result<(), YamlError> {
    let mut seen = HashSet::with_capacity(entries.len());
    match entries.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        Some((key, node)) => Err(YamlError { line: node.line, why: format!("{key:?} stands there twice") }),
        None => Ok(()),
    }
}

/// A place in a text, which moves forward by lines.
struct Lines<'a> {
    text: &'a str,
    /// Counts from 1.
    line: usize,
    at: usize,
}

impl Lines<'_> {
    /// Where this line begins; the end of the text where it has no such line.
    fn seek(&mut self, line: usize) -> usize {
        while self.line < line
            && let Some(found) = memchr::memchr2(b'\n', b'\r', &self.text.as_bytes()[self.at..])
        {
            // CR LF is one break.
            let is_pair = self.text[self.at + found..].starts_with("\r\n");
            self.at += found + 1 + usize::from(is_pair);
            self.line += 1;
        }
        if self.line < line { self.text.len() } else { self.at }
    }

    /// The lines of a document that was met on line `first` and ends before line `end`. Directives and comments
    /// before its `---` are no part of it.
    fn of_document(&mut self, mut first: usize, end: usize, explicit: bool) -> Range<usize> {
        let mut begins = self.seek(first);
        let begins_well = |at: usize| self.text[at..].trim_start_matches('\u{feff}').starts_with("---");
        while explicit && first < end && !begins_well(begins) {
            first += 1;
            begins = self.seek(first);
        }
        begins..self.seek(end).max(begins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<(Node, &str)> {
        let mut documents = Vec::new();
        read(text, |Document { root, text: range }| {
            documents.push((root, &text[range]));
            Ok(())
        })
        .unwrap();
        documents
    }

    fn refused(text: &str) -> String {
        let YamlError { line, why } = read(text, |_| Ok(())).unwrap_err();
        format!("line {line}: {why}")
    }

    #[test]
    fn a_quoted_text_may_end_at_the_beginning_of_a_line() {
        for quote in ["'", "\""] {
            let text =
                format!("a:\n  b:\n    c: {quote}one\n      two\n\n\n      three\n\n{quote}\n  d: e\n");
            let documents = documents(&text);
            let a = documents[0].0.get("a").unwrap();
            assert_eq!(a.get("b").unwrap().get("c").unwrap().text(), Some("one two\n\nthree\n"));
            assert_eq!(a.get("d").unwrap().text(), Some("e"));
        }
    }

    #[test]
    fn documents_are_cut_where_they_begin_and_end() {
        for line_break in ["\n", "\r\n", "\r"] {
            let text = "\u{feff}# c\n%YAML 1.1\n# d\n--- # e\na: b\n\n...\n# f\n---\nx: y\n---\n'z\n  z'"
                .replace('\n', line_break);
            let found: Vec<String> =
                documents(&text).into_iter().map(|(_, text)| text.replace(line_break, "\n")).collect();
            assert_eq!(found, ["--- # e\na: b\n\n", "---\nx: y\n", "---\n'z\n  z'"], "{line_break:?}");
        }
    }

    #[test]
    fn characters_that_no_yaml_may_hold_are_named() {
        documents("a: |\n  a text that ends with all");
        for bad in ['\0', '\u{7f}', '\u{80}', '\u{85}', '\u{2028}', '\u{2029}', '\u{fffe}', '\u{feff}'] {
            let error = refused(&format!("a:\n  b{bad}c\n"));
            assert!(
                error.starts_with(&format!("line 2: the character U+{:04X} ", u32::from(bad))),
                "{error}"
            );
        }
        documents("\u{feff}a: \u{e9}\u{1f600}\t\u{fffd}\u{a0}\n");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, why) in [
            ("a: b\nc: *d\n", "line 2: an alias"),
            ("a: b\na: c\n", "line 2: \"a\" stands there twice"),
            ("a:\n\tb: c\n", "line 2: "),
            ("a: 'b\n", "line 2: "),
            ("? [a]\n: b\n", "line 1: a list as a key"),
            ("%TAG ! x\n--- a\n", "line 1: the directive"),
            ("a: b\n---\n[b\n", "line 4: "),
            ("a: b\nc: [1, !d 'e', !f,\n2]\n", "line 2: the YAML parser cannot"),
        ] {
            let error = refused(text);
            assert!(error.starts_with(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn lines_that_are_one_quote_are_not_indented() {
        // Each became a line of 256 bytes before it was read.
        let quotes = "'\n".repeat(1 << 15);
        assert!(refused(&format!("a: b\n{quotes}")).starts_with("line 3: could not find"));
        let indented = "  '' x\n".repeat(1 << 15);
        assert_eq!(documents(&format!("a: '\n{indented}'\n")).len(), 1);
    }
}
