//! Names of UTF-8 and ASCII that only some readers of XML know. What is compressed anew can be given the name that
//! all know.

use std::io::{self, BufRead, Cursor, Read};

use memchr::memmem;

/// Bytes in which `<?xml …?>` must end to be looked at.
const LONGEST: usize = 256;
/// In lower case. libxml2 and libcomps know them, expat does not.
const OTHER_NAMES: [&str; 6] = ["utf8", "utf_8", "ascii", "us_ascii", "iso646-us", "ansi_x3.4-1968"];

/// The file with `encoding="UTF-8"` where it has another name of that, and the name it had.
pub fn with_known_name<R: BufRead>(mut source: R) -> io::Result<(impl BufRead, Option<String>)> {
    let mut start = Vec::new();
    source.by_ref().take(LONGEST as u64).read_to_end(&mut start)?;
    let other = place(&start).and_then(|(from, to)| {
        let name = str::from_utf8(&start[from..to]).ok()?.to_owned();
        let is_other = OTHER_NAMES.contains(&&*name.to_ascii_lowercase());
        is_other.then(|| {
            start.splice(from..to, *b"UTF-8");
            name
        })
    });
    Ok((Cursor::new(start).chain(source), other))
}

/// Where the name of the encoding stands in a file that begins so.
fn place(start: &[u8]) -> Option<(usize, usize)> {
    let begin = if start.starts_with(b"\xef\xbb\xbf<?xml") {
        3
    } else if start.starts_with(b"<?xml") {
        0
    } else {
        return None;
    };
    let end = memmem::find(start, b"?>")?;
    let mut at = begin + memmem::find(&start[begin..end], b"encoding")? + b"encoding".len();
    let spaces = |at: usize| start[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    at += spaces(at);
    at += usize::from(*start.get(at)? == b'=');
    at += spaces(at);
    let quote = *start.get(at).filter(|quote| matches!(quote, b'"' | b'\''))?;
    let length = memchr::memchr(quote, &start[at + 1..end])?;
    Some((at + 1, at + 1 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_not_all_readers_know_become_the_one_they_know() {
        let read = |text: &str| {
            let (mut source, other) = with_known_name(text.as_bytes()).unwrap();
            let mut read = String::new();
            source.read_to_string(&mut read).unwrap();
            (read, other)
        };
        for name in ["utf8", "UTF8", "ascii"] {
            let text = |name: &str| {
                format!("<?xml version=\"1.0\" encoding = '{name}' ?><a>{}</a>", "x".repeat(1000))
            };
            assert_eq!(read(&text(name)), (text("UTF-8"), Some(name.to_owned())));
        }
        for text in [
            "",
            "<?xml",
            "<?xml version='1.0'?><a encoding='utf8'/>",
            "<?xml version='1.0' encoding='utf-8'?><a/>",
            "<?xml version='1.0' encoding='latin1'?><a/>",
            " <?xml version='1.0' encoding='utf8'?><a/>",
            "<?xml version='1.0' encoding",
            "<?xml version='1.0' encoding=?>'utf8'",
        ] {
            assert_eq!(read(text), (text.to_owned(), None));
        }
    }
}
