//! createrepo_c's commands, with its options, exit codes and files, for the scripts that call them.
//!
//! What is better than createrepo_c on purpose: packages it would lose stay in, nothing is missing
//! while it switches, a signature never outlives the repomd.xml it was made for, no lock is left behind.
//! `docs/createrepo_c.md` has the list.

mod common;
pub mod createrepo;
mod databases;
pub mod merge;
pub mod modify;
mod old;
mod output;
mod sources;
mod spool;
pub mod sqlite;
mod stock;

use std::io::Write as _;
use std::process::ExitCode;

/// The version of createrepo_c whose options and meanings these are.
pub const LIKE: &str = "1.2.5";

/// How a command ended, short of an error (which is exit code 1, as createrepo_c's).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Well,
    /// The metadata were written, but some packages could not be read: exit code 2.
    WithBadPackages,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Well => Self::SUCCESS,
            Ending::WithBadPackages => Self::from(2),
        }
    }
}

/// Where a command talks: news to standard output unless it was told to be quiet, warnings to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Voice {
    pub quiet: bool,
}

impl Voice {
    fn say(self, line: &str) {
        if !self.quiet {
            // Nobody to tell is no failure.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn warn(self, line: &str) {
        let _ = writeln!(std::io::stderr(), "Warning: {line}");
    }

    /// A warning of what createrepo_c has in its library, whose name its lines begin with.
    fn warn_of_library(self, line: &str) {
        let _ = writeln!(std::io::stderr(), "C_CREATEREPOLIB: Warning: {line}");
    }
}
