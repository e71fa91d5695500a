//! `config systemd`: what the shipped unit's sandbox does not allow and this configuration needs.

use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::config::{Config, Listen};

/// Where the shipped unit lets the daemon write (ReadWritePaths= and StateDirectory=).
const WRITABLE: [&str; 3] = ["/srv", "/var/www", "/var/lib/createrepod"];
/// What ProtectHome=true hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What PrivateTmp=true replaces by directories of its own.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The drop-in, or a comment that says that none is needed.
pub fn text(config: &Config) -> Result<String, Failure> {
    let mut paths: Vec<PathBuf> =
        config.repositories.iter().flat_map(|r| [r.path.clone(), r.state_dir.clone()]).collect();
    paths.sort();
    paths.dedup();
    // A directory inside another one is opened with it.
    let all = paths.clone();
    paths.retain(|path| !path.ancestors().skip(1).any(|above| all.iter().any(|other| other == above)));
    let under = |path: &Path, places: &[&str]| places.iter().any(|place| path.starts_with(place));
    let outside: Vec<_> = paths.iter().filter(|path| !under(path, &WRITABLE)).collect();

    let mut unit = String::new();
    let mut service = String::new();
    for path in &outside {
        let quoted = quoted(path)?;
        unit += &format!("RequiresMountsFor={quoted}\n");
        service += &format!("ReadWritePaths={quoted}\n");
    }
    if outside.iter().any(|path| under(path, &HOMES)) {
        service += "# A tree lies below a home directory, which the unit hides.\nProtectHome=false\n";
    }
    if outside.iter().any(|path| under(path, &TEMPORARY)) {
        service += "# A tree lies below /tmp, of which the unit has one of its own.\nPrivateTmp=false\n";
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
    use crate::config::{RepositoryConfig, ServerConfig};

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
        # A tree lies below a home directory, which the unit hides.
        ProtectHome=false
        # A port below 1024; createrepod.socket with ListenStream= would do without this.
        AmbientCapabilities=CAP_NET_BIND_SERVICE
        CapabilityBoundingSet=CAP_NET_BIND_SERVICE
        PrivateUsers=false
        "#);
    }
}
