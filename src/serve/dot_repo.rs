//! The generated `<name>.repo`: what a client puts into /etc/yum.repos.d/.

use super::route::encode_path;
use crate::config::{RepositoryConfig, ServerConfig};

/// `reached` is the scheme and address at which the client has reached us; the Host header is the client's word and not used.
pub(crate) fn text(repository: &RepositoryConfig, server: &ServerConfig, reached: &str) -> String {
    let name = &repository.name;
    let base = match &server.base_url {
        Some(base) => base.trim_end_matches('/').to_owned(),
        None => reached.to_owned(),
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
        let reached = "http://192.0.2.1:8080";
        insta::assert_snapshot!(text(&repository, &server, reached), @r"
        [el]
        name=el
        baseurl=http://192.0.2.1:8080/el%209/
        enabled=1
        gpgcheck=0
        ");
        let server = ServerConfig { base_url: Some("https://repo.example.com/".into()), ..server };
        assert!(text(&repository, &server, reached).contains("baseurl=https://repo.example.com/el%209/\n"));
    }
}
