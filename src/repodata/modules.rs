//! Module metadata: modulemd documents of one or many files, checked and merged by libmodulemd's rules.
//!
//! Documents are carried through as they were written. Only defaults that had to be merged are written
//! anew. What counts as the same, and who wins, is what libmodulemd's `ModuleIndexMerger` does with
//! files of equal priority, which is how createrepo_c merges them.

mod defaults;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::error::FormatError;
use super::yaml::{self, Node, YamlError};
use crate::package::{Checksum, ChecksumType, Hasher};
use defaults::Defaults;
use shape::{Field, check_fields};

/// Bytes of one file, uncompressed. The largest distribution's are some 30 MiB.
pub const LONGEST: u64 = 256 << 20;

/// The modules of one file, or of several merged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    by_name: BTreeMap<String, Module>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Module {
    defaults: Option<(Defaults, Text)>,
    /// In the order they came: libmodulemd gives them no other.
    obsoletes: Vec<(ObsoletesKey, Text)>,
    /// By stream; the number is `modified`.
    translations: BTreeMap<String, (u64, Text)>,
    /// By name, stream, version, context and architecture in one text.
    streams: BTreeMap<String, Stream>,
}

/// A document from `---` on, without its end.
type Text = String;

/// Stream, context, and `modified`.
type ObsoletesKey = (String, String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    text: Text,
    /// Of what the document says, however it is laid out.
    content: Checksum,
}

/// What a merge passed over: the later of two streams of one name, stream, version, context and
/// architecture that say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver(pub String);

impl Modules {
    /// Reads one file, uncompressed. The first mistake in it is the error.
    pub fn read(mut source: impl Read) -> Result<Self, FormatError> {
        let mut bytes = Vec::new();
        let read = source.by_ref().take(LONGEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| bad(None, error.to_string()))?;
        if bytes.len() as u64 > LONGEST {
            return Err(bad(None, format!("it is longer than {LONGEST} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            bad(Some(1 + memchr::memchr_iter(b'\n', before).count()), "it is not UTF-8".into())
        })?;
        let mut modules = Self::default();
        for document in documents(text)? {
            modules.add(document).map_err(|error| bad(Some(error.line), error.why))?;
        }
        Ok(modules)
    }

    /// Whether there is no document in it.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Takes in what another file says. What cannot be merged leaves this as it was.
    pub fn merge(&mut self, mut other: Self) -> Result<Vec<PassedOver>, FormatError> {
        // Nothing but defaults can be at odds: with those merged, the rest cannot fail.
        for (name, from) in &mut other.by_name {
            let ours = self.by_name.get(name).and_then(|into| into.defaults.as_ref());
            if let (Some((ours, our_text)), Some((theirs, their_text))) = (ours, &mut from.defaults) {
                let merged = ours.merged(theirs).map_err(|why| bad(None, why))?;
                if merged == *ours {
                    their_text.clone_from(our_text);
                } else if merged != *theirs {
                    *their_text = merged.to_yaml();
                }
                *theirs = merged;
            }
        }
        let mut passed_over = Vec::new();
        for (name, from) in other.by_name {
            passed_over.extend(self.by_name.entry(name).or_default().take(from));
        }
        Ok(passed_over)
    }

    /// Writes all documents, in libmodulemd's order.
    pub fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        for module in self.by_name.values() {
            let defaults = module.defaults.iter().map(|(_, text)| text);
            let obsoletes = module.obsoletes.iter().map(|(_, text)| text);
            let translations = module.translations.values().map(|(_, text)| text);
            let streams = module.streams.values().map(|stream| &stream.text);
            for text in defaults.chain(obsoletes).chain(translations).chain(streams) {
                sink.write_all(text.as_bytes())?;
                sink.write_all(b"...\n")?;
            }
        }
        Ok(())
    }

    fn add(&mut self, document: Document) -> Result<(), YamlError> {
        let root = yaml::read(&document.text, document.line)?;
        let error = |line, why: String| Err(YamlError { line, why });
        let text = |key: &str| root.get(key).and_then(Node::text);
        let Some(kind) = text("document") else {
            return error(root.line, "it has no document: that says what it is; expected modulemd".into());
        };
        let Some(version) = text("version").and_then(|version| version.parse::<u64>().ok()) else {
            return error(root.line, "it has no version: with a whole number".into());
        };
        let Some(data) = root.get("data") else {
            return error(root.line, "it has no data:".into());
        };
        let fields: &[Field] = match (kind, version) {
            ("modulemd", 1) => shape::STREAM_V1,
            ("modulemd", 2) => shape::STREAM_V2,
            ("modulemd-defaults", 1) => shape::DEFAULTS,
            ("modulemd-obsoletes", 1) => shape::OBSOLETES,
            ("modulemd-translations", 1) => shape::TRANSLATIONS,
            ("modulemd" | "modulemd-defaults" | "modulemd-obsoletes" | "modulemd-translations", _) => {
                return error(root.line, format!("version {version} of {kind} is none that clients know"));
            }
            ("modulemd-packager", _) => {
                let why = "modulemd-packager is what a module is built from; publish the modulemd document \
                           its build made";
                return error(root.line, why.into());
            }
            _ => {
                return error(
                    root.line,
                    format!("{kind:?} is no document of modulemd; clients would refuse the whole file"),
                );
            }
        };
        check_fields(data, "data", fields)?;
        let value = |key: &str| data.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        let module = if kind == "modulemd" { value("name") } else { value("module") };
        let module = self.by_name.entry(module).or_default();
        let text = document.text;
        match kind {
            "modulemd" => {
                let key = ["name", "stream", "version", "context", "arch"].map(value).join(":");
                let stream = Stream { text, content: content(&root) };
                match module.streams.get(&key) {
                    Some(before) if before.content != stream.content => {
                        return error(root.line, format!("{key} stands there twice, with different content"));
                    }
                    Some(_) => {}
                    None => _ = module.streams.insert(key, stream),
                }
            }
            // In one file the last word holds.
            "modulemd-defaults" => module.defaults = Some((Defaults::of(data), text)),
            "modulemd-obsoletes" => {
                module.obsolete((value("stream"), value("context"), value("modified")), text);
            }
            _ => {
                let modified = value("modified").parse().unwrap_or(0);
                module.translations.insert(value("stream"), (modified, text));
            }
        }
        Ok(())
    }
}

impl Module {
    /// Takes in another file's, whose defaults are merged with these already.
    fn take(&mut self, from: Self) -> Vec<PassedOver> {
        self.defaults = from.defaults.or(self.defaults.take());
        for (key, text) in from.obsoletes {
            self.obsolete(key, text);
        }
        for (stream, (modified, text)) in from.translations {
            if self.translations.get(&stream).is_none_or(|(ours, _)| *ours < modified) {
                self.translations.insert(stream, (modified, text));
            }
        }
        let mut passed_over = Vec::new();
        for (key, stream) in from.streams {
            match self.streams.get(&key) {
                Some(before) if before.content != stream.content => passed_over.push(PassedOver(key)),
                Some(_) => {}
                None => _ = self.streams.insert(key, stream),
            }
        }
        passed_over
    }

    fn obsolete(&mut self, key: ObsoletesKey, text: Text) {
        match self.obsoletes.iter_mut().find(|(before, _)| *before == key) {
            Some((_, before)) => *before = text,
            None => self.obsoletes.push((key, text)),
        }
    }
}

fn content(root: &Node) -> Checksum {
    let mut hasher = Hasher::new(ChecksumType::Sha256);
    root.canonical(&mut |bytes| hasher.update(bytes));
    hasher.finish()
}

fn bad(line: Option<usize>, why: String) -> FormatError {
    let why = match line {
        Some(line) => format!("line {line}: {why}"),
        None => why,
    };
    FormatError { file: "modules.yaml", why }
}

/// One document of a file.
struct Document {
    /// From `---` on, up to and with the end of its last line.
    text: Text,
    /// Where its text begins; counts from 1.
    line: usize,
}

/// Cuts a file at the lines that begin or end a document. No value can hold such a line.
fn documents(text: &str) -> Result<Vec<Document>, FormatError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents: Vec<Document> = Vec::new();
    let mut is_open = false;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if marks(line, "---") {
            documents.push(Document { text: String::new(), line: number });
            is_open = true;
        } else if marks(line, "...") {
            is_open = false;
            continue;
        } else if !is_open {
            let said = line.trim();
            // Every reader of modules takes them for what they are by themselves.
            if said.is_empty() || said.starts_with('#') || said.starts_with("%YAML") {
                continue;
            }
            if said.starts_with('%') {
                let directive = said.chars().take(40).collect::<String>();
                return Err(bad(
                    Some(number),
                    format!("the directive {directive:?} is not part of modulemd"),
                ));
            }
            documents.push(Document { text: "---\n".to_owned(), line: number - 1 });
            is_open = true;
        }
        if let Some(document) = documents.last_mut() {
            document.text.push_str(line);
        }
    }
    for document in documents.iter_mut().filter(|document| !document.text.ends_with('\n')) {
        document.text.push('\n');
    }
    Ok(documents)
}

/// Whether a line is this marker, or begins with it.
fn marks(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}
