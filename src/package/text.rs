//! Bytes of a header as text: UTF-8 where they are, Latin-1 where they are not.

use std::borrow::Cow;

use super::Text;

/// Reads a header's string the way createrepo_c does: UTF-8 as it is, anything else as Latin-1.
///
/// Unlike createrepo_c, Latin-1 keeps every byte (it drops 0x80 to 0xBF), and sequences that have the
/// shape of UTF-8 but mean no character (encoded surrogates, overlong forms, beyond U+10FFFF), which
/// make its XML malformed, become U+FFFD each.
pub fn decode(bytes: &[u8]) -> Text<'_> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) if sequences(bytes).all(|sequence| sequence.is_some()) => {
            Cow::Owned(replace_impossible(bytes))
        }
        Err(_) => Cow::Owned(latin_1(bytes)),
    }
}

/// Splits bytes into sequences that have the shape of UTF-8; ends with `None` where one has not.
fn sequences(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let len = match rest.first()? {
            0x00..=0x7F => 1,
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            _ => usize::MAX,
        };
        let whole = rest.split_at_checked(len);
        let whole = whole.filter(|(sequence, _)| sequence[1..].iter().all(|byte| byte & 0xC0 == 0x80));
        rest = whole.map_or(&[], |(_, tail)| tail);
        Some(whole.map(|(sequence, _)| sequence))
    })
}

fn replace_impossible(bytes: &[u8]) -> String {
    // U+FFFD takes three bytes, the shortest sequence without a meaning two.
    let grown = sequences(bytes).flatten().filter(|sequence| sequence.len() == 2).count();
    let mut text = String::with_capacity(bytes.len() + grown);
    text.extend(
        sequences(bytes).flatten().map(|sequence| std::str::from_utf8(sequence).unwrap_or("\u{FFFD}")),
    );
    text
}

fn latin_1(bytes: &[u8]) -> String {
    let doubled = bytes.iter().filter(|byte| !byte.is_ascii()).count();
    let mut text = String::with_capacity(bytes.len() + doubled);
    text.extend(bytes.iter().copied().map(char::from));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_is_borrowed_as_it_is() {
        assert!(matches!(decode("čž 日本 😀".as_bytes()), Cow::Borrowed("čž 日本 😀")));
    }

    #[test]
    fn anything_else_is_latin_1_and_keeps_every_byte() {
        assert_eq!(decode(b"caf\xe9 \xa9 \x80\xff"), "café © \u{80}ÿ");
        assert_eq!(decode(b"truncated \xe2\x82"), "truncated â\u{82}");
        assert_eq!(decode(b"\xf8\x88\x80\x80\x80"), "ø\u{88}\u{80}\u{80}\u{80}");
    }

    #[test]
    fn utf8_that_means_no_character_is_replaced() {
        assert_eq!(decode(b"a\xed\xa0\x80z\xc3\xa9"), "a\u{FFFD}zé"); // a surrogate
        assert_eq!(decode(b"\xc0\xafx"), "\u{FFFD}x"); // an overlong slash
        assert_eq!(decode(b"\xf4\x90\x80\x80x"), "\u{FFFD}x"); // beyond the last character
    }
}
