//! The generated `<name>.repo`: what a client puts into /etc/yum.repos.d/.

use std::net::SocketAddr;

use super::route::encode_path;
use crate::config::{RepositoryConfig, ServerConfig};

/// `local` is the address the client has reached us at; the Host header is the client's word and not used.
pub(crate) fn text(repository: &RepositoryConfig, server: &ServerConfig, local: SocketAddr) -> String {
    let name = &repository.name;
    let base = match &server.base_url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => format!("http://{}", SocketAddr::new(local.ip().to_canonical(), local.port())),
    };
    let url = encode_path(&repository.url);
    format!("[{name}]\nname={name}\nbaseurl={base}{url}\nenabled=1\ngpgcheck=0\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_configured_or_the_address_reached() {
        let repository = RepositoryConfig { url: "/el 9/".into(), ..RepositoryConfig::new("el", "/x") };
        let server = ServerConfig::default();
        let local = "[::ffff:192.0.2.1]:8080".parse().unwrap();
        insta::assert_snapshot!(text(&repository, &server, local), @r"
        [el]
        name=el
        baseurl=http://192.0.2.1:8080/el%209/
        enabled=1
        gpgcheck=0
        ");
        let server = ServerConfig { base_url: Some("https://repo.example.com/".into()), ..server };
        assert!(text(&repository, &server, local).contains("baseurl=https://repo.example.com/el%209/\n"));
    }
}
