//! One token of an XML file: what it is, and what is held against it.

use super::DEEPEST;

/// Attributes of one tag.
const MOST_ATTRIBUTES: usize = 256;
/// Bytes of a name.
const LONGEST_NAME: usize = 1000;

/// What a token is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Comment,
    CData,
    Instruction,
    /// `<!DOCTYPE …>`, and whatever else begins so.
    Declaration,
    End,
    Start,
}

impl Kind {
    pub fn of(token: &[u8]) -> Self {
        match token {
            [b'<', b'!', b'-', b'-', ..] => Self::Comment,
            [b'<', b'!', b'[', ..] => Self::CData,
            [b'<', b'!', ..] => Self::Declaration,
            [b'<', b'?', ..] => Self::Instruction,
            [b'<', b'/', ..] => Self::End,
            [b'<', ..] => Self::Start,
            _ => Self::Text,
        }
    }

    pub fn is_tag(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Declaration)
    }
}

/// What was met of a file.
#[derive(Default)]
pub struct Seen {
    /// Elements that are open.
    open: Vec<String>,
    anything: bool,
    doctype: bool,
    root: bool,
    /// It says that it is in ASCII.
    is_ascii: bool,
}

/// What is wrong, and at which byte of the token.
type Wrong = (usize, String);

impl Seen {
    /// Looks at the next token, which is whole.
    pub fn token(&mut self, token: &[u8]) -> Result<(), Wrong> {
        if token.is_empty() {
            return Ok(());
        }
        let text = str::from_utf8(token).map_err(|error| (error.valid_up_to(), "it is not UTF-8".into()))?;
        let is_first = !std::mem::replace(&mut self.anything, true);
        // What marks UTF-8 may stand before all.
        let text = if is_first { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        if text.is_empty() {
            self.anything = false;
            return Ok(());
        }
        self.characters(text)?;
        match Kind::of(token) {
            Kind::Text => self.text(text),
            Kind::Comment => comment(text).map_err(|why| (0, why)),
            Kind::CData => self.cdata(text).map_err(|why| (0, why)),
            Kind::Instruction => self.instruction(text, is_first).map_err(|why| (0, why)),
            Kind::Declaration => self.doctype(text).map_err(|why| (0, why)),
            Kind::End => self.close(text).map_err(|why| (0, why)),
            Kind::Start => self.open(text),
        }
    }

    /// Looks at what is missing at the end of the file.
    pub fn end(&self) -> Result<(), String> {
        match (self.open.last(), self.root) {
            (Some(open), _) => Err(format!("it ends before </{open}>")),
            (None, false) => Err("it has no element at all".into()),
            (None, true) => Ok(()),
        }
    }

    fn characters(&self, text: &str) -> Result<(), Wrong> {
        let is_plain = |b: &u8| matches!(b, b' '..=0x7f | b'\t' | b'\n' | b'\r');
        if text.as_bytes().iter().all(is_plain) {
            return Ok(());
        }
        if let Some((at, bad)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            return Err((at, format!("the character U+{:04X}, which XML does not allow", u32::from(bad))));
        }
        match text.find(|c: char| !c.is_ascii()) {
            Some(at) if self.is_ascii => {
                Err((at, "it says that it is in ASCII, and is not; write encoding=\"UTF-8\"".into()))
            }
            _ => Ok(()),
        }
    }

    fn text(&self, text: &str) -> Result<(), Wrong> {
        if self.open.is_empty() {
            return match text.find(|c| !is_space(c)) {
                Some(at) => Err((at, "text outside the root element".into())),
                None => Ok(()),
            };
        }
        if let Some(at) = text.find("]]>") {
            return Err((at, "]]> in a text, where it must be written ]]&gt;".into()));
        }
        references(text)
    }

    fn cdata(&self, text: &str) -> Result<(), String> {
        if !text.starts_with("<![CDATA[") {
            return Err("<![ that begins no <![CDATA[".into());
        }
        if self.open.is_empty() {
            return Err("text outside the root element".into());
        }
        Ok(())
    }

    fn instruction(&mut self, text: &str, is_first: bool) -> Result<(), String> {
        let inside = &text[2..text.len() - 2];
        let end = inside.find(is_space).unwrap_or(inside.len());
        let (target, rest) = inside.split_at(end);
        if !target.eq_ignore_ascii_case("xml") {
            return name(target).map(|_| ());
        }
        if target != "xml" || !is_first {
            return Err(format!("<?{target} stands at the very beginning of a file, and nowhere else"));
        }
        let mut cursor = Cursor { text: rest, at: 0 };
        let mut found = Vec::new();
        while let Some((key, value)) = cursor.attribute()? {
            found.push((key, value));
        }
        let mut found = found.into_iter().peekable();
        match found.next() {
            Some(("version", "1.0")) => {}
            Some(("version", other)) => {
                return Err(format!(
                    "its version of XML is {}, which not all clients read; write 1.0",
                    clipped(other)
                ));
            }
            _ => return Err("<?xml …?> has no version as the first that it says".into()),
        }
        if let Some((_, encoding)) = found.next_if(|(key, _)| *key == "encoding") {
            self.is_ascii = encoding.eq_ignore_ascii_case("us-ascii");
            if !self.is_ascii && !encoding.eq_ignore_ascii_case("utf-8") {
                return Err(format!(
                    "its encoding is {}, which not all clients read; convert it, and write encoding=\"UTF-8\"",
                    clipped(encoding)
                ));
            }
        }
        if let Some((_, value)) = found.next_if(|(key, _)| *key == "standalone")
            && !matches!(value, "yes" | "no")
        {
            return Err("standalone is neither yes nor no".into());
        }
        match found.next() {
            Some((key, _)) => Err(format!("{} in <?xml …?>, where it has no place", clipped(key))),
            None => Ok(()),
        }
    }

    fn doctype(&mut self, text: &str) -> Result<(), String> {
        let Some(rest) = text.strip_prefix("<!DOCTYPE") else {
            return Err(format!("{} begins nothing that XML knows", clipped(text)));
        };
        if self.root {
            return Err("<!DOCTYPE stands before the root element".into());
        }
        if std::mem::replace(&mut self.doctype, true) {
            return Err("a second <!DOCTYPE".into());
        }
        let mut cursor = Cursor { text: &rest[..rest.len() - 1], at: 0 };
        let wrong = || "a <!DOCTYPE that is not as in <!DOCTYPE comps PUBLIC \"…\" \"comps.dtd\">".to_owned();
        if cursor.spaces() == 0 {
            return Err(wrong());
        }
        cursor.name()?;
        if cursor.spaces() > 0 && cursor.eat("PUBLIC") {
            let is_right = |c: char| c.is_ascii_alphanumeric() || " \r\n-'()+,./:=?;!*#@$_%".contains(c);
            if cursor.spaces() == 0 || !cursor.quoted().is_some_and(|id| id.chars().all(is_right)) {
                return Err(wrong());
            }
            if cursor.spaces() == 0 || cursor.quoted().is_none() {
                return Err(wrong());
            }
        } else if cursor.eat("SYSTEM") && (cursor.spaces() == 0 || cursor.quoted().is_none()) {
            return Err(wrong());
        }
        cursor.spaces();
        match cursor.rest() {
            "" => Ok(()),
            more if more.starts_with('[') => {
                Err("it declares entities or elements in its <!DOCTYPE, which is not done for metadata; write out \
                     what they stand for"
                    .into())
            }
            _ => Err(wrong()),
        }
    }

    fn close(&mut self, text: &str) -> Result<(), String> {
        let found = text[2..text.len() - 1].trim_end_matches(is_space);
        match self.open.pop() {
            Some(open) if open == found => Ok(()),
            Some(open) => Err(format!("</{}> where </{open}> was expected", clipped(found))),
            None => Err(format!("</{}> outside the root element", clipped(found))),
        }
    }

    fn open(&mut self, text: &str) -> Result<(), Wrong> {
        let inside = &text[1..text.len() - 1];
        let (inside, is_empty) = match inside.strip_suffix('/') {
            Some(inside) => (inside, true),
            None => (inside, false),
        };
        let mut cursor = Cursor { text: inside, at: 0 };
        let own = cursor.name().map_err(|why| (0, why))?;
        if self.open.is_empty() && std::mem::replace(&mut self.root, true) {
            return Err((0, format!("a second root element, <{own}>")));
        }
        if self.open.len() >= DEEPEST {
            return Err((0, format!("elements are nested deeper than {DEEPEST} levels")));
        }
        let mut keys: Vec<&str> = Vec::new();
        loop {
            let at = |cursor: &Cursor<'_>| 1 + cursor.at;
            let attribute = cursor.attribute().map_err(|why| (at(&cursor), why))?;
            let Some((key, value)) = attribute else { break };
            let wrong = |why: String| Err((at(&cursor), why));
            if value.contains('<') {
                return wrong(format!("< in the value of {key}, where it must be written &lt;"));
            }
            references(value).map_err(|(_, why)| (at(&cursor), why))?;
            if keys.iter().any(|known| is_same(known, key)) {
                return wrong(format!("the attribute {key} stands there twice"));
            }
            if keys.len() >= MOST_ATTRIBUTES {
                return wrong(format!("more than {MOST_ATTRIBUTES} attributes in one tag"));
            }
            keys.push(key);
        }
        if !is_empty {
            self.open.push(own.to_owned());
        }
        Ok(())
    }
}

/// Whether two attributes may be one: of one name, or with two prefixes that may stand for one namespace.
fn is_same(a: &str, b: &str) -> bool {
    a == b
        || match (a.split_once(':'), b.split_once(':')) {
            (Some((one, a)), Some((two, b))) => a == b && one != "xmlns" && two != "xmlns",
            _ => false,
        }
}

fn comment(text: &str) -> Result<(), String> {
    let inside = &text[4..text.len() - 3];
    if inside.contains("--") || inside.ends_with('-') {
        return Err("-- in a comment, where it has no place".into());
    }
    Ok(())
}

/// Holds every `&` of a text against what it may begin.
fn references(text: &str) -> Result<(), Wrong> {
    for at in memchr::memchr_iter(b'&', text.as_bytes()) {
        let rest = &text[at + 1..];
        let wrong = |why: String| Err((at, why));
        let end = rest.bytes().take(LONGEST_NAME).position(|b| b == b';');
        let Some(reference) = end.map(|end| &rest[..end]).filter(|name| !name.contains(char::is_whitespace))
        else {
            return wrong("& that begins no reference; write &amp;".into());
        };
        let Some(number) = reference.strip_prefix('#') else {
            match reference {
                "lt" | "gt" | "amp" | "quot" | "apos" => continue,
                other => return wrong(format!("&{}; stands for nothing", clipped(other))),
            }
        };
        let code = match number.strip_prefix('x') {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                u32::from_str_radix(digits, 16).ok()
            }
            None if number.bytes().all(|b| b.is_ascii_digit()) => number.parse().ok(),
            _ => None,
        };
        if !code.and_then(char::from_u32).is_some_and(is_allowed) {
            return wrong(format!("&{}; is no character that XML allows", clipped(reference)));
        }
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// A name, with one prefix at most. In ASCII: parsers disagree on which other letters a name may have, and no
/// metadata has any.
fn name(text: &str) -> Result<&str, String> {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    };
    let is_right = match text.split_once(':') {
        Some((prefix, rest)) => is_part(prefix) && is_part(rest),
        None => is_part(text),
    };
    if is_right && text.len() <= LONGEST_NAME {
        return Ok(text);
    }
    Err(format!("{:?} is no name that every client reads", clipped(text)))
}

fn clipped(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A place in what stands in a tag.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Passes over white space; how much there was.
    fn spaces(&mut self) -> usize {
        let rest = self.rest();
        let length = rest.len() - rest.trim_start_matches(is_space).len();
        self.at += length;
        length
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let rest = self.rest();
        let end = rest
            .find(|c| is_space(c) || matches!(c, '=' | '/' | '"' | '\'' | '[' | '<'))
            .unwrap_or(rest.len());
        self.at += end;
        name(&rest[..end])
    }

    fn quoted(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let end = rest[1..].find(quote)?;
        self.at += end + 2;
        Some(&rest[1..=end])
    }

    /// The next attribute, with the white space before it; `None` where there is none any more.
    fn attribute(&mut self) -> Result<Option<(&'a str, &'a str)>, String> {
        let spaces = self.spaces();
        if self.rest().is_empty() {
            return Ok(None);
        }
        let key = self.name()?;
        if spaces == 0 {
            return Err(format!("no white space before {key}"));
        }
        self.spaces();
        if !self.eat("=") {
            return Err(format!("{key} has no value"));
        }
        self.spaces();
        match self.quoted() {
            Some(value) => Ok(Some((key, value))),
            None => Err(format!("the value of {key} is not in quotes")),
        }
    }
}
