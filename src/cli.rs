//! The command line: what can be asked, and how it ends.

mod ask;
pub mod compat;
mod config_command;
mod control;
mod failure;
mod generate;
mod index;
mod key;
mod load;
mod refresh;
mod status;
mod token;
mod verify;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueHint};

pub use failure::{Exit, Failure};

use crate::compat::createrepo::CreaterepoOptions;
use crate::compat::merge::MergerepoOptions;
use crate::compat::modify::ModifyrepoOptions;
use crate::compat::sqlite::SqliterepoOptions;
use crate::config::value::{Choice, parse_listen};
use crate::config::{Listen, MetadataProfile, Symlinks};
use crate::daemon;
use crate::logging;
use crate::package::{self, ChecksumType};

/// Turns a directory of RPMs into a live yum/dnf repository.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  createrepod serve ./rpm                 serve a directory on http://127.0.0.1:8080/rpm/
  curl -T hello-1.0-1.noarch.rpm http://127.0.0.1:8080/rpm/
  createrepod index /srv/rpm              make the metadata once, without a daemon
  createrepod status                      what is served, and what is wrong
  createrepod config check                tell what is wrong with /etc/createrepod/createrepod.toml

Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 not found, 4 refused.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    Index(Index),
    Verify(Verify),
    #[command(name = "createrepo_c", disable_version_flag = true)]
    CreaterepoC(Box<CreaterepoOptions>),
    #[command(name = "mergerepo_c", disable_version_flag = true)]
    MergerepoC(Box<MergerepoOptions>),
    #[command(name = "modifyrepo_c", disable_version_flag = true)]
    ModifyrepoC(ModifyrepoOptions),
    #[command(name = "sqliterepo_c", disable_version_flag = true)]
    SqliterepoC(SqliterepoOptions),
    Status(Status),
    Refresh(Refresh),
    /// Look at the configuration.
    #[command(
        subcommand,
        after_help = "\
Examples:
  createrepod config check                 tell every mistake at once
  createrepod config show                  every value, and where it came from
  createrepod config dnf rpm               the .repo file for clients
  createrepod config COMMAND --help        tells more of each"
    )]
    Config(config_command::ConfigCommand),
    /// Make and show the keys that sign repomd.xml.
    #[command(
        subcommand,
        after_help = "\
Examples:
  createrepod key generate                 makes /etc/createrepod/signing.asc
  createrepod key export                   the half that clients get"
    )]
    Key(KeyCommand),
    /// Make, list, rotate and revoke tokens, with which clients say who they are.
    #[command(
        subcommand,
        after_help = "\
Examples:
  createrepod token add ci --repository rpm --scope write
  createrepod token list
  createrepod token revoke ci"
    )]
    Token(token::TokenCommand),
    /// Make man pages and completions, for packages.
    #[command(subcommand, hide = true)]
    Generate(generate::Generate),
}

/// Run the daemon: watch, publish, serve, take uploads.
///
/// With DIR alone nothing needs to be configured: DIR is made if it is missing, served under its own
/// name, and takes uploads from this machine only. Without DIR the configuration says what is served.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod serve ./rpm
  createrepod serve ./rpm --listen 127.0.0.1:0     let the system choose a port; it is printed
  createrepod serve --config ./createrepod.toml

Environment, stronger than the configuration:
  CREATEREPOD_LISTEN, CREATEREPOD_BASE_URL, CREATEREPOD_MAX_UPLOAD, CREATEREPOD_STATE_DIR
  CREATEREPOD_LOG=error|warn|info|debug|trace   CREATEREPOD_LOG_FORMAT=text|json

Signals:
  TERM, INT   finish what is in flight, then stop
  HUP         read the configuration, keys and certificates again, open the access log anew
  USR1        compare every tree with what is known of it")]
struct Serve {
    /// A directory of RPMs.
    #[arg(value_name = "DIR", conflicts_with = "config", value_hint = ValueHint::DirPath)]
    directory: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigFile,
    /// Where to listen, instead of what the configuration says; can be given more than once.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    listen: Vec<Listen>,
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration; files of repos.d/ beside it are read too.
    #[arg(long, value_name = "FILE", default_value = load::DEFAULT_FILE, value_hint = ValueHint::FilePath)]
    config: PathBuf,
}

/// Make the metadata of a directory once, without a daemon.
///
/// What was read before is remembered in DIR/.createrepod, so that a second run reads only what changed.
/// A package that cannot be read is named with its reason and left out; the others are published.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod index /srv/rpm
  createrepod index /srv/rpm --metadata gzip       for clients older than EL 8.4")]
struct Index {
    /// A directory of RPMs.
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    directory: PathBuf,
    /// What the clients can read: zstd, gzip, el7 (gzip and SQLite databases), el6 (the same, no xz anywhere).
    #[arg(long, value_name = "KIND", default_value = "zstd", value_parser = choice::<MetadataProfile>())]
    metadata: MetadataProfile,
    /// Checksum of packages and metadata: md5, sha1, sha224, sha256, sha384, sha512.
    #[arg(long, value_name = "KIND", default_value = "sha256", value_parser = choice::<ChecksumType>())]
    checksum: ChecksumType,
    /// Publish filelists-ext too: the file lists with the digests of the files.
    #[arg(long)]
    filelists_ext: bool,
    /// Publish zchunk files too, of which clients fetch only what has changed.
    #[arg(long)]
    zchunk: bool,
    /// Changelog entries published of each package; -1 for all.
    #[arg(long, value_name = "N", default_value = "10", allow_negative_numbers = true, value_parser = entries)]
    changelog_limit: ChangelogLimit,
    /// What is checked before a package is taken: header (its digests and the length), digest (the payload too).
    #[arg(long, value_name = "HOW", default_value = "digest", value_parser = choice::<package::Verify>())]
    verify: package::Verify,
    /// Symbolic links to follow: never, inside, anywhere.
    #[arg(long, value_name = "WHICH", default_value = "inside", value_parser = choice::<Symlinks>())]
    symlinks: Symlinks,
    /// Sign repomd.xml with the secret key in this file (see createrepod key generate).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sign_key: Option<PathBuf>,
    /// A file whose first line is the passphrase of the key.
    #[arg(long, value_name = "FILE", requires = "sign_key", value_hint = ValueHint::FilePath)]
    sign_passphrase: Option<PathBuf>,
}

/// Where a signing key lies unless told otherwise.
const SIGNING_KEY: &str = "/etc/createrepod/signing.asc";

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a key that signs repomd.xml: RSA 4096, which every client can read back to EL6.
    ///
    /// The file can be read by its owner only, and must be readable by the user the daemon runs as.
    #[command(after_help = "\
Examples:
  createrepod key generate --user-id 'Example Repository <repo@example.com>'
  createrepod key generate ./signing.asc --ed25519
Then, in the configuration of a repository:
  sign = { key = \"/etc/createrepod/signing.asc\" }")]
    Generate {
        /// The file to make; it must not exist.
        #[arg(value_name = "FILE", default_value = SIGNING_KEY, value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// The name on the key, which people see when they are asked to trust it.
        #[arg(long, value_name = "TEXT", default_value = "createrepod repository signing key")]
        user_id: String,
        /// A file whose first line is the passphrase that locks the key.
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        passphrase: Option<PathBuf>,
        /// Ed25519 instead of RSA: smaller and faster, but not read by EL7 and older.
        #[arg(long)]
        ed25519: bool,
    },
    /// Print the public half of a signing key, for clients and for rpm --import. Needs no passphrase.
    #[command(after_help = "\
Examples:
  createrepod key export > RPM-GPG-KEY-ours
  createrepod key export ./signing.asc")]
    Export {
        /// The file with the secret key.
        #[arg(value_name = "FILE", default_value = SIGNING_KEY, value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}

/// Tell what is served, what was rejected and why, and what is wrong.
///
/// Asks the running daemon. Without one, tells what it left: packages, the last publication, rejected packages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod status
  createrepod status rpm el9
  createrepod status --json
  createrepod status ./rpm           of a daemon that was started as `createrepod serve ./rpm`")]
struct Status {
    #[command(flatten)]
    target: control::Target,
    /// For programs.
    #[arg(long)]
    json: bool,
}

/// Compare the trees with what is known of them, and publish what changed.
///
/// The daemon finds changes by itself; this is for those who do not want to wait for a rescan of a network
/// file system. Without a daemon the metadata is made here and now, as `index` does. Ends with 1 when it was not done in
/// time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod refresh
  createrepod refresh rpm --wait 5m")]
struct Refresh {
    #[command(flatten)]
    target: control::Target,
    /// The longest to wait until what was found is published.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = crate::config::value::parse_duration)]
    wait: std::time::Duration,
}

/// Read everything again, and tell what is not as it was published.
///
/// Every package is held against what is remembered of it, every metadata file against repomd.xml: bytes that the disk
/// has lost, files that are missing, files that are not ours. Has the running daemon do it; without one, does it itself.
/// It only reads, unless told to repair. Ends with 1 when something was found, or a repository could not be verified;
/// the others are verified all the same.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod verify                 every repository of the configuration
  createrepod verify rpm             the one called rpm
  createrepod verify /srv/rpm        a directory without configuration
  createrepod verify rpm --repair    read again what changed, make damaged metadata anew")]
struct Verify {
    #[command(flatten)]
    target: control::Target,
    /// Mend what can be mended: what is remembered is read again, damaged metadata is made anew.
    #[arg(long)]
    repair: bool,
}

/// A named type, for clap takes an `Option` for an argument that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ChangelogLimit(Option<usize>);

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> Result<(), Failure> {
        let level = match &self.command {
            Command::Serve(_) => "info",
            // What is rejected stands in the report already.
            Command::Index(_) | Command::Refresh(_) | Command::Verify(_) => "error",
            Command::Status(_)
            | Command::Config(_)
            | Command::Key(_)
            | Command::Token(_)
            | Command::Generate(_)
            | Command::CreaterepoC(_)
            | Command::MergerepoC(_)
            | Command::ModifyrepoC(_)
            | Command::SqliterepoC(_) => "warn",
        };
        logging::start(level, &load::environment).map_err(Failure::usage)?;
        match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Index(index) => index.run(),
            Command::Status(asked) => status::run(&asked.target.resolve("status")?, asked.json),
            Command::Refresh(asked) => refresh::run(&asked.target.resolve("refresh")?, asked.wait),
            Command::Verify(asked) => verify::run(&asked.target.resolve("verify")?, asked.repair),
            // `compat::run` has looked for it before: this is for the help.
            Command::CreaterepoC(_)
            | Command::MergerepoC(_)
            | Command::ModifyrepoC(_)
            | Command::SqliterepoC(_) => Ok(()),
            Command::Config(command) => command.run(),
            Command::Key(command) => command.run(),
            Command::Token(command) => command.run(),
            Command::Generate(generate) => generate.run(),
        }
    }
}

impl Serve {
    fn run(self) -> Result<(), Failure> {
        let Some(directory) = &self.directory else { return self.configured() };
        let config = load::directory(directory, &self.listen)?;
        daemon::run(config, None, true).map_err(|error| Failure::failed(&error))
    }

    fn configured(self) -> Result<(), Failure> {
        let (file, listen) = (self.config.config, self.listen);
        let (resolved, files) = load::files_to_serve(&file, &listen)?;
        let directory =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let known = Mutex::new(files);
        let source = daemon::Source {
            directory: directory.to_owned(),
            load: Arc::new(move || {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let (resolved, files) = load::files_again(&file, &listen, &known)
                    .map_err(|failure| failure.mistake().to_owned())?;
                *known = files;
                Ok(resolved.config)
            }),
        };
        daemon::run(resolved.config, Some(source), false).map_err(|error| Failure::failed(&error))
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Reads one of a few words, which completion offers.
fn choice<C: Choice + Send + Sync>() -> impl TypedValueParser<Value = C> {
    PossibleValuesParser::new(C::CHOICES.iter().map(|(name, _)| *name)).try_map(|name| C::parse(&name))
}

fn entries(text: &str) -> Result<ChangelogLimit, String> {
    let number = text.parse().map_err(|_| "expected a whole number, or -1 for all".to_owned())?;
    crate::config::file::changelog_limit(number).map(ChangelogLimit)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The words of an example, without what a shell or a reader does with the rest of the line.
    fn words(line: &str) -> Vec<String> {
        let line = line.trim_start();
        let line = [" > ", " < ", " && ", "  "]
            .iter()
            .filter_map(|end| line.find(end))
            .min()
            .map_or(line, |at| &line[..at]);
        let mut words = vec![String::new()];
        for (n, part) in line.split('\'').enumerate() {
            match n % 2 {
                1 => words.last_mut().unwrap().push_str(part),
                _ => {
                    let mut parts = part.split(' ');
                    words.last_mut().unwrap().push_str(parts.next().unwrap_or_default());
                    words.extend(parts.map(str::to_owned));
                }
            }
        }
        words
    }

    /// Looks at a command and those below it; `path`: the words that lead there. How many examples were tried.
    fn try_examples(command: &clap::Command, path: &[&str]) -> usize {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let (mut own, mut tried) = (0, 0);
        for line in help.lines().filter(|line| line.starts_with("  ")) {
            let mut words = words(line);
            if words[0].ends_with("repo_c") {
                words.insert(0, "createrepod".into());
            }
            if words[0] != "createrepod" || words.iter().any(|word| word == "--help") {
                continue;
            }
            Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            tried += 1;
            own += usize::from(
                words.iter().skip(1).zip(path).filter(|(word, part)| word == part).count() == path.len(),
            );
        }
        assert!(own > 0, "createrepod {} shows no example of itself", path.join(" "));
        for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
            tried += try_examples(below, &[path, &[below.get_name()]].concat());
        }
        tried
    }

    #[test]
    fn every_command_shows_an_example_and_every_example_is_one() {
        let tried = try_examples(&Cli::command(), &[]);
        assert!(tried > 40, "{tried}");
        assert_eq!(words("  a --b 'c d' -e'f' > x   said"), ["a", "--b", "c d", "-ef"]);
    }

    #[test]
    fn a_directory_and_a_configuration_exclude_each_other() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["createrepod"], words].concat());
        assert!(parse(&["serve", "x", "--config", "y"]).is_err());
        assert!(parse(&["serve", "x", "--listen", "127.0.0.1:0", "--listen", "[::1]:0"]).is_ok());
        assert!(parse(&["serve", "--listen", "localhost"]).is_err());
        assert!(parse(&["serve"]).is_ok());
        assert!(parse(&["index"]).is_err());
        assert!(parse(&["index", "x", "--changelog-limit", "-1", "--metadata", "gzip"]).is_ok());
        assert!(parse(&["index", "x", "--changelog-limit", "-2"]).is_err());
        assert!(parse(&["index", "x", "--metadata", "el7"]).is_ok());
        assert!(parse(&["index", "x", "--metadata", "el5"]).is_err());
    }

    #[test]
    fn a_token_says_what_it_is_for() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["createrepod", "token"], words].concat());
        assert!(parse(&["add", "ci", "--repository", "rpm", "--scope", "write", "--expires", "90d"]).is_ok());
        assert!(parse(&["add", "ci", "--repository", "a,el-*", "--scope", "read,write"]).is_ok());
        for bad in [
            &["add", "ci", "--scope", "write"][..],
            &["add", "ci", "--repository", "rpm"],
            &["add", "ci", "--repository", "rpm", "--scope", "rite"],
            &["add", "a b", "--repository", "rpm", "--scope", "write"],
            &["add", "ci", "--repository", "rpm", "--scope", "write", "--expires", "0s"],
            &["add", "ci", "--repository", "a/b", "--scope", "write"],
            &[],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
