//! Which daemon, and which repository, a command means.

use std::path::PathBuf;

use clap::Args;

use super::ask::socket_of;
use super::failure::{Exit, Failure};
use super::{ConfigFile, load};
use crate::config::{Config, RepositoryConfig};

/// The arguments that `status`, `refresh` and their like share.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// A repository's name; or, for a daemon started as `serve DIR`, that directory.
    #[arg(value_name = "REPOSITORY")]
    repository: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// What they mean.
pub(super) struct Asked {
    /// Where the daemon would listen for commands.
    pub socket: Option<PathBuf>,
    pub config: Config,
    /// `None`: all of them.
    pub repository: Option<String>,
}

impl Target {
    pub fn resolve(self) -> Result<Asked, Failure> {
        match self.repository {
            Some(directory) if directory.contains('/') || matches!(directory.as_str(), "." | "..") => {
                let config = load::existing(directory.as_ref(), &[])?;
                let socket = config.repositories.first().map(|repository| socket_of(&repository.path));
                Ok(Asked { socket, config, repository: None })
            }
            repository => {
                let config = load::files(&self.config.config, &[])?.config;
                Ok(Asked { socket: config.server.control.clone(), config, repository })
            }
        }
    }
}

impl Asked {
    /// The repositories of the configuration that are meant.
    pub fn wanted(&self) -> Result<Vec<&RepositoryConfig>, Failure> {
        let named =
            |config: &&RepositoryConfig| self.repository.as_ref().is_none_or(|name| *name == config.name);
        let wanted: Vec<_> = self.config.repositories.iter().filter(named).collect();
        match (&self.repository, wanted.as_slice()) {
            (Some(name), []) => Err(Failure::new(Exit::NotFound, format!("no repository is named {name:?}"))),
            _ => Ok(wanted),
        }
    }
}
