//! `X-Request-Id`: what a request is called in every log it passes through.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The longest that is taken over from a client.
const LONGEST: usize = 128;

/// The client's own, if it is fit to stand in a log; otherwise a new one. Text in either case.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let fit = |id: &[u8]| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(byte);
        !id.is_empty() && id.len() <= LONGEST && id.iter().all(plain)
    };
    headers.get(HEADER).filter(|value| fit(value.as_bytes())).cloned().unwrap_or_else(new)
}

/// Unlike any other of this process, and unlikely in another.
fn new() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut id = *b"0000000000000000-00000000";
    for (place, digit) in id.iter_mut().rev().enumerate() {
        let nibble = match place {
            0..8 => count >> (4 * place),
            8 => continue,
            _ => process >> (4 * (place - 9)),
        };
        *digit = b"0123456789abcdef"[(nibble & 15) as usize];
    }
    HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("unnamed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_id_is_kept_and_another_is_replaced() {
        let with = |id: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(id).unwrap());
            of(&headers)
        };
        for good in ["a", "7f3b-42", "Root=1-67891233-abcdef012345678912345678", "a/b+c=="] {
            assert_eq!(with(good.as_bytes()), good);
        }
        let long = "x".repeat(129);
        for bad in [&b"a b"[..], b"a\"b", b"\xff", b"a\tb", b"", b"<x>", long.as_bytes()] {
            assert_ne!(with(bad).as_bytes(), bad);
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
