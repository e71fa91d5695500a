//! Checksums a sender states: `Content-Digest` and `Repr-Digest` (RFC 9530), `Digest` (RFC 3230), `Content-MD5` (RFC 1864),
//! `OC-Checksum` (ownCloud's), `X-Checksum-Sha256` and its like (Artifactory's).

use hyper::HeaderMap;

use crate::package::{Checksum, ChecksumType};
use crate::serve::error::ServeError;

/// How a header spells its checksums.
type Spelling = fn(&str) -> Read;

const HEADERS: [(&str, Spelling); 9] = [
    ("content-digest", digest),
    ("repr-digest", digest),
    ("digest", old_digest),
    ("content-md5", |item| base64(ChecksumType::Md5, item)),
    ("oc-checksum", oc_checksum),
    ("x-checksum-sha512", |item| hex(ChecksumType::Sha512, item)),
    ("x-checksum-sha256", |item| hex(ChecksumType::Sha256, item)),
    ("x-checksum-sha1", |item| hex(ChecksumType::Sha1, item)),
    ("x-checksum-md5", |item| hex(ChecksumType::Md5, item)),
];

/// All that are stated with an algorithm we know. Unknown algorithms are passed over, as RFC 9530 asks.
pub(super) fn stated(headers: &HeaderMap) -> Result<Vec<Checksum>, ServeError> {
    let mut stated = Vec::new();
    for (name, read) in HEADERS {
        for value in headers.get_all(name) {
            let bad = || {
                ServeError::BadRequest(format!(
                    "{name} cannot be read; nothing was stored, leave it out or mend it"
                ))
            };
            let list = value.to_str().map_err(|_| bad())?;
            let mut items = list.split([',', ' ']).filter(|item| !item.trim().is_empty()).peekable();
            // An empty header says that something was to be said.
            items.peek().ok_or_else(bad)?;
            for item in items {
                match read(item.trim()) {
                    Read::Sum(sum) if !stated.contains(&sum) => stated.push(sum),
                    Read::Sum(_) | Read::Unknown => {}
                    Read::Bad => return Err(bad()),
                }
            }
        }
    }
    Ok(stated)
}

enum Read {
    Sum(Checksum),
    Unknown,
    Bad,
}

/// `SHA256:0123…`
fn oc_checksum(item: &str) -> Read {
    let Some((name, digits)) = item.split_once(':') else { return Read::Bad };
    kind(name).map_or(Read::Unknown, |kind| hex(kind, digits))
}

/// `sha-256=:base64:`
fn digest(item: &str) -> Read {
    let Some((name, value)) = item.split_once('=') else { return Read::Bad };
    let Some(kind) = kind(name) else { return Read::Unknown };
    let digits = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
    digits.map_or(Read::Bad, |digits| base64(kind, digits))
}

/// `sha-256=base64`
fn old_digest(item: &str) -> Read {
    let Some((name, digits)) = item.split_once('=') else { return Read::Bad };
    kind(name).map_or(Read::Unknown, |kind| base64(kind, digits))
}

fn hex(kind: ChecksumType, digits: &str) -> Read {
    Checksum::from_hex(kind, digits).map_or(Read::Bad, Read::Sum)
}

fn base64(kind: ChecksumType, digits: &str) -> Read {
    let bytes = decode_base64(digits);
    bytes.and_then(|bytes| Checksum::new(kind, &bytes)).map_or(Read::Bad, Read::Sum)
}

fn kind(name: &str) -> Option<ChecksumType> {
    match name.to_ascii_lowercase().as_str() {
        "md5" => Some(ChecksumType::Md5),
        "sha" | "sha1" | "sha-1" => Some(ChecksumType::Sha1),
        "sha256" | "sha-256" => Some(ChecksumType::Sha256),
        "sha512" | "sha-512" => Some(ChecksumType::Sha512),
        _ => None,
    }
}

/// RFC 4648 section 4, padded.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let (mut bytes, mut bits, mut have) = (Vec::with_capacity(text.len()), 0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Result<Vec<String>, ServeError> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        stated(&headers).map(|sums| sums.iter().map(|sum| format!("{sum:?}")).collect())
    }

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn checksums_are_read_in_all_spellings() {
        let base64 = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        assert_eq!(read("content-digest", base64).unwrap(), [EMPTY]);
        assert_eq!(read("repr-digest", &format!("adler32=:xx:, {base64}")).unwrap(), [EMPTY]);
        assert_eq!(read("oc-checksum", &EMPTY.replace("sha256", "SHA256")).unwrap(), [EMPTY]);
        assert_eq!(read("oc-checksum", "ADLER32:01234567").unwrap(), [] as [&str; 0]);
        assert_eq!(
            read("oc-checksum", "MD5:d41d8cd98f00b204e9800998ecf8427e").unwrap(),
            ["md5:d41d8cd98f00b204e9800998ecf8427e"]
        );
    }

    #[test]
    fn older_headers_say_the_same() {
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for name in ["sha-256", "SHA-256", "Sha-256"] {
            assert_eq!(read("digest", &format!("unixsum=30637,{name}={base64}")).unwrap(), [EMPTY]);
        }
        let md5 = "md5:d41d8cd98f00b204e9800998ecf8427e";
        assert_eq!(read("digest", "md5=1B2M2Y8AsgTpgAmY7PhCfg==").unwrap(), [md5]);
        assert_eq!(read("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").unwrap(), [md5]);
        let hex = |sum: &'static str| sum.split_once(':').unwrap().1;
        assert_eq!(read("x-checksum-md5", &hex(md5).to_uppercase()).unwrap(), [md5]);
        assert_eq!(read("x-checksum-sha256", hex(EMPTY)).unwrap(), [EMPTY]);
        for (name, kind, digits) in [("x-checksum-sha1", "sha", 40), ("x-checksum-sha512", "sha512", 128)] {
            assert!(read(name, &"0".repeat(digits)).unwrap()[0].starts_with(kind), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        for (name, bad) in [
            ("digest", "sha-256"),
            ("digest", "sha-256="),
            ("digest", "md5=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
            ("content-md5", "d41d8cd98f00b204e9800998ecf8427e"),
            ("content-md5", ""),
            ("x-checksum-sha256", "d41d8cd98f00b204e9800998ecf8427e"),
            ("x-checksum-sha1", "xyz"),
            ("x-checksum-md5", " "),
        ] {
            assert!(read(name, bad).is_err(), "{name}: {bad}");
        }
        for bad in
            ["sha-256", "sha-256=:::", "sha-256=abc", "sha-256=:abc:", "sha-256=:47DE====:", "sha-256=:4?DE:"]
        {
            assert!(read("content-digest", bad).is_err(), "{bad}");
        }
        for bad in ["SHA256", "SHA256:xyz", "SHA256:"] {
            assert!(read("oc-checksum", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(decode_base64(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zg=", "Zg", "====", "Z===", "Zm9v=Zm9v"] {
            assert!(decode_base64(bad).is_none(), "{bad}");
        }
    }
}
