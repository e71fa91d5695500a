//! createrepo_c's commands: by the name this program is called with, or as its first argument.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Command};

use super::load;
use crate::compat::createrepo::{self, CreaterepoOptions};
use crate::compat::merge::{self, MergerepoOptions};
use crate::compat::modify::{self, ModifyrepoOptions};
use crate::compat::sqlite::{self, SqliterepoOptions};
use crate::compat::{Ending, LIKE};
use crate::logging;

/// The commands' names.
const NAMES: [&str; 4] = ["createrepo_c", "mergerepo_c", "modifyrepo_c", "sqliterepo_c"];

/// Runs one of the commands if these arguments, the program's name first, ask for one.
///
/// Wrong usage ends with 1 here, where clap would say 2: to createrepo_c's callers 2 means that packages
/// could not be read.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let called = Path::new(arguments.first()?).file_name()?.to_str().map(str::to_owned);
    let is_ours = |name: &str| NAMES.contains(&name);
    let name = match called {
        Some(name) if is_ours(&name) => name,
        _ => {
            let name = arguments.get(1)?.to_str().filter(|name| is_ours(name))?.to_owned();
            arguments.remove(0);
            name
        }
    };
    Some(match name.as_str() {
        "createrepo_c" => dispatch::<CreaterepoOptions>("createrepo_c", &arguments, |options| {
            if options.version {
                return version();
            }
            createrepo::run(options, load::environment("SOURCE_DATE_EPOCH").as_deref(), now())
        }),
        "mergerepo_c" => dispatch::<MergerepoOptions>("mergerepo_c", &arguments, |options| {
            if options.version { version() } else { merge::run(options, now()) }
        }),
        "modifyrepo_c" => dispatch::<ModifyrepoOptions>("modifyrepo_c", &arguments, |options| {
            if options.version { version() } else { modify::run(options, now()) }
        }),
        "sqliterepo_c" => dispatch::<SqliterepoOptions>("sqliterepo_c", &arguments, |options| {
            if options.version { version() } else { sqlite::run(options, now()) }
        }),
        _ => return None,
    })
}

/// The commands as they are called by their own names, for manual pages.
pub fn commands() -> [Command; 4] {
    [
        command::<CreaterepoOptions>("createrepo_c"),
        command::<MergerepoOptions>("mergerepo_c"),
        command::<ModifyrepoOptions>("modifyrepo_c"),
        command::<SqliterepoOptions>("sqliterepo_c"),
    ]
}

fn command<O: Args>(name: &'static str) -> Command {
    O::augment_args(Command::new(name).disable_version_flag(true))
}

fn dispatch<O: Args>(
    name: &'static str,
    arguments: &[OsString],
    run: impl FnOnce(&O) -> anyhow::Result<Ending>,
) -> ExitCode {
    let options = match command::<O>(name)
        .try_get_matches_from(arguments)
        .and_then(|matches| O::from_arg_matches(&matches))
    {
        Ok(options) => options,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&options) {
        Ok(ending) => ending.into(),
        Err(error) => {
            let message = logging::chain(error.as_ref());
            let lines: Vec<_> = message.lines().map(logging::escaped).collect();
            eprintln!("{}", lines.join("\n"));
            ExitCode::FAILURE
        }
    }
}

fn version() -> anyhow::Result<Ending> {
    println!("Version: {LIKE} (createrepod {})", env!("CARGO_PKG_VERSION"));
    Ok(Ending::Well)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
