//! Bodies of WebDAV requests: small, flat enough, and without document types, before anything builds a
//! tree of them.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use crate::serve::error::ServeError;

/// Bytes of a body.
pub const LONGEST: usize = 64 << 10;
/// Elements inside one another.
const DEEPEST: usize = 32;
/// Attributes and elements in all.
const MOST: usize = 2000;

/// A name in its namespace, which is empty for names without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub namespace: String,
    pub local: String,
}

impl Name {
    pub fn is_dav(&self, local: &str) -> bool {
        self.namespace == "DAV:" && self.local == local
    }
}

/// Reads all of a document, and gives the name of each element with its depth (the root's is 0). An
/// error is the client's.
pub fn elements(body: &[u8]) -> Result<Vec<(usize, Name)>, ServeError> {
    read(body).map_err(|why| ServeError::BadRequest(format!("the body is not XML we can use: {why}")))
}

fn read(body: &[u8]) -> Result<Vec<(usize, Name)>, String> {
    if body.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let text = std::str::from_utf8(body).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = NsReader::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut found = Vec::new();
    let (mut depth, mut count, mut over) = (0, 0, false);
    loop {
        let (namespace, event) = reader.read_resolved_event().map_err(|error| error.to_string())?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                if over {
                    return Err("it has more than one root".into());
                }
                let namespace = resolved(namespace)?;
                count += 1 + attributes(tag)?;
                if depth >= DEEPEST || count > MOST {
                    return Err("it is nested too deeply, or has too many elements".into());
                }
                let local = tag.local_name().as_ref().to_owned();
                found.push((depth, Name { namespace, local }));
                if matches!(event, Event::Start(_)) {
                    depth += 1;
                } else {
                    over = depth == 0;
                }
            }
            Event::End(_) => {
                depth -= 1;
                over = depth == 0;
            }
            Event::DocType(_) => return Err("it has a document type, which is not taken".into()),
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                return Err("there is text outside its root".into());
            }
            Event::GeneralRef(name) => {
                let name: &str = name;
                let known = name.starts_with('#') || matches!(name, "lt" | "gt" | "amp" | "apos" | "quot");
                if !known {
                    return Err("it names an entity that is not declared".into());
                }
            }
            Event::Eof if !over => return Err("it ends too early".into()),
            Event::Eof => return Ok(found),
            _ => {}
        }
    }
}

fn resolved(namespace: ResolveResult<'_>) -> Result<String, String> {
    match namespace {
        ResolveResult::Bound(namespace) => Ok(namespace.as_ref().to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(_) => Err("it uses a namespace prefix that is not declared".into()),
    }
}

/// Counts the attributes. A prefix cannot be bound to nothing.
fn attributes(tag: &BytesStart<'_>) -> Result<usize, String> {
    let mut count = 0;
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if attribute.key.as_ref().starts_with("xmlns:") && attribute.value.is_empty() {
            return Err("it binds a namespace prefix to nothing".into());
        }
        count += 1;
    }
    Ok(count)
}

/// Text for an element or a quoted attribute. What XML cannot say is replaced.
pub fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
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
        let body = r#"<?xml version="1.0"?><a xmlns="DAV:" xmlns:x="urn:x"><x:b/><c xmlns=""><d/></c></a>"#;
        let found: Vec<_> = elements(body.as_bytes())
            .unwrap()
            .into_iter()
            .map(|(depth, name)| (depth, name.namespace, name.local))
            .collect();
        let expected = [(0, "DAV:", "a"), (1, "urn:x", "b"), (1, "", "c"), (2, "", "d")];
        assert_eq!(found, expected.map(|(depth, ns, name)| (depth, ns.to_owned(), name.to_owned())));
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
        ] {
            assert!(refused(bad), "{bad}");
        }
        assert!(elements(b"\xff<a/>").is_err());
        assert!(!refused("\u{feff}<a>&lt;&#10;</a>\n<!-- over -->\n"));
    }
}
