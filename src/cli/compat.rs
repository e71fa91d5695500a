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

/// The commands' names, and the commands that they mean. Fedora's and EL's createrepo_c package has the older names too.
const NAMES: [(&str, &str); 7] = [
    ("createrepo_c", "createrepo_c"),
    ("mergerepo_c", "mergerepo_c"),
    ("modifyrepo_c", "modifyrepo_c"),
    ("sqliterepo_c", "sqliterepo_c"),
    ("createrepo", "createrepo_c"),
    ("mergerepo", "mergerepo_c"),
    ("modifyrepo", "modifyrepo_c"),
];

/// Runs one of the commands if these arguments, the program's name first, ask for one.
///
/// Wrong usage ends with 1 here, where clap would say 2: to createrepo_c's callers 2 means that packages
/// could not be read.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let called = Path::new(arguments.first()?).file_name()?.to_str().map(str::to_owned);
    let meant = |name: &str| NAMES.iter().find(|(called, _)| *called == name).map(|(_, command)| *command);
    let name = match called.as_deref().and_then(meant) {
        Some(name) => name,
        None => {
            let name = meant(arguments.get(1)?.to_str()?)?;
            arguments.remove(0);
            name
        }
    };
    // Which of createrepo_c's groups of options are shown is all that these differ in.
    for argument in arguments.iter_mut().filter(|argument| *argument == "--help-all") {
        *argument = "--help".into();
    }
    Some(match name {
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

/// The older names, each with the command it means.
pub fn older_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.into_iter().filter(|(called, command)| called != command)
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
            if !error.use_stderr() {
                let _ = error.print();
                return ExitCode::SUCCESS;
            }
            let said = format!("{}\n", wrong_usage(name, &error));
            if name == "mergerepo_c" {
                // Where mergerepo_c says it.
                let _ = super::print(&said);
            } else {
                logging::say(&said);
            }
            return ExitCode::FAILURE;
        }
    };
    match run(&options) {
        Ok(ending) => ending.into(),
        Err(error) => {
            let message = logging::chain(error.as_ref());
            let lines: Vec<_> = message.lines().map(logging::escaped).collect();
            logging::say(&format!("{}\n", lines.join("\n")));
            ExitCode::FAILURE
        }
    }
}

/// What createrepo_c's commands say of options that they do not know or that lack their value; scripts look for these words.
fn wrong_usage(name: &str, error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // `--retain-old-md <N>`
    let option =
        context(ContextKind::InvalidArg).map(|option| option.split([' ', '=']).next().unwrap_or(option));
    let said = match (error.kind(), option, context(ContextKind::InvalidValue)) {
        (ErrorKind::UnknownArgument, Some(option), _) => format!("Unknown option {option}"),
        (ErrorKind::InvalidValue, Some(option), None | Some("")) => format!("Missing argument for {option}"),
        (ErrorKind::ValueValidation | ErrorKind::InvalidValue, Some(option), Some(value)) => {
            format!("Cannot parse integer value \u{201c}{value}\u{201d} for {option}")
        }
        _ => {
            let text = error.to_string();
            text.trim_start_matches("error: ").trim_end().to_owned()
        }
    };
    match name {
        "modifyrepo_c" => format!("{said}\n{}", modify::USAGE),
        "mergerepo_c" => format!("Option parsing failed: {said}"),
        _ => format!("Argument parsing failed: {said}"),
    }
}

fn version() -> anyhow::Result<Ending> {
    super::print(&format!("Version: {LIKE} (createrepod {})\n", env!("CARGO_PKG_VERSION")))
        .map_err(|failure| anyhow::anyhow!("{failure}"))?;
    Ok(Ending::Well)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
