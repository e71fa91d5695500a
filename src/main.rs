//! argv → configuration → logging → createrepod; an error becomes one line and an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use createrepod::cli::{Cli, compat};

/// Gives memory back after a burst, where the C library's allocator keeps it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = compat::run(std::env::args_os()) {
        return code;
    }
    // clap itself exits with 2 on wrong usage, and with 0 after --help.
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
