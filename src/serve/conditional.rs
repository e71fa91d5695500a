//! Conditional and range requests, as RFC 9110 sections 13 and 14 have them. Pure.

use std::time::SystemTime;

use hyper::HeaderMap;
use hyper::header::{self, HeaderName};

use super::ranges::{self, Ranged};
use crate::tree::FileStamp;

/// What tells one version of a resource from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validators {
    /// A strong one, with its quotes.
    pub etag: String,
    /// In whole seconds on the wire.
    pub modified: SystemTime,
}

impl Validators {
    pub fn of(stamp: &FileStamp) -> Self {
        let since = std::time::Duration::from_nanos(u64::try_from(stamp.mtime_ns).unwrap_or(0));
        Self {
            etag: format!("\"{:x}-{:x}-{:x}\"", stamp.inode, stamp.size, stamp.mtime_ns),
            modified: SystemTime::UNIX_EPOCH + since,
        }
    }
}

/// What the conditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

/// Conditions of a GET or HEAD, in the order of RFC 9110 section 13.2.2.
pub fn read(headers: &HeaderMap, now: &Validators) -> Verdict {
    if !may_proceed(headers, Some(now)) {
        return Verdict::Failed;
    }
    let unchanged = if headers.contains_key(header::IF_NONE_MATCH) {
        lists(headers, header::IF_NONE_MATCH, &now.etag, Comparison::Weak)
    } else {
        date(headers, header::IF_MODIFIED_SINCE).is_some_and(|since| seconds(now.modified) <= seconds(since))
    };
    if unchanged { Verdict::NotModified } else { Verdict::Proceed }
}

/// Whether the conditions of a PUT or DELETE hold; `now` is `None` where nothing is.
pub fn write(headers: &HeaderMap, now: Option<&Validators>) -> bool {
    if !may_proceed(headers, now) {
        return false;
    }
    let listed = |now: &Validators| lists(headers, header::IF_NONE_MATCH, &now.etag, Comparison::Weak);
    !now.is_some_and(listed)
}

/// `If-Match`, or else `If-Unmodified-Since`.
fn may_proceed(headers: &HeaderMap, now: Option<&Validators>) -> bool {
    if headers.contains_key(header::IF_MATCH) {
        return now.is_some_and(|now| lists(headers, header::IF_MATCH, &now.etag, Comparison::Strong));
    }
    match (date(headers, header::IF_UNMODIFIED_SINCE), now) {
        (Some(since), Some(now)) => seconds(now.modified) <= seconds(since),
        _ => true,
    }
}

/// Which parts are asked for; an `If-Range` that no longer holds means the whole.
pub fn range(headers: &HeaderMap, now: &Validators, len: u64) -> Ranged {
    let Some(range) = only(headers, header::RANGE) else { return Ranged::Whole };
    if let Some(condition) = headers.get(header::IF_RANGE) {
        let condition = condition.to_str().unwrap_or_default().trim();
        let holds = condition == now.etag
            || httpdate::parse_http_date(condition).is_ok_and(|date| seconds(date) == seconds(now.modified));
        if !holds {
            return Ranged::Whole;
        }
    }
    ranges::parse(range, len)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names `etag` (a strong one), or is `*`.
fn lists(headers: &HeaderMap, name: HeaderName, etag: &str, comparison: Comparison) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.trim() == "*"
            || Tags(list).any(|tag| match tag.strip_prefix("W/") {
                Some(weak) => comparison == Comparison::Weak && weak == etag,
                None => tag == etag,
            })
    })
}

/// The tags of a list, each with its quotes and `W/`. A comma may stand inside the quotes.
struct Tags<'l>(&'l str);

impl<'l> Iterator for Tags<'l> {
    type Item = &'l str;

    fn next(&mut self) -> Option<&'l str> {
        let list = self.0.trim_start_matches([' ', '\t', ',']);
        let open = list.find('"')?;
        let close = open + 1 + list[open + 1..].find('"')?;
        let (tag, rest) = list.split_at(close + 1);
        self.0 = rest;
        Some(tag)
    }
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    only(headers, name).and_then(|text| httpdate::parse_http_date(text.trim()).ok())
}

/// The value of a header that stands there exactly once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::time::Duration;

    use super::*;

    fn now() -> Validators {
        // 2023-11-14 22:13:20 UTC and a bit
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        Validators { etag: "\"a,b\"".into(), modified }
    }

    const SAME: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const EARLIER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_client_that_has_it_is_told_so() {
        for (name, value) in [
            ("if-none-match", "\"a,b\""),
            ("if-none-match", "W/\"a,b\""),
            ("if-none-match", "\"x\", \"a,b\""),
            ("if-none-match", "*"),
            ("if-modified-since", SAME),
        ] {
            assert_eq!(read(&headers(&[(name, value)]), &now()), Verdict::NotModified, "{name}: {value}");
        }
    }

    #[test]
    fn a_client_that_has_another_gets_this_one() {
        for (name, value) in [
            ("if-none-match", "\"x\""),
            ("if-none-match", "a,b"),
            ("if-none-match", "\""),
            ("if-modified-since", EARLIER),
            ("if-modified-since", "yesterday"),
            ("accept", "*/*"),
        ] {
            assert_eq!(read(&headers(&[(name, value)]), &now()), Verdict::Proceed, "{name}: {value}");
        }
        // The tag decides where both are sent.
        let both = headers(&[("if-none-match", "\"x\""), ("if-modified-since", SAME)]);
        assert_eq!(read(&both, &now()), Verdict::Proceed);
    }

    #[test]
    fn if_match_compares_strongly() {
        assert_eq!(read(&headers(&[("if-match", "\"a,b\"")]), &now()), Verdict::Proceed);
        assert_eq!(read(&headers(&[("if-match", "*")]), &now()), Verdict::Proceed);
        assert_eq!(read(&headers(&[("if-match", "W/\"a,b\"")]), &now()), Verdict::Failed);
        assert_eq!(read(&headers(&[("if-match", "\"x\"")]), &now()), Verdict::Failed);
        assert_eq!(read(&headers(&[("if-unmodified-since", EARLIER)]), &now()), Verdict::Failed);
        assert_eq!(read(&headers(&[("if-unmodified-since", SAME)]), &now()), Verdict::Proceed);
    }

    #[test]
    fn a_write_can_demand_that_nothing_is_there() {
        let absent = headers(&[("if-none-match", "*")]);
        assert!(write(&absent, None) && !write(&absent, Some(&now())));
        let present = headers(&[("if-match", "*")]);
        assert!(!write(&present, None) && write(&present, Some(&now())));
        let exact = headers(&[("if-match", "\"a,b\"")]);
        assert!(write(&exact, Some(&now())) && !write(&exact, None));
        assert!(write(&HeaderMap::new(), None) && write(&HeaderMap::new(), Some(&now())));
    }

    #[test]
    fn if_range_gives_the_whole_of_a_changed_file() {
        let with = |condition| headers(&[("range", "bytes=1-2"), ("if-range", condition)]);
        let part = Ranged::Parts([Range { start: 1, end: 3 }].into());
        assert_eq!(range(&with("\"a,b\""), &now(), 100), part);
        assert_eq!(range(&with(SAME), &now(), 100), part);
        for changed in ["\"x\"", "W/\"a,b\"", EARLIER, "nonsense"] {
            assert_eq!(range(&with(changed), &now(), 100), Ranged::Whole, "{changed}");
        }
    }
}
