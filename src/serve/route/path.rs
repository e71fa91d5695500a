//! Paths of URLs: percent-decoding of what clients send, percent-encoding of what we name.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::serve::error::ServeError;

/// Longest path accepted, in bytes as sent: a location with every byte percent-encoded, and its prefix.
pub(super) const MAX_PATH: usize = 16 * 1024;

/// `path` (as sent) as everybody else spells it: every byte that may be is unencoded, and no part is empty.
pub fn normal(path: &str) -> String {
    decode(path).map_or_else(|_| "/".to_owned(), |path| encode_path(&path))
}

/// A request path, decoded. Empty parts (`//`) are dropped, and `.` and `..` followed (RFC 3986, 5.2.4 and 6.2.2.3),
/// as nginx and Apache do; what leads above the root is refused. No part holds a slash, so they can be told apart.
pub(super) fn decode(path: &str) -> Result<Cow<'_, str>, ServeError> {
    if path.len() > MAX_PATH {
        return Err(ServeError::UriTooLong);
    }
    if !path.starts_with('/') {
        return Err(ServeError::BadRequest("the request's path must begin with a slash".into()));
    }
    // As nearly all paths are: nothing is encoded, no part is empty, none is `.` or `..`.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~');
    let pairs = path.as_bytes().windows(2);
    if path.bytes().all(plain) && !pairs.into_iter().any(|pair| matches!(pair, b"//" | b"/.")) {
        return Ok(path.into());
    }
    let mut decoded = String::with_capacity(path.len());
    let mut is_folder = path.ends_with('/');
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let part = decode_part(part)?;
        let is_dots = matches!(&*part, "." | "..");
        is_folder = path.ends_with('/') || is_dots;
        if !is_dots {
            decoded.push('/');
            decoded.push_str(&part);
        } else if part == ".." {
            let parent = decoded.rfind('/').ok_or_else(|| {
                ServeError::BadRequest("the URL leads above the root: it holds too many ..".into())
            })?;
            decoded.truncate(parent);
        }
    }
    if is_folder {
        decoded.push('/');
    }
    Ok(decoded.into())
}

fn decode_part(part: &str) -> Result<String, ServeError> {
    let bad = |why: &str| Err(ServeError::BadRequest(format!("the URL {why}")));
    let stray = part.match_indices('%').any(|(at, _)| {
        !part.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if stray {
        return bad("holds a % that begins no percent-encoding; write it as %25");
    }
    let Ok(text) = percent_decode_str(part).decode_utf8() else {
        return bad("is not percent-encoded UTF-8");
    };
    if text.contains(['/', '\0']) {
        return bad("holds an encoded slash or NUL");
    }
    Ok(text.into_owned())
}

/// What may stand unencoded in a URL's path: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One part of a path, percent-encoded.
pub fn encode_part(part: &str) -> String {
    utf8_percent_encode(part, ENCODED).to_string()
}

/// A decoded path such as a repository's `url`, percent-encoded but for its slashes.
pub fn encode_path(path: &str) -> String {
    path.split('/').map(encode_part).collect::<Vec<_>>().join("/")
}
