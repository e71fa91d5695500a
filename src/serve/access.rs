//! Who may do what: what is known of a request, held against the repository's rules.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, VIA};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};

use super::error::ServeError;
use super::route::normal;
use super::{Ends, Server, Transport};
use crate::auth::{Asking, Permission, Principal, Refusal};
use crate::config::{ReadAccess, RepositoryConfig};

/// Headers that a proxy adds: the loopback peer is then not the client.
pub(super) const PROXIED: [HeaderName; 6] = [
    HeaderName::from_static("forwarded"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];

/// What a method wants of the repository its URL lies in. A method we do not know wants to read: what
/// follows is a refusal, which is told to readers only.
pub(super) fn wanted(method: &Method, query: Option<&str>) -> Permission {
    match method.as_str() {
        "DELETE" if removes_now(query) => Permission::Admin,
        "PUT" | "MKCOL" | "COPY" | "PROPPATCH" | "LOCK" | "UNLOCK" => Permission::Write,
        "DELETE" | "MOVE" => Permission::Delete,
        _ => Permission::Read,
    }
}

/// `DELETE …?now` keeps nothing for the grace period.
pub(crate) fn removes_now(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair == "now" || pair.starts_with("now=")))
}

/// Whether the client may know that a repository is there, without being asked who it is.
pub(super) async fn may_see(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    repository: &RepositoryConfig,
) -> bool {
    if repository.read == ReadAccess::Anyone || ends.transport == Transport::Control {
        return true;
    }
    if !parts.headers.contains_key(AUTHORIZATION) && ends.certificate.is_none() {
        return false;
    }
    let asking =
        Asking { path: &|| repository.url.clone(), ..asking(ends, parts, repository, Permission::Read) };
    server.guard.decide(&asking).await.is_ok()
}

/// Whether the client may know what is wrong with a repository, and where: paths of this machine, names of
/// files that are not served, causes. Programs on this machine, and who may write. Nobody is asked who it is.
pub(super) async fn may_see_causes(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    repository: &RepositoryConfig,
) -> bool {
    if ends.transport == Transport::Control
        || (ends.transport != Transport::Unix && not_local(ends.peer.ip(), &parts.headers).is_none())
    {
        return true;
    }
    if !parts.headers.contains_key(AUTHORIZATION) && ends.certificate.is_none() {
        return false;
    }
    let asking =
        Asking { path: &|| repository.url.clone(), ..asking(ends, parts, repository, Permission::Write) };
    server.guard.decide(&asking).await.is_ok()
}

/// Whether a request may do this in a repository, and who makes it. To be asked before anything is told
/// of what is there, and before a byte of a body is taken. Every request is asked once for what its
/// method wants; what it wants beyond that (the target of a MOVE) is asked for in addition.
pub(crate) async fn authorize(
    server: &Server,
    ends: &Ends,
    parts: &Parts,
    repository: &RepositoryConfig,
    permission: Permission,
) -> Result<Principal, ServeError> {
    // The file of the control socket says who may use it.
    if ends.transport == Transport::Control {
        return Ok(Principal::Local);
    }
    let path = || normal(parts.uri.path());
    let not_local = || not_local(ends.peer.ip(), &parts.headers);
    let asking = Asking { path: &path, not_local: &not_local, ..asking(ends, parts, repository, permission) };
    server.guard.decide(&asking).await.map_err(ServeError::from)
}

fn asking<'r>(
    ends: &'r Ends,
    parts: &'r Parts,
    repository: &'r RepositoryConfig,
    permission: Permission,
) -> Asking<'r> {
    Asking {
        repository,
        permission,
        method: parts.method.as_str(),
        path: &String::new,
        headers: &parts.headers,
        peer: (ends.transport != Transport::Unix).then(|| ends.peer.ip()),
        certificate: ends.certificate.as_deref(),
        not_local: &|| Some("nobody asked where this one is"),
    }
}

impl From<Refusal> for ServeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(why) => Self::Unauthorized(why),
            Refusal::Forbidden(why) => Self::Forbidden(why),
            Refusal::TooMany(wait) => Self::TooManyRequests { seconds: wait.as_secs() + 1 },
            Refusal::Undecided(authorizer) => Self::Undecided { authorizer },
            Refusal::Failed(source) => Self::internal("find out who asks", source),
        }
    }
}

/// Why a client is not local by product.md's definition; `None` when it is.
fn not_local(peer: IpAddr, headers: &HeaderMap) -> Option<&'static str> {
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
}
