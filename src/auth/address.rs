//! Where a request really comes from. A proxy's word counts where the configuration trusts the proxy.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::HeaderName;

use crate::config::access::Proxy;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The client's address: the last one that no trusted proxy vouches against. `None`: a unix socket's peer.
///
/// The lists are read from the right, where the nearest proxy has added its peer; what stands left of
/// the first address that is no trusted proxy's may be anybody's invention. Where a request has both
/// headers, `X-Forwarded-For` counts, which nginx, Apache and HAProxy write.
pub fn client(peer: Option<IpAddr>, headers: &HeaderMap, proxies: &[Proxy]) -> Option<IpAddr> {
    let peer = peer.map(|peer| peer.to_canonical());
    let is_trusted = |address: Option<IpAddr>| proxies.iter().any(|proxy| proxy.covers(address));
    if !is_trusted(peer) {
        return peer;
    }
    let name = if headers.contains_key(FORWARDED_FOR) { FORWARDED_FOR } else { FORWARDED };
    let mut client = peer;
    let values: Vec<&str> = headers.get_all(&name).iter().map(|value| value.to_str().unwrap_or("")).collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let hop = if name == FORWARDED { forwarded_for(hop) } else { Some(hop) };
        // A hop that does not say where it got the request from: whom it got it from is as near as we come.
        let Some(address) = hop.and_then(address) else { break };
        client = Some(address);
    }
    client
}

/// `for=` of one element of `Forwarded` (RFC 7239).
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"'))
    })
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(peer: Option<&str>, headers: &[(&'static str, &str)], proxies: &[&str]) -> String {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| _ = map.append(*name, value.parse().unwrap()));
        let proxies: Vec<Proxy> = proxies.iter().map(|proxy| Proxy::parse(proxy).unwrap()).collect();
        let client = client(peer.map(|peer| peer.parse().unwrap()), &map, &proxies);
        client.map_or("unix".into(), |client| client.to_string())
    }

    #[test]
    fn a_strangers_word_does_not_count() {
        let lies = [("x-forwarded-for", "1.1.1.1"), ("forwarded", "for=1.1.1.1")];
        assert_eq!(ask(Some("192.0.2.9"), &lies, &[]), "192.0.2.9");
        assert_eq!(ask(Some("192.0.2.9"), &lies, &["127.0.0.1", "unix"]), "192.0.2.9");
        assert_eq!(ask(None, &lies, &["127.0.0.1"]), "unix");
    }

    #[test]
    fn lists_are_read_from_the_right_up_to_the_first_stranger() {
        let proxies = ["127.0.0.1", "10.0.0.0/8", "unix"];
        let from = |list: &str| ask(Some("127.0.0.1"), &[("x-forwarded-for", list)], &proxies);
        assert_eq!(from("192.0.2.1"), "192.0.2.1");
        assert_eq!(from("6.6.6.6, 192.0.2.1"), "192.0.2.1", "the client invented the first");
        assert_eq!(from("6.6.6.6, 192.0.2.1, 10.1.2.3"), "192.0.2.1");
        assert_eq!(from("10.9.9.9, 10.1.2.3"), "10.9.9.9", "all are proxies: the farthest");
        assert_eq!(from("192.0.2.1:1234"), "192.0.2.1");
        assert_eq!(from("2001:db8::1"), "2001:db8::1");
        assert_eq!(from("[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(from("::ffff:192.0.2.1"), "192.0.2.1");
        for nonsense in ["unknown", "", ",", "6.6.6.6, nonsense", "1.2.3.4.5"] {
            assert_eq!(from(nonsense), "127.0.0.1", "{nonsense:?}");
        }
        assert_eq!(ask(None, &[("x-forwarded-for", "192.0.2.1")], &proxies), "192.0.2.1");
        let two = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1, 10.0.0.1")];
        assert_eq!(ask(Some("127.0.0.1"), &two, &proxies), "192.0.2.1");
        assert_eq!(ask(Some("127.0.0.1"), &[], &proxies), "127.0.0.1");
    }

    #[test]
    fn forwarded_is_understood_too() {
        let from = |value: &str| ask(Some("127.0.0.1"), &[("forwarded", value)], &["127.0.0.1"]);
        assert_eq!(from("for=192.0.2.60;proto=http;by=203.0.113.43"), "192.0.2.60");
        assert_eq!(from("for=6.6.6.6, proto=https; For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(from("for=unknown"), "127.0.0.1");
        assert_eq!(from("for=_hidden"), "127.0.0.1");
        assert_eq!(from("proto=https"), "127.0.0.1");
    }
}
