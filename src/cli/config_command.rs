//! `config …`: looks at the configuration, and writes what others need to know of it.

mod check;
mod dnf;
mod front;
mod import;
mod show;
mod systemd;

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigFile;
use super::failure::{Exit, Failure};
use super::{load, print};
use crate::config::Config;
use crate::daemon::repositories_now;
use crate::logging::escaped;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell all that is wrong with the configuration, without starting.
    #[command(after_help = "\
Examples:
  createrepod config check
  createrepod config check --config ./createrepod.toml     files of repos.d/ beside it are read too")]
    Check(ConfigFile),
    /// Print every value and where it came from, as TOML.
    #[command(after_help = "\
Examples:
  createrepod config show
  createrepod config show --config ./createrepod.toml")]
    Show(ConfigFile),
    Dnf(Dnf),
    Systemd(Systemd),
    Nginx(Front),
    Apache(Front),
    Import(Import),
}

/// Print the .repo file that dnf, yum and zypper need, of every repository or of one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod config dnf > /etc/yum.repos.d/ours.repo
  createrepod config dnf rpm")]
pub(super) struct Dnf {
    /// Only this repository.
    #[arg(value_name = "REPOSITORY")]
    repository: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Print the drop-in that opens the unit's sandbox for the configured paths and ports.
///
/// The unit as it is shipped lets the daemon write below /srv and /var/www and listen from port 1024 on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mkdir -p /etc/systemd/system/createrepod.service.d
  createrepod config systemd > /etc/systemd/system/createrepod.service.d/paths.conf
  systemctl daemon-reload && systemctl restart createrepod")]
pub(super) struct Systemd {
    #[command(flatten)]
    config: ConfigFile,
}

/// Print a virtual host for the web server in front: it gives packages and checksum-named metadata straight
/// from disk and hands everything else to createrepod.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod config nginx > /etc/nginx/conf.d/createrepod.conf
  createrepod config apache > /etc/apache2/sites-available/createrepod.conf     (httpd: /etc/httpd/conf.d/)")]
pub(super) struct Front {
    /// The name clients use; otherwise the host of base_url.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The port to listen on.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    port: u16,
    #[command(flatten)]
    config: ConfigFile,
}

/// Take over the configuration of inotify-createrepo: print it as a file of repos.d, or write it there.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  createrepod config import --write        /etc/inotify-createrepo.conf becomes /etc/createrepod/repos.d/NAME.toml")]
pub(super) struct Import {
    /// The file with the line REPO=/directory/of/rpms.
    #[arg(value_name = "FILE", default_value = "/etc/inotify-createrepo.conf")]
    file: PathBuf,
    /// The repository's name; otherwise that of its directory.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write repos.d/NAME.toml beside the configuration; a file that exists is left alone.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    config: ConfigFile,
}

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(file) => {
                let resolved = load::files(&file.config, &[])?;
                let check::Lacks { errors, warnings } = check::lacks(&resolved, &file.config);
                for lack in &warnings {
                    warning(&lack.to_string());
                }
                errors.or(())?;
                let (repositories, troubles) = repositories_now(&resolved.config);
                troubles.iter().for_each(|trouble| warning(trouble));
                let count = check::count(&resolved.config, repositories.len());
                print(&format!("{} is fine: {count}\n", file.config.display()))
            }
            Self::Show(file) => print(&show::text(&load::files(&file.config, &[])?.settings)),
            Self::Dnf(asked) => {
                let config = with_trees(&asked.config)?;
                print(&dnf::text(&config, asked.repository.as_deref())?)
            }
            Self::Systemd(asked) => {
                let config = load::files(&asked.config.config, &[])?.config;
                print(&systemd::text(&config)?)
            }
            Self::Nginx(asked) => print(&asked.read()?.nginx()?),
            Self::Apache(asked) => print(&asked.read()?.apache()?),
            Self::Import(asked) => asked.run(),
        }
    }
}

/// The configuration with the repositories that its trees hold now. What is in the way is told.
fn with_trees(file: &ConfigFile) -> Result<Config, Failure> {
    let mut config = load::files(&file.config, &[])?.config;
    let (repositories, troubles) = repositories_now(&config);
    for trouble in &troubles {
        warning(trouble);
    }
    config.repositories = repositories;
    Ok(config)
}

/// Nobody to tell is no failure.
fn warning(text: &str) {
    let _ = writeln!(std::io::stderr(), "warning: {}", escaped(text));
}

impl Front {
    fn read(self) -> Result<front::Front, Failure> {
        let config = with_trees(&self.config)?;
        front::Front::new(config, self.server_name, self.port)
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let text = std::fs::read_to_string(&self.file)
            .map_err(|e| Failure::usage(format!("cannot read {}: {e}", self.file.display())))?;
        let imported = import::read(&text, self.name.as_deref())
            .map_err(|why| Failure::usage(format!("{}: {why}", self.file.display())))?;
        let toml = imported.toml(&self.file);
        if !self.write {
            return print(&toml);
        }
        let directory = self.config.config.with_file_name("repos.d");
        let target = directory.join(format!("{}.toml", imported.name));
        let cannot = |e: &std::io::Error| {
            Failure::new(Exit::Failed, format!("cannot write {}: {e}", target.display()))
        };
        std::fs::create_dir_all(&directory).map_err(|e| cannot(&e))?;
        let mut file = std::fs::File::create_new(&target).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => Failure::new(
                Exit::Refused,
                format!("{} is already there; choose another name with --name", target.display()),
            ),
            _ => cannot(&e),
        })?;
        file.write_all(toml.as_bytes()).map_err(|e| cannot(&e))?;
        print(&format!("wrote {}; look at it, then: createrepod config check\n", target.display()))
    }
}
