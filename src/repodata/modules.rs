//! Module metadata: modulemd documents of one or many files, checked and merged by libmodulemd's rules.
//!
//! Documents are carried through as they were written, and only defaults that had to be merged are written anew;
//! or all are written in libmodulemd's normal form. What counts as the same, and who wins, is what libmodulemd's
//! `ModuleIndexMerger` does with files of equal priority, which is how createrepo_c merges them.

mod defaults;
mod normal;
mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use super::error::FormatError;
use super::yaml::{self, Document, Node, YamlError};
use crate::package::{Checksum, ChecksumType, Hasher};
use defaults::{Absorbed, Defaults};
use normal::Normal;
use normal::folded::Unmarked;
use shape::{Field, check_arches, check_fields, check_reset};

/// Bytes, uncompressed, of one file, and of all files of a repository together: all are in memory while they are
/// merged. The largest distribution's are some 30 MiB.
pub const LONGEST: u64 = 64 << 20;

/// The modules of one file, or of several merged.
#[derive(Debug, Clone, Default)]
pub struct Modules {
    by_name: BTreeMap<String, Module>,
    /// Bytes of the files they come from.
    size: u64,
}

impl PartialEq for Modules {
    /// Whether both say the same, of whatever files.
    fn eq(&self, other: &Self) -> bool {
        self.by_name == other.by_name
    }
}

impl Eq for Modules {}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Module {
    /// Without a text, they were merged and are written anew.
    defaults: Option<(Defaults, Option<Text>)>,
    obsoletes: Obsoletes,
    /// By stream; the number is `modified`.
    translations: BTreeMap<String, (u64, Text)>,
    /// By name, stream, version, context and architecture in one text.
    streams: BTreeMap<String, Stream>,
}

/// A document from `---` on, without its end: some lines of its file.
#[derive(Debug, Clone)]
struct Text {
    file: Arc<String>,
    lines: Range<usize>,
}

impl Text {
    fn as_str(&self) -> &str {
        &self.file[self.lines.clone()]
    }

    /// Writes it with whatever it lacks at its beginning and end.
    fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        let text = self.as_str();
        if !text.starts_with("---") {
            sink.write_all(b"---\n")?;
        }
        sink.write_all(text.as_bytes())?;
        sink.write_all(if text.ends_with('\n') { b"...\n" } else { b"\n...\n" })
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

/// In the order they came: libmodulemd gives them no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Obsoletes {
    in_order: Vec<(ObsoletesKey, Text)>,
    places: HashMap<ObsoletesKey, usize>,
}

impl Obsoletes {
    /// Takes one in; of two that tell of the same, the later holds.
    fn take(&mut self, key: ObsoletesKey, text: Text) {
        match self.places.get(&key) {
            Some(&place) => self.in_order[place].1 = text,
            None => {
                self.places.insert(key.clone(), self.in_order.len());
                self.in_order.push((key, text));
            }
        }
    }
}

/// Stream, context, and `modified`.
type ObsoletesKey = (String, String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stream {
    text: Text,
    /// Of the document.
    version: u64,
    /// Of what the document says, however it is laid out.
    content: Checksum,
}

/// What a merge passed over: the later of two streams of one name, stream, version, context and
/// architecture that say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver(pub String);

impl Modules {
    /// Reads one file, uncompressed. The first mistake in it is the error.
    pub fn read(source: impl Read) -> Result<Self, FormatError> {
        Self::read_with(source, false)
    }

    /// The same, and a key that is none of the format's is a mistake: so createrepo_c and mergerepo_c read.
    pub fn read_strictly(source: impl Read) -> Result<Self, FormatError> {
        Self::read_with(source, true)
    }

    fn read_with(mut source: impl Read, is_strict: bool) -> Result<Self, FormatError> {
        let mut bytes = Vec::new();
        let read = source.by_ref().take(LONGEST + 1).read_to_end(&mut bytes);
        read.map_err(|error| bad(None, error.to_string()))?;
        let size = bytes.len() as u64;
        if size > LONGEST {
            return Err(bad(None, format!("it is longer than {LONGEST} bytes")));
        }
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            bad(Some(1 + memchr::memchr_iter(b'\n', before).count()), "it is not UTF-8".into())
        })?;
        // Documents are put in another order, where a mark of the byte order would stand amid the file.
        if text.starts_with('\u{feff}') {
            text.remove(0);
        }
        let file = Arc::new(text);
        let mut modules = Self { size, ..Self::default() };
        yaml::read(&file, |Document { root, text }| {
            modules.add(&root, Text { file: file.clone(), lines: text })?;
            match normal::unknown_key(&root).filter(|_| is_strict) {
                Some((line, key)) => Err(YamlError { line, why: format!("the key {key:?} is not known") }),
                None => Ok(()),
            }
        })
        .map_err(|error| bad(Some(error.line), error.why))?;
        Ok(modules)
    }

    /// Whether there is no document in it.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Takes in what another file says. What cannot be merged leaves this as it was.
    pub fn merge(&mut self, other: Self) -> Result<Vec<PassedOver>, FormatError> {
        if self.size + other.size > LONGEST {
            return Err(bad(None, format!("all module files together are longer than {LONGEST} bytes")));
        }
        // Nothing but defaults can be at odds: with those agreed, the rest cannot fail.
        for (name, from) in &other.by_name {
            let ours = self.by_name.get(name).and_then(|into| into.defaults.as_ref());
            if let (Some((ours, _)), Some((theirs, _))) = (ours, &from.defaults) {
                ours.agrees(theirs).map_err(|why| bad(None, why))?;
            }
        }
        self.size += other.size;
        let mut passed_over = Vec::new();
        for (name, from) in other.by_name {
            passed_over.extend(self.by_name.entry(name).or_default().take(from));
        }
        Ok(passed_over)
    }

    /// Writes all documents, in libmodulemd's order.
    pub fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        for module in self.by_name.values() {
            match &module.defaults {
                None => {}
                Some((_, Some(text))) => text.write(sink)?,
                Some((merged, None)) => {
                    sink.write_all(merged.to_yaml().as_bytes())?;
                    sink.write_all(b"...\n")?;
                }
            }
            let obsoletes = module.obsoletes.in_order.iter().map(|(_, text)| text);
            let translations = module.translations.values().map(|(_, text)| text);
            let streams = module.streams.values().map(|stream| &stream.text);
            obsoletes.chain(translations).chain(streams).try_for_each(|text| text.write(sink))?;
        }
        Ok(())
    }

    /// Writes all documents in libmodulemd's normal form and order.
    pub fn write_normal(&self, sink: &mut dyn Write) -> io::Result<()> {
        let streams = || self.by_name.values().flat_map(|module| module.streams.values());
        // A file has streams of one version only, and where there are obsoletes, of the second.
        let has_obsoletes = self.by_name.values().any(|module| !module.obsoletes.in_order.is_empty());
        let upgraded = has_obsoletes || streams().any(|stream| stream.version > 1);
        let mut sink = Unmarked::new(sink);
        let mut normal = Normal::begin(&mut sink)?;
        for module in self.by_name.values() {
            let defaults = module.defaults.iter().map(|(defaults, text)| match text {
                Some(text) => Cow::from(text.as_str()),
                None => Cow::from(defaults.to_yaml()),
            });
            let obsoletes = module.obsoletes.in_order.iter().map(|(_, text)| text);
            let translations = module.translations.values().map(|(_, text)| text);
            let streams = module.streams.values().map(|stream| &stream.text);
            let others = obsoletes.chain(translations).chain(streams).map(|text| text.as_str().into());
            defaults.chain(others).try_for_each(|text: Cow<'_, str>| {
                let mut outcome = Ok(());
                let read = yaml::read(&text, |Document { root, .. }| {
                    outcome = normal.document(&root, upgraded);
                    Ok(())
                });
                read.map_err(|error| io::Error::other(error.why)).and(outcome)
            })?;
        }
        normal.end()?;
        sink.flush()
    }

    fn add(&mut self, root: &Node, document: Text) -> Result<(), YamlError> {
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
        if kind == "modulemd" {
            check_arches(data)?;
        }
        if kind == "modulemd-obsoletes" {
            check_reset(data)?;
        }
        let value = |key: &str| data.get(key).and_then(Node::text).unwrap_or_default().to_owned();
        let module = if kind == "modulemd" { value("name") } else { value("module") };
        let module = self.by_name.entry(module).or_default();
        let text = document;
        match kind {
            "modulemd" => {
                // As libmodulemd names it: without what is not there at its end, the version as a number.
                let release = value("version").parse::<u64>().ok().filter(|version| *version != 0);
                let release = release.map(|version| version.to_string()).unwrap_or_default();
                let key =
                    [value("name"), value("stream"), release, value("context"), value("arch")].join(":");
                let key = key.trim_end_matches(':').to_owned();
                let stream = Stream { text, version, content: content(root) };
                match module.streams.get(&key) {
                    Some(before) if before.content != stream.content => {
                        return error(root.line, format!("{key} stands there twice, with different content"));
                    }
                    Some(_) => {}
                    None => _ = module.streams.insert(key, stream),
                }
            }
            // In one file the last word holds.
            "modulemd-defaults" => module.defaults = Some((Defaults::of(data), Some(text))),
            "modulemd-obsoletes" => {
                module.obsoletes.take((value("stream"), value("context"), value("modified")), text);
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
    /// Takes in another file's, whose defaults agree with these.
    fn take(&mut self, from: Self) -> Vec<PassedOver> {
        match (&mut self.defaults, from.defaults) {
            (Some((ours, text)), Some((theirs, their_text))) => match ours.absorb(theirs) {
                Absorbed::Nothing => {}
                Absorbed::All => *text = their_text,
                Absorbed::Some => *text = None,
            },
            (None, theirs) => self.defaults = theirs,
            (Some(_), None) => {}
        }
        for (key, text) in from.obsoletes.in_order {
            self.obsoletes.take(key, text);
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
