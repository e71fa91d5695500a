//! ConfigFile: the TOML exactly as written, each value with its line. Unknown keys are refused.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub use super::section::Set;

use super::access::file::{AuthorizerSection, GrantSection};
use super::access::{Proxy, ReadAccess, WriteAccess};
use super::problem::{Origin, Problems};
use super::section::{Document, Section, boolean, integer, listens, text, texts, time};
use super::tree::Pattern;
use super::value::Choice;
use super::value::{parse_duration, parse_listen, parse_size, parse_space, parse_umask, spell_size};
use super::webhook::file::WebhookSection;
use super::{
    Accept, AccessLog, AdditionalMetadata, Listen, MetadataProfile, Overwrite, SignConfig, Space, Symlinks,
    TlsConfig,
};
use crate::package::{ChecksumType, Verify};

/// The main file and what lies in `repos.d`, before defaults.
#[derive(Debug, Default)]
pub struct ConfigFile {
    pub server: ServerSection,
    pub limits: LimitsSection,
    pub state_dir: Option<Set<PathBuf>>,
    pub grants: Vec<GrantSection>,
    pub authorizers: Vec<AuthorizerSection>,
    pub webhooks: Vec<WebhookSection>,
    /// In the order read; names may still be bad or double.
    pub repositories: Vec<RepositorySection>,
    /// The `[tree.NAME]` tables, alike.
    pub trees: Vec<RepositorySection>,
}

#[derive(Debug, Default)]
pub struct ServerSection {
    pub listen: Option<Set<Vec<Listen>>>,
    /// Empty: none.
    pub base_url: Option<Set<String>>,
    pub max_upload: Option<Set<u64>>,
    /// Empty: none.
    pub tls: Option<Set<Option<TlsConfig>>>,
    pub access_log: Option<Set<AccessLog>>,
    /// Empty: none.
    pub htpasswd: Option<Set<PathBuf>>,
    pub trusted_proxies: Option<Set<Vec<Proxy>>>,
    pub control: Option<Set<PathBuf>>,
}

/// `[limits]`
#[derive(Debug, Default)]
pub struct LimitsSection {
    pub connections: Option<Set<usize>>,
    pub connections_per_address: Option<Set<usize>>,
    pub header_time: Option<Set<Duration>>,
    pub header_size: Option<Set<u64>>,
    pub header_count: Option<Set<usize>>,
    pub stall: Option<Set<Duration>>,
    pub least_rate: Option<Set<u64>>,
    pub idle: Option<Set<Duration>>,
    pub stop: Option<Set<Duration>>,
}

/// Which table a [`RepositorySection`] was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Repository,
    Tree,
}

impl Kind {
    pub fn spell(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Tree => "tree",
        }
    }
}

#[derive(Debug)]
pub struct RepositorySection {
    pub kind: Kind,
    pub name: Set<String>,
    pub path: Option<Set<PathBuf>>,
    /// Only a tree has one.
    pub pattern: Option<Set<Pattern>>,
    /// Empty: none.
    pub metadata_dir: Option<Set<PathBuf>>,
    pub url: Option<Set<String>>,
    pub read: Option<Set<ReadAccess>>,
    pub write: Option<Set<WriteAccess>>,
    pub batch_life: Option<Set<Duration>>,
    pub accept: Option<Set<Accept>>,
    pub overwrite: Option<Set<Overwrite>>,
    pub verify: Option<Set<Verify>>,
    pub keyring: Option<Set<PathBuf>>,
    pub metadata: Option<Set<MetadataProfile>>,
    pub checksum: Option<Set<ChecksumType>>,
    pub filelists_ext: Option<Set<bool>>,
    pub zchunk: Option<Set<bool>>,
    pub adopt: Option<Set<bool>>,
    pub additional_metadata: Option<Set<AdditionalMetadata>>,
    pub changelog_limit: Option<Set<Option<usize>>>,
    pub symlinks: Option<Set<Symlinks>>,
    pub rescan: Option<Set<Duration>>,
    pub verify_every: Option<Set<Option<Duration>>>,
    pub settle: Option<Set<Duration>>,
    pub settle_max: Option<Set<Duration>>,
    pub grace: Option<Set<Duration>>,
    pub grace_space: Option<Set<Space>>,
    pub sign: Option<Set<SignConfig>>,
    pub umask: Option<Set<u32>>,
}

/// Where `text` says that the daemon listens for commands (empty: nowhere), whatever else is wrong with it.
pub fn control(text: &str) -> Option<PathBuf> {
    let (table, _) = DeTable::parse_recoverable(text);
    let server = table.get_ref().get("server")?.get_ref().as_table()?;
    Some(server.get("control")?.get_ref().as_str()?.into())
}

/// Which tables a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Main,
    /// A file of `repos.d`: `[repository.NAME]` tables only.
    Repositories,
}

impl ConfigFile {
    /// Adds what `text`, the content of `file`, says; reports all that is wrong with it. `false` where it is no TOML, so that
    /// nothing is known of it.
    pub fn read(&mut self, part: Part, file: &Path, text: &str, problems: &mut Problems) -> bool {
        let document = Document::new(file, text);
        let Some(top) = document.parse(problems) else { return false };
        let mut section = Section::new(&document, top.get_ref(), "", problems);
        let repositories = section.table("repository");
        let trees = section.table("tree");
        let mut server = None;
        let mut limits = None;
        let mut state = None;
        let (mut grants, mut authorizers, mut webhooks) = (None, None, None);
        match part {
            Part::Main => {
                server = section.table("server");
                limits = section.table("limits");
                state = section.table("state");
                grants = section.table("grant");
                authorizers = section.table("authorizer");
                webhooks = section.table("webhook");
                section.later(&["target"]);
            }
            Part::Repositories => {
                for key in ["server", "limits", "state", "grant", "authorizer", "webhook"] {
                    if section.table(key).is_some() {
                        section.problem(
                            key,
                            format!("[{key}] belongs in createrepod.toml; a file of repos.d holds [repository.NAME] and [tree.NAME]"),
                        );
                    }
                }
            }
        }
        section.finish();
        if let Some(table) = server {
            self.server.read(&document, table, problems);
        }
        if let Some(table) = limits {
            self.limits.read(&document, table, problems);
        }
        if let Some(table) = state {
            let mut section = Section::new(&document, table, "[state]", problems);
            self.state_dir = section.take("dir", self::text(absolute));
            section.finish();
        }
        each(&document, "grant", grants, problems, |name, origin, table, problems| {
            self.grants.push(GrantSection::read(&document, name, origin, table, problems));
        });
        each(&document, "authorizer", authorizers, problems, |name, origin, table, problems| {
            self.authorizers.push(AuthorizerSection::read(&document, name, origin, table, problems));
        });
        each(&document, "webhook", webhooks, problems, |name, origin, table, problems| {
            self.webhooks.push(WebhookSection::read(&document, name, origin, table, problems));
        });
        each(&document, "repository", repositories, problems, |name, origin, table, problems| {
            let read = RepositorySection::read(&document, Kind::Repository, name, origin, table, problems);
            self.repositories.push(read);
        });
        each(&document, "tree", trees, problems, |name, origin, table, problems| {
            let read = RepositorySection::read(&document, Kind::Tree, name, origin, table, problems);
            self.trees.push(read);
        });
        true
    }
}

/// Reads every table `[kind.NAME]`.
fn each<'t>(
    document: &Document<'t>,
    kind: &str,
    tables: Option<&'t DeTable<'t>>,
    problems: &mut Problems,
    mut read: impl FnMut(&str, Origin, &'t DeTable<'t>, &mut Problems),
) {
    for (name, value) in tables.into_iter().flatten() {
        let origin = document.at(name.span().start);
        let name = name.get_ref().as_ref();
        match value.get_ref().as_table() {
            Some(table) => read(name, origin, table, problems),
            None => problems.add(
                origin,
                format!("expected a table with a name, [{kind}.NAME]; found the key {name:?} in [{kind}]"),
            ),
        }
    }
}

impl ServerSection {
    fn read<'t>(&mut self, document: &'t Document<'t>, table: &'t DeTable<'t>, problems: &mut Problems) {
        let mut section = Section::new(document, table, "[server]", problems);
        self.listen = section.take("listen", listens(parse_listen));
        self.base_url = section.take("base_url", text(base_url));
        self.max_upload = section.take("max_upload", text(parse_size));
        self.access_log = section.take("access_log", text(AccessLog::parse));
        self.control = section.take("control", text(socket_or_none));
        if let Some(table) = section.table("tls").filter(|table| !table.is_empty()) {
            let mut files = Section::new(document, table, "[server] tls", section.problems());
            let certificate = files.take("certificate", text(absolute));
            let key = files.take("key", text(absolute));
            let client_ca = files.take("client_ca", text(absolute));
            for key in ["certificate", "key"] {
                if !table.contains_key(key) {
                    files.problem(
                        key,
                        format!("tls: {key} is missing; give tls = {{ certificate = \"/…\", key = \"/…\" }}"),
                    );
                }
            }
            files.finish();
            if let (Some(certificate), Some(key)) = (certificate, key) {
                let origin = certificate.origin;
                let (certificate, key) = (certificate.value, key.value);
                let client_ca = client_ca.map(|set| set.value);
                self.tls = Some(Set { value: Some(TlsConfig { certificate, key, client_ca }), origin });
            }
        }
        self.tls = self.tls.take().or(section.take("tls", |_| Ok(None)));
        self.htpasswd = section.take("htpasswd", text(absolute_or_none));
        self.trusted_proxies = section.take("trusted_proxies", texts(Proxy::parse));
        section.finish();
    }
}

impl LimitsSection {
    fn read<'t>(&mut self, document: &'t Document<'t>, table: &'t DeTable<'t>, problems: &mut Problems) {
        let mut s = Section::new(document, table, "[limits]", problems);
        self.connections = s.take("connections", integer(|number| count(number, 1)));
        self.connections_per_address = s.take("connections_per_address", integer(|number| count(number, 0)));
        self.header_time = s.take("header_time", time(some_time));
        // hyper keeps no smaller buffer, and nobody needs a larger header.
        self.header_size = s.take("header_size", text(|text| within(text, 8 << 10, 1 << 20)));
        self.header_count = s.take("header_count", integer(|number| count(number, 8)));
        self.stall = s.take("stall", time(some_time));
        self.least_rate = s.take("least_rate", text(parse_size));
        self.idle = s.take("idle", time(some_time));
        self.stop = s.take("stop", time(parse_duration));
        s.finish();
    }
}

fn count(number: i64, least: usize) -> Result<usize, String> {
    let count = usize::try_from(number).ok().filter(|count| *count >= least && *count <= 1_000_000);
    count.ok_or_else(|| format!("expected a number from {least} to 1000000, found {number}"))
}

/// A time in which somebody could answer.
fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        time if time < Duration::from_millis(10) => Err(format!("{text:?} leaves nobody the time to answer")),
        time => Ok(time),
    }
}

fn within(text: &str, least: u64, most: u64) -> Result<u64, String> {
    match parse_size(text)? {
        size if (least..=most).contains(&size) => Ok(size),
        _ => {
            Err(format!("expected a size from {} to {}, found {text:?}", spell_size(least), spell_size(most)))
        }
    }
}

impl RepositorySection {
    fn read<'t>(
        document: &'t Document<'t>,
        kind: Kind,
        name: &str,
        origin: Origin,
        table: &'t DeTable<'t>,
        problems: &mut Problems,
    ) -> Self {
        let mut s = Section::new(document, table, format!("[{}.{name}]", kind.spell()), problems);
        if let Err(message) = self::name(name) {
            s.problem_at(origin.clone(), message);
        }
        if !table.contains_key("path") {
            s.problem_at(origin.clone(), format!("{} {name:?} has no path; add path = \"/…\"", kind.spell()));
        }
        let pattern = match kind {
            Kind::Repository => None,
            Kind::Tree => {
                if !table.contains_key("pattern") {
                    s.problem_at(
                        origin.clone(),
                        format!("tree {name:?} has no pattern; add pattern = \"{{release}}/{{arch}}\""),
                    );
                }
                s.take("pattern", text(Pattern::parse))
            }
        };
        let section = Self {
            kind,
            name: Set { value: name.to_owned(), origin },
            path: s.take("path", text(absolute)),
            pattern,
            metadata_dir: s.take("metadata_dir", text(absolute_or_none)),
            url: s.take("url", text(url)),
            read: s.take("read", text(ReadAccess::parse)),
            write: s.take("write", text(WriteAccess::parse)),
            batch_life: s.take("batch_life", time(parse_duration)),
            accept: s.take("accept", text(Accept::parse)),
            overwrite: s.take("overwrite", text(Overwrite::parse)),
            verify: s.take("verify", text(Verify::parse)),
            keyring: s.take("keyring", text(directory_or_none)),
            metadata: s.take("metadata", text(MetadataProfile::parse)),
            checksum: s.take("checksum", text(ChecksumType::parse)),
            filelists_ext: s.take("filelists_ext", boolean),
            zchunk: s.take("zchunk", boolean),
            adopt: s.take("adopt", boolean),
            additional_metadata: s.take("additional_metadata", AdditionalMetadata::parse),
            changelog_limit: s.take("changelog_limit", integer(changelog_limit)),
            symlinks: s.take("symlinks", text(Symlinks::parse)),
            rescan: s.take("rescan", time(parse_duration)),
            verify_every: s.take("verify_every", time(period)),
            settle: s.take("settle", time(parse_duration)),
            settle_max: s.take("settle_max", time(parse_duration)),
            grace: s.take("grace", time(parse_duration)),
            grace_space: s.take("grace_space", text(parse_space)),
            umask: s.take("umask", text(parse_umask)),
            sign: s.table_as("sign", sign),
        };
        s.later(&["keep_links", "channel", "source"]);
        s.finish();
        section
    }
}

/// How long a signing command may take unless told otherwise.
const SIGN_TIMEOUT: Duration = Duration::from_secs(30);

/// `sign = { key = …, passphrase = … }` or `sign = { command = […], public_key = … }`.
fn sign(s: &mut Section<'_, '_>) -> Result<SignConfig, String> {
    let key = s.take("key", text(absolute));
    let passphrase = s.take("passphrase", text(credential));
    let command = s.take("command", texts(|word| Ok(word.to_owned())));
    let public_key = s.take("public_key", text(absolute));
    let timeout = s.take("timeout", time(parse_duration));
    match (key, command) {
        (Some(key), None) if public_key.is_none() && timeout.is_none() => {
            Ok(SignConfig::Key { key: key.value, passphrase: passphrase.map(|set| set.value) })
        }
        (Some(_), None) => Err("public_key and timeout go with command, not with key".into()),
        (None, Some(command)) => {
            let Some(public_key) = public_key else {
                return Err(
                    "a command needs public_key = \"/…\", against which its signatures are checked".into()
                );
            };
            if command.value.first().is_none_or(String::is_empty) {
                return Err("command: expected a program and its arguments, [\"gpg\", \"…\"]".into());
            }
            if passphrase.is_some() {
                return Err("passphrase goes with key, not with command".into());
            }
            let timeout = timeout.map_or(SIGN_TIMEOUT, |set| set.value);
            Ok(SignConfig::Command { command: command.value, public_key: public_key.value, timeout })
        }
        (Some(_), Some(_)) => Err("either key or command, not both".into()),
        (None, None) => Err("expected { key = \"/…\" } or { command = [\"…\"], public_key = \"/…\" }".into()),
    }
}

/// A file that holds a secret: a path, or the name of a systemd credential (LoadCredential=).
pub fn credential(text: &str) -> Result<PathBuf, String> {
    let plain = |c: char| c.is_ascii_graphic() && c != '/';
    if text.starts_with('/') {
        return absolute(text);
    }
    if text.is_empty() || text.starts_with('.') || !text.chars().all(plain) {
        return Err(format!(
            "expected a path that begins with /, or the name of a systemd credential, found {text:?}"
        ));
    }
    Ok(PathBuf::from(text))
}

/// A duration, or "never".
fn period(text: &str) -> Result<Option<Duration>, String> {
    match text {
        "never" => Ok(None),
        _ => match parse_duration(text) {
            Ok(Duration::ZERO) => Err("expected a duration such as \"7d\", or \"never\"".into()),
            period => period.map(Some),
        },
    }
}

/// A path, or empty for none.
fn directory_or_none(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Ok(PathBuf::new()) } else { absolute(text) }
}

/// A repository's name: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 200 bytes, as it becomes a file name.
pub fn name(text: &str) -> Result<(), String> {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && text.chars().all(is_name_char) && text.len() <= 200 && text != "repodata" {
        return Ok(());
    }
    Err(format!(
        "{text:?} cannot name a repository; expected letters, digits, \".\", \"_\", \"-\", the first a letter or digit"
    ))
}

pub fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// A path from the root.
pub fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if text.contains('\0') || !path.is_absolute() {
        return Err(format!("expected a path that begins with /, found {text:?}"));
    }
    Ok(path.to_owned())
}

/// A path that fits into a socket's address (107 bytes); empty: none.
pub fn socket_or_none(text: &str) -> Result<PathBuf, String> {
    match text.len() < 108 {
        true => absolute_or_none(text),
        false => Err(format!("expected a path of at most 107 bytes, found {text:?}")),
    }
}

/// Empty: none.
pub fn absolute_or_none(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Ok(PathBuf::new()) } else { absolute(text) }
}

/// The number of entries, or -1 for all.
pub fn changelog_limit(number: i64) -> Result<Option<usize>, String> {
    match (number, usize::try_from(number)) {
        (-1, _) => Ok(None),
        (_, Ok(limit)) => Ok(Some(limit)),
        (_, Err(_)) => Err(format!("expected a number of entries, or -1 for all, found {number}")),
    }
}

/// Where the world sees the server: `https://host/`, or empty for the listening address.
pub fn base_url(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '"' | '<' | '>' | '\\');
    match rest {
        Some(rest) if !rest.starts_with('/') && rest.ends_with('/') && rest.chars().all(plain) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "expected a URL such as \"https://repo.example.com/\", with the slash at its end, found {text:?}"
        )),
    }
}

/// A URL prefix as a person reads it (not percent-encoded): begins and ends with `/`, and clashes
/// with none of the names the server keeps for itself.
pub fn url(text: &str) -> Result<String, String> {
    let Some(inner) = text.strip_prefix('/') else {
        return Err(format!(
            "expected a path that begins and ends with /, such as \"/el/9/\", found {text:?}"
        ));
    };
    if inner.is_empty() {
        return Ok(text.to_owned());
    }
    let Some(inner) = inner.strip_suffix('/') else {
        return Err(format!(
            "expected a path that begins and ends with /: write \"{}/\"",
            text.escape_debug()
        ));
    };
    for part in inner.split('/') {
        let why = match part {
            "" => "it has an empty part",
            "-" => "\"-\" is kept for what the server itself answers",
            "repodata" => "\"repodata\" is kept for metadata",
            _ if part.starts_with('.') => "names that begin with a dot are never served",
            _ if part.contains('@') => "\"@\" is kept for snapshots",
            _ if part.chars().any(|c| c.is_control() || matches!(c, '%' | '?' | '#' | '\\')) => {
                "it may not contain %, ?, #, \\ or control characters"
            }
            _ => continue,
        };
        return Err(format!("{text:?} cannot be used: {why}"));
    }
    Ok(text.to_owned())
}
