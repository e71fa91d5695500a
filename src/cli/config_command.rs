//! `config check` and `config show`.

use std::io::{ErrorKind, Write as _};

use super::ConfigCommand;
use super::failure::{Exit, Failure};
use super::load;
use crate::config::resolve::Setting;

impl ConfigCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Check(file) => {
                let resolved = load::files(&file.config, &[])?;
                let count = resolved.config.repositories.len();
                let repositories = if count == 1 { "repository" } else { "repositories" };
                print(&format!("{} is fine: {count} {repositories}\n", file.config.display()))
            }
            Self::Show(file) => print(&shown(&load::files(&file.config, &[])?.settings)),
        }
    }
}

/// TOML that can be read back, each line with where its value came from.
fn shown(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut table = "";
    let width = settings.iter().map(|s| s.key.len() + s.value.chars().count()).max().unwrap_or(0).min(60);
    for Setting { table: this, key, value, origin } in settings {
        if this != table {
            let gap = if table.is_empty() { "" } else { "\n" };
            text += &format!("{gap}[{this}]\n");
            table = this;
        }
        let line = width.saturating_sub(key.len());
        text += &format!("{key} = {value:line$}  # {origin}\n");
    }
    text
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
