//! What `serve DIR` prints to copy and paste.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{RepositoryConfig, ServerConfig};

/// One line with the URL, a `.repo` snippet, and how to upload.
pub fn greeting(repository: &RepositoryConfig, server: &ServerConfig, addresses: &[SocketAddr]) -> String {
    let RepositoryConfig { name, path, .. } = repository;
    let url = address_of(repository, server, addresses);
    format!(
        "\
Serving {path} at {url}

# for dnf and yum: /etc/yum.repos.d/{name}.repo; for zypper: /etc/zypp/repos.d/{name}.repo
[{name}]
name={name}
baseurl={url}
enabled=1
autorefresh=1
gpgcheck=0

# put a package in (from this machine)
curl -T PACKAGE.rpm {url}
",
        path = crate::logging::escaped(&path.to_string_lossy()),
    )
}

/// Where clients find the repository: under `base_url`, or else where we listen first.
fn address_of(repository: &RepositoryConfig, server: &ServerConfig, addresses: &[SocketAddr]) -> String {
    let under = repository.url.trim_start_matches('/');
    if let Some(base) = &server.base_url {
        return format!("{base}{under}");
    }
    let mut address = addresses.first().copied().unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    // "Every address" is nothing a client could connect to.
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}/{under}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_can_be_copied() {
        let repository = RepositoryConfig::new("rpm", "/home/me/rpm");
        let addresses = ["127.0.0.1:34567".parse().unwrap()];
        insta::assert_snapshot!(greeting(&repository, &ServerConfig::default(), &addresses), @r"
        Serving /home/me/rpm at http://127.0.0.1:34567/rpm/

        # for dnf and yum: /etc/yum.repos.d/rpm.repo; for zypper: /etc/zypp/repos.d/rpm.repo
        [rpm]
        name=rpm
        baseurl=http://127.0.0.1:34567/rpm/
        enabled=1
        autorefresh=1
        gpgcheck=0

        # put a package in (from this machine)
        curl -T PACKAGE.rpm http://127.0.0.1:34567/rpm/
        ");
    }

    #[test]
    fn an_address_is_one_a_client_can_connect_to() {
        let repository = RepositoryConfig::new("rpm", "/x");
        let url = |server: &ServerConfig, address: &str| {
            address_of(&repository, server, &[address.parse().unwrap()])
        };
        let server = ServerConfig::default();
        assert_eq!(url(&server, "0.0.0.0:80"), "http://127.0.0.1:80/rpm/");
        assert_eq!(url(&server, "[::]:80"), "http://[::1]:80/rpm/");
        assert_eq!(url(&server, "192.0.2.1:80"), "http://192.0.2.1:80/rpm/");
        let server = ServerConfig { base_url: Some("https://repo.example.com/".into()), ..server };
        assert_eq!(url(&server, "127.0.0.1:80"), "https://repo.example.com/rpm/");
    }
}
