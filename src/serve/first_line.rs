//! A `#` in a request's target. Nobody may send one (RFC 9112, 3.2): what follows it would be cut off before we see the
//! target, and `DELETE /folder/#old` would mean the folder. So the first line of each request is looked at as it comes.

/// The first line of an HTTP/1 request, of which a part may have come.
#[derive(Debug, Default)]
pub(super) struct FirstLine {
    has_hash: bool,
    /// The last bytes so far, as many as a line's end is long.
    tail: [u8; VERSION.len() + 2],
    /// How many of them there are.
    kept: usize,
    is_over: bool,
}

/// What ends the first line of a request, but for the digit before it.
const VERSION: &[u8] = b" HTTP/1.";

impl FirstLine {
    /// Looks at what has come. Whether the line is over by now and has a `#` in it. What is no first line (a header
    /// whose beginning was not seen) never has.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> bool {
        if self.is_over {
            return false;
        }
        if self.kept == 0 {
            // Empty lines before a request are passed over.
            let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
            bytes = &bytes[begin.unwrap_or(bytes.len())..];
        }
        let end = memchr::memchr(b'\n', bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        self.has_hash |= memchr::memchr(b'#', line).is_some();
        self.is_over = end.is_some();
        if self.is_over && !self.has_hash {
            return false;
        }
        for byte in &line[line.len().saturating_sub(self.tail.len())..] {
            if self.kept == self.tail.len() {
                self.tail.rotate_left(1);
                self.kept -= 1;
            }
            self.tail[self.kept] = *byte;
            self.kept += 1;
        }
        // The version's digit and a \r may follow it.
        let line = &self.tail[..self.kept];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.is_over && line.split_last().is_some_and(|(_, line)| line.ends_with(VERSION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given whole, and byte by byte.
    fn sees(text: &str) -> bool {
        let whole = FirstLine::default().see(text.as_bytes());
        let mut line = FirstLine::default();
        let pieces = text.as_bytes().iter().filter(|byte| line.see(&[**byte])).count();
        assert_eq!(usize::from(whole), pieces, "{text:?}");
        whole
    }

    #[test]
    fn a_hash_counts_in_a_target_and_nowhere_else() {
        for line in
            ["GET /a#b HTTP/1.1\r\n", "DELETE /tree/folder/#ment HTTP/1.1\n", "\r\n\r\nGET # HTTP/1.0\r\n"]
        {
            assert!(sees(line), "{line:?}");
            assert!(sees(&format!("{line}Host: x\r\n\r\n")), "{line:?}");
        }
        for line in [
            "GET /a%23b HTTP/1.1\r\nReferer: http://x/#y\r\n\r\n",
            "GET /a HTTP/1.1\r\nX: /# HTTP/1.1\r\n\r\n",
            "e: a#b\r\n",
            "GET /a#b",
            "\n",
            "",
        ] {
            assert!(!sees(line), "{line:?}");
        }
    }
}
