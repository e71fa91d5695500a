//! `config dnf`: the .repo files of all repositories, in one text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::cli::failure::{Exit, Failure};
use crate::config::{Config, Listen};
use crate::serve::dot_repo;

/// Of every repository, or of the one that is named.
pub fn text(config: &Config, only: Option<&str>) -> Result<String, Failure> {
    let wanted: Vec<_> =
        config.repositories.iter().filter(|r| only.is_none_or(|only| r.name == only)).collect();
    if let (Some(name), []) = (only, wanted.as_slice()) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("no repository is named {name:?} in the configuration"),
        ));
    }
    let local = reachable(config.server.listen.first());
    let mut parts = Vec::new();
    if config.server.base_url.is_none() {
        parts.push(format!(
            "# base_url is not set in [server], so this address is good on this machine only: {}\n",
            local.split_once("://").map_or(local.as_str(), |(_, address)| address)
        ));
    }
    parts.extend(wanted.into_iter().map(|repository| dot_repo::text(repository, &config.server, &local)));
    Ok(parts.join("\n"))
}

/// Scheme and address; "every address" is nothing a client could connect to.
fn reachable(listen: Option<&Listen>) -> String {
    let mut address =
        listen.and_then(Listen::address).unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)));
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    match listen {
        Some(Listen::Https(_)) => format!("https://{address}"),
        _ => format!("http://{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RepositoryConfig, ServerConfig};

    #[test]
    fn every_repository_or_one_is_printed() {
        let repositories =
            vec![RepositoryConfig::new("el9", "/srv/el9"), RepositoryConfig::new("rpm", "/srv/rpm")];
        let server =
            ServerConfig { base_url: Some("https://repo.example.com/".into()), ..ServerConfig::default() };
        let config = Config { server, repositories, ..Config::default() };
        let all = text(&config, None).unwrap();
        assert!(all.starts_with("[el9]\n") && all.contains("\n\n[rpm]\n"), "{all}");
        assert!(all.contains("baseurl=https://repo.example.com/rpm/\n"), "{all}");
        let one = text(&config, Some("rpm")).unwrap();
        assert!(one.starts_with("[rpm]\n"), "{one}");
        assert_eq!(text(&config, Some("nope")).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn without_a_base_url_it_says_for_whom_the_address_is_good() {
        let server = ServerConfig { listen: vec!["0.0.0.0:80".parse().unwrap()], ..ServerConfig::default() };
        let config =
            Config { server, repositories: vec![RepositoryConfig::new("rpm", "/x")], ..Config::default() };
        let text = text(&config, None).unwrap();
        assert!(text.starts_with("# base_url is not set"), "{text}");
        assert!(text.contains("baseurl=http://127.0.0.1:80/rpm/\n"), "{text}");
    }
}
