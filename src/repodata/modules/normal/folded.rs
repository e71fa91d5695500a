//! Folded texts, broken as libyaml breaks them.
//!
//! A line break in a folded text is written as two, unless a blank follows. libyaml-safer looks one character too far to
//! tell whether one does: what it would do wrong is made up for here.

use std::io::{self, Write};

/// Ends a line whose break is not written: a character for private use, which in texts of their own stands in quotes.
pub const MARK: char = '\u{e000}';
const MARKED_BREAK: &[u8] = "\u{e000}\n".as_bytes();

/// Whether libyaml folds it; else it stands in quotes.
pub fn may_be_folded(text: &str) -> bool {
    let is_printable =
        |char: char| matches!(char, '\n' | ' '..='~' | '\u{a0}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}');
    let mut breaks_after_blank = text.chars().zip(text.chars().skip(1));
    !text.is_empty()
        && !text.ends_with(' ')
        && !text.contains(MARK)
        && text.chars().all(is_printable)
        && !breaks_after_blank.any(|(char, next)| char == ' ' && is_break(next))
}

/// The text to give to the emitter.
pub fn prepared(text: &str) -> String {
    let mut prepared = String::with_capacity(text.len() + 8);
    let (mut breaks, mut leading_blank) = (true, true);
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if is_break(char) {
            if !breaks && !leading_blank && char == '\n' {
                let mut rest = chars.clone().skip_while(|char| is_break(*char));
                let (first, second) = (rest.next(), rest.next());
                match (is_blank_or_end(first), is_blank_or_end(second)) {
                    (false, true) => prepared.push('\n'),
                    (true, false) => prepared.push(MARK),
                    _ => {}
                }
            }
            breaks = true;
        } else {
            if breaks {
                leading_blank = matches!(char, ' ' | '\t');
            }
            breaks = false;
        }
        prepared.push(char);
    }
    prepared
}

fn is_break(char: char) -> bool {
    matches!(char, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_blank_or_end(char: Option<char>) -> bool {
    char.is_none_or(|char| matches!(char, ' ' | '\t' | '\0') || is_break(char))
}

/// Passes on what is written to it, without each [`MARK`] and the line break behind it.
pub struct Unmarked<'w> {
    sink: &'w mut dyn Write,
    /// How many bytes of a marked break were held back.
    held: usize,
}

impl<'w> Unmarked<'w> {
    pub fn new(sink: &'w mut dyn Write) -> Self {
        Self { sink, held: 0 }
    }
}

impl Write for Unmarked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut passed = Vec::with_capacity(bytes.len() + MARKED_BREAK.len());
        for &byte in bytes {
            if byte != MARKED_BREAK[self.held] {
                passed.extend_from_slice(&MARKED_BREAK[..self.held]);
                self.held = 0;
            }
            if byte != MARKED_BREAK[self.held] {
                passed.push(byte);
            } else if self.held + 1 == MARKED_BREAK.len() {
                self.held = 0;
            } else {
                self.held += 1;
            }
        }
        self.sink.write_all(&passed)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.write_all(&MARKED_BREAK[..self.held])?;
        self.held = 0;
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_break_is_not_written_wherever_it_is_cut() {
        let text = "a\u{e000}\n\n b\u{e000}c\u{e001}\n\u{e000}";
        for cut in 0..text.len() {
            let mut written = Vec::new();
            let mut unmarked = Unmarked::new(&mut written);
            unmarked.write_all(&text.as_bytes()[..cut]).unwrap();
            unmarked.write_all(&text.as_bytes()[cut..]).unwrap();
            unmarked.flush().unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), "a\n b\u{e000}c\u{e001}\n\u{e000}");
        }
    }
}
