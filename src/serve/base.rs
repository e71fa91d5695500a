//! `base_url` with a path: a front passes on what is asked for below that path.
//!
//! Every URL the server tells begins with the path, since `base_url` says under which URLs clients know the server. A front may
//! take the path off what it passes on, or not: a request is taken as it stands where a repository answers to it, and otherwise
//! without the path.

use std::borrow::Cow;

use hyper::Uri;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;

use super::route::{Whose, whose};
use super::site::Mounts;

/// The path of `base_url`, as it stands there, without the slash at its end; empty where it has none.
pub(super) fn path_of(base_url: Option<&str>) -> String {
    let path = base_url.and_then(|url| url.split_once("://")?.1.split_once('/'));
    path.map(|(_, path)| path.trim_matches('/'))
        .filter(|path| !path.is_empty())
        .map_or(String::new(), |path| format!("/{path}"))
}

/// What is left of `path` below `base`; `None` where it does not lie there.
pub(crate) fn below<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(base).filter(|_| !base.is_empty())?;
    match rest {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// Takes the path of `base_url` off a request that a front has passed on with it.
pub(super) fn take_off(parts: &mut Parts, base: &str, mounts: &Mounts) {
    let Some(path) = below(parts.uri.path(), base) else { return };
    if matches!(whose(parts.uri.path(), mounts), Whose::Content(_)) {
        return;
    }
    let told: Cow<'_, str> = match parts.uri.query() {
        Some(query) => format!("{path}?{query}").into(),
        None => path.into(),
    };
    let Ok(told) = PathAndQuery::try_from(told.as_ref()) else { return };
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(told);
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::Request;

    use super::*;
    use crate::config::RepositoryConfig;
    use crate::serve::Mount;

    #[test]
    fn the_path_of_base_url_is_found() {
        for (url, path) in [
            ("https://h/", ""),
            ("https://h:8443/repos/", "/repos"),
            ("http://h/a/b%20c/", "/a/b%20c"),
            ("https://h//", ""),
        ] {
            assert_eq!(path_of(Some(url)), path, "{url}");
        }
        assert_eq!(path_of(None), "");
    }

    #[test]
    fn a_request_is_taken_as_it_stands_and_else_without_the_path() {
        let mount = |url: &str| Mount {
            config: Arc::new(RepositoryConfig { url: url.into(), ..RepositoryConfig::new(url, "/x") }),
            door: Err("closed".into()),
        };
        let mounts = Mounts::new(vec![mount("/r/"), mount("/repos/own/")]);
        for (asked, taken) in [
            ("/r/a?x=1", "/r/a?x=1"),
            ("/repos/r/a?x=1", "/r/a?x=1"),
            ("/repos/r", "/r"),
            ("/repos/own/a", "/repos/own/a"),
            ("/repos", "/"),
            ("/repos/", "/"),
            ("/repos/-/health", "/-/health"),
            ("/repos/repos/r/", "/repos/r/"),
            ("/reposr/", "/reposr/"),
            ("http://h/repos/r/", "http://h/r/"),
            ("*", "*"),
        ] {
            let (mut parts, ()) = Request::builder().uri(asked).body(()).unwrap().into_parts();
            take_off(&mut parts, "/repos", &mounts);
            assert_eq!(parts.uri.to_string(), taken, "{asked}");
            take_off(&mut parts, "", &mounts);
            assert_eq!(parts.uri.to_string(), taken, "without a path nothing changes");
        }
    }
}
