//! Which daemon, and which repositories, a command means.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use clap::Args;

use super::ask::socket_of;
use super::failure::{Exit, Failure};
use super::{ConfigFile, load};
use crate::config::value::nearest;
use crate::config::{Config, RepositoryConfig};
use crate::rights::Pattern;

/// The arguments that `status`, `refresh` and `verify` share.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Names of repositories; or, of a daemon started as `serve DIR`, that directory (with a slash in it). None: all that
    /// are configured.
    #[arg(value_name = "REPOSITORY", value_hint = clap::ValueHint::DirPath)]
    repositories: Vec<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// What is asked of one daemon.
pub(super) struct Asked {
    /// Where the daemon would listen for commands.
    pub socket: Option<PathBuf>,
    pub config: Config,
    /// Empty: all of them.
    pub repositories: Vec<String>,
    /// What is wrong with the configuration on the disk. A daemon that runs goes on all the same, and is asked.
    mistake: Option<Failure>,
}

impl Target {
    /// One for the daemon of the configuration, where it is meant, and one for each directory. `verb`: the command, for
    /// what is said where there is no configuration.
    pub fn resolve(self, verb: &str) -> Result<Vec<Asked>, Failure> {
        let is_path = |name: &String| name.contains('/') || matches!(name.as_str(), "." | "..");
        let (directories, names): (Vec<_>, Vec<_>) = self.repositories.into_iter().partition(is_path);
        let mut all = Vec::new();
        if !names.is_empty() || directories.is_empty() {
            all.push(Asked::configured(&self.config.config, names, verb)?);
        }
        for directory in directories {
            let config = load::existing(directory.as_ref(), &[])?;
            let socket = config.repositories.first().map(|repository| socket_of(&repository.path));
            all.push(Asked { socket, config, repositories: Vec::new(), mistake: None });
        }
        Ok(all)
    }
}

impl Asked {
    fn configured(file: &Path, repositories: Vec<String>, verb: &str) -> Result<Self, Failure> {
        let mistake = match load::files(file, &[]) {
            Ok(resolved) => {
                let config = resolved.config;
                let socket = config.server.control.clone();
                return Ok(Self { socket, config, repositories, mistake: None });
            }
            Err(_) if file == Path::new(load::DEFAULT_FILE) && !file.exists() => Failure::usage(format!(
                "there is no {}; of a daemon that was started as createrepod serve DIR, name the directory: \
                 createrepod {verb} ./DIR; or name another configuration (--config FILE)",
                load::DEFAULT_FILE
            )),
            Err(mistake) => mistake,
        };
        // Where nobody listens, the mistake is all there is to say.
        let answers = |socket: &PathBuf| match UnixStream::connect(socket) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        match load::control_socket(file).filter(answers) {
            Some(socket) => {
                let (socket, mistake) = (Some(socket), Some(mistake));
                Ok(Self { socket, config: Config::default(), repositories, mistake })
            }
            None => Err(mistake),
        }
    }

    /// What is wrong with the configuration on the disk.
    pub fn mistake(&self) -> Option<String> {
        self.mistake.as_ref().map(|failure| failure.mistake().to_owned())
    }

    /// The repositories of the configuration that are meant, where no daemon answers; a name that is none's is an error
    /// in its place.
    pub fn wanted(&self) -> Result<Vec<Result<&RepositoryConfig, Failure>>, Failure> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        let all = &self.config.repositories;
        if self.repositories.is_empty() {
            return Ok(all.iter().map(Ok).collect());
        }
        let named =
            |name: &String| all.iter().find(|config| config.name == *name).ok_or_else(|| unknown(name));
        Ok(self.repositories.iter().map(named).collect())
    }
}

/// No repository has this name.
pub(super) fn unknown(name: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("no repository is named {name:?}"))
}

/// That no repository is meant by `pattern`, of all that there are now.
pub(super) fn nobody(pattern: &Pattern, all: &[RepositoryConfig]) -> String {
    let text = pattern.as_str();
    if !pattern.is_literal() {
        return format!("no repository is called as {text:?} says");
    }
    let hint = nearest(text, all.iter().map(|repository| repository.name.as_str()));
    let hint = hint.map(|name| format!("; did you mean {name:?}?")).unwrap_or_default();
    format!("no repository is called {text:?}{hint}")
}
