//! `config systemd`: what the shipped unit's sandbox does not allow and this configuration needs.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::config::{AccessLog, Config, Listen, SignConfig, TlsConfig};

/// Where the shipped unit lets the daemon write: ReadWritePaths=, StateDirectory=, RuntimeDirectory= and LogsDirectory=.
const WRITABLE: [&str; 5] =
    ["/srv", "/var/www", "/var/lib/createrepod", "/run/createrepod", "/var/log/createrepod"];
/// What ProtectHome=true hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What PrivateTmp=true replaces by directories of its own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The drop-in, or a comment that says that none is needed.
pub fn text(config: &Config) -> Result<String, Failure> {
    let Places { write: mut paths, read } = places(config);
    paths.sort();
    paths.dedup();
    // A directory inside another one is opened with it.
    let all = paths.clone();
    paths.retain(|path| !path.ancestors().skip(1).any(|above| all.iter().any(|other| other == above)));
    let under = |path: &Path, places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let outside: Vec<_> = paths.iter().filter(|path| !under(path, &WRITABLE)).collect();
    let needs = |places: &[&str]| outside.iter().copied().chain(&read).any(|path| under(path, places));

    let mut unit = String::new();
    let mut service = String::new();
    for path in &outside {
        let quoted = quoted(path)?;
        unit += &format!("RequiresMountsFor={quoted}\n");
        service += &format!("ReadWritePaths={quoted}\n");
    }
    if needs(&HOMES) {
        service += "# Something lies below a home directory, which the unit hides.\nProtectHome=false\n";
    }
    if needs(&TEMPORARY) {
        service += "# Something lies below /tmp, of which the unit has one of its own.\nPrivateTmp=false\n";
    }
    if config
        .server
        .listen
        .iter()
        .filter_map(Listen::address)
        .any(|address| (1..1024).contains(&address.port()))
    {
        service += "\
# A port below 1024; createrepod.socket with ListenStream= would do without this.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
PrivateUsers=false
";
    }
    if service.is_empty() {
        return Ok(
            "# The unit as it is shipped allows all that this configuration needs; no drop-in is needed.\n"
                .into(),
        );
    }
    let unit = if unit.is_empty() { unit } else { format!("[Unit]\n{unit}\n") };
    Ok(format!(
        "# Made by `createrepod config systemd`. Put it into /etc/systemd/system/createrepod.service.d/paths.conf, then:\n\
         # systemctl daemon-reload && systemctl restart createrepod\n{unit}[Service]\n{service}"
    ))
}

/// What the configuration has the daemon write, and what else it has it read.
#[derive(Default)]
struct Places {
    write: Vec<PathBuf>,
    read: Vec<PathBuf>,
}

fn places(config: &Config) -> Places {
    let mut places = Places::default();
    let trees = config.trees.iter().map(|tree| &tree.template);
    for repository in config.repositories.iter().chain(trees) {
        match &repository.metadata_dir {
            Some(metadata) => {
                places.write.push(metadata.clone());
                places.read.push(repository.path.clone());
            }
            None => places.write.push(repository.path.clone()),
        }
        match &repository.sign {
            Some(SignConfig::Key { key, .. }) => places.read.push(key.clone()),
            Some(SignConfig::Command { public_key, .. }) => places.read.push(public_key.clone()),
            None => {}
        }
        places.read.extend(repository.keyring.clone());
    }
    places.write.extend(config.access.state_dir.clone());
    let server = &config.server;
    let sockets = server.listen.iter().filter_map(|listen| match listen {
        Listen::Unix(path) => Some(path),
        Listen::Http(_) | Listen::Https(_) => None,
    });
    let log = match &server.access_log {
        AccessLog::File(file) => Some(file),
        AccessLog::Off | AccessLog::Journal => None,
    };
    // Made, replaced and renamed there.
    let beside = sockets.chain(&server.control).chain(log).filter_map(|path| path.parent());
    places.write.extend(beside.map(Path::to_owned));
    places.read.extend(config.access.htpasswd.clone());
    if let Some(TlsConfig { certificate, key, client_ca }) = server.tls.clone() {
        places.read.extend([Some(certificate), Some(key), client_ca].into_iter().flatten());
    }
    places
}

/// As systemd.syntax(7) reads it: specifiers and quotes escaped.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control)).ok_or_else(|| {
        Failure::usage(format!("{} cannot be written into a unit file: give it a plain name", path.display()))
    })?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    Ok(match escaped.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '\'')) {
        true => format!("\"{escaped}\""),
        false => escaped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::{Pattern, TreeConfig};
    use crate::config::{AccessConfig, RepositoryConfig, ServerConfig};

    fn drop_in(paths: &[&str], listen: &str) -> String {
        let repositories = paths.iter().map(|path| RepositoryConfig {
            state_dir: "/var/lib/createrepod/repositories/x".into(),
            ..RepositoryConfig::new("x", path)
        });
        let server = ServerConfig { listen: vec![listen.parse().unwrap()], ..ServerConfig::default() };
        text(&Config { server, repositories: repositories.collect(), ..Config::default() }).unwrap()
    }

    #[test]
    fn what_the_unit_allows_needs_no_drop_in() {
        let text = drop_in(&["/srv/repos/el", "/var/www/repos/rpm-repo"], "127.0.0.1:8080");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }

    #[test]
    fn all_that_is_written_elsewhere_is_opened_and_what_is_only_read_is_not() {
        let read_only = RepositoryConfig {
            metadata_dir: Some("/data/metadata".into()),
            sign: Some(SignConfig::Key { key: "/home/ci/key.asc".into(), passphrase: None }),
            ..RepositoryConfig::new("x", "/mnt/mirror")
        };
        let tree = TreeConfig {
            pattern: Pattern::parse("{release}").unwrap(),
            template: RepositoryConfig::new("el", "/data/el"),
        };
        let server = ServerConfig {
            listen: vec!["unix:/run/front/http.sock".parse().unwrap()],
            access_log: AccessLog::File("/var/log/repos/access.log".into()),
            ..ServerConfig::default()
        };
        let access = AccessConfig { state_dir: Some("/data/state".into()), ..AccessConfig::default() };
        let config =
            Config { server, access, repositories: vec![read_only], trees: vec![tree], ..Config::default() };
        let text = text(&config).unwrap();
        let opened: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("ReadWritePaths=")).collect();
        assert_eq!(opened, ["/data/el", "/data/metadata", "/data/state", "/run/front", "/var/log/repos"]);
        assert!(text.contains("ProtectHome=false") && !text.contains("PrivateTmp"), "{text}");
    }

    #[test]
    fn paths_elsewhere_homes_and_low_ports_are_opened() {
        insta::assert_snapshot!(drop_in(&["/data/100% rpms", "/home/ci/rpm"], "0.0.0.0:80"), @r#"
        # Made by `createrepod config systemd`. Put it into /etc/systemd/system/createrepod.service.d/paths.conf, then:
        # systemctl daemon-reload && systemctl restart createrepod
        [Unit]
        RequiresMountsFor="/data/100%% rpms"
        RequiresMountsFor=/home/ci/rpm

        [Service]
        ReadWritePaths="/data/100%% rpms"
        ReadWritePaths=/home/ci/rpm
        # Something lies below a home directory, which the unit hides.
        ProtectHome=false
        # A port below 1024; createrepod.socket with ListenStream= would do without this.
        AmbientCapabilities=CAP_NET_BIND_SERVICE
        CapabilityBoundingSet=CAP_NET_BIND_SERVICE
        PrivateUsers=false
        "#);
    }
}
