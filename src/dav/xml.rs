//! Bodies of WebDAV requests: small, flat enough, without document types, and read in one pass: nothing builds a tree of them,
//! and a namespace is kept once, however many names are in it.

use std::sync::Arc;

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{PrefixDeclaration, ResolveResult};

use crate::serve::error::ServeError;

/// Bytes of a body.
pub const LONGEST: usize = 64 << 10;
/// Elements inside one another.
const DEEPEST: usize = 32;
/// Attributes and elements in all.
const MOST: usize = 2000;
/// Namespaces, and their bytes in all.
const NAMESPACES: usize = 64;
const NAMESPACE_BYTES: usize = 8 << 10;

/// Bytes of a tree of a document in which each element has copies of all namespaces it could use, about: of the whole, of an
/// element, of an attribute, and of a namespace beside its text.
const TREE: usize = 2 << 20;
const ELEMENT: usize = 1 << 10;
const ATTRIBUTE: usize = 256;
const BINDING: usize = 160;

/// A name in its namespace, which is empty for names without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub namespace: Arc<str>,
    pub local: String,
}

impl Name {
    pub fn is_dav(&self, local: &str) -> bool {
        &*self.namespace == "DAV:" && self.local == local
    }
}

/// What comes by in a document.
pub enum Part {
    /// An element begins. Declarations of namespaces are not among its attributes.
    Open(Name, Vec<(Name, String)>),
    Text(String),
    Close,
}

/// Hands over all parts of a document, each with the depth of the element it is of (the root's is 0). An error is the client's.
pub fn read(body: &[u8], each: impl FnMut(usize, Part) -> Result<(), String>) -> Result<(), ServeError> {
    read_within(body, usize::MAX, each)
}

/// The same of a document of which another library makes a tree: it has to be a small one.
pub fn read_for_tree(
    body: &[u8],
    each: impl FnMut(usize, Part) -> Result<(), String>,
) -> Result<(), ServeError> {
    read_within(body, TREE, each)
}

fn read_within(
    body: &[u8],
    tree: usize,
    each: impl FnMut(usize, Part) -> Result<(), String>,
) -> Result<(), ServeError> {
    Reading::over(body, tree, each)
        .map_err(|why| ServeError::BadRequest(format!("the body is not XML we can use: {why}")))
}

/// The name of each element with its depth.
pub fn elements(body: &[u8]) -> Result<Vec<(usize, Name)>, ServeError> {
    let mut found = Vec::new();
    read(body, |depth, part| {
        if let Part::Open(name, _) = part {
            found.push((depth, name));
        }
        Ok(())
    })?;
    Ok(found)
}

/// The namespaces of a document, each as it is spelled and as it is.
#[derive(Default)]
struct Namespaces {
    known: Vec<(String, Arc<str>)>,
    bytes: usize,
}

impl Namespaces {
    fn of(&mut self, found: ResolveResult<'_>) -> Result<Arc<str>, String> {
        let spelled = match &found {
            ResolveResult::Bound(namespace) => namespace.as_ref(),
            ResolveResult::Unbound => "",
            ResolveResult::Unknown(_) => return Err("it uses a namespace prefix that is not declared".into()),
        };
        if let Some((_, known)) = self.known.iter().find(|(known, _)| known == spelled) {
            return Ok(Arc::clone(known));
        }
        self.bytes += spelled.len();
        if self.known.len() >= NAMESPACES || self.bytes > NAMESPACE_BYTES {
            return Err(format!(
                "it has more than {NAMESPACES} namespaces, or {NAMESPACE_BYTES} bytes of them"
            ));
        }
        let meant = quick_xml::escape::unescape(spelled).map_err(|error| error.to_string())?;
        let meant: Arc<str> = sayable(&meant)?.into();
        self.known.push((spelled.to_owned(), Arc::clone(&meant)));
        Ok(meant)
    }
}

struct Reading<F> {
    namespaces: Namespaces,
    /// Elements and attributes so far.
    count: usize,
    /// Bytes that are left for a tree of it.
    tree: usize,
    depth: usize,
    over: bool,
    each: F,
}

impl<F: FnMut(usize, Part) -> Result<(), String>> Reading<F> {
    fn over(body: &[u8], tree: usize, each: F) -> Result<(), String> {
        if body.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
        let mut reader = NsReader::from_str(sayable(text.strip_prefix('\u{feff}').unwrap_or(text))?);
        let namespaces = Namespaces::default();
        let mut this = Self { namespaces, count: 0, tree, depth: 0, over: false, each };
        loop {
            let event = reader.read_event().map_err(|error| error.to_string())?;
            match event {
                Event::Start(tag) => this.open(&reader, &tag)?,
                Event::Empty(tag) => {
                    this.open(&reader, &tag)?;
                    this.close()?;
                }
                Event::End(_) => this.close()?,
                Event::DocType(_) => return Err("it has a document type, which is not taken".into()),
                Event::Text(text) => this.text(&text.xml10_content())?,
                Event::CData(text) => this.text(&text.xml10_content())?,
                Event::GeneralRef(name) => {
                    let character = match &*name {
                        "lt" => '<',
                        "gt" => '>',
                        "amp" => '&',
                        "apos" => '\'',
                        "quot" => '"',
                        _ => name
                            .resolve_char_ref()
                            .map_err(|error| error.to_string())?
                            .ok_or("it names an entity that is not declared")?,
                    };
                    this.text(sayable(character.encode_utf8(&mut [0; 4]))?)?;
                }
                Event::Eof if !this.over => return Err("it ends too early".into()),
                Event::Eof => return Ok(()),
                Event::Comment(_) | Event::PI(_) | Event::Decl(_) => {}
            }
        }
    }

    fn open(&mut self, reader: &NsReader<&[u8]>, tag: &BytesStart<'_>) -> Result<(), String> {
        if self.over {
            return Err("it has more than one root".into());
        }
        let (namespace, local) = reader.resolver().resolve_element(tag.name());
        let name = Name { namespace: self.namespaces.of(namespace)?, local: word(local.as_ref())? };
        let mut attributes: Vec<(Name, String)> = Vec::new();
        self.count += 1;
        for attribute in tag.attributes() {
            let attribute = attribute.map_err(|error| error.to_string())?;
            self.count += 1;
            match attribute.key.as_namespace_binding() {
                Some(PrefixDeclaration::Named(_)) if attribute.value.is_empty() => {
                    return Err("it binds a namespace prefix to nothing".into());
                }
                Some(_) => continue,
                None => {}
            }
            if attribute.value.contains('<') {
                return Err("an attribute holds a <".into());
            }
            let (namespace, local) = reader.resolver().resolve_attribute(attribute.key);
            let name = Name { namespace: self.namespaces.of(namespace)?, local: word(local.as_ref())? };
            let value =
                attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
            if attributes.iter().any(|(other, _)| *other == name) {
                return Err("an element has an attribute twice".into());
            }
            attributes.push((name, sayable(&value)?.to_owned()));
        }
        if self.depth >= DEEPEST || self.count > MOST {
            return Err("it is nested too deeply, or has too many elements".into());
        }
        if self.tree < usize::MAX {
            let bound = reader.resolver().bindings().map(|(_, namespace)| BINDING + namespace.as_ref().len());
            let size = ELEMENT + bound.sum::<usize>() + attributes.len() * ATTRIBUTE;
            self.tree =
                self.tree.checked_sub(size).ok_or("it has too many elements and namespaces together")?;
        }
        self.depth += 1;
        (self.each)(self.depth - 1, Part::Open(name, attributes))
    }

    fn close(&mut self) -> Result<(), String> {
        // The reader has seen to it that what closes was open.
        self.depth = self.depth.saturating_sub(1);
        self.over = self.depth == 0;
        (self.each)(self.depth, Part::Close)
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        match self.depth.checked_sub(1) {
            Some(depth) => (self.each)(depth, Part::Text(text.to_owned())),
            None if text.trim_ascii().is_empty() => Ok(()),
            None => Err("there is text outside its root".into()),
        }
    }
}

/// A local name, if it is one by XML 1.0 (production 4 without the colon).
fn word(text: &str) -> Result<String, String> {
    let begins = |c: char| match c {
        'A'..='Z' | '_' | 'a'..='z' => true,
        '\u{c0}'..='\u{2ff}' => !matches!(c, '\u{d7}' | '\u{f7}'),
        '\u{370}'..='\u{1fff}' => c != '\u{37e}',
        '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' => true,
        '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' => true,
        '\u{10000}'..='\u{effff}' => true,
        _ => false,
    };
    let goes_on = |c: char| {
        begins(c)
            || matches!(c, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
    };
    let is_name = text.starts_with(begins) && text.chars().all(goes_on);
    is_name.then(|| text.to_owned()).ok_or_else(|| "a name in it is none".into())
}

/// The text, if XML can say all of its characters.
fn sayable(text: &str) -> Result<&str, String> {
    let cannot = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.contains(cannot) { Err("it holds a character that XML cannot say".into()) } else { Ok(text) }
}

/// Text for an element or a quoted attribute. What XML cannot say is replaced.
pub fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' | '\n' | '\r' => out.push(' '),
            c => push(out, c),
        }
    }
}

/// The same with every tab and line break as it is.
pub fn escape_exactly(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            c => push(out, c),
        }
    }
}

fn push(out: &mut String, c: char) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
        c => out.push(c),
    }
}

/// Prefixes for the namespaces of what is written, each declared once.
#[derive(Debug, Default)]
pub struct Prefixes {
    known: Vec<Arc<str>>,
    /// `D` is declared for `DAV:` by whoever writes the rest.
    has_dav: bool,
}

impl Prefixes {
    pub fn beside_dav() -> Self {
        Self { known: Vec::new(), has_dav: true }
    }

    /// A name with its prefix.
    pub fn spell(&mut self, name: &Name) -> String {
        match &*name.namespace {
            "" => return name.local.clone(),
            "DAV:" if self.has_dav => return format!("D:{}", name.local),
            // Its prefix is fixed, and never declared.
            "http://www.w3.org/XML/1998/namespace" => return format!("xml:{}", name.local),
            _ => {}
        }
        let at = self.known.iter().position(|known| *known == name.namespace).unwrap_or_else(|| {
            self.known.push(Arc::clone(&name.namespace));
            self.known.len() - 1
        });
        format!("n{at}:{}", name.local)
    }

    /// Writes the declarations of all that was spelled so far, for an element around it.
    pub fn declare(&self, out: &mut String) {
        for (at, namespace) in self.known.iter().enumerate() {
            out.push_str(&format!(" xmlns:n{at}=\""));
            escape(out, namespace);
            out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> bool {
        elements(body.as_bytes()).is_err()
    }

    #[test]
    fn names_are_found_in_their_namespaces() {
        let body =
            r#"<?xml version="1.0"?><a xmlns="DAV:" xmlns:x="urn:x&amp;"><x:b/><c xmlns=""><d/></c></a>"#;
        let found: Vec<_> = elements(body.as_bytes())
            .unwrap()
            .into_iter()
            .map(|(depth, name)| (depth, name.namespace.to_string(), name.local))
            .collect();
        let expected = [(0, "DAV:", "a"), (1, "urn:x&", "b"), (1, "", "c"), (2, "", "d")];
        assert_eq!(found, expected.map(|(depth, ns, name)| (depth, ns.to_owned(), name.to_owned())));
    }

    #[test]
    fn a_namespace_is_kept_once_and_all_of_them_are_bounded() {
        let body = format!("<a xmlns='DAV:' xmlns:x='{}'>{}</a>", "u".repeat(4000), "<x:b/>".repeat(1500));
        let found = elements(body.as_bytes()).unwrap();
        assert!(found[1..].iter().all(|(_, name)| Arc::ptr_eq(&name.namespace, &found[1].1.namespace)));
        assert!(refused(&format!("<a xmlns='{}'/>", "u".repeat(NAMESPACE_BYTES + 1))), "long");
        let many: String = (0..NAMESPACES + 1).map(|number| format!("<b xmlns='{number}'/>")).collect();
        assert!(refused(&format!("<a>{many}</a>")), "many");
    }

    #[test]
    fn bombs_are_defused() {
        assert!(refused(&("<a>".repeat(10_000) + &"</a>".repeat(10_000))), "deep");
        assert!(refused(&format!("<a>{}</a>", "<b/>".repeat(10_000))), "wide");
        assert!(refused(&format!("<a>{}</a>", "x".repeat(LONGEST))), "long");
        let laughs = r#"<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>"#;
        assert!(refused(laughs), "entities");
        assert!(refused(r#"<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>"#), "external entities");
        assert!(refused("<a>&b;</a>"));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for bad in [
            "",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "x<a/>",
            "<a/>x",
            "<x:a/>",
            "<a xmlns:b=\"\"/>",
            "<a",
            "<a b/>",
            "<a b='1' b='2'/>",
            "<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>",
            "<a b='<'/>",
            "<a>&#0;</a>",
            "<a>\u{1}</a>",
            "<a>&#xffff;</a>",
            "<a b='&#2;'/>",
            "<a\"b/>",
            "<1/>",
            "<a><a$/></a>",
        ] {
            assert!(refused(bad), "{bad}");
        }
        assert!(elements(b"\xff<a/>").is_err());
        assert!(!refused("\u{feff}<a>&lt;&#10;</a>\n<!-- over -->\n"));
        assert!(!refused("<_a-1.é xml:lang='de'/>"));
    }

    #[test]
    fn text_is_what_was_meant() {
        let mut found = String::new();
        read(b"<a>1 &lt; <b/>2\r\n&#x26;<![CDATA[<3>]]></a>", |_, part| {
            if let Part::Text(text) = part {
                found.push_str(&text);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(found, "1 < 2\n&<3>");
        let mut out = String::new();
        escape_exactly(&mut out, "a\t<b>\n\"&");
        assert_eq!(out, "a&#9;&lt;b&gt;&#10;&quot;&amp;");
    }
}
