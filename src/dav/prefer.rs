//! `Prefer: wait=N` (RFC 7240).

use std::time::Duration;

use hyper::HeaderMap;

/// How long the client wants to wait for the outcome, at most `longest`.
pub(crate) fn wait(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|list| list.split(',')).find_map(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=')?;
        let seconds = value.trim().trim_matches('"');
        let digits = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a u64 holds are simply long.
        (name.trim().eq_ignore_ascii_case("wait") && digits)
            .then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)).min(longest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        let asked = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("prefer", value.parse().unwrap());
            }
            wait(&headers, Duration::from_secs(100)).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(&["wait=30"]), Some(30));
        assert_eq!(asked(&["respond-async, Wait = \"5\"; foo=bar"]), Some(5));
        assert_eq!(asked(&["return=minimal", "wait=0"]), Some(0));
        assert_eq!(asked(&["wait=99999999999999999999999"]), Some(100));
        for none in ["wait", "wait=", "wait=-1", "wait=1.5", "waits=3", "nowait"] {
            assert_eq!(asked(&[none]), None, "{none}");
        }
        assert_eq!(asked(&[]), None);
    }
}
