//! `config nginx` and `config apache`: a virtual host in front of the daemon.
//!
//! What never changes under its name is given straight from disk: packages, and metadata with its checksum in its
//! name, of repositories that anyone may read. All else goes to createrepod: repomd.xml and its signature (which must
//! match), what is not on disk (removed packages and superseded metadata inside the grace period), folders, uploads,
//! files with names that begin with a dot, links where not all of them are followed, and every repository with
//! another `read` than "anyone".

mod apache;
mod nginx;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use crate::cli::failure::Failure;
use crate::config::{Config, Listen, ReadAccess, RepositoryConfig, Symlinks};

/// Seconds a proxied answer may take: an upload with `Prefer: wait` is answered when it is published.
const PATIENCE: u32 = 330;

/// What both web servers need to know.
pub struct Front {
    server_name: String,
    port: u16,
    /// What `base_url` has before the URLs of repositories: `/below`, or nothing.
    prefix: String,
    /// Where the daemon listens.
    upstream: Listen,
    /// The longest URL first: it wins.
    repositories: Vec<RepositoryConfig>,
}

impl Front {
    pub fn new(config: Config, server_name: Option<String>, port: u16) -> Result<Self, Failure> {
        let Config { server, mut repositories, .. } = config;
        let Some(server_name) = server_name.or_else(|| server.base_url.as_deref().map(host)) else {
            return Err(Failure::usage(
                "no name to serve under: give --server-name repo.example.com, or set base_url in [server]",
            ));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if server_name.is_empty() || !server_name.chars().all(plain) {
            return Err(Failure::usage(format!(
                "{server_name:?} is no host name; give one with --server-name"
            )));
        }
        // A socket file is out of everybody's reach but the proxy's; TLS on one machine is work for nothing.
        let is_plain = |listen: &&Listen| !matches!(listen, Listen::Https(_));
        let unix = server.listen.iter().find(|listen| matches!(listen, Listen::Unix(_)));
        let Some(upstream) = unix.or_else(|| server.listen.iter().find(is_plain)).cloned() else {
            return Err(Failure::usage(
                "createrepod listens for TLS only: add \"127.0.0.1:8080\" or \"unix:/run/createrepod/http.sock\" \
                 to listen in [server] for the proxy",
            ));
        };
        let upstream = match upstream {
            Listen::Http(mut address) if address.ip().is_unspecified() => {
                address.set_ip(match address.ip() {
                    IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                    IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                });
                Listen::Http(address)
            }
            other => other,
        };
        let prefix = server.base_url.as_deref().map_or("", prefix).to_owned();
        if !prefix.chars().all(|c| plain(c) || c == '/') {
            return Err(Failure::usage(format!(
                "the path of base_url, {prefix:?}, cannot be written into a web server's configuration: use letters, digits and . - _"
            )));
        }
        repositories.sort_by(|a, b| b.url.len().cmp(&a.url.len()).then_with(|| a.url.cmp(&b.url)));
        Ok(Self { server_name, port, prefix, upstream, repositories })
    }

    /// Who answers below the URL of each repository, the longest URL first.
    fn sources(&self) -> impl Iterator<Item = Result<Source<'_>, Failure>> {
        self.repositories.iter().map(|repository| {
            let RepositoryConfig { name, url, read, symlinks, .. } = repository;
            let url = regex_escaped(&format!("{}{url}", self.prefix));
            if *read != ReadAccess::Anyone {
                return Ok(Source::Daemon { name, url });
            }
            let directory = plain(&repository.path)?;
            Ok(Source::Disk(Disk {
                name,
                url,
                files: FILES,
                directory,
                follows: *symlinks == Symlinks::Anywhere,
            }))
        })
    }
}

/// The path below the directory of what may come from disk.
const FILES: &str = r"(?:[^/]+/)*[^/]+\.rpm|repodata/[0-9a-f]{32,128}-[^/]+";

/// What createrepod says of each file of a tree (a stranger may have written it), and what holds for all of them.
const HEADERS: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("Cache-Control", "public, max-age=3600"),
];

/// Who answers below a repository's URL. `url` is an expression.
enum Source<'a> {
    /// The web server, where the file is on disk.
    Disk(Disk<'a>),
    /// createrepod alone: it asks who may read.
    Daemon { name: &'a str, url: String },
}

struct Disk<'a> {
    name: &'a str,
    url: String,
    files: &'static str,
    directory: &'a str,
    /// Links are followed wherever they lead. Otherwise createrepod decides about each: no web server knows whether
    /// a link leads out of the tree.
    follows: bool,
}

/// The host of `https://host:port/path/`.
fn host(base_url: &str) -> String {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host.to_owned(),
        _ => authority.to_owned(),
    }
}

/// The path of `https://host/path/`, without the slash at its end.
fn prefix(base_url: &str) -> &str {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'))
}

/// Literally, for PCRE.
fn regex_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if !c.is_alphanumeric() && !matches!(c, '/' | '-' | '_' | ' ') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// A path that neither web server reads anything into.
fn plain(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .filter(|text| {
            !text.chars().any(|c| c.is_control() || matches!(c, '$' | '%' | '"' | '\\' | '*' | '?' | '['))
        })
        .ok_or_else(|| {
            Failure::usage(format!(
                "{} cannot be written into a web server's configuration: its name has one of $ % \" \\ * ? [",
                path.display()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;

    fn front() -> Front {
        Front::new(front_config(), None, 80).unwrap()
    }

    fn front_config() -> Config {
        let closed = |name: &str, url: &str| RepositoryConfig {
            url: url.into(),
            read: ReadAccess::Token,
            ..RepositoryConfig::new(name, format!("/srv/{name}"))
        };
        let repositories = vec![
            closed("inside", "/el/9.1/secret/"),
            closed("around", "/priv/"),
            RepositoryConfig { url: "/priv/open/".into(), ..RepositoryConfig::new("open", "/srv/open") },
            RepositoryConfig {
                url: "/el/".into(),
                symlinks: Symlinks::Anywhere,
                ..RepositoryConfig::new("el", "/srv/el")
            },
            RepositoryConfig {
                url: "/el/9.1/".into(),
                symlinks: Symlinks::Never,
                ..RepositoryConfig::new("el9", "/srv/e l9")
            },
        ];
        let server = ServerConfig {
            listen: vec!["0.0.0.0:8080".parse().unwrap()],
            base_url: Some("https://repo.example.com:8443/".into()),
            ..ServerConfig::default()
        };
        Config { server, repositories, ..Config::default() }
    }

    #[test]
    fn a_socket_file_is_preferred_and_tls_is_not() {
        let with = |listen: &[&str]| {
            let listen = listen.iter().map(|text| text.parse().unwrap()).collect();
            let base_url = Some("https://repo.example.com/".into());
            let server = ServerConfig { listen, base_url, ..ServerConfig::default() };
            Front::new(Config { server, ..Config::default() }, None, 80)
        };
        let front = with(&["https://0.0.0.0:443", "127.0.0.1:8080", "unix:/run/x.sock"]).ok().unwrap();
        assert!(front.nginx().unwrap().contains("    server unix:/run/x.sock;\n"));
        assert!(front.apache().unwrap().contains("\"unix:/run/x.sock|http://localhost/\""));
        let front = with(&["https://0.0.0.0:443", "0.0.0.0:8080"]).ok().unwrap();
        assert!(front.apache().unwrap().contains("\"http://127.0.0.1:8080/\""));
        assert!(with(&["https://0.0.0.0:443"]).is_err());
    }

    #[test]
    fn the_texts_are_these() {
        insta::assert_snapshot!("nginx", front().nginx().unwrap());
        insta::assert_snapshot!("apache", front().apache().unwrap());
    }

    #[test]
    fn nothing_of_a_closed_repository_comes_from_disk() {
        let front = front();
        for text in [front.nginx().unwrap(), front.apache().unwrap()] {
            assert!(!text.contains("/srv/inside") && !text.contains("/srv/around"), "{text}");
            // The first that matches counts.
            let at = |url: &str| text.find(&format!("\"^{url}")).unwrap_or_else(|| panic!("{url}: {text}"));
            assert!(at(r"/el/9\.1/secret/") < at(r"/el/9\.1/("), "{text}");
            assert!(at("/priv/open/(") < at("/priv/\""), "{text}");
        }
    }

    #[test]
    fn below_a_path_it_is_taken_off_for_createrepod() {
        let base_url = |url: &str| {
            let base_url = Some(url.to_owned());
            let config =
                Config { server: ServerConfig { base_url, ..ServerConfig::default() }, ..front_config() };
            Front::new(config, None, 80)
        };
        let front = base_url("https://repo.example.com/a/b.c/").unwrap();
        let (nginx, apache) = (front.nginx().unwrap(), front.apache().unwrap());
        assert_eq!(
            nginx.matches("rewrite \"^/a/b\\.c(/.*)$\" $1 break;\n").count(),
            nginx.matches("proxy_pass").count()
        );
        assert!(nginx.contains("location /a/b.c/ {") && nginx.contains("\"^/a/b\\.c/priv/\""), "{nginx}");
        assert!(apache.contains("ProxyPass \"/a/b.c/\" \"http"), "{apache}");
        assert!(apache.contains("RewriteRule \"^/a/b\\.c/priv/\" \"-\" [L]"), "{apache}");
        assert!(base_url("https://repo.example.com/a b/").is_err());
    }

    #[test]
    fn what_the_web_server_would_misread_is_refused() {
        let config =
            |path: &str| Config { repositories: vec![RepositoryConfig::new("x", path)], ..Config::default() };
        assert!(Front::new(config("/srv/x"), None, 80).is_err(), "no name");
        assert!(Front::new(config("/srv/x"), Some("a;b".into()), 80).is_err());
        let front = Front::new(config("/srv/$x"), Some("a".into()), 80).unwrap();
        assert!(front.nginx().is_err() && front.apache().is_err());
    }
}
