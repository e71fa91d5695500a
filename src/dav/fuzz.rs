//! What WebDAV clients say in headers and bodies.

use std::time::Duration;

use hyper::HeaderMap;

use super::{digest, if_header, prefer, xml};

/// `If`, `Prefer`, and the digests a sender states.
pub fn headers(headers: &HeaderMap) {
    let longest = Duration::from_secs(600);
    assert!(prefer::wait(headers, longest).is_none_or(|wait| wait <= longest));
    let _ = digest::stated(headers);
    if let Some(lists) = headers.get("if").and_then(|value| if_header::parse(value.to_str().ok()?)) {
        let _ = if_header::tokens(&lists);
        for list in &lists {
            assert!(!list.conditions.is_empty());
            // A list and its opposite do not both hold where it has one condition.
            if list.conditions.len() == 1 {
                assert_ne!(list.holds(|_| true), list.holds(|_| false));
            }
        }
    }
}

/// A body of PROPFIND, PROPPATCH or LOCK.
pub fn body(data: &[u8]) {
    if let Ok(elements) = xml::elements(data) {
        assert!(data.len() <= xml::LONGEST);
        for (_, name) in elements {
            let mut out = String::new();
            xml::escape(&mut out, &name.local);
            assert!(!out.contains(['<', '>', '"']), "{out}");
        }
    }
}
