//! Walks through somebody's XML file as a stream, and insists on what every XML parser insists on.
//!
//! Memory is bounded by one tag or text, whatever the file's length. Entities that a file declares are
//! never expanded: a file that declares any is refused.

use std::io::{self, BufRead, Read};

use quick_xml::Reader;
use quick_xml::XmlVersion::Implicit1_0;
use quick_xml::events::{BytesStart, Event};

use super::FormatError;

/// Bytes: the longest tag, comment or text. An advisory's description has some 100 KiB.
const LONGEST: usize = 16 << 20;
/// How deep elements may stand in one another.
const DEEPEST: usize = 64;

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
    let mut reader = Reader::from_reader(Measured { inner: source, since: 0, line: 1 });
    reader.config_mut().check_comments = true;
    let mut path: Vec<String> = Vec::new();
    let mut texts: Vec<String> = Vec::new();
    let mut buffer = Vec::new();
    let mut seen_root = false;
    loop {
        buffer.clear();
        buffer.shrink_to(1 << 20);
        reader.get_mut().since = 0;
        let begins = reader.get_ref().line;
        let event = reader.read_event_into(&mut buffer);
        let end = matches!(event, Ok(Event::Eof));
        let step = event
            .map_err(|error| error.to_string())
            .and_then(|event| one(&event, &mut path, &mut texts, &mut seen_root, &mut visit));
        if let Err(why) = step {
            // A text ends lines after it began; a tag that does not close is noticed where it ends.
            let line = if end { reader.get_ref().line } else { begins };
            return Err(FormatError { file, why: format!("line {line}: {why}") });
        }
        if end {
            return Ok(());
        }
    }
}

fn one(
    event: &Event<'_>,
    path: &mut Vec<String>,
    texts: &mut Vec<String>,
    seen_root: &mut bool,
    visit: &mut impl FnMut(&[String], Met<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match event {
        Event::Start(tag) | Event::Empty(tag) => {
            if path.is_empty() && std::mem::replace(seen_root, true) {
                return Err(format!("a second root element, <{}>", tag.name().as_ref()));
            }
            if path.len() >= DEEPEST {
                return Err(format!("elements are nested deeper than {DEEPEST} levels"));
            }
            check_tag(tag)?;
            path.push(tag.local_name().as_ref().to_owned());
            texts.push(String::new());
            visit(path, Met::Open(tag))?;
            if matches!(event, Event::Empty(_)) {
                close(path, texts, visit)?;
            }
        }
        Event::End(_) => close(path, texts, visit)?,
        Event::Text(text) => {
            let text: &str = text;
            if text.contains("]]>") {
                return Err("]]> in a text, where it must be written ]]&gt;".into());
            }
            add(text, texts)?;
        }
        Event::CData(text) => {
            if texts.is_empty() {
                return Err("text outside the root element".into());
            }
            add(text, texts)?;
        }
        Event::GeneralRef(reference) => {
            let resolved = quick_xml::escape::unescape(&format!("&{};", &**reference))
                .map_err(|_| format!("&{}; stands for nothing", clipped(reference)))?
                .into_owned();
            add(&resolved, texts)?;
        }
        Event::DocType(text) if text.contains("<!ENTITY") => {
            return Err("it declares entities, which are not expanded; write out what they stand for".into());
        }
        Event::Decl(declaration) => {
            if let Some(Ok(encoding)) = declaration.encoding()
                && !encoding.eq_ignore_ascii_case("utf-8")
                && !encoding.eq_ignore_ascii_case("us-ascii")
            {
                return Err(format!("it is in {}; convert it to UTF-8, with iconv", clipped(&encoding)));
            }
        }
        Event::Eof => match (path.last(), *seen_root) {
            (Some(open), _) => return Err(format!("it ends before </{open}>")),
            (None, false) => return Err("it has no element at all".into()),
            (None, true) => {}
        },
        Event::DocType(_) | Event::Comment(_) | Event::PI(_) => {}
    }
    Ok(())
}

fn close(
    path: &mut Vec<String>,
    texts: &mut Vec<String>,
    visit: &mut impl FnMut(&[String], Met<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let text = texts.pop().unwrap_or_default();
    visit(path, Met::Close(text.trim()))?;
    path.pop();
    Ok(())
}

/// Takes in text of the innermost element.
fn add(text: &str, texts: &mut [String]) -> Result<(), String> {
    if let Some(bad) = text.chars().find(|c| is_forbidden(*c)) {
        return Err(format!("the character U+{:04X}, which XML does not allow", u32::from(bad)));
    }
    match texts.last_mut() {
        Some(into) if into.len() + text.len() <= LONGEST => into.push_str(text),
        Some(_) => return Err(format!("a text longer than {LONGEST} bytes")),
        None if text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() => {}
        None => return Err("text outside the root element".into()),
    }
    Ok(())
}

fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}')
}

fn check_tag(tag: &BytesStart<'_>) -> Result<(), String> {
    let name = tag.name();
    check_name(name.as_ref())?;
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        let key = attribute.key.as_ref();
        check_name(key)?;
        let value = attribute.normalized_value(Implicit1_0).map_err(|error| error.to_string())?;
        if attribute.value.contains('<') || value.chars().any(is_forbidden) {
            return Err(format!(
                "the attribute {key} of <{}> has a character XML does not allow",
                name.as_ref()
            ));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    let begins_well = name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | ':'));
    if begins_well
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.' | '\u{b7}'))
    {
        return Ok(());
    }
    Err(format!("{:?} is no name of an element or attribute", clipped(name)))
}

/// An attribute's value; `None` where there is none.
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.normalized_value(Implicit1_0).ok()?.into_owned())
}

fn clipped(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Counts lines, and refuses to be read too far for one event.
struct Measured<R> {
    inner: R,
    /// Bytes since the last event.
    since: usize,
    /// Counts from 1.
    line: u64,
}

impl<R: BufRead> Read for Measured<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let read = available.len().min(buffer.len());
        buffer[..read].copy_from_slice(&available[..read]);
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Measured<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.since > LONGEST {
            return Err(io::Error::other(format!("a tag or text longer than {LONGEST} bytes")));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // What is consumed was filled in before, so this asks the source for nothing.
        if let Ok(available) = self.inner.fill_buf() {
            self.line += memchr::memchr_iter(b'\n', &available[..amount.min(available.len())]).count() as u64;
        }
        self.since += amount;
        self.inner.consume(amount);
    }
}
