//! One YAML document as a tree, read within bounds.
//!
//! Built from the parser's events, so that nothing is expanded: an alias is an error, not a copy of
//! what it names. libmodulemd, through which dnf reads modules, knows none either.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScanError};

/// How deep lists and tables may stand in one another.
const DEEPEST: usize = 64;
/// Values in one document. The largest modules list some ten thousand packages.
const MOST_NODES: usize = 1 << 20;

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

/// Reads `text`, which holds one document, beginning with line `first_line` of its file.
pub fn read(text: &str, first_line: usize) -> Result<Node, YamlError> {
    let at = |line: usize| first_line + line.saturating_sub(1);
    let error = |line: usize, why: String| YamlError { line: at(line), why };
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut nodes = 0;
    let text = with_quotes_indented(text);
    for event in Parser::new_from_str(&text) {
        let (event, span) = event.map_err(|e: ScanError| error(e.marker().line(), e.info().to_owned()))?;
        let line = span.start.line();
        let node = match event {
            Event::Alias(_) => {
                let why = "an alias (*name): modulemd has none; write the value out".to_owned();
                return Err(error(line, why));
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= DEEPEST {
                    return Err(error(line, format!("it is nested deeper than {DEEPEST} levels")));
                }
                let collection = match event {
                    Event::SequenceStart(..) => Collection::List(Vec::new()),
                    _ => Collection::Table(Vec::new(), None),
                };
                open.push(Open { line, collection });
                continue;
            }
            Event::Scalar(text, ..) => Node { line: at(line), value: Value::Text(text.into_owned()) },
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open { line, collection: Collection::List(items) }) => {
                    Node { line: at(line), value: Value::List(items) }
                }
                Some(Open { line, collection: Collection::Table(entries, _) }) => {
                    refuse_twice(&entries)?;
                    Node { line: at(line), value: Value::Table(entries) }
                }
                None => return Err(error(line, "it ends what never began".into())),
            },
            Event::DocumentStart(_) if root.is_some() => {
                return Err(error(line, "a second document where one was expected".into()));
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        nodes += 1;
        if nodes > MOST_NODES {
            return Err(error(line, format!("it has more than {MOST_NODES} values")));
        }
        match open.last_mut().map(|open| &mut open.collection) {
            None => root = Some(node),
            Some(Collection::List(items)) => items.push(node),
            Some(Collection::Table(entries, key)) => match (key.take(), node.text()) {
                (Some(key), _) => entries.push((key, node)),
                (None, Some(text)) => *key = Some(text.to_owned()),
                (None, None) => {
                    return Err(YamlError { line: node.line, why: format!("{} as a key", node.kind()) });
                }
            },
        }
    }
    root.ok_or_else(|| error(1, "the document is empty".into()))
}

fn refuse_twice(entries: &[(String, Node)]) -> Result<(), YamlError> {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    match entries.iter().find(|(key, _)| !seen.insert(key.as_str())) {
        Some((key, node)) => Err(YamlError { line: node.line, why: format!("{key:?} stands there twice") }),
        None => Ok(()),
    }
}
/// libyaml, which wrote nearly all modules there are, puts the end of a quoted text that ends in a line break at the
/// beginning of a line. The parser wants it indented as YAML demands; what stands before it there says nothing.
fn with_quotes_indented(text: &str) -> Cow<'_, str> {
    let is_end = |line: &str| matches!(line.trim_end(), "'" | "\"");
    if !text.lines().any(is_end) {
        return Cow::Borrowed(text);
    }
    let indent = " ".repeat(4 * DEEPEST);
    Cow::Owned(
        text.split_inclusive('\n')
            .flat_map(|line| [if is_end(line) { &*indent } else { "" }, line])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_text_may_end_at_the_beginning_of_a_line() {
        for quote in ["'", "\""] {
            let text =
                format!("a:\n  b:\n    c: {quote}one\n      two\n\n\n      three\n\n{quote}\n  d: e\n");
            let node = read(&text, 1).unwrap();
            let a = node.get("a").unwrap();
            assert_eq!(a.get("b").unwrap().get("c").unwrap().text(), Some("one two\n\nthree\n"));
            assert_eq!(a.get("d").unwrap().text(), Some("e"));
        }
    }
}
