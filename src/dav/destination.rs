//! What the `Destination` header, and the lists of `If`, point to: an absolute URL, or an absolute path.

use crate::serve::elsewhere;
use crate::serve::error::ServeError;

/// Where it points, as far as its spelling tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination<'u> {
    /// Which server; `None`: this one.
    pub(super) server: Option<Authority<'u>>,
    /// Begins with `/`, without query and fragment.
    pub(super) path: &'u str,
}

/// Host and port of an http or https URL, as they stand there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority<'u> {
    is_tls: bool,
    text: &'u str,
}

/// Why a URL points nowhere we can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Nowhere {
    NoUrl,
    OtherScheme,
}

impl<'u> Destination<'u> {
    pub(super) fn parse(url: &'u str) -> Result<Self, Nowhere> {
        let (server, path) = if url.starts_with('/') && !url.starts_with("//") {
            (None, url)
        } else {
            let (scheme, rest) = url.split_once("://").ok_or(Nowhere::NoUrl)?;
            let is_tls = scheme.eq_ignore_ascii_case("https");
            if !is_tls && !scheme.eq_ignore_ascii_case("http") {
                return Err(Nowhere::OtherScheme);
            }
            let (text, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            (Some(Authority { is_tls, text }), path)
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        Ok(Self { server, path: if path.is_empty() { "/" } else { path } })
    }
}

impl Authority<'_> {
    /// Whether it is one of these, each a host with or without the scheme's own port.
    pub(super) fn is_one_of<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> bool {
        let port = if self.is_tls { ":443" } else { ":80" };
        let is_host = |text: &&str| !text.contains(':') || text.ends_with(']');
        let plain = |name: &str| name.strip_suffix(port).filter(is_host).unwrap_or(name).to_ascii_lowercase();
        let ours = plain(self.text);
        names.into_iter().any(|name| plain(name) == ours)
    }
}

impl From<Nowhere> for ServeError {
    fn from(nowhere: Nowhere) -> Self {
        match nowhere {
            Nowhere::NoUrl => Self::BadRequest("the Destination is no absolute URL or path".into()),
            Nowhere::OtherScheme => elsewhere(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_to<'u>(url: &'u str, names: &[&str]) -> Option<&'u str> {
        let found = Destination::parse(url).ok()?;
        let ours = found.server.as_ref().is_none_or(|server| server.is_one_of(names.iter().copied()));
        ours.then_some(found.path)
    }

    #[test]
    fn only_this_server_is_this_server_however_it_is_spelled() {
        let names = ["Repo.example:8080", "other.example"];
        for (url, path) in [
            ("/rpm/a.rpm", "/rpm/a.rpm"),
            ("http://repo.example:8080/rpm/a.rpm", "/rpm/a.rpm"),
            ("HTTP://REPO.EXAMPLE:8080/rpm/?x#y", "/rpm/"),
            ("https://other.example:443/", "/"),
            ("http://other.example:80", "/"),
            ("http://other.example?x", "/"),
        ] {
            assert_eq!(goes_to(url, &names), Some(path), "{url}");
        }
        for url in [
            "//repo.example:8080/rpm/a.rpm",
            "rpm/a.rpm",
            "ftp://other.example/",
            "http://repo.example/",
            "http://other.example:443/",
            "http://other.example@evil.example/",
            "http://evil.example@other.example/",
            "http://other.example:80:80/",
            "http://repo.example:8080:80/",
            "http://other.example.evil.example/",
            "http://evil.example?other.example/",
            "http://evil.example#other.example/",
            "http://other.example\\@evil.example/",
            "http:///rpm/",
        ] {
            assert_eq!(goes_to(url, &names), None, "{url}");
        }
    }
}
