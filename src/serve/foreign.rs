//! Who may be behind a request: a program on this machine, a proxy, or a web page of another site that has a browser
//! send what its user never meant.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::Method;
use hyper::header::{HOST, HeaderName, ORIGIN, VIA};
use hyper::http::request::Parts;

use super::error::ServeError;
use super::site::Mounts;
use super::{Ends, Transport};

/// Headers that a proxy adds: the loopback peer is then not the client.
pub(super) const PROXIED: [HeaderName; 6] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];

/// Browsers say here where the page is from that has them send a request; no page can forge it.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses what a web page of another site has a browser send, with the credentials that it keeps for this one; and,
/// without a configuration, what was sent to a name that only leads here (DNS rebinding).
pub(super) fn refuse(
    ends: &Ends,
    parts: &Parts,
    mounts: &Mounts,
    base_url: Option<&str>,
) -> Result<(), ServeError> {
    if is_misdirected(ends, &parts.headers, mounts) {
        return Err(ServeError::Misdirected);
    }
    let is_safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS)
        || parts.method.as_str() == "PROPFIND";
    if !is_safe && is_of_another_site(&parts.headers, base_url) {
        return Err(ServeError::Forbidden(
            "this was sent by a web page of another site (Sec-Fetch-Site, Origin); set base_url if the page is this \
             server's own"
                .into(),
        ));
    }
    Ok(())
}

/// Whether a request came over the loopback device to a server without configuration, which is for this machine
/// alone, and asked for another host.
pub(super) fn is_misdirected(ends: &Ends, headers: &HeaderMap, mounts: &Mounts) -> bool {
    mounts.is_local()
        && matches!(ends.transport, Transport::Plain | Transport::Tls)
        && ends.local.ip().to_canonical().is_loopback()
        && headers.get_all(HOST).iter().any(|host| !host.to_str().is_ok_and(names_loopback))
}

/// Whether a browser says that a page of another site is behind the request. Other clients say nothing of it.
fn is_of_another_site(headers: &HeaderMap, base_url: Option<&str>) -> bool {
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        return sites.any(|site| site != "same-origin" && site != "none");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let base = base_url.and_then(|base| base.split_once("://")).and_then(|(_, rest)| rest.split('/').next());
    let is_ours = |origin: &str| {
        let (scheme, origin) = origin.split_once("://")?;
        let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
        let plain = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
        [host, base].into_iter().flatten().any(|ours| plain(ours) == plain(origin)).then_some(())
    };
    headers.get_all(ORIGIN).iter().any(|origin| origin.to_str().ok().and_then(is_ours).is_none())
}

/// Why a client is not local by product.md's definition; `None` when it is.
pub(super) fn not_local(peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
    if !peer.to_canonical().is_loopback() {
        return Some("this one comes from another machine");
    }
    if PROXIED.iter().any(|name| headers.contains_key(name)) {
        return Some("this one came through a proxy");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return Some("this one does not say which host it means");
    };
    if !names_loopback(host) {
        return Some("this one did not ask for localhost or a loopback address");
    }
    // A page of another site, opened in a browser on this machine, says so here.
    let same = |origin: &str| {
        let scheme = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        scheme.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    if headers.get_all(ORIGIN).iter().any(|origin| !origin.to_str().is_ok_and(same)) {
        return Some("this one was made by a web page of another site");
    }
    None
}

/// Whether `host[:port]` is localhost or a loopback address.
fn names_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) => (name, port),
            None => return false,
        },
        None => match host.find(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        },
    };
    let port_is_one = port.is_empty()
        || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    port_is_one && (name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn local(peer: &str, pairs: &[(&'static str, &'static str)]) -> bool {
        not_local(peer.parse().unwrap(), &headers(pairs)).is_none()
    }

    #[test]
    fn a_client_on_this_machine_is_local() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.8.9.1:1",
            "[::1]:8080",
            "[::1]",
        ] {
            let mut map = HeaderMap::new();
            map.insert(HOST, host.parse().unwrap());
            assert!(not_local("127.0.0.1".parse().unwrap(), &map).is_none(), "{host}");
        }
        assert!(local("::1", &[("host", "localhost")]));
        assert!(local("::ffff:127.0.0.1", &[("host", "localhost")]));
    }

    #[test]
    fn a_client_elsewhere_is_not() {
        assert!(!local("192.0.2.1", &[("host", "localhost")]));
        assert!(!local("::ffff:192.0.2.1", &[("host", "localhost")]));
    }

    #[test]
    fn a_name_that_only_resolves_here_is_not() {
        for host in [
            "repo.example.com",
            "127.0.0.1.example.com",
            "localhost.example.com:80",
            "localhost:80:80",
            "[::1",
            "",
            "evil@localhost",
            "127.0.0.1:x",
            "128.0.0.1",
        ] {
            let mut map = HeaderMap::new();
            map.insert(HOST, host.parse().unwrap());
            assert!(not_local("127.0.0.1".parse().unwrap(), &map).is_some(), "{host}");
        }
        assert!(!local("127.0.0.1", &[]), "no Host at all");
        assert!(!local("127.0.0.1", &[("host", "localhost"), ("host", "localhost")]), "two of them");
    }

    #[test]
    fn a_proxy_in_front_gives_itself_away() {
        for proxied in ["forwarded", "x-forwarded-for", "via", "x-real-ip"] {
            assert!(!local("127.0.0.1", &[("host", "localhost"), (proxied, "1.2.3.4")]), "{proxied}");
        }
    }

    #[test]
    fn a_page_of_another_site_may_not_write() {
        let with = |origin| [("host", "localhost:8080"), ("origin", origin)];
        assert!(local("127.0.0.1", &with("http://localhost:8080")));
        for origin in [
            "http://localhost",
            "http://evil.example",
            "null",
            "http://localhost:8080.evil.example",
            "localhost:8080",
        ] {
            assert!(!local("127.0.0.1", &with(origin)), "{origin}");
        }
    }

    fn foreign(pairs: &[(&'static str, &'static str)]) -> bool {
        is_of_another_site(&headers(pairs), Some("https://repo.example.com:8443/below/"))
    }

    #[test]
    fn a_browser_says_whose_page_sends_a_request() {
        for site in ["cross-site", "same-site", "nonsense", ""] {
            assert!(foreign(&[("host", "h"), ("sec-fetch-site", site)]), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(!foreign(&[("host", "h"), ("sec-fetch-site", site)]), "{site}");
            let two = [("host", "h"), ("sec-fetch-site", site), ("sec-fetch-site", "cross-site")];
            assert!(foreign(&two), "{site}");
        }
        // Behind a proxy that passes on no port, or ends TLS.
        let said = [("host", "h"), ("origin", "https://h:8443"), ("sec-fetch-site", "same-origin")];
        assert!(!foreign(&said));
    }

    #[test]
    fn older_browsers_say_the_origin_alone() {
        for origin in
            ["http://h", "https://h", "http://H:80", "https://h:443", "https://repo.example.com:8443"]
        {
            assert!(!foreign(&[("host", "h"), ("origin", origin)]), "{origin}");
        }
        for origin in
            ["http://evil.example", "null", "h", "http://h:81", "http://h.evil.example", "", "https://h:80"]
        {
            assert!(foreign(&[("host", "h"), ("origin", origin)]), "{origin}");
        }
        assert!(foreign(&[("host", "h"), ("origin", "http://h"), ("origin", "http://evil.example")]));
        assert!(foreign(&[("origin", "http://h")]), "no Host");
        assert!(!foreign(&[("host", "h")]), "no browser");
    }
}
