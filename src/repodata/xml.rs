//! Escaping as libxml2 writes it, and what to do with characters XML forbids.
//!
//! A header may hold characters that no XML 1.0 document can: control characters, U+FFFE and
//! U+FFFF. createrepo_c loses the package (or writes a file no client can read); here each becomes
//! U+FFFD, the replacement character, and the package stays in.

use std::io::Write;

const PLAIN: u8 = 0;
/// Written otherwise, in element text and in attributes.
const ALWAYS: u8 = 1;
/// Written otherwise in attributes only.
const IN_ATTRIBUTES: u8 = 2;

/// What to do with a byte of UTF-8.
const KINDS: [u8; 256] = {
    let mut kinds = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'\t' | b'\n' | b'"' => IN_ATTRIBUTES,
            0x00..=0x1f | b'<' | b'>' | b'&' => ALWAYS,
            // U+FFFE and U+FFFF begin with it.
            0xef => ALWAYS,
            0x80..=0xff => IN_ATTRIBUTES,
            _ => PLAIN,
        };
        byte += 1;
    }
    kinds
};

/// Appends text between tags.
pub fn text(out: &mut Vec<u8>, text: &str) {
    escape(out, text, ALWAYS, |out, character| match character {
        '<' => out.extend_from_slice(b"&lt;"),
        '>' => out.extend_from_slice(b"&gt;"),
        '&' => out.extend_from_slice(b"&amp;"),
        '\r' => out.extend_from_slice(b"&#13;"),
        '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.extend_from_slice("\u{fffd}".as_bytes()),
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    });
}

/// Appends text between the quotes of an attribute, where anything beyond ASCII becomes a reference.
pub fn attribute(out: &mut Vec<u8>, text: &str) {
    escape(out, text, IN_ATTRIBUTES, |out, character| match character {
        '<' => out.extend_from_slice(b"&lt;"),
        '>' => out.extend_from_slice(b"&gt;"),
        '&' => out.extend_from_slice(b"&amp;"),
        '"' => out.extend_from_slice(b"&quot;"),
        '\t' => out.extend_from_slice(b"&#9;"),
        '\n' => out.extend_from_slice(b"&#10;"),
        '\r' => out.extend_from_slice(b"&#13;"),
        '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => out.extend_from_slice(b"&#xFFFD;"),
        // Writing to a Vec cannot fail.
        other => drop(write!(out, "&#x{:X};", u32::from(other))),
    });
}

/// Appends a number in decimal digits.
pub fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Copies runs of plain bytes, and hands each character whose kind is up to `level` to `special`.
fn escape(out: &mut Vec<u8>, text: &str, level: u8, special: impl Fn(&mut Vec<u8>, char)) {
    let mut rest = text;
    loop {
        let is_special = |&byte: &u8| (1..=level).contains(&KINDS[usize::from(byte)]);
        let run = rest.as_bytes().iter().position(is_special).unwrap_or(rest.len());
        // A special byte is ASCII or begins a character, so this is a boundary.
        let (plain, tail) = rest.split_at(run);
        out.extend_from_slice(plain.as_bytes());
        let mut characters = tail.chars();
        let Some(character) = characters.next() else { return };
        special(out, character);
        rest = characters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_text(input: &str) -> String {
        let mut out = Vec::new();
        text(&mut out, input);
        String::from_utf8(out).unwrap()
    }

    fn in_attribute(input: &str) -> String {
        let mut out = Vec::new();
        attribute(&mut out, input);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_escapes_markup_and_carriage_returns_only() {
        assert_eq!(
            in_text("a <b> & \"c\" 'd'\t\n\r\u{7f}é日😀"),
            "a &lt;b&gt; &amp; \"c\" 'd'\t\n&#13;\u{7f}é日😀"
        );
    }

    #[test]
    fn attributes_escape_quotes_white_space_and_everything_beyond_ascii() {
        assert_eq!(
            in_attribute("a <b> & \"c\" 'd'\t\n\r\u{7f}é日😀"),
            "a &lt;b&gt; &amp; &quot;c&quot; 'd'&#9;&#10;&#13;\u{7f}&#xE9;&#x65E5;&#x1F600;"
        );
    }

    #[test]
    fn what_xml_forbids_becomes_the_replacement_character() {
        assert_eq!(
            in_text("\0\u{1}\u{1f}\u{fffe}\u{ffff}\u{fffd}\u{feff}"),
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{feff}"
        );
        assert_eq!(in_attribute("a\u{1b}[\u{ffff}"), "a&#xFFFD;[&#xFFFD;");
    }

    #[test]
    fn every_character_reads_back_as_itself_or_as_the_replacement() {
        for character in ('\0'..=char::MAX).filter(|c| u32::from(*c) < 0x3000 || u32::from(*c) % 251 == 0) {
            let allowed = matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            let wanted = if allowed { character } else { '\u{fffd}' };
            let document = format!("<a b=\"{}\"/>", in_attribute(&character.to_string()));
            let mut reader = quick_xml::Reader::from_str(&document);
            let quick_xml::events::Event::Empty(element) = reader.read_event().unwrap() else { panic!() };
            let value = element.try_get_attribute("b").unwrap().unwrap();
            let value = quick_xml::escape::unescape(&value.value).unwrap().into_owned();
            assert_eq!(value, wanted.to_string(), "{character:?}");
            let text = quick_xml::escape::unescape(&in_text(&character.to_string())).unwrap().into_owned();
            assert_eq!(text, wanted.to_string(), "{character:?}");
        }
    }
}
