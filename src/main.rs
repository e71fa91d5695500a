//! argv → configuration → logging → createrepod; an error becomes one line and an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use createrepod::cli::{Cli, compat};

fn main() -> ExitCode {
    if let Some(code) = compat::run(std::env::args_os()) {
        return code;
    }
    // clap itself exits with 2 on wrong usage, and with 0 after --help.
    let ended = match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    };
    createrepod::logging::flush();
    ended
}
