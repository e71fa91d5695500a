//! `Repr-Digest`: the checksum of what is downloaded, whole (RFC 9530).

use hyper::HeaderMap;

use crate::package::{Checksum, ChecksumType};

/// The header's value for a checksum; `None` for algorithms that RFC 9530 does not hold to be safe.
pub(super) fn spell(checksum: &Checksum) -> Option<String> {
    let name = name(checksum.kind)?;
    Some(format!("{name}=:{}:", base64(checksum.as_bytes())))
}

fn name(kind: ChecksumType) -> Option<&'static str> {
    match kind {
        ChecksumType::Sha256 => Some("sha-256"),
        ChecksumType::Sha512 => Some("sha-512"),
        ChecksumType::Md5 | ChecksumType::Sha1 | ChecksumType::Sha224 | ChecksumType::Sha384 => None,
    }
}

/// Whether the client asks for a digest of this kind: `Want-Repr-Digest: sha-256=10`. Zero means no.
pub(super) fn is_wanted(headers: &HeaderMap, kind: ChecksumType) -> bool {
    let Some(name) = name(kind) else { return false };
    let lists = headers.get_all("want-repr-digest").iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|wish| {
        let (wished, preference) = wish.split_once('=').unwrap_or((wish, ""));
        wished.trim().eq_ignore_ascii_case(name) && matches!(preference.trim().parse(), Ok(1..=10))
    })
}

/// The checksum that `digits` are, by their length.
pub(super) fn of_digits(digits: &str) -> Option<Checksum> {
    let kind = match digits.len() {
        64 => ChecksumType::Sha256,
        128 => ChecksumType::Sha512,
        _ => return None,
    };
    Checksum::from_hex(kind, digits)
}

/// RFC 4648 section 4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_digest_is_spelled_as_the_standard_has_it() {
        let empty = of_digits("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855").unwrap();
        assert_eq!(spell(&empty).unwrap(), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        assert!(of_digits("e3b0").is_none());
    }

    #[test]
    fn only_a_wish_for_what_there_is_counts() {
        let asks = |list: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("want-repr-digest", list.parse().unwrap());
            is_wanted(&headers, ChecksumType::Sha256)
        };
        assert!(asks("sha-256=1") && asks("sha-512=3, SHA-256=10"));
        assert!(!asks("sha-256=0") && !asks("sha-512=10") && !asks("sha-256") && !asks("sha-256=11"));
    }
}
