//! Walks through somebody's XML file as a stream, and insists on what every XML parser insists on.
//!
//! Memory is bounded by one tag or text, whatever the file's length. Entities that a file declares are
//! never expanded: a file that declares any is refused.

use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};

use super::FormatError;
use super::wellformed::{Fault, LONGEST, WellFormed};

/// What a walk meets.
pub enum Met<'a> {
    Open(&'a BytesStart<'a>),
    /// With the text that stands directly in the element, trimmed.
    Close(&'a str),
}

/// Walks through `source`, which messages call `file`. `visit` is given the names that lead to an
/// element, outermost first and its own last, and what is met there; what it says is wrong, is wrong.
pub fn walk(
    file: &'static str,
    source: impl BufRead,
    mut visit: impl FnMut(&[String], Met<'_>) -> Result<(), String>,
) -> Result<(), FormatError> {
    let mut reader = Reader::from_reader(Measured { inner: WellFormed::new(source), line: 1 });
    let mut path: Vec<String> = Vec::new();
    let mut texts = Texts::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        buffer.shrink_to(1 << 20);
        let begins = reader.get_ref().line;
        let event = reader.read_event_into(&mut buffer);
        if let Some(Fault { line, why }) = reader.get_ref().inner.fault() {
            return Err(FormatError { file, why: format!("line {line}: {why}") });
        }
        let is_end = matches!(event, Ok(Event::Eof));
        let step = event
            .map_err(|error| error.to_string())
            .and_then(|event| one(&event, &mut path, &mut texts, &mut visit));
        if let Err(why) = step {
            return Err(FormatError { file, why: format!("line {begins}: {why}") });
        }
        if is_end {
            return Ok(());
        }
    }
}

fn one(
    event: &Event<'_>,
    path: &mut Vec<String>,
    texts: &mut Texts,
    visit: &mut impl FnMut(&[String], Met<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match event {
        Event::Start(tag) | Event::Empty(tag) => {
            path.push(tag.local_name().as_ref().to_owned());
            texts.open.push(String::new());
            visit(path, Met::Open(tag))?;
            match event {
                Event::Empty(_) => close(path, texts, visit),
                _ => Ok(()),
            }
        }
        Event::End(_) => close(path, texts, visit),
        Event::Text(text) => texts.add(text),
        Event::CData(text) => texts.add(text),
        Event::GeneralRef(reference) => {
            let resolved = quick_xml::escape::unescape(&format!("&{};", &**reference))
                .map_err(|error| error.to_string())?
                .into_owned();
            texts.add(&resolved)
        }
        Event::Decl(_) | Event::DocType(_) | Event::Comment(_) | Event::PI(_) | Event::Eof => Ok(()),
    }
}

/// The texts of the elements that are open.
#[derive(Default)]
struct Texts {
    open: Vec<String>,
    /// Bytes of all.
    size: usize,
}

impl Texts {
    /// Takes in text of the innermost element.
    fn add(&mut self, text: &str) -> Result<(), String> {
        // Outside of the root there is none but white space.
        let Some(into) = self.open.last_mut() else { return Ok(()) };
        self.size += text.len();
        if self.size > LONGEST {
            return Err(format!("a text longer than {LONGEST} bytes"));
        }
        into.push_str(text);
        Ok(())
    }

    fn close(&mut self) -> String {
        let text = self.open.pop().unwrap_or_default();
        self.size -= text.len();
        text
    }
}

fn close(
    path: &mut Vec<String>,
    texts: &mut Texts,
    visit: &mut impl FnMut(&[String], Met<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let text = texts.close();
    visit(path, Met::Close(text.trim()))?;
    path.pop();
    Ok(())
}

/// An attribute's value; `None` where there is none.
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.normalized_value(Implicit1_0).ok()?.into_owned())
}

/// Counts lines.
struct Measured<R> {
    inner: WellFormed<R>,
    /// Counts from 1.
    line: u64,
}

impl<R: BufRead> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Measured<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was filled in before, so this asks the source for nothing.
        if let Ok(available) = self.inner.fill_buf() {
            self.line += memchr::memchr_iter(b'\n', &available[..amount.min(available.len())]).count() as u64;
        }
        self.inner.consume(amount);
    }
}
