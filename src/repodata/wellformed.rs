//! Whether somebody's XML file is one to every XML parser: XML 1.0, held to by the letter.
//!
//! The parser we read with passes over much of what expat and libxml2, through which dnf and zypper read, refuse;
//! and where they refuse one letter, the client loses the whole file, or the whole repository. So a file is checked
//! here while it is read. Stricter than the letter, where readers disagree or memory would have no bound: UTF-8
//! only, names in ASCII, no declarations inside a DOCTYPE.

mod token;

use std::io::{self, BufRead, Read};

use token::{Kind, Seen};

/// Bytes: the longest tag, comment or text. libxml2 takes no more; an advisory's description has some 100 KiB.
pub const LONGEST: usize = 10_000_000;
/// Bytes of a tag.
const LONGEST_TAG: usize = 1 << 20;
/// How deep elements may stand in one another.
pub const DEEPEST: usize = 64;

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counts from 1.
    pub line: u64,
    pub why: String,
}

/// Hands on what it reads, as far as that is well-formed.
pub struct WellFormed<R> {
    inner: R,
    /// Bytes of what `inner` holds ready that were looked at.
    ahead: usize,
    checker: Checker,
    fault: Option<Fault>,
}

impl<R> WellFormed<R> {
    pub fn new(inner: R) -> Self {
        Self { inner, ahead: 0, checker: Checker::default(), fault: None }
    }

    /// What was wrong, once reading has failed for it.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }
}

impl<R: BufRead> Read for WellFormed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for WellFormed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let Self { inner, ahead, checker, fault } = self;
        let available = inner.fill_buf()?;
        if fault.is_none() && *ahead < available.len() {
            *fault = checker.feed(&available[*ahead..]).err();
            *ahead = available.len();
        } else if fault.is_none() && available.is_empty() {
            *fault = checker.end().err();
        }
        match fault {
            Some(fault) => Err(io::Error::new(io::ErrorKind::InvalidData, fault.why.clone())),
            None => Ok(available),
        }
    }

    fn consume(&mut self, amount: usize) {
        self.ahead = self.ahead.saturating_sub(amount);
        self.inner.consume(amount);
    }
}

/// Checks a text that is in memory, with one element in it.
pub fn check(text: &str) -> Result<(), Fault> {
    let mut checker = Checker::default();
    checker.feed(text.as_bytes())?;
    checker.end()
}

/// Cuts a file into tags, texts and the like, wherever the pieces it comes in end, and has each looked at.
struct Checker {
    /// What was read of the token that has begun.
    token: Vec<u8>,
    /// Bytes of it that were searched for its end.
    searched: usize,
    /// The quote that is open there, in a tag.
    quote: Option<u8>,
    /// The line where it begins.
    line: u64,
    seen: Seen,
}

impl Default for Checker {
    fn default() -> Self {
        Self { token: Vec::new(), searched: 0, quote: None, line: 1, seen: Seen::default() }
    }
}

impl Checker {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while !bytes.is_empty() {
            let is_markup = self.token.first() == Some(&b'<');
            let found = memchr::memchr(if is_markup { b'>' } else { b'<' }, bytes);
            // What ends a text begins the next token.
            let length = found.map_or(bytes.len(), |at| at + usize::from(is_markup));
            let (more, rest) = bytes.split_at(length);
            bytes = rest;
            let longest = if is_markup && Kind::of(&self.token).is_tag() { LONGEST_TAG } else { LONGEST };
            if self.token.len() + more.len() > longest {
                return self.fault(format!("a tag or text longer than {longest} bytes"));
            }
            self.token.extend_from_slice(more);
            if found.is_none() {
                continue;
            }
            if !is_markup {
                self.finish()?;
                self.token.push(b'<');
                bytes = &bytes[1..];
            } else if self.is_complete() {
                self.finish()?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.token.first() == Some(&b'<') {
            return self.fault("it ends within a tag, a comment or the like that begins here".into());
        }
        self.finish()?;
        match self.seen.end() {
            Ok(()) => Ok(()),
            Err(why) => self.fault(why),
        }
    }

    /// Whether the `>` at the end of the token ends it.
    fn is_complete(&mut self) -> bool {
        let token = &self.token;
        match Kind::of(token) {
            Kind::Comment => token.len() >= 7 && token.ends_with(b"-->"),
            Kind::CData => token.ends_with(b"]]>"),
            Kind::Instruction => token.len() >= 4 && token.ends_with(b"?>"),
            Kind::Text | Kind::Declaration | Kind::End | Kind::Start => {
                for byte in &token[self.searched..] {
                    match self.quote {
                        Some(quote) if quote == *byte => self.quote = None,
                        None if matches!(byte, b'"' | b'\'') => self.quote = Some(*byte),
                        _ => {}
                    }
                }
                self.searched = token.len();
                self.quote.is_none()
            }
        }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if let Err((at, why)) = self.seen.token(&self.token) {
            let line = self.line + line_breaks(&self.token[..at]);
            return Err(Fault { line, why });
        }
        self.line += line_breaks(&self.token);
        self.token.clear();
        // One token of unusual length must not cost its memory for ever.
        self.token.shrink_to(1 << 16);
        (self.searched, self.quote) = (0, None);
        Ok(())
    }

    fn fault(&self, why: String) -> Result<(), Fault> {
        let line = if self.token.first() == Some(&b'<') { 0 } else { line_breaks(&self.token) };
        Err(Fault { line: self.line + line, why })
    }
}

fn line_breaks(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict, which must be the same however the text is cut.
    fn check(text: &[u8]) -> Result<(), String> {
        let verdict = |size| {
            let mut reader = WellFormed::new(io::BufReader::with_capacity(size, text));
            match io::copy(&mut reader, &mut io::sink()) {
                Ok(read) => {
                    assert_eq!(read, text.len() as u64);
                    Ok(())
                }
                Err(_) => {
                    let Fault { line, why } = reader.fault().unwrap().clone();
                    Err(format!("line {line}: {why}"))
                }
            }
        };
        let whole = verdict(1 << 16);
        for size in [1, 2, 7] {
            assert_eq!(verdict(size), whole, "{size}");
        }
        whole
    }

    #[test]
    fn what_is_well_formed_passes() {
        for good in [
            "<a/>",
            "\u{feff}<?xml version='1.0' encoding=\"utf-8\" standalone='yes' ?>\n<a/>\n",
            "<?xml version=\"1.0\"?><!-- - > <b> --><?p > ?>\n<!DOCTYPE a>\r\n<a/> <!----> <?q?>",
            "<!DOCTYPE a PUBLIC '-//X//DTD Comps info//EN' \"a'>.dtd\"  ><a/>",
            "<!DOCTYPE a SYSTEM 'a.dtd'><a/>",
            "<a b = '>\"' c:d=\"'/>\" xmlns:c='e'\n>x ]] > &lt;&#10;&#x1F600; \u{e9}</a >",
            "<a><![CDATA[<b>&c;]] >]]>]]&gt;<b/></a>",
        ] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_is_not_is_told_with_its_line() {
        for (bad, why) in [
            ("", "line 1: it has no element at all"),
            ("a", "line 1: text outside the root element"),
            ("\n<?xml version='1.0'?><a/>", "line 2: <?xml stands at the very beginning"),
            ("<a/><?XML version='1.0'?>", "line 1: <?XML stands at"),
            ("<?xml encoding='UTF-8'?><a/>", "line 1: <?xml …?> has no version"),
            ("<?xml version='1.1'?><a/>", "line 1: its version of XML is 1.1"),
            ("<?xml version='1.0'encoding='UTF-8'?><a/>", "line 1: "),
            ("<?xml version='1.0' encoding='UTF-8' standalone='1'?><a/>", "line 1: "),
            ("<?xml version='1.0' encoding='latin1'?><a/>", "line 1: its encoding is latin1"),
            ("<?xml version='1.0' encoding='us-ascii'?><a>\u{e9}</a>", "line 1: it says that it is in ASCII"),
            ("<a>\n</b>", "line 2: </b> where </a> was expected"),
            ("<a>\n<b>\n", "line 3: it ends before </b>"),
            ("<a/>\n<a/>", "line 2: a second root element, <a>"),
            ("<a/>\nx", "line 2: text outside"),
            ("<a/>&lt;", "line 1: text outside"),
            ("<a/><![CDATA[]]>", "line 1: text outside"),
            ("<a>\n]]></a>", "line 2: ]]> in a text"),
            ("<a>&b;</a>", "line 1: &b; stands for nothing"),
            ("<a>& b</a>", "line 1: & "),
            ("<a>&#0;</a>", "line 1: &#0; is no character"),
            ("<a>&#xD800;</a>", "line 1: &#xD800; is no"),
            ("<a>&#x;</a>", "line 1: &#x; is no"),
            ("<a>&#+1;</a>", "line 1: &#+1; is no"),
            ("<a>\n\u{1}</a>", "line 2: the character U+0001"),
            ("<a b='\u{ffff}'/>", "line 1: the character U+FFFF"),
            ("<a><!-- -- --></a>", "line 1: -- in a comment"),
            ("<a><!-- ---></a>", "line 1: -- in a comment"),
            ("<a b='1'\nb='2'/>", "line 2: the attribute b stands there twice"),
            ("<a b='1'c='2'/>", "line 1: "),
            ("<a b=1/>", "line 1: "),
            ("<a b/>", "line 1: "),
            ("<a b='<'/>", "line 1: < in the value of b"),
            ("<a b='&c'/>", "line 1: & "),
            ("<1/>", "line 1: \"1\" is no name"),
            ("< a/>", "line 1: \"\" is no name"),
            ("<a\u{e9}/>", "line 1: \"a\u{e9}\" is no name"),
            ("<a / >", "line 1: "),
            ("<a></a b>", "line 1: "),
            ("<a", "line 1: it ends within"),
            ("<a b='>", "line 1: it ends within"),
            ("<a><!-- ", "line 1: it ends within"),
            ("<!DOCTYPE a><!DOCTYPE a><a/>", "line 1: a second <!DOCTYPE"),
            ("<a/><!DOCTYPE a>", "line 1: <!DOCTYPE stands before"),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a/>", "line 1: it declares entities"),
            ("<!DOCTYPE a PUBLIC 'b'><a/>", "line 1: "),
            ("<!ELEMENT a><a/>", "line 1: "),
        ] {
            let error = check(bad.as_bytes()).unwrap_err();
            assert!(error.starts_with(why), "{bad}: {error}");
        }
        assert_eq!(check(b"<a>\n\xff</a>").unwrap_err(), "line 2: it is not UTF-8");
        assert_eq!(check(b"<a>\xed\xa0\x80</a>").unwrap_err(), "line 1: it is not UTF-8");
        assert_eq!(check(b"\xff\xfe<\0a\0/\0>\0").unwrap_err(), "line 1: it is not UTF-8");
    }

    #[test]
    fn memory_has_a_bound() {
        let mut many = String::from("<a");
        (0..300).for_each(|i| many.push_str(&format!(" a{i}=''")));
        assert!(check(format!("{many}/>").as_bytes()).unwrap_err().contains("more than 256 attributes"));
        let deep = "<a>".repeat(65);
        assert!(check(deep.as_bytes()).unwrap_err().contains("deeper than 64"));
        for endless in ["<a>", "<a b='", "<!--", "<a><![CDATA[", "<?p "] {
            let source = io::BufReader::new(endless.as_bytes().chain(io::repeat(b'x')));
            let mut reader = WellFormed::new(source);
            assert!(io::copy(&mut reader, &mut io::sink()).is_err());
            assert!(reader.fault().unwrap().why.contains("longer than"), "{endless}");
        }
    }
}
