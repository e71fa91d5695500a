//! For whom an answer is: what caches may keep of it, and what a browser may do with it.

use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, VARY};

use super::answer::{Answer, set, set_static};

/// What is not a page of ours is a stranger's: no script of it runs, and it belongs to no site.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'";

/// Sees to it that only the client itself keeps the answer (RFC 9111, 3.5), and only for who asks as it did.
pub(super) fn for_one_alone(answer: &mut Answer) {
    let said =
        answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or("no-store");
    let said = said.strip_prefix("public, ").unwrap_or(said);
    if !said.contains("private") {
        let private = format!("private, {said}");
        set(answer, CACHE_CONTROL, &private);
    }
    let varies = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains(AUTHORIZATION.as_str()))
    };
    if !answer.headers().get_all(VARY).iter().any(varies) {
        answer.headers_mut().append(VARY, HeaderValue::from_static("Authorization"));
    }
}

/// Shuts in whatever does not say itself what a browser may do with it.
pub(super) fn sandboxed(answer: &mut Answer) {
    if !answer.headers().contains_key(CONTENT_SECURITY_POLICY) {
        set_static(answer, CONTENT_SECURITY_POLICY, SANDBOX);
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
    use crate::serve::answer::empty;

    #[test]
    fn what_one_may_see_is_kept_by_that_one_alone() {
        for (said, becomes) in [
            ("", "private, no-store"),
            ("no-store", "private, no-store"),
            ("no-cache", "private, no-cache"),
            ("public, max-age=3600", "private, max-age=3600"),
            ("public, max-age=31536000, immutable", "private, max-age=31536000, immutable"),
            ("private, no-cache", "private, no-cache"),
        ] {
            let mut answer = empty(StatusCode::OK);
            if !said.is_empty() {
                set(&mut answer, CACHE_CONTROL, said);
            }
            set(&mut answer, VARY, "Accept");
            for _ in 0..2 {
                for_one_alone(&mut answer);
                assert_eq!(answer.headers()[CACHE_CONTROL], becomes);
                let vary: Vec<_> = answer.headers().get_all(VARY).iter().collect();
                assert_eq!(vary, ["Accept", "Authorization"]);
            }
        }
    }
}
