//! What WebDAV clients say in headers and bodies.

use std::time::Duration;

use hyper::{HeaderMap, Uri};

use super::destination::Destination;
use super::{digest, if_header, prefer, xml};
use crate::serve;

/// What this server is called; fuzzing knows the names from the seeds.
const NAMES: [&str; 3] = ["repo.example:8080", "repo.example", "[::1]:8080"];

/// Where `Destination` points: to this server only if another reader of URLs says so, too.
fn destination(url: &str) {
    let Ok(Destination { server, path }) = Destination::parse(url) else { return };
    assert!(path.starts_with('/') && !path.contains(['?', '#']), "{url:?}: {path:?}");
    serve::fuzz::place(path);
    let Some(server) = server else { return };
    if server.is_one_of(NAMES)
        && let Ok(read) = url.parse::<Uri>()
    {
        let (host, port) = (read.host().unwrap_or_default(), read.port_u16());
        let is_ours = |name: &str| {
            let name: Uri = format!("http://{name}/").parse().expect("a URL");
            let usual = if read.scheme_str() == Some("https") { 443 } else { 80 };
            let other = if read.scheme_str() == Some("https") { 80 } else { 443 };
            let named = name.port_u16();
            name.host().is_some_and(|name| name.eq_ignore_ascii_case(host))
                && port != Some(other)
                && port.unwrap_or(usual) == named.unwrap_or(usual)
        };
        assert!(NAMES.into_iter().any(is_ours), "{url:?} is taken for this server");
        assert_eq!(read.path(), path, "{url:?}");
    }
}

/// `If`, `Prefer`, `Destination`, and the digests a sender states.
pub fn headers(headers: &HeaderMap) {
    let longest = Duration::from_secs(600);
    assert!(prefer::wait(headers, longest).is_none_or(|wait| wait <= longest));
    let _ = digest::stated(headers);
    if let Some(url) = headers.get("destination").and_then(|value| value.to_str().ok()) {
        destination(url);
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        /// Fuzzing seldom spells a URL; this does nothing else.
        #[test]
        fn what_is_taken_for_this_server_is_this_server(
            parts in prop::collection::vec(prop::sample::select(vec![
                "http://", "https://", "HTTP://", "HttpS://", "//", "/", "\\", "@", ":", ":80", ":443", ":8080", "?", "#", "%2f", "..", "rpm/",
                "repo.example", "REPO.example:8080", "[::1]", "[::1]:8080", "evil.example", "a b", "%00", "\u{fc}", "user", ".",
            ]), 1..7),
        ) {
            super::destination(&parts.concat());
        }
    }
}
