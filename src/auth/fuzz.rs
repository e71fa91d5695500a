//! What strangers say of who they are, and what files say of users.

use std::net::{IpAddr, Ipv4Addr};

use hyper::HeaderMap;

use super::credentials::Credentials;
use super::{address, htpasswd, secret};
use crate::config::access::Proxy;

/// `Authorization`, `Forwarded`, `X-Forwarded-For`.
pub fn headers(headers: &HeaderMap) {
    let _ = Credentials::of(headers);
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let all = Proxy::parse("0.0.0.0/0").into_iter().chain(Proxy::parse("::/0"));
    assert!(address::client(Some(peer), headers, &all.collect::<Vec<_>>()).is_some());
    // Where nobody is trusted, nobody's word counts.
    assert_eq!(address::client(Some(peer), headers, &[]), Some(peer));
    assert_eq!(address::client(None, headers, &[]), None);
}

/// A file of users.
pub fn htpasswd(text: &str) {
    let (users, problems) = htpasswd::parse(text);
    assert!(users.len() + problems.len() <= text.lines().count());
    let _ = secret::id(text);
}
