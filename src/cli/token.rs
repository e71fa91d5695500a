//! `token`: credentials are made, listed, rotated and revoked, while the daemon runs or not.

use std::io::{BufRead as _, ErrorKind};
use std::path::Path;
use std::time::{Duration, SystemTime};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::json;

use super::ConfigFile;
use super::control::nobody;
use super::failure::{Exit, Failure};
use super::load;
use super::print;
use crate::auth::secret::NewSecret;
use crate::config::Config;
use crate::config::value::{parse_duration, spell_duration};
use crate::daemon::repositories_now;
use crate::history::{History, HistoryError};
use crate::rights::{Grant, Pattern, Permission, Token};

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    Add(Add),
    List(List),
    Rotate(Rotate),
    Revoke(Revoke),
}

/// Make a token and print it: it is shown this once, and only its hash is kept.
///
/// It counts at once, also for a daemon that runs. Its holder gives it as the password of any user, or as
/// "Authorization: Bearer". With --secret-stdin it is one that was made before, for a restore or for configuration
/// management: asked again for the same, it changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod token add ci --repository rpm --scope write --expires 90d
  createrepod token add mirror --repository 'el-*' --scope read
  createrepod token add ci --repository rpm --scope write --secret-stdin < /root/ci.token
  curl -u ci:TOKEN -T hello-1.0-1.noarch.rpm https://repo.example.com/rpm/")]
pub struct Add {
    /// What it is called; letters, digits, ".", "_", "-" and "@".
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// A repository's name, or a pattern such as 'el-*'; can be given more than once.
    #[arg(long, required = true, value_name = "NAME", value_parser = Pattern::parse, value_delimiter = ',')]
    repository: Vec<Pattern>,
    /// read, write, delete or admin (which includes the others); can be given more than once.
    #[arg(long, required = true, value_name = "SCOPE", value_parser = scope(), value_delimiter = ',')]
    scope: Vec<Permission>,
    /// How long it counts, such as 90d; without it, until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    /// Take the secret from the first line of standard input, instead of making one: "crd_", 8 letters, "_" and 32 random
    /// letters, of a-z and 2-7.
    #[arg(long)]
    secret_stdin: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// List the tokens: what they are for, how long they count, when they were last used.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod token list
  createrepod token list --json")]
pub struct List {
    /// As JSON, with times in seconds since 1970.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Give a token another secret and print it; what it is for stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  createrepod token rotate ci
  createrepod token rotate ci --overlap 1h         the old one counts for another hour")]
pub struct Rotate {
    /// What it is called.
    #[arg(value_name = "NAME")]
    name: String,
    /// How long the old secret still counts; without it, no longer.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    overlap: Option<Duration>,
    /// How long the new one counts; without it, as long as the old one did when it was made.
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Revoke a token: it is refused from the next request on.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  createrepod token revoke ci")]
pub struct Revoke {
    /// What it is called.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    config: ConfigFile,
}

impl TokenCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match self {
            Self::Add(add) => add.run(now),
            Self::List(list) => list.run(now),
            Self::Rotate(rotate) => rotate.run(now),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Add {
    fn run(self, now: u64) -> Result<(), Failure> {
        let (config, history) = opened(&self.config)?;
        let (all, _) = repositories_now(&config);
        let is_idle = |wanted: &&Pattern| {
            wanted.as_str() != "*" && !all.iter().any(|repository| wanted.matches(&repository.name))
        };
        for wanted in self.repository.iter().filter(is_idle) {
            let why = nobody(wanted, &all);
            // What a tree, or a pattern, will find is not known.
            if wanted.is_literal() && config.trees.is_empty() {
                return Err(Failure::new(Exit::NotFound, why));
            }
            crate::logging::say(&format!("warning: {why} now; the token counts once there is one\n"));
        }
        let secret = match self.secret_stdin {
            true => read_secret()?,
            false => NewSecret::make(None).map_err(no_randomness)?,
        };
        let token = Token {
            id: secret.id().to_owned(),
            name: self.name,
            hash: secret.hash(),
            before: None,
            grant: Grant { scopes: self.scope.into_iter().collect(), repositories: self.repository },
            made: now,
            expires: self.expires.map(|time| now + time.as_secs()),
            last_used: None,
        };
        if !self.secret_stdin {
            history.add_token(&token).map_err(failed)?;
            return show(&secret, &token);
        }
        let others = history.tokens().map_err(failed)?;
        match others.iter().find(|other| other.id == token.id) {
            Some(same) if same.name == token.name && same.hash == token.hash && same.grant == token.grant => {
                tell(&token, "is there already, and stays as it is");
            }
            Some(other) => {
                let name = &other.name;
                return Err(Failure::new(
                    Exit::Refused,
                    format!(
                        "this secret is that of the token {name:?}, which has other rights or another name"
                    ),
                ));
            }
            None => {
                history.add_token(&token).map_err(failed)?;
                tell(&token, "counts from now on");
            }
        }
        Ok(())
    }
}

impl List {
    fn run(self, now: u64) -> Result<(), Failure> {
        let (_, history) = opened(&self.config)?;
        let tokens = history.tokens().map_err(failed)?;
        if self.json {
            let tokens: Vec<_> = tokens.iter().map(as_json).collect();
            return print(&format!("{:#}\n", json!({ "tokens": tokens })));
        }
        let mut rows =
            vec![["NAME", "SCOPES", "REPOSITORIES", "MADE", "EXPIRES", "LAST USED"].map(str::to_owned)];
        rows.extend(tokens.iter().map(|token| row(token, now)));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<_> = (0..6).map(width).collect();
        let line = |row: &[String; 6]| {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            format!("{}\n", cells.join("  ").trim_end())
        };
        print(&rows.iter().map(line).collect::<String>())
    }
}

impl Rotate {
    fn run(self, now: u64) -> Result<(), Failure> {
        let (_, history) = opened(&self.config)?;
        // The id changes too: whoever has the old text has nothing of the new one. So it must stay the
        // same where both are to count.
        let mut made = None;
        let mut randomness = None;
        let renew = |old: Token| {
            let secret = match NewSecret::make(self.overlap.map(|_| old.id.as_str())) {
                Ok(secret) => secret,
                Err(error) => {
                    randomness = Some(error);
                    return old;
                }
            };
            let lifetime = self.expires.map(|time| time.as_secs());
            let lifetime = lifetime.or(old.expires.map(|expires| expires.saturating_sub(old.made)));
            let new = Token {
                id: secret.id().to_owned(),
                hash: secret.hash(),
                before: self.overlap.map(|time| (old.hash, now + time.as_secs())),
                made: now,
                expires: lifetime.map(|time| now + time),
                last_used: None,
                ..old
            };
            made = Some(secret);
            new
        };
        let token = history.renew_token(&self.name, renew).map_err(failed)?;
        match (made, randomness) {
            (Some(secret), _) => show(&secret, &token),
            (None, Some(error)) => Err(no_randomness(error)),
            (None, None) => Ok(()),
        }
    }
}

impl Revoke {
    fn run(self) -> Result<(), Failure> {
        let (_, history) = opened(&self.config)?;
        history.revoke_token(&self.name).map_err(failed)
    }
}

fn opened(file: &ConfigFile) -> Result<(Config, History), Failure> {
    let config = load::files(&file.config, &[])?.config;
    let state_dir = config.access.state_dir.clone().unwrap_or_else(|| Path::new("/").to_owned());
    Ok((config, History::at(&state_dir)))
}

/// The first line of standard input.
fn read_secret() -> Result<NewSecret, Failure> {
    const LONGEST: u64 = 1024;
    let mut text = String::new();
    let read = std::io::Read::take(std::io::stdin().lock(), LONGEST).read_line(&mut text);
    read.map_err(|error| Failure::usage(format!("cannot read the secret from standard input: {error}")))?;
    NewSecret::given(text.trim_end_matches(['\r', '\n'])).map_err(Failure::usage)
}

/// The token alone on standard output, for scripts; what it is for on standard error, for people.
fn show(secret: &NewSecret, token: &Token) -> Result<(), Failure> {
    print(&format!("{}\n", secret.text()))?;
    tell(token, "shown this once");
    Ok(())
}

/// What a token is for, and what came of it, for people.
fn tell(token: &Token, what: &str) {
    let names: Vec<&str> = token.grant.repositories.iter().map(Pattern::as_str).collect();
    let until =
        token.expires.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {}", day(at)));
    crate::logging::say(&format!(
        "this is the token {:?}, {what}: {} in {}, {until}\n",
        token.name,
        token.grant.scopes,
        names.join(", ")
    ));
}

fn row(token: &Token, now: u64) -> [String; 6] {
    let expires = match token.expires {
        None => "never".to_owned(),
        Some(at) if at <= now => format!("{} (expired)", day(at)),
        Some(at) => day(at),
    };
    let names: Vec<&str> = token.grant.repositories.iter().map(Pattern::as_str).collect();
    let last_used = token.last_used.map_or_else(
        || "never".to_owned(),
        |at| {
            let ago = Duration::from_secs(now.saturating_sub(at) / 60 * 60);
            if ago.is_zero() { "just now".to_owned() } else { format!("{} ago", spell_duration(ago)) }
        },
    );
    [token.name.clone(), token.grant.scopes.to_string(), names.join(","), day(token.made), expires, last_used]
}

fn as_json(token: &Token) -> serde_json::Value {
    json!({
        "name": token.name,
        "id": token.id,
        "scopes": token.grant.scopes.named().map(Permission::name).collect::<Vec<_>>(),
        "repositories": token.grant.repositories.iter().map(Pattern::as_str).collect::<Vec<_>>(),
        "made": token.made,
        "expires": token.expires,
        "last_used": token.last_used,
    })
}

/// `2026-11-20`
fn day(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
    text.and_then(|text| text.split('T').next().map(str::to_owned)).unwrap_or_else(|| "?".into())
}

fn name(text: &str) -> Result<String, String> {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if text.is_empty() || text.len() > 100 || text.starts_with('-') || !text.chars().all(known) {
        return Err("expected letters, digits, \".\", \"_\", \"-\" and \"@\"".into());
    }
    Ok(text.to_owned())
}

/// Reads a right, which completion offers.
fn scope() -> impl TypedValueParser<Value = Permission> {
    const RIGHTS: [&str; 4] = ["read", "write", "delete", "admin"];
    PossibleValuesParser::new(RIGHTS).try_map(|name| Permission::parse(&name))
}

fn lifetime(text: &str) -> Result<Duration, String> {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    match parse_duration(text) {
        Ok(time) if time.as_secs() > 0 && time <= CENTURY => Ok(time),
        _ => Err(format!("expected a time such as \"90d\", \"12h\" or \"1y\", found {text:?}")),
    }
}

fn no_randomness(error: getrandom::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot get randomness from the operating system: {error}"))
}

fn failed(error: HistoryError) -> Failure {
    let exit = match &error {
        HistoryError::NameTaken(_) => Exit::Refused,
        HistoryError::NoToken(_) => Exit::NotFound,
        HistoryError::Newer { .. }
        | HistoryError::File { .. }
        | HistoryError::Sqlite { .. }
        | HistoryError::Damaged { .. } => Exit::Failed,
    };
    let denied = matches!(&error, HistoryError::File { source, .. } if source.kind() == ErrorKind::PermissionDenied)
        || matches!(&error, HistoryError::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)));
    let hint = if denied { "; run this as root or as the daemon's user" } else { "" };
    Failure::new(exit, format!("{}{hint}", crate::logging::chain(&error)))
}
