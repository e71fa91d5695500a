//! What a package's entry says, read back from its XML.

use std::ops::Range;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::xml;
use crate::package::Checksum;

/// Attributes of one tag.
const MOST_ATTRIBUTES: usize = 256;

/// One tag of a package's entry.
pub enum Step<'a> {
    /// `depth` is 0 for `<package>` itself. `span` is the tag's place in the text.
    Open { name: &'a str, depth: usize, tag: &'a BytesStart<'a>, span: Range<usize> },
    /// `text` is what stood behind the last tag, references resolved.
    Close { name: &'a str, depth: usize, text: &'a str },
}

/// Walks through an entry, names without their prefixes. An error says what is wrong with it.
pub fn visit(text: &str, mut on: impl FnMut(Step<'_>) -> Result<(), String>) -> Result<(), String> {
    let mut reader = Reader::from_str(text);
    let mut depth = 0;
    let mut content = String::new();
    loop {
        let start = position(&reader);
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(tag) => {
                content.clear();
                let span = start..position(&reader);
                on(Step::Open { name: tag.local_name().as_ref(), depth, tag: &tag, span })?;
                depth += 1;
            }
            Event::Empty(tag) => {
                let (name, span) = (tag.local_name(), start..position(&reader));
                on(Step::Open { name: name.as_ref(), depth, tag: &tag, span })?;
                on(Step::Close { name: name.as_ref(), depth, text: "" })?;
                content.clear();
            }
            Event::End(tag) => {
                depth -= 1;
                on(Step::Close { name: tag.local_name().as_ref(), depth, text: &content })?;
                content.clear();
            }
            Event::Text(piece) => content.push_str(&piece.xml10_content()),
            Event::CData(piece) => content.push_str(&piece.xml10_content()),
            Event::GeneralRef(name) => {
                let reference = format!("&{};", &*name);
                content.push_str(&quick_xml::escape::unescape(&reference).map_err(|e| e.to_string())?);
            }
            Event::Eof => return Ok(()),
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::DocType(_) => {}
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> usize {
    // The text is in memory, so its positions fit.
    usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX)
}

/// The value of an attribute whose name, without a prefix, is `name`.
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    // Each is held against all before it, so there must not be many.
    if tag.attributes().with_checks(false).nth(MOST_ATTRIBUTES).is_some() {
        return Err(format!("more than {MOST_ATTRIBUTES} attributes in one tag"));
    }
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// What of an entry of primary.xml is needed to find, compare and move the package.
///
/// Nothing in it is to be trusted: `href` may be any text, and is never joined to a path unchecked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    pub pkgid: String,
    /// `sha256` …; `sha` in old ones.
    pub checksum_type: String,
    pub name: String,
    pub arch: String,
    pub epoch: String,
    pub version: String,
    pub release: String,
    pub summary: String,
    pub href: String,
    /// `xml:base`
    pub base: Option<String>,
    /// Seconds since the epoch.
    pub file_time: i64,
    /// Seconds since the epoch.
    pub build_time: i64,
    /// Bytes.
    pub size: u64,
    /// Empty for source packages.
    pub source_rpm: String,
    /// Where `<location …/>` stands in the text.
    pub location: Range<usize>,
}

impl Facts {
    /// Reads an entry of primary.xml. An error says what it lacks, or what is malformed in it.
    pub fn of(primary: &str) -> Result<Self, String> {
        let mut facts = Self::default();
        visit(primary, |step| facts.take(step))?;
        let lacks = |what: &str| format!("a <package> has no {what} ({:?})", facts.name);
        match &facts {
            Self { name, .. } if name.is_empty() => Err(lacks("<name>")),
            Self { pkgid, .. } if pkgid.is_empty() => Err(lacks("<checksum>")),
            Self { href, .. } if href.is_empty() => Err(lacks("<location href>")),
            _ => Ok(facts),
        }
    }

    fn take(&mut self, step: Step<'_>) -> Result<(), String> {
        match step {
            Step::Open { name, depth: 1, tag, span } => match name {
                "version" => {
                    self.epoch = attribute(tag, "epoch")?.unwrap_or_default();
                    self.version = attribute(tag, "ver")?.unwrap_or_default();
                    self.release = attribute(tag, "rel")?.unwrap_or_default();
                }
                "checksum" => self.checksum_type = attribute(tag, "type")?.unwrap_or_default(),
                "time" => {
                    self.file_time = number(tag, "file")?;
                    self.build_time = number(tag, "build")?;
                }
                "size" => self.size = u64::try_from(number(tag, "package")?).unwrap_or(0),
                "location" => {
                    self.href = attribute(tag, "href")?.unwrap_or_default();
                    self.base = attribute(tag, "base")?.filter(|base| !base.is_empty());
                    self.location = span;
                }
                _ => {}
            },
            Step::Close { name, depth: 1, text } => match name {
                "name" => text.trim().clone_into(&mut self.name),
                "arch" => text.trim().clone_into(&mut self.arch),
                "checksum" => text.trim().clone_into(&mut self.pkgid),
                "summary" => text.trim().clone_into(&mut self.summary),
                _ => {}
            },
            Step::Close { name: "sourcerpm", depth: 2, text } => text.clone_into(&mut self.source_rpm),
            _ => {}
        }
        Ok(())
    }

    /// The pkgid, if it is one.
    pub fn checksum(&self) -> Option<Checksum> {
        Checksum::from_hex(self.checksum_type.parse().ok()?, &self.pkgid)
    }

    /// Name, epoch, version, release and architecture, as createrepo_c prints them.
    pub fn nevra(&self) -> String {
        let Self { name, epoch, version, release, arch, .. } = self;
        let epoch = if epoch.is_empty() { "0" } else { epoch };
        format!("{name}-{epoch}:{version}-{release}.{arch}")
    }

    /// The entry these facts were read from, with another place.
    pub fn relocated(&self, primary: &str, base: Option<&str>, href: &str) -> String {
        let mut tag = location_tag(base, href);
        let old = &primary[self.location.clone()];
        if !old.ends_with("/>") {
            // Its end tag follows.
            tag.truncate(tag.len() - 2);
            tag.push('>');
        }
        [&primary[..self.location.start], &tag, &primary[self.location.end..]].concat()
    }
}

/// `<location xml:base="…" href="…"/>`
pub fn location_tag(base: Option<&str>, href: &str) -> String {
    let mut tag = b"<location ".to_vec();
    if let Some(base) = base {
        tag.extend_from_slice(b"xml:base=\"");
        xml::attribute(&mut tag, base);
        tag.extend_from_slice(b"\" ");
    }
    tag.extend_from_slice(b"href=\"");
    xml::attribute(&mut tag, href);
    tag.extend_from_slice(b"\"/>");
    String::from_utf8_lossy(&tag).into_owned()
}

/// A whole number; 0 where there is none. Old tools wrote fractions.
fn number(tag: &BytesStart<'_>, name: &str) -> Result<i64, String> {
    let Some(text) = attribute(tag, name)? else { return Ok(0) };
    let whole = text.trim().split('.').next().unwrap_or_default();
    if whole.is_empty() {
        return Ok(0);
    }
    whole.parse().map_err(|_| format!("{name}={text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"<package type="rpm">
  <name>a&amp;b</name>
  <arch>noarch</arch>
  <version epoch="1" ver="2" rel="3"/>
  <checksum pkgid="YES" type="sha256"><![CDATA[e3b0]]></checksum>
  <summary>name</summary>
  <time build="6" file="5.75"/>
  <size package="7"/>
  <location href="x/&quot;a.rpm" xml:base="http://h/"/>
  <format><rpm:sourcerpm>a.src.rpm</rpm:sourcerpm></format>
</package>"#;

    #[test]
    fn facts_are_read_whatever_the_order_of_attributes() {
        let facts = Facts::of(ENTRY).unwrap();
        assert_eq!(facts.nevra(), "a&b-1:2-3.noarch");
        assert_eq!((&*facts.href, facts.base.as_deref()), ("x/\"a.rpm", Some("http://h/")));
        assert_eq!((facts.file_time, facts.build_time, facts.size), (5, 6, 7));
        assert_eq!((&*facts.pkgid, &*facts.source_rpm), ("e3b0", "a.src.rpm"));
        assert_eq!(facts.checksum(), None, "too short for a SHA-256");
    }

    #[test]
    fn a_moved_entry_differs_in_its_place_only() {
        let moved = Facts::of(ENTRY).unwrap().relocated(ENTRY, None, "y.rpm");
        let facts = Facts::of(&moved).unwrap();
        assert_eq!((&*facts.href, facts.base), ("y.rpm", None));
        assert_eq!(
            moved.replace(r#"<location href="y.rpm"/>"#, "X").len(),
            ENTRY.len() - r#"<location href="x/&quot;a.rpm" xml:base="http://h/"/>"#.len() + 1
        );
        let open = ENTRY.replace("http://h/\"/>", "http://h/\"></location>");
        let moved = Facts::of(&open).unwrap().relocated(&open, Some("b"), "z");
        assert_eq!(Facts::of(&moved).unwrap().href, "z");
    }

    #[test]
    fn an_entry_that_lacks_something_is_refused() {
        for (from, to, why) in [
            ("<name>a&amp;b</name>", "", "<name>"),
            ("href=\"x/&quot;a.rpm\"", "", "location"),
            ("<![CDATA[e3b0]]>", "", "checksum"),
            ("file=\"5.75\"", "file=\"x\"", "not a number"),
            ("a&amp;b", "a&foo;b", "foo"),
        ] {
            assert!(ENTRY.contains(from));
            let error = Facts::of(&ENTRY.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
