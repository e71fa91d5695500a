//! Reads one table of a TOML file key by key; what is left over is unknown.

mod hints;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Origin, Problems};
use super::value;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Set<T> {
    pub value: T,
    pub origin: Origin,
}

/// A file's text, and how byte offsets become line numbers.
pub struct Document<'t> {
    file: Arc<PathBuf>,
    text: &'t str,
    /// Offset of each newline.
    newlines: Vec<usize>,
}

impl<'t> Document<'t> {
    pub fn new(file: &Path, text: &'t str) -> Self {
        let newlines =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { file: Arc::new(file.to_owned()), text, newlines }
    }

    pub fn at(&self, offset: usize) -> Origin {
        let line = 1 + self.newlines.partition_point(|newline| *newline < offset);
        Origin::File { file: self.file.clone(), line }
    }

    /// Parses the text, or reports every syntax error. What would be read of a text with errors says too little of what
    /// was meant to be judged.
    pub fn parse(&self, problems: &mut Problems) -> Option<Spanned<DeTable<'t>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        let is_good = errors.is_empty();
        let mut last = None;
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let origin = self.at(offset);
            // The parser stumbles more than once over one mistake.
            if last.as_ref() != Some(&origin) {
                problems.add(origin.clone(), hints::syntax(error.message(), self.text, offset));
            }
            last = Some(origin);
        }
        is_good.then_some(table)
    }
}

/// One table being read. Every key asked for is a known one; [`Section::finish`] refuses the others.
pub struct Section<'t, 'p> {
    document: &'t Document<'t>,
    table: &'t DeTable<'t>,
    /// As the file writes it: `[server]`; empty at the top.
    title: String,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
    problems: &'p mut Problems,
}

impl<'t, 'p> Section<'t, 'p> {
    pub fn new(
        document: &'t Document<'t>,
        table: &'t DeTable<'t>,
        title: impl Into<String>,
        problems: &'p mut Problems,
    ) -> Self {
        Self { document, table, title: title.into(), known: Vec::new(), later: Vec::new(), problems }
    }

    /// The value of `key` if it is there and right; what is wrong with it is reported.
    pub fn take<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Option<Set<T>> {
        self.knows(key);
        let value = self.table.get(key)?;
        let origin = self.document.at(value.span().start);
        match parse(value.get_ref()) {
            Ok(value) => Some(Set { value, origin }),
            Err(message) => {
                self.problems.add(origin, format!("{key}: {message}"));
                None
            }
        }
    }

    fn knows(&mut self, key: &'static str) {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
    }

    /// The table called `key`, if it is there and is one.
    pub fn table(&mut self, key: &'static str) -> Option<&'t DeTable<'t>> {
        self.knows(key);
        let value = self.table.get(key)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            let origin = self.document.at(value.span().start);
            let what = hints::instead_of_table(key, value.get_ref().as_str());
            self.problems.add(origin, format!("{key}: {what}"));
        }
        table
    }

    /// Where a table inside this one reports.
    pub fn problems(&mut self) -> &mut Problems {
        self.problems
    }

    /// What `read` makes of the table called `key`, if it is there; unknown keys in it are reported.
    pub fn table_as<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_, '_>) -> Result<T, String>,
    ) -> Option<Set<T>> {
        let table = self.table(key)?;
        let origin = self.document.at(self.table.get(key).map_or(0, |value| value.span().start));
        let title = format!("{}.{key}]", self.title.trim_end_matches(']'));
        let before = self.problems.0.len();
        let mut section = Section::new(self.document, table, title, self.problems);
        let outcome = read(&mut section);
        section.finish();
        match outcome {
            Ok(value) => Some(Set { value, origin }),
            // What is wrong with a single key says more.
            Err(_) if self.problems.0.len() > before => None,
            Err(message) => {
                self.problems.add(origin, format!("{key}: {message}"));
                None
            }
        }
    }

    /// Keys the documentation names and this version does not have yet.
    pub fn later(&mut self, keys: &[&'static str]) {
        self.later.extend(keys);
    }

    /// Reports a problem with `key` that is not its value's.
    pub fn problem(&mut self, key: &str, message: impl Into<String>) {
        let offset = self.table.get_key_value(key).map_or(0, |(key, _)| key.span().start);
        self.problems.add(self.document.at(offset), message);
    }

    /// Reports a problem with the table as a whole.
    pub fn problem_at(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.add(origin, message);
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        let place = if self.title.is_empty() { String::new() } else { format!(" in {}", self.title) };
        for (key, value) in self.table {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let origin = self.document.at(key.span().start);
            let message = if self.later.contains(&name) {
                format!("{name:?}{place} is not there yet in this version")
            } else if let Some(above) = self.title.strip_suffix(']').filter(|_| value.get_ref().is_table()) {
                let (start, end) = above.rsplit_once('.').unwrap_or((above, ""));
                format!(
                    "unknown table {above}.{name}]; a name with a dot is written in quotes: {start}.\"{end}.{name}\"]"
                )
            } else {
                let nearest = value::nearest(name, self.known.iter().copied());
                match (hints::home(name).filter(|_| !value.get_ref().is_table()), nearest) {
                    (Some(home), _) if self.title.is_empty() => {
                        format!("{name:?} belongs in {home}; write it below that line")
                    }
                    (Some(home), _) => format!("{name:?} belongs in {home}, not in {}", self.title),
                    (None, Some(nearest)) => {
                        format!("unknown key {name:?}{place}; did you mean {nearest:?}?")
                    }
                    (None, None) => {
                        format!("unknown key {name:?}{place}; known are {}", self.known.join(", "))
                    }
                }
            };
            self.problems.add(origin, message);
        }
    }
}

/// Reads a string with `parse`.
pub fn text<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| match value.as_str() {
        Some(text) => parse(text),
        None => Err(match value.as_integer() {
            Some(number) => format!("expected a text in quotes: write \"{}\"", number.as_str()),
            None => format!("expected a text in quotes, found {}", describe(value)),
        }),
    }
}

/// Reads a time with `parse`.
pub fn time<T>(
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| match value.as_integer() {
        Some(number) => {
            Err(format!("expected a time with its unit in quotes: write \"{}s\"", number.as_str()))
        }
        None => text(parse)(value),
    }
}

/// Reads a list of places to listen at, or a single one.
pub fn listens<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<Vec<T>, String> {
    move |value| match (value.as_str(), value.as_integer()) {
        (Some(text), _) => Ok(vec![parse(text)?]),
        (None, Some(port)) => Err(parse(port.as_str()).err().unwrap_or_default()),
        (None, None) => texts(parse)(value),
    }
}

/// Reads an array of strings, each with `parse`.
pub fn texts<T>(
    parse: impl Fn(&str) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<Vec<T>, String> {
    move |value| {
        let expected = |value| format!("expected a list of texts, [\"…\", \"…\"], found {}", describe(value));
        let items = value.as_array().ok_or_else(|| match value.as_str() {
            Some(text) => format!("expected a list: write [{}]", toml::Value::String(text.to_owned())),
            None => expected(value),
        })?;
        let (mut good, mut wrong) = (Vec::new(), Vec::new());
        for item in items {
            let text = item.get_ref().as_str().ok_or_else(|| expected(item.get_ref()));
            match text.and_then(&parse) {
                Ok(one) => good.push(one),
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() { Ok(good) } else { Err(wrong.join("; ")) }
    }
}

/// Reads an integer with `parse`.
pub fn integer<T>(
    parse: impl FnOnce(i64) -> Result<T, String>,
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let number = value.as_integer().and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number) => parse(number),
            None => Err(format!("expected a whole number without quotes, found {}", describe(value))),
        }
    }
}

/// Reads `true` or `false`.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false without quotes, found {}", describe(value)))
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => format!("a {}", value.type_str()),
    }
}
