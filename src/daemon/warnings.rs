//! What an administrator should be told about a configuration that works: who may come in, and how.

use std::net::SocketAddr;

use crate::config::{ReadAccess, RepositoryConfig, WriteAccess};

/// What is to be said of these repositories, served at `names` (`http://192.0.2.1:8080`, `unix:/run/x`).
pub fn warnings(names: &[String], repositories: &[RepositoryConfig]) -> Vec<String> {
    let open: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_here(name)).collect();
    let mut warnings = Vec::new();
    if open.is_empty() {
        return warnings;
    }
    let of = |wanted: &dyn Fn(&RepositoryConfig) -> bool| -> Vec<&str> {
        repositories.iter().filter(|r| wanted(r)).map(|r| r.name.as_str()).collect()
    };
    let writable = of(&|repository| repository.write == WriteAccess::Anyone);
    if !writable.is_empty() {
        warnings.push(format!(
            "WARNING: ANYONE WHO CAN CONNECT TO {} MAY UPLOAD TO, CHANGE AND REMOVE FROM {}: write = \"anyone\" and \
             listening beyond this machine; write = \"token\" asks who it is, and listen = [\"127.0.0.1:…\"] stays \
             on this machine",
            open.join(" AND "),
            writable.join(", ")
        ));
    }
    let plain: Vec<&str> = open.iter().copied().filter(|name| name.starts_with("http://")).collect();
    let secret = of(&|repository| {
        matches!(repository.write, WriteAccess::Token | WriteAccess::Authorizer(_))
            || matches!(repository.read, ReadAccess::Token | ReadAccess::Authorizer(_))
    });
    if !plain.is_empty() && !secret.is_empty() {
        warnings.push(format!(
            "tokens and passwords for {} can be read on their way to {}, which speaks no TLS; give [server] tls a \
             certificate and listen at https://, or stay behind a web server that does",
            secret.join(", "),
            plain.join(", ")
        ));
    }
    warnings
}

/// Whether only this machine can connect there.
fn is_here(name: &str) -> bool {
    match name.split_once("://") {
        Some((_, address)) => {
            let address = address.trim_end_matches('/').parse::<SocketAddr>();
            address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
        }
        // A unix socket.
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(names: &[&str], write: WriteAccess, read: ReadAccess) -> usize {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let repository = RepositoryConfig { write, read, ..RepositoryConfig::new("rpm", "/x") };
        warnings(&names, &[repository]).len()
    }

    #[test]
    fn open_doors_are_named() {
        use ReadAccess::Anyone;
        for (names, write, expected) in [
            (&["http://127.0.0.1:8080"][..], WriteAccess::Anyone, 0),
            (&["http://[::1]:8080", "unix:/run/x.sock"], WriteAccess::Anyone, 0),
            (&["http://0.0.0.0:8080"], WriteAccess::Anyone, 1),
            (&["http://127.0.0.1:80", "https://[::]:443"], WriteAccess::Anyone, 1),
            (&["http://192.0.2.1:80"], WriteAccess::Off, 0),
            (&["http://192.0.2.1:80"], WriteAccess::Token, 1),
            (&["https://192.0.2.1:443"], WriteAccess::Token, 0),
            (&["http://127.0.0.1:80"], WriteAccess::Token, 0),
        ] {
            assert_eq!(said(names, write.clone(), Anyone), expected, "{names:?} {write:?}");
        }
        assert_eq!(said(&["http://192.0.2.1:80"], WriteAccess::Anyone, ReadAccess::Token), 2);
    }
}
