//! How a command ends when it does not end well: one line, and an exit code scripts can rely on.

use std::process::ExitCode;

use crate::config::problem::Problems;
use crate::daemon;
use crate::logging;
use crate::serve::TlsError;

/// The exit codes, one meaning each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was tried, and went wrong.
    Failed = 1,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// It cannot be done now: held, busy, in conflict.
    Refused = 4,
}

/// What a person reads on standard error, and what a script reads from `$?`.
#[derive(Debug, Clone)]
pub struct Failure {
    pub exit: Exit,
    /// What was attempted, on which thing, and why it failed; without the program's name.
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What went wrong while it was tried.
    pub fn failed(error: &anyhow::Error) -> Self {
        let exit = match error.downcast_ref::<TlsError>() {
            _ if daemon::is_held(error) => Exit::Refused,
            // Whoever starts it again and again (systemd) gets nowhere: the files must be others.
            Some(tls) if !matches!(tls, TlsError::Read { .. }) => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, logging::chain(error.as_ref()))
    }

    /// All of them as one: the first's exit code where it is alone, else [`Exit::Failed`]; nothing where there is none.
    pub fn all(failures: Vec<Self>) -> Result<(), Self> {
        match failures.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            many => {
                let lines: Vec<&str> = many.iter().map(|failure| failure.message.as_str()).collect();
                Err(Self::new(Exit::Failed, lines.join("\n")))
            }
        }
    }

    /// Prints itself, each line free of control characters, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let lines: Vec<_> = self.message.lines().map(logging::escaped).collect();
        logging::say(&format!("createrepod: {}\n", lines.join("\n")));
        ExitCode::from(self.exit as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// What stands before the mistakes of a configuration.
const NOT_USABLE: &str = "the configuration is not usable: ";

impl Failure {
    /// What is wrong with a configuration, for whoever says himself that it is about one.
    pub fn mistake(&self) -> &str {
        self.message.strip_prefix(NOT_USABLE).unwrap_or(&self.message)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::usage(format!("{NOT_USABLE}{problems}"))
    }
}
