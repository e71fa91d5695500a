//! How a command ends when it does not end well: one line, and an exit code scripts can rely on.

use std::process::ExitCode;

use crate::config::problem::Problems;
use crate::daemon;
use crate::logging;

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
#[derive(Debug)]
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
        let exit = if daemon::is_held(error) { Exit::Refused } else { Exit::Failed };
        Self::new(exit, logging::chain(error.as_ref()))
    }

    /// Prints itself, each line free of control characters, and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let lines: Vec<_> = self.message.lines().map(logging::escaped).collect();
        eprintln!("createrepod: {}", lines.join("\n"));
        ExitCode::from(self.exit as u8)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::usage(format!("the configuration is not usable: {problems}"))
    }
}
